"""What the laws of formats share: comparing samples, joining pieces, files that watch their reader."""

from __future__ import annotations

import hashlib
import struct
import threading
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.errors import FormatError
from penstock.formats import DataFormat, RangeReader, Sample, SampleReader
from penstock.testing.tools import PATIENCE_S, broken

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "WatchedFile",
    "difference",
    "encoded",
    "fill_noise",
    "frugal",
    "outcome",
    "patiently",
    "read_all",
    "require_same",
    "value_bytes",
]

#: What a format may take for itself, and for each byte of a file that it reads (deflate makes up to 1032 of one).
_OWN_MEMORY = 24 * 1024 * 1024
_PER_BYTE = 1_200


def encoded(format: DataFormat, samples: Iterable[Sample]) -> bytes:
    """The file of these samples. Each piece is copied at once, as it is valid until the next only."""
    return b"".join(bytes(piece) for piece in format.encode(samples))


def read_all(reader: SampleReader) -> list[Sample]:
    """Every sample, by one call."""
    return list(reader.read(range(len(reader))))


def difference(one: Any, other: Any) -> str | None:
    """How two values differ in type, byte order, shape or any bit; None: not at all.

    A NumPy scalar counts as an array of no dimensions, a bytearray or memoryview as bytes.
    """
    if isinstance(one, np.ndarray | np.generic) and isinstance(other, np.ndarray | np.generic):
        return _array_difference(np.asanyarray(one), np.asanyarray(other))
    if isinstance(one, bytes | bytearray | memoryview) and isinstance(other, bytes | bytearray | memoryview):
        return None if bytes(one) == bytes(other) else "the bytes differ"
    if type(one) is not type(other):
        return f"the type is {type(other).__name__}, not {type(one).__name__}"
    if isinstance(one, float):
        return None if struct.pack("<d", one) == struct.pack("<d", other) else f"{other!r} is not {one!r}"
    return None if one == other else f"{other!r:.60} is not {one!r:.60}"


def _array_difference(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> str | None:
    if one.dtype != other.dtype:
        return f"the dtype is {other.dtype!r}, not {one.dtype!r}"
    if one.shape != other.shape:
        return f"the shape is {other.shape}, not {one.shape}"
    if one.dtype.names is not None:
        # Padding between the fields is nobody's.
        return next((found for name in one.dtype.names if (found := difference(one[name], other[name]))), None)
    if one.dtype.hasobject:
        return None if one.tolist() == other.tolist() else "the values differ"
    return None if one.tobytes() == other.tobytes() else "the bits differ"


def require_same(law: str, expected: Sequence[Sample], got: Sequence[Sample], remedy: str) -> None:
    """Raise unless these are the same samples."""
    if len(got) != len(expected):
        raise broken(law, f"{len(got)} samples came, not {len(expected)}", remedy)
    for number, (one, other) in enumerate(zip(expected, got, strict=True)):
        if not isinstance(other, Mapping) or set(one) != set(other):
            raise broken(law, f"sample {number} has the names {sorted(other)}, not {sorted(one)}", remedy)
        for name in one:
            if found := difference(one[name], other[name]):
                raise broken(law, f"{name!r} of sample {number}: {found}", remedy)


def value_bytes(value: Any) -> bytes:
    """The bytes of an array or of bytes; none of anything else."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tobytes()
    return bytes(value) if isinstance(value, bytes | bytearray | memoryview) else b""


class fill_noise:  # noqa: N801  (it is called like a function)
    """A Fill that writes bytes in which nothing repeats, and keeps what it wrote."""

    def __init__(self, seed: object = 0) -> None:
        self._seed = seed
        self.written: list[bytes] = []

    def __call__(self, room: memoryview) -> None:
        flat = room.cast("B") if room.nbytes else memoryview(bytearray())
        data = hashlib.shake_128(repr((self._seed, len(self.written))).encode()).digest(flat.nbytes)
        flat[:] = data
        self.written.append(data)


class WatchedFile:
    """A file in memory that counts what is read of it and refuses what lies outside.

    ``failure`` is raised by the read after the next ``spared`` ones. Weak references to it are possible.
    """

    def __init__(self, data: Buffer, *, strict: bool = True) -> None:
        """``strict``: a range outside breaks a law; else it is the FormatError that any file raises."""
        self._data = memoryview(data).cast("B") if memoryview(data).nbytes else memoryview(b"")
        self._strict = strict
        self._lock = threading.Lock()
        self.requests = 0
        self.nbytes = 0
        self.failure: BaseException | None = None
        self.spared = 0

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self._data.nbytes

    def read(self, start: int, length: int, /) -> memoryview:
        """A range; see :class:`penstock.formats.RangeReader`."""
        with self._lock:
            self.requests += 1
            self.nbytes += max(length, 0)
            if self.failure is not None and self.requests > self.spared:
                raise self.failure
        if start < 0 or length < 0 or start + length > self.size:
            if self._strict:
                raise broken(
                    "law 3 (a reader asks for nothing outside the file)",
                    f"{length} bytes were asked for from {start} on, of a file of {self.size}",
                    "cut every range at file.size",
                )
            raise FormatError(f"bytes {start} to {start + length} lie outside the file")
        # Memory of its own, as an answer of a store is.
        return memoryview(bytearray(self._data[start : start + length]))

    def read_many(self, ranges: Sequence[tuple[int, int]], /) -> Sequence[memoryview]:
        """Several ranges, in the order asked."""
        return [self.read(start, length) for start, length in ranges]


def outcome(format: DataFormat, data: Buffer, how: str, *, index: Buffer | None = None) -> list[Sample] | FormatError:
    """What reading bytes gives that may be damaged: samples, or the FormatError. Anything else is raised.

    ``how`` is ``decode``, or ``open``, which reads all samples by number.
    """
    try:
        if how == "decode":
            return list(format.decode(data))
        file: RangeReader = WatchedFile(data, strict=False)
        reader = format.open(file, index=index)
        try:
            reader.summary()
            return read_all(reader)
        finally:
            reader.close()
    except FormatError as error:
        return error


@contextmanager
def frugal(law: str, nbytes: int) -> Iterator[None]:
    """The block must not take much more memory at once than reading ``nbytes`` can."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        yield
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    most = _OWN_MEMORY + _PER_BYTE * nbytes
    if peak > most:
        raise broken(
            law,
            f"reading {nbytes} bytes took {peak} bytes of memory",
            "compare a length with what the file holds before you take memory for it",
        )


def patiently(law: str, call: Callable[[], None]) -> None:
    """Run a call in a thread and wait a minute for it, no longer. What it raises is raised."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001  (it is raised again below)
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    if thread.is_alive():
        raise broken(law, f"reading a damaged file has not ended after {PATIENCE_S:.0f} s", "advance in every step")
    if failures:
        raise failures[0]
