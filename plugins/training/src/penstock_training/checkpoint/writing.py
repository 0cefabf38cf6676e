"""Writing one shard: bytes in, an object and its description out, in bounded memory."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs

from penstock.errors import StoreError
from penstock_training.checkpoint.dtypes import view_of
from penstock_training.checkpoint.manifest import Shard, TensorSums
from penstock_training.checkpoint.naming import place
from penstock_training.checkpoint.sums import Summed, hex_of

if TYPE_CHECKING:
    from typing import Self

    from typing_extensions import Buffer

    from penstock import ObjectInfo, Store

__all__ = ["FRAME_SIZE", "ShardPlan", "ShardWriter", "links"]

#: Bytes of content in one frame of zstd.
FRAME_SIZE: Final = 4 * 1024 * 1024
#: Services take at most 10,000 parts of an upload.
_MOST_PARTS: Final = 9_000
#: What is summed and then sent at once.
_PIECE: Final = 1024 * 1024
_ENDINGS: Final = {"bytes": "bin", "safetensors": "safetensors"}


@attrs.frozen(slots=True, kw_only=True)
class ShardPlan:
    """What a shard is to be. ``nbytes`` is its length, if that is known: parts grow with it where they have to."""

    step: int
    rank: int = 0
    world_size: int = 1
    strategy: str = "flat"
    compression_level: int | None = None
    part_size: int
    format: Literal["bytes", "safetensors"] = "bytes"
    nbytes: int | None = None


def links(store: Store) -> bool:
    """Whether a new object is made with ``if_absent``. On a file system that gives an unnamed file its name in one
    step, so that a killed process leaves no temporary file behind; elsewhere it gains nothing, as the names are new.
    """
    return store.capabilities.directories and store.capabilities.create


class ShardWriter:
    """A shard being written: a context manager that commits, or on an exception leaves nothing.

    It holds one part (with zstd a frame of 4 MiB too) and what the store's own writer holds; it belongs to one thread.
    No checkpoint knows the shard before its manifest is written: give :attr:`shard` to the rank that commits.
    """

    def __init__(self, store: Store, plan: ShardPlan) -> None:
        self._plan = plan
        self._store = store
        ending = _ENDINGS[plan.format] + (".zst" if plan.compression_level is not None else "")
        self.key = place(plan.strategy, step=plan.step, rank=plan.rank, ending=ending)
        self._content = Summed()
        self._stored = self._content
        #: Where each ends, and its sum.
        self._cuts: list[tuple[int, int]] = []
        self._compressor: Any = None
        self._gathered = bytearray()
        if plan.compression_level is not None:
            from penstock.layers.compression.frames import Compressor

            self._compressor = Compressor(plan.compression_level)
            self._stored = Summed()
        self._shard: Shard | None = None
        part_size = max(plan.part_size, -(-(plan.nbytes or 0) // _MOST_PARTS))
        self._writer = store.open_writer(self.key, part_size=part_size, if_absent=links(store))

    @property
    def shard(self) -> Shard:
        """What was written. Raises StoreError before the commit."""
        if self._shard is None:
            raise StoreError("the shard is not committed", uri=self.key, operation="commit")
        return self._shard

    def tell(self) -> int:
        """Bytes of content so far."""
        return self._content.nbytes

    def write(self, data: Buffer, /) -> None:
        """Append these bytes; the caller may reuse them on return. A failure aborts."""
        view = view_of(data)
        if self._compressor is None:
            # The same bytes are summed and then sent, a piece at a time, while they are in the processor's cache.
            for begin in range(0, view.nbytes, _PIECE):
                piece = view[begin : begin + _PIECE]
                self._content.update(piece)
                self._writer.write(piece)
            return
        self._content.update(view)
        while len(self._gathered) + view.nbytes >= FRAME_SIZE:
            count = FRAME_SIZE - len(self._gathered)
            self._frame(view[:count])
            view = view[count:]
        self._gathered += view

    def cut(self) -> None:
        """What came since the last cut gets a checksum of its own: a header, or a tensor."""
        self._cuts.append((self._content.nbytes, self._content.cut()))

    def commit(self) -> Shard:
        """Make the object visible and answer with its description."""
        if self._compressor is not None:
            if self._gathered:
                self._frame(memoryview(b""))
            self._send(self._compressor.table())
        try:
            info = self._writer.commit()
        except StoreError:
            # Nobody else has this name: if it is there, only the answer was lost.
            found = self._found()
            if found is None:
                raise
            info = found
        self._shard = self._described(info)
        return self._shard

    def abort(self) -> None:
        """Leave nothing behind. Harmless on a writer that is finished."""
        self._gathered.clear()
        self._writer.abort()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.abort()
        elif self._shard is None:
            self.commit()

    def _frame(self, rest: memoryview) -> None:
        if self._gathered:
            self._gathered += rest
            frame = self._compressor.frame(self._gathered)
            self._gathered = bytearray()
        else:
            frame = self._compressor.frame(rest)
        self._send(frame)

    def _send(self, data: bytes) -> None:
        self._stored.update(data)
        self._writer.write(data)

    def _found(self) -> ObjectInfo | None:
        """The shard as it was written, after a commit that failed."""
        try:
            info = self._store.stat(self.key)
        except StoreError:
            return None
        return info if info.size == self._stored.nbytes else None

    def _described(self, info: ObjectInfo) -> Shard:
        plan = self._plan
        if info.size != self._stored.nbytes:
            raise StoreError(f"{self._stored.nbytes} bytes were written, the store has {info.size}", uri=self.key)
        tensors = None
        if plan.format == "safetensors":
            (header_size, header_sum), *sums = self._cuts
            tensors = TensorSums(header_size, hex_of(header_sum), tuple(hex_of(value) for _, value in sums))
        return Shard(
            step=plan.step,
            rank=plan.rank,
            world_size=plan.world_size,
            key=self.key,
            size=info.size,
            crc32c=hex_of(self._stored.value),
            etag=info.etag,
            format=plan.format,
            compression=None if self._compressor is None else "zstd",
            content_size=self._content.nbytes,
            tensors=tensors,
        )
