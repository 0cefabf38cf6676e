"""A connected socket, plain or under TLS, that blocks without being polled.

Python polls a socket before each call when it has a time-out: a system call more, and one more hand-over of the
interpreter lock. The kernel's own time-outs (``SO_RCVTIMEO``, ``SO_SNDTIMEO``) cost nothing.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import struct
from collections.abc import Sequence
from typing import Protocol

from penstock.clocks import monotonic_ns

__all__ = ["SEND_SLICE_S", "Channel", "PlainChannel", "TLSChannel", "set_timeouts"]

#: How long a send blocks before it looks whether the server has answered already.
SEND_SLICE_S = 0.25

#: As many as one system call takes (IOV_MAX).
_MOST_PARTS = 1024
_JOINED = 32 * 1024
_WRITE = 1024 * 1024
_TIMEVAL = struct.Struct("ll")
# Linux's struct tcp_info: its state comes first, the number of bytes received stands at 128.
_TCP_INFO = struct.Struct("=B127xQ")
_ESTABLISHED = 1
# Not in the socket module; its first number, all that is asked for, is the memory of the receive queue.
_SO_MEMINFO = 55


class Channel(Protocol):
    """Bytes to and from a server. Blocking calls end by the kernel's time-outs with BlockingIOError."""

    def recv_into(self, room: memoryview, /) -> int:
        """Receive at least one byte into ``room``; 0 means that the server has ended its side."""

    def send(self, parts: Sequence[bytes | memoryview], /) -> int:
        """Send from the start of the parts and return how many bytes were taken, not always all."""

    def recv_within(self, room: memoryview, seconds: float, /) -> int:
        """As ``recv_into``, with a limit for the whole call, however its bytes come."""

    def answered(self) -> bool:
        """Whether bytes, or the end, have come that were not read; looks without waiting. May raise OSError."""

    def is_quiet(self) -> bool:
        """Whether nothing is there to be read; asked before each exchange, so it is cheap.

        An end that came with the last bytes is not seen.
        """

    def is_open(self) -> bool:
        """Whether, as far as the kernel knows, neither side has ended the connection."""

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

    def recv_within(self, room: memoryview, seconds: float, /) -> int:
        set_timeouts(self._sock, seconds)
        return self.recv_into(room)

    def send(self, parts: Sequence[bytes | memoryview], /) -> int:
        if len(parts) == 1:
            return self._sock.send(parts[0])
        return self._sock.sendmsg(parts[:_MOST_PARTS])

    def answered(self) -> bool:
        return _readable(self._sock)

    def is_quiet(self) -> bool:
        return not _unread(self._sock) or _received(self._sock) == self._received

    def is_open(self) -> bool:
        return _received(self._sock) >= 0

    def wait_at_most(self, seconds: float) -> None:
        set_timeouts(self._sock, seconds)

    def close(self) -> None:
        self._sock.close()


class TLSChannel:
    """TLS over a socket.

    Python takes the socket for a non-blocking one, so that it neither polls nor waits for ever where the kernel's
    time-out has passed; the descriptor itself does block.
    """

    __slots__ = ("_early", "_patience_ns", "_tls")

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, host: str, timeout: float) -> None:
        """Shake hands, within ``timeout`` seconds; ``host`` is the name in the certificate. Raises OSError."""
        self._tls = context.wrap_socket(
            sock, server_hostname=host, do_handshake_on_connect=False, suppress_ragged_eofs=False
        )
        self._early = b""
        self._patience_ns = 0
        try:
            # Python's time-out is for the whole of it, while the kernel's begins anew with each byte.
            self._tls.settimeout(timeout)
            self._tls.do_handshake()
        except BaseException:
            self._tls.close()
            raise

    def recv_into(self, room: memoryview, /) -> int:
        if self._early:
            count = min(room.nbytes, len(self._early))
            room[:count] = self._early[:count]
            self._early = self._early[count:]
            return count
        began = monotonic_ns()
        while True:
            try:
                return self._tls.recv_into(room)
            except ssl.SSLWantReadError as error:
                # A signal ends the wait too, and OpenSSL does not tell which it was.
                if monotonic_ns() - began >= self._patience_ns:
                    raise BlockingIOError from error

    def recv_within(self, room: memoryview, seconds: float, /) -> int:
        if self._early:
            return self.recv_into(room)
        self._tls.settimeout(seconds)
        try:
            return self._tls.recv_into(room)
        except TimeoutError as error:
            raise BlockingIOError from error
        finally:
            self._block(True)

    def send(self, parts: Sequence[bytes | memoryview], /) -> int:
        """A part at a time, at most 1 MiB of it; small ones are joined, for each call makes a record of its own."""
        part = parts[0]
        if len(parts) > 1 and sum(map(len, parts)) <= _JOINED:
            part = b"".join(parts)
        if len(part) > _WRITE:
            part = memoryview(part)[:_WRITE]
        try:
            return self._tls.send(part)
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError) as error:
            # OpenSSL has kept its place: the same bytes must come again.
            raise BlockingIOError from error

    def answered(self) -> bool:
        if not self._early and _readable(self._tls):
            self._block(False)
            try:
                self._early = self._tls.recv(_JOINED)
            except ssl.SSLWantReadError:
                # Session tickets are no answer.
                return False
            finally:
                self._block(True)
            return True
        return bool(self._early)

    def is_quiet(self) -> bool:
        if self._early or self._tls.pending():
            return False
        try:
            return not (_unread(self._tls) and self.answered())
        except OSError:
            return False

    def is_open(self) -> bool:
        return _received(self._tls) >= 0

    def wait_at_most(self, seconds: float) -> None:
        set_timeouts(self._tls, seconds)
        self._block(True)
        # The kernel counts in its ticks, and may be early by one.
        self._patience_ns = round(seconds * 0.9e9)

    def close(self) -> None:
        self._tls.close()

    @property
    def version(self) -> str | None:
        """The protocol that was agreed on, such as ``TLSv1.3``."""
        return self._tls.version()

    def certificate(self) -> dict[str, object]:
        """The server's certificate, as ``ssl.SSLSocket.getpeercert`` gives it."""
        return dict(self._tls.getpeercert() or {})

    def _block(self, blocking: bool) -> None:
        self._tls.settimeout(0)
        os.set_blocking(self._tls.fileno(), blocking)


def _readable(sock: socket.socket) -> bool:
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


def _received(sock: socket.socket) -> int:
    """The bytes that the kernel has received, -1 when the connection is not open both ways."""
    state, received = _TCP_INFO.unpack(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size))
    return received if state == _ESTABLISHED else -1


def _unread(sock: socket.socket) -> int:
    """The memory of what the kernel has received and nobody has read; it may count too much.

    Asking so does not let go of the interpreter lock, as a poll would: with threads waiting for it that costs 50 µs.
    """
    return sock.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO)
