"""Law 6 and law 8: nothing is held, and threads."""

from __future__ import annotations

import gc
import itertools
import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from penstock.formats import Sample
from penstock.samples import SampleFormat
from penstock.testing.formats.base import FormatLaws
from penstock.testing.formats.tools import encoded, read_all, require_same
from penstock.testing.tools import THREADS, broken, contend

__all__ = ["LifeLaws"]

_HELD = "law 6 (nothing is held)"
_ROUNDS = 20
#: How often others have to have run during a call of each thread.
_MEETINGS = 12


class _Sample(dict[str, Any]):
    """A sample that a weak reference can point to."""


def _copied(value: Any) -> Any:
    return value.copy(order="K") if isinstance(value, np.ndarray) else value


def _require_gone(reference: weakref.ref[Any], what: str) -> None:
    if reference() is not None:
        gc.collect()
    if reference() is not None:
        raise broken(_HELD, what, "keep no reference in the format, and none in a cache")


class LifeLaws(FormatLaws):
    """What is kept, and for how long."""

    def test_the_bytes_are_let_go(self, format: SampleFormat, file: bytes) -> None:
        for count in (None, 1, 0):
            data: Any = np.frombuffer(bytearray(file), np.uint8)
            reference = weakref.ref(data)
            samples = format.codec.decode(data)
            for _ in range(count if count is not None else len(file)):
                if next(samples, None) is None:
                    break
            del data, samples
            _require_gone(reference, "the file's bytes stay in memory after its samples")

    def test_samples_are_let_go(self, format: SampleFormat, ordinary: list[Sample]) -> None:
        for pieces in (None, 1):
            samples = [_Sample((name, _copied(value)) for name, value in sample.items()) for sample in ordinary]
            arrays = [value for sample in samples for value in sample.values() if isinstance(value, np.ndarray)]
            references: list[weakref.ref[Any]] = [weakref.ref(one) for one in (*samples, *arrays)]
            taken = format.codec.encode(iter(samples))
            for _ in itertools.count() if pieces is None else range(pieces):
                if next(taken, None) is None:
                    break
            del taken, samples, arrays
            for reference in references:
                _require_gone(reference, "samples stay in memory after they were encoded")

    def test_the_file_is_let_go(self, format: SampleFormat, file: bytes, ordinary: list[Sample]) -> None:
        watched = self.watched(file)
        reference = weakref.ref(watched)
        reader = format.codec.open(watched)
        samples = read_all(reader)
        reader.close()
        del watched
        _require_gone(reference, "a reader that was closed keeps its file")
        require_same("law 6 (samples outlive their file)", ordinary, samples, "own the memory, or keep it by a view")
        del reader
        watched = self.watched(file)
        reference = weakref.ref(watched)
        again = read_all(format.codec.open(watched))
        del watched
        _require_gone(reference, "a reader that was dropped is kept")
        require_same("law 6 (samples outlive their reader)", samples, again, "own the memory, or keep it by a view")

    def test_memory_does_not_grow(self, format: SampleFormat, file: bytes, ordinary: list[Sample]) -> None:
        def use() -> None:
            encoded(format.codec, ordinary)
            list(format.codec.decode(file))
            reader = format.codec.open(self.watched(file))
            read_all(reader)
            reader.close()

        for _ in range(3):
            use()
        gc.collect()
        tracemalloc.start()
        try:
            use()
            gc.collect()
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(_ROUNDS):
                use()
            gc.collect()
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        if grown > max(_ROUNDS * len(file) // 4, 64 * 1024):
            raise broken(_HELD, f"{_ROUNDS} files of {len(file)} bytes left {grown} bytes of memory", "let them go")

    def test_threads(self, format: SampleFormat, file: bytes, ordinary: list[Sample]) -> None:
        reader = format.codec.open(self.watched(file))

        def encode(turn: int) -> None:
            assert encoded(format.codec, ordinary) == file, f"{THREADS}: encoding gave other bytes"

        def decode(turn: int) -> None:
            require_same(THREADS, ordinary, list(format.codec.decode(file)), "share no state between calls")

        def read(numbers: list[int]) -> Callable[[int], None]:
            expected = [ordinary[number] for number in numbers]

            def call(turn: int) -> None:
                require_same(THREADS, expected, list(reader.read(numbers)), "share no position, or lock it")
                assert len(reader) == len(ordinary), f"{THREADS}: the number of samples changed"
                reader.summary()

            return call

        forward = list(range(len(ordinary)))
        contend(encode, decode, decode, read(forward), read(forward[::-1]), rounds=_MEETINGS)
        reader.close()
