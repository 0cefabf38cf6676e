"""What every worker process does with requests, whatever they are about."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from penstock.clocks import wall_ns
from penstock.engine.channel import Channel, ClosedChannelError
from penstock.launchers import Body
from penstock.launching import messages
from penstock.launching.greeting import greet

__all__ = ["Attendant", "Calls", "Streams", "serve_methods"]

#: What is answered once, by its name, and what is answered with a stream.
Calls = Mapping[str, Callable[[Body], Body]]
Streams = Mapping[str, Callable[[Body], Iterator[Body]]]


class Attendant(Protocol):
    """What a host's worker does beside its job."""

    @property
    def name(self) -> str:
        """What its host is called."""

    def calls(self) -> Calls:
        """What else it answers, by name."""

    def heard(self) -> None:
        """The coordinator asked something, whatever it is."""

    def beat(self, body: Body) -> Body:
        """What to answer to the question whether it is there; at once."""

    def left(self) -> None:
        """The coordinator is gone; nothing more is served after this."""


def serve_methods(calls: Calls, streams: Streams, attendant: Attendant | None = None) -> None:
    """Greet, serve requests until the coordinator closes the channel, and end the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    channel = Channel()
    channel.send(greet(attendant.name if attendant is not None else "").to_message())
    if attendant is not None:
        calls = {**calls, **attendant.calls()}
    while (request := channel.receive()) is not None:
        if attendant is not None:
            attendant.heard()
        # A thread would add its start to what is asked of the clock.
        if not _answered_at_once(channel, request, attendant):
            threading.Thread(target=_serve, args=(channel, calls, streams, request), daemon=True).start()
    if attendant is not None:
        attendant.left()
    # Lanes may be deep in a call on a store; nobody is left to hear of it.
    os._exit(0)


def _answered_at_once(channel: Channel, request: dict[str, Any], attendant: Attendant | None) -> bool:
    if request["method"] == "clock":
        body: Body = {"wall_ns": wall_ns()}
    elif request["method"] == "beat":
        body = attendant.beat(request["body"]) if attendant is not None else {}
    else:
        return False
    # Nobody may be left to take it, which the next reading finds out.
    with contextlib.suppress(ClosedChannelError):
        channel.send({"id": request["id"], "body": body})
    return True


def _serve(channel: Channel, calls: Calls, streams: Streams, request: dict[str, Any]) -> None:
    with contextlib.suppress(ClosedChannelError):
        _answer(channel, calls, streams, request)


def _answer(channel: Channel, calls: Calls, streams: Streams, request: dict[str, Any]) -> None:
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
    except ClosedChannelError:
        raise
    except Exception as error:  # noqa: BLE001 - the coordinator is told, whatever it is
        # The disk that holds the log may be what is full.
        with contextlib.suppress(OSError):
            traceback.print_exc()
        channel.send({"id": number, "error": messages.from_error(error)})
