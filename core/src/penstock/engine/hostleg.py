"""One leg of a host: what its processes say becomes one stream, in a thread of its own.

The stream is also kept where nobody takes it any more: the controller may be gone, and what was measured is not.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import attrs

from penstock.clocks import monotonic_ns
from penstock.engine.hostcrew import Event, HostCrew
from penstock.engine.hostmerge import LegMerge
from penstock.engine.hostrecord import HostRecord, LegRecord
from penstock.errors import PenstockError, WorkerLostError
from penstock.launchers import Body
from penstock.launching import messages
from penstock.stats.machine import DeviceUse, MachineMeter
from penstock.stats.system import CpuMeter

__all__ = ["HostLeg", "named"]

_LOOK_SECONDS: Final = 0.5
#: A process at work that tells nothing of its calls for so many intervals, and seconds, is given up.
_INTERVALS: Final = 10
_SILENT_SECONDS: Final = 10.0


class HostLeg:
    """``ranks`` are the processes that have a part in it; ``nobody`` says that all are lost."""

    def __init__(
        self,
        crew: HostCrew,
        record: HostRecord,
        ranks: list[int],
        body: Body,
        nobody: Callable[[], WorkerLostError],
    ) -> None:
        pids = crew.pids
        self._crew = crew
        self._record = record
        self._body = body
        self._merge = LegMerge({rank: pids[rank] for rank in ranks})
        self._leg = LegRecord(body, self._merge)
        self._several = len(ranks) > 1
        self._silent = dict.fromkeys(ranks, 0.0)
        self._failure: PenstockError | None = None
        self._left = len(ranks)
        self._nobody = nobody
        self._items: queue.SimpleQueue[dict[str, Any] | PenstockError] = queue.SimpleQueue()
        self._meter = CpuMeter(monotonic_ns())
        self._machine: MachineMeter | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)

    def begin(self) -> None:
        """Let the processes begin."""
        self._record.begin(self._leg)
        self._thread.start()

    def items(self) -> Iterator[dict[str, Any]]:
        """What is to be told of it, up to the report of its end. Raises what ended it otherwise."""
        while True:
            item = self._items.get()
            if isinstance(item, PenstockError):
                raise item
            yield item
            if "done" in item:
                return

    def wait(self, seconds: float) -> None:
        """Until it is over, or so many seconds have passed."""
        self._thread.join(seconds)

    def _work(self) -> None:
        try:
            self._items.put(self._follow())
        except Exception as error:  # noqa: BLE001 - whatever it is must reach the controller
            self._leg.end(None, f"{type(error).__name__}: {error}")
            self._items.put(messages.to_error(messages.from_error(error)))  # type: ignore[arg-type]

    def _follow(self) -> dict[str, Any] | PenstockError:
        ranks = list(self._silent)
        events = self._crew.stream("run", dict.fromkeys(ranks, self._body))
        before = monotonic_ns()
        while self._silent:
            with contextlib.suppress(queue.Empty):
                self._take(events.get(timeout=_LOOK_SECONDS))
            now = monotonic_ns()
            self._look(min((now - before) / 1e9, _LOOK_SECONDS))
            before = now
            self._emit()
        self._emit()
        report = self._merge.end() | self._machine_use()
        if self._failure is None and not self._left:
            self._failure = self._nobody()
        self._leg.end(report, str(self._failure or ""))
        self._record.write()
        return report if self._failure is None else self._failure

    def _take(self, event: Event) -> None:
        rank = event.rank
        if event.item is not None:
            self._merge.take(rank, event.item)
            self._silent[rank] = 0.0
            return
        del self._silent[rank]
        if isinstance(event.error, WorkerLostError):
            self._left -= 1
            self._merge.leave(rank, event.error.cause)
            return
        self._merge.leave(rank)
        if event.error is not None and self._failure is None:
            self._failure = named(rank, event.error) if self._several else event.error
            drained: Body = {"reason": f"process {rank} failed"}
            threading.Thread(
                target=self._crew.call, args=("drain", dict.fromkeys(self._silent, drained)), daemon=True
            ).start()

    def _look(self, passed: float) -> None:
        """Give up who tells nothing. Counted in times between looks, none of them long, for this process may stop."""
        most = max(_INTERVALS * self._merge.interval, _SILENT_SECONDS)
        for rank in self._silent:
            self._silent[rank] += passed
            if self._merge.interval and most < self._silent[rank] <= most + passed:
                self._crew.give_up(rank, f"it told nothing of its calls for {self._silent[rank]:.0f} s")

    def _emit(self) -> None:
        merged = list(self._merge.ready())
        if not merged:
            return
        # Several at once share one reading: there is no later one for each.
        now = monotonic_ns()
        cpu = self._meter.read(now)
        for item in merged:
            if self._machine is None and item["number"] >= 0:
                self._machine = MachineMeter(now)
            self._leg.take(item)
            self._items.put(item | {"host": {"user": cpu.user, "system": cpu.system, "iowait": cpu.iowait}})
        self._record.write_soon(self._leg)

    def _machine_use(self) -> dict[str, Any]:
        now, machine = monotonic_ns(), self._machine
        if machine is None:
            return {"disks": [], "links": []}
        return {"disks": _devices(machine.disks(now)), "links": _devices(machine.links(now))}


def named(rank: int, error: PenstockError) -> PenstockError:
    """The error with the process that it is of."""
    found = messages.to_error({"type": type(error).__name__, "message": f"process {rank}: {error}"})
    assert isinstance(found, PenstockError)
    return found


def _devices(found: Mapping[str, DeviceUse]) -> list[dict[str, Any]]:
    return [attrs.asdict(each) for each in found.values()]
