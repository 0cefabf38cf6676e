"""Law 1: ranks, hosts and greetings."""

from __future__ import annotations

import platform
import re
from importlib.metadata import version

from penstock.launchers import WorkerHandle
from penstock.launching import messages
from penstock.testing.launchers.base import LauncherLaws
from penstock.testing.launchers.tools import Running
from penstock.testing.tools import broken

__all__ = ["MeetingLaws"]

_RANKS = "law 1 (ranks count from 0, in the order of the hosts' names)"
_GREETING = "law 1 (a handle carries its worker's greeting)"
_ASKED = "law 1 (as many workers as were asked for)"


class MeetingLaws(LauncherLaws):
    """Laws of ``start``, once it has succeeded."""

    def test_as_many_as_asked_for(self, crew: Running) -> None:
        if len(crew.handles) != self.workers:
            raise broken(_ASKED, f"{len(crew.handles)} came, not {self.workers}", "wait for all, or raise RunError")
        assert len({(each.host, each.pid) for each in crew.handles}) == self.workers, f"{_ASKED}: one came twice"

    def test_ranks(self, crew: Running) -> None:
        ranks = [handle.rank for handle in crew.handles]
        if ranks != list(range(self.workers)):
            raise broken(_RANKS, f"they are {ranks}", "number the handles as they are returned")
        hosts = [handle.host for handle in crew.handles]
        if hosts != sorted(hosts, key=_natural):
            raise broken(_RANKS, f"the hosts come as {hosts}", "sort them, numbers in them by value, before all else")

    def test_greetings(self, crew: Running) -> None:
        for handle in crew.handles:
            self._require_greeting(handle)

    def _require_greeting(self, handle: WorkerHandle) -> None:
        said = handle.greeting
        due = {
            "protocol": messages.PROTOCOL,
            "version": version("penstock"),
            "python": platform.python_version(),
            "pid": handle.pid,
        }
        for name, value in due.items():
            if getattr(said, name) != value:
                raise broken(_GREETING, f"its {name} is {getattr(said, name)!r}, not {value!r}", "let it say that")
        if not said.host or not handle.host:
            raise broken(_GREETING, f"worker {handle.rank} has no host", "take the worker's host name")
        if not said.cpus or sorted(set(said.cpus)) != sorted(said.cpus):
            raise broken(_GREETING, f"its processors are {said.cpus}", "name each that it may use, once")
        if not isinstance(said.plugins, dict) or not all(said.plugins.values()):
            raise broken(_GREETING, f"its plugins are {said.plugins!r}", "give each one's version by its name")


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name) if part]
