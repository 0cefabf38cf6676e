"""Analyses of logs against an independent computation by polars, and against themselves in parts."""

from __future__ import annotations

import io
import math
import os
import pickle
import re
import subprocess
import sys
from collections import Counter
from fractions import Fraction

import numpy as np
import polars as pl
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.analysis import pairs as pairs_module
from penstock.analysis.accumulating import Accumulator, Limits
from penstock.analysis.analyzing import analyze
from penstock.analysis.values import MOST_NAMES, MOST_SLICES, OTHERS, Moment, Selection, members_of
from penstock.clocks import Anchor
from penstock.errors import OpLogError
from penstock.oplog import COLUMNS, OpLogWriter
from penstock.oplog.columnar import ColumnLog
from penstock.oplog.columns import escape, format_time
from penstock.records import Endpoint, Op, RecordBuffer
from penstock.stats.buckets import BOUNDS, LABELS

BEGIN = 1_769_860_800_000_000_000
SECOND = 10**9
PERCENTS = ("50", "90", "95", "99", "99.9", "100")

sizes = st.one_of(
    st.sampled_from([bound + by for bound in BOUNDS for by in (-1, 0, 1) if bound + by >= 0]),
    st.integers(0, 2**45),
)
calls = st.tuples(
    st.sampled_from([*Op.__members__, "HEAD", "GET", "GET", "PUT"]),
    sizes,
    st.one_of(st.integers(0, 10**7), st.integers(0, 10**13)),  # how long it took
    st.integers(0, 20 * SECOND),  # when it started
    st.floats(0, 1) | st.none(),  # when its first byte came
    st.sampled_from(["", "", "", "", "NotFound: no {key}", 'Timeout: "{key}" \t took\\too long']),
    st.sampled_from(["", "host-1", "host\t2", "warmup", "host-1/warmup", "my-warmup"]),
    st.sampled_from(["s3://", "http://10.0.0.5:9000", 'file://"']),
    st.integers(0, 9),
    st.sampled_from(["data/part-1.bin", "a\\tb", 'quoted"name', "#comment", "a\tb\nc", "\u20ac", "op\\\\"]),
)
logs_of_calls = st.lists(st.lists(calls, max_size=30), min_size=1, max_size=3)
moments = st.builds(Moment, st.integers(0, 20 * SECOND), st.just(True)) | st.builds(
    Moment, st.integers(BEGIN, BEGIN + 20 * SECOND)
)
selections = st.builds(
    Selection,
    operations=st.sets(st.sampled_from([*Op.__members__, "get", "HEAD"]), max_size=3),
    buckets=st.just(set()) | st.sets(st.integers(0, len(LABELS) - 1), min_size=3),
    clients=st.sampled_from([(), (), ("host*",), ("", "*2"), ("nobody",)]),
    endpoints=st.sampled_from([(), (), ("s3://",), ("http://*", "file**")]),
    begin=st.none() | moments,
    end=st.none() | moments,
    skip_ns=st.sampled_from([0, 0, 5 * SECOND]),
    include_warmup=st.booleans(),
    common_window=st.booleans(),
) | st.builds(Selection, include_warmup=st.booleans())


def line(idx, call):
    op, size, took, start, first, error, client, endpoint, thread, key = call
    start += BEGIN
    return "\t".join(
        (
            str(idx),
            str(thread),
            op,
            escape(client),
            "1",
            str(size),
            escape(endpoint),
            escape(f"bucket/{key}"),
            escape(error.format(key=key)),
            format_time(start),
            "" if first is None else format_time(start + int(took * first)),
            format_time(start + took),
            str(took),
        )
    )


def write(folder, number, some, header=COLUMNS):
    path = folder / f"log{number}.tsv{'.zst' if number % 2 else ''}"
    text = "".join(f"{text}\n" for text in ("\t".join(header), *(line(*pair) for pair in enumerate(some))))
    data = text.encode()
    path.write_bytes(zstandard.ZstdCompressor().compress(data) if number % 2 else data)
    return path


