"""Reading the head of an answer: strict, bounded, and one pass.

RFC 9112 allows a client to be lenient; this one is not, since what two readers understand differently is how
answers get mixed up. Names and status lines that were found good are remembered, so a usual head costs no check but
look-ups.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence

from penstock.errors import StoreConnectionError

__all__ = [
    "CHUNKED",
    "MAX_HEAD",
    "TO_THE_END",
    "Fields",
    "Head",
    "Names",
    "frame",
    "malformed",
    "read_head",
    "read_length",
]

#: The longest head in bytes that is read.
MAX_HEAD = 64 * 1024

_TOKEN = re.compile(r"[!#-'*+\-.0-9A-Z^-z|~]+\Z")
_STATUS_LINE = re.compile(r"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: [^\x00-\x08\x0a-\x1f\x7f]*)?\Z")
#: How many names and status lines are remembered, and how long they may be.
_KNOWN = 1024
_SHORT = 100

Fields = Mapping[str, str]

#: What is left of a body whose end is found otherwise: by the connection's end, by its chunks.
TO_THE_END = -1
CHUNKED = -2


class Names(dict[str, int]):
    """At which number a head has a field's value, by the field's lower-case name."""

    __slots__ = ("_joined",)

    def __init__(self, names: Iterable[str], first: int) -> None:
        """They are numbered from ``first`` on."""
        super().__init__(zip(names, itertools.count(first)))
        self._joined = ""

    @property
    def joined(self) -> str:
        """All names with blanks between."""
        if not self._joined:
            self._joined = " ".join(self)
        return self._joined


#: Status, numbers of the fields, their values as they stand between the colon and the line's end, the body's length
#: (None: not said), what of it is left to read, and whether the connection carries another request afterwards.
Head = tuple[int, Names, "Sequence[str] | re.Match[str]", int | None, int, bool]


class _Names(dict[str, str]):
    """Header names as sent to lower case; only good ones enter."""

    def __missing__(self, name: str) -> str:
        if not _TOKEN.match(name):
            raise malformed(f"{name[:40]!r} is no header name")
        lower = name.lower()
        if len(self) < _KNOWN and len(name) < _SHORT:
            self[name] = lower
        return lower


class _StatusLines(dict[str, tuple[int, bool]]):
    """Status lines to the status and whether the connection persists by itself (HTTP/1.1)."""

    def __missing__(self, line: str) -> tuple[int, bool]:
        match = _STATUS_LINE.match(line)
        if match is None:
            raise malformed(f"it begins with {line[:40]!r}")
        found = int(match[2]), match[1] == "1"
        if len(self) < _KNOWN and len(line) < _SHORT:
            self[line] = found
        return found


_names = _Names()
_status_lines = _StatusLines()


def malformed(what: str) -> StoreConnectionError:
    """The error of an answer that is not HTTP/1.1 as RFC 9112 has it."""
    return StoreConnectionError(f"the server's answer is malformed: {what}")


def read_head(text: str) -> tuple[int, bool, dict[str, str]]:
    """Status, persistence of the version, and the fields by lower-case name, of a head without its empty line.

    ``text`` has a character for each byte (ISO 8859-1). Values keep the white space around them; of a field that comes
    more than once they are joined by ``, ``. Raises StoreConnectionError.
    """
    lines = text.split("\r\n")
    if text.count("\n") != len(lines) - 1 or text.count("\r") != len(lines) - 1 or "\0" in text:
        raise malformed("a control character stands in its head")
    status, persists = _status_lines[lines[0]]
    fields: dict[str, str] = {}
    del lines[0]
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise malformed(f"the header line {line[:40]!r} has no colon")
        fields[_names[name]] = value
    if len(fields) != len(lines):
        fields = _joined(lines)
    return status, persists, fields


def frame(status: int, version: bool, fields: Fields, *, bodiless: bool) -> Head:
    """What :func:`read_head` found, and what follows from it. ``bodiless``: the request was a HEAD.

    Raises StoreConnectionError when the body can't be delimited.
    """
    persists = version
    said = fields.get("connection")
    if said is not None or not persists:
        options = {option.strip(" \t").lower() for option in (said or "").split(",")}
        persists = "close" not in options and (persists or "keep-alive" in options)
    length, left = _body(status, fields, bodiless)
    # RFC 9112, 6.1: HTTP/1.0 has no transfer codings, so who sends one may mean another end of the answer.
    persists = persists and left != TO_THE_END and (version or "transfer-encoding" not in fields)
    return status, Names(fields, 0), tuple(fields.values()), length, left, persists


def _body(status: int, fields: Fields, bodiless: bool) -> tuple[int | None, int]:
    """Length of the body, and how many bytes of it to read, or how its end is found (RFC 9112, 6.3)."""
    length = fields.get("content-length")
    nbytes = None if length is None else read_length(length)
    if bodiless:
        return nbytes, 0
    if status in (204, 304):
        return 0, 0
    coding = fields.get("transfer-encoding")
    if coding is None:
        return nbytes, TO_THE_END if nbytes is None else nbytes
    if nbytes is not None:
        raise malformed("it has both a length and a transfer coding")
    coding = coding.strip(" \t")
    if coding.lower() != "chunked":
        raise malformed(f"its transfer coding is {coding[:40]!r}")
    return None, CHUNKED


def read_length(value: str) -> int:
    """The number of a Content-Length field; several equal ones are one (RFC 9112, 6.3). Raises StoreConnectionError."""
    text = value.strip(" \t")
    if "," in text:
        values = {part.strip(" \t") for part in text.split(",")}
        text = values.pop() if len(values) == 1 else ""
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise malformed(f"its length is {value.strip()[:40]!r}")
    return int(text)


def _joined(lines: list[str]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        lower = _names[name]
        fields[lower] = f"{fields[lower]}, {value.strip()}" if lower in fields else value
    return fields
