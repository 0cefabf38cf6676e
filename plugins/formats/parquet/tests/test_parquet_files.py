"""Files of pyarrow read as it reads them, and it reads ours; row groups by range; files that are refused."""

from __future__ import annotations

import io
import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from penstock.errors import FormatError, UsageError
from penstock.samples import LocalBuffer, choose_format

CODES = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8", "M8[ms]", "M8[us]", "M8[ns]"]


def codec(**options):
    return choose_format("", "parquet", options).codec


def encoded(samples, **options):
    return b"".join(map(bytes, codec(**options).encode(samples)))


def of_pyarrow(table, **options):
    out = io.BytesIO()
    pq.write_table(pa.table(table), out, **options)
    return out.getvalue()


def rows_of(data, **options):
    decoded = list(codec(**options).decode(data))
    reader = codec(**options).open(LocalBuffer(data))
    assert repr(list(reader.read(range(len(reader))))) == repr(decoded)
    return decoded


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


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(CODES).flatmap(lambda code: arrays_of.arrays(np.dtype(code), st.integers(0, 20))),
    st.sampled_from(
        [{}, {"compression": "zstd"}, {"use_dictionary": False}, {"row_group_size": 3}, {"version": "2.6"}]
    ),
)
def test_columns_of_pyarrow(array, options):
    rows = rows_of(of_pyarrow({"x": pa.array(array)}, **options))
    assert len(rows) == len(array)
    for row, want in zip(rows, array, strict=True):
        assert row["x"].dtype == array.dtype
        assert row["x"].tobytes() == want.tobytes()


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([c for c in CODES if "M8" not in c]).flatmap(
        lambda c: arrays_of.arrays(np.dtype(c), st.integers(0, 9))
    )
)
def test_pyarrow_reads_numbers_as_numbers(array):
    data = encoded([{"x": value, "y": np.array([value, value])} for value in array])
    table = pq.read_table(io.BytesIO(data))
    if len(array):
        assert table["x"].to_numpy().tobytes() == array.tobytes()
        assert table.schema.field("x").type == pa.from_numpy_dtype(array.dtype)


def test_lists_of_fixed_size_are_what_others_see():
    samples = [{"x": np.arange(6, dtype="f4").reshape(2, 3) + number, "b": b"\0b", "t": "ü"} for number in range(3)]
    table = pq.read_table(io.BytesIO(encoded(samples)))
    assert pa.types.is_fixed_size_list(table.schema.field("x").type)
    assert table["x"].to_pylist() == [sample["x"].ravel().tolist() for sample in samples]
    assert table["b"].to_pylist() == [b"\0b"] * 3
    assert table["t"].to_pylist() == ["ü"] * 3
    table = pq.read_table(io.BytesIO(encoded(samples, arrays="bytes")))
    assert table.schema.field("x").type == pa.binary(24)


def test_lists_and_tensors_of_others():
    tensors = pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(12, dtype="i2").reshape(2, 2, 3))
    nested = pa.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]], pa.list_(pa.list_(pa.int32(), 2), 2))
    table = {
        "fixed": pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32(), 2)),
        "any": pa.array([[1, 2, 3], []], pa.list_(pa.int64())),
        "nested": nested,
        "tensor": tensors,
        "bytes": pa.array([b"ab", b"cd"], pa.binary(2)),
        "large": pa.array(["x", "y"], pa.large_string()),
        "half": pa.array(np.array([1, 2], "f2")),
    }
    rows = rows_of(of_pyarrow(table))
    assert rows[1]["fixed"].dtype == np.float32
    assert rows[1]["fixed"].tolist() == [3.0, 4.0]
    assert [row["any"].tolist() for row in rows] == [[1, 2, 3], []]
    assert rows[1]["nested"].tolist() == [[5, 6], [7, 8]]
    assert (rows[1]["tensor"].dtype, rows[1]["tensor"].tolist()) == (np.int16, [[6, 7, 8], [9, 10, 11]])
    assert [row["bytes"] for row in rows] == [b"ab", b"cd"]
    assert [row["large"] for row in rows] == ["x", "y"]
    assert [row["half"].dtype for row in rows] == [np.float16] * 2


