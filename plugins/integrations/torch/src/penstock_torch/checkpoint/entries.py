"""What a checkpoint's metadata says of one stored item, and the names of the objects.

Torch's own entry is a path, an offset and a length. Ours is the same object with one attribute more, which torch
keeps and does not look at: where the tensor's bare bytes begin, what they are, and the size of the whole file.
"""

from __future__ import annotations

import uuid
from typing import Any

import attrs
import torch
from torch.distributed.checkpoint.filesystem import _StorageInfo

__all__ = ["METADATA", "SUFFIX", "Entry", "data_name", "entry_of", "info_of", "is_data", "metadata_name", "new_token"]

METADATA = ".metadata"
SUFFIX = ".distcp"
_ATTRIBUTE = "penstock"


@attrs.frozen(slots=True, kw_only=True)
class Entry:
    """One item: ``length`` bytes from ``start`` of the file ``name``.

    ``bare`` is where a plain tensor's elements begin, counted from the file's start; they are of ``dtype`` and
    ``shape``, contiguous. None, here and for ``size`` (of the file), where the writer did not say. ``transforms`` are
    those of torch's stream extensions.
    """

    name: str
    start: int
    length: int
    size: int | None = None
    bare: int | None = None
    dtype: torch.dtype | None = None
    shape: tuple[int, ...] = ()
    transforms: tuple[str, ...] = ()


def info_of(entry: Entry) -> Any:
    """Torch's entry, with what only we look at."""
    info = _StorageInfo(entry.name, entry.start, entry.length)
    # As plain values: who reads the metadata need not have this package.
    said = {"size": entry.size, "bare": entry.bare, "dtype": entry.dtype, "shape": entry.shape}
    setattr(info, _ATTRIBUTE, said)
    return info


def entry_of(info: Any) -> Entry:
    """An entry of this package's writer, or of any that writes torch's files."""
    return Entry(
        name=info.relative_path,
        start=info.offset,
        length=info.length,
        transforms=tuple(getattr(info, "transform_descriptors", None) or ()),
        **getattr(info, _ATTRIBUTE, {}),
    )


def new_token() -> str:
    """What makes the names of one save's files its own."""
    return uuid.uuid4().hex[:16]


def data_name(prefix: str, number: int, token: str) -> str:
    return f"{prefix}{number}_{token}{SUFFIX}"


def is_data(name: str) -> bool:
    """Whether a name below a checkpoint is that of a data file, of torch's writers or of ours."""
    return name.startswith("__") and name.endswith(SUFFIX) and "/" not in name


def metadata_name(rank: int | None) -> str:
    """The metadata of all ranks, or with ``use_collectives=False`` that of one."""
    return METADATA if rank is None else f"__{rank}{METADATA}"
