"""A TCP proxy that harms connections, each by a plan: to see what a client makes of a bad network.

::

    with FaultProxy(server_port) as proxy:
        store = open_store(uri_of(proxy.port))
        proxy.then(Plan(down=Way(cut=1_000)))  # the next connection ends after 1,000 bytes of answers
        with pytest.raises(StoreConnectionError):
            store.get("key", sink)
        store.get("key", sink)  # the connection after that is sound
        assert len(proxy.heads) == 2

Connections that a client keeps alive live on under their old plan: :meth:`FaultProxy.drop` ends them, so that the
next request meets the next plan. ``up`` is the way from client to server, ``down`` the way of the answers.

The heads of HTTP/1 requests are kept, which counts requests and shows their headers; with TLS there are none. The
proxy needs no privileges, runs in one thread of its own, listens on 127.0.0.1, and knows nothing of penstock.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections import deque
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import attrs

__all__ = ["FaultProxy", "Plan", "Way"]

T = TypeVar("T")

#: How a connection is ended. ``close``: both sides see the end of the stream, and what they still send is thrown
#: away. ``reset``: both get a reset, which may overtake what was passed on. ``half``: only the way whose bytes were
#: counted ends, the other one goes on.
Ending = Literal["close", "reset", "half"]

_PIECE = 65_536
_LONGEST_HEAD = 1_048_576
_STEP_S = 0.02
_PATIENCE_S = 30.0
_RESET = struct.pack("ii", 1, 0)


@attrs.frozen(kw_only=True)
class Way:
    """What happens to the bytes that go one way; by default they pass unharmed.

    ``cut``: exactly so many pass, then the connection ends as its plan says; 0 ends it when the first byte comes.
    ``corrupt``: the offset of the byte whose bits are all inverted.
    ``delay``: seconds by which bytes are held that follow bytes of the other way: each request, or each answer.
    ``rate``: bytes per second at most.
    ``piece``: the most bytes that are passed on at once; 1 makes a packet of each byte.
    ``swallow``: bytes are read and never passed on.
    """

    cut: int | None = None
    corrupt: int | None = None
    delay: float = 0.0
    rate: float | None = None
    piece: int = _PIECE
    swallow: bool = False

    def at_once(self) -> int:
        """The most bytes to pass on before the next pause."""
        return self.piece if self.rate is None else max(1, min(self.piece, int(self.rate * _STEP_S)))


@attrs.frozen(kw_only=True)
class Plan:
    """What happens to one connection; by default nothing does.

    ``opening``: ``close`` or ``reset`` end it as soon as it is accepted, ``ignore`` accepts it and does nothing.
    ``cut_after_head`` ends it when the first request's head has passed, before any byte of a body.
    ``ending`` says how a cut ends it.
    """

    up: Way = Way()
    down: Way = Way()
    opening: Literal["pass", "close", "reset", "ignore"] = "pass"
    cut_after_head: bool = False
    ending: Ending = "close"


class FaultProxy:
    """Passes connections on to a server, each by its plan. Also a context manager.

    ``plan`` is what happens to connections that :meth:`then` says nothing about, and may be set at any time.
    """

    def __init__(self, port: int, host: str = "127.0.0.1", *, plan: Plan | None = None) -> None:
        """Start to listen, for a server that need not be there yet."""
        self.plan = Plan() if plan is None else plan
        self.connections = 0  #: accepted so far
        self.up_bytes = 0  #: passed on to the server so far
        self.down_bytes = 0  #: passed on to the client so far
        self.heads: list[bytes] = []  #: of every request that came, whole and with its empty line
        self._server = (host, port)
        self._plans: deque[Plan] = deque()
        self._open: dict[_Connection, asyncio.Task[None]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._thread.start()
        self._listener = self._call(self._listen(0))
        self.host, self.port = self._listener.getsockname()

    def then(self, *plans: Plan) -> None:
        """Give the next connections these plans, one each, after those that were given before."""
        self._plans.extend(plans)

    def drop(self, ending: Ending = "close") -> int:
        """End every connection that is open, and say how many there were."""
        return self._call(self._drop(ending))

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """While the block runs nobody listens, so connections are refused; those that are open go on."""
        self._call(self._deafen())
        try:
            yield
        finally:
            self._listener = self._call(self._listen(self.port))

    def close(self) -> None:
        """End every connection and stop listening; closing twice is harmless."""
        if self._loop.is_closed():
            return
        self._call(self._deafen())
        self._call(self._drop("close"))
        self._call(self._cancel())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_PATIENCE_S)
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_PATIENCE_S)

    async def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port), backlog=512)
        listener.setblocking(False)
        self._loop.add_reader(listener, self._accept)
        return listener

    async def _deafen(self) -> None:
        self._loop.remove_reader(self._listener)
        self._listener.close()

    async def _drop(self, ending: Ending) -> int:
        connections = list(self._open)
        for connection in connections:
            connection.end("close" if ending == "half" else ending)
        return len(connections)

    async def _cancel(self) -> None:
        tasks = list(self._open.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the loop closes the sockets in its next turn

    def _accept(self) -> None:
        with suppress(BlockingIOError, ConnectionError):  # the client has thought better of it
            client, _ = self._listener.accept()
            self.connections += 1
            plan = self._plans.popleft() if self._plans else self.plan
            connection = _Connection(self, plan, client)
            task = self._loop.create_task(connection.run(self._server))
            self._open[connection] = task
            task.add_done_callback(lambda _: self._forget(connection))

    def _forget(self, connection: _Connection) -> None:
        del self._open[connection]
        connection.abandon()


class _Connection:
    """One connection of a client, and the one to the server that belongs to it."""

    def __init__(self, proxy: FaultProxy, plan: Plan, client: socket.socket) -> None:
        self._proxy = proxy
        self._plan = plan
        self._client = client
        self._writers: list[asyncio.StreamWriter] = []
        self._heads = _Heads(proxy.heads)
        self._ended = False
        self._last_up: bool | None = None  # the way that bytes went last

    async def run(self, address: tuple[str, int]) -> None:
        """Do what the plan says until both sides have closed, or this is cancelled."""
        reader, writer = await asyncio.open_connection(sock=self._client)
        self._writers.append(writer)
        try:
            if self._plan.opening == "pass":
                answers, server = await asyncio.open_connection(*address)
                self._writers.append(server)
                await asyncio.gather(self._pump(True, reader, server), self._pump(False, answers, writer))
            elif self._plan.opening == "ignore":
                await asyncio.Event().wait()
            else:
                self.end(self._plan.opening)
        except OSError:
            self.end("reset")
        for writer in self._writers:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def end(self, ending: Ending, only: asyncio.StreamWriter | None = None) -> None:
        """End it; ``only`` is the writer that ``half`` ends."""
        self._ended = self._ended or ending != "half"
        for writer in self._writers:
            with suppress(OSError):  # it is gone already
                if ending == "reset":
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    writer.transport.abort()
                elif ending == "close" or writer is only:
                    writer.write_eof()

    def abandon(self) -> None:
        """Free the sockets without waiting for anybody."""
        for writer in self._writers:
            writer.transport.abort()
        if not self._writers:
            self._client.close()

    async def _pump(self, up: bool, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        way = self._plan.up if up else self._plan.down
        passed = 0
        over = False
        try:
            while data := await reader.read(_PIECE):
                limit = self._limit(up, way, passed, data)
                if self._ended or over or way.swallow:
                    continue
                if self._last_up is not up:
                    self._last_up = up
                    await asyncio.sleep(way.delay)
                data = _corrupted(data[:limit], way.corrupt, passed)
                passed += len(data)
                await self._deliver(up, way, data, writer)
                if limit is not None:
                    over = True
                    self.end(self._plan.ending, writer)
            if not self._ended and not over:
                writer.write_eof()
        except OSError:
            self.end("reset")  # as one side did

    def _limit(self, up: bool, way: Way, passed: int, data: bytes) -> int | None:
        """How many of these bytes pass before the connection ends, None if it goes on."""
        limits = []
        if way.cut is not None and passed + len(data) >= way.cut:
            limits.append(way.cut - passed)
        if up:
            head = self._heads.feed(data)
            if head is not None and self._plan.cut_after_head:
                limits.append(head)
        return min(limits, default=None)

    async def _deliver(self, up: bool, way: Way, data: bytes, writer: asyncio.StreamWriter) -> None:
        size = way.at_once()
        for start in range(0, len(data), size):
            if self._ended:
                break
            piece = data[start : start + size]
            writer.write(piece)
            await writer.drain()
            if up:
                self._proxy.up_bytes += len(piece)
            else:
                self._proxy.down_bytes += len(piece)
            if way.rate is not None:
                await asyncio.sleep(len(piece) / way.rate)


def _corrupted(data: bytes, offset: int | None, passed: int) -> bytes:
    if offset is None or not passed <= offset < passed + len(data):
        return data
    harmed = bytearray(data)
    harmed[offset - passed] ^= 0xFF
    return bytes(harmed)


class _Heads:
    """Finds the heads of requests in what a client sends, by the length or the chunks of each body."""

    def __init__(self, found: list[bytes]) -> None:
        self._found = found
        self._line = bytearray()  # what is gathered until its end comes
        self._skip = 0  # bytes of a body that are still to come
        self._inside: Literal["head", "chunks", "trailers", "unknown"] = "head"

    def feed(self, data: bytes) -> int | None:
        """Look at the next bytes; the end of the first head that ends within them."""
        at, ended = 0, None
        while at < len(data) and self._inside != "unknown":
            if self._skip:
                step = min(self._skip, len(data) - at)
                self._skip -= step
                at += step
                continue
            mark = b"\r\n\r\n" if self._inside == "head" else b"\r\n"
            known = len(self._line)
            self._line += data[at:]
            end = self._line.find(mark, max(0, known - len(mark)))
            if end < 0:
                self._inside = "unknown" if len(self._line) > _LONGEST_HEAD else self._inside
                break
            at += end + len(mark) - known
            whole = bytes(self._line[: end + len(mark)])
            self._line.clear()
            if self._inside == "head":
                ended = at if ended is None else ended
            self._take(whole)
        return ended

    def _take(self, text: bytes) -> None:
        if self._inside == "head":
            self._found.append(text)
            self._after_head(text)
        elif self._inside == "trailers":
            self._inside = "head" if text == b"\r\n" else "trailers"
        else:
            try:
                size = int(text.partition(b";")[0], 16)
            except ValueError:
                self._inside = "unknown"
            else:
                self._skip = size + 2 if size else 0
                self._inside = "chunks" if size else "trailers"

    def _after_head(self, head: bytes) -> None:
        lines = head.lower().split(b"\r\n")
        fields = dict(line.replace(b" ", b"").split(b":", 1) for line in lines[1:] if b":" in line)
        length = fields.get(b"content-length", b"0")
        if lines[0].startswith(b"connect ") or not length.isdigit():
            self._inside = "unknown"
        elif fields.get(b"transfer-encoding", b"").endswith(b"chunked"):
            self._inside = "chunks"
        else:
            self._skip = int(length)
