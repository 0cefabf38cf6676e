"""The text form of an operation log: its columns, how text is escaped in them, and its time stamps."""

from __future__ import annotations

import functools
import re
from datetime import UTC, datetime, timedelta
from typing import Final

from penstock.records import Op

__all__ = [
    "COLUMNS",
    "COLUMNS_15",
    "COLUMNS_DUE",
    "HEADER",
    "HEADER_DUE",
    "OPERATIONS",
    "escape",
    "format_seconds",
    "format_time",
    "parse_time",
    "unescape",
]

#: The columns that penstock writes, in this order.
COLUMNS: Final = (
    "idx",
    "thread",
    "op",
    "client_id",
    "n_objects",
    "bytes",
    "endpoint",
    "file",
    "error",
    "start",
    "first_byte",
    "end",
    "duration_ns",
)
#: The same with ``last_byte``, when the body of a put had been sent, and ``cat``, which MinIO warp reads and writes.
COLUMNS_15: Final = (*COLUMNS[:11], "last_byte", *COLUMNS[11:], "cat")
#: The same with when each call was due, where a schedule said so, from which its response time follows.
COLUMNS_DUE: Final = (*COLUMNS, "due")
#: The first line of a log.
HEADER: Final = "\t".join(COLUMNS).encode() + b"\n"
HEADER_DUE: Final = "\t".join(COLUMNS_DUE).encode() + b"\n"
#: Every operation that a log may hold. Other programs write HEAD for STAT.
OPERATIONS: Final = frozenset({*Op.__members__, "HEAD"})

_ESCAPES = {"\t": "\\t", "\n": "\\n", "\r": "\\r", "\\": "\\\\"}
_TO_ESCAPE = re.compile("[\t\n\r\\\\\ud800-\udfff]")
_ESCAPED = re.compile(r"\\(?:[tnr\\]|ud[89a-f][0-9a-f]{2})")
_UNESCAPES = {escaped: char for char, escaped in _ESCAPES.items()}
_STAMP = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{0,9}))?(?:[Zz]|([+-])(\d\d):?([0-5]\d))", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = 1_000_000_000


def escape(text: str) -> str:
    """``text`` as it stands in a column: tab, newline, carriage return and backslash as ``\\t \\n \\r \\\\``.

    A lone surrogate, which UTF-8 can't write, becomes ``\\udcff``.
    """
    return _TO_ESCAPE.sub(_escape_one, text) if _TO_ESCAPE.search(text) else text


def unescape(text: str) -> str:
    """Undo :func:`escape`. A backslash that escapes nothing is kept, as other programs write it so."""
    return _ESCAPED.sub(_unescape_one, text) if "\\" in text else text


def format_time(wall_ns: int) -> str:
    """Nanoseconds since 1970 as RFC 3339 in UTC with nine digits and ``Z``."""
    seconds, fraction = divmod(wall_ns, _SECOND)
    return f"{_format_second(seconds)}{fraction:09d}Z"


def format_seconds(seconds: int) -> str:
    """The part of a time stamp up to the point, with it; always 20 characters."""
    moment = _EPOCH + timedelta(seconds=seconds)
    return f"{moment.replace(tzinfo=None).isoformat()}."


def parse_time(text: str) -> int:
    """Nanoseconds since 1970 of an RFC 3339 stamp with any offset and at most nine digits of a second.

    Raises ValueError, also for a stamp without a zone.
    """
    fraction = text[20:29]
    if len(text) == 30 and text[19] == "." and text[29] == "Z" and fraction.isdecimal() and fraction.isascii():
        return _parse_second(text[:19]) + int(fraction)
    match = _STAMP.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a time such as 2026-01-31T12:00:00.000000000Z")
    date, clock, digits, sign, hours, minutes = match.groups()
    moment = datetime.fromisoformat(f"{date}T{clock}+00:00") - _EPOCH
    seconds = moment.days * 86400 + moment.seconds
    if sign:
        offset = int(hours) * 3600 + int(minutes) * 60
        seconds -= offset if sign == "+" else -offset
    return seconds * _SECOND + (int(digits.ljust(9, "0")) if digits else 0)


@functools.lru_cache(maxsize=4096)
def _parse_second(text: str) -> int:
    return parse_time(f"{text}Z")


@functools.lru_cache(maxsize=4096)
def _format_second(seconds: int) -> str:
    return format_seconds(seconds)


def _escape_one(match: re.Match[str]) -> str:
    char = match[0]
    return _ESCAPES.get(char) or f"\\u{ord(char):04x}"


def _unescape_one(match: re.Match[str]) -> str:
    text = match[0]
    return _UNESCAPES.get(text) or chr(int(text[2:], 16))
