"""Tensors in the layout of safetensors: ours, and the safetensors project's own library."""

from __future__ import annotations

import json
import struct

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from penstock.errors import FormatError, UsageError
from penstock_training.checkpoint.safetensors import arrange, encode_header, pieces, read_header, tensor_of

PLAIN = ["?", "u1", "i1", "u2", "i2", "f2", "u4", "i4", "f4", "u8", "i8", "f8", "c8"]
ML = [ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2]
NARROW = [np.dtype(kind).name for kind in ML]

shapes = npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)
plain = st.sampled_from(PLAIN).flatmap(lambda code: npst.arrays(np.dtype(code), shapes))
narrow = st.tuples(st.sampled_from(ML), shapes).map(
    lambda pair: np.arange(np.prod(pair[1])).reshape(pair[1]).astype(pair[0])
)
orders = st.sampled_from(
    [
        lambda a: a,
        np.asfortranarray,
        lambda a: a.T,
        lambda a: a[..., ::-1] if a.ndim else a,
        lambda a: a.astype(a.dtype.newbyteorder(">")) if a.dtype.kind in "iufc" else a,
    ]
)
arrays = st.tuples(plain | narrow, orders).map(lambda pair: pair[1](pair[0]))
states = st.dictionaries(
    st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__"), arrays, max_size=5
)


def encoded(state, metadata=None):
    return b"".join(pieces(arrange(state), metadata))


def decoded(data):
    header = read_header(data, len(data))
    return {e.name: tensor_of(e, memoryview(bytearray(data))[e.start : e.end], "numpy") for e in header.entries}


def same(one, other):
    little = one.dtype.newbyteorder("<")
    assert other.dtype == little
    assert other.shape == one.shape
    assert other.tobytes() == np.ascontiguousarray(one.astype(little)).tobytes()


@given(states)
def test_what_was_written_is_read(state):
    found = decoded(encoded(state))
    assert found.keys() == state.keys()
    for name, array in state.items():
        same(array, found[name])


@settings(max_examples=50)
@given(states)
def test_the_projects_library_reads_what_we_write(state):
    found = dict(safetensors.deserialize(encoded(state)))
    assert found.keys() == state.keys()
    for name, array in state.items():
        assert tuple(found[name]["shape"]) == array.shape
        little = array.astype(array.dtype.newbyteorder("<"))
        assert bytes(found[name]["data"]) == little.tobytes()
    known = {name: array for name, array in state.items() if array.dtype.name not in NARROW}
    for name, array in safetensors.numpy.load(encoded(known)).items():
        same(known[name], array)


@settings(max_examples=50)
@given(st.dictionaries(st.text(min_size=1, max_size=8).filter(lambda n: n != "__metadata__"), plain, max_size=4))
def test_we_read_what_the_projects_library_writes(state):
    found = decoded(
        safetensors.numpy.save({name: np.ascontiguousarray(a).reshape(a.shape) for name, a in state.items()})
    )
    assert found.keys() == state.keys()
    for name, array in state.items():
        same(array, found[name])


@given(states)
def test_every_tensor_is_aligned_in_the_file(state):
    data = encoded(state)
    header = read_header(data, len(data))
    assert header.size % 64 == 0
    assert all(entry.start % (entry.nbytes // max(np.prod(entry.shape), 1) or 1) == 0 for entry in header.entries)


def test_metadata_comes_back():
    data = encoded({"a": np.zeros(3)}, {"who": "é"})
    assert read_header(data, len(data)).metadata == {"who": "é"}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.array(["text"]), "text and bytes"),
        (np.array([object()]), "convert it"),
        (np.zeros(2, "c16"), "real and imaginary"),
        (np.zeros(2, "M8[s]"), "int64 view"),
        (np.zeros(2, [("a", "i4")]), "each field"),
    ],
    ids=["text", "object", "complex128", "time", "record"],
)
def test_what_safetensors_cannot_hold_is_refused_by_name(value, words):
    with pytest.raises(UsageError, match=f"layer.*{words}"):
        encoded({"layer": value})


def test_a_name_that_is_taken_is_refused():
    with pytest.raises(UsageError, match="__metadata__"):
        encoded({"__metadata__": np.zeros(1)})


def with_header(fields, body=b"", *, text=None):
    text = json.dumps(fields).encode() if text is None else text
    return struct.pack("<Q", len(text)) + text + body


GOOD = {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x10\0\0",
        struct.pack("<Q", 10**9) + b"{}",
        struct.pack("<Q", 50) + b"{}",
        with_header(None, text=b"[]"),
        with_header(None, text=b"{not json}"),
        with_header(None, text=b"\xff\xfe{}"),
        with_header(None, b"ab", text=b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"a":{}}'),
        with_header(None, text=b'{"a":NaN}'),
        with_header({"a": GOOD}, b"a"),
        with_header({"a": GOOD}, b"abc"),
        with_header({"a": {**GOOD, "dtype": "U9"}}, b"ab"),
        with_header({"a": {**GOOD, "dtype": ["U8"]}}, b"ab"),
        with_header({"a": {**GOOD, "shape": [3]}}, b"ab"),
        with_header({"a": {**GOOD, "shape": [-2]}}, b"ab"),
        with_header({"a": {**GOOD, "shape": [True, 2]}}, b"ab"),
        with_header({"a": {**GOOD, "data_offsets": [0]}}, b"ab"),
        with_header({"a": {**GOOD, "more": 1}}, b"ab"),
        with_header({"a": {**GOOD, "data_offsets": [1, 3]}}, b"abc"),
        with_header({"a": GOOD, "b": {**GOOD, "data_offsets": [1, 3]}}, b"abc"),
        with_header({"a": GOOD, "__metadata__": {"x": 1}}, b"ab"),
    ],
    ids=range(21),
)
def test_what_is_no_safetensors_file_is_refused(data):
    with pytest.raises(FormatError):
        read_header(data, len(data))


def test_the_header_says_how_long_it_is():
    header = encode_header(arrange({"a": np.zeros(2)}))
    assert struct.unpack("<Q", header[:8])[0] + 8 == len(header)