def frame_of(path):
    """A log as a table, its texts as they stand."""
    data = path.read_bytes()
    if path.suffix == ".zst":
        data = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read()
    if data.count(b"\n") == 1:
        return pl.DataFrame(schema=dict.fromkeys([*COLUMNS, "log"], pl.String))
    return (
        pl.read_csv(data, separator="\t", quote_char=None, infer_schema=False)
        .fill_null("")
        .with_columns(log=pl.lit(path.name))
    )


def typed(frame):
    stamp = "%Y-%m-%dT%H:%M:%S%.9fZ"
    moment = lambda name: pl.col(name).str.to_datetime(stamp, time_unit="ns").dt.epoch("ns")  # noqa: E731
    return (
        frame.with_columns(
            moment("start"),
            moment("end"),
            pl.when(pl.col("first_byte") != "")
            .then(pl.col("first_byte"))
            .str.to_datetime(stamp, time_unit="ns")
            .dt.epoch("ns")
            .alias("first_byte"),
            pl.col("bytes", "duration_ns", "thread").cast(pl.Int64),
            op=pl.col("op").replace("HEAD", "STAT"),
            failed=pl.col("error") != "",
            warming=pl.col("client_id").str.contains("(^|/)warmup$"),
        )
        .with_columns(bytes=pl.when(pl.col("op") == "STAT").then(0).otherwise(pl.col("bytes")))
        .with_columns(
            bucket=pl.when("failed")
            .then(0)
            .otherwise(pl.sum_horizontal([pl.col("bytes") > bound for bound in BOUNDS]).cast(pl.Int64))
        )
    )


def selected(frame, selection):
    """The rows that count, by the words of the specification; the window that they are taken from; what was left."""
    measured = frame if selection.include_warmup else frame.filter(~pl.col("warming"))
    spans = measured.group_by("log").agg(pl.col("start").min(), pl.col("end").max())
    if selection.common_window and spans.height:
        begin, end = spans["start"].max(), spans["end"].min()
    else:
        begin, end = spans["start"].min(), spans["end"].max()
    if begin is None:
        begin = end = 0
    rows = measured
    if selection.common_window and spans.height > 1:
        if begin > end:
            return None
        rows = rows.filter(pl.col("start").is_between(begin, end))
    rows = rows.filter(pl.col("start") >= begin + selection.skip_ns)
    for moment, op in ((selection.begin, pl.Expr.ge), (selection.end, pl.Expr.lt)):
        if moment is not None:
            rows = rows.filter(op(pl.col("start"), begin * moment.relative + moment.ns))

    def chosen(rows):
        if selection.operations:
            rows = rows.filter(pl.col("op").is_in(sorted(selection.operations)))
        if selection.buckets:
            rows = rows.filter(pl.col("bucket").is_in(sorted(selection.buckets)))
        for name, globs in (("client_id", selection.clients), ("endpoint", selection.endpoints)):
            if globs:
                either = "|".join(re.escape(glob).replace(r"\*\*", ".*").replace(r"\*", "[^/]*") for glob in globs)
                rows = rows.filter(pl.col(name).str.replace_all(r"\\t", "\t").str.contains(f"^({either})$"))
        return rows

    left = frame.clear() if selection.include_warmup else chosen(frame.filter("warming"))
    return chosen(rows), (begin, end), left


def check_cell(cell, rows, *, within=1e-3, least=0):
    good = rows.filter(~pl.col("failed"))
    assert (cell.count, cell.errors) == (good.height, rows.height - good.height)
    assert cell.nbytes == sum(good["bytes"].to_list())
    assert cell.objects == good.height
    check_histogram(cell.service, good["duration_ns"].to_list(), within, least)
    reads = good.filter(pl.col("op").is_in(["GET", "GET_RANGE"]), pl.col("first_byte").is_not_null())
    check_histogram(cell.first_byte, (reads["first_byte"] - reads["start"]).to_list(), within, least)


def check_histogram(histogram, values, within, least):
    values.sort()
    assert histogram.count == len(values)
    if not values:
        return
    assert (histogram.minimum, histogram.maximum) == (values[0], values[-1])
    assert histogram.mean == sum(values) / len(values)
    assert histogram.stdev == pytest.approx(float(np.std(np.array(values, float))), rel=1e-6, abs=1e-3)
    for percent in PERCENTS:
        exact = values[max(1, math.ceil(Fraction(percent) / 100 * len(values))) - 1]
        if exact < 2**42:
            assert histogram.percentile(float(percent)) == pytest.approx(exact, rel=within, abs=least)


