"""Converting logs from each form to each other, there and back."""

from __future__ import annotations

import os
import sys

import attrs
import polars
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import OpLogError
from penstock.oplog import COLUMNS, OPERATIONS, Row, read
from penstock.oplog.columns import COLUMNS_15
from penstock.oplog.converting import convert_log

TEXT = st.text(
    st.one_of(st.sampled_from('\t\n\r\\",# nu\x00\ud800\udcff'), st.characters(exclude_categories=())), max_size=8
)
NUMBER = st.integers(0, 2**62)
TIME = st.integers(-(2**60), 2**60)
FORMS = ("tsv", "tsv.zst", "csv", "csv.zst", "jsonl", "jsonl.zst", "parquet")


@st.composite
def rows(draw):
    start, took = draw(TIME), draw(NUMBER)
    texts = [draw(TEXT) for _ in range(5)]
    return Row(
        draw(NUMBER),
        draw(NUMBER),
        draw(st.sampled_from(sorted(OPERATIONS))),
        texts[0],
        draw(NUMBER),
        draw(NUMBER),
        *texts[1:4],
        start,
        draw(st.none() | TIME),
        start + took,
        took,
        draw(st.none() | TIME),
        texts[4],
    )


def write(path, rows, columns=COLUMNS_15):
    text = "".join("\t".join(cells) + "\n" for cells in [columns, *(row.texts(columns) for row in rows)])
    path.write_bytes(text.encode())
    return path


@settings(max_examples=60)
@given(st.lists(rows(), max_size=6), st.lists(st.sampled_from(FORMS), min_size=1, max_size=4))
def test_there_and_back_no_cell_is_changed(tmp_path_factory, rows, forms):
    folder = tmp_path_factory.mktemp("convert")
    first = previous = write(folder / "first.tsv", rows)
    for number, form in enumerate([*forms, "tsv"]):
        path = folder / f"{number}.{form}"
        assert convert_log(previous, path).rows == len(rows)
        if rows:
            with read(path, strict=True) as reader:
                assert list(reader) == rows
        else:
            return
        previous = path
    assert previous.read_bytes() == first.read_bytes()


