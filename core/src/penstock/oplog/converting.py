"""A log in another form, or with the other set of columns."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from penstock.errors import OpLogError
from penstock.oplog.columns import COLUMNS, COLUMNS_15
from penstock.oplog.logtext import union
from penstock.oplog.reader import Reader, read
from penstock.oplog.rows import Row
from penstock.oplog.sorting import Changed
from penstock.oplog.target import Target

__all__ = ["columns_of", "convert_log", "write_rows"]

_ROWS: Final = 4096
#: What ``cat`` says of rows that have none.
_NO_CATEGORY: Final = "0"


def convert_log(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    columns: int | None = None,
    level: int = 1,
    skip_bad_rows: bool = False,
) -> Changed:
    """Write every row of ``source`` to ``target`` in the form that its name shows, with times in UTC.

    ``columns`` is 13 or 15. With 15 a put's ``last_byte`` is when its body had been sent, which a log of 13 columns
    has in ``first_byte``; with 13 it is put there. None keeps all columns. Raises OpLogError.
    """
    with read(source, skip_bad_rows=skip_bad_rows) as reader:
        names = columns_of(reader)
        rows: Iterator[Row] = reader
        if columns == 15:
            names = union([COLUMNS_15, names])
            rows = map(_with_15, reader) if "last_byte" not in reader.columns else reader
        elif columns == 13:
            names = tuple(name for name in names if name not in ("last_byte", "cat"))
            rows = map(_with_13, reader) if "last_byte" in reader.columns else reader
        elif columns is not None:
            raise OpLogError(f"columns: {columns}; choose 13 or 15")
        count = write_rows(rows, reader, target, names, level=level)
    return Changed(count, reader.bad_rows, (reader.name,) if reader.truncated else ())


def columns_of(reader: Reader) -> tuple[str, ...]:
    """The 13 columns, or 15 if the log has one of the other two, and those that only its author knows."""
    return union([COLUMNS_15 if {"last_byte", "cat"} & set(reader.columns) else COLUMNS, reader.columns])


def write_rows(
    rows: Iterator[Row], reader: Reader, target: str | os.PathLike[str], columns: Sequence[str], *, level: int = 1
) -> int:
    """Write rows that come of ``reader``; returns how many."""
    known = {*COLUMNS_15, *columns}
    lines: list[str] = []
    with Target(target, columns, level=level) as out:
        for row in rows:
            if row.extra and not known.issuperset(name for name, _ in row.extra):
                lost = ", ".join(name for name, _ in row.extra if name not in known)
                raise OpLogError(f"{reader.name}:{reader.line}: the first row has no {lost}; give every row one")
            lines.append("\t".join(row.texts(columns)) + "\n")
            if len(lines) == _ROWS:
                out.append("".join(lines).encode())
                lines.clear()
        if lines:
            out.append("".join(lines).encode())
    return reader.count


def _with_15(row: Row) -> Row:
    sent = row.first_byte_ns if row.op == "PUT" else None
    return attrs.evolve(row, last_byte_ns=sent, category=row.category or _NO_CATEGORY)


def _with_13(row: Row) -> Row:
    if row.op == "PUT" and row.first_byte_ns is None:
        return attrs.evolve(row, first_byte_ns=row.last_byte_ns)
    return row