def test_nulls_are_none():
    table = {
        "i": pa.array([1, None, 3]),
        "f": pa.array([None, 0.5, float("nan")]),
        "b": pa.array([True, False, None]),
        "l": pa.array([[1, 2], None, [5, 6]], pa.list_(pa.int32(), 2)),
        "v": pa.array([None, [1], []], pa.list_(pa.int32())),
        "t": pa.array(["x", None, "z"]),
        "d": pa.array([None, 1, 2], pa.timestamp("us")),
    }
    rows = rows_of(of_pyarrow(table))
    assert [row["i"] if row["i"] is None else row["i"].item() for row in rows] == [1, None, 3]
    assert rows[0]["i"].dtype == np.int64
    assert rows[0]["f"] is None
    assert np.isnan(rows[2]["f"])
    assert [None if row["b"] is None else bool(row["b"]) for row in rows] == [True, False, None]
    assert [None if row["l"] is None else row["l"].tolist() for row in rows] == [[1, 2], None, [5, 6]]
    assert [None if row["v"] is None else row["v"].tolist() for row in rows] == [None, [1], []]
    assert [row["t"] for row in rows] == ["x", None, "z"]
    assert np.isnat(rows[0]["d"])


def test_columns_that_no_sample_has_and_how_to_leave_them_out():
    table = {"s": pa.array([{"a": 1, "b": 2}] * 2), "x": pa.array([1, 2]), "a.b": pa.array([3, 4])}
    data = of_pyarrow(table)
    with pytest.raises(FormatError, match="choose others by columns="):
        list(codec().decode(data))
    assert [sorted(row) for row in rows_of(data, columns="x,a.b")] == [["a.b", "x"]] * 2
    with pytest.raises(UsageError, match=r"it has s, x, a\.b"):
        codec(columns="y").open(LocalBuffer(data))


@pytest.fixture(scope="module")
def samples():
    random = np.random.default_rng(1)
    return [{"x": random.random(1000), "label": np.array(number)} for number in range(200)]


def test_row_groups_are_read_by_range(samples):
    data = encoded(samples, row_group_size=20 * 8008)
    metadata = pq.read_metadata(io.BytesIO(data))
    assert [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)] == [20] * 10
    file = Counted(data)
    reader = codec().open(file)
    assert [length for _, length in file.asked] == [64 * 1024]
    file.asked.clear()
    for number, sample in zip([45, 190, 41], reader.read([45, 190, 41]), strict=True):
        assert sample["label"] == number
        assert np.array_equal(sample["x"], samples[number]["x"])
    sizes = [metadata.row_group(group).column(leaf).total_compressed_size for group in (2, 9) for leaf in (0, 1)]
    assert sorted(length for _, length in file.asked) == sorted(sizes)
    file.asked.clear()
    reader.read([44])
    assert file.asked == []
    cold = codec(cache_size=0, columns="label").open(file)
    for _ in range(2):
        file.asked.clear()
        (row,) = cold.read([44])
        assert list(row) == ["label"]
        assert [length for _, length in file.asked] == [metadata.row_group(2).column(0).total_compressed_size]


def test_encoding_streams_a_row_group_at_a_time(samples):
    taken = 0

    def counted():
        nonlocal taken
        for sample in samples:
            taken += 1
            yield sample

    pieces = codec(row_group_size=20 * 8008).encode(counted())
    seen = [taken for _ in pieces]
    assert seen[0] <= 20
    assert len(set(seen)) >= 10


def test_a_footer_longer_than_the_first_look():
    samples = [{f"a rather long name of column {number}": np.array(1) for number in range(600)}]
    data = encoded(samples)
    (length,) = struct.unpack("<I", data[-8:-4])
    assert length > 64 * 1024
    file = Counted(data)
    assert codec().open(file).read([0])[0].keys() == samples[0].keys()
    assert file.asked[1] == (len(data) - length - 8, length + 8)


def test_a_page_whose_checksum_differs(samples):
    data = bytearray(encoded(samples[:3], checksums=True))
    chunk = pq.read_metadata(io.BytesIO(data)).row_group(0).column(1)
    data[chunk.data_page_offset + chunk.total_compressed_size - 5] ^= 1
    with pytest.raises(FormatError, match=r"(?i)crc"):
        list(codec().decode(bytes(data)))
    assert len(list(codec(check=False).decode(bytes(data)))) == 3


@pytest.mark.parametrize(
    "data",
    [b"", b"PAR1", b"PAR1" * 3, b"PAR1" + b"\xff" * 4 + b"PAR1", bytes(100), b"x" * 92 + b"\xff\xff\xff\x7fPAR1"],
)
def test_no_files(data):
    for call in (lambda: list(codec().decode(data)), lambda: codec().open(LocalBuffer(data))):
        with pytest.raises(FormatError):
            call()


def test_options_that_can_not_be():
    for options in ({"row_group_size": 0}, {"sample_size": 0}, {"compression": "xz"}):
        with pytest.raises(UsageError):
            codec(**options)
    with pytest.raises(UsageError, match="index"):
        codec().open(LocalBuffer(encoded([{"x": 1}])), index=b"")