@settings(max_examples=60)
@given(logs_of_calls, selections)
def test_it_agrees_with_an_independent_computation(tmp_path_factory, logs, selection):
    folder = tmp_path_factory.mktemp("logs")
    paths = [write(folder, number, some) for number, some in enumerate(logs)]
    frame = typed(pl.concat([frame_of(path) for path in paths]))
    expected = selected(frame, selection)
    if expected is None:
        with pytest.raises(OpLogError, match="no time in common"):
            analyze(paths, selection, workers=0)
        return
    found = analyze(paths, selection, workers=0)
    rows, _, left = expected
    keys = {(op, bucket): some for (op, bucket), some in rows.group_by("op", "bucket")}
    assert set(found.tally.cells) == set(keys) == set(found.spans)
    for key, some in keys.items():
        check_cell(found.tally.cells[key], some)
        span = found.spans[key]
        assert (span.first_start_ns, span.last_end_ns) == (some["start"].min(), some["end"].max())
        assert span.threads == some.select("log", "client_id", "thread").unique().height
    for family in ("META", "GET", "PUT", "ALL"):
        check_cell(found.tally.roll_up(family), rows.filter(pl.col("op").is_in(sorted(members_of(family)))))
    assert (found.tally.warmup, found.tally.warmup_errors) == (left.height, left["failed"].sum())
    for names, column in ((found.by_client, "client_id"), (found.by_endpoint, "endpoint")):
        assert sorted(map(escape, names)) == sorted(rows[column].unique())
        for name, tally in names.items():
            for key, some in rows.filter(pl.col(column) == escape(name)).group_by("op", "bucket"):
                check_cell(tally.cells[key], some)
    assert found.errors.count == rows["failed"].sum()
    assert [(log.path, log.rows, log.bad_rows, log.cut_off) for log in found.logs] == [
        (str(path), len(some), 0, False) for path, some in zip(paths, logs, strict=True)
    ]
    assert sum(log.selected for log in found.logs) == rows.height
    check_series(found, rows)


def check_series(found, rows):
    assert (found.series == ()) == (rows.height == 0)
    if not found.series:
        return
    assert len(found.series) <= MOST_SLICES
    assert (found.series[0].begin_ns, found.series[-1].end_ns) == (rows["start"].min(), rows["end"].max())
    assert all(one.end_ns == other.begin_ns for one, other in zip(found.series, found.series[1:], strict=False))
    last = found.series[-1]
    for one in found.series:
        upto = pl.col("end") <= one.end_ns if one is last else pl.col("end") < one.end_ns
        some = rows.filter(pl.col("end") >= one.begin_ns, upto)
        assert (one.tally.count, one.tally.errors) == ((~some["failed"]).sum(), some["failed"].sum())
        for key, cell in one.tally.cells.items():
            check_cell(cell, some.filter(pl.col("op") == key[0], pl.col("bucket") == key[1]), within=5e-3, least=5)


def same(one, other):
    """Whether two analyses say the same; threads may be numbered in another order."""
    assert one.tally == other.tally
    assert (one.by_client, one.by_endpoint) == (other.by_client, other.by_endpoint)
    assert one.series == other.series
    assert (one.logs, one.window) == (other.logs, other.window)
    assert errors_of(one) == errors_of(other)
    assert set(one.spans) == set(other.spans)
    for key, span in one.spans.items():
        its = other.spans[key]
        assert (span.first_start_ns, span.last_end_ns) == (its.first_start_ns, its.last_end_ns)
        assert span.threads == its.threads


def errors_of(found):
    """The errors without the keys that they occurred with: which of them is met first depends on the workers."""
    return [(error.operation, error.text, error.count) for error in found.errors.most_frequent()]


