"""A connected socket, plain or under TLS, that blocks without being polled.

Python polls a socket before each call when it has a time-out: a system call more, and one more hand-over of the
interpreter lock. The kernel's own time-outs (``SO_RCVTIMEO``, ``SO_SNDTIMEO``) cost nothing. Under TLS the records
go through memory, so one system call fetches or sends many of them where OpenSSL on a socket makes two for each.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
from collections.abc import Sequence
from typing import Protocol

__all__ = ["SEND_SLICE_S", "Channel", "PlainChannel", "TLSChannel", "set_timeouts"]

#: How long a send blocks before it looks whether the server has answered already.
SEND_SLICE_S = 0.25

_RECORDS = 256 * 1024
_TIMEVAL = struct.Struct("ll")
# Linux's struct tcp_info: its state comes first, the number of bytes received stands at 128.
_TCP_INFO = 136
_ESTABLISHED = 1


class Channel(Protocol):
    """Bytes to and from a server. Blocking calls end by the kernel's time-outs with BlockingIOError."""

    def recv_into(self, room: memoryview, /) -> int:
        """Receive at least one byte into ``room``; 0 means that the server has ended its side."""

    def send(self, parts: Sequence[memoryview], /) -> int:
        """Send from the start of the parts and return how many bytes were taken."""

    def flush(self) -> None:
        """Send what was taken and is still here."""

    def answered(self) -> bool:
        """Whether bytes, or the end, have come that were not read; looks without waiting. May raise OSError."""

    def is_quiet(self) -> bool:
        """The opposite, for an idle connection, and cheap."""

    def wait_at_most(self, seconds: float) -> None:
        """Set the longest silence of a receive."""

    def close(self) -> None:
        """Let go of the socket."""


def set_timeouts(sock: socket.socket, read: float, send: float = SEND_SLICE_S) -> None:
    """Make a socket block, with the kernel's time-outs in seconds."""
    sock.setblocking(True)
    for name, seconds in ((socket.SO_RCVTIMEO, read), (socket.SO_SNDTIMEO, send)):
        # A time of zero would mean for ever.
        micros = max(1, round(seconds * 1e6))
        sock.setsockopt(socket.SOL_SOCKET, name, _TIMEVAL.pack(*divmod(micros, 1_000_000)))


class PlainChannel:
    """A socket as it is."""

    __slots__ = ("_received", "_sock")

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._received = _received(sock)

    def recv_into(self, room: memoryview, /) -> int:
        got = self._sock.recv_into(room)
        self._received += got
        return got

    def send(self, parts: Sequence[memoryview], /) -> int:
        return self._sock.sendmsg(parts)

    def flush(self) -> None:
        """The kernel has it all."""

    def answered(self) -> bool:
        return _readable(self._sock)

    def is_quiet(self) -> bool:
        return _received(self._sock) == self._received

    def wait_at_most(self, seconds: float) -> None:
        set_timeouts(self._sock, seconds)

    def close(self) -> None:
        self._sock.close()


class TLSChannel:
    """TLS over a socket, its records passing through memory."""

    __slots__ = ("_early", "_encrypted", "_incoming", "_outgoing", "_received", "_rest", "_sock", "_tls")

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, host: str) -> None:
        """Shake hands; ``host`` is the name that the certificate must bear. Raises OSError."""
        self._sock = sock
        self._received = _received(sock)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._encrypted = memoryview(bytearray(_RECORDS))
        self._rest = memoryview(b"")
        self._early = b""
        try:
            self._shake_hands()
        except ssl.SSLError:
            self._try_flush()
            raise

    def recv_into(self, room: memoryview, /) -> int:
        if self._early:
            return self._take_early(room)
        filled, size = 0, room.nbytes
        tls, incoming = self._tls, self._incoming
        while True:
            try:
                filled += int(tls.read(size - filled, room[filled:]))
            except ssl.SSLWantReadError:
                if filled:
                    return filled
                self.flush()
                self._fetch()
                continue
            except ssl.SSLZeroReturnError:
                return filled
            if filled == size or not (incoming.pending or tls.pending()):
                return filled

    def send(self, parts: Sequence[memoryview], /) -> int:
        """At most some 256 KiB of the parts."""
        self.flush()
        taken = 0
        for part in parts:
            taken += self._tls.write(part[: _RECORDS - taken])
            if taken >= _RECORDS:
                break
        self._try_flush()
        return taken

    def flush(self) -> None:
        while self._rest or self._outgoing.pending:
            if not self._rest:
                self._rest = memoryview(self._outgoing.read())
            self._rest = self._rest[self._sock.send(self._rest) :]

    def answered(self) -> bool:
        if not self._early and _readable(self._sock):
            try:
                self._fetch()
                self._early = self._tls.read(_RECORDS)
            except ssl.SSLWantReadError:
                # Session tickets are no answer.
                return False
        return bool(self._early)

    def is_quiet(self) -> bool:
        if self._early or self._tls.pending():
            return False
        try:
            return _received(self._sock) == self._received or (not self.answered() and not self._is_ended())
        except OSError:
            return False

    def wait_at_most(self, seconds: float) -> None:
        set_timeouts(self._sock, seconds)

    def close(self) -> None:
        self._sock.close()

    @property
    def version(self) -> str | None:
        """The protocol that was agreed on, such as ``TLSv1.3``."""
        return self._tls.version()

    def certificate(self) -> dict[str, object]:
        """The server's certificate, as ``ssl.SSLSocket.getpeercert`` gives it."""
        return dict(self._tls.getpeercert() or {})

    def _shake_hands(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self.flush()
                self._fetch()
            else:
                self.flush()
                return

    def _fetch(self) -> None:
        got = self._sock.recv_into(self._encrypted)
        self._received += got
        if got:
            self._incoming.write(self._encrypted[:got])
        else:
            # So that an end without a farewell is an error, and not the end of a body.
            self._incoming.write_eof()

    def _is_ended(self) -> bool:
        return self._incoming.eof

    def _take_early(self, room: memoryview) -> int:
        count = min(room.nbytes, len(self._early))
        room[:count] = self._early[:count]
        self._early = self._early[count:]
        return count

    def _try_flush(self) -> None:
        try:
            self.flush()
        except BlockingIOError:
            return


def _readable(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def _received(sock: socket.socket) -> int:
    """The bytes that the kernel has received, -1 when the connection is not open both ways.

    Asking so does not let go of the interpreter lock, as a poll would: with threads waiting for it that costs 50 µs.
    """
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO)
    if info[0] != _ESTABLISHED:
        return -1
    return int.from_bytes(info[128:136], "little")
