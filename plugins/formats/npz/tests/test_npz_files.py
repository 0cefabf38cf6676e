"""Files of NumPy's making and of ours, read by each other; archives that are long, odd, or not what they say."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from penstock_npz import archive, npy

import penstock
from penstock.errors import FormatError, UsageError
from penstock.samples import LocalBuffer, format_named, open_samples

TYPES = st.one_of(
    arrays_of.scalar_dtypes(),
    arrays_of.byte_string_dtypes(),
    arrays_of.unicode_string_dtypes(),
    arrays_of.array_dtypes(arrays_of.scalar_dtypes(), max_size=3),
)
ARRAYS = TYPES.flatmap(
    lambda dtype: arrays_of.arrays(dtype, arrays_of.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
).flatmap(lambda array: st.sampled_from([array, np.asfortranarray(array) if array.ndim else array, array.T]))
NAMES = st.text(st.characters(codec="utf-8", exclude_characters='\0/\\:*?"<>|'), min_size=1, max_size=8).filter(
    lambda name: name != "file" and not name.endswith(".npy")
)


def encoded(name, samples, options=None):
    return b"".join(bytes(piece) for piece in format_named(name, options).encode(samples))


def decoded(name, data, options=None):
    (sample,) = format_named(name, options).decode(data)
    return sample


def same(one, other):
    return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()


class TestNpy:
    @pytest.mark.filterwarnings("ignore:Stored array in format")
    @settings(max_examples=60, deadline=None)
    @given(array=ARRAYS)
    def test_numpy_reads_ours_and_we_read_numpys(self, array):
        theirs = io.BytesIO()
        np.save(theirs, array)
        ours = encoded("npy", [{"x": array}])
        assert same(np.load(io.BytesIO(ours), allow_pickle=False), array)
        got = decoded("npy", theirs.getvalue())["x"]
        assert same(got, array)
        assert got.flags.f_contiguous == array.flags.f_contiguous or not array.flags.c_contiguous

    @pytest.mark.parametrize(
        ("dtype", "version"),
        [
            ([("a", "f4")], (1, 0)),
            ([(f"field_{number}_" + "x" * 60, "f4") for number in range(800)], (2, 0)),
            ([("größe", "f4")], (1, 0)),
            ([("尺寸", ">i2", (2,)), ("x", [("y", "S3")])], (3, 0)),
        ],
    )
    def test_every_version(self, dtype, version):
        array = np.zeros(3, dtype)
        ours = encoded("npy", [{"x": array}])
        assert (ours[6], ours[7]) == version
        assert same(np.load(io.BytesIO(ours), max_header_size=10**6), array)
        theirs = io.BytesIO()
        np.lib.format.write_array(theirs, array, version=version)
        assert same(decoded("npy", theirs.getvalue())["x"], array)

    def test_the_data_is_a_view_both_ways(self):
        array = np.arange(100_000.0)
        header, data = format_named("npy").encode([{"x": array}])
        assert len(header) % 64 == 0
        assert np.shares_memory(np.frombuffer(data, "f8"), array)
        whole = np.frombuffer(bytes(header) + bytes(data), np.uint8)
        assert np.shares_memory(decoded("npy", whole)["x"], whole)

    def test_what_is_not_aligned_is_copied(self):
        file = bytearray(b"-" + encoded("npy", [{"x": np.arange(5.0)}]))
        got = decoded("npy", memoryview(file)[1:])["x"]
        assert got.flags.aligned
        assert got.tolist() == [0, 1, 2, 3, 4]

    def test_an_array_in_c_and_in_fortran_order_keeps_it(self):
        for order in "CF":
            array = np.array(np.arange(6).reshape(2, 3), order=order)
            got = decoded("npy", encoded("npy", [{"x": array}]))["x"]
            assert got.flags.f_contiguous == (order == "F")

    def test_pickles_are_never_read(self, tmp_path):
        class Trap:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "sprung"),)

        trapped = io.BytesIO()
        np.save(trapped, np.array([Trap(), 1], dtype=object), allow_pickle=True)
        assert pickle.dumps(Trap()) in pickle.dumps(Trap())
        header = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(117) + b"\n"
        for data in (trapped.getvalue(), b"\x93NUMPY\1\0" + struct.pack("<H", 118) + header + pickle.dumps(Trap())):
            with pytest.raises(FormatError, match="unpickled; that is never done"):
                decoded("npy", data)
        assert not (tmp_path / "sprung").exists()

    @pytest.mark.parametrize(
        "header",
        [
            "{'descr': '<f4', 'fortran_order': False}",
            "{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': [1]}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (True,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}",
            "{'descr': '<zz', 'fortran_order': False, 'shape': (1,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1," * 70 + ")}",
            "__import__('os').getcwd()",
            "(" * 300,
            "-" * 3000 + "1",
            "",
        ],
    )
    def test_headers_that_are_none(self, header):
        raw = header.encode().ljust(118)
        with pytest.raises(FormatError):
            decoded("npy", b"\x93NUMPY\1\0" + struct.pack("<H", len(raw)) + raw + bytes(8))

    def test_what_follows_the_array_is_an_error(self):
        with pytest.raises(FormatError, match="3 bytes follow"):
            decoded("npy", encoded("npy", [{"x": np.zeros(2)}]) + b"???")

    def test_a_type_that_numpy_does_not_know_is_refused(self):
        class Odd(np.void):
            pass

        odd = np.zeros(2, np.dtype((Odd, 2)))
        assert odd.dtype.type is Odd
        with pytest.raises(FormatError, match="pickled"):
            encoded("npy", [{"x": odd}])


class TestNpz:
    @pytest.mark.filterwarnings("ignore:Stored array in format")
    @settings(max_examples=25, deadline=None)
    @given(sample=st.dictionaries(NAMES, ARRAYS, max_size=4), deflate=st.booleans())
    def test_numpy_reads_ours_and_we_read_numpys(self, sample, deflate):
        theirs = io.BytesIO()
        (np.savez_compressed if deflate else np.savez)(theirs, **sample)
        ours = encoded("npz", [sample], {"compression": "deflate" if deflate else "none"})
        got = decoded("npz", theirs.getvalue())
        with np.load(io.BytesIO(ours), allow_pickle=False) as loaded:
            assert sorted(loaded.files) == sorted(got) == sorted(sample)
            for name, array in sample.items():
                assert same(loaded[name], array)
                assert same(got[name], array)
        with zipfile.ZipFile(io.BytesIO(ours)) as checked:
            assert checked.testzip() is None

    def test_bytes_and_arrays_side_by_side(self):
        data = encoded("npz", [{"x": np.zeros(1), "note.txt": b"hello"}])
        with np.load(io.BytesIO(data)) as loaded:
            assert loaded["note.txt"] == b"hello"
        assert bytes(decoded("npz", data)["note.txt"]) == b"hello"

    def test_arrays_are_views_and_aligned(self):
        sample = {"odd name": np.arange(3, dtype="u1"), "x": np.arange(1000.0), "ß": np.ones((2, 2), order="F")}
        memory = np.zeros(20_000, np.uint8)
        data = encoded("npz", [sample])
        shift = -memory.ctypes.data % 64
        file = memory[shift : shift + len(data)]
        file[:] = np.frombuffer(data, np.uint8)
        for array in decoded("npz", file).values():
            assert array.ctypes.data % 64 == 0
            assert np.shares_memory(array, memory)

    def test_one_array_is_read_by_range(self, monkeypatch):
        uri = "mem://npz-ranges/a.npz"
        sample = {"big": np.zeros(1_000_000), "small": np.arange(10), "other": np.ones(500_000)}
        penstock.write_samples(uri, [sample])
        asked = []
        plain = penstock.samples.StoreFile.read_many
        monkeypatch.setattr(
            penstock.samples.StoreFile, "read_many", lambda file, ranges: asked.extend(ranges) or plain(file, ranges)
        )
        with open_samples(uri, format_options={"arrays": "small"}) as opened:
            assert opened.nbytes(0) < 1_000
            assert opened[0]["small"].tolist() == list(range(10))
            assert [field.name for field in opened.summary().fields] == ["small"]
        assert sum(length for _, length in asked) < 2_000
        with pytest.raises(FormatError, match="the archive has no 'smal'; it has 'big', 'other', 'small'"):
            open_samples(uri, format_options={"arrays": "smal"})

    def test_a_summary_reads_headers_only(self):
        data = encoded("npz", [{"a": np.zeros((7, 300, 50), ">f4"), "b": b"text"}], {"compression": "deflate"})
        reader = format_named("npz").open(LocalBuffer(data))
        summary = reader.summary()
        assert [(field.name, field.dtype, field.shape) for field in summary.fields] == [
            ("a", ">f4", (7, 300, 50)),
            ("b", "bytes", ()),
        ]
        assert summary.details == {"arrays": "2", "deflated": "2"}

    @pytest.mark.parametrize("options", [None, {"compression": "deflate"}])
    def test_zip64_in_every_place(self, options, monkeypatch):
        """With the border at 300 bytes instead of 4 GiB: sizes, offsets and the directory go beyond it."""
        monkeypatch.setattr(archive, "_NARROW", 300)
        sample = {name: np.arange(40.0) for name in "abc"} | {"d": np.zeros(2)}
        data = encoded("npz", [sample], options)
        assert data.count(b"PK\6\6") == 1
        with np.load(io.BytesIO(data)) as loaded:
            assert all(same(loaded[name], array) for name, array in sample.items())
        with zipfile.ZipFile(io.BytesIO(data)) as checked:
            assert checked.testzip() is None
        monkeypatch.undo()
        got = decoded("npz", data)
        assert all(same(got[name], array) for name, array in sample.items())

    def test_zip64_of_pythons_making(self):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as made, made.open("x.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array(member, np.arange(5))
        assert decoded("npz", file.getvalue())["x"].tolist() == [0, 1, 2, 3, 4]

    def test_an_archive_with_a_comment_and_one_of_many_members(self):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as made:
            made.comment = b"PK\5\6" + b"a comment" * 5_000
            made.writestr("x.npy", encoded("npy", [{"x": np.arange(3)}]))
        assert decoded("npz", file.getvalue())["x"].tolist() == [0, 1, 2]
        many = {f"array {number}": np.full(2, number) for number in range(1_000)}
        got = decoded("npz", encoded("npz", [many]))
        assert list(got) == list(many)
        assert got["array 999"].tolist() == [999, 999]

    def test_an_archive_of_very_many_members(self, monkeypatch):
        monkeypatch.setattr(archive, "_FEW", 10)
        data = encoded("npz", [{f"{number}": np.zeros(1) for number in range(20)}])
        assert data.count(b"PK\6\6") == 1
        assert len(decoded("npz", data)) == 20
        assert len(np.load(io.BytesIO(data)).files) == 20

    def test_the_checksum_may_be_left_out(self):
        data = bytearray(encoded("npz", [{"x": np.zeros(100)}]))
        data[300] ^= 1
        with pytest.raises(FormatError, match=r"'x.npy' is damaged: its CRC-32"):
            decoded("npz", data)
        assert decoded("npz", data, {"check": "false"})["x"].any()

    def test_members_that_overlap_are_refused(self):
        """Many names for the same bytes are how a small archive unpacks to a huge one."""
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        kernel = packer.compress(bytes(1_000_000)) + packer.flush()
        crc = zlib.crc32(bytes(1_000_000))
        made = [archive._Written(f"{n}".encode(), 0, 8, crc, len(kernel), 1_000_000, 0) for n in range(50)]
        local = archive._local(made[0], wide=False)
        directory = b"".join(map(archive._central, made))
        data = local + kernel + directory + archive._end(50, len(directory), len(local) + len(kernel))
        with pytest.raises(FormatError, match=r"is another member|overlap"):
            decoded("npz", data)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"level": 0}, "write 1 to 9"),
            ({"dtype": "float33"}, "no type of NumPy"),
            ({"dtype": "object"}, "can't be filled"),
            ({"compression": "lzma"}, "choose one of none, deflate"),
        ],
    )
    def test_options_that_can_not_be(self, options, message):
        with pytest.raises(UsageError, match=message):
            format_named("npz", options)

    def test_synthetic_arrays_have_the_type_and_the_rest(self):
        (sample,) = format_named("npz", {"dtype": "float32", "name": "y"}).synthesize(11, lambda room: None)
        assert {name: (value.dtype.name, value.shape) for name, value in sample.items()} == {
            "y": ("float32", (2,)),
            "rest": ("uint8", (3,)),
        }

    @pytest.mark.slow
    def test_an_archive_of_more_than_four_gibibytes(self, tmp_path):
        """Zeros that are not written are not stored: the file is sparse."""
        big = np.zeros(9 << 29, np.uint8)
        path = tmp_path / "big.npz"
        with path.open("wb") as file:
            for piece in format_named("npz").encode([{"big": big, "after": np.arange(4)}]):
                if len(piece) > 2**30:
                    file.seek(len(piece), io.SEEK_CUR)
                else:
                    file.write(piece)
        with zipfile.ZipFile(path) as made:
            assert [info.file_size for info in made.infolist()] == [128 + (9 << 29), 128 + 32]
            with made.open("after.npy") as member:
                assert np.lib.format.read_array(member).tolist() == [0, 1, 2, 3]
        with open_samples(str(path), format_options={"arrays": "after"}) as opened:
            assert opened[0]["after"].tolist() == [0, 1, 2, 3]


def test_the_cache_of_headers_holds_no_long_one():
    array = np.zeros(1, [(f"f{number}", "f4") for number in range(300)])
    before = npy._literal.cache_info().currsize
    decoded("npy", encoded("npy", [{"x": array}]))
    assert npy._literal.cache_info().currsize == before