def results(accumulator):
    accumulator.settle()
    total = accumulator.total().tallies().get(0)
    named = [accumulator.clients.tallies(total), accumulator.endpoints.tallies(total)] if total is not None else None
    errors = errors_of(accumulator)
    spans = {key: (span.first_start_ns, span.last_end_ns, span.threads) for key, span in accumulator.spans().items()}
    return total, named, errors, spans, accumulator.slicing.slices(0, 2**62), accumulator.logs


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40)), max_size=60), max_size=8),
    st.sampled_from([1, 2, 7, 1 << 20]),
    st.sampled_from([0, 1 << 20]),
    st.sampled_from([0, 3]),
    st.booleans(),
)
def test_pairs_are_added_up_in_any_portions(batches, chunk, table, shift, full):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pairs_module, "_CHUNK", chunk)
        patch.setattr(pairs_module, "_WAITING", chunk)
        patch.setattr(pairs_module, "_TABLE", table)
        pairs, counter = pairs_module.Pairs(), Counter()
        for batch in map(sorted, batches):
            if full:
                other, middles = pairs_module.Pairs(), {middle(place, shift) for place in batch}
                places = sorted((cell << 16 | bucket) << 32 | 2**32 - 1 for cell, bucket in middles)
                other.append(np.array(places, np.uint64))
                pairs.merge(other)
                counter.update(dict.fromkeys(middles, 2**32 - 1))
            elif batch:
                cells, begins = np.unique([cell for cell, _ in batch], return_index=True)
                buckets = np.array([bucket for _, bucket in batch])
                pairs.add(cells, np.diff(begins, append=len(batch)), buckets, shift)
                counter.update(middle(place, shift) for place in batch)
        found = {(key, place): count for key, *both in pairs.cells() for place, count in zip(*both, strict=True)}
    assert found == counter


def middle(place, shift):
    """A cell and a bucket, the middle of its group if buckets are in groups."""
    cell, bucket = place
    return cell, bucket >> shift << shift | (1 << shift >> 1)


@given(st.lists(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 33 * 1024 - 1)), max_size=20), max_size=4))
def test_a_table_of_buckets_gives_pairs(batches):
    tables = pairs_module.Buckets(), pairs_module.Buckets()
    for number, batch in enumerate(map(sorted, batches)):
        if batch:
            kinds, begins = np.unique([kind for kind, _ in batch], return_index=True)
            buckets = np.array([bucket for _, bucket in batch])
            tables[number % 2].add(kinds, np.diff(begins, append=len(batch)), buckets)
    tables[0].merge(pickle.loads(pickle.dumps(tables[1])))
    counter = Counter(place for batch in batches for place in batch)
    assert counts_of(tables[0]) == counter
    for _ in range(33):
        tables[0].merge(tables[0])
    assert counts_of(tables[0]) == Counter({place: count << 33 for place, count in counter.items()})


def counts_of(table):
    counter = Counter()
    for pair in np.concatenate([np.zeros(0, np.uint64), *table.pairs()._waiting]).tolist():
        place, count = divmod(pair, 1 << 32)
        counter[divmod(place, 1 << 16)] += count
    return counter


