"""Reading op-logs: our own, other programs', cut-off and damaged ones."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc

import attrs
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from penstock.clocks import Anchor
from penstock.errors import OpLogError
from penstock.oplog import COLUMNS, OpLogWriter, Row, read
from penstock.oplog.source import Source
from penstock.records import Endpoint, Op, RecordBuffer, Recorder

HEADER = "\t".join(COLUMNS) + "\n"
LINE = "0\t1\tGET\tme\t1\t5\ts3://\tb/k\t\t1970-01-01T00:00:01Z\t1970-01-01T00:00:01.5Z\t1970-01-01T00:00:02Z\t1000000000\n"
ROW = Row(0, 1, "GET", "me", 1, 5, "s3://", "b/k", "", 10**9, 1_500_000_000, 2 * 10**9, 10**9)
anything = st.text(st.characters(exclude_categories=()))


def compress(text, **options):
    return zstandard.ZstdCompressor(**options).compress(text)


def opened(data, **options):
    return read(io.BytesIO(data.encode() if isinstance(data, str) else data), **options)


def rows_of(data, **options):
    return list(opened(data, **options))


def line(idx, name="k"):
    return LINE.replace("0\t", f"{idx}\t", 1).replace("b/k", f"b/{name}")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(Op),
            st.one_of(anything, st.just("n" * 100_000)),
            st.integers(1, 2**61),
            st.one_of(st.just(0), st.integers(1, 2**61)),
            st.integers(0, 2**60),
            st.integers(0, 2**62),
            st.integers(0, 2**32 - 1),
            anything,
        ),
        max_size=20,
    ),
    st.sampled_from(["oplog.tsv", "oplog.tsv.zst"]),
)
def test_what_was_recorded_is_what_is_read(tmp_path_factory, calls, name):
    path = tmp_path_factory.mktemp("log") / name
    buffer = RecordBuffer(64)
    recorder = Recorder(7, lambda filled: buffer)
    for op, key, start, first, took, nbytes, count, error in calls:
        recorder.add(op, key, start, first, start + took, nbytes, count, error)
    endpoints = [Endpoint("mem://m/", "mem://m")]
    with OpLogWriter(path, endpoints=endpoints, anchor=Anchor(1000), client_id="c\t1") as writer:
        writer.write(buffer, 0, buffer.count)
    expected = [
        Row(
            idx,
            7,
            op.name,
            "c\t1",
            count,
            nbytes,
            "mem://m",
            f"m/{key}",
            error,
            start + 1000,
            first + 1000 if first else None,
            start + took + 1000,
            took,
        )
        for idx, (op, key, start, first, took, nbytes, count, error) in enumerate(calls)
    ]
    with read(path, strict=True) as reader:
        assert list(reader) == expected
        assert (reader.count, reader.bad_rows, reader.truncated) == (len(calls), 0, False)
    assert [row.texts() for row in expected] == [tuple(text.split("\t")) for text in text_of(path)[1:]]


def text_of(path):
    data = path.read_bytes()
    if path.suffix == ".zst":
        data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    return data.decode().split("\n")[:-1]


def test_a_row_of_13_columns():
    assert rows_of(HEADER + LINE) == [ROW]


def test_a_row_of_15_columns():
    columns = [*COLUMNS[:11], "last_byte", *COLUMNS[11:], "cat"]
    fields = LINE.strip("\n").split("\t")
    fields = [*fields[:11], "1970-01-01T00:00:01.75Z", *fields[11:], "fast"]
    text = "\t".join(columns) + "\n" + "\t".join(fields) + "\n"
    assert rows_of(text) == [attrs.evolve(ROW, last_byte_ns=1_750_000_000, category="fast")]


@given(st.permutations(list(zip(COLUMNS, LINE.strip("\n").split("\t"), strict=True))))
def test_columns_are_found_by_name(pairs):
    names, fields = zip(*pairs, strict=True)
    assert rows_of("\t".join(names).upper() + "\n" + "\t".join(fields) + "\n") == [ROW]


def test_aliases_and_columns_that_are_missing():
    text = "operation\tfile\tt_start\tduration_ns\tfurther\nput\tb/k\t1970-01-01T00:00:01Z\t5\tx\n"
    assert rows_of(text) == [
        Row(0, 0, "PUT", "", 1, 0, "", "b/k", "", 10**9, None, 10**9 + 5, 5, extra=(("further", "x"),))
    ]
    text = "op\tfile\tstart\tend\nGET\tk\t1970-01-01T00:00:01Z\t1970-01-01T00:00:03Z\n"
    assert rows_of(text)[0].duration_ns == 2 * 10**9


@pytest.mark.parametrize("op", [*Op.__members__, "HEAD", "head"])
def test_every_operation(op):
    assert rows_of(HEADER + LINE.replace("GET", op))[0].op == op.upper()


def test_csv_with_quoted_fields():
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    fields = LINE.strip("\n").split("\t")
    fields[7] = 'a,"b"\nc\\t'
    writer.writerow(fields)
    writer.writerow(fields)
    assert rows_of(file.getvalue()) == [attrs.evolve(ROW, file='a,"b"\nc\\t')] * 2


def test_a_quote_within_a_csv_field_does_not_swallow_the_next_row():
    text = HEADER.replace("\t", ",") + LINE.replace("\t", ",").replace("b/k", 'b/"k') * 2
    assert [row.file for row in rows_of(text)] == ['b/"k'] * 2


def test_a_quote_that_never_closes_is_a_bad_row():
    text = HEADER.replace("\t", ",") + LINE.replace("\t", ",").replace("b/k", '"b/k')
    with pytest.raises(OpLogError, match=":2:"):
        rows_of(compress(text.encode()))


def test_json_lines():
    value = dict(zip(COLUMNS, LINE.strip("\n").split("\t"), strict=True))
    typed = value | {
        "idx": 0,
        "thread": 1,
        "n_objects": 1,
        "bytes": 5,
        "duration_ns": 10**9,
        "error": None,
        "file": "a\tb\\t",
    }
    text = json.dumps(value) + "\n\n" + json.dumps(typed) + "\n"
    assert rows_of(text) == [ROW, attrs.evolve(ROW, file="a\tb\\t")]
    assert rows_of(text.rstrip("\n")) == rows_of(text)


@pytest.mark.parametrize("bad", ["{", "[1]", '{"op": "GET"}', '{"op": "GET", "file": "x", "start": 1.5}'])
def test_bad_json(bad):
    good = json.dumps(dict(zip(COLUMNS, LINE.strip("\n").split("\t"), strict=True)))
    with pytest.raises(OpLogError, match=":2: "):
        rows_of(f"{good}\n{bad}\n{good}\n")
    reader = opened(f"{good}\n{bad}\n{good}\n", skip_bad_rows=True)
    assert (len(list(reader)), reader.bad_rows) == (2, 1)


def test_many_frames_blank_lines_comments_and_repeated_headers():
    texts = ["# made by x\n" + HEADER, LINE, "\n", HEADER + line(1), "# end\n#\twith\ttabs\n", LINE[:20], LINE[20:]]
    skippable = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc"
    data = skippable + b"".join(compress(text.encode()) for text in texts)
    assert rows_of(data, strict=True) == [ROW, attrs.evolve(ROW, idx=1), ROW]
    assert rows_of("\ufeff" + "".join(texts).replace("\n", "\r\n")) == rows_of(data)


def test_a_repeated_header_may_name_other_columns():
    other = "file\top\tstart\tend\n#x\tPUT\t1970-01-01T00:00:01Z\t1970-01-01T00:00:01Z\n"
    assert [row.file for row in rows_of(HEADER + LINE + other)] == ["b/k", "#x"]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("GET", "FROB", "unknown operation 'FROB'"),
        ("\t5\t", "\tfive\t", "bytes is 'five'"),
        ("\t5\t", "\t-5\t", "bytes is '-5'"),
        ("\t5\t", "\t5_0\t", "bytes is '5_0'"),
        ("\t5\t", "\t\u0665\t", "bytes is"),
        ("\t5\t", "\t\t", "bytes is ''"),
        ("\t1000000000", "\t1e9", "duration_ns is '1e9'"),
        ("1970-01-01T00:00:01Z", "yesterday", "'yesterday' is not a time"),
        ("1970-01-01T00:00:02Z", "1970-01-01T00:00:02", "is not a time"),
        ("\tme\t", "\t", "12 columns where the header has 13"),
        ("\tme\t", "\tme\tx\t", "14 columns"),
    ],
)
def test_a_malformed_row_is_named_by_its_line_or_skipped(old, new, problem):
    assert old in LINE
    text = "# note\n" + HEADER + LINE + LINE.replace(old, new, 1) + line(2)
    with pytest.raises(OpLogError, match=rf":4: .*{problem}"):
        rows_of(text)
    reader = opened(text, skip_bad_rows=True)
    assert [row.idx for row in reader] == [0, 2]
    assert (reader.bad_rows, reader.truncated) == (1, False)


def test_a_negative_duration_is_read():
    assert rows_of(HEADER + LINE.replace("\t1000000000", "\t-3"))[0].duration_ns == -3


def test_bytes_that_are_no_utf8_are_kept():
    data = (HEADER + LINE).encode().replace(b"b/k", b"b/\xff")
    assert rows_of(data)[0].file == "b/\udcff"


@pytest.mark.parametrize("missing", ["op", "file", "start"])
def test_a_header_without_a_needed_column(missing):
    with pytest.raises(OpLogError, match=r":1: "):
        opened(HEADER.replace(missing, "x"))


def test_a_header_without_an_end():
    with pytest.raises(OpLogError, match="no column end"):
        opened("op\tfile\tstart\n")


@pytest.mark.parametrize("data", [b"", b"\n", b"# only\n", HEADER.encode()[:-1], compress(HEADER.encode())[:-4]])
def test_no_complete_header(data):
    with pytest.raises(OpLogError, match="no complete header"):
        opened(data)


@pytest.mark.parametrize("data", ["hello\nworld\n", b"\x89PNG\r\r\n", b"\xff\r\x00\n", b'"a\n'])
def test_what_is_no_log(data):
    with pytest.raises(OpLogError, match="not the header of a log"):
        opened(data)


def test_a_line_without_end_is_refused_in_bounded_memory():
    class Endless(io.RawIOBase):
        def readable(self):
            return True

        def readinto(self, room):
            room[:] = b"x" * len(room)
            return len(room)

    with pytest.raises(OpLogError, match="line of more than"):
        read(io.BufferedReader(Endless()))


@pytest.mark.parametrize("make", [str.encode, lambda text: compress(text.encode())])
def test_every_complete_row_of_a_log_cut_anywhere(make):
    whole = HEADER + "".join(line(idx, f"{idx * 7919}") for idx in range(6))
    lines = whole.splitlines(keepends=True)
    data = make(whole)
    rows = rows_of(data, strict=True)
    assert len(rows) == 6
    for length in range(len(data)):
        text = text_before(data[:length])
        done = text.count("\n")
        if done == 0:
            with pytest.raises(OpLogError, match="no complete header"):
                opened(data[:length])
            continue
        # A row that lacks nothing but its line feed is complete as well; its duration shows it.
        rest = text[sum(map(len, lines[:done])) :]
        complete = done - 1 + (done < len(lines) and rest == lines[done].rstrip("\n"))
        reader = opened(data[:length])
        assert list(reader) == rows[:complete], length
        cut = length < len(data) if data[:4] == b"\x28\xb5\x2f\xfd" else bool(rest) and complete == done - 1
        assert reader.truncated == cut, length
        if cut:
            with pytest.raises(OpLogError, match="cut off"):
                rows_of(data[:length], strict=True)


def text_before(data):
    if data[:4] != b"\x28\xb5\x2f\xfd"[: len(data[:4])]:
        return data.decode()
    return zstandard.ZstdDecompressor().decompressobj().decompress(data).decode() if data else ""


def test_a_log_whose_writer_was_killed(tmp_path):
    path = tmp_path / "oplog.tsv.zst"
    buffer = RecordBuffer(10)
    recorder = Recorder(0, lambda filled: buffer)
    writer = OpLogWriter(path, endpoints=[Endpoint("m://", "m://")], anchor=Anchor(0))
    for number in range(5):
        recorder.add(Op.GET, f"k{number}", 1, 2, 3, 4)
        writer.write(buffer, number, number + 1)
        reader = read(path)
        assert [row.idx for row in reader] == list(range(number + 1))
        assert reader.truncated
    writer.close()
    assert len(rows_of(path.read_bytes(), strict=True)) == 5


def test_damaged_data_is_an_error_after_the_rows_before_it():
    good = compress((HEADER + LINE).encode())
    data = good + compress(b"".join(line(idx).encode() for idx in range(20_000)), level=1) + b"\0" * 200_000
    found = []
    with pytest.raises(OpLogError, match="damaged"):
        found.extend(opened(data))
    assert len(found) > 10_000


def test_files_that_can_not_be_opened(tmp_path):
    with pytest.raises(OpLogError, match="No such file"):
        read(tmp_path / "absent.tsv")
    with pytest.raises(OpLogError, match="Is a directory"):
        read(tmp_path)


def test_a_reader_that_is_dropped_or_closed_closes_its_file(tmp_path):
    path = tmp_path / "oplog.tsv"
    path.write_text(HEADER + LINE * 3)
    next(read(path))  # an open file that is dropped is a ResourceWarning, and those are errors here
    file = path.open("rb")
    with read(file) as reader:
        next(reader)
    assert file.closed
    assert list(reader) == []


def test_memory_does_not_grow_with_the_log():
    text = "".join(line(idx, f"{idx * 7919 % 10007}") for idx in range(20_000)).encode()
    source = Source(io.BytesIO(compress(text) * 10), "x")
    tracemalloc.start()
    count = sum(1 for _ in source.lines())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 200_000
    assert peak < 5 * len(text)


@pytest.mark.parametrize("text", ['{\n "op": 1\n}\n', '{"a": 1}\n{"b": 2}\n', "{}\n"])
def test_json_that_is_no_log_is_said(tmp_path, text):
    path = tmp_path / "package.json"
    path.write_text(text)
    with pytest.raises(OpLogError, match=r"package\.json:1: this is not the first row of a log in JSON lines"):
        read(path)
