"""Carrying out a job with a coordinator, and what is common to the outcomes of all kinds of jobs."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import attrs

from penstock.engine.coordinator import Coordinator
from penstock.engine.course import WorkerPart
from penstock.engine.found import Found
from penstock.engine.parts import HostPlan
from penstock.engine.remote import offset_at
from penstock.errors import PenstockError, UsageError
from penstock.launchers import LaunchSpec
from penstock.oplog import join_parts
from penstock.oplog.merging import Part, merge_logs
from penstock.report.crew import ClockReading
from penstock.report.job import Job
from penstock.report.outcome import Outcome

__all__ = [
    "OP_LOG",
    "RunResult",
    "carry_out",
    "join_log",
]

#: The name of the op-log in a result directory.
OP_LOG = "op-log.tsv.zst"

#: How many rows are sorted at once where those of several hosts are merged: some 60 MB.
_ROWS_IN_MEMORY = 200_000


@attrs.frozen
class RunResult:
    """A finished run: what was found, and the directory that holds it."""

    job: Job
    directory: Path
    report: Path

    @property
    def outcome(self) -> Outcome:
        """That of the first leg, which is the only one unless there are stages or repeats."""
        return self.job.legs[0].outcome


def carry_out(coordinator: Coordinator, spec: LaunchSpec, directory: Path, write: Callable[[], RunResult]) -> RunResult:
    """Run the coordinator and then ``write``, which makes the results of what it found; interrupts are heard until
    they are written. What workers print is kept in ``directory``.
    """
    return anyio.run(_carry_out, coordinator, spec, directory, write)


async def _carry_out(
    coordinator: Coordinator, spec: LaunchSpec, directory: Path, write: Callable[[], RunResult]
) -> RunResult:
    result: RunResult | None = None
    failure: Exception | None = None
    async with coordinator.listening():
        try:
            with _scratch(directory) as scratch:
                await coordinator.run(attrs.evolve(spec, scratch=scratch))
            result = write()
        except UsageError as error:
            # Nothing was carried out, so there is nothing to keep.
            shutil.rmtree(directory, ignore_errors=True)
            failure = error
        except Exception as error:  # noqa: BLE001 - raised below, not wrapped in a group
            failure = error
    if result is None:
        assert failure is not None
        raise failure
    return result


@contextlib.contextmanager
def _scratch(directory: Path) -> Iterator[str]:
    """Room for what workers print; kept beside the results when there is anything in it."""
    path = tempfile.mkdtemp(prefix="penstock-")
    try:
        yield path
        for name in sorted(os.listdir(path)):
            if os.path.getsize(os.path.join(path, name)):
                # On a full disk there is no room for it; the figures come first.
                with contextlib.suppress(OSError):
                    shutil.copy(os.path.join(path, name), directory / name)
    finally:
        shutil.rmtree(path, ignore_errors=True)


def join_log(path: str | None, plans: Sequence[WorkerPart], found: Found) -> dict[str, Any] | None:
    """Join the parts of the log. A failure is noted, and leaves the parts."""
    if path is None:
        return None
    counts = {"accepted": 0, "written": 0, "dropped": 0}
    for worker in found.workers:
        for name, value in (worker.log or {}).items():
            counts[name] += value
    if any(worker.remote is not None for worker in found.workers):
        return _merge_log(path, plans, found, counts)
    parts = [plan.op_log for plan in plans if plan.op_log is not None and os.path.exists(plan.op_log)]
    if not parts:
        return None
    try:
        join_parts(parts, path)
    except (PenstockError, OSError) as error:
        found.notes.append(f"the parts of the op-log could not be joined and were left: {error}")
        return {"parts": parts, **counts}
    return {"path": path, **counts}


def _merge_log(
    path: str, plans: Sequence[WorkerPart], found: Found, counts: Mapping[str, int]
) -> dict[str, Any] | None:
    """What hosts wrote, in the order in which operations began, by the clock of this host; and where the rest is."""
    parts = []
    for worker, plan in zip(found.workers, plans, strict=True):
        assert isinstance(plan, HostPlan)
        for name in plan.logs if worker.remote is not None else ():
            assert worker.remote is not None
            if name in worker.remote.fetched:
                readings = worker.remote.readings
                shift = partial(_shift, readings) if readings else 0
                parts.append(Part(worker.remote.fetched[name], offset_ns=shift))
    left = [
        {"rank": worker.handle.rank, "host": worker.handle.host, "path": worker.remote.op_log["path"]}
        for worker in found.workers
        if worker.remote is not None and worker.remote.op_log is not None and "path" in worker.remote.op_log
    ]
    about: dict[str, Any] = dict(counts) | ({"left": left} if left else {})
    if not parts:
        return about if left else None
    try:
        changed = merge_logs(parts, path, rows_in_memory=_ROWS_IN_MEMORY)
    except (PenstockError, OSError) as error:
        found.notes.append(f"the parts of the op-log could not be merged and were left: {error}")
        return {"parts": [part.path for part in parts], **about}
    for part in parts:
        _remove(part.path)
    return {"path": path, "rows": changed.rows, **about}


def _shift(readings: list[ClockReading], wall_ns: int) -> int:
    return -offset_at(readings, wall_ns)


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
        os.rmdir(os.path.dirname(path))
