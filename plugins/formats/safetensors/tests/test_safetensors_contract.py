"""The conformance kit over safetensors files."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from penstock.samples import choose_format
from penstock.testing import FormatContract

SMALL = [np.dtype(getattr(ml_dtypes, name)) for name in ("bfloat16", "float8_e5m2", "float8_e4m3fn", "float8_e8m0fnu")]
BITS = [np.dtype([("bfloat16", "<u2")]), np.dtype([("float8_e5m2", "u1")])]
PLAIN = ["?", "u1", "i1", "<u2", "<i2", "<f2", "<u4", "<i4", "<f4", "<u8", "<i8", "<f8", "<c8"]
REFUSED = (
    [{"x": np.array([1], ">i4")}],
    [{"x": np.array([1], object)}],
    [{"x": np.array(["a"])}],
    [{"x": np.array([1], "c16")}],
    [{"x": np.zeros(1, [("a", "i4")])}],
    [{"x": np.ma.masked_array([1], [True])}],
    [{"x": b"bytes"}],
    [{"x": "text"}],
    [{"__metadata__": np.zeros(1)}],
    [{5: np.zeros(1)}],
    [{"\ud800": np.zeros(1)}],
)
NAMES = st.text(st.characters(codec="utf-8"), max_size=8)


def some_arrays(types, shape=None):
    """Arrays whose bits are noise, so NaNs have payloads and zeros signs."""

    @st.composite
    def draw_one(draw):
        dtype = np.dtype(draw(st.sampled_from(types)))
        dims = draw(arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)) if shape is None else shape
        count = int(np.prod(dims)) * dtype.itemsize
        bits = np.frombuffer(draw(st.binary(min_size=count, max_size=count)), np.uint8)
        array = np.ndarray(dims, dtype, buffer=(bits & 1 if dtype.kind == "b" else bits).tobytes() or bytes(1))
        return draw(st.sampled_from([array, array.T, np.array(array, order="F")]))

    return draw_one().map(lambda array: array.reshape(shape) if shape is not None else array)


@st.composite
def some_rows(draw):
    names = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    shapes = arrays_of.array_shapes(min_dims=0, min_side=0, max_side=3)
    kinds = {name: (draw(st.sampled_from([*PLAIN, *SMALL])), draw(shapes)) for name in names}
    rows = draw(st.integers(1, 4))
    return [{name: draw(some_arrays([dtype], shape)) for name, (dtype, shape) in kinds.items()} for _ in range(rows)]


class TestFile(FormatContract):
    files = st.dictionaries(NAMES, some_arrays([*PLAIN, *SMALL]), max_size=4).map(lambda sample: [sample])
    refused = (*REFUSED, [], [{"x": np.zeros(1)}] * 2)

    @pytest.fixture
    def format(self):
        return choose_format("", "safetensors")

    def checked(self, data):
        # What the header must be, so that it is read at all: its length, and the brackets around it.
        return [(0, 9)]


class TestBits(TestFile):
    files = st.dictionaries(NAMES, some_arrays([*PLAIN, *BITS]), max_size=4).map(lambda sample: [sample])
    cases = 15

    @pytest.fixture
    def format(self):
        return choose_format("", "safetensors", {"small_floats": "bits"})


class TestRows(TestFile):
    files = some_rows()
    refused = (*REFUSED, [{}], [{"x": np.zeros(1)}, {"x": np.zeros(2)}], [{"x": np.zeros(1)}, {"y": np.zeros(1)}])

    @pytest.fixture
    def format(self):
        return choose_format("", "safetensors", {"samples": "rows", "sample_size": 1000})
