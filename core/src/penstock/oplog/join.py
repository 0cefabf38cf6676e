"""One log of the parts that several processes wrote."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from penstock.errors import OpLogError
from penstock.oplog.columns import COLUMNS, HEADER
from penstock.oplog.source import LONGEST_LINE, Source, open_log
from penstock.oplog.textfile import TextFile

__all__ = ["Joined", "join_parts"]

_SUFFIX: Final = re.compile(r"(\.tsv(?:\.zst)?)?\Z")


@attrs.frozen(slots=True)
class Joined:
    """What came of joining: the rows in the file, and the parts that were cut off and gave only whole rows."""

    rows: int
    cut_off: tuple[str, ...]


def join_parts(parts: Sequence[str | os.PathLike[str]], target: str | os.PathLike[str], *, level: int = 1) -> Joined:
    """Make ``target`` of logs that OpLogWriter wrote: one header, all rows, part after part, numbered anew.

    Memory is bounded. ``target`` appears when it is complete, and only then are the parts removed. Raises OpLogError
    when a part holds something else, or a file can't be read or written; the parts are left then.
    """
    names = [os.fspath(part) for part in parts]
    path = os.fspath(target)
    # The suffix decides what is written, so the temporary name has the same.
    temporary = _SUFFIX.sub(rf".joining-{os.getpid()}\1", path, count=1)
    file = TextFile(temporary, level=level)
    try:
        joined = _join(names, file)
        os.replace(temporary, path)
    except BaseException as error:
        file.salvage()
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise OpLogError(f"{path} could not be written: {error.strerror}; the parts are left") from error
        raise
    for name in names:
        os.unlink(name)
    return joined


def _join(names: Sequence[str], file: TextFile) -> Joined:
    file.append(HEADER)
    rows = 0
    cut_off = []
    for name in names:
        part = _Part(name)
        for text in part.blocks():
            lines = _renumbered(text, rows, name)
            file.append(b"".join(lines))
            rows += len(lines)
        if part.cut_off:
            cut_off.append(name)
    file.finish()
    return Joined(rows, tuple(cut_off))


class _Part:
    """The whole lines of one part, without its header."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.cut_off = False

    def blocks(self) -> Iterator[bytes]:
        source = Source(open_log(self._name), self._name)
        rest = b""
        at_header = True
        for text in source.text():
            rest += text
            end = rest.rfind(b"\n") + 1
            lines, rest = rest[:end], rest[end:]
            if at_header and lines:
                lines, at_header = lines.removeprefix(HEADER), False
            if lines:
                yield lines
            if len(rest) > LONGEST_LINE:
                raise OpLogError(f"{self._name} holds a line of more than {LONGEST_LINE} bytes; is it a part?")
        self.cut_off = source.cut_off or bool(rest)


def _renumbered(text: bytes, first: int, name: str) -> list[bytes]:
    """The lines with other numbers in their first column."""
    lines = text.splitlines(keepends=True)
    if text.count(b"\t") != (len(COLUMNS) - 1) * len(lines):
        raise OpLogError(f"{name} is not a part of a log with the columns {', '.join(COLUMNS)}")
    return [b"%d\t%b" % (number, line.partition(b"\t")[2]) for number, line in enumerate(lines, first)]
