"""The worker process: ``python -m penstock.engine.worker``, spoken to by :mod:`penstock.engine.messages`.

It takes plans that drive I/O, never a command or code. When its coordinator is gone it ends.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from penstock.engine import messages
from penstock.engine.channel import Channel
from penstock.engine.session import Session
from penstock.launchers import Body

__all__ = ["Job", "main", "serve"]


class Job(Protocol):
    """One run in one worker process. The coordinator asks for one phase after the other; ``drain`` at any time."""

    def open(self, body: Body) -> Body: ...

    def prepare(self, body: Body) -> Iterator[Body]: ...

    def resolve(self, body: Body) -> Body: ...

    def run(self, body: Body) -> Iterator[Body]: ...

    def drain(self, body: Body) -> Body: ...

    def finish(self, body: Body) -> Body: ...

    def cleanup(self, body: Body) -> Iterator[Body]: ...


def main() -> None:
    """Serve the run of a workload."""
    serve(Session())


def serve(session: Job) -> None:
    """Serve requests until the coordinator closes the channel, and end the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = Channel()
    channel.send({"protocol": messages.PROTOCOL, "pid": os.getpid(), "host": socket.gethostname()})
    calls: dict[str, Callable[[Body], Body]] = {
        "open": session.open,
        "resolve": session.resolve,
        "drain": session.drain,
        "finish": session.finish,
    }
    streams: dict[str, Callable[[Body], Iterator[Body]]] = {
        "prepare": session.prepare,
        "run": session.run,
        "cleanup": session.cleanup,
    }
    while (request := channel.receive()) is not None:
        threading.Thread(target=_serve, args=(channel, calls, streams, request), daemon=True).start()
    # Lanes may be deep in a call on a store; nobody is left to hear of it.
    os._exit(0)


def _serve(
    channel: Channel,
    calls: dict[str, Callable[[Body], Body]],
    streams: dict[str, Callable[[Body], Iterator[Body]]],
    request: dict[str, Any],
) -> None:
    number, method, body = request["id"], request["method"], request["body"]
    try:
        if method in streams:
            for item in streams[method](body):
                channel.send({"id": number, "item": item})
            channel.send({"id": number, "end": True})
        elif method in calls:
            channel.send({"id": number, "body": calls[method](body)})
        else:
            raise ValueError(f"unknown method {method}")
    except Exception as error:  # noqa: BLE001 - the coordinator is told, whatever it is
        traceback.print_exc()
        channel.send({"id": number, "error": messages.from_error(error)})


if __name__ == "__main__":
    main()
