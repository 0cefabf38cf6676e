"""Captures: recording what a program does on its stores: in this process, or in each process of a job, a part by each.

``start`` and ``stop`` record this process into one file. ``capture``, the environment (``PENSTOCK_OPLOG``) and the
command ``penstock capture`` record every process of a job: each writes a part of its own beside the log,
``log.part-PID.tsv.zst``, from its first call on a store to its end, and :func:`collect` makes one log of the parts.
"""

from __future__ import annotations

import atexit
import contextlib
import glob
import itertools
import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final

import attrs

from penstock.environment import variables as set_variables
from penstock.errors import OpLogError
from penstock.layers.switch import arrange, begin_arranged, install
from penstock.oplog.join import Joined, join_parts
from penstock.oplog.recorder import OpLog, OpLogOptions, sort_in_place
from penstock.oplog.textfile import is_compressed
from penstock.options import describe

__all__ = [
    "PATH_VARIABLE",
    "Captured",
    "Counts",
    "begin_part",
    "capture",
    "collect",
    "environment",
    "part_paths",
    "prepare",
    "start",
    "stop",
]

#: The environment variable that names the log of a job; see :func:`environment`.
PATH_VARIABLE: Final = "PENSTOCK_OPLOG"


@attrs.frozen(slots=True)
class Counts:
    """Rows of one log: those the writer took, those of them that are in the file, and those that were lost because
    it was behind and the capture not lossless. Each recorded call is one accepted or one dropped row.
    """

    accepted: int
    written: int
    dropped: int


class _Running:
    """The capture of this process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.log: OpLog | None = None

    def forget(self) -> None:
        self.lock = threading.Lock()
        self.log = None


_running = _Running()
os.register_at_fork(after_in_child=_running.forget)


def start(
    path: str | os.PathLike[str],
    *,
    client_id: str = "",
    clock_offset_ns: int = 0,
    sort: bool | None = None,
    lossless: bool | None = None,
    level: int | None = None,
    buffer: int | None = None,
) -> OpLog:
    """Record every call on a store that this process begins from now on, in any thread, until :func:`stop`.

    It reaches the stores that are open already too, but not what :func:`penstock.open_store` gives, which is the
    backend itself; see :meth:`OpLog.meter`. What it returns has the counts while it goes on, and as a context
    manager stops at the end; a program that ends stops too. Processes forked from this one are not recorded, see
    :func:`capture`. The arguments are those of :class:`OpLog`; what is None, 0 or empty is what the environment says.

    Raises OpLogError when a capture is on, or ``path`` can't be written; nothing was touched then.
    """
    given = {"sort": sort, "lossless": lossless, "level": level, "buffer": buffer}
    return _start(
        os.fspath(path), {**given, "client_id": client_id or None, "clock_offset_ns": clock_offset_ns or None}
    )


def stop() -> Counts:
    """End the capture that is on: write what was recorded, sort it if that was asked for, and say how much it was.

    A call that is under way in another thread is not recorded. Raises OpLogError when no capture is on, and with the
    counts when rows could not be written.
    """
    log = _running.log
    if log is None or log.closed:
        raise OpLogError("no capture is on in this process; begin one by penstock.oplog.start(path)")
    log.close()
    return Counts(log.accepted, log.written, log.dropped)


def _start(path: str, options: Mapping[str, Any]) -> OpLog:
    with _running.lock:
        if _running.log is not None and not _running.log.closed:
            raise OpLogError(f"the calls of this process are recorded in {_running.log.path} already; stop that first")
        log = OpLog(path, **options)
        try:
            install(log)
        except BaseException:
            log.close()
            raise
        _running.log = log
        return log


@attrs.define(slots=True)
class Captured:
    """A capture of several processes. ``joined`` says what became of it, once it is over."""

    path: str
    joined: Joined | None = None


@contextlib.contextmanager
def capture(
    path: str | os.PathLike[str],
    *,
    client_id: str = "",
    clock_offset_ns: int = 0,
    sort: bool = False,
    lossless: bool | None = None,
    level: int | None = None,
    buffer: int | None = None,
) -> Iterator[Captured]:
    """Record this process, and those that it forks or spawns meanwhile, and theirs, in one log.

    They must have ended when the block does: then the parts are joined, and sorted by the start of the rows if ``sort``
    says so. The number of a thread in the log is that of one thread of one process. A process that is killed loses
    what it did in the last second; its whole rows before that are in the log. The arguments are those of
    :class:`OpLog`; they reach other processes by the environment, which is restored at the end.

    Raises OpLogError when a capture is on, when parts of an earlier one are there, or a file can't be written.
    """
    whole = os.path.abspath(path)
    prepare(whole)
    if _running.log is not None and not _running.log.closed:
        raise OpLogError(f"the calls of this process are recorded in {_running.log.path} already; stop that first")
    variables = environment(
        whole,
        client_id=client_id or None,
        clock_offset_ns=clock_offset_ns or None,
        lossless=lossless,
        level=level,
        buffer=buffer,
    )
    process, captured = os.getpid(), Captured(whole)
    with set_variables(variables):
        arrange(partial(begin_part, whole))
        try:
            begin_arranged()
            yield captured
        except BaseException as error:
            if os.getpid() == process:
                _end_after(error, captured, sort, level or 1)
            raise
        if os.getpid() == process:
            _end(captured, sort, level or 1)


def environment(
    path: str,
    *,
    client_id: str | None = None,
    clock_offset_ns: int | None = None,
    lossless: bool | None = None,
    level: int | None = None,
    buffer: int | None = None,
) -> Mapping[str, str]:
    """The variables by which a process, and every one below it, records its part of the log at ``path``, absolute.

    What is None is left to the variables that are set already; parts are never sorted one by one.
    """
    given = {
        "client_id": client_id,
        "clock_offset_ns": clock_offset_ns,
        "lossless": lossless,
        "level": level,
        "buffer": buffer,
    }
    names = {field.name: field.env[0] for field in describe(OpLogOptions)}
    texts = {names[name]: str(value) for name, value in given.items() if value is not None}
    return {**texts, names["sort"]: "", PATH_VARIABLE: path}


def begin_part(path: str) -> None:
    """Begin this process's part of the log at ``path``, with the options of the environment. Raises OpLogError."""
    part = _new_part(path)
    try:
        log = _start(part, {})
    except BaseException:
        os.unlink(part)
        raise
    atexit.register(_say_losses, log)
    util, process = sys.modules.get("multiprocessing.util"), sys.modules.get("multiprocessing.process")
    if util is not None and process is not None and process.parent_process() is not None:
        # A worker that was forked ends without the interpreter's exit.
        util.Finalize(None, log.close, exitpriority=0)


