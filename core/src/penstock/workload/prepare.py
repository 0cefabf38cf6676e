"""What must exist before a run, as a file describes it."""
# ruff: noqa: RUF009 -- key() makes an attrs field, no value

from __future__ import annotations

import attrs

from penstock.workload.content import across_key, compress_key, dedup_key, fill_key
from penstock.workload.fields import Record, key
from penstock.workload.formatting import format_key
from penstock.workload.operations import SHARDS
from penstock.workload.shapes import Flag, ListOf, Optional, Quantity, Text, Word
from penstock.workload.sizes import SIZE, Fixed, SizeSpec

__all__ = ["PREPARE", "DirectoryStructure", "EnsureObjects", "Prepare"]

_COUNT = Quantity("count")
_ONE_OR_MORE = Quantity("count", minimum=1)
_SECONDS = Quantity("duration")
_PLACE = Text("a prefix relative to target, or a URI", ("data/", "tree/"))


@attrs.frozen
class EnsureObjects:
    """Objects that must exist before the run; only what is missing is made.

    Object ``i`` of ``count`` has the name that the mask gives for ``i``, and a size and bytes that follow from the
    seed and ``i``.
    """

    path: str = key(_PLACE, "", help="the prefix they lie under; empty: target itself", aliases=("base_uri",))
    count: int = key(_ONE_OR_MORE, help="how many")
    size: SizeSpec = key(SIZE, Fixed(size=1 << 20), help="bytes of each object, drawn for each")
    fill: str = fill_key()
    dedup_factor: float = dedup_key()
    dedup_across_objects: bool = across_key()
    compress_factor: float = compress_key()
    format: str | None = format_key()
    name: str = key(
        Text("a mask with one number, such as object-{:08d}.dat", ("prepared-{:08d}.dat",)),
        "prepared-{:08d}.dat",
        help="mask of the names: {} or {:08d} (or %d, %08d) stands for the object's number, from 0",
    )


@attrs.frozen
class DirectoryStructure:
    """A tree of directories with files in them: ``width`` directories in each, ``depth`` levels deep.

    There are width + width² + … + width^depth directories. Files are numbered through from 0.
    """

    path: str = key(_PLACE, "", help="the prefix of the tree; empty: target itself", aliases=("base_uri",))
    width: int = key(Quantity("count", minimum=1, maximum=1_000_000), 10, help="directories in each directory")
    depth: int = key(Quantity("count", minimum=1, maximum=60), 3, help="levels of directories")
    files_per_dir: int = key(_COUNT, 100, help="files in each directory that has files; 0: directories alone")
    distribution: str = key(
        Word(("bottom", "all")), "bottom", help="bottom: only the deepest directories have files; all: every one"
    )
    dir_mask: str = key(
        Text("a mask with two numbers, such as d%d_w%d.dir", ("d%d_w%d.dir",)),
        "d%d_w%d.dir",
        help="mask of a directory's name: its level and its number among its siblings, both from 1",
    )
    file_mask: str = key(
        Text("a mask with one number, such as file_%08d.dat", ("file_%08d.dat",)),
        "file_%08d.dat",
        help="mask of a file's name: its number in the whole tree, from 0",
    )
    size: SizeSpec = key(SIZE, Fixed(size=4096), help="bytes of each file, drawn for each")
    fill: str = fill_key()
    dedup_factor: float = dedup_key()
    dedup_across_objects: bool = across_key()
    compress_factor: float = compress_key()
    format: str | None = format_key()


@attrs.frozen
class Prepare:
    """What must exist before the run."""

    ensure_objects: tuple[EnsureObjects, ...] = key(
        ListOf(
            Record(
                EnsureObjects,
                {
                    "size_spec": "unknown key; write size",
                    "min_size": "unknown key; write size: {uniform: {min: …, max: …}}",
                    "max_size": "unknown key; write size: {uniform: {min: …, max: …}}",
                },
            ),
            partial=True,
        ),
        (),
        help="sets of objects",
    )
    directory_structure: DirectoryStructure | None = key(
        Optional(Record(DirectoryStructure)), None, help="a tree of directories and files"
    )
    force_overwrite: bool = key(Flag(), False, help="make everything anew, also what is there")
    skip_verification: bool = key(Flag(), False, help="trust that everything is there: list nothing, make nothing")
    post_prepare_delay: float = key(_SECONDS, 0.0, help="pause after something was made, for listings to settle")
    key_prefix_shards: int = key(
        SHARDS,
        0,
        help="spread the objects of ensure_objects over so many prefixes of hexadecimal digits, as in "
        "data/3f/prepared-00000000.dat; 0: none. A path that reads them has a * for the prefix",
    )
    concurrency: int | None = key(
        Optional(_ONE_OR_MORE), None, help="objects made at once, over all processes; none: as the run"
    )


#: How the preparation stands in a file.
PREPARE = Record(
    Prepare,
    {
        "cleanup": "unknown key; cleanup stands at the top level",
        "prepare_strategy": "unknown key; sets of objects are made one after the other, each by all threads",
    },
)
