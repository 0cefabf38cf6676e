"""The operations of a workload, as a file describes them.

``path`` and ``uri`` are two names for one key. Its value is relative to ``target``, or a whole URI. What it means
depends on the operation: an anchored glob over what exists (get, stat, delete, copy; see
:mod:`penstock.globs`), or the name of what will be made (put, mkdir, and copy's ``to``; see
:mod:`penstock.workload.names`).

Names made from a prefix differ between entries and between runs; a mask gives its own names, and an object of that
name is replaced.

The operation of each turn is drawn by weight. One that has nothing to take (every object deleted, no directory
made yet, its ``concurrency`` reached) is passed over in favour of the others.
"""
# ruff: noqa: RUF009 -- key() makes an attrs field, no value

from __future__ import annotations

from typing import Any, ClassVar, TypeAlias

import attrs

from penstock.workload.content import across_key, compress_key, dedup_key, fill_key
from penstock.workload.fields import Record, Variants, key
from penstock.workload.formatting import format_key
from penstock.workload.selection import SELECTION, Selection
from penstock.workload.shapes import Either, Flag, Optional, Quantity, Text, Word
from penstock.workload.sizes import SIZE, SizeSpec

__all__ = [
    "OPERATION",
    "SHARDS",
    "Copy",
    "Delete",
    "Get",
    "List",
    "Mkdir",
    "Multipart",
    "Operation",
    "Put",
    "Range",
    "Rmdir",
    "Stat",
]

#: How many prefixes keys are spread over.
SHARDS = Quantity("count", maximum=65536)
_GLOB = Text("a glob such as data/**/*.dat", ("prepared-*.dat", "data/**"))
_NAME = Text("a prefix for new names, or a mask such as new/object-{:08d}.dat", ("new/", "new/object-{:08d}.dat"))
_ALIASES = ("uri",)


def _weight() -> Any:
    return key(Quantity("number"), 1.0, help="how often, relative to the other operations; 0: never")


def _cap() -> Any:
    return key(
        Optional(Quantity("count", minimum=1)),
        None,
        help="most operations of this entry in flight at once, over all processes of the host; none: the run's "
        "concurrency alone",
    )


def _glob(what: str) -> Any:
    return key(_GLOB, help=f"{what}: relative to target or a URI, * within a segment, ** across", aliases=_ALIASES)


def _selection() -> Any:
    return key(Optional(SELECTION), None, help="how objects are chosen; none: as the run's selection says")


@attrs.frozen
class Range:
    """Which part of an object a get reads.

    An object shorter than ``size`` is read whole. Random and sequential offsets are multiples of ``size``, and only
    whole ranges are read: an object of 10 KiB has two ranges of 4 KiB.
    """

    size: int = key(Quantity("size", minimum=1), help="bytes of each read")
    offset: str | int = key(
        Either(
            (Word(("random", "sequential")), Quantity("size")),
            (lambda value: isinstance(value, str), lambda value: isinstance(value, int)),
        ),
        "random",
        help="random: any range, each time anew; sequential: the ranges of an object one after the other, then the "
        "next object; a size: always from that byte",
    )


@attrs.frozen
class Multipart:
    """An object sent in parts by a writer instead of in one put."""

    part_size: int = key(Quantity("size", minimum=1), 8 << 20, help="bytes of each part but the last")
    concurrency: int | None = key(
        Optional(Quantity("count", minimum=1, maximum=1024)),
        None,
        help="parts of one object in flight at once; none: as the backend's part_concurrency says. Only backends that "
        "have that option send parts at once",
    )


@attrs.frozen
class Get:
    """Read an object, or a range of it."""

    op: ClassVar[str] = "get"
    path: str = _glob("which objects")
    weight: float = _weight()
    range: Range | None = key(Optional(Record(Range)), None, help="read a part; none: the whole object")
    selection: Selection | None = _selection()
    concurrency: int | None = _cap()


