"""What ``analyze`` and ``compare`` have in common: which calls of a log count, and where results go."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs
import click

from penstock.errors import UsageError

if TYPE_CHECKING:
    from penstock.analysis.exporting.tables import Table
    from penstock.analysis.values import Moment, Selection

__all__ = ["Outputs", "check_outputs", "moment", "selecting", "write_outputs", "writing"]

_STDOUT: Final = "-"
_OFFSET: Final = re.compile(r"\+?\s*[0-9][0-9_]*(?:\.[0-9]+)?\s*(?:us|µs|ms|s|m|h|d).*|0", re.DOTALL)

_SELECTING: Final = (
    click.option(
        "--skip", metavar="TIME", help="Leave out calls that start in the first TIME of the logs, such as 30s."
    ),
    click.option(
        "--from",
        "begin",
        metavar="TIME",
        help="Leave out calls that start before TIME: RFC 3339, such as 2026-01-31T12:00:00Z, or since the first call, "
        "such as 90s.",
    ),
    click.option("--to", "end", metavar="TIME", help="Leave out calls that start at TIME or later."),
    click.option("--op", "operations", multiple=True, metavar="NAME", help="Only this operation. Repeatable."),
    click.option(
        "--size", "sizes", multiple=True, metavar="BUCKET", help="Only this size, such as 4MiB-32MiB. Repeatable."
    ),
    click.option(
        "--client",
        "clients",
        multiple=True,
        metavar="GLOB",
        help="Only clients whose client_id matches; ** is any text. Repeatable.",
    ),
    click.option(
        "--endpoint",
        "endpoints",
        multiple=True,
        metavar="GLOB",
        help="Only endpoints that match, such as 'http://storage-*:9000'. Repeatable.",
    ),
)


def selecting(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose calls; the command gets them as ``chosen``. UsageError for what can't be meant."""

    @functools.wraps(command)
    def run(
        skip: str | None,
        begin: str | None,
        end: str | None,
        operations: Sequence[str],
        sizes: Sequence[str],
        clients: Sequence[str],
        endpoints: Sequence[str],
        **further: Any,
    ) -> Any:
        return command(chosen=_selection(skip, begin, end, operations, sizes, clients, endpoints), **further)

    decorated: Any = run
    for option in reversed(_SELECTING):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


def _selection(
    skip: str | None,
    begin: str | None,
    end: str | None,
    operations: Sequence[str],
    sizes: Sequence[str],
    clients: Sequence[str],
    endpoints: Sequence[str],
) -> Selection:
    from penstock.analysis.values import Selection
    from penstock.quantities import parse_duration

    first, last = moment("--from", begin), moment("--to", end)
    if first is not None and last is not None and first.relative == last.relative and first.ns >= last.ns:
        raise UsageError(f"--from {begin} is not before --to {end}; no call would be left")
    buckets = frozenset(map(_bucket, sizes))
    try:
        return Selection(
            operations=frozenset(operations),
            buckets=buckets,
            clients=tuple(clients),
            endpoints=tuple(endpoints),
            begin=first,
            end=last,
            skip_ns=0 if skip is None else round(parse_duration(skip) * 1e9),
        )
    except ValueError as error:
        raise UsageError(str(error)) from None


def _bucket(name: str) -> int:
    from penstock.options import nearest
    from penstock.stats.buckets import LABELS

    numbers = {label.lower(): place for place, label in enumerate(LABELS)}
    if name.lower() not in numbers:
        raise UsageError(f"--size {name}: no size bucket has that name; {nearest(name, LABELS)}")
    return numbers[name.lower()]


def moment(option: str, text: str | None) -> Moment | None:
    """An offset with a unit, or an RFC 3339 time. Raises UsageError."""
    from penstock.analysis.values import Moment
    from penstock.oplog.columns import parse_time
    from penstock.quantities import parse_duration

    if text is None:
        return None
    try:
        if _OFFSET.fullmatch(text):
            return Moment(round(parse_duration(text.lstrip("+ ")) * 1e9), relative=True)
        return Moment(parse_time(text))
    except ValueError:
        raise UsageError(
            f"{option} {text}: write a time with its zone, such as 2026-01-31T12:00:00Z, or one since the first call, "
            "such as 90s or 1m30s"
        ) from None


