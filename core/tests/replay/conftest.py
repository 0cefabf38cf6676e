"""Logs to replay."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from penstock.oplog import COLUMNS, Row

#: When every log here begins, nanoseconds since 1970.
BEGIN = 1_790_000_000_000_000_000


def make_row(
    op: str,
    file: str,
    *,
    at: float = 0.0,
    nbytes: int = 0,
    took: float = 0.001,
    thread: int = 0,
    endpoint: str = "mem://",
    error: str = "",
    n_objects: int = 1,
    client: str = "",
    first: float | None = None,
    **extra: str,
) -> Row:
    """A row of a log; ``at``, ``took`` and ``first`` are seconds, the first from BEGIN on."""
    start, duration = BEGIN + round(at * 1e9), round(took * 1e9)
    first_byte = None if first is None else start + round(first * 1e9)
    return Row(
        0,
        thread,
        op,
        client,
        n_objects,
        nbytes,
        endpoint,
        file,
        error,
        start,
        first_byte,
        start + duration,
        duration,
        extra=tuple(extra.items()),
    )


def write_log(path: Path, rows: Iterable[Row], columns: tuple[str, ...] = COLUMNS) -> Path:
    lines = ["\t".join(cells) for cells in [columns, *(row.texts(columns) for row in rows)]]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


@pytest.fixture(scope="session")
def row():
    return make_row


@pytest.fixture(scope="session")
def begin():
    return BEGIN


@pytest.fixture(scope="session")
def log(tmp_path_factory):
    """Writes rows to a file of their own and returns its path."""

    def write(rows, columns=COLUMNS):
        return str(write_log(tmp_path_factory.mktemp("log") / "log.tsv", rows, columns))

    return write
