"""The file that a command on logs writes: its form shows in its name, and it is there when it is complete."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Protocol

from penstock.errors import OpLogError
from penstock.oplog.columns import unescape
from penstock.oplog.textfile import MAX_LEVEL

if TYPE_CHECKING:
    from typing import Self

__all__ = ["FORMS", "Target", "form_of"]

#: The forms of a log, by the suffix of its name. All but parquet may have ``.zst`` after it.
FORMS: Final = ("tsv", "csv", "jsonl", "parquet")

_NUMBERS: Final = frozenset({"idx", "thread", "n_objects", "bytes", "duration_ns"})
_TIMES: Final = frozenset({"start", "first_byte", "last_byte", "end"})


def form_of(path: str) -> str:
    """One of :data:`FORMS`. Raises OpLogError for a name that shows none."""
    form = path.removesuffix(".zst").rpartition(".")[2].lower()
    if form not in FORMS or (form == "parquet" and path.endswith(".zst")):
        raise OpLogError(f"{path}: name the log *.tsv, *.csv or *.jsonl, each also with .zst after it, or *.parquet")
    return form


class Target:
    """Takes rows as lines of tab-separated text. A context: left with an error it removes what it wrote.

    What was at ``path`` stays until then. A device or a pipe is written to directly.
    """

    def __init__(self, path: str | os.PathLike[str], columns: Sequence[str], *, level: int = 1) -> None:
        """Raises OpLogError, also when the file can't be made."""
        self.path = os.fspath(path)
        self.columns = tuple(columns)
        form = form_of(self.path)
        if not 1 <= level <= MAX_LEVEL:
            raise OpLogError(f"zstd level {level}: use 1 (fast) to {MAX_LEVEL} (small)")
        if form == "parquet":
            from penstock.oplog.parquet import require

            require()
        folder, name = os.path.split(self.path)
        self._temporary = os.path.join(folder, f".{name}.{os.getpid()}.part")
        if _is_special(self.path):
            self._temporary = self.path
        self._sink: _Sink | None = None
        with self._explained():
            self._file: BinaryIO = open(self._temporary, "wb")  # noqa: SIM115 - closed by __exit__
        try:
            with self._explained():
                self._sink = _sink(form, self._file, self.columns, level, packed=self.path.endswith(".zst"))
        except BaseException:
            self._discard()
            raise

    def append(self, text: bytes) -> None:
        """Write whole lines. Raises OpLogError."""
        assert self._sink is not None
        with self._explained():
            self._sink.append(text)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._discard()
            return
        assert self._sink is not None
        try:
            with self._explained():
                self._sink.finish()
                self._file.close()
                if self._temporary != self.path:
                    os.replace(self._temporary, self.path)
        except BaseException:
            self._discard()
            raise

    def _discard(self) -> None:
        with contextlib.suppress(OSError):
            if self._sink is not None:
                self._sink.abandon()
        with contextlib.suppress(OSError):
            self._file.close()
        if self._temporary != self.path:
            with contextlib.suppress(OSError):
                os.unlink(self._temporary)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OpLogError(f"{self.path} can't be written: {error.strerror}") from error


def _is_special(path: str) -> bool:
    """A device, a pipe or a directory is nothing that a file may take the place of."""
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


class _Sink(Protocol):
    def append(self, text: bytes) -> None: ...
    def finish(self) -> None: ...
    def abandon(self) -> None: ...


def _sink(form: str, file: BinaryIO, columns: Sequence[str], level: int, *, packed: bool) -> _Sink:
    if form == "parquet":
        from penstock.oplog.parquet import ParquetSink

        return ParquetSink(file, columns)
    out: _Sink = _Packed(file, level) if packed else _Plain(file)
    if form == "jsonl":
        return _Json(out, columns)
    if form == "csv":
        return _Csv(out, columns)
    out.append("\t".join(columns).encode(errors="surrogateescape") + b"\n")
    return out


class _Nothing:
    """Sinks that hold nothing which has to be given up."""

    def abandon(self) -> None:
        pass


class _Plain(_Nothing):
    def __init__(self, file: BinaryIO) -> None:
        self._write = file.write

    def append(self, text: bytes) -> None:
        self._write(text)

    def finish(self) -> None:
        pass


class _Packed(_Nothing):
    def __init__(self, file: BinaryIO, level: int) -> None:
        import zstandard

        self._frame = zstandard.ZstdCompressor(level=level).compressobj()
        self._write = file.write

    def append(self, text: bytes) -> None:
        self._write(self._frame.compress(text))

    def finish(self) -> None:
        self._write(self._frame.flush())


class _Csv(_Nothing):
    def __init__(self, out: _Sink, columns: Sequence[str]) -> None:
        self._out = out
        self._write(["\t".join(columns)])

    def append(self, text: bytes) -> None:
        self._write(text.decode(errors="surrogateescape")[:-1].split("\n"))

    def finish(self) -> None:
        self._out.finish()

    def _write(self, lines: list[str]) -> None:
        file = io.StringIO()
        # With both ends of a line as the terminator, cells that hold either of them are quoted.
        rows = csv.writer(file, lineterminator="\r\n")
        rows.writerows([unescape(cell) for cell in line.split("\t")] for line in lines)
        self._out.append(_encode(file.getvalue()))


class _Json(_Nothing):
    def __init__(self, out: _Sink, columns: Sequence[str]) -> None:
        self._out = out
        self._cells: list[tuple[str, Callable[[str], Any]]] = [(name, _json_of(name)) for name in columns]

    def append(self, text: bytes) -> None:
        lines = []
        for line in text.decode(errors="surrogateescape")[:-1].split("\n"):
            pairs = zip(self._cells, line.split("\t"), strict=True)
            lines.append(json.dumps({name: make(cell) for (name, make), cell in pairs}) + "\n")
        self._out.append("".join(lines).encode())

    def finish(self) -> None:
        self._out.finish()


def _json_of(name: str) -> Callable[[str], Any]:
    if name in _NUMBERS:
        return _number
    if name in _TIMES:
        return lambda cell: cell or None
    return unescape


def _number(cell: str) -> int | str | None:
    """What is no number stays text: sorting and merging do not judge what they do not need."""
    try:
        return int(cell) if cell else None
    except ValueError:
        return cell


def _encode(text: str) -> bytes:
    """Lone surrogates in UTF-8's pattern, as CSV has no escape for them."""
    return text.encode(errors="surrogatepass")
