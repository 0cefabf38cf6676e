"""Writing one data file: its items one after the other, streamed."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs
import torch
from torch.distributed.checkpoint.planner import WriteItemType
from torch.distributed.checkpoint.storage import WriteResult

import penstock
from penstock.errors import LengthMismatchError
from penstock_torch.checkpoint.archives import archive_of, is_plain
from penstock_torch.checkpoint.entries import Entry, info_of

if TYPE_CHECKING:
    import threading

    from typing_extensions import Buffer

__all__ = ["StoppedError", "write_file"]

#: A multipart upload has at most 10,000 parts where it is S3's; a data file shall never need more than this.
_PARTS = 8_000


class StoppedError(Exception):
    """The save was interrupted."""


def write_file(
    store: penstock.Store,
    name: str,
    items: Sequence[Any],
    planner: Any,
    *,
    part_size: int,
    nbytes: int,
    stopped: threading.Event,
) -> list[WriteResult]:
    """Write planned items into a new object. The results say what is where, and the object's size.

    ``nbytes`` is about how many there will be; parts grow with it. Nothing is left of a file that fails.
    """
    written: list[tuple[Any, Entry]] = []
    with store.open_writer(name, part_size=max(part_size, nbytes // _PARTS)) as writer:
        for item in items:
            if stopped.is_set():
                raise StoppedError("the save was interrupted")
            written.append((item.index, _write_item(writer, name, item, planner)))
        size = writer.tell()
    if writer.info is not None and writer.info.size != size:
        raise LengthMismatchError(
            f"{size} bytes were written and the store has {writer.info.size}", uri=store.uri + name, operation="commit"
        )
    return [WriteResult(index, entry.length, info_of(attrs.evolve(entry, size=size))) for index, entry in written]


def _write_item(writer: penstock.GuardedWriter, name: str, item: Any, planner: Any) -> Entry:
    start = writer.tell()
    data = planner.resolve_data(item)
    if item.type == WriteItemType.BYTE_IO:
        writer.write(data.getbuffer())
        return Entry(name=name, start=start, length=writer.tell() - start)
    if not is_plain(data):
        torch.save(_alone(data), _Stream(writer))
        return Entry(name=name, start=start, length=writer.tell() - start)
    archive = archive_of(data)
    writer.write(archive.head)
    writer.write(archive.data)
    writer.write(archive.tail)
    bare = start + len(archive.head)
    return Entry(name=name, start=start, length=archive.nbytes, bare=bare, dtype=data.dtype, shape=tuple(data.shape))


def _alone(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor in this computer's memory, without what else its storage holds."""
    here = tensor.detach().cpu()
    if here.layout == torch.strided and here.untyped_storage().nbytes() != here.nbytes:
        return here.clone()
    return here


class _Stream(io.RawIOBase):
    """A writer as the file that ``torch.save`` wants."""

    def __init__(self, writer: penstock.GuardedWriter) -> None:
        super().__init__()
        self._writer = writer

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer, /) -> int:
        self._writer.write(data)
        return memoryview(data).nbytes
