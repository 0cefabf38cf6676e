"""Files of the safetensors library read as it reads them, and it reads ours; headers that lie; single tensors."""

from __future__ import annotations

import json

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from penstock.errors import FormatError, UsageError
from penstock.samples import LocalBuffer, choose_format

PLAIN = ["?", "u1", "i1", "<u2", "<i2", "<f2", "<u4", "<i4", "<f4", "<u8", "<i8", "<f8"]
ARRAYS = st.sampled_from(PLAIN).flatmap(
    lambda code: arrays_of.arrays(
        np.dtype(code),
        arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
        elements=st.sampled_from([0, 1]),
    )
)
SAMPLES = st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), ARRAYS, max_size=5)
SAMPLES = SAMPLES.filter(lambda sample: "__metadata__" not in sample)
codec = choose_format("", "safetensors").codec
rows = choose_format("", "safetensors", {"samples": "rows"}).codec


class Counted(LocalBuffer):
    """Keeps what was asked for."""

    def __init__(self, data):
        super().__init__(data)
        self.asked = []

    def read(self, start, length):
        self.asked.append((start, length))
        return super().read(start, length)

    def read_many(self, ranges):
        return [self.read(start, length) for start, length in ranges]


def encoded(*samples, codec=codec):
    return b"".join(codec.encode(samples))


def same(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert one[name].dtype == other[name].dtype
        assert one[name].shape == other[name].shape
        assert one[name].tobytes() == other[name].tobytes()


@settings(max_examples=60, deadline=None)
@given(SAMPLES)
def test_the_library_and_we_read_each_other(sample):
    ours = encoded(sample)
    same(safetensors.numpy.load(ours), sample)
    plain = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in sample.items()}
    theirs = safetensors.numpy.save(plain)
    (got,) = codec.decode(theirs)
    same(got, sample)
    assert ours == theirs


TYPES = {"float8_e5m2": "F8_E5M2", "float8_e4m3fn": "F8_E4M3", "float8_e8m0fnu": "F8_E8M0", "bfloat16": "BF16"}


@pytest.mark.parametrize("name", TYPES)
def test_small_floats_with_ml_dtypes_and_without(name):
    values = np.arange(8, dtype=np.uint8 if "8_" in name else np.uint16).view(getattr(ml_dtypes, name))
    data = encoded({"x": values})
    ((_, theirs),) = safetensors.deserialize(data)
    assert theirs["dtype"] == TYPES[name]
    assert bytes(theirs["data"]) == values.tobytes()
    bits = choose_format("", "safetensors", {"small_floats": "bits"}).codec
    (got,) = bits.decode(data)
    assert got["x"].dtype.names == (name,)
    assert got["x"][name].tobytes() == values.tobytes()
    assert encoded(got, codec=bits) == data
    (got,) = codec.decode(data)
    assert got["x"].dtype == values.dtype


def test_metadata_is_shown_and_is_no_value():
    data = safetensors.numpy.save({"x": np.zeros(2)}, metadata={"format": "np"})
    (got,) = codec.decode(data)
    assert list(got) == ["x"]
    assert codec.open(LocalBuffer(data)).summary().details["metadata format"] == "np"


def test_a_tensor_is_read_without_the_rest():
    sample = {"big": np.arange(500_000.0), "small": np.arange(7, dtype="f4").reshape(7, 1)}
    file = Counted(encoded(sample))
    reader = codec.open(file)
    assert sum(length for _, length in file.asked) <= 16 * 1024
    file.asked.clear()
    assert np.array_equal(reader.tensor("small"), sample["small"])
    assert [length for _, length in file.asked] == [28]
    with pytest.raises(KeyError):
        reader.tensor("none")
    only = choose_format("", "safetensors", {"tensors": "small"}).codec
    file.asked.clear()
    (got,) = only.open(file).read([0])
    assert list(got) == ["small"]
    assert file.asked[-1][1] == 28
    with pytest.raises(UsageError, match="it has big, small"):
        choose_format("", "safetensors", {"tensors": "other"}).codec.open(file)


