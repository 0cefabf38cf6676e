"""Dedup and compress factors: what compressors make of the bytes, and how many blocks are different."""

from __future__ import annotations

import re

import lz4.block
import lz4.frame
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from penstock.payloads.pooled import PooledPayload
from penstock.payloads.random import RandomPayload
from penstock.payloads.shaping import (
    BLOCK,
    FRAME_FACTOR,
    LARGEST_COMPRESS_FACTOR,
    Shaped,
    limits_of,
    shaped,
    unit_of,
)
from penstock.payloads.zero import ZeroPayload

KIB, MIB = 1024, 1024 * 1024
METHODS = {"pooled": PooledPayload, "random": RandomPayload}


def content(payload, nbytes, obj=0, offset=0):
    buffer = bytearray(nbytes)
    payload.fill(memoryview(buffer), obj=obj, offset=offset)
    return bytes(buffer)


def ratios(data):
    compressed = {
        "zstd": zstandard.ZstdCompressor(level=1).compress(data),
        "lz4": lz4.block.compress(data, store_size=False),
        "lz4 frame": lz4.frame.compress(data),
    }
    return {name: len(data) / len(made) for name, made in compressed.items()}


#: Whole factors up to that where the arithmetic ends, and others that people ask for.
HELD = [*range(1, 21), 1.1, 1.2, 1.25, 1.5, 1.75, 2.5, 2.6, 3.5, 5.1, 5.5, 7.5, 8.1, 12.5]
BEYOND = [21, 25, 30, 32, 40, 50]


def compress_as_they_say(method, factor, size, obj=11):
    """Every compressor that is to be within 5 % is."""
    found = ratios(content(shaped(METHODS[method](3), 3, compress_factor=factor), size, obj=obj))
    if factor > FRAME_FACTOR and size < MIB:
        # A frame is the block and 23 bytes and more around it, and never smaller.
        assert 0.88 * factor < found.pop("lz4 frame")
    assert found == pytest.approx(dict.fromkeys(found, factor), rel=0.05)


@pytest.mark.parametrize("size", [4 * KIB, 64 * KIB, MIB])
@pytest.mark.parametrize("method", METHODS)
def test_every_factor_up_to_twenty_holds_at_each_size(method, size):
    for factor in HELD:
        compress_as_they_say(method, factor, size)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("factor", HELD)
def test_every_factor_up_to_twenty_holds_for_large_objects(factor, method):
    compress_as_they_say(method, factor, 64 * MIB)


@pytest.mark.parametrize("factor", [2.5, 20])
def test_sixty_four_mebibytes_compress_as_they_say(factor):
    compress_as_they_say("pooled", factor, 64 * MIB)


