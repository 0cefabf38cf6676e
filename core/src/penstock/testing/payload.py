"""The contract of a payload, as a test class to inherit from."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import ClassVar

import pytest
import zstandard
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from penstock.payload import Payload
from penstock.payloads import parallel
from penstock.payloads.shaping import BLOCK, shaped
from penstock.testing.tools import broken, together

__all__ = ["PayloadContract"]

_SIZE = 1_000_003
_LAW = "the law of Payload (the bytes depend on seed, object and offset alone)"
#: Cuts of one object: no two steps alike, all odd or at the edge of a page, a block or a lane.
_STEPS = (1, 7, 63, 64, 65, 4_095, 4_096, 4_097, 65_537, 300_000)
_INHERITED = (HealthCheck.function_scoped_fixture, HealthCheck.differing_executors)
_OBJECTS = st.integers(0, 2**64 - 1)
#: Where things change: at words, pages, blocks, and far out.
_OFFSETS = st.one_of(
    st.integers(0, 100),
    st.integers(-40, 40).map(lambda step: 4_096 + step),
    st.integers(-40, 40).map(lambda step: 3 * BLOCK + step),
    st.integers(0, 2**44),
)


def _bytes(payload: Payload, nbytes: int, obj: int = 0, offset: int = 0) -> bytes:
    buffer = bytearray(nbytes)
    payload.fill(memoryview(buffer), obj=obj, offset=offset)
    return bytes(buffer)


class PayloadContract:
    """Everything that a payload promises. Inherit, and override ``opened``."""

    #: False for a payload whose objects are all alike, such as zeros. That is checked as well.
    distinct: ClassVar[bool] = True
    #: The ``unique`` of its PayloadType: nothing in it repeats or compresses.
    unique: ClassVar[bool] = True

    @pytest.fixture
    def opened(self) -> Callable[[int], Payload]:
        """What makes a payload from a seed: the ``open`` of its PayloadType."""
        pytest.fail("override the fixture opened: it returns the open function of the PayloadType")

    @pytest.mark.parametrize("step", _STEPS)
    def test_chunks_make_up_the_whole(self, opened: Callable[[int], Payload], step: int) -> None:
        payload = opened(1)
        size = min(_SIZE, 3_000 * step)
        whole = _bytes(payload, size, obj=5)
        parts = [_bytes(payload, min(step, size - at), obj=5, offset=at) for at in range(0, size, step)]
        if b"".join(parts) != whole:
            raise broken(_LAW, f"chunks of {step} bytes differ from one fill", "derive the bytes from the offset")

    @pytest.mark.parametrize("offset", [0, 1, 511, 4_096, 1_048_575, 1_048_577, 2**32 - 3, 2**40 + 1])
    def test_any_offset(self, opened: Callable[[int], Payload], offset: int) -> None:
        payload = opened(1)
        whole = _bytes(payload, 20_000, obj=3, offset=offset)
        for begin, end in ((0, 1), (1, 20_000), (7, 4_103), (19_999, 20_000)):
            got = _bytes(payload, end - begin, obj=3, offset=offset + begin)
            assert got == whole[begin:end], f"{_LAW}: the bytes from offset {offset + begin} on differ"

    @pytest.mark.parametrize("obj", [0, 1, 2**31, 2**53 + 1])
    def test_any_object_and_a_second_instance(self, opened: Callable[[int], Payload], obj: int) -> None:
        first = _bytes(opened(9), 30_001, obj=obj)
        assert _bytes(opened(9), 30_001, obj=obj) == first, f"{_LAW}: a second payload of that seed differs"

    def test_objects_and_seeds_differ(self, opened: Callable[[int], Payload]) -> None:
        payload = opened(1)
        made = {_bytes(payload, 64, obj=obj) for obj in range(500)}
        made |= {_bytes(opened(seed), 64, obj=0) for seed in (2, 3, 2**31, 2**63 - 1)}
        expected = 504 if self.distinct else 1
        if len(made) != expected:
            raise broken(
                "the law of distinct", f"504 objects have {len(made)} contents", "mix the seed and the object in, whole"
            )

    def test_an_object_does_not_repeat_itself(self, opened: Callable[[int], Payload]) -> None:
        whole = _bytes(opened(1), 4 * 1_048_576)
        blocks = {whole[at : at + 4_096] for at in range(0, len(whole), 4_096)}
        expected = 1_024 if self.distinct else 1
        assert len(blocks) == expected, f"the law of distinct: of 1024 pages of 4096 bytes {len(blocks)} are different"

    def test_the_buffer_is_filled_and_nothing_beyond(self, opened: Callable[[int], Payload]) -> None:
        payload = opened(4)
        for nbytes in (0, 1, 3, 8, 64, 4_095, 100_001):
            for shift in (0, 1, 5):
                memory = bytearray(b"\xa5" * (nbytes + 32))
                payload.fill(memoryview(memory)[shift : shift + nbytes], obj=2, offset=77)
                expected = _bytes(payload, nbytes, obj=2, offset=77)
                assert memory[shift : shift + nbytes] == expected, "fill overwrites the buffer, wherever it lies"
                assert memory[:shift] == b"\xa5" * shift, "fill writes nothing before the buffer"
                assert set(memory[shift + nbytes :]) == {0xA5}, "fill writes nothing after the buffer"

    @settings(max_examples=40, suppress_health_check=_INHERITED)
    @given(obj=_OBJECTS, offset=_OFFSETS, size=st.integers(1, 9_000), cuts=st.lists(st.integers(0, 9_000), max_size=4))
    @example(obj=1, offset=BLOCK - 5, size=8_200, cuts=[4, 5, 6, 8_199])
    def test_any_cut_of_any_range(
        self, opened: Callable[[int], Payload], obj: int, offset: int, size: int, cuts: list[int]
    ) -> None:
        payload = opened(11)
        whole = _bytes(payload, size, obj, offset)
        places = sorted({0, size, *(cut for cut in cuts if cut < size)})
        # The last part first: nothing may hang on the order.
        parts = [_bytes(payload, end - at, obj, offset + at) for at, end in reversed(list(itertools.pairwise(places)))]
        if b"".join(reversed(parts)) != whole:
            raise broken(
                _LAW,
                f"object {obj} from {offset}, {size} bytes cut at {places[1:-1]}, differs from one fill",
                "derive the bytes from the offset",
            )

    def test_a_large_buffer_filled_by_several_threads(self, opened: Callable[[int], Payload]) -> None:
        payload = opened(8)
        expected = _bytes(payload, 13 * BLOCK + 77, obj=4, offset=12_345)
        for threads in (2, 3):
            buffer = bytearray(len(expected))
            parallel.fill(payload, memoryview(buffer), obj=4, offset=12_345, threads=threads)
            if buffer != expected:
                raise broken(_LAW, f"{threads} threads make other bytes than one", "share no scratch")

    def test_nothing_compresses(self, opened: Callable[[int], Payload]) -> None:
        # Objects side by side, so that one like another would be seen.
        content = b"".join(_bytes(opened(3), 300_000, obj=obj) for obj in range(4))
        ratio = len(content) / len(zstandard.ZstdCompressor(level=1).compress(content))
        if self.unique and ratio > 1.001:
            raise broken("the law of unique", f"zstd makes {ratio:.2f}:1 of it", "say unique=False in the PayloadType")
        if not self.unique and ratio < 1.001:
            raise broken("the law of unique", "zstd makes nothing of it", "say unique=True in the PayloadType")

    @pytest.mark.parametrize(("dedup", "compress"), [(1.0, 2.0), (3.0, 1.0), (2.5, 4.0)])
    def test_factors_on_top_of_it(self, opened: Callable[[int], Payload], dedup: float, compress: float) -> None:
        if not self.unique:
            return
        payload = shaped(opened(5), 5, dedup_factor=dedup, compress_factor=compress)
        whole = _bytes(payload, 10 * BLOCK, obj=6)
        for begin, end in ((0, 5), (4_000, 9_000), (BLOCK - 3, BLOCK + 700), (7 * BLOCK + 1, 9 * BLOCK - 1)):
            assert _bytes(payload, end - begin, 6, begin) == whole[begin:end], f"{_LAW}: from {begin} on they differ"
        blocks = {whole[at : at + BLOCK] for at in range(0, len(whole), BLOCK)}
        assert len(blocks) == -int(-10 // dedup), f"of 10 blocks {len(blocks)} are different"
        ratio = sum(map(len, blocks)) / sum(len(zstandard.ZstdCompressor(level=1).compress(block)) for block in blocks)
        assert abs(ratio / compress - 1) < 0.05, f"zstd makes {ratio:.3f}:1 of what is to be {compress}:1"

    def test_threads(self, opened: Callable[[int], Payload]) -> None:
        payload = opened(6)
        expected = [_bytes(payload, 50_001, obj=obj, offset=obj) for obj in range(8)]

        def work(obj: int) -> None:
            for _ in range(20):
                if _bytes(payload, 50_001, obj=obj, offset=obj) != expected[obj]:
                    raise broken("the law of Payload (any thread)", "threads disturb each other", "share no scratch")

        together(*(lambda obj=obj: work(obj) for obj in range(8)))
