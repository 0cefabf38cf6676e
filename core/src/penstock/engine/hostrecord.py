"""What a host keeps of its part of a run, so that something is left of it when the controller is gone.

``host.json`` in the directory of the host's worker, written every few seconds and at the end, always whole::

    schema        penstock.host/1
    version       of penstock
    host, pid     of the host's worker; rank: its number among ``hosts``; run_id: that of the run
    status        running; ended: the controller ended it; abandoned: by itself, for the ``reason``
    started_ns, updated_ns   wall clock of this host
    clock         list of {"at_ns", "offset_ns", "uncertainty_ns"}: how far this host's clock is ahead of the
                  controller's, as the controller measured it; empty: it never said
    about         what the controller told of the job, without secrets
    processes     list of {"rank", "pid", "lanes" (for each share), "lost" (null, or why)}
    op_log        names of the parts of the log in this directory
    legs          list of {"leg", "share", "start_ns", "origin_ns" (wall clock of this host), "began_ns" (first
                  operation, or null), "ended", "reason" (why it was stopped, or empty), "failure", "end_s" (of the
                  measured window),
                  "tally", "errors", "endpoints" (of them by name), "verification" (or null), "cpu_ns" and
                  "first_cpu_ns" (of its processes at the end and before the measured window), "timeline"}

A leg's tally and errors are messages of :class:`penstock.stats.tally.Tally` and its kin, of all processes from the
beginning; ``timeline`` is the list of {"number", "start_s", "end_s", "count", "errors", "nbytes"} of its intervals, of
which the oldest are joined by pairs when they are many. Nothing in the file is secret.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final

from penstock.clocks import monotonic_ns, wall_ns
from penstock.engine.hostmerge import LegMerge
from penstock.engine.parts import HostPlan
from penstock.errors import redact
from penstock.launching.hosting import RECORD
from penstock.stats.tally import Tally

__all__ = ["SCHEMA", "HostRecord", "LegRecord"]

SCHEMA: Final = "penstock.host/1"
#: Nanoseconds between two writings, and the most points of a leg's timeline.
_EVERY_NS: Final = 3_000_000_000
_POINTS: Final = 600


class LegRecord:
    """One leg, while its snapshots are merged. ``kept`` is what the file says of it."""

    def __init__(self, body: Mapping[str, Any], merge: LegMerge) -> None:
        start = int(body["start_ns"])
        self._merge = merge
        self._timeline: list[dict[str, Any]] = []
        self._first_cpu_ns = 0
        self._cpu_ns = 0
        self._facts: dict[str, Any] = {
            "leg": int(body.get("leg", 0)),
            "share": int(body.get("share", 0)),
            "start_ns": start,
            "origin_ns": int(body.get("origin_ns", start)),
            "began_ns": None,
            "ended": False,
            "reason": "",
            "failure": "",
        }
        self.kept: dict[str, Any] = {}
        self.keep()

    def take(self, snapshot: Mapping[str, Any]) -> None:
        """A merged snapshot."""
        number, self._cpu_ns = int(snapshot["number"]), int(snapshot["cpu_ns"])
        if number < 0:
            self._first_cpu_ns = self._cpu_ns if number == -1 else self._first_cpu_ns
            return
        tally = Tally.from_message(snapshot["tally"])
        self._timeline.append(
            {
                **{name: snapshot[name] for name in ("number", "start_s", "end_s")},
                "count": tally.count,
                "errors": tally.errors,
                "nbytes": tally.nbytes,
            }
        )
        if len(self._timeline) > _POINTS:
            pairs = zip(self._timeline[::2], self._timeline[1::2], strict=False)
            self._timeline = [_joined(*pair) for pair in pairs] + self._timeline[len(self._timeline) & ~1 :]

    def end(self, report: Mapping[str, Any] | None, failure: str = "") -> None:
        """It is over, with that report, or by a failure."""
        self._facts |= {"ended": True, "failure": redact(failure)}
        if report is not None:
            self._facts |= {"began_ns": report["began_ns"], "reason": redact(str(report["reason"]))}
        self.keep()

    def keep(self) -> None:
        """Note what the file is to say of it from now on; called by the one thread that merges."""
        cpu = {"cpu_ns": self._cpu_ns, "first_cpu_ns": self._first_cpu_ns}
        self.kept = {**self._facts, **self._merge.totals.to_message(), **cpu, "timeline": list(self._timeline)}


class HostRecord:
    """The file. Any thread may call it."""

    def __init__(self, directory: str, host: str, plan: HostPlan, pids: Mapping[int, int]) -> None:
        self._path = os.path.join(directory, RECORD)
        self._lock = threading.Lock()
        self._written_ns = 0
        self._gone = False
        self._legs: list[LegRecord] = []
        self._processes: list[dict[str, Any]] = [
            {"rank": part.rank, "pid": pids[part.rank], "lanes": list(part.lanes), "lost": None} for part in plan.parts
        ]
        self._facts: dict[str, Any] = {
            "schema": SCHEMA,
            "version": version("penstock"),
            "host": host,
            "pid": os.getpid(),
            "rank": plan.rank,
            "hosts": plan.hosts,
            "run_id": plan.run_id,
            "status": "running",
            "reason": "",
            "started_ns": wall_ns(),
            "clock": [],
            "about": dict(plan.about),
            "op_log": list(plan.logs),
        }
        self.write()

    def begin(self, leg: LegRecord) -> None:
        """A leg begins."""
        self._legs.append(leg)

    def read_clock(self, readings: Sequence[Mapping[str, Any]]) -> None:
        """What the controller says of this host's clock."""
        names = ("at_ns", "offset_ns", "uncertainty_ns")
        self._facts["clock"] = [{name: int(each[name]) for name in names} for each in readings]

    def lose(self, rank: int, cause: str) -> None:
        """A process is gone."""
        for process in self._processes:
            if process["rank"] == rank:
                process["lost"] = cause

    def end(self, status: str, reason: str = "") -> None:
        """Nothing more comes."""
        self._facts |= {"status": status, "reason": reason}
        self.write()

    def forget(self) -> None:
        """The file is to go, and not to come back."""
        with self._lock:
            self._gone = True
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._path)

    def write_soon(self, leg: LegRecord) -> None:
        """Write it, with what is known of a leg by now, unless that was done within the last seconds."""
        if monotonic_ns() - self._written_ns >= _EVERY_NS:
            leg.keep()
            self.write()

    def write(self) -> None:
        """Write it now. What can't be written is tried again the next time: a full disk here must not end a run."""
        facts = self._facts | {
            "updated_ns": wall_ns(),
            "processes": self._processes,
            "legs": [leg.kept for leg in self._legs],
        }
        temporary = f"{self._path}.tmp"
        with self._lock, contextlib.suppress(OSError):
            if self._gone:
                return
            self._written_ns = monotonic_ns()
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                # Not forced to the disk, which may be the one that is measured: it has to survive this process alone.
                json.dump(facts, file)
            os.replace(temporary, self._path)


def _joined(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    sums = {name: first[name] + second[name] for name in ("count", "errors", "nbytes")}
    return {"number": first["number"], "start_s": first["start_s"], "end_s": second["end_s"], **sums}
