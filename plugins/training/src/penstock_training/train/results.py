"""The files of a result: ours, and ``summary.json`` in the form that DLIO gives it.

``result.json`` is an object; fields are added without notice, the number in ``schema`` changes when one goes::

    schema        "penstock.train/1"
    penstock      the version that wrote it
    name, framework, status (done, failed, interrupted), reason, exit_code, command_line
    started, ended   RFC 3339, UTC
    ranks, seed
    au_goal, au, au_met     shares of 1; au is the mean of the epochs, null where no step counts
    samples_per_second, mib_per_second   means of the epochs
    epochs        a list: kind (train or valid), epoch, seconds, au, samples_per_second, mib_per_second, bytes, steps,
                  and ranks: a list of the same of each, with calls, errors and the seconds of load, compute and wait
    checkpoints   a list: kind (write or read), epoch, step, seconds, bytes, gib_per_second
    generated     files, samples and bytes that were made
    op_log        its path and rows, null where there is none
    plan, notes   what the workload came to
    environment   host, processors, memory, Python

``steps.tsv`` has a line for every step of every rank, from which all of it follows.
"""

from __future__ import annotations

import json
import os
import platform
import re
import socket
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from penstock.errors import redact
from penstock_training.train.metrics import (
    CheckpointFigures,
    Figures,
    RankFigures,
    checkpoint_figures,
    figures_of,
    mean,
    spread,
)
from penstock_training.train.plan import Plan
from penstock_training.train.run import Finished

__all__ = ["SCHEMA", "exit_code", "result_of", "summary_of", "without_secrets", "write_results"]

SCHEMA = "penstock.train/1"
_GIB = 1024**3
_SECRET = re.compile(
    r"(?im)(\b[a-z_]*(?:access_key|account_key|secret|token|password|sas)[a-z_]*[\"']?\s*:\s*)[^\s,}#]+"
)
_COLUMNS = "kind epoch block step rank loaded load_s compute_s wait_s samples"


def exit_code(finished: Finished) -> int:
    """0 done, 1 failed, 130 interrupted."""
    return {"done": 0, "failed": 1, "interrupted": 130}[finished.status]


def result_of(plan: Plan, finished: Finished, *, command_line: str) -> dict[str, Any]:
    """The content of ``result.json``."""
    figures = _figures(plan, finished)
    epochs = [each for each in figures if each.kind == "train"]
    au = mean(each.au for each in epochs)
    return {
        "schema": SCHEMA,
        "penstock": version("penstock"),
        "name": plan.name,
        "framework": plan.framework,
        "status": finished.status,
        "reason": finished.reason,
        "exit_code": exit_code(finished),
        "command_line": redact(command_line),
        "started": _time(finished.begin_ns),
        "ended": _time(finished.end_ns),
        "ranks": plan.ranks,
        "seed": plan.seed,
        "au_goal": plan.au_goal,
        "au": au,
        "au_met": None if au is None else au >= plan.au_goal,
        "samples_per_second": mean(each.samples_per_second for each in epochs),
        "mib_per_second": mean(each.mib_per_second for each in epochs),
        "epochs": [_epoch(each) for each in figures],
        "checkpoints": [_checkpoint(each) for each in checkpoint_figures(finished.saved)],
        "generated": {
            "files": finished.written.files,
            "samples": finished.written.samples,
            "bytes": finished.written.nbytes,
        },
        "op_log": None if finished.op_log is None else {"path": finished.op_log, "rows": finished.op_log_rows},
        "plan": plan.as_dict(),
        "notes": list(plan.notes),
        "environment": _environment(),
    }


def summary_of(plan: Plan, finished: Finished) -> dict[str, Any]:
    """The content of ``summary.json``: DLIO's names. As there, ``MB`` is MiB and ``GB`` is GiB; unlike there, bytes are
    those that were moved.
    """
    figures = _figures(plan, finished)
    memory = _memory()
    data = sum(part.samples for part in (plan.training, plan.evaluation)) * plan.recipe.record_bytes / _GIB
    return {
        "start": _time(finished.begin_ns),
        "end": _time(finished.end_ns),
        "num_accelerators": plan.ranks,
        "num_hosts": 1,
        "hostname": socket.gethostname(),
        "host_memory_GB": [memory],
        "host_cpu_count": [os.cpu_count()],
        "data_size_per_host_GB": data,
        "potential_caching": [bool(memory and data <= memory)],
        "num_files_train": plan.training.files,
        "num_files_eval": plan.evaluation.files,
        "num_samples_per_file": plan.training.samples_per_file,
        "epochs": plan.epochs,
        "metric": _metric("train", plan, [each for each in figures if each.kind == "train"])
        | _metric("eval", plan, [each for each in figures if each.kind == "valid"])
        | _saves(plan, checkpoint_figures(finished.saved)),
    }