@given(st.lists(rows(), min_size=1, max_size=6))
def test_13_columns_to_15_and_back(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("convert")
    rows = [attrs.evolve(row, last_byte_ns=None, category="") for row in rows]
    first = write(folder / "a.tsv", rows, COLUMNS)
    convert_log(first, folder / "b.tsv.zst", columns=15)
    with read(folder / "b.tsv.zst") as reader:
        assert reader.columns == COLUMNS_15
        assert list(reader) == [
            attrs.evolve(row, last_byte_ns=row.first_byte_ns if row.op == "PUT" else None, category="0") for row in rows
        ]
    convert_log(folder / "b.tsv.zst", folder / "c.tsv", columns=13)
    assert (folder / "c.tsv").read_bytes() == first.read_bytes()


@pytest.mark.parametrize(("op", "first"), [("PUT", 7), ("GET", None)])
def test_from_15_to_13_columns(tmp_path, op, first):
    source = write(tmp_path / "a.tsv", [Row(0, 0, op, "", 1, 1, "", "k", "", 1, None, 9, 8, 7, "2")])
    convert_log(source, tmp_path / "b.tsv", columns=13)
    with read(tmp_path / "b.tsv") as reader:
        assert reader.columns == COLUMNS
        assert list(reader) == [Row(0, 0, op, "", 1, 1, "", "k", "", 1, first, 9, 8)]


def test_times_come_out_in_utc_and_all_else_as_it_was(tmp_path):
    (tmp_path / "a.tsv").write_text(
        "\t".join((*COLUMNS_15, "own")) + "\n"
        "812\t7\tGET\tHk\t1\t10\thttp://10.0.0.5:9000\tk/1.obj\t\t2026-08-01T09:15:22.104551+02:00"
        "\t2026-08-01T09:15:22.109003+02:00\t\t2026-08-01T09:15:22.141902+02:00\t37351000\t0\tm\\tn\n# warp --full\n"
    )
    convert_log(tmp_path / "a.tsv", tmp_path / "b.jsonl")
    convert_log(tmp_path / "b.jsonl", tmp_path / "c.csv.zst")
    convert_log(tmp_path / "c.csv.zst", tmp_path / "d.tsv")
    header, line = (tmp_path / "d.tsv").read_text().splitlines()
    assert header.split("\t") == [*COLUMNS_15, "own"]
    assert line.split("\t") == [
        *("812", "7", "GET", "Hk", "1", "10", "http://10.0.0.5:9000", "k/1.obj", "", "2026-08-01T07:15:22.104551000Z"),
        *("2026-08-01T07:15:22.109003000Z", "", "2026-08-01T07:15:22.141902000Z", "37351000", "0", "m\\tn"),
    ]


def test_a_column_that_only_later_rows_have_is_not_lost_in_silence(tmp_path):
    row = '{"op": "GET", "file": "k", "start": "2026-08-01T07:15:22Z", "duration_ns": 1'
    (tmp_path / "a.jsonl").write_text(row + "}\n" + row + ', "own": "x"}\n')
    with pytest.raises(OpLogError, match=":2: the first row has no own"):
        convert_log(tmp_path / "a.jsonl", tmp_path / "b.csv")
    assert os.listdir(tmp_path) == ["a.jsonl"]


def test_parquet_has_types(tmp_path):
    row = Row(0, 3, "GET", "", 1, 5, "", "k", "", 10**9 + 1, None, 10**9 + 9, 8)
    convert_log(write(tmp_path / "a.tsv", [row, row], COLUMNS), tmp_path / "b.parquet")
    frame = polars.read_parquet(tmp_path / "b.parquet")
    assert frame.columns == list(COLUMNS)
    assert frame.schema["bytes"] == polars.Int64
    assert frame.schema["start"] == polars.Datetime("ns", "UTC")
    assert frame["start"].cast(polars.Int64).to_list() == [10**9 + 1] * 2
    assert frame["first_byte"].null_count() == 2
    (tmp_path / "c.parquet").write_bytes(b"PAR1")
    with pytest.raises(OpLogError, match="can't be read as Parquet"):
        read(tmp_path / "c.parquet")


def test_parquet_from_another_program(tmp_path):
    frame = polars.DataFrame({"file": ["a\tb"], "op": ["PUT"], "start": [5], "end": [7]})
    stamps = polars.col("start", "end").cast(polars.Datetime("ms", "UTC"))
    frame.with_columns(stamps).write_parquet(tmp_path / "a.parquet")
    assert list(read(tmp_path / "a.parquet")) == [
        Row(0, 0, "PUT", "", 1, 0, "", "a\tb", "", 5_000_000, None, 7_000_000, 2_000_000)
    ]


def test_parquet_without_its_extra(tmp_path, monkeypatch):
    source = write(tmp_path / "a.tsv", [])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(OpLogError, match=r"pip install 'penstock\[parquet\]'"):
        convert_log(source, tmp_path / "b.parquet")
    assert os.listdir(tmp_path) == ["a.tsv"]


def test_bad_rows_and_logs_that_were_cut_off(tmp_path):
    row = Row(0, 0, "GET", "", 1, 1, "", "k", "", 1, None, 9, 8)
    source = write(tmp_path / "a.tsv", [row, row, row], COLUMNS)
    source.write_text(source.read_text().replace("GET", "FROB", 1)[:-5])
    with pytest.raises(OpLogError, match=r"a\.tsv:2: unknown operation 'FROB'"):
        convert_log(source, tmp_path / "b.csv")
    done = convert_log(source, tmp_path / "b.csv", skip_bad_rows=True)
    assert (done.rows, done.bad_rows, done.cut_off) == (1, 1, (str(source),))


def test_wrong_usage(tmp_path):
    source = write(tmp_path / "a.tsv", [])
    for name, columns, problem in [
        ("b.txt", None, "name the log"),
        ("b.parquet.zst", None, "name the log"),
        ("b.tsv", 14, "choose 13 or 15"),
    ]:
        with pytest.raises(OpLogError, match=problem):
            convert_log(source, tmp_path / name, columns=columns)
    with pytest.raises(OpLogError, match="zstd level 23"):
        convert_log(source, tmp_path / "b.csv.zst", level=23)
