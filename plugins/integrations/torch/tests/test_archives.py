"""A tensor's archive is what torch.save would have made; ranges are planned so that each byte is read once."""

from __future__ import annotations

import io
import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from penstock_torch.checkpoint.archives import archive_of, bytes_of
from penstock_torch.checkpoint.fetching import Want, fetch, plan
from penstock_torch.checkpoint.regions import memory_of, region_of, take
from penstock_torch.checkpoint.splitting import split

import penstock
from penstock.errors import LengthMismatchError

DTYPES = [
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32,
    torch.uint64, torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128,
    torch.float8_e4m3fn, torch.float8_e5m2,
]  # fmt: skip

SHAPES = st.lists(st.integers(0, 5), max_size=4).map(tuple)


def drawn(shape, dtype, seed):
    generator = torch.Generator().manual_seed(seed)
    count = torch.Size(shape).numel() * dtype.itemsize
    raw = torch.randint(0, 2 if dtype == torch.bool else 256, (count,), generator=generator, dtype=torch.uint8)
    return raw.view(dtype).reshape(shape) if count else torch.empty(shape, dtype=dtype)


@given(shape=SHAPES, dtype=st.sampled_from(DTYPES), seed=st.integers(0, 9))
@settings(max_examples=60)
def test_torch_loads_every_archive_with_every_bit(shape, dtype, seed):
    tensor = drawn(shape, dtype, seed)
    archive = archive_of(tensor)
    whole = archive.head + bytes(archive.data) + archive.tail
    assert len(whole) == archive.nbytes
    assert len(archive.head) % 64 == 0
    loaded = torch.load(io.BytesIO(whole), weights_only=True)
    assert (loaded.dtype, loaded.shape) == (tensor.dtype, tensor.shape)
    assert bytes(bytes_of(loaded)) == bytes(bytes_of(tensor)) == bytes(archive.data)


def test_an_archive_of_more_than_four_gibibytes_is_one_too(tmp_path):
    nbytes = (4 << 30) + 12_345
    # Nobody writes these pages, so they take no memory, and the file is as sparse.
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        os.ftruncate(file.fileno(), nbytes)
    tensor = torch.from_file(str(path), size=nbytes, dtype=torch.uint8, shared=False)
    archive = archive_of(tensor)
    stored = tmp_path / "archive"
    with stored.open("wb") as file:
        file.write(archive.head)
        file.seek(archive.data.nbytes, os.SEEK_CUR)
        file.write(archive.tail)
        os.pwrite(file.fileno(), b"end", len(archive.head) + nbytes - 3)
    loaded = torch.load(stored, weights_only=True, mmap=True)
    assert loaded.shape == (nbytes,)
    assert bytes(loaded[-3:].tolist()) == b"end"


@st.composite
def boxes(draw):
    shape = draw(st.lists(st.integers(1, 6), min_size=0, max_size=4))
    offsets = [draw(st.integers(0, length - 1)) for length in shape]
    sizes = [draw(st.integers(0, length - offset)) for length, offset in zip(shape, offsets, strict=True)]
    return shape, offsets, sizes


@given(boxes())
def test_a_box_of_a_tensor_is_found_in_its_bytes(box):
    shape, offsets, sizes = box
    tensor = torch.arange(torch.Size(shape).numel(), dtype=torch.int32).reshape(shape)
    right = tensor[tuple(slice(offset, offset + size) for offset, size in zip(offsets, sizes, strict=True))]
    region = region_of(shape, offsets, sizes, 4)
    data = memoryview(bytearray(bytes_of(tensor)[region.start : region.start + region.length]))
    assert len(data) == region.length
    target = torch.full(sizes, -1, dtype=torch.int64)
    if region.length:
        take(target, torch.int32, region)(data)
    assert torch.equal(target, right.long())
    assert region.dense is (region.length == 4 * right.numel())
    same = torch.zeros(sizes, dtype=torch.int32)
    assert (memory_of(same, torch.int32, region) is not None) is region.dense


@given(
    ranges=st.lists(
        st.tuples(st.integers(0, 300_000), st.integers(1, 120_000), st.booleans()), min_size=1, max_size=12
    ),
    gap=st.integers(0, 100_000),
    most=st.integers(1_000, 500_000),
    in_flight=st.integers(1, 4),
)
@settings(max_examples=40)
def test_everything_wanted_arrives_and_no_byte_twice(ranges, gap, most, in_flight):
    content = os.urandom(450_000)
    rooms, got = {}, {}
    wants = []
    for number, (start, length, direct) in enumerate(ranges):
        rooms[number] = bytearray(length) if direct else None

        def done(data, number=number):
            assert number not in got
            got[number] = rooms[number] if data is None else bytes(data)

        into = memoryview(rooms[number]) if direct else None
        wants.append(Want(start, length, done, into, size=len(content)))
    requests = plan({"object": wants}, gap=gap, most=most)
    with penstock.connect("mem://torch-fetching") as store:
        store.put("object", content)
        fetch(store, requests, in_flight=in_flight)
    for number, (start, length, _) in enumerate(ranges):
        assert bytes(got[number]) == content[start : start + length]
    ends = 0
    for request in requests:
        assert request.start >= ends
        assert request.length <= most
        ends = request.start + request.length
    touched = {place for start, length, _ in ranges for place in range(start, start + length)}
    unwanted = sum(request.length for request in requests) - len(touched)
    assert 0 <= unwanted <= gap * len(ranges)


def test_an_object_of_another_size_is_not_read():
    with penstock.connect("mem://torch-fetching") as store:
        store.put("longer", b"x" * 100)
        requests = plan({"longer": [Want(0, 50, lambda data: None, size=99)]}, gap=0, most=1_000)
        with pytest.raises(LengthMismatchError, match="mem://torch-fetching/longer"):
            fetch(store, requests, in_flight=2)
        requests = plan({"longer": [Want(60, 50, lambda data: None)]}, gap=0, most=1_000)
        with pytest.raises(LengthMismatchError, match="40 of 50"):
            fetch(store, requests, in_flight=2)


class Item:
    def __init__(self, elements):
        self.tensor_data = None if elements is None else self
        self.chunk = self
        self.sizes = (elements,)
        self.properties = self
        self.dtype = torch.float32


@given(
    elements=st.lists(st.none() | st.integers(0, 1_000), max_size=20),
    most=st.integers(1, 5),
    least=st.integers(1, 2_000),
)
def test_items_are_spread_evenly(elements, most, least):
    items = [Item(count) for count in elements]
    files = split(items, most=most, least=least)
    assert sorted(map(id, (item for file in files for item in file))) == sorted(map(id, items))
    assert all(files)
    assert len(files) <= most
    totals = [sum(4 * (item.sizes[0] or 0) for item in file) for file in files]
    if len(files) > 1:
        assert sum(totals) >= least * len(files)
        assert max(totals) - min(totals) <= max(4 * (count or 0) for count in elements)
