"""The file that a log is written to: plain or compressed text, of which a whole prefix is always readable."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Any, Final

from penstock.errors import OpLogError

__all__ = ["MAX_LEVEL", "TextFile", "is_compressed"]

#: Levels of zstd compression are 1 to this.
MAX_LEVEL: Final = 22

# An empty raw block marked as the last one. It ends a zstd frame without a checksum, as ours are.
_END_OF_FRAME: Final = b"\x01\x00\x00"


class TextFile:
    """A file that takes text in whole lines: zstd-compressed as ``.tsv.zst``, plain as ``.tsv``.

    What ``append`` took can be read from then on, whatever becomes of this process.
    """

    def __init__(self, path: str, *, level: int = 1) -> None:
        """Open ``path``, replacing what is there. Raises OpLogError, which says what to do instead."""
        self._frame = _new_frame(path, level)
        self._fd = _open(path)
        self._whole = 0

    def append(self, text: bytes) -> None:
        """Write whole lines. Raises OSError when that fails; nothing can be appended after that."""
        if self._frame is not None:
            from zstandard import COMPRESSOBJ_FLUSH_BLOCK

            text = self._frame.compress(text) + self._frame.flush(COMPRESSOBJ_FLUSH_BLOCK)
        self._write(text)

    def finish(self) -> None:
        """End the file. Raises OSError when that fails."""
        try:
            if self._frame is not None:
                self._write(self._frame.flush())
        finally:
            self._close()

    def salvage(self) -> None:
        """End the file after a failure: what the last good ``append`` left stays, and is a complete file where
        there is room for three more bytes. Harmless when it is ended already.
        """
        with contextlib.suppress(OSError):
            if stat.S_ISREG(os.fstat(self._fd).st_mode):
                os.ftruncate(self._fd, self._whole)
                os.lseek(self._fd, self._whole, os.SEEK_SET)
                if self._frame is not None and self._whole:
                    self._write(_END_OF_FRAME)
        with contextlib.suppress(OSError):
            self._close()

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        os.close(fd)

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._fd, rest) :]
        self._whole += len(data)


def is_compressed(path: str) -> bool:
    """Whether a log of this name is compressed. Raises OpLogError for any suffix but ours."""
    if not path.endswith((".tsv", ".tsv.zst")):
        raise OpLogError(f"{path}: name the log *.tsv.zst for a compressed one or *.tsv for plain text")
    return path.endswith(".zst")


def _new_frame(path: str, level: int) -> Any:
    if not is_compressed(path):
        return None
    if not 1 <= level <= MAX_LEVEL:
        raise OpLogError(f"zstd level {level}: use 1 (fast) to {MAX_LEVEL} (small)")
    import zstandard

    return zstandard.ZstdCompressor(level=level, write_checksum=False).compressobj()


def _open(path: str) -> int:
    folder = os.path.dirname(path) or "."
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    except FileNotFoundError as error:
        raise OpLogError(f"{path}: the directory {folder} does not exist; make it, or name another") from error
    except IsADirectoryError as error:
        raise OpLogError(f"{path} is a directory; name a file, such as {path.rstrip('/')}/oplog.tsv.zst") from error
    except OSError as error:
        raise OpLogError(f"{path} can't be written ({error.strerror}); name a file in a writable directory") from error
