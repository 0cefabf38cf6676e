"""One connection: a request goes out, the head of its answer comes in."""

from __future__ import annotations

import errno
import ssl
from collections.abc import Sequence

from penstock.clocks import monotonic_ns, sent
from penstock.errors import StoreConnectionError, StoreTimeoutError
from penstock.http.channels import SEND_SLICE_S, Channel
from penstock.http.forms import USUAL_HEAD, Forms
from penstock.http.heads import MAX_HEAD, Head, frame, malformed, read_head

__all__ = ["Connection"]

_MAX_INTERIM = 16
#: Every beginning of an interim answer, up to its status's first digit.
_INTERIM = {line[:size] for line in (b"HTTP/1.1 1", b"HTTP/1.0 1") for size in range(11)}


class Connection:
    """A channel with the buffer that heads arrive in. One exchange at a time.

    ``begin`` and ``end`` bound what is in the buffer and was not taken. ``silent`` is true until a byte of the answer
    has come. ``idle_since`` is for the pool. Times are monotonic nanoseconds.
    """

    __slots__ = (
        "_buffer",
        "_channel",
        "_deadline",
        "_forms",
        "_interims",
        "_operation_ns",
        "_read_timeout",
        "begin",
        "cut_short",
        "end",
        "idle_since",
        "silent",
        "view",
    )

    def __init__(self, channel: Channel, forms: Forms, read_timeout: float, operation_timeout: float | None) -> None:
        self._channel = channel
        self._forms = forms
        self._buffer = bytearray(MAX_HEAD)
        self.view = memoryview(self._buffer)
        self._read_timeout = read_timeout
        self._operation_ns = 0 if operation_timeout is None else round(operation_timeout * 1e9)
        self._deadline = 0
        self._interims = 0
        self.begin = self.end = 0
        self.silent = True
        #: The request was not sent to its end, since the answer came first.
        self.cut_short = False
        self.idle_since = 0

    def exchange(self, request: Sequence[bytes | memoryview], bodiless: bool) -> Head:
        """Send a request and read the head of its answer. ``bodiless``: it is a HEAD.

        Raises StoreConnectionError or StoreTimeoutError.
        """
        self.begin = self.end = 0
        self.silent = True
        self.cut_short = False
        if self._operation_ns or self._deadline:
            self._set_deadline()
        self._interims = 0
        self._send(request)
        if len(request) > 1 and not self.cut_short:
            sent.at = monotonic_ns()
        if not self.end:
            self.end = self.receive(self.view)
            if not self.end:
                raise self._ended()
            self.silent = False
        if not self.begin:
            # What comes first is mostly all of the head.
            end = self.end if self.end < USUAL_HEAD else USUAL_HEAD
            found = self._forms.read(str(self.view[:end], "latin-1"), bodiless)
            if found is not None:
                known, self.begin = found
                return known
        return self._read_answer(bodiless)

    def receive(self, room: memoryview) -> int:
        """Receive into ``room``; 0 at the end of what the server sends."""
        try:
            if not self._deadline:
                return self._channel.recv_into(room)
            left = (self._deadline - monotonic_ns()) / 1e9
            if left > 0:
                return self._channel.recv_within(room, min(left, self._read_timeout))
        except BlockingIOError as error:
            raise self._late() from error
        except ssl.SSLEOFError:
            raise StoreConnectionError("the server ended the connection without the farewell of TLS") from None
        except OSError as error:
            _raise_own(error)
            raise StoreConnectionError(f"the connection broke: {error.strerror or error}") from error
        raise self._late()

    def hurry(self, seconds: float) -> None:
        """Let what is left of this exchange take so long at most."""
        deadline = monotonic_ns() + round(seconds * 1e9)
        self._deadline = min(self._deadline or deadline, deadline)

    def fill(self) -> bool:
        """Receive more into the buffer, behind what is there; False at the end of what the server sends."""
        if self.end == MAX_HEAD:
            kept = self._buffer[self.begin : self.end]
            if not self.begin:
                raise malformed(f"more than {MAX_HEAD} bytes without an end of the line or of the head")
            self.view[: len(kept)] = kept
            self.begin, self.end = 0, len(kept)
        got = self.receive(self.view[self.end :])
        self.end += got
        if got:
            self.silent = False
        return got > 0

    def find(self, mark: bytes, start: int) -> int:
        """Where in the buffer ``mark`` stands, at ``start`` or after it; -1 if nowhere."""
        return self._buffer.find(mark, start, self.end)

    def is_quiet(self) -> bool:
        """Whether nothing has come that the next answer would begin with."""
        return self._channel.is_quiet()

    def is_open(self) -> bool:
        """Whether the server has not ended it, as far as the kernel knows."""
        return self._channel.is_open()

    def close(self) -> None:
        """Let go of it."""
        self._channel.close()

    def _set_deadline(self) -> None:
        if self._operation_ns:
            self._deadline = monotonic_ns() + self._operation_ns
        else:
            self._deadline = 0
            self._channel.wait_at_most(self._read_timeout)

    def _send(self, parts: Sequence[bytes | memoryview]) -> None:
        total = len(parts[0]) if len(parts) == 1 else sum(map(len, parts))
        taken = 0
        try:
            taken = self._channel.send(parts)
            if taken == total:
                return
        except BlockingIOError:
            pass
        except OSError as error:
            _raise_own(error)
            # The server is gone, but it may have said why.
            self.cut_short = True
            return
        self._send_rest([memoryview(part) for part in parts], taken, total)

    def _send_rest(self, parts: Sequence[memoryview], taken: int, total: int) -> None:
        """Go on sending until all is sent or the server has answered."""
        channel = self._channel
        now = progress = looked = monotonic_ns()
        while taken < total:
            try:
                taken += channel.send(_after(parts, taken))
                progress = now
            except BlockingIOError:
                looked = 0
            except OSError as error:
                _raise_own(error)
                self.cut_short = True
                return
            now = monotonic_ns()
            if now - looked > SEND_SLICE_S * 1e9:
                looked = now
                if taken < total and self._is_answering():
                    self.cut_short = True
                    return
            if now - progress > self._read_timeout * 1e9 or (self._deadline and now >= self._deadline):
                raise self._late()

    def _is_answering(self) -> bool:
        """Whether the final answer, or the end, has begun to come; interim answers are passed over."""
        try:
            if not self._channel.answered():
                return False
        except OSError:
            return True
        if not self.fill():
            return True
        while bytes(self.view[self.begin : min(self.begin + 10, self.end)]) in _INTERIM:
            found = self._buffer.find(b"\r\n\r\n", self.begin, self.end)
            if found < 0:
                return False
            self._pass_over(read_head(self._next_head())[0])
        return True

    def _pass_over(self, status: int) -> None:
        if status == 101:
            raise malformed("it changes the protocol, which was not asked for")
        self._interims += 1
        if self._interims > _MAX_INTERIM:
            raise malformed(f"more than {_MAX_INTERIM} interim answers")

    def _read_answer(self, bodiless: bool) -> Head:
        """The head of the answer by strict reading, whatever its form; interim answers are passed over."""
        while True:
            text = self._next_head()
            status, version, fields = read_head(text)
            if status >= 200:
                break
            self._pass_over(status)
        head = frame(status, version, fields, bodiless=bodiless)
        self._forms.learn(text, head)
        return head

    def _next_head(self) -> str:
        """All of the next head but its empty line."""
        seen = 0
        while True:
            found = self._buffer.find(b"\r\n\r\n", self.begin + seen, self.end)
            if found >= 0:
                break
            if self.begin < self.end:
                self._check_beginning()
            seen = max(self.end - self.begin - 3, 0)
            if not self.fill():
                raise self._ended()
        text = str(self.view[self.begin : found], "latin-1")
        self.begin = found + 4
        return text

    def _check_beginning(self) -> None:
        """Refuse at once what can't become a head, rather than wait for its end."""
        text = bytes(self.view[self.begin : self.end])
        if not b"HTTP/1.".startswith(text[:7]):
            raise malformed(f"it begins with {text[:40]!r}")
        if text.count(b"\n") != text.count(b"\r\n"):
            raise malformed("a line of its head ends without a carriage return")

    def _ended(self) -> StoreConnectionError:
        what = "without an answer" if self.silent else "within the head of its answer"
        return StoreConnectionError(f"the server ended the connection {what}")

    def _late(self) -> StoreTimeoutError:
        if self._deadline and monotonic_ns() >= self._deadline:
            return StoreTimeoutError(f"the exchange took longer than {self._operation_ns / 1e9:g} s")
        return StoreTimeoutError(f"the server was silent for {self._read_timeout:g} s")


def _raise_own(error: OSError) -> None:
    """Raise what is no fault of the connection: memory that can't be read or written."""
    if error.errno == errno.EFAULT:
        raise error


def _after(parts: Sequence[memoryview], taken: int) -> list[memoryview]:
    rest = []
    for part in parts:
        if taken < part.nbytes:
            rest.append(part[taken:])
        taken = max(taken - part.nbytes, 0)
    return rest
