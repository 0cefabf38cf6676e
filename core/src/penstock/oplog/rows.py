"""A row of a log as a value, and how a line becomes one, whichever program wrote it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from penstock.errors import OpLogError
from penstock.oplog.columns import COLUMNS, COLUMNS_15, OPERATIONS, escape, format_time, parse_time, unescape

__all__ = ["Layout", "Row", "UnknownOperation", "bad_row", "column_names", "is_header", "row_from_json"]

_NAMES: Final = COLUMNS_15
_ALIASES: Final = {"operation": "op", "t_start": "start"}


@attrs.frozen(slots=True)
class Row:
    """One logical call. Times are nanoseconds since 1970 in UTC, None where the log has none.

    ``op`` is one of :data:`penstock.oplog.OPERATIONS`. ``last_byte_ns`` and ``category`` come from logs of 15
    columns. A column that the log lacks has its default: ``idx`` counts, ``n_objects`` is 1, text is empty.
    ``extra`` holds the columns that only the log's author knows, by name.
    """

    idx: int
    thread: int
    op: str
    client_id: str
    n_objects: int
    nbytes: int
    endpoint: str
    file: str
    error: str
    start_ns: int
    first_byte_ns: int | None
    end_ns: int
    duration_ns: int
    last_byte_ns: int | None = None
    category: str = ""
    extra: tuple[tuple[str, str], ...] = ()

    def texts(self, columns: Sequence[str] = COLUMNS) -> tuple[str, ...]:
        """The row as penstock writes it, one escaped text for each of ``columns``; empty for one that it lacks."""
        known = (
            str(self.idx),
            str(self.thread),
            self.op,
            escape(self.client_id),
            str(self.n_objects),
            str(self.nbytes),
            escape(self.endpoint),
            escape(self.file),
            escape(self.error),
            format_time(self.start_ns),
            "" if self.first_byte_ns is None else format_time(self.first_byte_ns),
            format_time(self.end_ns),
            str(self.duration_ns),
        )
        if columns == COLUMNS:
            return known
        cells = dict(zip(COLUMNS, known, strict=True)) | {name: escape(text) for name, text in self.extra}
        cells["last_byte"] = "" if self.last_byte_ns is None else format_time(self.last_byte_ns)
        cells["cat"] = escape(self.category)
        return tuple(cells.get(name, "") for name in columns)


class UnknownOperation(ValueError):  # noqa: N818 - a reason why a row is bad, which nobody outside catches
    """A row whose ``op`` is none of :data:`penstock.oplog.OPERATIONS`."""


class Layout:
    """Where each column stands, by the names of a header line."""

    def __init__(self, header: Sequence[str], *, escaped: bool) -> None:
        """``escaped``: text columns hold ``\\t`` for a tab. Raises OpLogError when a needed column is missing."""
        names = column_names(header)
        self._width = len(names)
        self._escaped = escaped
        self._places = [names.index(name) if name in names else None for name in _NAMES]
        self._extra = [(name, at) for at, name in enumerate(names) if name not in _NAMES]
        #: The names of the columns, as penstock spells them.
        self.columns = tuple(names)
        #: Whether the end of a line shows that it is whole: its duration is that between its times.
        self.checked = names[-1] == "duration_ns" and "end" in names
        missing = [name for name in ("op", "file", "start") if name not in names]
        if "end" not in names and "duration_ns" not in names:
            missing.append("end")
        if missing:
            raise OpLogError(f"the header has no column {' and no '.join(missing)}; it has {', '.join(names)}")

    def row(self, fields: Sequence[str], number: int) -> Row:
        """The row of these fields; ``number`` is its ``idx`` where the log has none. Raises ValueError."""
        if len(fields) != self._width:
            raise ValueError(f"{len(fields)} columns where the header has {self._width}")
        values = [None if at is None else fields[at] for at in self._places]
        if not self._extra:
            return _make(values, number, escaped=self._escaped)
        extra = tuple((name, unescape(fields[at]) if self._escaped else fields[at]) for name, at in self._extra)
        return _make(values, number, escaped=self._escaped, extra=extra)


def bad_row(name: str, line: int, problem: object) -> OpLogError:
    """What to raise for a malformed row of the log ``name``."""
    return OpLogError(f"{name}:{line}: {problem} (--skip-bad-rows, or skip_bad_rows, leaves such rows out)")


def column_names(header: Sequence[str]) -> list[str]:
    """Names as penstock spells them."""
    lower = [name.strip().lower() for name in header]
    return [_ALIASES.get(name, name) for name in lower]


def is_header(fields: Sequence[str]) -> bool:
    """Whether a line names columns."""
    names = column_names(fields)
    return "op" in names and "start" in names and "file" in names


def row_from_json(value: Mapping[str, Any], number: int) -> Row:
    """The row of a line of JSON. Raises ValueError."""
    texts = {}
    for name, item in zip(column_names(list(value)), value.values(), strict=True):
        if isinstance(item, bool | float | list | dict):
            raise ValueError(f"{name} is {item!r}; text or a whole number is legal")
        texts[name] = "" if item is None else str(item)
    extra = tuple((name, text) for name, text in texts.items() if name not in _NAMES)
    return _make([texts.get(name) for name in _NAMES], number, escaped=False, extra=extra)


def _make(values: Sequence[str | None], number: int, *, escaped: bool, extra: tuple[tuple[str, str], ...] = ()) -> Row:
    idx, thread, op, client, n_objects, nbytes, endpoint, file, error, start, first, last, end, duration, cat = values
    operation = (op or "").upper()
    if operation not in OPERATIONS:
        raise UnknownOperation(f"unknown operation {op!r}; known: {', '.join(sorted(OPERATIONS))}")
    if file is None:
        raise ValueError("there is no file")
    texts = (client or "", endpoint or "", file, error or "", cat or "")
    if escaped:
        texts = tuple(map(unescape, texts))  # type: ignore[assignment]
    begin = parse_time(start or "")
    took = _integer("duration_ns", duration)
    stop = parse_time(end) if end else None
    if stop is None:
        if took is None:
            raise ValueError("neither end nor duration_ns is given")
        stop = begin + took
    return Row(
        number if idx is None else _natural("idx", idx),
        0 if thread is None else _natural("thread", thread),
        operation,
        texts[0],
        1 if n_objects is None else _natural("n_objects", n_objects),
        0 if nbytes is None else _natural("bytes", nbytes),
        texts[1],
        texts[2],
        texts[3],
        begin,
        parse_time(first) if first else None,
        stop,
        stop - begin if took is None else took,
        parse_time(last) if last else None,
        texts[4],
        extra,
    )


def _natural(name: str, text: str) -> int:
    if text.isdecimal() and text.isascii():
        return int(text)
    raise ValueError(f"{name} is {text!r}; write a whole number")


def _integer(name: str, text: str | None) -> int | None:
    if not text:
        return None
    return -_natural(name, text[1:]) if text[0] == "-" else _natural(name, text)
