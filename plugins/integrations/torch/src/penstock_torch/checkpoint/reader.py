"""The storage reader: what a rank wants is planned as a whole and read in few, long, concurrent ranges."""

from __future__ import annotations

import functools
import io
import os
import pickle
import threading
import uuid
from typing import Any

import torch
from torch.distributed import checkpoint
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta
from torch.distributed.checkpoint.planner import LoadItemType, LoadPlan, LoadPlanner, ReadItem
from torch.futures import Future

import penstock
from penstock.errors import FormatError, PenstockError, UsageError, redact
from penstock_torch.checkpoint.entries import Entry, entry_of, metadata_name
from penstock_torch.checkpoint.fetching import Want, fetch, plan
from penstock_torch.checkpoint.regions import memory_of, region_of, take
from penstock_torch.places import Connect, Place, uri_of

__all__ = ["StorageReader"]

_KIB = 1024


class StorageReader(checkpoint.StorageReader):  # type: ignore[misc]
    """Reads a checkpoint, of :class:`penstock_torch.StorageWriter` or of torch's ``FileSystemWriter``.

    All ranges that a rank's plan wants are known before the first is read: neighbours are one request, long stretches
    are read in equal parts, several at once, and tensors in this computer's memory receive their bytes directly. Of
    a tensor that another number of ranks shares out, only the rows that are wanted are read.
    """

    def __init__(
        self,
        checkpoint_id: str | os.PathLike[str] | None = None,
        *,
        connect: Connect | None = None,
        part_size: int = 16 * _KIB * _KIB,
        in_flight: int = 8,
        merge_gap: int = 256 * _KIB,
    ) -> None:
        """``checkpoint_id`` is the URI or path of the checkpoint; ``dcp.load`` may give it too, or another.

        At most ``in_flight`` reads of at most ``part_size`` bytes are under way; wanted bytes with at most
        ``merge_gap`` others between them are read together. ``connect`` opens the store, as
        :func:`penstock.connect` does without it.
        """
        if part_size < 1 or in_flight < 1 or merge_gap < 0:
            raise UsageError("part_size and in_flight are at least 1, merge_gap at least 0")
        self._connect = connect
        self._part_size = part_size
        self._in_flight = in_flight
        self._gap = merge_gap
        self._place: Place | None = None
        self._entries: dict[Any, Any] = {}
        self._load_id = ""
        self.reset(checkpoint_id)

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        """Begin another load, of another checkpoint if one is given."""
        self._entries = {}
        self._load_id = str(uuid.uuid4())
        if checkpoint_id is not None:
            self.close()
            self._place = Place(uri_of(checkpoint_id), self._connect, threads=self._in_flight)

    @property
    def checkpoint_id(self) -> str | None:
        """The URI or path of the checkpoint, without secrets, as torch logs it; None before one is given."""
        return redact(self._place.uri) if self._place is not None else None

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """The metadata of all ranks, or with ``rank=`` that of one. Raises ObjectNotFoundError, FormatError."""
        store, name = self._opened().store, metadata_name(kwargs.get("rank"))
        data = store.get(name)
        try:
            # The values of a checkpoint are pickles too: who loads one trusts whoever wrote it.
            metadata = pickle.loads(data)  # noqa: S301
        except Exception as error:
            raise FormatError(f"{store.uri}{name} is no metadata of a checkpoint: {error}") from error
        if not isinstance(metadata, Metadata):
            raise FormatError(f"{store.uri}{name} is no metadata of a checkpoint, but a {type(metadata).__name__}")
        metadata.storage_meta = getattr(metadata, "storage_meta", None) or StorageMeta()
        metadata.storage_meta.load_id = self._load_id
        return metadata

    def set_up_storage_reader(self, metadata: Metadata, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        """Take the metadata. Raises FormatError where it does not say what is where."""
        if not isinstance(metadata.storage_data, dict):
            raise FormatError(f"the metadata of {self.checkpoint_id} does not say where its items are")
        self._entries = metadata.storage_data

    def prepare_local_plan(self, plan: LoadPlan) -> LoadPlan:
        return plan

    def prepare_global_plan(self, plans: list[LoadPlan]) -> list[LoadPlan]:
        return plans

    def read_data(self, plan: LoadPlan, planner: LoadPlanner) -> Future[None]:
        """Read everything that the plan wants. Raises what a read raises, and FormatError for damaged items."""
        self._read(plan.items, planner)
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def close(self) -> None:
        """Close the store; the next use opens it again."""
        if self._place is not None:
            self._place.close()

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        """Whether this is a URI that an installed plugin serves, or a local path. Nothing is asked of the store."""
        try:
            penstock.connect(uri_of(checkpoint_id), threads=1).close()
        except (PenstockError, TypeError):
            return False
        return True

    def _opened(self) -> Place:
        if self._place is None:
            raise UsageError("no checkpoint was named; pass checkpoint_id to dcp.load or to the reader")
        return self._place

    def _read(self, items: list[ReadItem], planner: LoadPlanner) -> None:
        store = self._opened().store
        lock = threading.Lock()  # planners are not made for threads
        wants: dict[str, list[Want]] = {}
        for item in items:
            entry = self._entry(item)
            want = _want(item, entry, planner, lock, f"{store.uri}{entry.name}")
            if want.length:
                wants.setdefault(entry.name, []).append(want)
            else:
                want.done(memoryview(b""))
        fetch(store, plan(wants, gap=self._gap, most=self._part_size), in_flight=self._in_flight)

    def _entry(self, item: ReadItem) -> Entry:
        info = self._entries.get(item.storage_index)
        if info is None:
            raise FormatError(f"the metadata of {self.checkpoint_id} does not say where {item.storage_index} is")
        entry = entry_of(info)
        if entry.transforms:
            raise FormatError(
                f"{item.storage_index} of {self.checkpoint_id} was written through torch's stream extensions "
                f"{', '.join(entry.transforms)}; read it with torch's FileSystemReader"
            )
        return entry


def _want(item: ReadItem, entry: Entry, planner: LoadPlanner, lock: threading.Lock, uri: str) -> Want:
    if item.type == LoadItemType.BYTE_IO:
        return Want(entry.start, entry.length, functools.partial(_load_bytes, item, planner, lock), size=entry.size)
    target = planner.resolve_tensor(item)
    if target.layout == torch.strided:
        # What a detached sparse tensor is given, the tensor itself would not have.
        target = target.detach()
    if tuple(target.size()) != tuple(item.lengths):
        raise UsageError(f"{item.storage_index}: {tuple(item.lengths)} of it do not fit into {tuple(target.size())}")
    commit = functools.partial(_commit, item, planner, lock, target)
    if entry.bare is None or entry.dtype is None:
        return Want(
            entry.start, entry.length, functools.partial(_load_archive, item, target, commit, uri), size=entry.size
        )
    region = region_of(entry.shape, item.storage_offsets, item.lengths, entry.dtype.itemsize)
    copy = take(target, entry.dtype, region)

    def done(data: memoryview | None) -> None:
        if data:
            copy(data)
        commit()

    into = memory_of(target, entry.dtype, region) if region.length else None
    return Want(entry.bare + region.start, region.length, done, into, entry.size)


def _commit(item: ReadItem, planner: LoadPlanner, lock: threading.Lock, target: torch.Tensor) -> None:
    with lock:
        planner.commit_tensor(item, target)


def _load_bytes(item: ReadItem, planner: LoadPlanner, lock: threading.Lock, data: memoryview | None) -> None:
    with lock:
        planner.load_bytes(item, io.BytesIO(data or b""))


def _load_archive(item: ReadItem, target: torch.Tensor, commit: Any, uri: str, data: memoryview | None) -> None:
    """An item as ``torch.save`` makes it, of which only the whole can be read."""
    try:
        tensor = torch.load(io.BytesIO(data or b""), map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise FormatError(f"{item.storage_index} in {uri} is no tensor: {error}") from error
    for dimension, (offset, length) in enumerate(zip(item.storage_offsets, item.lengths, strict=True)):
        if (offset, length) != (0, tensor.size(dimension)):
            tensor = tensor.narrow(dimension, offset, length)
    with torch.no_grad():
        target.copy_(tensor)
    commit()
