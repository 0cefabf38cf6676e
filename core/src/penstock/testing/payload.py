"""The contract of a payload, as a test class to inherit from."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pytest

from penstock.payload import Payload
from penstock.testing.tools import broken, together

__all__ = ["PayloadContract"]

_SIZE = 1_000_003
_LAW = "the law of Payload (the bytes depend on seed, object and offset alone)"
#: Cuts of one object: no two steps alike, all odd or at the edge of a page, a block or a lane.
_STEPS = (1, 7, 63, 64, 65, 4_095, 4_096, 4_097, 65_537, 300_000)


def _bytes(payload: Payload, nbytes: int, obj: int = 0, offset: int = 0) -> bytes:
    buffer = bytearray(nbytes)
    payload.fill(memoryview(buffer), obj=obj, offset=offset)
    return bytes(buffer)


class PayloadContract:
    """Everything that a payload promises. Inherit, and override ``opened``."""

    #: False for a payload whose objects are all alike, such as zeros. That is checked as well.
    distinct: ClassVar[bool] = True

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

    def test_threads(self, opened: Callable[[int], Payload]) -> None:
        payload = opened(6)
        expected = [_bytes(payload, 50_001, obj=obj, offset=obj) for obj in range(8)]

        def work(obj: int) -> None:
            for _ in range(20):
                if _bytes(payload, 50_001, obj=obj, offset=obj) != expected[obj]:
                    raise broken("the law of Payload (any thread)", "threads disturb each other", "share no scratch")

        together(*(lambda obj=obj: work(obj) for obj in range(8)))
