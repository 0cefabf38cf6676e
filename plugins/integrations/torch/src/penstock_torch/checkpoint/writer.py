"""The storage writer: data files first, each proved, the metadata last."""

from __future__ import annotations

import dataclasses
import os
import pickle
import threading
import uuid
import warnings
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from torch.distributed import checkpoint
from torch.distributed.checkpoint.filesystem import _StoragePrefix
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future

import penstock
from penstock.errors import AlreadyExistsError, ObjectNotFoundError, PenstockError, UsageError, redact
from penstock.store import ObjectInfo
from penstock_torch.checkpoint.entries import METADATA, data_name, is_data, metadata_name, new_token
from penstock_torch.checkpoint.errors import SaveError
from penstock_torch.checkpoint.files import write_file
from penstock_torch.checkpoint.orphans import forget, remove_others
from penstock_torch.checkpoint.proving import planned_in, prove, publish
from penstock_torch.checkpoint.reader import StorageReader
from penstock_torch.checkpoint.splitting import size_of, split
from penstock_torch.places import Connect, Place, uri_of

__all__ = ["StorageWriter"]

_MIB = 1024 * 1024
#: The layout of torch's own files, which these are.
_VERSION = "1.0.0"


class StorageWriter(checkpoint.StorageWriter):  # type: ignore[misc]
    """Writes a checkpoint that torch's ``FileSystemReader`` can read too.

    Each rank writes its items into data files with names of their own, several at once and each streamed. Every
    failure is collected and raised as :class:`penstock_torch.SaveError`, within torch's ``CheckpointException``. The
    coordinator publishes the metadata, in one put, only when each item that was planned has a result and each file is
    there in its size. Until then whatever was published under that name stays whole. Nothing is retried here: what
    may be repeated, the store's own retries repeat.
    """

    def __init__(
        self,
        checkpoint_id: str | os.PathLike[str] | None = None,
        *,
        connect: Connect | None = None,
        files: int = 4,
        file_size: int = 32 * _MIB,
        part_size: int = 8 * _MIB,
        overwrite: bool = False,
    ) -> None:
        """``checkpoint_id`` is the URI or path of the checkpoint; ``dcp.save`` may give it too, or another.

        A rank writes at most ``files`` data files at once, fewer where one would be smaller than ``file_size``, and
        each in parts of ``part_size`` bytes. A checkpoint that exists raises AlreadyExistsError before anything is
        written; with ``overwrite`` it is replaced when the new one is whole, and its files are removed then.
        ``connect`` opens the store, as :func:`penstock.connect` does without it.
        """
        if files < 1 or file_size < 1 or part_size < 1:
            raise UsageError("files, file_size and part_size are at least 1")
        self._connect = connect
        self._files = files
        self._file_size = file_size
        self._part_size = part_size
        self._overwrite = overwrite
        self._place: Place | None = None
        self._unpublished: Place | None = None
        self._rank: int | None = None
        self._before: ObjectInfo | None = None
        self._planned: set[Any] = set()
        self._save_id = ""
        self.reset(checkpoint_id)

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        """Begin another save, of another checkpoint if one is given."""
        self._save_id = str(uuid.uuid4())
        self._planned = set()
        self._before = None
        if checkpoint_id is not None:
            self._place = Place(uri_of(checkpoint_id), self._connect, threads=4 * self._files)

    @property
    def checkpoint_id(self) -> str | None:
        """The URI or path of the checkpoint, without secrets, as torch logs it; None before one is given."""
        return redact(self._place.uri) if self._place is not None else None

    def storage_meta(self) -> StorageMeta:
        return StorageMeta(checkpoint_id=self.checkpoint_id, save_id=self._save_id)

    def set_up_storage_writer(self, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        """Look whether there is a checkpoint already. Raises AlreadyExistsError unless it may be replaced."""
        self._rank = None if kwargs.get("use_collectives", True) else kwargs.get("rank", 0)
        place = self._opened()
        if not is_coordinator and self._rank is None:
            return
        if self._unpublished is not None:
            # The save before this one failed, and other ranks may have left files.
            _tidy(self._unpublished.store, None)
            self._unpublished = None
        name = metadata_name(self._rank)
        try:
            self._before = place.store.stat(name)
        except ObjectNotFoundError:
            self._before = None
        if self._before is not None and not self._overwrite:
            raise AlreadyExistsError(
                "there is a checkpoint already; save under another name, or pass overwrite=True to the writer",
                uri=place.store.uri + name,
                operation="put",
            )
        self._unpublished = place if self._rank is None else None

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        if self._rank is None:
            return plan
        return dataclasses.replace(plan, storage_data=_StoragePrefix(f"__{self._rank}_"))

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        # A planner that keeps plans sends empty ones that stand for those it kept; the metadata tells of them.
        self._planned = {item.index for plan in plans for item in plan.items}
        return [
            dataclasses.replace(plan, storage_data=_StoragePrefix(f"__{rank}_")) if plan.storage_data is None else plan
            for rank, plan in enumerate(plans)
        ]

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        """Write this rank's items. Raises SaveError with every failure, when nothing of them is left."""
        results = self._write(plan, planner)
        done: Future[list[WriteResult]] = Future()
        done.set_result(results)
        return done

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """Prove that all is stored, then publish the metadata. Raises SaveError, and nothing is published."""
        store, name = self._opened().store, metadata_name(self._rank)
        written = {result.index: result.storage_data for rank in results for result in rank}
        names = {info.relative_path for info in written.values()}
        metadata.version = _VERSION
        metadata.storage_data = written
        metadata.storage_meta = self.storage_meta()
        try:
            found = prove(store, self._planned | planned_in(metadata), written)
            publish(store, name, pickle.dumps(metadata), self._before)
        except SaveError as error:
            if not error.unknown:
                _discard(store, names, error)
            raise
        self._unpublished = None
        others = any(key.endswith(METADATA) for key in found)
        if self._rank is None and not others:
            _tidy(store, [key for key in found if is_data(key) and key not in names])

    def close(self) -> None:
        """Close the store; the next use opens it again."""
        if self._place is not None:
            self._place.close()

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        """Whether this is a URI that an installed plugin serves, or a local path. Nothing is asked of the store."""
        return StorageReader.validate_checkpoint_id(checkpoint_id)

    def _opened(self) -> Place:
        if self._place is None:
            raise UsageError("no checkpoint was named; pass checkpoint_id to dcp.save or to the writer")
        return self._place

    def _write(self, plan: SavePlan, planner: SavePlanner) -> list[WriteResult]:
        if not plan.items:
            return []
        store, token = self._opened().store, new_token()
        files = split(plan.items, most=self._files, least=self._file_size)
        names = [data_name(plan.storage_data.prefix, number, token) for number in range(len(files))]
        stopped = threading.Event()

        def write(number: int) -> list[WriteResult]:
            return write_file(
                store,
                names[number],
                files[number],
                planner,
                part_size=self._part_size,
                nbytes=sum(map(size_of, files[number])),
                stopped=stopped,
            )

        with ThreadPoolExecutor(len(files), thread_name_prefix="penstock-save") as pool:
            futures = [pool.submit(write, number) for number in range(len(files))]
            try:
                errors = [error for error in (future.exception() for future in futures) if error is not None]
            except BaseException:
                stopped.set()
                raise
        if errors:
            failed = SaveError(f"{len(errors)} of {len(files)} data files were not written to {store.uri}", errors)
            _discard(store, names, failed)
            raise failed from errors[0]
        return [result for future in futures for result in future.result()]


def _discard(store: penstock.Store, names: Collection[str], why: SaveError) -> None:
    """Remove the files of a save that failed."""
    try:
        forget(store, names)
    except PenstockError as error:
        why.add_note(f"and its data files could not be removed: {error}; penstock_torch.remove_orphans does that")


def _tidy(store: penstock.Store, orphans: Collection[str] | None) -> None:
    """Remove what no metadata names; that this fails is no reason to fail a save."""
    try:
        if orphans is None:
            remove_others(store)
        else:
            forget(store, orphans)
    except PenstockError as error:
        warnings.warn(f"unused data files stay in {store.uri}: {error}", RuntimeWarning, stacklevel=3)
