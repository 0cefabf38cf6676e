"""Files of h5py read as it reads them, and it reads ours; which bytes a read takes; files that are refused."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from penstock_hdf5.image import Image

from penstock.errors import FormatError, StoreConnectionError, UsageError
from penstock.samples import LocalBuffer, choose_format

TYPES = st.one_of(
    arrays_of.boolean_dtypes(),
    arrays_of.integer_dtypes(endianness="?"),
    arrays_of.unsigned_integer_dtypes(endianness="?"),
    arrays_of.floating_dtypes(endianness="?"),
    arrays_of.complex_number_dtypes(endianness="?"),
    arrays_of.byte_string_dtypes(min_len=1),
)
STORED = st.sampled_from(
    [
        {},
        {"chunks": True},
        {"chunks": True, "compression": "gzip"},
        {"chunks": True, "compression": "lzf"},
        {"chunks": True, "fletcher32": True, "shuffle": True},
    ]
)


def codec(**options):
    return choose_format("", "hdf5", options).codec


def encoded(samples, **options):
    return b"".join(map(bytes, codec(**options).encode(samples)))


def of_h5py(make, **options):
    image = io.BytesIO()
    with h5py.File(image, "w", **options) as file:
        make(file)
    return image.getvalue()


def same(one, other):
    assert (one.dtype, one.shape) == (other.dtype, other.shape)
    assert one.tobytes() == other.tobytes()


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

    @property
    def nbytes(self):
        return sum(length for _, length in self.asked)


@settings(max_examples=40, deadline=None)
@given(
    TYPES.flatmap(lambda dtype: arrays_of.arrays(dtype, arrays_of.array_shapes(max_dims=3, max_side=5))),
    STORED,
    st.sampled_from(["earliest", "v110", "latest"]),
    st.sampled_from([0, 512]),
)
def test_files_of_h5py(array, stored, libver, userblock):
    data = of_h5py(
        lambda file: file.create_dataset("g/x", data=array, **stored), libver=libver, userblock_size=userblock
    )
    for samples in (codec().decode(data), codec(block_size=64).open(LocalBuffer(data)).read(range(len(array)))):
        rows = [sample["g/x"] for sample in samples]
        assert len(rows) == len(array)
        for number, row in enumerate(rows):
            same(row, array[number, ...])


@settings(max_examples=40, deadline=None)
@given(
    TYPES.flatmap(lambda dtype: arrays_of.arrays(dtype, arrays_of.array_shapes(max_dims=3, max_side=5))),
    st.sampled_from([{}, {"compression": "gzip"}, {"compression": "lzf"}, {"checksum": True}, {"chunk_rows": 2}]),
)
def test_h5py_reads_ours(array, options):
    samples = [{"g/x": array[number, ...]} for number in range(len(array))]
    with h5py.File(io.BytesIO(encoded(samples, **options)), "r") as file:
        same(file["g/x"][...], array)


def test_bytes_and_texts_as_h5py_has_them():
    samples = [{"b": b"\0\1", "t": "süß"}, {"b": b"", "t": ""}, {"b": b"\2\3", "t": "x"}]
    data = encoded(samples)
    with h5py.File(io.BytesIO(data), "r") as file:
        assert file["t"].asstr()[...].tolist() == ["süß", "", "x"]
        assert [row.tolist() for row in file["b"]] == [[0, 1], [], [2, 3]]
    assert list(codec().decode(data)) == samples
    assert list(codec().open(LocalBuffer(data)).read([2, 0])) == [samples[2], samples[0]]


def test_rows_of_any_length():
    def make(file):
        rows = file.create_dataset("x", (2,), dtype=h5py.vlen_dtype("f4"))
        rows[0], rows[1] = np.arange(3), np.arange(5)

    got = [sample["x"].tolist() for sample in codec().decode(of_h5py(make))]
    assert got == [[0, 1, 2], [0, 1, 2, 3, 4]]


def test_options_are_those_that_h5py_sees():
    samples = [{"x": np.arange(1000.0)} for _ in range(7)]
    data = encoded(samples, compression="gzip", level=1, shuffle=True, checksum=True, chunk_rows=3)
    with h5py.File(io.BytesIO(data), "r") as file:
        dataset = file["x"]
        assert (dataset.compression, dataset.compression_opts, dataset.shuffle, dataset.fletcher32) == (
            "gzip", 1, True, True
        )  # fmt: skip
        assert dataset.chunks == (3, 1000)
    with h5py.File(io.BytesIO(encoded(samples)), "r") as file:
        assert file["x"].chunks is None


ROWS = 400
ROW = 64 * 64 * 8


@pytest.fixture(scope="module")
def samples():
    random = np.random.default_rng(1)
    return [{"x": random.random((64, 64)), "label": np.array(number)} for number in range(ROWS)]


def test_rows_without_chunks_take_their_own_bytes(samples):
    file = Counted(encoded(samples))
    reader = codec().open(file)
    assert file.nbytes <= 3 * 64 * 1024
    file.asked.clear()
    for number, sample in zip([399, 3, 3], reader.read([399, 3, 3]), strict=True):
        same(sample["x"], samples[number]["x"])
        assert sample["label"] == number
    assert sorted(length for _, length in file.asked) == [8, 8, ROW, ROW]


def test_only_chunks_that_are_touched_are_read(samples):
    data = encoded(samples, chunk_rows=10, compression="gzip", level=1)
    with h5py.File(io.BytesIO(data), "r") as theirs:
        chunks = [theirs["x"].id.get_chunk_info(number) for number in range(theirs["x"].id.get_num_chunks())]
    sizes = {chunk.chunk_offset[0] // 10: chunk.size for chunk in chunks}
    file = Counted(data)
    reader = codec().open(file)
    reader.read([0])  # now it is known where chunks are
    file.asked.clear()
    for number, sample in zip([255, 13, 257], reader.read([255, 13, 257]), strict=True):
        same(sample["x"], samples[number]["x"])
    asked = [length for _, length in file.asked]
    assert sorted(asked)[-2:] == sorted([sizes[25], sizes[1]])
    assert sum(asked) < sizes[25] + sizes[1] + 1000


def test_blocks_are_kept_up_to_the_size_of_the_cache(samples):
    data = encoded(samples[:50], chunk_rows=1)
    for cache, again in ((64 * 1024 * 100, 0), (0, 1)):
        file = Counted(data)
        reader = codec(block_size=1024, cache_size=cache).open(file)
        reader.read(range(50))
        blocks = [one for one in file.asked if one[1] == 1024 and not one[0] % 1024]
        assert (len(blocks) > len(set(blocks))) == bool(again)


def test_datasets_can_be_chosen():
    def make(file):
        file["x"], file["y"], file["one"] = np.arange(3), np.arange(4), 5

    data = of_h5py(make)
    with pytest.raises(FormatError, match="choose others by datasets="):
        codec().open(LocalBuffer(data))
    with pytest.raises(FormatError, match=r"x 3, y 4\); choose some"):
        codec(datasets="x,y").open(LocalBuffer(data))
    with pytest.raises(UsageError, match="it has one, x, y"):
        codec(datasets="z").open(LocalBuffer(data))
    assert [sample["y"].item() for sample in codec(datasets="/y").decode(data)] == [0, 1, 2, 3]


def test_no_other_file_is_read(tmp_path):
    (tmp_path / "secret").write_bytes(b"a secret")
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["x"] = np.arange(8)

    def external(file):
        file.create_dataset("x", (8,), "u1", external=[(str(tmp_path / "secret"), 0, 8)])

    def virtual(file):
        layout = h5py.VirtualLayout((8,), "i8")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "x", (8,))
        file.create_virtual_dataset("x", layout)

    for make in (external, virtual):
        with pytest.raises(FormatError, match="other files"):
            codec().open(LocalBuffer(of_h5py(make)))
    linked = of_h5py(lambda file: file.__setitem__("x", h5py.ExternalLink(str(tmp_path / "other.h5"), "x")))
    assert list(codec().decode(linked)) == []


def test_a_size_that_is_only_claimed():
    def make(file):
        file.create_dataset("x", (2, 1 << 40), "u1", chunks=(1, 1 << 20))

    with pytest.raises(FormatError, match="more bytes than the file can hold"):
        codec().open(LocalBuffer(of_h5py(make)))


def test_what_the_store_raises_on_the_way_through_hdf5_comes_out_as_it_was(samples):
    class Lost(LocalBuffer):
        lost = False

        def read(self, start, length):
            if self.lost:
                raise StoreConnectionError("lost")
            return super().read(start, length)

    file = Lost(encoded([{"b": b"x" * 1000}] * 200))
    reader = codec(block_size=512, cache_size=512).open(file)
    file.lost = True
    with pytest.raises(StoreConnectionError, match="lost"):
        reader.read([100])


def test_python_ends_well_with_a_reader_open_and_after_failures():
    script = """
