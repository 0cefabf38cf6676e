"""Text and compression over files, such that an exception in ``with`` still discards and a close still closes.

The wrappers that Python and fsspec have close what they wrap either way, or not at all.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from fsspec.compression import compr
from fsspec.core import get_compression

from penstock_fsspec.writing import WriteFile

if TYPE_CHECKING:
    from typing import Self

__all__ = ["CompressedFile", "TextFile", "compressed"]


class CompressedFile:
    """A file that packs what is written, or unpacks what is read, and closes the file below with itself."""

    def __init__(self, packed: Any, raw: Any) -> None:
        self._packed = packed
        self._raw = raw

    def close(self) -> None:
        """Write what the packing still holds, then close the file below; if that fails the file is discarded."""
        try:
            self._packed.close()
        except BaseException:
            self.discard()
            raise
        self._raw.close()

    def discard(self) -> None:
        """Leave nothing behind, where it is being written."""
        if isinstance(self._raw, WriteFile):
            self._raw.abandon()

    @property
    def closed(self) -> bool:
        """Whether the file below is."""
        return bool(self._raw.closed)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._packed, name)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._packed)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.discard()
            self._raw.close()
        else:
            self.close()


class TextFile(io.TextIOWrapper):
    """Text over a file; an exception in its ``with`` block discards what was written."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and isinstance(self.buffer, WriteFile | CompressedFile):
            self.buffer.discard()
        else:
            self.close()


def compressed(raw: Any, path: str, compression: str, mode: str) -> CompressedFile:
    """Pack or unpack a file; ``infer`` goes by the path's ending, and leaves the file as it is where that tells none.

    Raises ValueError for a name that fsspec does not know.
    """
    name = get_compression(path, compression)
    return raw if name is None else CompressedFile(compr[name](raw, mode=mode[0]), raw)