def part_paths(path: str | os.PathLike[str]) -> list[str]:
    """The parts of a log that are there, those of running processes too, by the numbers of their processes."""
    stem, suffix = _split(os.fspath(path))
    found = []
    for name in glob.glob(f"{glob.escape(stem)}.part-*{suffix}"):
        number = re.fullmatch(r"(\d+)(?:-(\d+))?", name[len(stem) + len(".part-") : -len(suffix)])
        if number is not None:
            found.append((int(number[1]), int(number[2] or 1), name))
    return [name for _, _, name in sorted(found)]


def prepare(path: str) -> None:
    """Raise OpLogError where no log of several processes can be written, rather than in each of them; and where parts
    of an earlier log are there, which would become parts of the new one.
    """
    parts = part_paths(path)
    if parts:
        raise OpLogError(
            f"{parts[0]} was left by an earlier capture; make a log of its parts by "
            f"penstock.oplog.collect({path!r}), or remove them"
        )
    folder = os.path.dirname(path) or "."
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OpLogError(f"{path}: {folder} is no directory that can be written; name a log in one that is")


def collect(path: str | os.PathLike[str], *, sort: bool = False, level: int = 1) -> Joined:
    """Make one log at ``path`` of the parts beside it, when the processes that wrote them have ended; see ``capture``.

    The parts are removed then. Without parts the log has no rows. Raises OpLogError, also when a process of this host
    still writes one; the parts are left then.
    """
    parts = part_paths(path)
    for part in parts:
        if _is_being_written(part):
            raise OpLogError(f"{part} is still being written; penstock.oplog.collect joins the parts afterwards")
    joined = join_parts(parts, path, level=level, distinct_threads=True)
    if sort:
        sort_in_place(os.fspath(path), level=level)
    return joined


def _end(captured: Captured, sort: bool, level: int) -> None:
    arrange(None)
    try:
        if _running.log is not None:
            _running.log.close()
    finally:
        captured.joined = collect(captured.path, sort=sort, level=level)


def _end_after(error: BaseException, captured: Captured, sort: bool, level: int) -> None:
    """What went wrong first is what the caller must see."""
    try:
        _end(captured, sort, level)
    except OpLogError as failure:
        error.add_note(str(failure))


def _new_part(path: str) -> str:
    """The name of a file that was not there before, for the number of a process is used again, and by other hosts."""
    stem, suffix = _split(path)
    for turn in itertools.count(1):
        part = f"{stem}.part-{os.getpid()}{f'-{turn}' if turn > 1 else ''}{suffix}"
        try:
            os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        except FileExistsError:
            continue
        except OSError as error:
            raise OpLogError(
                f"{part} can't be written ({error.strerror}); name a log in a writable directory"
            ) from error
        return part
    raise AssertionError("a count does not end")


def _is_being_written(part: str) -> bool:
    """Whether the process that the part is named for is here, and has it open."""
    number = re.search(r"\.part-(\d+)", os.path.basename(part))
    assert number is not None
    whole = os.path.realpath(part)
    with contextlib.suppress(OSError):
        for fd in os.listdir(f"/proc/{number[1]}/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(f"/proc/{number[1]}/fd/{fd}") == whole:
                    return True
    return False


def _split(path: str) -> tuple[str, str]:
    suffix = ".tsv.zst" if is_compressed(path) else ".tsv"
    return path.removesuffix(suffix), suffix


def _say_losses(log: OpLog) -> None:
    """Nobody asks a capture that began by itself for its counts."""
    with contextlib.suppress(OpLogError):  # the log's own end raises it again
        log.close()
    if log.dropped:
        sys.stderr.write(f"op-log {log.path}: {log.written:,} rows written, {log.dropped:,} dropped\n")
