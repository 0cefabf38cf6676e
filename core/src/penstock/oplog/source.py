"""The text of a log, whatever it is packed in, in pieces and in constant memory."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import BinaryIO, Final, cast

import numpy as np

from penstock.errors import OpLogError
from penstock.oplog.cells import ROOM, Array, Text
from penstock.oplog.frames import FRAME, SKIPPABLE, FramedFile

__all__ = ["BOM", "LONGEST_LINE", "Piece", "Source", "open_log"]

Piece = bytes | bytearray | memoryview

#: Bytes of the longest line that is read. A file with a longer one is not a log.
LONGEST_LINE: Final = 8 * 1024 * 1024

# Logs compress about 6 to 1, monotonous ones 60 to 1; what one piece expands to is held at once.
_PIECE: Final = 16 * 1024
# What is read at once where that is not held.
_LARGE_PIECE: Final = 256 * 1024
#: What some programs begin a text with.
BOM: Final = b"\xef\xbb\xbf"


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
            self.compressed = _is_compressed(piece)
            texts = self._inflate(piece) if self.compressed else self._plain(piece)
            first = next(texts, b"").removeprefix(BOM)
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

    def into(self) -> Callable[[memoryview], int]:
        """What fills the room that it is given with text, as far as there is some, and says how much. The whole is
        that of :meth:`text`, of which the beginning may be a BOM. It raises OpLogError too.
        """
        head = b""
        while len(head) < len(FRAME) and (more := self._read(len(FRAME) - len(head))):
            head += more
        self.compressed = _is_compressed(head)
        return self._inflater(head) if self.compressed else self._copier(head)

    def _copier(self, head: bytes) -> Callable[[memoryview], int]:
        left = head

        def fill(room: memoryview) -> int:
            nonlocal left
            filled = min(len(left), len(room))
            room[:filled], left = left[:filled], left[filled:]
            try:
                while filled < len(room) and (more := self._file.readinto(room[filled:])):  # type: ignore[attr-defined]
                    filled += more
            except OSError as error:
                raise self._unreadable(error) from error
            return filled

        return fill

    def _inflater(self, head: bytes) -> Callable[[memoryview], int]:
        import zstandard

        framed = FramedFile(self._file, head)
        reader = zstandard.ZstdDecompressor().stream_reader(
            cast("BinaryIO", framed),
            read_size=_LARGE_PIECE,
            read_across_frames=True,
        )

        def fill(room: memoryview) -> int:
            filled = 0
            try:
                while filled < len(room) and (more := reader.readinto(room[filled:])):
                    filled += more
            except zstandard.ZstdError as error:
                raise self._damaged(error) from error
            except OSError as error:
                raise self._unreadable(error) from error
            self.cut_off = framed.is_inside
            return filled

        return fill

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

    def texts(self, size: int, room: Callable[[], Array]) -> Iterator[tuple[Text, bool]]:
        """Whole lines, ``size`` bytes at most, and True; then what has no line feed, if there is such, and False.

        Each text is in what ``room`` gives for it, bytes for ``size`` and twice ROOM, and is good until ``room`` is
        asked again; one with a longer line is elsewhere.
        """
        with self._file:
            fill, rest, more = self.into(), b"", True
            at_begin = True
            while more:
                text, more = self._filled(fill, room(), rest, size)
                if at_begin and text.cell(text.begin, text.end).startswith(BOM):
                    text = Text(text.codes, text.begin + len(BOM), text.end)
                at_begin = False
                feed = _last_line_feed(text)
                rest = text.cell(feed + 1, text.end)
                if feed >= text.begin:
                    yield Text(text.codes, text.begin, feed + 1), True
            if rest:
                yield Text(text.codes, text.end - len(rest), text.end), False

    def _filled(self, fill: Callable[[memoryview], int], codes: Array, rest: bytes, size: int) -> tuple[Text, bool]:
        """The rest and what follows, with a line feed if there is one; and whether there may be more."""
        while True:
            if len(rest) >= size:
                if len(rest) > LONGEST_LINE:
                    raise OpLogError(f"{self._name} holds a line of more than {LONGEST_LINE} bytes; is it a log?")
                size = min(2 * len(rest), LONGEST_LINE + 1)
                codes = np.zeros(size + 2 * ROOM, np.uint8)
            end = ROOM + len(rest)
            codes[ROOM:end] = np.frombuffer(rest, np.uint8)
            end += fill(codes.data[end : ROOM + size])
            text, more = Text(codes, ROOM, end), end == ROOM + size
            if not more or _last_line_feed(text) >= ROOM:
                return text, more
            rest = text.cell(ROOM, end)

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
                raise self._damaged(error) from error
            self.cut_off = not frame.eof
            piece = frame.unused_data
            if frame.eof:
                frame = decompressor.decompressobj()
            piece = piece or self._read()

    def _read(self, size: int = _PIECE) -> bytes:
        try:
            return self._file.read(size)
        except OSError as error:
            raise self._unreadable(error) from error

    def _damaged(self, error: Exception) -> OpLogError:
        return OpLogError(f"{self._name} is damaged: {error}")

    def _unreadable(self, error: OSError) -> OpLogError:
        return OpLogError(f"{self._name} can't be read: {error.strerror}")


def _is_compressed(head: bytes) -> bool:
    return head[:4] == FRAME or head[1:4] == SKIPPABLE


def _last_line_feed(text: Text) -> int:
    """Where it is; before the text if there is none."""
    end, size = text.end, 1024
    while end > text.begin:
        begin = max(text.begin, end - size)
        found = text.cell(begin, end).rfind(b"\n")
        if found >= 0:
            return begin + found
        end, size = begin, 16 * size
    return text.begin - 1