@given(factor=st.floats(1, 10), size=st.integers(16, 200).map(lambda kib: kib * KIB), obj=st.integers(0, 2**63))
def test_any_factor_up_to_ten_holds(factor, size, obj):
    unit = unit_of(factor)
    data = content(shaped(PooledPayload(1), 1, compress_factor=factor), size // 4096 * 4096, obj)
    assert ratios(data) == pytest.approx(dict.fromkeys(("zstd", "lz4", "lz4 frame"), factor), rel=0.05), unit


@given(factor=st.floats(1, 20), obj=st.integers(0, 2**63))
def test_any_factor_up_to_twenty_holds_for_objects_of_4_kib(factor, obj):
    compress_as_they_say("pooled", factor, 4 * KIB, obj)


@pytest.mark.parametrize("factor", BEYOND)
def test_a_factor_that_no_content_can_keep_lies_between_the_compressors_and_the_limits_are_told(factor):
    """What :func:`limits_of` says: so far above, and so far below."""
    (above,) = map(int, re.findall(r"up to (\d+) % above", limits_of(factor)))
    for size in (64 * KIB, MIB):
        found = ratios(content(shaped(PooledPayload(1), 1, compress_factor=factor), size))
        assert factor < found["zstd"] <= factor * (1 + above / 100)
        assert factor * 0.88 <= found["lz4 frame"] < factor
        assert factor * 0.9 <= found["lz4"] < factor
    small = ratios(content(shaped(PooledPayload(1), 1, compress_factor=factor), 4 * KIB))
    assert (small["zstd"], small["lz4"]) == pytest.approx((factor, factor), rel=0.051)


def test_limits_are_told_where_there_are_any():
    assert [limits_of(factor) for factor in (1, 1.5, 8, 12)] == [""] * 4
    assert "frames of LZ4 come out lower" in limits_of(12.5)
    assert limits_of(20).startswith("compress_factor 20: in objects below 1 MiB")
    assert limits_of(32).startswith("compress_factor 32: LZ4 pays a byte for each 255")


@pytest.mark.parametrize("factor", [1, 2, 5, 20, 100])
@pytest.mark.parametrize("method", METHODS)
def test_objects_differ_with_any_factor_and_so_do_their_blocks(method, factor):
    payload = shaped(METHODS[method](1), 1, compress_factor=factor)
    assert len({content(payload, 4096, obj) for obj in range(2000)}) == 2000
    whole = content(payload, 3 * MIB)
    assert len({whole[at : at + 4096] for at in range(0, len(whole), 4096)}) == 768


@pytest.mark.parametrize("factor", [1.0, 1.25, 1.5, 2, 3, 7.3, 10, 64])
@pytest.mark.parametrize("count", [1, 2, 63, 200])
def test_one_block_in_n_is_new_wherever_the_object_ends(factor, count):
    payload = shaped(ZeroPayload(0), 5, dedup_factor=factor, compress_factor=2)
    assert isinstance(payload, Shaped)
    sources = [payload.source(9, block) for block in range(count)]
    assert len(set(sources)) == int((count - 1) / factor) + 1
    for block, (obj, source) in enumerate(sources):
        assert obj == 9
        assert source <= block, "a block repeats one before it"
        assert payload.source(9, source) == (9, source), "what is repeated is new itself"


def test_repeats_are_the_same_bytes_and_lie_everywhere():
    payload = shaped(PooledPayload(2), 2, dedup_factor=4)
    whole = content(payload, 64 * MIB, obj=3)
    blocks = [whole[at : at + BLOCK] for at in range(0, len(whole), BLOCK)]
    assert len(set(blocks)) == 16
    for quarter in range(4):
        part = blocks[16 * quarter : 16 * quarter + 16]
        assert sum(block not in blocks[: 16 * quarter + place] for place, block in enumerate(part)) == 4
    other = content(payload, 64 * MIB, obj=4)
    assert not set(blocks) & {other[at : at + BLOCK] for at in range(0, len(other), BLOCK)}


@pytest.mark.parametrize(("blocks", "count", "factor"), [(1, 1000, 4), (3, 200, 2.5), (8, 50, 10), (1, 7, 3)])
def test_across_objects_the_share_of_a_whole_data_set_is_exact(blocks, count, factor):
    payload = shaped(PooledPayload(2), 2, dedup_factor=factor, across=blocks)
    sources = [payload.source(obj, block) for obj in range(count) for block in range(blocks)]
    assert len(set(sources)) == int((blocks * count - 1) / factor) + 1


def test_small_objects_repeat_each_other_when_that_is_asked_for():
    across = shaped(PooledPayload(2), 2, dedup_factor=4, compress_factor=2, across=1)
    assert len({content(across, 4096, obj) for obj in range(400)}) == 100
    alone = shaped(PooledPayload(2), 2, dedup_factor=4, compress_factor=2)
    assert len({content(alone, 4096, obj) for obj in range(400)}) == 400


@given(
    dedup=st.floats(1, 9),
    compress=st.floats(1, 60),
    across=st.integers(0, 3),
    obj=st.integers(0, 50),
    offset=st.one_of(st.integers(0, 9000), st.integers(2 * MIB - 9000, 2 * MIB + 100)),
    cuts=st.lists(st.integers(1, 12_000), min_size=1, max_size=5),
)
def test_any_cut_makes_the_same_bytes(dedup, compress, across, obj, offset, cuts):
    payload = shaped(RandomPayload(4), 4, dedup_factor=dedup, compress_factor=compress, across=across)
    whole = content(payload, sum(cuts), obj, offset)
    parts, at = [], 0
    for size in cuts:
        parts.append(content(payload, size, obj, offset + at))
        at += size
    assert b"".join(parts) == whole


@pytest.mark.parametrize("wrong", [0, 0.99, -1, float("nan"), float("inf")])
def test_a_factor_is_a_number_from_one_on(wrong):
    with pytest.raises(ValueError, match="from 1 on"):
        shaped(PooledPayload(1), 1, dedup_factor=wrong)
    with pytest.raises(ValueError, match="from 1 on"):
        shaped(PooledPayload(1), 1, compress_factor=wrong)
    with pytest.raises(ValueError, match="at most 100"):
        shaped(PooledPayload(1), 1, compress_factor=LARGEST_COMPRESS_FACTOR + 1)


def test_without_factors_nothing_is_put_on_top():
    payload = PooledPayload(1)
    assert shaped(payload, 1) is payload
