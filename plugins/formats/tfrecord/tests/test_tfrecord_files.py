"""Files of TensorFlow, messages of protobuf's every kind, indexes, and how little is read.

fixtures/ were made by TensorFlow; with_tensorflow.py says how. It also lets TensorFlow read what is written here.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import crc32c
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from penstock_tfrecord import framing
from penstock_tfrecord.example import encode_example
from penstock_tfrecord.wire import decode_varints, encode_varints, find_features, varint

from penstock.errors import FormatError, UsageError
from penstock.samples import LocalBuffer, choose_format

FIXTURES = Path(__file__).parent / "fixtures"
RAW = [b"", b"x", bytes(range(256)), b"\xff" * 1000]


def codec(**options):
    return choose_format("", "tfrecord", options).codec


def encoded(*samples, **options):
    return b"".join(map(bytes, codec(**options).encode(samples)))


def only(data, **options):
    (sample,) = codec(**options).decode(data)
    return sample


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


class TestTensorFlow:
    def test_examples(self):
        samples = list(codec().decode((FIXTURES / "examples.tfrecord").read_bytes()))
        assert len(samples) == 3
        for number, sample in enumerate(samples):
            assert sample["image/encoded"] == bytes(range(number, 40 + number))
            assert sample["label"].dtype == np.int64
            assert sample["label"].tolist() == [number]
            want = [0, -1, 127, 128, 2**31, -(2**63), 2**63 - 1, *range(100, 100 + 20 * number)]
            assert sample["tokens"].tolist() == want
            assert sample["weights"].dtype == np.float32
            assert sample["weights"].tolist() == [0.0, -1.5, 3.25, float(number), float("inf")]
            assert sample["words"].tolist() == [b"one", b"", b"tw\0"]
            for name, dtype in (("empty/int", np.int64), ("empty/float", np.float32), ("empty/bytes", object)):
                assert sample[name].shape == (0,)
                assert sample[name].dtype == dtype
            assert "nothing" not in sample

    @pytest.mark.parametrize("kind", ["raw", "gzip", "zlib"])
    def test_raw_records(self, kind):
        options = {} if kind == "raw" else {"compression": kind}
        data = (FIXTURES / f"{kind}.tfrecord").read_bytes()
        assert [sample["data"] for sample in codec(example=False, **options).decode(data)] == RAW

    def test_we_write_raw_files_as_it_does(self):
        samples = [{"data": record} for record in RAW]
        assert encoded(*samples, example=False) == (FIXTURES / "raw.tfrecord").read_bytes()

    def test_an_empty_file(self):
        assert (FIXTURES / "empty.tfrecord").read_bytes() == b""
        assert list(codec().decode(b"")) == []
        assert len(codec().open(LocalBuffer(b""))) == 0

    @pytest.mark.parametrize("kind", ["gzip", "zlib"])
    def test_a_compressed_file_read_as_a_plain_one_names_the_remedy(self, kind):
        with pytest.raises(FormatError, match=f"compression={kind}"):
            list(codec().decode((FIXTURES / f"{kind}.tfrecord").read_bytes()))


class TestMessages:
    def test_the_memory_of_an_array_and_what_says_its_shape(self):
        features = find_features(memoryview(b"".join(encode_example({"image": np.zeros((4, 2), np.uint8)}))))
        assert list(features) == ["image", "image/dtype", "image/shape"]

    def test_python_numbers_come_back_as_arrays_of_no_dimensions(self):
        sample = only(encoded({"i": 3, "f": 0.1, "b": True, "c": 1j}))
        assert {name: value.dtype.name for name, value in sample.items()} == {
            "i": "int64", "f": "float64", "b": "bool", "c": "complex128"
        }  # fmt: skip
        assert [sample[name].item() for name in "ifbc"] == [3, 0.1, True, 1j]

    def test_names_are_sorted_so_equal_samples_give_equal_bytes(self):
        assert encoded({"b": 1, "a": 2}) == encoded({"a": 2, "b": 1})

    def test_what_others_wrote_unpacked_split_and_with_more_fields(self):
        unknown = b"\x98\x06\x07" + b"\x91\x06" + bytes(8) + b"\x95\x06" + bytes(4) + b"\x92\x06\x02hi"
        group = b"\x9b\x06" + b"\x08\x01" + b"\x13\x1a\x01x\x14" + b"\x9c\x06"
        ints = field(3, b"\x08\x05" + b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" + field(1, b"\x07\xac\x02"))
        floats = field(2, b"\x0d" + struct.pack("<f", 1.5) + unknown + field(1, struct.pack("<ff", 2, 3)))
        message = unknown + features(entry("i", ints)) + group + features(entry("f", floats) + unknown)
        sample = only(framed(message))
        assert sample["i"].tolist() == [5, -1, 7, 300]
        assert sample["f"].tolist() == [1.5, 2.0, 3.0]

    def test_an_entry_that_comes_twice_counts_once_and_one_of_two_kinds_is_the_last(self):
        once = entry("x", field(3, field(1, b"\x01")))
        again = entry("x", field(2, field(1, bytes(4))) + field(3, field(1, b"\x02")) + field(3, field(1, b"\x03")))
        assert only(framed(features(once + again)))["x"].tolist() == [2, 3]

    def test_companions_that_do_not_fit_are_features_as_any(self):
        for shape in ([3], [-2, -2], [2**40, 2**40], [0, 2**60]):
            packed = field(1, encode_varints(np.array(shape)))
            told = entry("x/dtype", field(1, field(1, b"uint8"))) + entry("x/shape", field(3, packed))
            sample = only(framed(features(entry("x", field(1, field(1, b"four"))) + told)))
            assert sample["x"] == b"four"
            assert sample["x/shape"].tolist() == shape
        for code in (b"O", b"object", b"V8", b"i4", b"uint8, uint8", b"<U99999999", b"\xff"):
            told = entry("x/dtype", field(1, field(1, code))) + entry("x/shape", field(3, field(1, b"\x04")))
            sample = only(framed(features(entry("x", field(1, field(1, b"four"))) + told)))
            assert (sample["x"], sample["x/dtype"]) == (b"four", code)

    @pytest.mark.parametrize(
        "message",
        [b"\x0a\x05abc", b"\x0a", b"\x08", b"\x08\xff", b"\x00\x00", b"\x0f\x00", b"\x0c", b"\x0b\x0a\x01",
         b"\x08" + b"\xff" * 10 + b"\x01", b"\x0d\x00\x00"],
        ids=repr,
    )  # fmt: skip
    def test_no_messages(self, message):
        with pytest.raises(FormatError):
            only(framed(message))

    def test_lists_that_are_cut(self):
        for kind, packed in ((2, b"abc"), (3, b"\x01\x80"), (3, b"\x80" * 11 + b"\x01"), (3, b"\x80" * 20)):
            with pytest.raises(FormatError):
                only(framed(features(entry("x", field(kind, field(1, packed))))))

    def test_a_layout_that_was_seen_before_is_not_taken_for_another(self):
        decode = codec()
        first = {"a": np.arange(6, dtype=np.uint8), "b": b"12"}
        other = {"a": np.arange(6, dtype=np.int8), "c": b"12"}
        mixed = [first, first, other, first, {"a": np.arange(6, dtype=np.uint8).reshape(2, 3)}]
        for _ in range(2):
            for sample in mixed:
                got = next(iter(decode.decode(encoded(sample))))
                assert got.keys() == sample.keys()
                assert (got["a"].dtype, got["a"].shape) == (sample["a"].dtype, sample["a"].shape)

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 300), max_size=40))
    def test_varints(self, values):
        packed = encode_varints(np.array(values, np.int64))
        assert packed == b"".join(varint(value % 2**64) for value in values)
        assert decode_varints(packed).tolist() == values


def field(number, data):
    return bytes([number << 3 | 2]) + varint(len(data)) + data


def entry(name, feature):
    return field(1, field(1, name.encode()) + field(2, feature))


def features(entries):
    return field(1, entries)


def framed(message):
    def masked(data):
        crc = crc32c.crc32c(data)
        return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)

    length = struct.pack("<Q", len(message))
    return length + masked(length) + message + masked(message)


class TestFrames:
    def test_a_frame_by_its_definition(self):
        assert encoded({"data": b"abc"}, example=False) == framed(b"abc")

    def test_checks_can_be_skipped(self):
        data = bytearray(encoded({"data": b"abc"}, example=False))
        data[-1] ^= 1
        data[9] ^= 1
        assert only(bytes(data), example=False, check=False)["data"] == b"abc"
        (got,) = codec(example=False, check=False).open(LocalBuffer(bytes(data))).read([0])
        assert got["data"] == b"abc"

    def test_large_arrays_are_passed_on_as_they_lie(self):
        array = np.arange(200_000, dtype=np.uint8)
        pieces = list(codec().encode([{"x": array}]))
        assert any(isinstance(piece, memoryview) and np.shares_memory(np.asarray(piece), array) for piece in pieces)
        assert np.shares_memory(only(data := b"".join(pieces))["x"], np.frombuffer(data, np.uint8))

    def test_members_of_gzip_follow_each_other(self):
        whole = gzip.compress(framed(b"a")) + gzip.compress(framed(b"b"))
        assert [sample["data"] for sample in codec(example=False, compression="gzip").decode(whole)] == [b"a", b"b"]

    def test_nothing_follows_zlib(self):
        with pytest.raises(FormatError, match="follow"):
            list(codec(example=False, compression="zlib").decode(zlib.compress(framed(b"a")) + b"more"))

    def test_a_record_larger_than_the_pieces_of_decompression(self):
        big = np.random.default_rng(1).bytes(3_000_000)
        data = encoded({"data": big}, {"data": b"small"}, example=False, compression="zlib", level=1)
        assert [sample["data"] for sample in codec(example=False, compression="zlib").decode(data)] == [big, b"small"]


@pytest.fixture(scope="module")
def records():
    sizes = [100, 0, 5000, 300_000, 7, 70_000, 400_000]
    return [{"data": bytes([number]) * size} for number, size in enumerate(sizes)]


@pytest.fixture(scope="module")
def data(records):
    return encoded(*records, example=False)


@pytest.fixture(scope="module")
def monkeypatch_module():
    """Examples of hypothesis share it."""
    with pytest.MonkeyPatch.context() as patch:
        yield patch


class TestIndexes:
    def test_the_form_of_dali(self, data):
        # Computed as tfrecord2idx describes its output: where a record begins, and its size with the 16 bytes.
        at, lines = 0, []
        while at < len(data):
            size = int.from_bytes(data[at : at + 8], "little") + 16
            lines.append(f"{at} {size}\n")
            at += size
        assert b"".join(codec().index(LocalBuffer(data), form="dali")) == "".join(lines).encode()
        binary = b"".join(codec().index(LocalBuffer(data), form="binary"))
        pairs = [tuple(map(int, line.split())) for line in lines]
        assert binary == b"".join(struct.pack("<QQ", *pair) for pair in pairs)

    @pytest.mark.parametrize("form", ["dali", "binary"])
    def test_only_the_records_are_read(self, data, records, form):
        reader_of = codec(example=False)
        index = b"".join(reader_of.index(LocalBuffer(data), form=form))
        file = Counted(data)
        reader = reader_of.open(file, index=index)
        assert file.asked == []
        assert list(reader.read([5, 1, 5])) == [records[5], records[1], records[5]]
        assert sorted(length for _, length in file.asked) == [16, 70_016, 70_016]

    def test_heads_that_are_far_apart_are_read_alone(self):
        data = encoded(*[{"data": bytes(2_000_000)}] * 5, example=False)
        file = Counted(data)
        assert len(codec(example=False).open(file)) == 5
        assert sum(length for _, length in file.asked) < 20_000

    def test_an_index_of_another_file(self, data):
        index = b"".join(codec().index(LocalBuffer(data)))
        lines = index.splitlines(keepends=True)
        wrong = [
            b"".join(lines[:-1]), b"".join(lines[1:]), index + lines[0], b"".join(reversed(lines)), index[:-1],
            index.replace(b" ", b"  "), b"0 +116\n", b"a b\n", b"0 1_0\n", b"0\n", b"\n", bytes(17), bytes(16),
            struct.pack("<QQ", 0, 2**64 - 1), struct.pack("<QQ", 0, 2**62) * 4, b"0 " + b"9" * 5000 + b"\n", b"",
        ]  # fmt: skip
        for other in wrong:
            with pytest.raises(FormatError):
                codec(example=False).open(LocalBuffer(data), index=other)

    def test_an_index_with_other_cuts_is_found_when_reading(self):
        data = encoded({"data": b"a" * 20}, {"data": b"b" * 20}, example=False)
        reader = codec(example=False).open(LocalBuffer(data), index=b"0 30\n30 42\n")
        with pytest.raises(FormatError, match=r"its index says.*make it anew"):
            reader.read([0])

    @pytest.mark.parametrize("check", [True, False])
    @pytest.mark.parametrize("form", ["dali", "binary"])
    def test_an_index_that_is_older_than_its_file_gives_no_wrong_record(self, form, check):
        older = encoded(*[{"data": b"a" * size} for size in (20, 20, 20)], example=False)
        newer = encoded(*[{"data": b"b" * size} for size in (10, 30, 20)], example=False)
        reader_of = codec(example=False, check=check)
        index = b"".join(reader_of.index(LocalBuffer(older), form=form))
        reader = reader_of.open(LocalBuffer(newer), index=index)
        for number in (0, 1):
            with pytest.raises(FormatError, match="make it anew"):
                reader.read([number])
        assert reader.read([2]) == [{"data": b"b" * 20}]

    def test_damage_is_not_blamed_on_an_index_that_is_not_there(self, data):
        with pytest.raises(FormatError) as caught:
            codec(example=False).open(LocalBuffer(data[:20] + b"?" + data[21:])).read([0])
        assert "index" not in str(caught.value)

    @settings(max_examples=60)
    @given(
        sizes=st.lists(st.tuples(st.sampled_from([0, 1, 40, 3000]), st.integers(1, 40)), max_size=8),
        look=st.sampled_from([100, 1000, 1 << 20]),
    )
    def test_any_runs_of_sizes(self, sizes, look, monkeypatch_module):
        monkeypatch_module.setattr(framing, "_LOOK", look)
        flat = [size for size, count in sizes for _ in range(count)]
        data = encoded(*[{"data": bytes(size)} for size in flat], example=False)
        starts = [sum(flat[:number]) + 16 * number for number in range(len(flat))]
        due = [(start, size + 16) for start, size in zip(starts, flat, strict=True)]
        reader_of = codec(example=False)
        assert b"".join(reader_of.index(LocalBuffer(data))) == b"".join(b"%d %d\n" % pair for pair in due)
        binary = b"".join(reader_of.index(LocalBuffer(data), form="binary"))
        assert binary == b"".join(struct.pack("<QQ", *pair) for pair in due)
        assert len(reader_of.open(LocalBuffer(data))) == len(flat)

    @given(number=st.integers(0, 29), bit=st.integers(0, 12 * 8 - 1))
    def test_a_flipped_bit_in_any_head_of_a_run_is_found(self, number, bit):
        data = bytearray(encoded(*[{"data": bytes(50)}] * 30, example=False))
        data[66 * number + bit // 8] ^= 1 << bit % 8
        with pytest.raises(FormatError, match=f"the record at byte {66 * number} "):
            b"".join(codec(example=False).index(LocalBuffer(bytes(data))))

    @pytest.mark.parametrize("cut", [1, 65, 66 + 11])
    def test_a_run_that_is_cut_is_found(self, cut):
        data = encoded(*[{"data": bytes(50)}] * 30, example=False)[:-cut]
        with pytest.raises(FormatError, match="the file ends"):
            b"".join(codec(example=False).index(LocalBuffer(data)))

    def test_a_form_that_is_not_there(self, data):
        with pytest.raises(UsageError, match="dali or binary"):
            codec().index(LocalBuffer(data), form="csv")


def test_options_that_can_not_be():
    for options in ({"level": 0}, {"sample_size": 0}, {"compression": "xz"}):
        with pytest.raises(UsageError):
            codec(**options)


def test_the_summary_shows_the_first_record():
    data = encoded({"image": np.zeros((2, 3), np.uint8), "name": "x"})
    details = codec().open(LocalBuffer(data)).summary().details
    assert details["first record"] == "image uint8 (2, 3), name str of 1"
