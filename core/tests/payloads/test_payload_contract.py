"""The kit over the payloads that core brings, and over broken ones, each of which it must catch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np
import pytest

from penstock.payload import Payload
from penstock.payloads.pooled import PooledPayload
from penstock.payloads.random import RandomPayload
from penstock.payloads.shaping import BLOCK, shaped
from penstock.plugins import PluginHost
from penstock.testing import PayloadContract


class TestPooled(PayloadContract):
    @pytest.fixture
    def opened(self) -> Callable[[int], Payload]:
        return PluginHost().payload_type("pooled").open


class TestRandom(PayloadContract):
    @pytest.fixture
    def opened(self) -> Callable[[int], Payload]:
        return PluginHost().payload_type("random").open


class TestZero(PayloadContract):
    distinct = False
    unique = False

    @pytest.fixture
    def opened(self) -> Callable[[int], Payload]:
        return PluginHost().payload_type("zero").open


class TestCompressing(PayloadContract):
    """With a factor on top it is a payload like any other."""

    unique = False

    @pytest.fixture
    def opened(self) -> Callable[[int], Payload]:
        return lambda seed: shaped(RandomPayload(seed), seed, compress_factor=3)


@pytest.mark.parametrize("name", ["pooled", "random", "zero"])
def test_the_type_says_what_the_kit_finds(name):
    assert PluginHost().payload_type(name).unique is (name != "zero")


class _Broken:
    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._right = PooledPayload(seed)

    def fill(self, buffer: memoryview, /, *, obj: int, offset: int = 0) -> None:
        self._right.fill(buffer, obj=obj, offset=offset)


class _BySize(_Broken):
    """Its bytes depend on the size of the call."""

    def fill(self, buffer, /, *, obj, offset=0):
        stream = hashlib.shake_128(f"{self._seed} {obj} {offset}".encode()).digest(buffer.nbytes)
        buffer[:] = stream


class _ByOrder(_Broken):
    """It goes on where the last call ended."""

    def __init__(self, seed):
        super().__init__(seed)
        self._at = 0

    def fill(self, buffer, /, *, obj, offset=0):
        super().fill(buffer, obj=obj, offset=self._at)
        self._at += buffer.nbytes


class _BySeedAlone(_Broken):
    def fill(self, buffer, /, *, obj, offset=0):
        super().fill(buffer, obj=0, offset=offset)


class _NoSeed(_Broken):
    def __init__(self, seed):
        super().__init__(1)


class _ShortNumbers(_Broken):
    def fill(self, buffer, /, *, obj, offset=0):
        super().fill(buffer, obj=obj & 0xFF, offset=offset)


class _ShortOffsets(_Broken):
    def fill(self, buffer, /, *, obj, offset=0):
        offset &= 0xFFFFFFFF
        super().fill(buffer, obj=obj, offset=offset)


class _NewEachTime(_Broken):
    def __init__(self, seed):
        super().__init__(int(np.random.default_rng().integers(1 << 60)))


class _RepeatsAPage(_Broken):
    """The same page again and again."""

    def fill(self, buffer, /, *, obj, offset=0):
        page = bytearray(4096)
        super().fill(memoryview(page), obj=obj)
        whole = bytes(page) * (buffer.nbytes // 4096 + 2)
        buffer[:] = whole[offset % 4096 :][: buffer.nbytes]


class _RepeatsABlock(_Broken):
    def fill(self, buffer, /, *, obj, offset=0):
        for begin in range(0, buffer.nbytes, 4096):
            part = buffer[begin : begin + 4096]
            whole = bytearray(8192)
            at = (offset + begin) % (BLOCK // 2)
            super().fill(memoryview(whole), obj=obj, offset=at)
            part[:] = whole[: part.nbytes]


class _Compresses(_Broken):
    """Text instead of noise: half of each byte is always the same."""

    def fill(self, buffer, /, *, obj, offset=0):
        super().fill(buffer, obj=obj, offset=offset)
        view = np.frombuffer(buffer, dtype=np.uint8)
        if view.size:
            np.bitwise_or(view, 0xF0, out=view)


class _LeavesTheEnd(_Broken):
    def fill(self, buffer, /, *, obj, offset=0):
        super().fill(buffer[: buffer.nbytes & ~7], obj=obj, offset=offset)


class _WordsOnly(_Broken):
    """It takes the offset for a multiple of a word."""

    def fill(self, buffer, /, *, obj, offset=0):
        super().fill(buffer, obj=obj, offset=offset & ~7)


class _SharedScratch(_Broken):
    def __init__(self, seed):
        super().__init__(seed)
        self._scratch = bytearray(1 << 20)

    def fill(self, buffer, /, *, obj, offset=0):
        for begin in range(0, buffer.nbytes, 64):
            part = buffer[begin : begin + 64]
            super().fill(memoryview(self._scratch)[: part.nbytes], obj=obj, offset=offset + begin)
            part[:] = self._scratch[: part.nbytes]


class _LosesTheLock(_Broken):
    """It remembers the object of the call that began last, whichever thread's that was."""

    def fill(self, buffer, /, *, obj, offset=0):
        self._obj = obj
        for begin in range(0, buffer.nbytes, 512):
            super().fill(buffer[begin : begin + 512], obj=self._obj, offset=offset + begin)


MUTANTS = {
    _BySize: lambda kit, opened: kit.test_chunks_make_up_the_whole(opened, 4096),
    _ByOrder: lambda kit, opened: kit.test_any_offset(opened, 511),
    _BySeedAlone: lambda kit, opened: kit.test_objects_and_seeds_differ(opened),
    _NoSeed: lambda kit, opened: kit.test_objects_and_seeds_differ(opened),
    _ShortNumbers: lambda kit, opened: kit.test_objects_and_seeds_differ(opened),
    _ShortOffsets: lambda kit, opened: kit.test_any_offset(opened, 2**32 - 3),
    _NewEachTime: lambda kit, opened: kit.test_any_object_and_a_second_instance(opened, 1),
    _RepeatsAPage: lambda kit, opened: kit.test_an_object_does_not_repeat_itself(opened),
    _RepeatsABlock: lambda kit, opened: kit.test_an_object_does_not_repeat_itself(opened),
    _Compresses: lambda kit, opened: kit.test_nothing_compresses(opened),
    _LeavesTheEnd: lambda kit, opened: kit.test_the_buffer_is_filled_and_nothing_beyond(opened),
    _WordsOnly: lambda kit, opened: kit.test_any_cut_of_any_range(opened),
    _SharedScratch: lambda kit, opened: kit.test_threads(opened),
    _LosesTheLock: lambda kit, opened: kit.test_threads(opened),
}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda kind: kind.__name__)
def test_the_kit_catches_a_broken_payload(mutant):
    law = MUTANTS[mutant]
    law(PayloadContract(), PooledPayload)
    with pytest.raises(AssertionError):
        law(PayloadContract(), mutant)
