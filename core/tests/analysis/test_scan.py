"""Logs in columns: the same rows, and the same complaints, as when they are read row by row."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import OpLogError
from penstock.oplog import COLUMNS, OPERATIONS, read
from penstock.oplog import columnar as columnar_module
from penstock.oplog.cells import TextTable, pad, parse_naturals, parse_stamps
from penstock.oplog.columnar import ColumnLog
from penstock.oplog.columns import COLUMNS_15, escape, format_time, parse_time
from penstock.oplog.names import Names, Operations, op_name
from penstock.oplog.usual import NEVER, UsualLines

SECOND = 10**9
BITS = 2**63
USUAL = "2026-01-31T12:00:00.000000000Z"

#: Those of the oldest logs of warp.
OLD = tuple(name for name in COLUMNS if name not in ("client_id", "endpoint"))
ARRAYS = ["ops", "threads", "n_objects", "nbytes", "starts", "firsts", "ends", "durations", "clients", "endpoints"]

numbers = st.one_of(
    st.integers(0, 10**9).map(str),
    st.integers(0, 10**20).map(str),
    st.sampled_from(["", "0", "007", "-1", "1.5", "x", "12345678", "123456789", "9999999999999999", "10" * 8, "²"]),
)
stamps = st.one_of(
    st.integers(0, 2 * 10**18).map(format_time),
    st.integers(1_769_000_000 * SECOND, 1_769_900_000 * SECOND).map(format_time),
    st.builds(
        lambda at, digits, zone: format_time(at)[: 20 + digits].removesuffix(".") + zone,
        st.integers(1_760_000_000 * SECOND, 1_770_000_000 * SECOND),
        st.integers(0, 9),
        st.sampled_from(["Z", "z", "+02:00", "-11:30", "+0200", "+99:59", "+02:60", "", "+2:00"]),
    ),
    st.text("0129-:T .Z+", max_size=32),
    st.builds(
        lambda at, char: USUAL[:at] + char + USUAL[at + 1 :], st.integers(0, 29), st.text(min_size=1, max_size=1)
    ),
    st.sampled_from(
        ["", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z", "2026-02-30T00:00:00Z", "2016-12-31T23:59:60Z"]
    ),
)
texts = st.one_of(
    st.sampled_from(["", "", "me", "host-1", "host-2", "a\\tb", "a\\qb", "\\\\", "x" * 65, "€", "\0", "me\0"]),
    st.text(st.characters(exclude_characters="\t\n", exclude_categories=["Cs"]), max_size=12),
)
CELLS = {
    "op": st.one_of(
        st.sampled_from(sorted(OPERATIONS)), st.sampled_from(["get", "Put", "FETCH", "", "l\u0131st", "#"])
    ),
    "start": stamps,
    "first_byte": stamps,
    "last_byte": stamps,
    "end": stamps,
    **dict.fromkeys(["idx", "thread", "n_objects", "bytes", "duration_ns"], numbers),
}
GOOD = {
    "op": st.sampled_from(sorted(OPERATIONS)),
    "start": st.integers(1_760_000_000 * SECOND, 1_770_000_000 * SECOND).map(format_time),
    "first_byte": st.one_of(st.just(""), st.integers(1_760_000_000 * SECOND, 10**18 * 2).map(format_time)),
    "last_byte": st.just(""),
    "end": st.integers(1_760_000_000 * SECOND, 1_770_000_000 * SECOND).map(format_time),
    **dict.fromkeys(["idx", "thread", "n_objects", "bytes", "duration_ns"], st.integers(0, 10**15).map(str)),
}


@st.composite
def lines_of(draw, names):
    """Lines below a header: good rows, rows with odd cells, and other things."""
    kind = draw(st.sampled_from(["good", "good", "good", "odd", "one odd", "other"]))
    if kind == "other":
        return draw(
            st.one_of(
                st.sampled_from(["", "\r", "# warp --host x", "\t".join(COLUMNS), "op\tfile\tstart\tend", "a\tb"]),
                st.just("\t".join(names).upper()),
                st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
            )
        )
    odd = draw(st.sampled_from(names)) if kind == "one odd" else None
    cells = [draw((CELLS if kind == "odd" or name == odd else GOOD).get(name, texts)) for name in names]
    return "\t".join(cells) + draw(st.sampled_from(["", "", "", "\r"]))


@st.composite
def logs(draw):
    """The bytes of a log, whole or cut off."""
    names = draw(
        st.one_of(
            st.sampled_from(
                [COLUMNS, COLUMNS_15, tuple(name for name in COLUMNS if name not in ("client_id", "endpoint"))]
            ),
            st.permutations(COLUMNS_15).map(tuple),
            st.permutations(["operation", "t_start", "file", "duration_ns", "error", "mine"]).map(tuple),
        )
    )
    spelt = {"operation": "op", "t_start": "start"}
    lines = draw(st.lists(lines_of([spelt.get(name, name) for name in names]), max_size=12))
    before = draw(st.sampled_from([[], ["# comment", ""], ["#\t\t\t"]]))
    text = "\n".join([*before, "\t".join(names), *lines])
    data = text.encode() + draw(st.sampled_from([b"\n", b"\n", b"", b"\n# done", b"\xff\t\n", b"\n\xed\xa0\x80\n"]))
    if draw(st.booleans()):
        cut = draw(st.integers(0, len(data)))
        parts = [zstandard.ZstdCompressor().compress(part) for part in (data[:cut], data[cut:])]
        packed = b"".join(parts)
        return packed[: len(packed) - draw(st.sampled_from([0, 0, 1, 5]))]
    return data


def rows_by_columns(path, **options):
    """Everything that columns say, row by row; the numbers of bad rows; whether it was cut off."""
    log = ColumnLog(str(path), **options)
    rows = []
    for columns in log:
        failed = {place: (file, error) for place, file, error in columns.failures}
        assert len(failed) == len(columns.failures)
        rows += [
            (
                op_name(op),
                thread,
                count,
                nbytes,
                start,
                None if first == NEVER else first,
                end,
                took,
                columns.client_names.texts[client],
                columns.endpoint_names.texts[endpoint],
                *failed.pop(place, (None, "")),
            )
            for place, (op, thread, count, nbytes, start, first, end, took, client, endpoint) in enumerate(
                zip(*(getattr(columns, name).tolist() for name in ARRAYS), strict=True)
            )
        ]
        assert not failed
    assert log.rows == len(rows)
    return rows, log.bad_rows, log.truncated, log.columns


def rows_one_by_one(path, **options):
    """The same from the row reader; rows that don't fit into 64 bits are bad."""
    rows, unfit = [], 0
    with read(path, **options) as reader:
        columns = reader.columns
        for row in reader:
            times = (row.start_ns, row.end_ns, row.first_byte_ns or 0)
            if any(abs(value) >= BITS for value in (*times, row.thread, row.n_objects, row.nbytes, row.duration_ns)):
                if not options.get("skip_bad_rows"):
                    raise OpLogError(f"{reader.name}:{reader.line}")
                unfit += 1
                continue
            failed = (row.file, row.error) if row.error else (None, "")
            rows.append(
                (
                    row.op,
                    row.thread,
                    row.n_objects,
                    row.nbytes,
                    row.start_ns,
                    row.first_byte_ns,
                    row.end_ns,
                    row.duration_ns,
                    row.client_id,
                    row.endpoint,
                    *failed,
                )
            )
        return rows, reader.bad_rows + unfit, reader.truncated, columns


