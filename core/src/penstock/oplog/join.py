"""One log of the parts that several processes wrote."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence

import attrs

from penstock.errors import OpLogError
from penstock.oplog.columns import COLUMNS, COLUMNS_DUE, HEADER, HEADER_DUE
from penstock.oplog.source import LONGEST_LINE, Source, open_log
from penstock.oplog.textfile import TextFile, is_compressed

__all__ = ["Joined", "join_parts"]


@attrs.frozen(slots=True)
class Joined:
    """What came of joining: the rows in the file, the parts that were cut off and gave only whole rows, and how many
    parts there were in all.
    """

    rows: int
    cut_off: tuple[str, ...]
    parts: int


def join_parts(
    parts: Sequence[str | os.PathLike[str]],
    target: str | os.PathLike[str],
    *,
    level: int = 1,
    distinct_threads: bool = False,
) -> Joined:
    """Make ``target`` of logs that OpLogWriter wrote: one header, all rows, part after part, numbered anew.

    ``distinct_threads`` is for parts whose threads were each numbered from 0: they get numbers anew too.

    Memory is bounded. ``target`` appears when it is complete, and only then are the parts removed. Raises OpLogError
    when a part holds something else, or a file can't be read or written; the parts are left then.
    """
    names = [os.fspath(part) for part in parts]
    path = os.fspath(target)
    suffix = ".tsv.zst" if is_compressed(path) else ".tsv"
    if len(names) == 1 and names[0].endswith(suffix) and (rows := _rows_of_whole(names[0])) is not None:
        with _explained(path):
            os.replace(names[0], path)
        return Joined(rows, (), 1)
    temporary = f"{path.removesuffix(suffix)}.joining-{os.getpid()}{suffix}"
    file = TextFile(temporary, level=level)
    try:
        with _explained(path):
            joined = _join(names, file, distinct_threads)
            os.replace(temporary, path)
    except BaseException:
        file.salvage()
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    for name in names:
        os.unlink(name)
    return joined


@contextlib.contextmanager
def _explained(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OpLogError(f"{path} could not be written: {error.strerror}; the parts are left") from error


def _rows_of_whole(name: str) -> int | None:
    """The rows of a part that is a whole log as it stands, else None."""
    part = _Part(name)
    rows = sum(text.count(b"\n") for text in part.blocks())
    return rows if part.has_header and not part.cut_off else None


def _join(names: Sequence[str], file: TextFile, distinct_threads: bool) -> Joined:
    header = _header(names)
    file.append(header)
    rows = 0
    threads = _Threads() if distinct_threads else None
    cut_off = []
    for name in names:
        part = _Part(name)
        for text in part.blocks():
            lines = _renumbered(text, rows, name, HEADER_DUE if part.has_due else HEADER)
            if part.has_header and part.has_due != (header == HEADER_DUE):
                raise OpLogError(
                    f"{name} has other columns than {names[0]}; make one log of them by penstock oplog merge"
                )
            if threads is not None:
                lines = threads.renumbered(lines)
            file.append(b"".join(lines))
            rows += len(lines)
        if part.cut_off:
            cut_off.append(name)
        if threads is not None:
            threads.end_of_part()
    file.finish()
    return Joined(rows, tuple(cut_off), len(names))


class _Part:
    """The whole lines of one part, without its header."""

    def __init__(self, name: str) -> None:
        self._name = name
        #: Known when the blocks were read.
        self.has_header = self.has_due = False
        self.cut_off = False

    def blocks(self) -> Iterator[bytes]:
        source = Source(open_log(self._name), self._name)
        rest = b""
        for text in source.text():
            rest += text
            end = rest.rfind(b"\n") + 1
            lines, rest = rest[:end], rest[end:]
            for header in (HEADER, HEADER_DUE):
                if lines.startswith(header):
                    self.has_header, self.has_due = True, header == HEADER_DUE
                    lines = lines.removeprefix(header)
            if lines:
                yield lines
            if len(rest) > LONGEST_LINE:
                raise OpLogError(f"{self._name} holds a line of more than {LONGEST_LINE} bytes; is it a part?")
        self.cut_off = source.cut_off or bool(rest)


def _header(names: Sequence[str]) -> bytes:
    """Of the first part that has one; each has rows after it, or nothing."""
    for name in names:
        part = _Part(name)
        next(part.blocks(), None)
        if part.has_header:
            return HEADER_DUE if part.has_due else HEADER
    return HEADER


def _renumbered(text: bytes, first: int, name: str, header: bytes) -> list[bytes]:
    """The lines with other numbers in their first column."""
    lines = text.splitlines(keepends=True)
    if text.count(b"\t") != header.count(b"\t") * len(lines):
        columns = COLUMNS_DUE if header == HEADER_DUE else COLUMNS
        raise OpLogError(f"{name} is not a part of a log with the columns {', '.join(columns)}")
    return [b"%d\t%b" % (number, line.partition(b"\t")[2]) for number, line in enumerate(lines, first)]


class _Threads:
    """Gives the threads of each part numbers above those of the parts before."""

    def __init__(self) -> None:
        self._first = 0
        self._next = 0

    def renumbered(self, lines: Sequence[bytes]) -> list[bytes]:
        """The lines with other numbers in their second column."""
        found = []
        for line in lines:
            idx, thread, rest = line.split(b"\t", 2)
            number = self._first + int(thread)
            self._next = max(self._next, number + 1)
            found.append(b"%b\t%d\t%b" % (idx, number, rest))
        return found

    def end_of_part(self) -> None:
        self._first = self._next