from penstock.errors import FormatError
from penstock.samples import LocalBuffer, choose_format
import numpy as np
codec = choose_format("", "hdf5").codec
data = b"".join(map(bytes, codec.encode([{"x": np.arange(3)}])))
reader = codec.open(LocalBuffer(data))
rows = codec.decode(data)
next(rows)
for size in (1, 20, 60, len(data) - 1):
    try:
        codec.open(LocalBuffer(data[:size]))
    except FormatError as error:
        kept = error
raise SystemExit(7)
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (7, b"")


def test_options_that_can_not_be():
    for options in ({"chunk_rows": -1}, {"level": 10}, {"sample_size": 0}, {"compression": "szip"}):
        with pytest.raises(UsageError):
            codec(**options)
    with pytest.raises(UsageError, match="index"):
        codec().open(LocalBuffer(encoded([{"x": 1}])), index=b"")


class TestImage:
    """The file that is written to is like one in memory, but for what it does not copy."""

    @settings(max_examples=80)
    @given(data=st.data())
    def test_as_a_file_in_memory(self, data):
        lent = memoryview(np.random.default_rng(1).bytes(200_000))
        image, plain = Image(), io.BytesIO()
        image.lend(lent)
        for _ in range(data.draw(st.integers(1, 8))):
            what = data.draw(st.sampled_from(["write", "lent", "truncate", "read"]))
            at = data.draw(st.sampled_from([0, 10, 70_000, 100_000, 250_000]))
            size = data.draw(st.sampled_from([0, 1, 20, 65_536, 100_000]))
            for file in (image, plain):
                file.seek(at)
            if what == "truncate":
                grown = plain.getvalue()[:at]
                plain = io.BytesIO(grown + bytes(at - len(grown)))
                image.truncate(at)
            elif what == "read":
                assert image.read(size) == plain.read(size)
            else:
                skip = data.draw(st.sampled_from([0, 7, 100_000]))
                piece = lent[skip : skip + size] if what == "lent" else bytes([data.draw(st.integers(1, 9))]) * size
                image.write(piece)
                plain.write(piece)
                assert image.tell() == plain.tell()
        assert b"".join(image.pieces()) == plain.getvalue()
        assert bytes(lent) == np.random.default_rng(1).bytes(200_000)

    def test_large_rows_are_not_copied_into_the_file(self):
        samples = [{"x": np.full(100_000, number, np.int32)} for number in range(3)]
        pieces = list(codec().encode(samples))
        assert [len(piece) for piece in pieces if len(piece) > 4096] == [1_200_000]
        (large,) = (piece for piece in pieces if len(piece) > 4096)
        assert isinstance(memoryview(large).obj, bytearray)
        assert [sample["x"][0] for sample in codec().decode(b"".join(pieces))] == [0, 1, 2]

    def test_plain_h5py_makes_the_same_file(self):
        samples = [{"x": np.full(100_000, number, np.int32), "y": number} for number in range(3)]
        plain = io.BytesIO()
        with h5py.File(plain, "w", libver=("v110", "v110"), meta_block_size=16 * 1024) as file:
            for name in "xy":
                rows = np.array([sample[name] for sample in samples])
                file.create_dataset(name, data=rows, track_times=False)
        assert b"".join(codec().encode(samples)) == plain.getvalue()
