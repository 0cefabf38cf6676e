"""Reading one shard: whole into memory, as a stream, or single tensors of it, with its checksums.

A whole read hands out nothing before its checksum was found right. A stream hands out chunks as they come, and ends
in ChecksumMismatchError instead of its end. A tensor is checked by its own checksum, its header by another.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs

from penstock.buffers import aligned_buffer
from penstock.errors import (
    ChecksumMismatchError,
    FormatError,
    LengthMismatchError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StoreError,
)
from penstock.samples import StoreFile
from penstock.samples.spans import cut, merge, together
from penstock.sinks import Discard, Into
from penstock.store import ObjectInfo
from penstock_training.checkpoint.manifest import Shard, TensorSums
from penstock_training.checkpoint.safetensors import Entry, Header, read_header
from penstock_training.checkpoint.sums import Summed, combine, crc32c, hex_of

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from penstock import Store

__all__ = ["Reading", "read_shard", "read_shard_header", "read_tensors", "stream_shard", "verify_shard"]

#: How much of a compressed object's end is read for its table at first; enough for some thousand frames.
_TAIL: Final = 64 * 1024
#: What is decompressed at once.
_SLICE: Final = 16 * 1024


@attrs.frozen(slots=True, kw_only=True)
class Reading:
    """Requests of one shard: of at most ``part_size`` bytes, ``in_flight`` at once; with at most ``merge_gap`` bytes
    between them two ranges are one.
    """

    part_size: int
    in_flight: int
    merge_gap: int = 256 * 1024


def read_shard(store: Store, shard: Shard, reading: Reading) -> memoryview:
    """The content of a shard, in writable memory of its own. Raises ChecksumMismatchError, naming the shard."""
    room = aligned_buffer(shard.content_size)
    with _of(shard, store):
        if shard.compression is None:
            _read_parts(store, shard, room, reading)
        else:
            _read_through(store, shard, Into(room))
    return room


def verify_shard(store: Store, shard: Shard) -> None:
    """Read a shard and compare it with its checksum, in a MiB of memory. Raises as :func:`read_shard` does."""
    with _of(shard, store):
        _read_through(store, shard, Discard())


def stream_shard(store: Store, shard: Shard, *, chunk_size: int) -> Iterator[memoryview]:
    """The content in chunks of at most ``chunk_size``, as they come; a chunk is the caller's. Two chunks are held.

    At its end, where a checksum is not right, it raises ChecksumMismatchError instead: until then nothing is proved.
    """
    summed = Summed()
    with _of(shard, store), store.open_read(shard.key, chunk_size=chunk_size, max_bytes=chunk_size) as chunks:
        if shard.compression is None:
            for chunk in chunks:
                summed.update(chunk)
                yield chunk
        else:
            yield from _decompressed(chunks, shard, summed)
        _require(shard, summed)


def read_shard_header(store: Store, shard: Shard) -> Header:
    """What a shard of tensors says of itself. One request, or with compression two."""
    sums = _sums(shard)
    with _of(shard, store):
        (data,) = _ranges(store, shard, [(0, sums.header_size)], Reading(part_size=1 << 40, in_flight=1))
        return _header(shard, sums, data)


def read_tensors(
    store: Store, shard: Shard, names: Sequence[str], reading: Reading, header: Header | None = None
) -> Mapping[str, tuple[Entry, memoryview]]:
    """The bytes of these tensors and where they lie, read by range, each checked. Raises KeyError for a name that is
    not there, ChecksumMismatchError naming the shard and the tensor.
    """
    header = header or read_shard_header(store, shard)
    sums = _sums(shard)
    numbers = {entry.name: number for number, entry in enumerate(header.entries)}
    wanted = [header.entries[numbers[name]] for name in names]
    with _of(shard, store):
        found = _ranges(store, shard, [(entry.start, entry.nbytes) for entry in wanted], reading)
        for entry, data in zip(wanted, found, strict=True):
            if hex_of(crc32c(data)) != sums.crc32c[numbers[entry.name]]:
                raise ChecksumMismatchError(f"the bytes of tensor {entry.name!r} are others")
    return {entry.name: (entry, data) for entry, data in zip(wanted, found, strict=True)}


@contextlib.contextmanager
def _of(shard: Shard, store: Store) -> Iterator[None]:
    """Let errors name the shard, and bytes that are not those of the manifest be what they are: a mismatch."""
    try:
        yield
    except (ChecksumMismatchError, LengthMismatchError, PreconditionFailedError, FormatError) as error:
        why = error.message if isinstance(error, StoreError) else str(error)
        raise ChecksumMismatchError(
            f"the shard of rank {shard.rank} is not what was saved: {why}", uri=store.uri + shard.key, operation="get"
        ) from error
    except ObjectNotFoundError as error:
        raise ObjectNotFoundError(
            f"the shard of rank {shard.rank} is not there", uri=store.uri + shard.key, operation="get"
        ) from error


def _header(shard: Shard, sums: TensorSums, data: memoryview) -> Header:
    if hex_of(crc32c(data)) != sums.header_crc32c:
        raise ChecksumMismatchError("the bytes of its header are others")
    header = read_header(data, shard.content_size)
    if header.size != sums.header_size or len(header.entries) != len(sums.crc32c):
        raise FormatError("the manifest tells of other tensors than the header")
    return header


def _sums(shard: Shard) -> TensorSums:
    if shard.tensors is None:
        raise StoreError("the shard holds bytes, no tensors; load it whole", uri=shard.key, operation="get")
    return shard.tensors


def _require(shard: Shard, summed: Summed) -> None:
    if summed.nbytes != shard.size or hex_of(summed.value) != shard.crc32c:
        raise ChecksumMismatchError(
            f"{summed.nbytes} bytes with the CRC-32C {hex_of(summed.value)}, and {shard.size} with {shard.crc32c} in "
            "the manifest"
        )


def _read_parts(store: Store, shard: Shard, room: memoryview, reading: Reading) -> None:
    parts = cut(0, shard.size, reading.part_size) if shard.size else [(0, 0)]
    sums = [0] * len(parts)

    def fetch(number: int) -> None:
        start, length = parts[number]
        piece = room[start : start + length]
        sink = Into(piece)
        info = store.raw.get(shard.key, sink, start=start, length=length)
        if info.size != shard.size or sink.nbytes != length:
            raise LengthMismatchError(f"it has {info.size} bytes, and {shard.size} in the manifest")
        sums[number] = crc32c(piece)

    together(fetch, len(parts), reading.in_flight)
    total = 0
    for value, (_, length) in zip(sums, parts, strict=True):
        total = combine(total, value, length)
    if hex_of(total) != shard.crc32c:
        raise ChecksumMismatchError(f"its CRC-32C is {hex_of(total)}, and {shard.crc32c} in the manifest")


def _read_through(store: Store, shard: Shard, sink: Into | Discard) -> None:
    """Deliver the content of a shard in one request, and check it."""
    if shard.compression is None:
        summing = _Summing(sink)
        store.raw.get(shard.key, summing)
    else:
        from penstock.layers.compression.frames import Decoding

        decoding = Decoding(sink)
        summing = _Summing(decoding)
        store.raw.get(shard.key, summing)
        decoding.finish()
    _require(shard, summing.summed)
    _require_all(shard, sink.nbytes)


def _require_all(shard: Shard, nbytes: int) -> None:
    if nbytes != shard.content_size:
        raise LengthMismatchError(f"it decompresses to {nbytes} bytes, not {shard.content_size}")


def _decompressed(chunks: Iterator[memoryview], shard: Shard, summed: Summed) -> Iterator[memoryview]:
    from penstock.layers.compression.frames import Decoding

    pieces = _Pieces()
    decoding = Decoding(pieces)
    for chunk in chunks:
        summed.update(chunk)
        for begin in range(0, chunk.nbytes, _SLICE):
            decoding.write(chunk[begin : begin + _SLICE])
            yield from pieces.take()
    decoding.finish()
    _require_all(shard, decoding.nbytes)


def _ranges(store: Store, shard: Shard, ranges: Sequence[tuple[int, int]], reading: Reading) -> Sequence[memoryview]:
    """Ranges of the content, each in writable memory that is aligned as the range is in the file, to 64 bytes."""
    plan = merge(ranges, gap=reading.merge_gap, most=reading.part_size)
    rooms = [_room(start, length) for start, length in plan.spans]
    if shard.compression is None:
        _fill(store, shard, plan.spans, rooms, reading)
    elif rooms:
        _fill_compressed(store, shard, plan.spans, rooms, reading)
    return [
        rooms[span][offset : offset + length] if length else memoryview(bytearray())
        for (span, offset), (_, length) in zip(plan.places, ranges, strict=True)
    ]


def _room(start: int, length: int) -> memoryview:
    shift = start % 64
    return aligned_buffer(shift + length)[shift:]


def _fill(
    store: Store, shard: Shard, spans: Sequence[tuple[int, int]], rooms: Sequence[memoryview], reading: Reading
) -> None:
    # What the manifest says is what the object has to be: its size is checked with every answer.
    file = StoreFile(
        store.raw,
        shard.key,
        ObjectInfo(shard.key, shard.size),
        part_size=reading.part_size,
        in_flight=reading.in_flight,
    )
    together(lambda number: file.read_into(spans[number][0], rooms[number]), len(spans), reading.in_flight)


def _fill_compressed(
    store: Store, shard: Shard, spans: Sequence[tuple[int, int]], rooms: Sequence[memoryview], reading: Reading
) -> None:
    from penstock.layers.compression.frames import Decoding

    table = _table(store, shard)

    def fetch(number: int) -> None:
        (start, length), sink = spans[number], Into(rooms[number])
        frames = table.span(start, start + length)
        decoding = Decoding(sink, start=start, end=start + length, offset=frames.offset)
        store.raw.get(shard.key, decoding, start=frames.start, length=frames.length)
        decoding.finish()
        if sink.nbytes != length:
            raise LengthMismatchError(f"{sink.nbytes} of {length} bytes came")

    together(fetch, len(spans), reading.in_flight)


def _table(store: Store, shard: Shard) -> Any:
    from penstock.layers.compression.frames import FOOTER, GUARD, read_table, table_length

    tail = bytes(store.get_range(shard.key, max(shard.size - _TAIL, 0), _TAIL))
    length = table_length(tail[-FOOTER:])
    if length is not None and length + GUARD > len(tail) and length + GUARD <= shard.size:
        tail = bytes(store.get_range(shard.key, shard.size - length - GUARD, length + GUARD))
    table = read_table(tail, length, shard.size) if length is not None else None
    if table is None or table.size != shard.content_size:
        raise ChecksumMismatchError("the table of its frames is damaged")
    return table


class _Summing:
    """Sums what goes through to a sink."""

    def __init__(self, sink: Any) -> None:
        self._sink = sink
        self._room = memoryview(b"")
        self.summed = Summed()

    def write(self, data: Buffer, /) -> None:
        self.summed.update(data)
        self._sink.write(data)

    def reserve(self, nbytes: int, /) -> memoryview:
        self._room = self._sink.reserve(nbytes)
        return self._room

    def commit(self, nbytes: int, /) -> None:
        self.summed.update(self._room[:nbytes])
        self._sink.commit(nbytes)


class _Pieces:
    """Keeps what is written until it is taken."""

    def __init__(self) -> None:
        self._pieces: list[memoryview] = []

    def write(self, data: Buffer, /) -> None:
        self._pieces.append(memoryview(data))

    def reserve(self, nbytes: int, /) -> memoryview:
        raise NotImplementedError("decompressed bytes are written")

    def commit(self, nbytes: int, /) -> None:
        raise NotImplementedError("decompressed bytes are written")

    def take(self) -> Sequence[memoryview]:
        taken, self._pieces = self._pieces, []
        return taken
