"""Sorting logs: the order, what is kept, how much memory it takes, and what is left behind."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import OpLogError
from penstock.oplog import COLUMNS, read
from penstock.oplog.chunks import parse_times, scan
from penstock.oplog.columns import escape, format_time, parse_time
from penstock.oplog.sorting import sort_log

HEADER = "\t".join(COLUMNS)
anything = st.text(st.characters(exclude_categories=()), max_size=20)
SECOND = 10**9


def line(idx, start, name="k", error="", first=""):
    times = (format_time(start), first, format_time(start + 5))
    return "\t".join((str(idx), "1", "GET", "", "1", "7", "s3://", f"b/{name}", error, *times, "5"))


def write(path, lines, header=HEADER):
    text = "".join(f"{text}\n" for text in (header, *lines)).encode()
    path.write_bytes(zstandard.ZstdCompressor().compress(text) if path.suffix == ".zst" else text)
    return path


def lines_of(path):
    data = path.read_bytes()
    if path.suffix == ".zst":
        data = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data), read_across_frames=True).read()
    assert data.endswith(b"\n")
    return data.decode(errors="surrogateescape").split("\n")[:-1]


def renumbered(lines):
    return [f"{idx}\t{text.partition(chr(9))[2]}" for idx, text in enumerate(lines)]


@given(
    st.lists(st.tuples(st.integers(0, 4 * SECOND), st.one_of(anything, st.just("n" * 3000)), anything), max_size=60),
    st.sampled_from([1, 3, 1000]),
    st.sampled_from(["a.tsv", "a.tsv.zst"]),
)
def test_it_is_the_stable_order_and_every_cell_is_kept(tmp_path_factory, calls, rows_in_memory, name):
    folder = tmp_path_factory.mktemp("sort")
    lines = [
        line(9 * at, start // SECOND * SECOND, escape(key), escape(error))
        for at, (start, key, error) in enumerate(calls)
    ]
    source = write(folder / name, lines)
    target = folder / "sorted.tsv.zst"
    done = sort_log(source, target, rows_in_memory=rows_in_memory)
    expected = sorted(lines, key=lambda text: text.split("\t")[9])
    assert lines_of(target) == [HEADER, *renumbered(expected)]
    assert (done.rows, done.bad_rows, done.cut_off) == (len(calls), 0, ())
    assert sorted(os.listdir(folder)) == sorted([name, "sorted.tsv.zst"])


@pytest.mark.parametrize("rows_in_memory", [7, 640, 10**6])
def test_many_runs_in_several_passes(tmp_path, rows_in_memory):
    starts = [(number * 7919) % 1009 for number in range(5000)]
    lines = [line(at, start) for at, start in enumerate(starts)]
    source = write(tmp_path / "a.tsv.zst", lines)
    assert sort_log(source, source, rows_in_memory=rows_in_memory).rows == 5000
    assert lines_of(source) == [HEADER, *renumbered(sorted(lines, key=lambda text: text.split("\t")[9]))]


@pytest.mark.parametrize(
    "columns",
    [
        (*COLUMNS[:11], "last_byte", *COLUMNS[11:], "cat"),
        tuple(name for name in COLUMNS if name not in ("client_id", "endpoint")),
        ("idx", "own", *COLUMNS[1:]),
        (*reversed(COLUMNS), "mine", "yours"),
        COLUMNS[1:],
    ],
)
def test_the_columns_of_any_log_are_kept(tmp_path, columns):
    def cell(name, number):
        times = {"start": number * 13 % 7, "first_byte": 20, "last_byte": 30, "end": 40}
        if name in times:
            return format_time(times[name])
        numbers = ("idx", "thread", "n_objects", "bytes", "duration_ns")
        return {"op": "PUT"}.get(name, str(number) if name in numbers else f"{name} {number}")

    rows = [{name: cell(name, number) for name in columns} for number in range(20)]
    source = write(tmp_path / "a.tsv", ["\t".join(row.values()) for row in rows], "\t".join(columns))
    target = tmp_path / "b.tsv"
    sort_log(source, target, rows_in_memory=6)
    header, *found = (text.split("\t") for text in lines_of(target))
    assert header == ["idx", *(name for name in columns if name != "idx")]
    expected = [row | {"idx": str(idx)} for idx, row in enumerate(sorted(rows, key=lambda row: row["start"]))]
    assert [dict(zip(header, cells, strict=True)) for cells in found] == expected


def test_times_of_all_forms_are_ordered_and_kept(tmp_path):
    stamps = [
        "2026-01-31T12:00:03+02:00",
        "2026-01-31T10:00:02.5Z",
        "2026-01-31t10:00:01.000000001z",
        "2026-01-31T10:00:02Z",
    ]
    lines = [line(at, 0).replace(format_time(0), stamp, 1) for at, stamp in enumerate(stamps)]
    sort_log(write(tmp_path / "a.tsv", lines), tmp_path / "b.tsv")
    assert [text.split("\t")[9] for text in lines_of(tmp_path / "b.tsv")[1:]] == [stamps[at] for at in (2, 3, 1, 0)]


def test_comments_blank_lines_frames_and_repeated_headers(tmp_path):
    texts = [f"# x\r\n{HEADER}\n{line(0, 9)}\r\n", f"\n{HEADER}\n{line(0, 5)}\n#" + "\t" * 12 + "\n", line(1, 7)]
    path = tmp_path / "a.tsv.zst"
    path.write_bytes(b"".join(zstandard.ZstdCompressor().compress(text.encode()) for text in texts))
    assert sort_log(path, path).cut_off == ()
    assert lines_of(path) == [HEADER, line(0, 5), line(1, 7), line(2, 9)]


def test_a_header_of_other_columns_later_on(tmp_path):
    names = ("file", "op", "start", "end", "duration_ns")
    lines = [line(0, 9), "\t".join(names), f"x\tPUT\t{format_time(3)}\t{format_time(5)}\t2"]
    sort_log(write(tmp_path / "a.tsv", lines), tmp_path / "b.tsv")
    assert [row.file for row in read(tmp_path / "b.tsv")] == ["x", "b/k"]
    write(tmp_path / "a.tsv", [*lines, f"{HEADER}\tcat", f"{line(2, 2)}\t0"])
    with pytest.raises(OpLogError, match=r":5: a second header names cat"):
        sort_log(tmp_path / "a.tsv", tmp_path / "b.tsv")


@pytest.mark.parametrize(
    ("bad", "problem"), [("now", "'now' is not a time"), ("2026-02-30T00:00:00.000000000Z", ""), ("a\tb", "14 columns")]
)
def test_bad_rows_are_named_by_their_line_or_skipped(tmp_path, bad, problem):
    lines = ["#", line(0, 9), line(1, 8).replace(format_time(8), bad), line(2, 3)]
    source, target = write(tmp_path / "a.tsv", lines), tmp_path / "b.tsv"
    with pytest.raises(OpLogError, match=rf"a\.tsv:4: .*{problem}"):
        sort_log(source, target)
    assert os.listdir(tmp_path) == ["a.tsv"]
    assert sort_log(source, target, skip_bad_rows=True).bad_rows == 1
    assert lines_of(target) == [HEADER, line(0, 3), line(1, 9)]


@pytest.mark.parametrize("name", ["a.tsv", "a.tsv.zst"])
def test_every_whole_row_of_a_log_that_was_cut_off(tmp_path, name):
    source = write(tmp_path / name, [line(at, 100 - at, f"{at * 7919}") for at in range(8)])
    data = source.read_bytes()
    for length in range(len(HEADER) + 20 if name == "a.tsv" else 60, len(data), 7):
        source.write_bytes(data[:length])
        try:
            with read(source) as reader:
                whole = list(reader)
        except OpLogError:
            with pytest.raises(OpLogError, match="no complete header"):
                sort_log(source, tmp_path / "b.tsv")
            continue
        done = sort_log(source, tmp_path / "b.tsv")
        assert (done.rows, done.cut_off) == (len(whole), (str(source),) if reader.truncated else ())
        assert [row.file for row in read(tmp_path / "b.tsv")] == [row.file for row in reversed(whole)]


def test_text_that_is_no_utf8_and_other_control_characters(tmp_path):
    source = tmp_path / "a.tsv"
    source.write_bytes(f"{HEADER}\n{line(0, 7)}\n{line(1, 3)}\n".encode().replace(b"b/k", b"b/\xff\x01\x0b"))
    sort_log(source, tmp_path / "b.tsv")
    assert lines_of(tmp_path / "b.tsv")[1] == line(0, 3).replace("b/k", "b/\udcff\x01\x0b")


def test_other_forms_of_logs(tmp_path):
    source = tmp_path / "a.csv"
    source.write_text(
        'op,file,start,end,own\nGET,"a,""b""\nc",1970-01-01T00:00:02Z,1970-01-01T00:00:03Z,x\n'
        "PUT,k,1970-01-01T01:00:01+01:00,1970-01-01T00:00:03Z,\n"
    )
    sort_log(source, tmp_path / "b.csv.zst")
    sort_log(tmp_path / "b.csv.zst", tmp_path / "c.jsonl")
    rows = list(read(tmp_path / "c.jsonl"))
    assert [(row.op, row.file, row.extra) for row in rows] == [
        ("PUT", "k", (("own", ""),)),
        ("GET", 'a,"b"\nc', (("own", "x"),)),
    ]


def test_what_sorting_does_not_judge_is_kept(tmp_path):
    lines = [line(0, 9).replace("\t7\t", "\tmany\t"), line(1, 5).replace("GET", "FROB")]
    source = write(tmp_path / "a.tsv", lines)
    sort_log(source, tmp_path / "b.jsonl")
    texts = [json.loads(text) for text in (tmp_path / "b.jsonl").read_text().splitlines()]
    assert [(text["op"], text["bytes"]) for text in texts] == [("FROB", 7), ("GET", "many")]
    for bad, problem in [
        (lines, "column bytes of a row holds 'many'"),
        ([line(0, 5, first="soon")], "column first_byte of a row: 'soon' is not a time"),
        ([line(0, 5).replace("\t7\t", f"\t{2**63}\t")], "column bytes holds what 64 bits can't"),
        ([line(0, 5, first="9999-01-01T00:00:00Z")], "column first_byte holds what 64 bits can't"),
    ]:
        with pytest.raises(OpLogError, match=problem):
            sort_log(write(source, bad), tmp_path / "c.parquet")
    assert sorted(os.listdir(tmp_path)) == ["a.tsv", "b.jsonl"]


def test_targets_that_can_not_be_written(tmp_path):
    source = write(tmp_path / "a.tsv", [line(0, 1)])
    (tmp_path / "d.tsv").mkdir()
    for target, problem in [
        (tmp_path / "absent" / "b.tsv", "No such file"),
        (tmp_path / "d.tsv", "Is a directory"),
        (tmp_path / "b.txt", r"name the log \*\.tsv"),
        (source / "b.tsv", "Not a directory"),
    ]:
        with pytest.raises(OpLogError, match=problem):
            sort_log(source, target)
    with pytest.raises(OpLogError, match="rows in memory: 0"):
        sort_log(source, tmp_path / "b.tsv", rows_in_memory=0)
    with pytest.raises(OpLogError, match="No such file"):
        sort_log(tmp_path / "absent.tsv", tmp_path / "b.tsv")
    with pytest.raises(OpLogError, match="no temporary file can be made"):
        sort_log(source, tmp_path / "b.tsv", rows_in_memory=1, folder=tmp_path / "absent")
    assert sorted(os.listdir(tmp_path)) == ["a.tsv", "d.tsv"]


def test_a_full_disk(tmp_path):
    link = tmp_path / "full.tsv"
    link.symlink_to("/dev/full")
    source = write(tmp_path / "a.tsv", [line(at, at, "n" * 100) for at in range(1000)])
    with pytest.raises(OpLogError, match="No space left"):
        sort_log(source, link)


def test_memory_is_bounded_by_the_rows_in_memory(tmp_path):
    source = tmp_path / "a.tsv.zst"
    with zstandard.open(source, "wt") as file:
        file.write(f"{HEADER}\n")
        for block in range(200):
            file.write("".join(f"{line(at, (block * 1000 + at) * 7919 % 300_007)}\n" for at in range(1000)))
    tracemalloc.start()
    done = sort_log(source, tmp_path / "b.tsv.zst", rows_in_memory=10_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert done.rows == 200_000
    assert peak < 16e6 < len(line(0, 0)) * done.rows
    starts = [row.start_ns for row in read(tmp_path / "b.tsv.zst")]
    assert starts == sorted(starts)


def test_an_interrupt_leaves_nothing(tmp_path):
    fifo = tmp_path / "in.tsv"
    os.mkfifo(fifo)
    code = "import sys; from penstock.oplog.sorting import sort_log; sort_log(*sys.argv[1:], rows_in_memory=10)"
    command = [sys.executable, "-c", code, str(fifo), str(tmp_path / "b.tsv")]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        with fifo.open("w") as file:
            file.write(f"{HEADER}\n" + "".join(f"{line(at, at)}\n" for at in range(50_000)))
            file.flush()
            assert os.listdir(tmp_path) != ["in.tsv"]
            process.send_signal(signal.SIGINT)
            assert process.wait(60) != 0
        assert b"KeyboardInterrupt" in process.stderr.read()
    assert os.listdir(tmp_path) == ["in.tsv"]


@given(st.lists(st.integers(-(2**60), 2**63 - 1), min_size=1, max_size=50))
def test_times_are_parsed_in_bulk_as_singly(times):
    data = "".join(f"{number}\t{format_time(time)}\n" for number, time in enumerate(times)).encode()
    found = scan(data, width=2, start=1)
    assert found.chunk.keys.tolist() == times
    assert not found.bad


def test_a_time_that_64_bits_can_not_hold():
    data = b"0\t2262-04-11T23:47:16.854775808Z\n1\t1500-01-01T00:00:00.000000000Z\n2\t2262-04-11T23:47:16.854775807Z\n"
    found = scan(data, width=2, start=1)
    assert found.bad.keys() == {0, 1}
    assert "too far from 1970" in str(found.bad[0])
    assert found.good().keys.tolist() == [2**63 - 1]


@given(
    st.lists(
        st.from_regex(r"\A\d{4}-[01]\d-[0-3]\d[Tt ][0-2]\d:[0-6]\d:[0-6]\d(\.\d{9})?([Zz:]|[+-]0\d:30)\Z"), max_size=9
    )
)
def test_what_is_no_time_in_bulk_is_none_singly(stamps):
    data = "".join(f"{stamp}\n" for stamp in stamps).encode()
    ends = [at for at, char in enumerate(data) if char == 10]
    begins = np.array([0, *(end + 1 for end in ends[:-1])][: len(ends)], np.int64)
    keys, bad = parse_times(data, begins, np.array(ends, np.int64))
    for place, stamp in enumerate(stamps):
        try:
            time = parse_time(stamp)
        except ValueError:
            assert place in bad
        else:
            assert keys[place] == time
