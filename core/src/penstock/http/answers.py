"""The answer to a request: its head is here, its body is fetched by whoever wants it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from penstock.errors import StoreConnectionError, StoreTimeoutError
from penstock.http.connection import Connection
from penstock.http.dates import now_s, parse_date
from penstock.http.heads import CHUNKED, Head, malformed
from penstock.store import Sink

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Answer", "Home"]

_MIB = 1024 * 1024
#: Bodies nobody wants are read to the end up to this size, to keep the connection.
_DRAIN = 64 * 1024
#: and if it takes no longer than this, in seconds.
_DRAIN_S = 1.0
#: The most room that a sink is asked for at once, for a length may be a lie.
_MOST_ROOM = 1024 * 1024 * 1024
#: Below this much of a chunk it is fetched together with what follows.
_SMALL = 16 * 1024
_MAX_LINE = 4096
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?\Z")


class Home(Protocol):
    """Where a connection goes that can carry another request."""

    def keep(self, connection: Connection, /) -> None: ...


class Answer:
    """Status and headers of an answer, and its body, which can be had once.

    ``length`` is the body's in bytes, for HEAD what a GET's would be; None when the server does not say. After the
    body was read to its end, or ``close``, the connection serves others.
    """

    __slots__ = ("_connection", "_home", "_left", "_names", "_persists", "_values", "length", "status")

    def __init__(self, home: Home, connection: Connection, head: Head) -> None:
        self._home = home
        self._connection: Connection | None = connection
        self.status, self._names, self._values, self.length, self._left, self._persists = head
        if not self._left:
            self._finish()

    def header(self, name: str) -> str | None:
        """The value of a header, by its name in lower case; None when there is none.

        Of one that came several times the values, joined by ``, ``. What is no ASCII is read as UTF-8 if it can be.
        """
        number = self._names.get(name)
        if number is None:
            return None
        text = self._values[number].strip(" \t")
        return text if text.isascii() else _decoded(text)

    @property
    def names(self) -> str:
        """The lower-case names of all headers, with spaces between: to see cheaply what is not there."""
        return self._names.joined

    def headers_like(self, prefix: str) -> Mapping[str, str]:
        """The headers whose lower-case names begin with ``prefix``, by their whole names."""
        return {name: value for name, value in self.headers.items() if name.startswith(prefix)}

    @property
    def headers(self) -> Mapping[str, str]:
        """All of them, by lower-case name."""
        return {name: _decoded(self._values[number].strip(" \t")) for name, number in self._names.items()}

    @property
    def retry_after(self) -> float | None:
        """The seconds that the server asks to wait (RFC 9110, 10.2.3), None when it does not."""
        text = self.header("retry-after")
        if text is None:
            return None
        if text.isascii() and text.isdecimal():
            return float(text[:9])
        then = parse_date(text)
        return None if then is None else max(0.0, then / 1e9 - now_s())

    def into(self, sink: Sink) -> int:
        """Deliver the body, or what is left of it, to ``sink`` and return the number of bytes.

        Raises StoreConnectionError when it ends too soon, StoreTimeoutError, and whatever the sink raises.
        """
        connection = self._connection
        if connection is None:
            return 0
        try:
            if self._left > 0:
                count = self._left
                _deliver(connection, sink, count)
            elif self._left == CHUNKED:
                count = _deliver_chunks(connection, sink)
            else:
                count = _deliver_rest(connection, sink)
        except BaseException:
            self._drop()
            raise
        self._finish()
        return count

    def read(self, limit: int = _MIB) -> bytes:
        """The body, of at most ``limit`` bytes. Raises StoreConnectionError for a longer one, and as ``into`` does."""
        connection = self._connection
        if connection is not None and 0 < self._left <= min(limit, connection.end - connection.begin):
            # All of it came with the head, as short answers do.
            begin = connection.begin
            connection.begin = begin + self._left
            data = bytes(connection.view[begin : connection.begin])
            self._finish()
            return data
        sink = _Bounded(limit)
        self.into(sink)
        return bytes(sink.data)

    def close(self) -> None:
        """Be done with it, whatever of the body is left. Takes a second at most and raises nothing."""
        if self._connection is None:
            return
        if self._persists and (0 < self._left <= _DRAIN or self._left == CHUNKED):
            self._connection.hurry(_DRAIN_S)
            try:
                self.into(_Bounded(_DRAIN))
            except (StoreConnectionError, StoreTimeoutError):
                return
        else:
            self._drop()

    def _finish(self) -> None:
        connection, self._connection = self._connection, None
        assert connection is not None
        # Bytes that nobody asked for would be taken for the next answer.
        if self._persists and connection.begin == connection.end and not connection.cut_short:
            self._home.keep(connection)
        else:
            connection.close()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


class _Bounded:
    """A sink for small bodies."""

    __slots__ = ("_limit", "_room", "data")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._room = memoryview(b"")
        self.data = bytearray()

    def write(self, data: Buffer, /) -> None:
        self.data += data
        if len(self.data) > self._limit:
            raise malformed(f"a body of more than {self._limit} bytes, where at most that is expected")

    def reserve(self, nbytes: int, /) -> memoryview:
        self._room = memoryview(bytearray(min(nbytes, 64 * 1024)))
        return self._room

    def commit(self, nbytes: int, /) -> None:
        self.write(self._room[:nbytes])


def _decoded(text: str) -> str:
    try:
        return text.encode("latin-1").decode()
    except UnicodeDecodeError:
        return text


def _deliver(connection: Connection, sink: Sink, count: int) -> None:
    """Deliver exactly ``count`` bytes."""
    left = count
    begin = connection.begin
    have = connection.end - begin
    if have >= left:
        connection.begin = begin + left
        sink.write(connection.view[begin : begin + left])
        return
    while have:
        room = sink.reserve(min(left, _MOST_ROOM))
        taken = min(room.nbytes, have)
        room[:taken] = connection.view[begin : begin + taken]
        begin += taken
        have -= taken
        left -= taken
        connection.begin = begin
        sink.commit(taken)
    while left:
        room = sink.reserve(min(left, _MOST_ROOM))
        if room.nbytes > left:
            room = room[:left]
        got = connection.receive(room)
        if not got:
            raise _cut(count, left)
        sink.commit(got)
        left -= got


def _deliver_chunks(connection: Connection, sink: Sink) -> int:
    """Deliver the chunks (RFC 9112, 7.1); trailers are read and let go."""
    total = 0
    while size := _chunk_size(connection):
        left = size
        while left:
            if connection.begin == connection.end:
                if left >= _SMALL:
                    _deliver(connection, sink, left)
                    break
                if not connection.fill():
                    raise _cut(size, left)
            taken = min(left, connection.end - connection.begin)
            _deliver(connection, sink, taken)
            left -= taken
        total += size
        if _line(connection):
            raise malformed("a chunk is longer than it says")
    read = 0
    while line := _line(connection):
        read += len(line)
        if read > _MAX_LINE or b":" not in line:
            raise malformed("its trailers")
    return total


def _chunk_size(connection: Connection) -> int:
    line = _line(connection)
    match = _CHUNK.match(line)
    if match is None:
        raise malformed(f"a chunk's size is {line[:40]!r}")
    return int(match[1], 16)


def _line(connection: Connection) -> bytes:
    """The next line without its end."""
    while True:
        found = connection.find(b"\r\n", connection.begin)
        if found >= 0:
            line = bytes(connection.view[connection.begin : found])
            connection.begin = found + 2
            if b"\n" in line or b"\r" in line:
                raise malformed("a line end in a chunk's size or a trailer")
            return line
        if connection.end - connection.begin > _MAX_LINE:
            raise malformed(f"a chunk's size or a trailer of more than {_MAX_LINE} bytes")
        if not connection.fill():
            raise StoreConnectionError("the server ended the connection within a chunked body")


def _deliver_rest(connection: Connection, sink: Sink) -> int:
    """Deliver all until the server closes."""
    total = connection.end - connection.begin
    _deliver(connection, sink, total)
    while True:
        room = sink.reserve(_MIB)
        got = connection.receive(room)
        if not got:
            return total
        sink.commit(got)
        total += got


def _cut(size: int, left: int) -> StoreConnectionError:
    return StoreConnectionError(f"the server ended the connection after {size - left} of {size} bytes of a body")
