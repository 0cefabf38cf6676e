"""Objects that are files of a data format: what a file says of it, and how long such objects are.

``format: npz`` names the format, and options may follow as in a URI: ``format: tfrecord?sample_size=1KiB``. The size
is then that of the content in each object; the object is longer, by what the format adds, and by the same for each.
"""

from __future__ import annotations

import functools
from typing import Any, Protocol
from urllib.parse import parse_qsl

import attrs

from penstock.errors import PenstockError, UsageError
from penstock.formats import DataFormat, Fill
from penstock.samples import choose_format
from penstock.workload.fields import key
from penstock.workload.shapes import Optional, Reader, Text
from penstock.workload.sizes import Fixed, SizeSpec

__all__ = ["Formatted", "check_format", "codec_of", "format_key", "object_size"]

#: What the length of a file is tried with, as far as it may depend on the content.
_TRIED = 256 * 1024


class Formatted(Protocol):
    """An entry that makes objects, perhaps of a format."""

    @property
    def size(self) -> SizeSpec: ...
    @property
    def format(self) -> str | None: ...


def format_key() -> Any:
    """The key ``format``."""
    return key(
        Optional(Text("a data format, with options after a ?", ("npz", "tfrecord?sample_size=1KiB"))),
        None,
        help="objects are files of this data format, as penstock format list has them; options may follow, as in "
        "tfrecord?sample_size=1KiB. The size is that of their content then, and one for all. none: bytes as they are",
    )


def object_size(entry: Formatted) -> SizeSpec:
    """How long the objects of an entry are: its own size, or what a file of its format with such content takes."""
    if entry.format is None:
        return entry.size
    assert isinstance(entry.size, Fixed), "the configuration was checked"
    return attrs.evolve(entry.size, size=_length(entry.format, entry.size.size))


@functools.lru_cache(maxsize=64)
def codec_of(text: str) -> DataFormat:
    """Open a format as a file names it. Raises PluginError or UsageError."""
    name, _, options = text.partition("?")
    try:
        given = dict(parse_qsl(options, keep_blank_values=True, strict_parsing=True)) if options else None
    except ValueError:
        raise UsageError(f"{text!r}: write options as in {name}?name=value&other=value") from None
    return choose_format("", name, given).codec


def check_format(path: str, entry: Formatted, reader: Reader) -> None:
    """Note what can't be of the format of an entry."""
    if entry.format is None or f"{path}.format" in reader.failed:
        return
    try:
        codec = codec_of(entry.format)
        if f"{path}.size" in reader.failed:
            return
        if not isinstance(entry.size, Fixed):
            reader.note(f"{path}.size", "objects of a format have one size, that of their content; write one")
            return
        if len({_encoded(codec, min(entry.size.size, _TRIED), fill) for fill in (_zeros, _counting, _nothing)}) > 1:
            text = f"files of {entry.format} are as long as their content compresses; write it without compression"
            reader.note(f"{path}.format", text)
    except PenstockError as error:
        reader.note(f"{path}.format", str(error))


@functools.lru_cache(maxsize=256)
def _length(text: str, content: int) -> int:
    return _encoded(codec_of(text), content, _nothing)


def _encoded(codec: DataFormat, content: int, fill: Fill) -> int:
    return sum(memoryview(piece).nbytes for piece in codec.encode(codec.synthesize(content, fill)))


def _nothing(room: memoryview) -> None:
    """Leave it as it is."""


def _zeros(room: memoryview) -> None:
    room[:] = bytes(room.nbytes)


def _counting(room: memoryview) -> None:
    room[:] = (bytes(range(256)) * (room.nbytes // 256 + 1))[: room.nbytes]
