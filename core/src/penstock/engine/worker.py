"""The worker process: ``python -m penstock.engine.worker``, spoken to by :mod:`penstock.launching.messages`.

It takes plans that drive I/O, never a command or code. When its coordinator is gone it ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from penstock.clocks import wall_ns
from penstock.engine.channel import Channel
from penstock.engine.session import Session
from penstock.launchers import Body
from penstock.launching import messages
from penstock.launching.greeting import greet

__all__ = ["Attendant", "Job", "main", "serve"]


class Job(Protocol):
    """One run in one worker process. The coordinator asks for one phase after the other; ``drain`` at any time."""

    def open(self, body: Body) -> Body: ...

    def prepare(self, body: Body) -> Iterator[Body]: ...

    def resolve(self, body: Body) -> Body: ...

    def run(self, body: Body) -> Iterator[Body]: ...

    def drain(self, body: Body) -> Body: ...

    def finish(self, body: Body) -> Body: ...

    def cleanup(self, body: Body) -> Iterator[Body]: ...


class Attendant(Protocol):
    """What a host's worker does beside its job."""

    @property
    def name(self) -> str:
        """What its host is called."""

    def calls(self) -> Mapping[str, Callable[[Body], Body]]:
        """What else it answers, by name."""

    def heard(self) -> None:
        """The coordinator asked something, whatever it is."""

    def left(self) -> None:
        """The coordinator is gone; nothing more is served after this."""


def main() -> None:
    """Serve the run of a workload."""
    serve(Session())


def serve(session: Job, attendant: Attendant | None = None) -> None:
    """Serve requests until the coordinator closes the channel, and end the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = Channel()
    channel.send(greet(attendant.name if attendant is not None else "").to_message())
    calls: dict[str, Callable[[Body], Body]] = {
        "open": session.open,
        "resolve": session.resolve,
        "drain": session.drain,
        "finish": session.finish,
        **(attendant.calls() if attendant is not None else {}),
    }
    streams: dict[str, Callable[[Body], Iterator[Body]]] = {
        "prepare": session.prepare,
        "run": session.run,
        "cleanup": session.cleanup,
    }
    while (request := channel.receive()) is not None:
        if attendant is not None:
            attendant.heard()
        # A thread would add its start to what is asked of the clock.
        if not _answered_at_once(channel, request):
            threading.Thread(target=_serve, args=(channel, calls, streams, request), daemon=True).start()
    if attendant is not None:
        attendant.left()
    # Lanes may be deep in a call on a store; nobody is left to hear of it.
    os._exit(0)


def _answered_at_once(channel: Channel, request: dict[str, Any]) -> bool:
    answers: dict[str, Callable[[], Body]] = {"clock": lambda: {"wall_ns": wall_ns()}, "beat": dict}
    answer = answers.get(request["method"])
    if answer is None:
        return False
    # Nobody may be left to take it, which the next reading finds out.
    with contextlib.suppress(OSError):
        channel.send({"id": request["id"], "body": answer()})
    return True


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
