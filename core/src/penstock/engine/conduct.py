"""Carrying out a job with a coordinator, and what is common to the outcomes of all kinds of jobs."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import attrs

from penstock.engine.coordinator import Coordinator
from penstock.engine.course import WorkerPart
from penstock.engine.found import Found
from penstock.errors import PenstockError
from penstock.launchers import LaunchSpec
from penstock.oplog import join_parts
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
                shutil.copy(os.path.join(path, name), directory / name)
    finally:
        shutil.rmtree(path, ignore_errors=True)


def join_log(path: str | None, plans: Sequence[WorkerPart], found: Found) -> dict[str, Any] | None:
    """Join the parts of the log. A failure is noted, and leaves the parts."""
    if path is None:
        return None
    parts = [plan.op_log for plan in plans if plan.op_log is not None and os.path.exists(plan.op_log)]
    if not parts:
        return None
    counts = {"accepted": 0, "written": 0, "dropped": 0}
    for worker in found.workers:
        for name, value in (worker.log or {}).items():
            counts[name] += value
    try:
        join_parts(parts, path)
    except (PenstockError, OSError) as error:
        found.notes.append(f"the parts of the op-log could not be joined and were left: {error}")
        return {"parts": parts, **counts}
    return {"path": path, **counts}
