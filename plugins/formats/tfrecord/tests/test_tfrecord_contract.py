"""The conformance kit over TFRecord files."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from penstock.samples import choose_format
from penstock.testing import FormatContract

PLAIN = st.one_of(
    arrays_of.boolean_dtypes(),
    arrays_of.integer_dtypes(endianness="?"),
    arrays_of.unsigned_integer_dtypes(endianness="?"),
    arrays_of.floating_dtypes(endianness="?"),
    arrays_of.complex_number_dtypes(endianness="?"),
    arrays_of.datetime64_dtypes(endianness="?"),
    arrays_of.timedelta64_dtypes(endianness="?"),
    arrays_of.byte_string_dtypes(endianness="?", min_len=1),
    arrays_of.unicode_string_dtypes(endianness="?", min_len=1),
    st.just(np.dtype("i8")),
    st.just(np.dtype("f4")),
)


@st.composite
def some_arrays(draw):
    dtype = draw(PLAIN)
    shape = draw(arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    count = int(np.prod(shape)) * dtype.itemsize
    bits = np.frombuffer(draw(st.binary(min_size=count, max_size=count)), np.uint8)
    if dtype.kind in "Ub":
        bits = bits & 1  # not every pattern is a character or a truth value
    array = np.ndarray(shape, dtype, buffer=bits.tobytes() or bytes(1))
    return draw(st.sampled_from([array, array.T, np.array(array, order="F"), np.repeat(array.reshape(-1), 2)[::2]]))


def objects(values):
    array = np.empty(len(values), object)
    array[:] = values
    return array


VALUES = st.one_of(some_arrays(), st.binary(max_size=20), st.text(st.characters(codec="utf-8"), max_size=10))
VALUES |= st.lists(st.binary(max_size=5), max_size=3).map(objects)
NAMES = st.text(st.characters(codec="utf-8"), max_size=10)
SAMPLES = st.dictionaries(NAMES, VALUES, max_size=4)


def frames_of(data):
    """Where frames begin and end, by the layout that the format's documentation gives."""
    at, found = 0, []
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        found.append((at, at + 16 + length))
        at += 16 + length
    return found


class TestExamples(FormatContract):
    files = st.lists(SAMPLES, max_size=4)
    refused = (
        [{"x": np.array([1, "x"], object)}],
        [{"x": np.zeros(2, [("a", "i4")])}],
        [{"x": b"", "x/shape": np.zeros(1, int)}],
        [{"x": 1 << 70}],
        [{"x": "\ud800"}],
        [{"\ud800": b""}],
        [{3: b""}],
        [{"x": [1, 2]}],
    )

    @pytest.fixture
    def format(self):
        return choose_format("", "tfrecord", {"sample_size": 1000})

    def checked(self, data):
        return [(0, len(data))]

    def whole_prefixes(self, data):
        return {0, *(stop for _, stop in frames_of(data))}


class TestRaw(TestExamples):
    files = st.lists(st.binary(max_size=50).map(lambda data: {"data": data}), max_size=5)
    refused = ([{"data": "text"}], [{"other": b""}], [{"data": b"", "more": b""}], [{}], [{"data": np.zeros(3)}])

    @pytest.fixture
    def format(self):
        return choose_format("", "tfrecord", {"example": False, "sample_size": 1000})


class _Compressed(FormatContract):
    files = TestRaw.files
    compressed = True
    cases = 10


class TestGzip(_Compressed):
    kind = "gzip"
    #: A compressed file is read whole.
    slack = 2**30

    @pytest.fixture
    def format(self):
        return choose_format("", "tfrecord", {"example": False, "compression": self.kind, "sample_size": 1000})


class TestZlib(TestGzip):
    kind = "zlib"