def _metric(name: str, plan: Plan, figures: Sequence[Figures]) -> dict[str, Any]:
    if not figures:
        return {}
    utilizations = [each.au * 100 for each in figures if each.au is not None]
    rates = [each.samples_per_second for each in figures if each.samples_per_second is not None]
    moved = [each.mib_per_second for each in figures]
    metric: dict[str, Any] = {
        f"{name}_au_percentage": utilizations,
        f"{name}_au_mean_percentage": mean(utilizations),
        f"{name}_au_stdev_percentage": spread(utilizations),
        f"{name}_throughput_samples_per_second": rates,
        f"{name}_throughput_mean_samples_per_second": mean(rates),
        f"{name}_throughput_stdev_samples_per_second": spread(rates),
        f"{name}_io_mean_MB_per_second": mean(moved),
        f"{name}_io_stdev_MB_per_second": spread(moved),
    }
    if name == "train":
        au = mean(utilizations)
        metric["train_au_meet_expectation"] = "success" if au is not None and au >= plan.au_goal * 100 else "fail"
    return metric


def _saves(plan: Plan, saves: Sequence[CheckpointFigures]) -> dict[str, Any]:
    metric: dict[str, Any] = {}
    for kind, name in (("write", "save"), ("read", "load")):
        group = [each for each in saves if each.kind == kind]
        if group:
            rates, seconds = [each.gib_per_second for each in group], [each.seconds for each in group]
            metric |= {
                f"{name}_checkpoint_io_mean_GB_per_second": mean(rates),
                f"{name}_checkpoint_io_stdev_GB_per_second": spread(rates),
                f"{name}_checkpoint_duration_mean_seconds": mean(seconds),
                f"{name}_checkpoint_duration_stdev_seconds": spread(seconds),
            }
    return metric | ({"checkpoint_size_GB": plan.checkpoints.shape.nbytes / _GIB} if metric else {})


def write_results(directory: Path, plan: Plan, finished: Finished, *, text: str, command_line: str) -> dict[str, Any]:
    """Write every file of the result but the log, and return what ``result.json`` holds. Each appears when whole."""
    result = result_of(plan, finished, command_line=command_line)
    _write(directory / "config.yaml", [without_secrets(text)])
    _write(directory / "plan.json", [_json(plan.as_dict())])
    _write(directory / "steps.tsv", _step_lines(finished))
    _write(directory / "summary.json", [_json(summary_of(plan, finished))])
    _write(directory / "result.json", [_json(result)])
    return result


def without_secrets(text: str) -> str:
    """A workload's text with ``***`` in the place of keys, tokens and passwords."""
    return _SECRET.sub(r"\1***", text)


def _figures(plan: Plan, finished: Finished) -> list[Figures]:
    return figures_of(finished.blocks, exclude_start=plan.exclude_start, exclude_end=plan.exclude_end)


def _epoch(figures: Figures) -> dict[str, Any]:
    return {
        "kind": figures.kind,
        "epoch": figures.epoch,
        "seconds": figures.seconds,
        "au": figures.au,
        "samples_per_second": figures.samples_per_second,
        "mib_per_second": figures.mib_per_second,
        "bytes": figures.nbytes,
        "steps": max(rank.steps for rank in figures.ranks),
        "ranks": [_rank(rank) for rank in figures.ranks],
    }


def _rank(rank: RankFigures) -> dict[str, Any]:
    return {
        "rank": rank.rank,
        "steps": rank.steps,
        "samples": rank.samples,
        "seconds": rank.seconds,
        "au": rank.au,
        "samples_per_second": rank.samples_per_second,
        "mib_per_second": rank.nbytes / 1024**2 / rank.seconds if rank.seconds else 0.0,
        "bytes": rank.nbytes,
        "load_seconds": rank.load,
        "compute_seconds": rank.compute,
        "wait_seconds": rank.wait,
        "calls": rank.calls,
        "errors": rank.errors,
    }


def _checkpoint(figures: CheckpointFigures) -> dict[str, Any]:
    return {
        "kind": figures.kind,
        "epoch": figures.epoch,
        "step": figures.step,
        "seconds": figures.seconds,
        "bytes": figures.nbytes,
        "gib_per_second": figures.gib_per_second,
    }


def _step_lines(finished: Finished) -> Iterator[str]:
    yield "\t".join(_COLUMNS.split()) + "\n"
    for block in sorted(finished.blocks, key=lambda block: (block.epoch, block.kind, block.number, block.rank)):
        for number, step in enumerate(block.steps, 1):
            cells = (
                block.kind,
                block.epoch,
                block.number,
                number,
                block.rank,
                _time(step.loaded_ns),
                f"{step.load:.9f}",
                f"{step.compute:.9f}",
                f"{step.wait:.9f}",
                step.samples,
            )
            yield "\t".join(map(str, cells)) + "\n"


def _environment() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "processors": os.cpu_count(),
        "memory_gib": _memory(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
    }


def _memory() -> float | None:
    """GiB of this host."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
    except (ValueError, OSError):
        return None


def _time(wall_ns: int) -> str:
    seconds, nanos = divmod(wall_ns, 10**9)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanos:09d}Z"


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _write(path: Path, lines: Iterable[str]) -> None:
    partial = path.with_name(f".{path.name}.partial")
    with open(partial, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.writelines(lines)
    os.replace(partial, path)