@attrs.frozen
class Put:
    """Write a new object; its name, size and bytes follow from the seed and a running number."""

    op: ClassVar[str] = "put"
    path: str = key(_NAME, help="prefix of the new names, or a mask with a number in it", aliases=_ALIASES)
    size: SizeSpec = key(SIZE, help="bytes of each object, drawn anew for each")
    fill: str = fill_key()
    dedup_factor: float = dedup_key()
    dedup_across_objects: bool = across_key()
    compress_factor: float = compress_key()
    format: str | None = format_key()
    multipart: Multipart | None = key(
        Optional(Record(Multipart)), None, help="send in parts; none: one request for each object"
    )
    key_prefix_shards: int = key(
        SHARDS,
        0,
        help="spread the new names over so many prefixes of hexadecimal digits, as in new/3f/object-00000000.dat; "
        "0: none",
    )
    weight: float = _weight()
    concurrency: int | None = _cap()


@attrs.frozen
class List:
    """List what lies below a prefix, to its end.

    With a wildcard, ``path`` is a glob over the directories of ``prepare.directory_structure``, and each operation
    lists one of them.
    """

    op: ClassVar[str] = "list"
    path: str = key(
        Text("a prefix, or a glob over prepared directories", ("", "data/", "tree/**/")),
        "",
        help="the prefix to list, or a glob over prepared directories; empty: all of target",
        aliases=_ALIASES,
    )
    recursive: bool = key(Flag(), True, help="everything below; false: one level, directories as common prefixes")
    page_size: int = key(Quantity("count", minimum=1, maximum=1_000_000), 1000, help="most entries of one answer")
    weight: float = _weight()
    selection: Selection | None = _selection()
    concurrency: int | None = _cap()


@attrs.frozen
class Stat:
    """Ask for an object's size and time, without its bytes."""

    op: ClassVar[str] = "stat"
    path: str = _glob("which objects")
    weight: float = _weight()
    selection: Selection | None = _selection()
    concurrency: int | None = _cap()


@attrs.frozen
class Delete:
    """Delete an object. It leaves the pool: no operation of the run takes it again."""

    op: ClassVar[str] = "delete"
    path: str = _glob("which objects")
    weight: float = _weight()
    concurrency: int | None = _cap()


@attrs.frozen
class Copy:
    """Copy an object to a new name within the same store."""

    op: ClassVar[str] = "copy"
    path: str = _glob("which objects")
    to: str = key(_NAME, help="prefix of the new names, or a mask with a number in it; same store as path")
    weight: float = _weight()
    selection: Selection | None = _selection()
    concurrency: int | None = _cap()


@attrs.frozen
class Mkdir:
    """Make a new, empty directory."""

    op: ClassVar[str] = "mkdir"
    path: str = key(_NAME, help="prefix of the new names, or a mask with a number in it", aliases=_ALIASES)
    weight: float = _weight()
    concurrency: int | None = _cap()


@attrs.frozen
class Rmdir:
    """Remove an empty directory that a mkdir of this run made, the oldest first."""

    op: ClassVar[str] = "rmdir"
    path: str = _glob("which of the directories made by mkdir")
    weight: float = _weight()
    concurrency: int | None = _cap()


Operation: TypeAlias = Get | Put | List | Stat | Delete | Copy | Mkdir | Rmdir

_HINTS = {
    "verify": "unknown key; verify stands at the top level",
    "object_size": "unknown key; write size",
    "size_spec": "unknown key; write size",
    "size_distribution": "unknown key; write size",
    "min_size": "unknown key; write size: {uniform: {min: …, max: …}}",
    "max_size": "unknown key; write size: {uniform: {min: …, max: …}}",
    "bucket": "unknown key; write the whole place as uri",
    "prefix": "unknown key; write the whole place as path or uri",
}

#: How an operation stands in a file.
OPERATION = Variants("op", {cls.op: Record(cls, _HINTS) for cls in (Get, Put, List, Stat, Delete, Copy, Mkdir, Rmdir)})