_WRITING: Final = (
    click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output instead of tables."),
    click.option("--json-file", "json_path", metavar="FILE", help="Write the same JSON to FILE."),
    click.option(
        "--tsv", "tsv_path", metavar="FILE", help="Write the main table to FILE, tab-separated; - prints it instead."
    ),
    click.option(
        "--xlsx", "xlsx_path", metavar="FILE", help="Write a workbook with all tables (pip install 'penstock[xlsx]')."
    ),
    click.option("--html", "html_path", metavar="FILE", help="Write a report with pictures, one file."),
)


def writing(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say where results go; the command gets them as ``outputs``."""

    @functools.wraps(command)
    def run(
        as_json: bool,
        json_path: str | None,
        tsv_path: str | None,
        xlsx_path: str | None,
        html_path: str | None,
        **further: Any,
    ) -> Any:
        return command(outputs=Outputs(as_json, json_path, tsv_path, xlsx_path, html_path), **further)

    decorated: Any = run
    for option in reversed(_WRITING):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


@attrs.frozen
class Outputs:
    """Where results go besides the terminal; ``-`` is standard output, None nowhere."""

    as_json: bool
    json_path: str | None
    tsv_path: str | None
    xlsx_path: str | None
    html_path: str | None

    @property
    def to_stdout(self) -> bool:
        """Whether standard output is taken, so that no table for people may go there."""
        return self.as_json or self.tsv_path == _STDOUT

    @property
    def files(self) -> list[str]:
        """The files that will be written."""
        paths = (self.json_path, self.tsv_path, self.xlsx_path, self.html_path)
        return [path for path in paths if path is not None and path != _STDOUT]


def check_outputs(outputs: Outputs, inputs: Iterable[str]) -> None:
    """Find out before anything is read whether the results can be written.

    Raises UsageError where they can't, where one would replace another, or one of the ``inputs``.
    """
    if outputs.as_json and outputs.tsv_path == _STDOUT:
        raise UsageError("--json and --tsv - both want standard output; give one of them a file")
    seen = {os.path.realpath(path): path for path in inputs}
    for path in outputs.files:
        real = os.path.realpath(path)
        if real in seen:
            raise UsageError(f"{path} is {seen[real]}, which would be lost; write to another file")
        seen[real] = path
        if os.path.isdir(path):
            raise UsageError(f"{path} is a directory; name a file in it")
        folder = os.path.dirname(path) or "."
        if not os.access(folder, os.W_OK | os.X_OK):
            raise UsageError(f"{path}: {folder} is no directory that can be written; name a file in one that is")
    if outputs.xlsx_path is not None:
        from penstock.analysis.exporting.files import check_xlsx

        check_xlsx()


def write_outputs(
    outputs: Outputs, facts: Mapping[str, Any], tables: Sequence[Table], main: Table, html: Callable[[], str]
) -> None:
    """Write what was asked for; ``main`` is the table for ``--tsv``."""
    from penstock.analysis.exporting.files import json_text, save, tsv_lines, xlsx_bytes

    if outputs.as_json or outputs.json_path is not None:
        text = json_text(facts, tables)
        if outputs.as_json:
            _print(text)
        if outputs.json_path is not None:
            save(outputs.json_path, text)
    if outputs.tsv_path is not None:
        text = "".join(tsv_lines(main))
        if outputs.tsv_path == _STDOUT:
            _print(text)
        else:
            save(outputs.tsv_path, text)
    if outputs.xlsx_path is not None:
        save(outputs.xlsx_path, xlsx_bytes(facts, tables))
    if outputs.html_path is not None:
        save(outputs.html_path, html())
    for path in outputs.files:
        click.echo(f"written: {path}", err=True)


def _print(text: str) -> None:
    """As UTF-8 whatever the terminal is set to, for it is data."""
    click.echo(text.encode(errors="backslashreplace"), nl=False)
