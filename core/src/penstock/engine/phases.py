"""The phases of a run around what is measured: making objects, closing what was kept open, deleting objects."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from functools import partial
from typing import Any

import anyio

from penstock.clocks import monotonic_ns
from penstock.engine.team import Team
from penstock.engine.watch import Watched
from penstock.errors import PenstockError, RunError, WorkerLostError
from penstock.report.outcome import PhaseOutcome

__all__ = ["clean_up", "finish", "needs_all", "prepare"]

#: How long workers may take to close their log.
_FINISH_SECONDS = 60.0

_Reports = dict[Any, Mapping[str, Any]]


async def prepare(team: Team, name: str) -> None:
    """Make what must exist, and wait as the run says when anything was made."""
    if await _prepare(team, name) and not team.draining and team.course.post_prepare_delay:
        await anyio.sleep(team.course.post_prepare_delay)


async def _prepare(team: Team, name: str) -> bool:
    """Whether anything was made."""
    if not team.course.prepares:
        return False
    reports: _Reports = {}
    began, before = monotonic_ns(), len(team.lost())
    team.view.phase(name, team.course.prepared, None)

    async def one(worker: Watched, body: Mapping[str, Any]) -> None:
        key = worker.handle.rank, body.get("directories")
        await _follow(team, worker, reports, key, body)
        if team.observer is not None and key in reports:
            team.observer.finished("prepare", reports[key])

    # With a coordinator the whole tree is there before anybody puts a file into it.
    trees_first = team.course.distributed.tree_creation_mode == "coordinator"
    try:
        for body in [{"directories": True}, {"directories": False}] if trees_first else [{}]:
            await team.each(partial(one, body=body), spare=team.hosts)
    finally:
        team.found.phases.append(
            PhaseOutcome(
                name=name,
                seconds=(monotonic_ns() - began) / 1e9,
                objects_made=_sum(reports, "made"),
                objects_found=_sum(reports, "found"),
                nbytes=_sum(reports, "nbytes"),
                failed=_sum(reports, "failed"),
            )
        )
    if len(team.lost()) > before and needs_all(team):
        raise RunError(_missing(team))
    return _sum(reports, "made") > 0


async def _follow(team: Team, worker: Watched, reports: _Reports, key: Any, body: Mapping[str, Any]) -> None:
    async for report in worker.handle.stream("prepare", body):
        worker.heard_ns = monotonic_ns()
        if report != reports.get(key):
            worker.progressed_ns = worker.heard_ns
        reports[key] = report
        team.view.progress(_sum(reports, "made") + _sum(reports, "found"), _sum(reports, "nbytes"))


def needs_all(team: Team) -> bool:
    """Whether what each worker prepares is needed by all: without the share of one, others read what is not there."""
    distributed = team.course.distributed
    own = not distributed.shared_filesystem or distributed.tree_creation_mode == "isolated"
    return team.course.prepares and not (team.hosts and own)


def _missing(team: Team) -> str:
    lost = team.lost()[-1]
    return (
        f"{team.called(lost)} was lost while it prepared objects ({lost.lost}), so its share of them is missing; run "
        "again: what the others made is found then"
    )


async def finish(team: Team) -> None:
    """Let the workers close what they have kept open."""

    async def one(worker: Watched) -> None:
        try:
            worker.log = (await team.call(worker, "finish", {})).get("log", worker.log)
        except WorkerLostError:
            raise
        except PenstockError as error:
            team.found.failure = team.found.failure or f"{team.called(worker)}: {error}"

    with contextlib.suppress(WorkerLostError, RunError), anyio.move_on_after(_FINISH_SECONDS) as scope:
        await team.each(one)
    if scope.cancelled_caught:
        team.note(f"workers did not close their logs within {_FINISH_SECONDS:g} s")


async def clean_up(team: Team) -> None:
    """Let those that are there delete what they made."""
    with contextlib.suppress(WorkerLostError):
        if team.live():
            await _clean(team)
    for worker in team.lost():
        team.note(f"what {team.called(worker)} made was not cleaned up, because it was lost")


async def _clean(team: Team) -> None:
    reports: _Reports = {}
    began = monotonic_ns()
    team.view.phase("cleanup", None, None)

    async def one(worker: Watched, directories: bool) -> None:
        key = worker.handle.rank, directories
        async for report in worker.handle.stream("cleanup", {"directories": directories}):
            worker.heard_ns = monotonic_ns()
            if report != reports.get(key):
                worker.progressed_ns = worker.heard_ns
            reports[key] = report
            team.view.progress(_sum(reports, "made"), 0)
        if team.observer is not None:
            team.observer.finished("cleanup", reports.get(key, {}))

    await team.each(lambda worker: one(worker, False), spare=team.hosts)
    # Directories of a tree are numbered from its root, so the last worker has the deepest ones.
    for worker in reversed(team.live()):
        await team.each(lambda worker: one(worker, True), [worker], spare=team.hosts)
    failed = _sum(reports, "failed")
    if failed:
        example = next((report["example"] for report in reports.values() if report.get("example")), "")
        team.note(f"cleanup: {failed} objects could not be deleted, such as: {example}")
    seconds = (monotonic_ns() - began) / 1e9
    phase = PhaseOutcome(name="cleanup", seconds=seconds, objects_made=_sum(reports, "made"), failed=failed)
    team.found.phases.append(phase)


def _sum(reports: Mapping[Any, Mapping[str, Any]], name: str) -> int:
    return sum(int(report.get(name, 0)) for report in reports.values())
