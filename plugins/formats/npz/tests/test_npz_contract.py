"""npy and npz keep the contract of formats."""

from __future__ import annotations

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
    arrays_of.byte_string_dtypes(endianness="?"),
    arrays_of.unicode_string_dtypes(endianness="?"),
)
TYPES = st.one_of(PLAIN, arrays_of.array_dtypes(PLAIN, max_size=3))
SHAPES = arrays_of.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)


@st.composite
def some_arrays(draw):
    """Arrays of any type, shape and order whose bits are noise, so NaNs have payloads and zeros signs."""
    dtype, shape = draw(TYPES), draw(SHAPES)
    count = int(np.prod(shape)) * dtype.itemsize
    bits = np.frombuffer(draw(st.binary(min_size=count, max_size=count)), np.uint8)
    if any(kind in dtype.descr.__repr__() for kind in ("U", "|b1")):
        bits = bits & 1  # not every pattern is a character or a truth value
    array = np.ndarray(shape, dtype, buffer=bits.tobytes() or bytes(1))
    order = draw(st.sampled_from(["C", "F", "gaps", "reversed"]))
    if order == "gaps" and array.ndim:
        return np.repeat(array, 2, axis=0)[::2]
    if order == "reversed":
        return array.T
    return np.array(array, order="F" if order == "F" else "C")


OBJECTS = np.array([1, "x"], dtype=object)
MASKED = np.ma.masked_array([1, 2], mask=[True, False])
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=10)


class TestNpy(FormatContract):
    files = some_arrays().map(lambda array: [{"x": array}])
    refused = ([], [{"y": np.zeros(1)}], [{}], [{"x": OBJECTS}], [{"x": MASKED}], [{"x": b"1"}], [{"x": "text"}])

    @pytest.fixture
    def format(self):
        return choose_format("", "npy")


class TestNpz(FormatContract):
    files = (
        st.dictionaries(NAMES, some_arrays() | st.binary(max_size=20), max_size=4)
        .filter(lambda sample: not any(name.endswith(".npy") for name in sample))
        .map(lambda sample: [sample])
    )
    refused = (
        [],
        [{"x": np.zeros(1)}] * 2,
        [{"x": OBJECTS}],
        [{"x": np.zeros(2, [("a", "O")])}],
        [{"x": MASKED}],
        [{"x": "text"}],
        [{"": np.zeros(1)}],
        [{"\ud800": np.zeros(1)}],
        [{"a\0": np.zeros(1)}],
        [{"x.npy": b"bytes"}],
        [{5: np.zeros(1)}],
    )

    @pytest.fixture
    def format(self):
        return choose_format("", "npz")

    def checked(self, data):
        at = data.index(b"\x93NUMPY")
        return [(at, data.index(b"PK\1\2"))]


class TestDeflated(TestNpz):
    compressed = True
    cases = 15

    @pytest.fixture
    def format(self):
        return choose_format("", "npz", {"compression": "deflate", "level": 1})

    def checked(self, data):
        # The last byte of a deflated stream has bits that nobody uses.
        return [(64, data.index(b"PK\7\x08") - 1)]
