"""How each host of a run is doing at this moment, for those who watch."""

from __future__ import annotations

import attrs

from penstock.engine.found import Found
from penstock.engine.watch import Watched
from penstock.report.crew import State, WorkerState
from penstock.stats.tally import ALL

__all__ = ["states_of"]


def states_of(found: Found, *, warn: float) -> list[WorkerState]:
    """Of all workers, by rank. One that has said nothing for ``warn`` seconds is silent."""
    leg = next((measured for measured in reversed(found.legs) if measured.begun), None)
    at_work = {worker.handle.rank: worker for worker in leg.workers} if leg is not None else {}
    return [_state(worker, at_work.get(worker.handle.rank), warn) for worker in found.workers]


def _state(worker: Watched, mine: Watched | None, warn: float) -> WorkerState:
    # Not rolled up: that would merge all latencies of every host, every second.
    total = (mine or worker).tally
    state = WorkerState(
        rank=worker.handle.rank,
        host=worker.handle.host,
        state=_word(worker, mine, warn),
        count=total.count,
        errors=total.errors,
        nbytes=total.nbytes,
        silent_s=worker.silent_s,
        lost=worker.lost,
    )
    last = mine.last if mine is not None and mine.running else None
    if last is None:
        return state
    cell, seconds = last.tally.roll_up(ALL), max(last.end_s - last.start_s, 1e-9)
    half, most = cell.service.percentiles((50, 99)) if cell.service.count else (None, None)
    return attrs.evolve(state, rate=cell.count / seconds, speed=cell.nbytes / seconds, p50_ns=half, p99_ns=most)


def _word(worker: Watched, mine: Watched | None, warn: float) -> State:
    if worker.lost is not None:
        return "lost"
    if worker.silent_s > warn:
        return "silent"
    if mine is not None and mine.running:
        return "running"
    if worker.busy:
        return "preparing"
    return "done" if mine is not None and mine.arrived else "waiting"
