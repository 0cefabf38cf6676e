"""The group ``oplog``, and ``oplog head``: look into an operation log."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

import attrs
import click

from penstock.cli.common import json_option, print_json, verbose_option, warn
from penstock.cli.logchecks import validate
from penstock.cli.logfiles import anonymize, convert, merge, sort
from penstock.cli.text import table

if TYPE_CHECKING:
    from penstock.oplog import Reader, Row

__all__ = ["oplog"]

_SHOWN = ("idx", "thread", "op", "n_objects", "bytes", "endpoint", "file", "start", "first_byte", "duration", "error")


@click.group()
def oplog() -> None:
    """Read, sort, merge, convert, check and anonymize operation logs."""


@oplog.command()
@click.argument("log", metavar="LOG")
@click.option(
    "-n", "--rows", "limit", type=click.IntRange(min=0), default=10, show_default=True, help="How many rows to print."
)
@click.option("--tsv", "as_tsv", is_flag=True, help="Print the log's own text, all columns.")
@json_option
@click.option("--skip-bad-rows", is_flag=True, help="Go on after a malformed row; they are counted.")
@verbose_option
def head(log: str, limit: int, as_tsv: bool, as_json: bool, skip_bad_rows: bool) -> None:
    """Print the first rows of a log; LOG is a file, or - for standard input.

    It reads TSV, CSV and JSON lines, plain or zstd-compressed, also logs of other programs. Of a log that was cut off
    it prints the rows that are whole, says so on standard error, and succeeds. A log without a header is a failure.
    """
    from penstock.oplog import read
    from penstock.oplog.converting import columns_of

    if as_tsv and as_json:
        raise click.UsageError("choose one of --tsv and --json")
    source: str | BinaryIO = sys.stdin.buffer if log == "-" else log
    with read(source, skip_bad_rows=skip_bad_rows) as reader:
        rows = itertools.islice(reader, limit)
        if as_json:
            for row in rows:
                print_json(_facts(row))
        elif as_tsv:
            columns = columns_of(reader)
            click.echo("\t".join(columns))
            for row in rows:
                click.echo("\t".join(row.texts(columns)))
        else:
            for line in table([_SHOWN, *map(_cells, rows)]):
                click.echo(line)
        _say_what_is_wrong(reader)


for _command in (sort, merge, convert, validate, anonymize):
    oplog.add_command(_command)


def _facts(row: Row) -> dict[str, object]:
    """The row for JSON, which has no lone surrogates."""
    facts = attrs.asdict(row) | {"extra": dict(row.extra)}
    return {name: _legal(value) for name, value in facts.items()}


def _legal(value: object) -> object:
    if isinstance(value, dict):
        return {name: _legal(text) for name, text in value.items()}
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def _cells(row: Row) -> tuple[str, ...]:
    from penstock.quantities import format_duration

    idx, thread, op, _, n_objects, nbytes, endpoint, file, error, start, first, _, _ = row.texts()
    if row.first_byte_ns is not None:
        first = format_duration((row.first_byte_ns - row.start_ns) / 1e9)
    cells = (idx, thread, op, n_objects, nbytes, endpoint, file, start, first, format_duration(row.duration_ns / 1e9))
    return tuple("".join(_printable(cell)) for cell in (*cells, error))


def _printable(text: str) -> Iterator[str]:
    """Without the control characters that would move the terminal's cursor."""
    for char in text:
        yield char if char.isprintable() else char.encode("unicode_escape").decode()


def _say_what_is_wrong(reader: Reader) -> None:
    if reader.bad_rows:
        rows = "row was" if reader.bad_rows == 1 else "rows were"
        warn(f"{reader.name}: {reader.bad_rows} malformed {rows} skipped")
    if reader.truncated:
        warn(f"{reader.name} is cut off; its {reader.count} whole rows were read")
