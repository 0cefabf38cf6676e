"""The text of a log, whatever it is packed in, in pieces and in constant memory."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import BinaryIO, Final

from penstock.errors import OpLogError

__all__ = ["LONGEST_LINE", "Piece", "Source", "open_log"]

Piece = bytes | bytearray | memoryview

#: Bytes of the longest line that is read. A file with a longer one is not a log.
LONGEST_LINE: Final = 8 * 1024 * 1024

# Logs compress about 6 to 1, monotonous ones 60 to 1; what one piece expands to is held at once.
_PIECE: Final = 16 * 1024
_FRAME: Final = b"\x28\xb5\x2f\xfd"
_SKIPPABLE: Final = b"\x2a\x4d\x18"
_BOM: Final = b"\xef\xbb\xbf"


def open_log(path: str) -> BinaryIO:
    """Open a file for reading; a Parquet file gives its rows as text. Raises OpLogError."""
    if path.endswith(".parquet"):
        from penstock.oplog.parquet import open_parquet

        return open_parquet(path)
    try:
        return open(path, "rb")
    except OSError as error:
        raise OpLogError(f"{path} can't be read: {error.strerror}") from error


class Source:
    """Text from a binary file, plain or in zstd frames, told apart by their magic number."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        """``file`` is closed when its text was read, or the iterator is dropped. ``name`` is for messages."""
        self._file = file
        self._name = name
        self.compressed = False
        #: The file ended within a frame. Known when the text was read.
        self.cut_off = False

    def text(self) -> Iterator[bytes]:
        """The text, in pieces of any length. Raises OpLogError for damaged data."""
        with self._file:
            piece = self._read()
            while len(piece) < 4 and (more := self._read()):
                piece += more
            self.compressed = piece[:4] == _FRAME or piece[1:4] == _SKIPPABLE
            texts = self._inflate(piece) if self.compressed else self._plain(piece)
            first = next(texts, b"").removeprefix(_BOM)
            yield first
            yield from texts

    def lines(self) -> Generator[tuple[bytes, bool], None, None]:
        """Each line without its line feed, and whether it had one. Only the last may lack it."""
        rest: list[bytes] = []
        for text in self.text():
            rest.append(text)
            if b"\n" in text:
                *whole, last = b"".join(rest).split(b"\n")
                rest = [last]
                for line in whole:
                    yield line, True
            if sum(map(len, rest)) > LONGEST_LINE:
                raise OpLogError(f"{self._name} holds a line of more than {LONGEST_LINE} bytes; is it a log?")
        if any(rest):
            yield b"".join(rest), False

    def blocks(self, size: int) -> Iterator[tuple[Sequence[Piece], bool]]:
        """Whole lines, about ``size`` bytes at once in pieces that follow one another, and True; then what has no line
        feed, if there is such a rest, and False.
        """
        pieces: list[Piece] = []
        held = unended = 0
        for text in self.text():
            end = text.rfind(b"\n") + 1
            held += len(text)
            unended = len(text) - end if end else unended + len(text)
            if unended > LONGEST_LINE:
                raise OpLogError(f"{self._name} holds a line of more than {LONGEST_LINE} bytes; is it a log?")
            if held < size or not end:
                pieces.append(text)
                continue
            yield [*pieces, memoryview(text)[:end]], True
            pieces, held = [memoryview(text)[end:]], unended
        data = b"".join(pieces)
        end = data.rfind(b"\n") + 1
        if end:
            yield [memoryview(data)[:end]], True
        if end < len(data):
            yield [memoryview(data)[end:]], False

    def _plain(self, piece: bytes) -> Iterator[bytes]:
        while piece:
            yield piece
            piece = self._read()

    def _inflate(self, piece: bytes) -> Iterator[bytes]:
        import zstandard

        decompressor = zstandard.ZstdDecompressor()
        frame = decompressor.decompressobj()
        while piece:
            try:
                yield frame.decompress(piece)
            except zstandard.ZstdError as error:
                raise OpLogError(f"{self._name} is damaged: {error}") from error
            self.cut_off = not frame.eof
            piece = frame.unused_data
            if frame.eof:
                frame = decompressor.decompressobj()
            piece = piece or self._read()

    def _read(self) -> bytes:
        try:
            return self._file.read(_PIECE)
        except OSError as error:
            raise OpLogError(f"{self._name} can't be read: {error.strerror}") from error
