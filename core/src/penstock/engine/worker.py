"""The worker process: ``python -m penstock.engine.worker``, spoken to by :mod:`penstock.launching.messages`.

It takes plans that drive I/O, never a command or code. When its coordinator is gone it ends.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Protocol

from penstock.engine.serving import Attendant, serve_methods
from penstock.engine.session import Session
from penstock.launchers import Body

__all__ = ["Attendant", "Job", "Worker", "main", "serve"]


class Job(Protocol):
    """One run in one worker process. The coordinator asks for one phase after the other; ``drain`` at any time."""

    def open(self, body: Body) -> Body: ...

    def prepare(self, body: Body) -> Iterator[Body]: ...

    def resolve(self, body: Body) -> Body: ...

    def run(self, body: Body) -> Iterator[Body]: ...

    def drain(self, body: Body) -> Body: ...

    def finish(self, body: Body) -> Body: ...

    def cleanup(self, body: Body) -> Iterator[Body]: ...


class Worker(Session):
    """A session that has the process for itself."""

    def resolve(self, body: Body) -> Body:
        found = super().resolve(body)
        # All that was imported, opened and found stays: to look through it for garbage would hold up every lane.
        gc.freeze()
        return found


def main() -> None:
    """Serve the run of a workload."""
    serve(Worker())


def serve(session: Job, attendant: Attendant | None = None) -> None:
    """Serve requests until the coordinator closes the channel, and end the process."""
    calls = {
        "open": session.open,
        "resolve": session.resolve,
        "drain": session.drain,
        "finish": session.finish,
    }
    streams = {
        "prepare": session.prepare,
        "run": session.run,
        "cleanup": session.cleanup,
    }
    serve_methods(calls, streams, attendant)


if __name__ == "__main__":
    main()
