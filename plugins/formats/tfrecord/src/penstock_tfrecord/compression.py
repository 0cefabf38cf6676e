"""Whole files compressed by zlib or gzip, as TensorFlow's ``TFRecordOptions(compression_type=…)`` makes them."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from penstock.errors import FormatError

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["compress", "decompress"]

_WINDOW = {"zlib": 15, "gzip": 31}
_INPUT = 256 * 1024
_OUTPUT = 1024 * 1024


def compress(pieces: Iterable[Buffer], kind: str, level: int) -> Iterator[bytes]:
    """One compressed stream. gzip's head has no time and no name, so the same bytes give the same."""
    deflate = zlib.compressobj(level, zlib.DEFLATED, _WINDOW[kind])
    for piece in pieces:
        if made := deflate.compress(piece):
            yield made
    yield deflate.flush()


def decompress(data: memoryview, kind: str) -> Iterator[bytes]:
    """What was compressed, in pieces of at most 1 MiB. gzip may be several members, one after another.

    Raises FormatError where it is cut or damaged, at the latest after the last piece.
    """
    inflate = zlib.decompressobj(_WINDOW[kind])
    for begin in range(0, len(data), _INPUT):
        rest = bytes(data[begin : begin + _INPUT])
        while rest:
            if inflate.eof:
                if kind != "gzip":
                    raise FormatError(f"bytes follow the end of the {kind} stream")
                inflate = zlib.decompressobj(_WINDOW[kind])
            try:
                made = inflate.decompress(rest, _OUTPUT)
            except zlib.error as error:
                raise FormatError(f"the file is no {kind} stream, or damaged: {error}") from None
            if made:
                yield made
            rest = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
    # Output that is left when no input is.
    while not inflate.eof:
        try:
            made = inflate.decompress(b"", _OUTPUT)
        except zlib.error as error:
            raise FormatError(f"the file is no {kind} stream, or damaged: {error}") from None
        if not made:
            raise FormatError(f"the {kind} stream has no end")
        yield made
