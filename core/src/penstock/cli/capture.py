"""``penstock capture``: an operation log of any program, and of the processes that it starts."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.common import env_file_option, verbose_option, warn
from penstock.cli.lazy import FAILED, State
from penstock.errors import OpLogError, UsageError

if TYPE_CHECKING:
    from typing import Self

    from penstock.oplog import Joined

__all__ = ["capture"]


@click.command()
@click.argument("log", metavar="LOG", type=click.Path(dir_okay=False))
@click.argument("command", metavar="-- COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--sort", is_flag=True, help="Sort the rows of all processes by their start at the end.")
@click.option("--client-id", default="", metavar="TEXT", help="The client_id of every row.")
@click.option("--clock-offset-ns", type=int, metavar="N", help="Nanoseconds to add to this host's clock.")
@click.option("--level", type=click.IntRange(1, 22), metavar="N", help="zstd level, 1 (fast) to 22 (small).")
@click.option("--buffer", type=click.IntRange(min=1), metavar="ROWS", help="Rows in each thread's buffer.")
@click.option(
    "--best-effort", is_flag=True, help="Drop and count rows when writing is behind, rather than hold the program back."
)
@env_file_option
@verbose_option
def capture(
    log: str,
    command: Sequence[str],
    sort: bool,
    client_id: str,
    clock_offset_ns: int | None,
    level: int | None,
    buffer: int | None,
    best_effort: bool,
) -> int:
    """Run COMMAND and record every call on a store that it makes through penstock, in the operation log LOG.

    Every process below COMMAND that imports penstock writes a part of its own beside LOG, forked and spawned ones too;
    when COMMAND ends the parts are joined, unless a process that outlives it still writes its own. The exit code is
    that of COMMAND, 128 and the signal's number when one killed it; 1 when COMMAND did well and the log did not.
    """
    from penstock.oplog.capturing import collect, environment, prepare

    path = os.path.abspath(log)
    prepare(path)
    variables = environment(
        path,
        client_id=client_id or None,
        clock_offset_ns=clock_offset_ns,
        lossless=False if best_effort else None,
        level=level,
        buffer=buffer,
    )
    state = click.get_current_context().find_object(State) or State()
    code = _run(command, {**state.environ_for_others(), **variables})
    try:
        _say(log, collect(path, sort=sort, level=level or 1))
    except OpLogError as error:
        warn(error)
        return code or FAILED
    return code


def _run(command: Sequence[str], environ: Mapping[str, str]) -> int:
    with _Signals() as signals:
        try:
            process = subprocess.Popen(command, env=environ)  # noqa: S603 - what the user asks for
        except OSError as error:
            raise UsageError(f"{command[0]} can't be run: {error.strerror}") from error
        signals.pass_to(process)
        code = process.wait()
    return code if code >= 0 else 128 - code


class _Signals:
    """Keeps this process alive while the program runs, for the log has to be made.

    Ctrl-C reaches the program by itself, so it is not passed on; what asks one process to end is.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []
        self._before: dict[int, Any] = {}

    def pass_to(self, process: subprocess.Popen[bytes]) -> None:
        """Pass on what comes, and what came before there was a process."""
        self._process = process
        for number in self._early:
            process.send_signal(number)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self._process is None:
            self._early.append(number)
        elif number != signal.SIGINT:
            self._process.send_signal(number)

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def _say(log: str, joined: Joined) -> None:
    rows = "1 row" if joined.rows == 1 else f"{joined.rows:,} rows"
    processes = "1 process" if joined.parts == 1 else f"{joined.parts:,} processes"
    click.echo(f"op-log {log}: {rows} of {processes}", err=True)
    for part in joined.cut_off:
        warn(f"{os.path.basename(part)} was cut off; its whole rows are in the log")
