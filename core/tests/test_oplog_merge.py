"""Merging the logs of several processes and hosts."""

from __future__ import annotations

import os

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import OpLogError
from penstock.oplog import COLUMNS, Row, read
from penstock.oplog.columns import COLUMNS_15
from penstock.oplog.converting import convert_log
from penstock.oplog.merging import Part, merge_logs


def row(start, file="k", *, op="GET", client="", last=None, cat=""):
    return Row(0, 1, op, client, 1, 7, "s3://", file, "", start, start + 1, start + 5, 5, last, cat)


def write(path, rows, columns=COLUMNS):
    text = "".join("\t".join(cells) + "\n" for cells in [columns, *(each.texts(columns) for each in rows)])
    path.write_bytes(text.encode())
    return str(path)


@given(
    st.lists(st.lists(st.integers(0, 20), max_size=30), min_size=1, max_size=5),
    st.booleans(),
    st.sampled_from([1, 7, 1000]),
)
def test_it_is_the_stable_order_of_all(tmp_path_factory, logs, is_sorted, rows_in_memory):
    folder = tmp_path_factory.mktemp("merge")
    if is_sorted:
        logs = [sorted(starts) for starts in logs]
    rows = [[row(start, f"{log}/{at}") for at, start in enumerate(starts)] for log, starts in enumerate(logs)]
    parts = [Part(write(folder / f"{at}.tsv", some)) for at, some in enumerate(rows)]
    done = merge_logs(parts, folder / "all.tsv.zst", is_sorted=is_sorted, rows_in_memory=rows_in_memory)
    expected = sorted((each for some in rows for each in some), key=lambda each: each.start_ns)
    found = list(read(folder / "all.tsv.zst"))
    assert [(each.file, each.start_ns) for each in found] == [(each.file, each.start_ns) for each in expected]
    assert [each.idx for each in found] == list(range(len(expected)))
    assert done.rows == len(expected)


