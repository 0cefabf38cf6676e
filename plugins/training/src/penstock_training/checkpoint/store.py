"""CheckpointStore: checkpoints below one URI, saved in two phases, so that none is ever half there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs

from penstock import connect
from penstock.clocks import wall_ns
from penstock.errors import ObjectNotFoundError, StoreError, UnsupportedOperationError, UsageError
from penstock_training.checkpoint import loading
from penstock_training.checkpoint.background import Background, PendingSave
from penstock_training.checkpoint.catalog import Catalog, Entry
from penstock_training.checkpoint.content import Content, Piece, content_of, write_content
from penstock_training.checkpoint.dtypes import Framework
from penstock_training.checkpoint.loading import Checkpoint, TensorInfo
from penstock_training.checkpoint.manifest import Manifest, Shard, check_metadata
from penstock_training.checkpoint.naming import STRATEGIES, Strategy, check_step, new_id
from penstock_training.checkpoint.pruning import MARGIN, Pruned, remove, retain, sweep
from penstock_training.checkpoint.ranks import check_ranks, check_shards, check_world
from penstock_training.checkpoint.reading import Reading, stream_shard, verify_shard
from penstock_training.checkpoint.writing import ShardPlan, ShardWriter

if TYPE_CHECKING:
    from typing import Self

    from penstock import Store
    from penstock_training.checkpoint.content import Data

__all__ = ["CheckpointStore", "Which"]

_MIB: Final = 1024 * 1024
#: A checkpoint: its step (of several saves the newest), its manifest, or None for the latest.
Which = int | Manifest | None


class CheckpointStore:
    """The checkpoints below a URI. Threads share it; processes open their own.

    A checkpoint is there from the moment its manifest is written, after all of its shards: a crash at any point leaves
    the previous ones as they were. It is a context manager; leaving it waits for the saves in the background.
    """

    def __init__(
        self,
        uri: str | Store,
        strategy: Strategy = "flat",
        compression_level: int | None = None,
        keep_last: int | None = None,
        *,
        part_size: int = 16 * _MIB,
        in_flight: int = 4,
        max_pending_bytes: int = 4096 * _MIB,
        lease: float = 86_400.0,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """``uri`` may also be an opened store, which stays the caller's to close; ``options`` are those of the store.

        ``strategy`` says where shards go: ``flat``, ``round_robin`` (16 prefixes), ``hashed`` (256).
        ``compression_level`` is zstd's, 1 to 22; None does not compress. ``keep_last`` keeps so many of the newest
        checkpoints, and deletes the others after each save. ``part_size`` bytes are sent or read as one, ``in_flight``
        of them at once. ``max_pending_bytes`` is what :meth:`save_async` holds in copies at most. A commit has to come
        within ``lease`` seconds of the beginning of its first shard.
        """
        if strategy not in STRATEGIES:
            raise UsageError(f"strategy {strategy!r}: write one of {', '.join(STRATEGIES)}")
        if compression_level is not None and not 1 <= compression_level <= 22:
            raise UsageError(f"compression_level {compression_level}: zstd has 1 (quick) to 22 (small)")
        if keep_last is not None and keep_last < 1:
            raise UsageError(f"keep_last {keep_last}: write 1 or more, or None to keep all")
        if part_size < 1 or in_flight < 1 or lease <= 0:
            raise UsageError("part_size and in_flight are at least 1, lease is more than 0 seconds")
        self.strategy = strategy
        self.compression_level = compression_level
        self.keep_last = keep_last
        self.lease = lease
        self._part_size = part_size
        self._reading = Reading(part_size=part_size, in_flight=in_flight)
        self._background: Background[Manifest] = Background(max_pending_bytes)
        self._owned = isinstance(uri, str)
        self._options = options
        self._store = connect(uri, options=options) if isinstance(uri, str) else uri
        self._query = isinstance(uri, str) and "?" in uri
        self._catalog = Catalog(self._store)

    @property
    def uri(self) -> str:
        """Where the checkpoints are."""
        return self._store.uri

    # -- saving ---------------------------------------------------------------------------------------------------

    def save(self, step: int, data: Data, metadata: Mapping[str, Any] | None = None) -> Manifest:
        """Save a checkpoint of one rank: bytes, chunks of bytes, or a state dictionary of arrays or tensors.

        Chunks are taken one at a time, tensors are brought to memory one at a time. ``metadata`` is anything that JSON
        gives back unchanged. Waits for saves in the background first and raises a failure of theirs that nobody was
        told of; nothing is written then. An error with a note that says so came after the commit.
        """
        kept = check_metadata(metadata)
        content = content_of(data)
        self.wait()
        return self._save(check_step(step), content, content.pieces, kept)

    def save_async(self, step: int, data: Data, metadata: Mapping[str, Any] | None = None) -> PendingSave[Manifest]:
        """As :meth:`save`, but return as soon as all of ``data`` is copied, and write the copy in the background.

        The caller may change its arrays at once. Saves are made in the order of the calls. The failure of one is raised
        by its ``result()``, else by the next save, :meth:`wait` or :meth:`close`, whichever comes first.
        """
        kept = check_metadata(metadata)
        content = content_of(data)
        check_step(step)
        self._background.check()
        return self._background.submit(step, content.pieces, lambda pieces: self._save(step, content, pieces, kept))

    def wait(self) -> None:
        """Wait for all saves in the background. Raises a failure of theirs that nobody was told of."""
        self._background.wait()

    def writer(self, rank: int, world_size: int, *, step: int, nbytes: int | None = None) -> ShardWriter:
        """Begin one rank's shard of bytes. Its ``shard``, after the ``with`` block, goes to the rank that commits.

        ``nbytes``, if it is known, lets parts grow for shards of more than 140 GB.
        """
        check_ranks(rank, world_size)
        return self._writer(check_step(step), rank, world_size, "bytes", nbytes)

    def save_shard(self, step: int, data: Data, *, rank: int, world_size: int) -> Shard:
        """Write one rank's shard, of anything that :meth:`save` takes. Give it to the rank that commits."""
        check_ranks(rank, world_size)
        content = content_of(data)
        return self._write(check_step(step), content, content.pieces, rank, world_size)

    def commit(self, step: int, shards: Iterable[Shard], metadata: Mapping[str, Any] | None = None) -> Manifest:
        """Make a checkpoint of the shards of all ranks, in any order. One rank calls it, when it has them all.

        Looks whether every shard is there, one request for each. Raises UsageError where a rank is missing or there
        twice, or a shard is of another step.
        """
        kept = check_metadata(metadata)
        ranked = check_world(check_step(step), shards)
        check_shards(self._store, ranked)
        return self._commit(step, ranked, kept)

    # -- finding --------------------------------------------------------------------------------------------------

    def list(self) -> list[Manifest]:
        """Every checkpoint whose manifest can be read, by step and then by time."""
        return [entry.manifest for entry in self._catalog.entries() if entry.manifest is not None]

    def entries(self) -> Sequence[Entry]:
        """As :meth:`list`, with those whose manifest can't be read, and why."""
        return self._catalog.entries()

    def latest(self) -> Manifest | None:
        """The newest checkpoint, the one of the highest step and of its saves the last; None when there is none."""
        return self._catalog.latest()

    def find(self, which: Which = None) -> Manifest:
        """The manifest of a checkpoint. Raises ObjectNotFoundError, and says which steps there are."""
        if isinstance(which, Manifest):
            return which
        if which is None:
            manifest = self.latest()
            if manifest is None:
                raise ObjectNotFoundError("there is no checkpoint here", uri=self.uri, operation="load")
            return manifest
        names = self._catalog.of_step(check_step(which))
        if not names:
            raise ObjectNotFoundError(
                f"there is no checkpoint of step {which}; {self._steps()}", uri=self.uri, operation="load"
            )
        return self._catalog.read(names[-1])

    # -- loading --------------------------------------------------------------------------------------------------

    def load_latest(self, *, rank: int | None = None, framework: Framework = "numpy") -> Checkpoint:
        """As :meth:`load`, the latest. Should it be deleted meanwhile, the one that is the latest then."""
        while True:
            manifest = self.find()
            try:
                return self.load(manifest, rank=rank, framework=framework)
            except ObjectNotFoundError:
                newest = self.latest()
                if newest is None or newest.name == manifest.name:
                    raise

    def load(self, which: Which, *, rank: int | None = None, framework: Framework = "numpy") -> Checkpoint:
        """All shards of a checkpoint, or one rank's, checked before anything is handed out.

        Tensors become arrays of NumPy or tensors of torch that lie in the memory that was read. Raises
        ChecksumMismatchError naming the shard, ObjectNotFoundError.
        """
        return loading.load(self._store, self.find(which), rank, framework, self._reading)

    def stream(self, which: Which = None, *, rank: int = 0, chunk_size: int = 8 * _MIB) -> Iterator[memoryview]:
        """The content of one shard in chunks of at most ``chunk_size`` bytes, as they come; two of them are held.

        The checksum is known at the end: where it is not right ChecksumMismatchError is raised instead of the end.
        Whoever uses chunks earlier uses what is not proved.
        """
        if chunk_size < 1:
            raise UsageError(f"chunk_size {chunk_size}: write 1 or more")
        shard = loading.shard_of(self.find(which), rank)
        return stream_shard(self._store, shard, chunk_size=chunk_size)

    def tensors(self, which: Which = None, *, rank: int | None = None) -> Mapping[str, TensorInfo]:
        """The tensors of a checkpoint, or of one rank's shard, without reading them."""
        return loading.infos(self._store, self.find(which), rank, self._reading)

    def load_tensors(
        self, which: Which, names: Sequence[str], *, rank: int | None = None, framework: Framework = "numpy"
    ) -> dict[str, Any]:
        """Some tensors, by range: neighbours with one request, several requests at once, each tensor checked.

        Names are those of :meth:`tensors`. One that several ranks have needs ``rank``. Raises UsageError for a name
        that is not there.
        """
        return loading.load_tensors(self._store, self.find(which), names, rank, framework, self._reading)

    def verify(self, which: Which = None) -> Manifest:
        """Read all shards of a checkpoint and compare them with their checksums, in little memory.

        Raises ChecksumMismatchError or ObjectNotFoundError naming the shard.
        """
        manifest = self.find(which)
        for shard in manifest.shards:
            verify_shard(self._store, shard)
        return manifest

    # -- removing -------------------------------------------------------------------------------------------------

    def delete(self, step: int, *, id: str | None = None) -> int:
        """Delete every checkpoint of a step, or the one of that id, damaged ones too; how many they were.

        Raises ObjectNotFoundError where there is none.
        """
        names = [name for name in self._catalog.of_step(check_step(step)) if id in (None, name.id)]
        if not names:
            raise ObjectNotFoundError(
                f"there is no checkpoint of step {step}{f' with the id {id}' if id else ''}; {self._steps()}",
                uri=self.uri,
                operation="delete",
            )
        remove(self._store, self._catalog, names)
        self._catalog.advance()
        return len(names)

    def prune(self, *, older_than: float | None = None, dry_run: bool = False) -> Pruned:
        """Delete checkpoints beyond ``keep_last``, and what saves left behind that were never committed.

        ``older_than`` seconds is how old an orphan has to be; by default the lease and an hour. Less is safe only while
        nobody saves.
        """
        age = self.lease + MARGIN if older_than is None else older_than
        if age < 0:
            raise UsageError(f"older_than {older_than}: write 0 seconds or more")
        excess = retain(self._catalog, self.keep_last) if self.keep_last is not None else []
        if not dry_run:
            remove(self._store, self._catalog, excess)
            self._catalog.advance()
        pruned = sweep(self._store, self._catalog, older_than=age, dry_run=dry_run)
        return attrs.evolve(pruned, checkpoints=tuple(excess), uploads=self._abort_uploads(age, dry_run))

    def close(self) -> None:
        """Wait for saves in the background, close what was opened, then raise a failure that nobody was told of."""
        try:
            self.wait()
        finally:
            if self._owned:
                self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
            return
        try:
            self.close()
        except Exception as failure:  # noqa: BLE001 (the first error is the one to raise)
            error.add_note(f"a save in the background failed as well: {failure}")

    def __repr__(self) -> str:
        return f"CheckpointStore({self.uri!r})"

    # -- within ---------------------------------------------------------------------------------------------------

    def _save(self, step: int, content: Content, pieces: Iterable[Piece], metadata: dict[str, Any]) -> Manifest:
        shard = self._write(step, content, pieces, 0, 1)
        return self._commit(step, [shard], metadata)

    def _write(self, step: int, content: Content, pieces: Iterable[Piece], rank: int, world_size: int) -> Shard:
        with self._writer(step, rank, world_size, content.format, content.nbytes) as writer:
            write_content(writer, pieces)
        return writer.shard

    def _writer(
        self, step: int, rank: int, world_size: int, form: Literal["bytes", "safetensors"], nbytes: int | None
    ) -> ShardWriter:
        plan = ShardPlan(
            step=step,
            rank=rank,
            world_size=world_size,
            strategy=self.strategy,
            compression_level=self.compression_level,
            part_size=self._part_size,
            format=form,
            nbytes=nbytes,
        )
        return ShardWriter(self._store, plan)

    def _commit(self, step: int, shards: Sequence[Shard], metadata: dict[str, Any]) -> Manifest:
        manifest = Manifest(step=step, id=new_id(), world_size=len(shards), shards=tuple(shards), metadata=metadata)
        self._require_young(manifest)
        self._catalog.publish(manifest)
        try:
            self._catalog.advance()
            if self.keep_last is not None:
                excess = retain(self._catalog, self.keep_last, manifest.name)
                remove(self._store, self._catalog, excess)
        except BaseException as error:
            error.add_note(f"the checkpoint of step {step} is complete; only what comes after its commit failed")
            raise
        return manifest

    def _require_young(self, manifest: Manifest) -> None:
        now = wall_ns()
        for shard in manifest.shards:
            age = (now - loading.begun_ns(shard)) / 1e9
            if age > self.lease:
                raise StoreError(
                    f"the shard of rank {shard.rank} was begun {age:.0f} s ago, and the lease is {self.lease:.0f} s: "
                    "prune may take it any moment; save again, or with a longer lease",
                    uri=self.uri + shard.key,
                    operation="commit",
                )

    def _steps(self) -> str:
        steps = sorted({name.step for name in self._catalog.names()})
        if not steps:
            return "there is none here"
        shown = ", ".join(map(str, steps[-10:]))
        return f"there are {shown}" if len(steps) <= 10 else f"the last of {len(steps)} are {shown}"

    def _abort_uploads(self, age: float, dry_run: bool) -> int | None:
        # Options that stand in the URI would be lost, and with them the endpoint.
        if not self._owned or self._query:
            return None
        from penstock import abort_uploads

        try:
            removal = abort_uploads(f"{self.uri}shards/", older_than=age, dry_run=dry_run, options=self._options)
        except UnsupportedOperationError:
            return None
        removal.check()
        return removal.aborted