def outcome(function, path, **options):
    try:
        return function(path, **options)
    except OpLogError as error:
        return str(error)


@given(logs(), st.sampled_from([1 << 20, 64, 500]))
def test_it_is_what_the_row_reader_says(tmp_path_factory, data, size):
    path = tmp_path_factory.mktemp("scan") / "log.tsv"
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columnar_module, "BLOCK", size)
        by_columns = outcome(rows_by_columns, path, skip_bad_rows=True)
        strictly = outcome(rows_by_columns, path)
    by_rows = outcome(rows_one_by_one, path, skip_bad_rows=True)
    assert by_columns == by_rows
    expected = outcome(rows_one_by_one, path)
    if isinstance(strictly, str) and isinstance(expected, str):
        assert strictly.startswith(expected.partition(": ")[0])
    else:
        assert strictly == expected


def usual_line(rng, names, number):
    """A line as programs write them."""
    start = 1_769_860_790 * SECOND + number * 700_000_000 + rng.randrange(SECOND)
    took = rng.randrange(10**6, 10 ** rng.randint(7, 10))
    body = rng.random() < 0.5
    cells = {
        "idx": number,
        "thread": rng.choice([0, 7, 12]),
        "op": rng.choice(sorted(OPERATIONS)),
        "client_id": rng.choice(["", "", "host-1/7"]),
        "n_objects": rng.choice([1, 1, 1000]),
        "bytes": rng.randrange(10 ** rng.randint(1, 12)),
        "endpoint": rng.choice(["s3://", "https://s3.example.com:9000"]),
        "file": "k" * rng.choice([0, 5, 30, 90]),
        "error": rng.choice(["", "", "", "", "no answer"]),
        "start": format_time(start),
        "first_byte": format_time(start + took // 2) if body else "",
        "last_byte": "" if body else format_time(start + took // 3),
        "end": format_time(start + took),
        "duration_ns": took,
        "cat": rng.choice(["", "mine"]),
    }
    return "\t".join(str(cells[name]) for name in names)


#: What may be wrong with a line, by where it is cut in two.
DAMAGE = {
    "a tab more": lambda left, right: f"{left}\t{right}",
    "a tab less": lambda left, right: left + right.replace("\t", "", 1),
    "a character more": lambda left, right: f"{left}\x01{right}",
    "a character less": lambda left, right: left + right[1:],
    "an end": lambda left, right: f"{left}\n{right}",
    "a return": lambda left, right: f"{left}{right}\r",
    "a digit": lambda left, right: f"{left}8{right[1:]}",
}


@st.composite
def usual_logs(draw):
    """Logs of lines as programs write them, a few of them damaged."""
    names = draw(st.sampled_from([COLUMNS, COLUMNS_15, OLD]))
    rng = random.Random(draw(st.integers(0, 2**32)))
    lines = [usual_line(rng, names, number) for number in range(draw(st.integers(1, 60)))]
    for damage in draw(st.lists(st.sampled_from(sorted(DAMAGE)), max_size=3)):
        at = rng.randrange(len(lines))
        cut = rng.randrange(len(lines[at]) + 1)
        lines[at] = DAMAGE[damage](lines[at][:cut], lines[at][cut:])
    return "\n".join(["\t".join(names), *lines, ""]).encode()


@given(usual_logs())
def test_usual_lines_are_what_the_row_reader_says(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("usual") / "log.tsv"
    path.write_bytes(data)
    assert rows_by_columns(path, skip_bad_rows=True) == rows_one_by_one(path, skip_bad_rows=True)


@pytest.mark.parametrize("names", [COLUMNS, COLUMNS_15, OLD])
def test_usual_lines_are_read_the_quick_way(names):
    rng = random.Random(1)
    lines = [usual_line(rng, names, number) for number in range(100)]
    lines[7] = lines[7].replace("Z", "+00:00")
    found = UsualLines(names).read(pad("\n".join([*lines, ""]).encode()), Operations(), Names(), Names())
    assert np.flatnonzero(~found.good).tolist() == [7]


def test_other_lines_are_left_and_tried_again_later():
    usual, tables = UsualLines(COLUMNS), (Operations(), Names(), Names())
    rng = random.Random(1)
    lines = [usual_line(rng, COLUMNS, number) for number in range(10)]
    good = pad("\n".join([*lines, ""]).encode())
    other = pad("\r\n".join([*lines, ""]).encode())
    assert usual.read(other, *tables) is None
    assert usual.read(good, *tables) is None
    assert usual.read(good, *tables) is not None


def test_bad_rows_are_named_by_their_line(tmp_path):
    path = tmp_path / "log.tsv"
    line = "GET\tk\t1970-01-01T00:00:01Z\t5\n"
    header = "# made by hand\n\nop\tfile\tstart\tduration_ns\n"
    path.write_text(header + line * 3 + "GET\tk\n" + line + "FETCH\tk\t1970-01-01T00:00:01Z\t5\n")
    with pytest.raises(OpLogError, match=r"log\.tsv:7: 2 columns where the header has 4"):
        list(ColumnLog(str(path)))
    log = ColumnLog(str(path), skip_bad_rows=True)
    assert (sum(map(len, log)), log.rows, log.bad_rows) == (4, 4, 2)


def test_a_header_that_lacks_a_column_is_named_by_its_line(tmp_path):
    path = tmp_path / "log.tsv"
    path.write_text("op\tfile\tstart\tend\nop\tfile\tstart\tmine\n")
    with pytest.raises(OpLogError, match=r"log\.tsv:2: the header has no column end"):
        list(ColumnLog(str(path)))


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_other_forms_come_in_columns_too(tmp_path, form):
    path = tmp_path / f"log.{form}"
    cells = {"op": "PUT", "file": "a,b", "start": USUAL, "end": USUAL, "bytes": 7, "error": "gone", "client_id": "me"}
    if form == "csv":
        text = ",".join(cells) + "\n" + ",".join(f'"{cell}"' for cell in cells.values()) + "\n" + "x,y\n"
    else:
        text = json.dumps(cells) + "\n" + json.dumps(cells | {"bytes": 2**63}) + "\n"
    path.write_text(text)
    rows, bad, truncated, columns = rows_by_columns(path, skip_bad_rows=True)
    at = parse_time(USUAL)
    assert rows == [("PUT", 0, 1, 7, at, None, at, 0, "me", "", "a,b", "gone")]
    assert (bad, truncated, columns) == (1, False, tuple(cells))


cells = st.lists(st.binary(max_size=70), min_size=1, max_size=40)


def laid_out(cells):
    text = pad(b"".join(cell + b"\t" for cell in cells))
    lengths = np.array([len(cell) for cell in cells])
    begins = text.begin + np.cumsum(lengths + 1) - lengths - 1
    return text, begins, begins + lengths


@given(st.lists(st.one_of(numbers, st.integers(0, 10**17).map(str)), min_size=1, max_size=40))
def test_numbers_are_read_or_left(texts):
    values, good = parse_naturals(*laid_out([text.encode() for text in texts]))
    for text, value, fine in zip(texts, values.tolist(), good.tolist(), strict=True):
        assert fine == (text.isdecimal() and text.isascii() and len(text) <= 16)
        assert not fine or value == int(text)


@given(st.lists(stamps, min_size=1, max_size=40))
def test_times_are_read_or_left(texts):
    values, good = parse_stamps(*laid_out([text.encode() for text in texts]))
    for text, value, fine in zip(texts, values.tolist(), good.tolist(), strict=True):
        if fine:
            assert value == parse_time(text)
        elif len(text) == len(USUAL) and text[19] == "." and text[29] == "Z":
            assert abs(legal(text) or BITS) >= BITS // 2


def legal(text):
    try:
        return parse_time(text)
    except ValueError:
        return None


@given(cells, st.lists(st.sampled_from([b"", b"GET", b"PUT", b"me\0", b"me"]), min_size=1, max_size=40))
def test_cells_are_told_apart(odd, usual):
    table = TextTable()
    for some in (usual, odd, usual + odd, odd[::-1]):
        codes = table.codes(*laid_out(some))
        assert [table.cells[code] for code in codes] == some
    assert len(set(table.cells)) == len(table.cells)


def test_thousands_of_names_are_told_apart():
    table = TextTable()
    some = [b"client-%d" % number for number in range(9000)]
    for cells in (some[:100], some[:3000], some, some[::-1]):
        assert [table.cells[code] for code in table.codes(*laid_out(cells))] == cells


def test_a_text_has_one_number_however_it_is_escaped():
    names = Names()
    codes = names.codes(*laid_out([b"a\\q", b"a\\\\q", b"b", b"\xff"]))
    assert codes.tolist() == [0, 0, 1, -1]
    assert names.texts == ["a\\q", "b"]
    assert escape("a\\q") == "a\\\\q"


def test_names_stay_bounded(tmp_path):
    path = tmp_path / "log.tsv"
    lines = [f"GET\tk\t{USUAL}\t5\tclient-{number}\n" for number in range(20_000)]
    path.write_text("op\tfile\tstart\tduration_ns\tclient_id\n" + "".join(lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columnar_module, "BLOCK", 1 << 16)
        seen = []
        for columns in ColumnLog(str(path)):
            seen += [columns.client_names.texts[code] for code in columns.clients]
            assert len(columns.client_names.texts) < 6000
    assert seen == [f"client-{number}" for number in range(20_000)]
