"""What the bytes of objects are, as a file describes it: the keys, the same wherever objects are made, and checks."""

from __future__ import annotations

from typing import Any, Protocol

from penstock.errors import PenstockError
from penstock.options import nearest
from penstock.payloads.checksums import crc32c
from penstock.plugins import default_host
from penstock.workload.fields import key
from penstock.workload.formatting import check_format
from penstock.workload.shapes import FAILED, Flag, Quantity, Reader, Text
from penstock.workload.sizes import SizeSpec, largest

__all__ = ["Content", "across_key", "check_content", "check_verify", "compress_key", "dedup_key", "fill_key"]


class Content(Protocol):
    """What every entry that makes objects has."""

    @property
    def size(self) -> SizeSpec: ...
    @property
    def fill(self) -> str: ...
    @property
    def dedup_factor(self) -> float: ...
    @property
    def dedup_across_objects(self) -> bool: ...
    @property
    def compress_factor(self) -> float: ...
    @property
    def format(self) -> str | None: ...


def fill_key() -> Any:
    """The key ``fill``."""
    return key(
        Text("the name of a fill", ("pooled", "random", "zero")),
        "pooled",
        help="what the bytes are: pooled, unique and incompressible at the speed of memory; random, statistically "
        "random (AES in counter mode); zero; or a plugin's",
    )


def dedup_key() -> Any:
    """The key ``dedup_factor``."""
    return key(
        Quantity("number", minimum=1, maximum=1_000_000),
        1.0,
        help="of an object's blocks of 1 MiB one in so many is new, and the others repeat it; 1: all are new",
    )


def across_key() -> Any:
    """The key ``dedup_across_objects``."""
    return key(
        Flag(),
        False,
        help="count the blocks for dedup_factor through all objects of this entry, so that objects repeat parts of "
        "each other, and small ones each other whole; exact where all have one size",
    )


def compress_key() -> Any:
    """The key ``compress_factor``."""
    return key(
        Quantity("number", minimum=1, maximum=100),
        1.0,
        help="every block compresses so many to one, by zstd at level 1 and by LZ4, within 5 % in objects from 4 KiB "
        "on; 1: not at all. Above 12 frames of LZ4 are too long in small objects, above 20 no content suits both",
    )


def check_content(path: str, entry: Content, reader: Reader) -> None:
    """Note what can't be of the content of an entry."""
    check_format(path, entry, reader)
    failed = {name for name in ("fill", "size", "dedup_factor") if f"{path}.{name}" in reader.failed}
    if "fill" not in failed and _check_fill(f"{path}.fill", entry.fill, reader):
        _check_factors(path, entry, reader)
    if entry.dedup_across_objects and not failed:
        if entry.dedup_factor == 1:
            reader.note(f"{path}.dedup_across_objects", "with dedup_factor 1 nothing repeats; write a larger factor")
        elif entry.size is not FAILED and largest(entry.size) is None:
            text = "blocks can be counted through objects only where sizes have a bound; give the size a max"
            reader.note(f"{path}.dedup_across_objects", text)


def _check_fill(path: str, fill: str, reader: Reader) -> bool:
    host = default_host()
    try:
        host.payload_type(fill).open(0)
    except PenstockError as error:
        names = host.names("penstock.payloads")
        reader.note(path, str(error) if fill in names else f"unknown fill {fill!r}, {nearest(fill, names)}")
        return False
    return True


def _check_factors(path: str, entry: Content, reader: Reader) -> None:
    if default_host().payload_type(entry.fill).unique:
        return
    for name in ("dedup_factor", "compress_factor"):
        if getattr(entry, name) != 1 and f"{path}.{name}" not in reader.failed:
            text = f"fill: {entry.fill} repeats and compresses as it is; leave the factor out, or write fill: pooled"
            reader.note(f"{path}.{name}", text)


def check_verify(mode: str, reader: Reader) -> None:
    """Note where checksums are wanted and nothing computes them."""
    if mode == "checksum" and "verify" not in reader.failed:
        try:
            crc32c(b"")
        except PenstockError as error:
            reader.note("verify", str(error))
