"""What every launcher does alike: the messages, workers at the end of a link, and the host's side of it.

A launcher of another plugin brings a :class:`Link` for each side, and starts :func:`serve_host` where its hosts are::

    class Acme:                                  # a penstock.launchers.Launcher
        hosts, channel = True, "protected"
        async def start(self, workers, spec):
            links, names = …                     # one Link to each host, on which serve_host(link) runs
            self._crew = Crew(links, names)
            return await self._crew.start(spec)
        async def stop(self):
            await self._crew.stop()
"""

from __future__ import annotations

from penstock.launching.crew import Crew
from penstock.launching.greeting import greet
from penstock.launching.hosting import HostProcess, pump, serve_host
from penstock.launching.links import Link
from penstock.launching.messages import MAX_FRAME, PROTOCOL
from penstock.launching.process import WorkerProcess
from penstock.launching.rules import ALLOWED, check_environment, check_patterns, check_worker
from penstock.launching.workers import Worker

__all__ = [
    "ALLOWED",
    "MAX_FRAME",
    "PROTOCOL",
    "Crew",
    "HostProcess",
    "Link",
    "Worker",
    "WorkerProcess",
    "check_environment",
    "check_patterns",
    "check_worker",
    "greet",
    "pump",
    "serve_host",
]
