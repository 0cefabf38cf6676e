"""The conformance kit over Parquet files."""

from __future__ import annotations

import io

import numpy as np
import pyarrow.parquet as pq
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
    names = draw(st.lists(st.text(st.characters(codec="utf-8"), max_size=5), min_size=1, max_size=3, unique=True))
    rows = draw(st.integers(0, 4))
    columns = {name: draw(some_columns(rows)) for name in names}
    return [{name: column[number] for name, column in columns.items()} for number in range(rows)]


@st.composite
def some_columns(draw, rows):
    kind = draw(st.sampled_from(["array", "array", "array", "bytes", "text"]))
    if kind == "bytes":
        return draw(st.lists(st.binary(max_size=9), min_size=rows, max_size=rows))
    if kind == "text":
        return draw(st.lists(st.text(st.characters(codec="utf-8"), max_size=5), min_size=rows, max_size=rows))
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


class TestLists(FormatContract):
    options = {"sample_size": 1000, "row_group_size": 3000}  # noqa: RUF012
    files = some_files()
    refused = (
        [{"x": np.array([1, "x"], object)}],
        [{"x": np.zeros(2)}, {"x": np.zeros(3)}],
        [{"x": np.zeros(2)}, {"x": np.zeros(2, "f4")}],
        [{"x": np.zeros(2)}, {"y": np.zeros(2)}],
        [{"x": np.zeros(2)}, {"x": b"two"}],
        [{"x": "\ud800"}],
        [{"\ud800": b""}],
        [{5: np.zeros(2)}],
        [{}],
        [{"x": [1, 2]}],
    )

    @pytest.fixture
    def format(self):
        return choose_format("", "parquet", self.options)


class TestChecksums(TestLists):
    options = {"sample_size": 1000, "row_group_size": 3000, "checksums": True}  # noqa: RUF012
    cases = 15
    compressed = True

    def checked(self, data):
        # What lies between the head of a page and the next is not told by anybody; the pages are nearly all of it.
        metadata = pq.read_metadata(io.BytesIO(data))
        ranges = [(len(data) - 4, len(data))]
        for number in range(metadata.num_row_groups):
            chunk = metadata.row_group(number).column(0)
            end = chunk.data_page_offset + chunk.total_compressed_size
            ranges.append((end - 2000, end))
        return ranges


@pytest.mark.slow
class TestBytes(TestLists):
    options = {"sample_size": 1000, "row_group_size": 3000, "arrays": "bytes"}  # noqa: RUF012
    cases = 20


class TestCompressed(TestLists):
    options = {"sample_size": 1000, "row_group_size": 3000, "compression": "zstd"}  # noqa: RUF012
    cases = 15
    compressed = True
