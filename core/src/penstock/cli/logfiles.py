"""``oplog sort``, ``merge``, ``convert`` and ``anonymize``: logs made of logs."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from penstock.cli.common import verbose_option, warn
from penstock.errors import UsageError
from penstock.report.text import printable

if TYPE_CHECKING:
    from penstock.oplog import Changed
    from penstock.oplog.threads import Renumbered

__all__ = ["anonymize", "convert", "merge", "sort"]

_F = TypeVar("_F", bound=Callable[..., Any])
_OFFSET: Final = re.compile(r"(.+)=([+-]?)([^=]+)", re.DOTALL)
_MOST_RUNS: Final = 5
_SUFFIX: Final = re.compile(r"\.(?:tsv|csv|jsonl|parquet)(?:\.zst)?\Z")


def _writing(command: _F) -> _F:
    """The options of every command that writes a log."""
    command = verbose_option(command)
    command = click.option("--skip-bad-rows", is_flag=True, help="Leave malformed rows out; they are counted.")(command)
    return click.option(
        "--level", type=click.IntRange(1, 22), default=1, show_default=True, help="zstd level of a *.zst target."
    )(command)


def _sorting(command: _F) -> _F:
    """The options of sorting."""
    command = click.option(
        "--temp-dir",
        type=click.Path(file_okay=False),
        help="Where rows go that don't fit into memory, by default beside TARGET.",
    )(command)
    return click.option(
        "--rows-in-memory",
        type=click.IntRange(min=1),
        default=2_000_000,
        show_default=True,
        help="How many rows to hold; a million takes 200 to 400 MB.",
    )(command)


@click.command()
@click.argument("log", metavar="LOG")
@click.argument("target", metavar="TARGET")
@_sorting
@_writing
def sort(log: str, target: str, rows_in_memory: int, temp_dir: str | None, level: int, skip_bad_rows: bool) -> None:
    """Sort a log of any size by when its calls started, into TARGET, which may be LOG itself.

    Calls that started together stay in their order. Every column is kept as it is; idx counts anew. Rows that don't
    fit into memory go to a temporary file, about as large as the log compressed.
    """
    from penstock.oplog import sort_log

    _say(
        target,
        sort_log(log, target, rows_in_memory=rows_in_memory, level=level, skip_bad_rows=skip_bad_rows, folder=temp_dir),
    )


@click.command()
@click.argument("logs", metavar="LOG... TARGET", nargs=-1, required=True)
@click.option("--sorted", "is_sorted", is_flag=True, help="The logs are sorted: merge them as they are read.")
@click.option(
    "--clock-offset",
    "offsets",
    multiple=True,
    metavar="LOG=OFFSET",
    help="Add a duration to the times of a log, such as b.tsv.zst=+1.5s or b.tsv.zst=-250us. Repeatable.",
)
@click.option(
    "--client-id-from-name", is_flag=True, help="Set client_id to the file name of each log, without its suffix."
)
@click.option("--overwrite", is_flag=True, help="TARGET may be a file that is there already.")
@_sorting
@_writing
def merge(
    logs: tuple[str, ...],
    overwrite: bool,
    is_sorted: bool,
    offsets: tuple[str, ...],
    client_id_from_name: bool,
    rows_in_memory: int,
    temp_dir: str | None,
    level: int,
    skip_bad_rows: bool,
) -> None:
    """Make one log of several, such as of the processes and hosts of a job, sorted by when the calls started.

    TARGET has every column that one of the logs has; the forms may differ. Threads that have one number in several
    logs, and the same client, get different ones, which are told. With --sorted nothing is held in memory,
    and a log that isn't sorted is a failure.
    """
    from penstock.oplog import Part, merge_logs

    *sources, target = logs
    if not sources:
        raise UsageError("name the logs to merge and, last, the target")
    if os.path.isfile(target) and not overwrite:
        raise UsageError(
            f"{target} is the target, for it stands last, and is there already; name another after the logs, or write "
            "--overwrite"
        )
    shifts = _offsets(offsets, sources)
    parts = [
        Part(path, shifts.get(path, 0), _SUFFIX.sub("", os.path.basename(path)) if client_id_from_name else None)
        for path in sources
    ]
    done = merge_logs(
        parts,
        target,
        is_sorted=is_sorted,
        rows_in_memory=rows_in_memory,
        level=level,
        skip_bad_rows=skip_bad_rows,
        folder=temp_dir,
    )
    for text in _renumbered(done.renumbered):
        warn(text)
    _say(target, done)


def _renumbered(threads: Sequence[Renumbered]) -> Iterator[str]:
    """A sentence for each log and client; numbers that moved alike are told as a range."""
    for (name, client), group in itertools.groupby(threads, key=lambda each: (each.name, each.client_id)):
        pairs = sorted((each.old, each.new) for each in group)
        runs: list[list[tuple[int, int]]] = []
        for old, new in pairs:
            if runs and runs[-1][-1] == (old - 1, new - 1):
                runs[-1].append((old, new))
            else:
                runs.append([(old, new)])
        told = [f"{_range(run[0][0], run[-1][0])} became {_range(run[0][1], run[-1][1])}" for run in runs]
        more = f" and {len(told) - _MOST_RUNS} more" if len(told) > _MOST_RUNS else ""
        whose = f" of client {printable(client)}" if client else ""
        yield f"{name}: threads{whose} {', '.join(told[:_MOST_RUNS])}{more}, for another log has these numbers too"


def _range(first: int, last: int) -> str:
    return str(first) if first == last else f"{first}-{last}"


def _offsets(texts: Sequence[str], sources: Sequence[str]) -> dict[str, int]:
    from penstock.quantities import parse_duration

    found: dict[str, int] = {}
    for text in texts:
        match = _OFFSET.fullmatch(text)
        if match is None:
            raise UsageError(f"--clock-offset {text}: write LOG=+1.5s or LOG=-250us")
        path, sign, duration = match.groups()
        if path not in sources:
            raise UsageError(f"--clock-offset {text}: {path} is none of the logs; write it as it stands among them")
        if path in found:
            raise UsageError(f"--clock-offset {text}: {path} has an offset already")
        try:
            offset = round(parse_duration(duration) * 1e9)
        except ValueError as error:
            raise UsageError(f"--clock-offset {text}: {error}") from None
        found[path] = -offset if sign == "-" else offset
    return found


@click.command()
@click.argument("log", metavar="LOG")
@click.argument("target", metavar="TARGET")
@click.option(
    "--columns",
    type=click.Choice(["13", "15"]),
    help="Which columns to write: 15 adds last_byte and cat, which MinIO warp reads. By default as in LOG.",
)
@_writing
def convert(log: str, target: str, columns: str | None, level: int, skip_bad_rows: bool) -> None:
    """Write a log in the form that TARGET's name shows: *.tsv, *.csv, *.jsonl, each also *.zst, or *.parquet.

    No cell is changed, but times are written in UTC. With --columns 15, last_byte of a PUT is when its body had
    been sent, which a log of 13 columns has in first_byte; --columns 13 leaves last_byte and cat out.
    """
    from penstock.oplog import convert_log

    wanted = None if columns is None else int(columns)
    _say(target, convert_log(log, target, columns=wanted, level=level, skip_bad_rows=skip_bad_rows))


@click.command()
@click.argument("log", metavar="LOG")
@click.argument("target", metavar="TARGET")
@click.option(
    "--key-file",
    type=click.Path(dir_okay=False),
    help="A file with a secret: logs anonymized with the same one have the same pseudonyms. By default random.",
)
@click.option("--keep-suffixes", is_flag=True, help="Keep what ends a name, such as .npz or .tar.gz.")
@_writing
def anonymize(
    log: str, target: str, key_file: str | None, keep_suffixes: bool, level: int, skip_bad_rows: bool
) -> None:
    """Replace names in a log by pseudonyms: clients, hosts, and every part of the names of objects.

    Names stay as deep as they were, and what began alike still does. Times, sizes and operations stay. Names in error
    texts are replaced as far as they can be told from other words: read those before you give the log away.
    """
    from penstock.oplog import anonymize_log

    done = anonymize_log(
        log,
        target,
        key=None if key_file is None else _key(key_file),
        keep_suffixes=keep_suffixes,
        level=level,
        skip_bad_rows=skip_bad_rows,
    )
    _say(target, done)


def _key(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read().strip()
    except OSError as error:
        raise UsageError(f"--key-file {path} can't be read: {error.strerror}") from error


def _say(target: str, done: Changed) -> None:
    for name in done.cut_off:
        warn(f"{name} is cut off; its whole rows were read")
    if done.bad_rows:
        warn(f"{done.bad_rows:,} malformed {'row was' if done.bad_rows == 1 else 'rows were'} left out")
    click.echo(f"{target}: {done.rows:,} rows", err=True)