def test_streaming_many_blocks(tmp_path):
    sizes = (30_000, 20_000, 1)
    parts = [
        Part(write(tmp_path / f"{at}.tsv", [row(1000 * number // size, f"{at}") for number in range(size)]))
        for at, size in enumerate(sizes)
    ]
    merge_logs(parts, tmp_path / "all.tsv", is_sorted=True)
    found = [(each.start_ns, each.file) for each in read(tmp_path / "all.tsv")]
    assert found == sorted(found)
    assert len(found) == sum(sizes)


@pytest.mark.parametrize("place", [1, 20_000])
def test_a_part_that_is_not_in_order(tmp_path, place):
    rows = [row(number) for number in range(25_000)]
    rows[place] = row(place - 2)
    part = Part(write(tmp_path / "a.tsv", rows))
    with pytest.raises(OpLogError, match=rf"a\.tsv: row {place + 1} started before .* without --sorted"):
        merge_logs([part], tmp_path / "all.tsv", is_sorted=True)
    assert os.listdir(tmp_path) == ["a.tsv"]
    assert merge_logs([part], tmp_path / "all.tsv").rows == 25_000


@pytest.mark.parametrize("is_sorted", [False, True])
def test_the_columns_of_all_parts(tmp_path, is_sorted):
    eleven = [name for name in COLUMNS if name not in ("client_id", "endpoint")]
    write(tmp_path / "a.tsv", [row(10, "a")], eleven)
    write(tmp_path / "b.tsv", [row(20, "b", op="PUT", last=23, cat="2")], COLUMNS_15)
    write(tmp_path / "c.tsv", [row(30, "c", client="me")], ("file", *(name for name in COLUMNS if name != "file")))
    (tmp_path / "d.tsv").write_text(
        "op\tfile\tstart\tduration_ns\town\nGET\td\t1970-01-01T00:00:00.000000040Z\t5\tx\\ty\n"
    )
    convert_log(write(tmp_path / "e.tsv", [row(50, "e\t,")]), tmp_path / "e.csv")
    parts = [Part(str(tmp_path / name)) for name in ("e.csv", "d.tsv", "c.tsv", "b.tsv", "a.tsv")]
    merge_logs(parts, tmp_path / "all.tsv", is_sorted=is_sorted)
    with read(tmp_path / "all.tsv") as reader:
        found = list(reader)
        assert reader.columns == (*COLUMNS_15, "own")
    assert [each.file for each in found] == ["a", "b", "c", "d", "e\t,"]
    assert [each.client_id for each in found] == ["", "", "me", "", ""]
    assert [each.category for each in found] == ["0", "2", "0", "0", "0"]
    assert [each.extra[0][1] for each in found] == ["", "", "", "x\ty", ""]
    assert [each.end_ns - each.start_ns for each in found] == [5] * 5
    assert [each.n_objects for each in found] == [1] * 5
    assert found[1].last_byte_ns == 23


def test_clock_offsets_and_clients(tmp_path):
    a = write(tmp_path / "a.tsv", [row(10, "a"), row(3_000_000_000, "c")])
    b = write(tmp_path / "b.tsv", [row(2_000_000_000, "b", op="PUT", last=2_000_000_003)], COLUMNS_15)
    merge_logs([Part(a, 1_500_000_000, "h\t1"), Part(b, -7)], tmp_path / "all.tsv", is_sorted=True)
    found = [
        (each.file, each.start_ns, each.first_byte_ns, each.last_byte_ns, each.end_ns, each.client_id)
        for each in read(tmp_path / "all.tsv")
    ]
    assert found == [
        ("a", 1_500_000_010, 1_500_000_011, None, 1_500_000_015, "h\t1"),
        ("b", 1_999_999_993, 1_999_999_994, 1_999_999_996, 1_999_999_998, ""),
        ("c", 4_500_000_000, 4_500_000_001, None, 4_500_000_005, "h\t1"),
    ]


@pytest.mark.parametrize("is_sorted", [False, True])
def test_threads_of_several_processes_stay_apart(tmp_path, is_sorted):
    def of(path, *threads):
        rows = [attrs.evolve(row(10 * at, client=who), thread=thread) for at, (thread, who) in enumerate(threads)]
        return Part(write(tmp_path / path, rows))

    parts = [
        of("a.tsv", (0, ""), (1, ""), (0, "h"), (0, "")),
        of("b.tsv", (0, ""), (1, ""), (7, ""), (0, "h\t2"), (0, "")),
        of("c.tsv", (2, ""), (0, "h")),
    ]
    done = merge_logs(parts, tmp_path / "all.tsv", is_sorted=is_sorted)
    found = {(each.client_id, each.thread) for each in read(tmp_path / "all.tsv")}
    assert len(found) == 9
    told = {(os.path.basename(each.name), each.client_id, each.old): each.new for each in done.renumbered}
    assert set(told) == {("b.tsv", "", 0), ("b.tsv", "", 1), ("c.tsv", "h", 0)} | (
        {("c.tsv", "", 2)} if ("c.tsv", "", 2) in told else set()
    )
    assert len({told["b.tsv", "", 0], told["b.tsv", "", 1], 0, 1, 7}) == 5
    again = merge_logs([Part(str(tmp_path / "all.tsv"))], tmp_path / "again.tsv")
    assert again.renumbered == ()
    assert (tmp_path / "again.tsv").read_bytes() == (tmp_path / "all.tsv").read_bytes()


def test_bad_rows_and_parts_that_were_cut_off(tmp_path):
    a = write(tmp_path / "a.tsv", [row(10), row(11)])
    b = write(tmp_path / "b.tsv", [row(12), row(13)])
    (tmp_path / "a.tsv").write_text((tmp_path / "a.tsv").read_text().replace("1970-01-01T00:00:00.000000010Z", "?"))
    (tmp_path / "b.tsv").write_text((tmp_path / "b.tsv").read_text()[:-20])
    for offset in (0, 5):
        parts = [Part(a, offset), Part(b, offset)]
        with pytest.raises(OpLogError, match=r"a\.tsv:2: .*is not a time"):
            merge_logs(parts, tmp_path / "all.tsv")
        done = merge_logs(parts, tmp_path / "all.tsv", skip_bad_rows=True)
        assert (done.rows, done.bad_rows, done.cut_off) == (2, 1, (b,))


def test_nothing_to_merge(tmp_path):
    with pytest.raises(OpLogError, match="no logs to merge"):
        merge_logs([], tmp_path / "all.tsv")
    assert merge_logs([Part(write(tmp_path / "a.tsv", []))] * 2, tmp_path / "all.csv").rows == 0
    assert (tmp_path / "all.csv").read_bytes() == ",".join(COLUMNS).encode() + b"\r\n"