def test_a_long_header_takes_a_second_range():
    sample = {f"layer.{number}.weight": np.full(3, number, "f4") for number in range(400)}
    file = Counted(encoded(sample))
    same(codec.open(file).read([0])[0], sample)
    assert file.asked[0] == (0, 16 * 1024)
    assert file.asked[1][0] == 8


def test_rows_are_read_by_their_own_ranges():
    samples = [{"x": np.full((3, 2), number, "f4"), "y": np.array(number)} for number in range(10)]
    data = encoded(*samples, codec=rows)
    assert safetensors.numpy.load(data)["x"].shape == (10, 3, 2)
    file = Counted(data)
    reader = rows.open(file)
    file.asked.clear()
    got = reader.read([7, 2, 7])
    for number, sample in zip([7, 2, 7], got, strict=True):
        same(sample, samples[number])
    assert sum(length for _, length in file.asked) == 3 * (24 + 8)
    with pytest.raises(FormatError, match="one number of rows"):
        rows.open(LocalBuffer(encoded({"x": np.zeros(2), "y": np.zeros(3)})))


def header(said, data=b""):
    text = said if isinstance(said, bytes) else json.dumps(said).encode()
    return len(text).to_bytes(8, "little") + text + data


def one(**changed):
    return {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]} | changed


LIES = {
    "a gap before": header({"x": one(data_offsets=[1, 5])}, bytes(5)),
    "a gap between": header({"x": one(), "y": one(data_offsets=[5, 9])}, bytes(9)),
    "an overlap": header({"x": one(), "y": one(data_offsets=[2, 6])}, bytes(6)),
    "bytes after": header({"x": one()}, bytes(5)),
    "bytes missing": header({"x": one()}, bytes(3)),
    "another size": header({"x": one(shape=[5])}, bytes(4)),
    "an unknown type": header({"x": one(dtype="Q4")}, bytes(4)),
    "a negative shape": header({"x": one(shape=[-2, -2])}, bytes(4)),
    "a shape of truth": header({"x": one(shape=[True, 4])}, bytes(4)),
    "a shape of text": header({"x": one(shape="4")}, bytes(4)),
    "a place of fractions": header({"x": one(data_offsets=[0.0, 4.0])}, bytes(4)),
    "a place too many": header({"x": one(data_offsets=[0, 4, 4])}, bytes(4)),
    "backwards": header({"x": one(shape=[0], data_offsets=[4, 4])}, b""),
    "a huge place": header({"x": one(shape=[2**62, 2**62], data_offsets=[0, 2**124])}, bytes(4)),
    "a huge number": header(b'{"x":{"dtype":"U8","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,4]}}', bytes(4)),
    "a name twice": header(b'{"x": 0, "x": 0}'),
    "a type twice": header(b'{"x": {"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}}'),
    "more words": header({"x": one(more=1)}, bytes(4)),
    "a list": header([]),
    "no object": header({"x": 4}),
    "metadata of numbers": header({"__metadata__": {"a": 1}}),
    "nesting": header(b'{"x":' + b"[" * 100_000),
    "not UTF-8": header(b'{"\xff": 1}'),
    "NaN": header(b'{"x": NaN}'),
    "a space first": header(b" {}"),
    "a header beyond the end": (100).to_bytes(8, "little") + b"{}",
    "a header beyond the bound": (2**63).to_bytes(8, "little") + b"{}",
    "nothing": b"",
}


@pytest.mark.parametrize("data", LIES.values(), ids=LIES)
def test_headers_that_lie(data):
    for call in (lambda: list(codec.decode(data)), lambda: codec.open(LocalBuffer(data))):
        with pytest.raises(FormatError):
            call()


def test_an_empty_file_of_no_tensors():
    assert list(codec.decode(header({}))) == [{}]
    assert list(rows.decode(header({}))) == []


def test_options_that_can_not_be():
    with pytest.raises(UsageError, match="sample_size"):
        choose_format("", "safetensors", {"sample_size": 0})
    with pytest.raises(UsageError, match="index"):
        codec.open(LocalBuffer(header({})), index=b"")