@settings(max_examples=25)
@given(st.lists(st.lists(calls, max_size=20), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_parts_that_are_merged_are_the_whole(tmp_path_factory, parts, random):
    folder = tmp_path_factory.mktemp("parts")
    whole = Accumulator(Selection(), Limits())
    merged = Accumulator(Selection(), Limits())
    order = list(enumerate(parts))
    random.shuffle(order)
    for number, some in order:
        part = Accumulator(Selection(), Limits())
        for columns in ColumnLog(str(write(folder, 2 * number, some))):
            part.add(0, columns)
            whole.add(0, columns)
        merged.merge(part)
    assert results(merged) == results(whole)


def big_log(path, rows, *, clients=1, odd=None):
    """A log of some thousand rows, more of them than a block holds. ``odd`` are lines by where they stand."""
    rng = np.random.default_rng(rows)
    took = rng.integers(1000, 10**7, rows)
    starts = np.cumsum(took // 8)
    some = (
        (
            ("GET", "PUT", "STAT")[number % 3],
            int(rng.integers(0, 2**20)),
            int(took[number]),
            int(starts[number]),
            0.5 if number % 3 == 0 else None,
            "Timeout: slow" if number % 97 == 0 else "",
            f"host-{number % clients}",
            "s3://",
            number % 8,
            f"object-{number}",
        )
        for number in range(rows)
    )
    lines = [line(number, call) for number, call in enumerate(some)]
    for at, text in sorted((odd or {}).items()):
        lines.insert(at, text)
    text = "\n".join(["\t".join(COLUMNS), *lines]) + "\n"
    path.write_bytes(zstandard.ZstdCompressor().compress(text.encode()) if path.suffix == ".zst" else text.encode())
    return path


@pytest.fixture
def many_blocks(monkeypatch):
    """Logs of any size are read by workers, in small blocks."""
    monkeypatch.setattr("penstock.analysis.passing.LARGE", 0)
    monkeypatch.setattr("penstock.analysis.passing.LARGE_PACKED", 0)
    monkeypatch.setattr("penstock.oplog.columnar.BLOCK", 1 << 16)


@pytest.mark.parametrize("clients", [1, 3])
@pytest.mark.parametrize("form", ["tsv", "tsv.zst"])
def test_workers_find_the_same(tmp_path, many_blocks, form, clients):
    path = big_log(tmp_path / f"log.{form}", 6000, clients=clients, odd={5000: "# a comment", 5500: ""})
    path.write_bytes(path.read_bytes() if form == "tsv.zst" else path.read_bytes() + b"# done")
    heard = []
    selection = Selection(skip_ns=SECOND)
    found = analyze([path], selection, workers=3, progress=lambda *pair: heard.append(pair))
    same(found, analyze([path], selection, workers=0))
    assert found.logs[0].rows == 6000
    assert found.logs[0].cut_off == (form == "tsv")
    assert heard[-1] == (2 * path.stat().st_size,) * 2


def test_workers_and_this_process_name_the_same_bad_row(tmp_path, many_blocks):
    path = big_log(tmp_path / "log.tsv", 3000, odd={2001: "GET\tk", 2500: "FETCH"})
    for workers in (0, 2):
        with pytest.raises(OpLogError, match=r"log\.tsv:2003: 2 columns where the header has 13"):
            analyze([path], workers=workers)
    found = [analyze([path], workers=workers, skip_bad_rows=True) for workers in (0, 2)]
    same(*found)
    assert (found[0].logs[0].rows, found[0].logs[0].bad_rows) == (3000, 2)


def test_a_line_longer_than_any_block_is_read(tmp_path, many_blocks):
    long = line(9, ("GET", 5, 5, SECOND, None, "", "me", "s3://", 3, "k" * 2_000_000))
    path = big_log(tmp_path / "log.tsv", 2000, odd={1000: long, 1001: "bad"})
    with pytest.raises(OpLogError, match=r"log\.tsv:1003: 1 columns"):
        analyze([path], workers=2)
    found = analyze([path], workers=2, skip_bad_rows=True)
    assert (found.logs[0].rows, found.logs[0].bad_rows) == (2001, 1)
    same(found, analyze([path], workers=0, skip_bad_rows=True))


def test_a_log_whose_columns_change_is_read_all_the_same(tmp_path, many_blocks):
    path = tmp_path / "log.tsv"
    first = big_log(tmp_path / "one.tsv", 2000).read_text()
    lines = [text.split("\t") for text in big_log(tmp_path / "two.tsv", 2000).read_text().splitlines()]
    path.write_text(first + "".join("\t".join(cells[::-1]) + "\n" for cells in lines))
    found = analyze([path], workers=2)
    same(found, analyze([path], workers=0))
    assert (found.logs[0].rows, found.tally.count + found.tally.errors) == (4000, 4000)


def test_more_clients_than_can_be_told_apart_are_added_up(tmp_path, many_blocks):
    for clients in (150, 700):
        path = big_log(tmp_path / f"{clients}.tsv", 3000, clients=clients)
        found = analyze([path], workers=2)
        same(found, analyze([path], workers=0))
        assert len(found.by_client) == MOST_NAMES + 1
        assert OTHERS in found.by_client
        assert sum(tally.count + tally.errors for tally in found.by_client.values()) == 3000


def test_a_worker_that_is_lost_is_said(tmp_path, many_blocks, monkeypatch):
    path = big_log(tmp_path / "log.tsv", 3000)
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(OpLogError, match="ended with code 1; try fewer workers"):
        analyze([path], workers=2)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_log_that_was_cut_off_gives_every_whole_row(tmp_path, many_blocks, workers):
    data = big_log(tmp_path / "log.tsv.zst", 6000).read_bytes()
    path = tmp_path / "cut.tsv.zst"
    path.write_bytes(data[: len(data) * 2 // 3])
    found = analyze([path], workers=workers)
    assert found.logs[0].cut_off
    assert 1000 < found.logs[0].rows < 6000
    assert found.tally.count + found.tally.errors == found.logs[0].rows


def test_several_logs_are_cut_to_the_time_that_all_cover(tmp_path):
    call = ("GET", 5, SECOND, 0, None, "", "", "s3://", 1, "k")
    at = lambda seconds: (*call[:3], seconds * SECOND, *call[4:])  # noqa: E731
    one = write(tmp_path, 0, [at(0), at(2), at(4), at(9)])
    two = write(tmp_path, 2, [at(4), at(8), at(12)])
    found = analyze([one, two])
    assert (found.window.begin_ns - BEGIN, found.window.end_ns - BEGIN) == (4 * SECOND, 10 * SECOND)
    assert found.window.seconds == 6
    assert found.window.overlap == pytest.approx(6 / 13)
    assert [(log.selected, log.overlap) for log in found.logs] == [(2, 0.6), (2, pytest.approx(6 / 9))]
    assert found.tally.count == 4
    everything = analyze([one, two], Selection(common_window=False))
    assert (everything.tally.count, everything.window.seconds) == (7, 13)
    late = write(tmp_path, 4, [at(100)])
    with pytest.raises(OpLogError, match=r"log4\.tsv begins 90\.000 s after the end of .*log0\.tsv"):
        analyze([one, late])
    assert analyze([one, late], Selection(common_window=False)).tally.count == 5


def test_empty_logs_and_selections_give_nothing(tmp_path):
    empty = write(tmp_path, 0, [])
    warm = write(tmp_path, 2, [("GET", 5, 5, 0, None, "", "warmup", "s3://", 1, "k")])
    for found in (analyze([empty]), analyze([warm]), analyze([warm, empty]), analyze([empty], Selection(skip_ns=1))):
        assert (found.tally.cells, found.series, found.window.seconds) == ({}, (), 0)
        assert found.segments(["GET"]) is None
        assert found.logs[0].first_start_ns is None
    assert analyze([warm]).tally.warmup == 1
    assert analyze([warm], Selection(include_warmup=True)).tally.count == 1
    with pytest.raises(OpLogError, match="there is no log"):
        analyze([])


def test_a_stream_is_not_read_twice(tmp_path):
    path = tmp_path / "pipe.tsv"
    os.mkfifo(path)
    with pytest.raises(OpLogError, match="can't be read twice"):
        analyze([path], Selection(skip_ns=1))


def test_errors_are_counted_without_the_names_that_they_quote(tmp_path):
    calls = [
        ("GET", 0, 5, number, None, "NotFound: no {key} here", "", "s3://", 1, f"data/object-{number}")
        for number in range(50)
    ]
    errors = analyze([write(tmp_path, 0, calls)]).errors.most_frequent()
    assert [(e.operation, e.text, e.count, e.example) for e in errors] == [
        ("GET", "NotFound: no <key> here", 50, "bucket/data/object-0")
    ]


def test_threads_beyond_what_is_told_apart_count_as_one(tmp_path, monkeypatch):
    monkeypatch.setattr("penstock.analysis.accumulating.MOST_THREADS", 3)
    calls = [("GET", 0, 5, number, None, "", "", "s3://", number, "k") for number in range(8)]
    paths = [write(tmp_path, 0, calls[:3]), write(tmp_path, 2, calls), write(tmp_path, 4, [*calls, *calls])]
    assert [analyze([path]).threads for path in paths] == [{"GET": 3}, {"GET": 4}, {"GET": 4}]
    parts = [Accumulator(Selection(), Limits()) for _ in range(2)]
    for part, some in zip(parts, (calls[:2], calls[4:]), strict=True):
        for columns in ColumnLog(str(write(tmp_path, 6, some))):
            part.add(0, columns)
    parts[0].merge(parts[1])
    assert [span.threads for span in parts[0].spans().values()] == [4]


def calls_at(starts):
    return [("GET", 100, 1000, start, None, "", "", "s3://", 1, "k") for start in starts]


def test_segments_are_the_fastest_the_median_and_the_slowest(tmp_path):
    slow, fast = range(10 * SECOND, 30 * SECOND, SECOND // 10), range(30 * SECOND, 70 * SECOND, SECOND // 50)
    found = analyze([write(tmp_path, 0, calls_at([*range(0, 10 * SECOND, SECOND // 20), *slow, *fast]))])
    segments = found.segments(["GET"])
    three = (segments.fastest, segments.median, segments.slowest)
    assert segments.by_bytes
    assert [round(one.tally.nbytes / one.seconds / 100) for one in three] == [50, 50, 10]
    assert len({one.seconds for one in three}) == 1
    assert sum(one.tally.count for one in three) / 3 > 50
    assert found.segments(["PUT"]) is None


def test_segments_of_few_calls_are_five_at_least(tmp_path):
    found = analyze([write(tmp_path, 0, calls_at(range(0, 16 * SECOND, SECOND)))])
    segments = found.segments(["GET"])
    assert 16 / 11 < segments.median.seconds <= 16 / 5
    assert segments.median.tally.count in (1, 2, 3, 4)


def test_values_that_64_bits_barely_hold_are_added_up_exactly(tmp_path):
    calls = [("PUT", 2**62, 2**60, 0, None, "", "", "s3://", 1, "k")] * 5
    text = write(tmp_path, 0, calls).read_text()
    found = analyze([write(tmp_path, 0, calls)])
    cell = found.tally.cells["PUT", len(LABELS) - 1]
    assert (text.count("\n"), cell.nbytes) == (6, 5 * 2**62)
    assert (cell.service.total, cell.service.squares) == (5 * 2**60, 5 * 2**120)
    assert (cell.service.maximum, cell.service.stdev) == (2**60, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"operations": {"FETCH"}}, "no operation is called FETCH"),
        ({"buckets": {9}}, "no size bucket has number 9"),
    ],
)
def test_a_selection_of_what_there_is_not_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Selection(**options)


def fast_log(path, rows):
    """A long log by penstock's own writer."""
    rng = np.random.default_rng(rows)
    buffer, at = RecordBuffer(8192), 0
    with OpLogWriter(path, endpoints=[Endpoint("mem://m/", "mem://m")], anchor=Anchor(BEGIN)) as writer:
        for begin in range(0, rows, 8192):
            count = min(8192, rows - begin)
            took = rng.integers(1, 10**8, count)
            buffer.clear()
            buffer.thread = begin % 7
            buffer.names = [f"object-{number}" for number in range(count)]
            made = buffer.rows
            made["start"] = at + np.cumsum(took // 8)
            made["end"] = made["start"] + took
            made["first"], made["nbytes"] = made["start"] + took // 2, rng.integers(0, 2**33, count)
            made["op"], made["n_objects"], made["attempts"] = rng.integers(1, 4, count), 1, 1
            made["error"] = made["due"] = made["endpoint"] = made["flags"] = 0
            at = int(made["start"][-1])
            writer.write(buffer, 0, count)
    return path


MEASURE = """
import resource, sys
from penstock.analysis.analyzing import analyze
found = analyze([sys.argv[1]], workers=int(sys.argv[2]))
own, children = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
print(found.logs[0].rows, own, children)
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("workers", [0, 2])
def test_memory_does_not_grow_with_the_log(tmp_path, workers):
    peaks = []
    for rows in (1_500_000, 6_000_000):
        path = fast_log(tmp_path / "log.tsv.zst", rows)
        command = [sys.executable, "-c", MEASURE, str(path), str(workers)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=400)
        found, own, children = map(int, done.stdout.split())
        assert found == rows
        assert (children > 0) == (workers > 0)
        peaks.append((own + workers * children) >> 10)
    assert peaks[1] < 800
    assert peaks[1] - peaks[0] < 200
