"""The conformance kit over HDF5 files."""

from __future__ import annotations

import io

import h5py
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
)


@st.composite
def some_files(draw):
    """Rows of one type and shape for each name, a few names, any number of rows."""
    names = draw(st.lists(st.text("abcé _", min_size=1, max_size=5), min_size=1, max_size=3, unique=True))
    rows = draw(st.integers(0, 4))
    columns = {name: draw(some_columns(rows)) for name in names}
    return [{name: column[number] for name, column in columns.items()} for number in range(rows)]


@st.composite
def some_columns(draw, rows):
    kind = draw(st.sampled_from(["array", "array", "array", "bytes", "text"]))
    if kind == "bytes":
        return draw(st.lists(st.binary(max_size=9), min_size=rows, max_size=rows))
    if kind == "text":
        return draw(
            st.lists(
                st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5), min_size=rows, max_size=rows
            )
        )
    dtype = draw(PLAIN)
    shape = draw(arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    count = int(np.prod(shape)) * dtype.itemsize
    made = []
    for _ in range(rows):
        bits = np.frombuffer(draw(st.binary(min_size=count, max_size=count)), np.uint8)
        if dtype.kind in "Ub":
            bits = bits & 1  # not every pattern is a character or a truth value
        array = np.ndarray(shape, dtype, buffer=bits.tobytes() or bytes(1))
        made.append(draw(st.sampled_from([array, np.array(array, order="F")])))
    return made


class TestPlain(FormatContract):
    files = some_files()
    cases = 25
    refused = (
        [{"x": np.array([1, "x"], object)}],
        [{"x": np.zeros(2)}, {"x": np.zeros(3)}],
        [{"x": np.zeros(2)}, {"x": np.zeros(2, "f4")}],
        [{"x": np.zeros(2)}, {"y": np.zeros(2)}],
        [{"x": np.zeros(2)}, {"x": b"two"}],
        [{"x": "a\0b"}],
        [{"x": "\ud800"}],
        [{"x": np.zeros(2), "x/y": np.zeros(2)}],
        [{"a//b": np.zeros(2)}],
        [{"": np.zeros(2)}],
        [{5: np.zeros(2)}],
        [{}],
        [{"x": [1, 2]}],
    )

    @pytest.fixture
    def format(self):
        return choose_format("", "hdf5", {"sample_size": 1000})

    def checked(self, data):
        # The superblock, and the head of the dataset with its checksum.
        return [(8, 48)]


class TestChunks(TestPlain):
    cases = 15

    @pytest.fixture
    def format(self):
        return choose_format("", "hdf5", {"sample_size": 1000, "chunk_rows": 3})


class TestChecksums(TestPlain):
    cases = 15

    @pytest.fixture
    def format(self):
        return choose_format("", "hdf5", {"sample_size": 1000, "checksum": True, "chunk_rows": 2})

    def checked(self, data):
        with h5py.File(io.BytesIO(data)) as file:
            chunks = [file["data"].id.get_chunk_info(number) for number in range(file["data"].id.get_num_chunks())]
        return [(8, 48), *((chunk.byte_offset, chunk.byte_offset + chunk.size) for chunk in chunks)]


class TestGzip(TestPlain):
    cases = 15
    compressed = True

    @pytest.fixture
    def format(self):
        return choose_format("", "hdf5", {"sample_size": 1000, "compression": "gzip", "shuffle": True})


@pytest.mark.slow
class TestLzf(TestGzip):
    @pytest.fixture
    def format(self):
        return choose_format("", "hdf5", {"sample_size": 1000, "compression": "lzf"})
