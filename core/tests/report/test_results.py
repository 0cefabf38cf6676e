"""A result directory read back: the very outcome that was written; damage and other versions told apart."""

from __future__ import annotations

import json
import tempfile

import attrs
import numpy as np
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.errors import UsageError
from penstock.records import WARMUP, Op, record_dtype
from penstock.report import write_results
from penstock.report.crew import ClockReading, WorkerClock
from penstock.report.outcome import STATUSES, Interval, Outcome, PhaseOutcome, Planned, Replayed, WorkerOutcome
from penstock.report.results import is_result, read_result
from penstock.report.series import Series
from penstock.stats.errors import ErrorTable
from penstock.stats.tally import Tally

texts = st.text(max_size=12)
counts = st.integers(0, 2**53)
seconds = st.just(0.0) | st.floats(1e-9, 1e9)
shares = st.none() | st.floats(0, 1e5)
times = st.integers(1, 250_000_000_000 * 10**9)
json_values = st.none() | st.booleans() | counts | seconds | texts
rows = st.tuples(
    st.sampled_from([int(op) for op in Op]),
    st.integers(0, 10**13),  # latency
    st.integers(0, 10**12),  # first byte
    st.integers(0, 10**12),  # lag
    st.integers(0, 1 << 40),
    st.sampled_from([0, 0, 1]),
    st.sampled_from([0, 0, WARMUP]),
)


@st.composite
def tallies(draw):
    drawn = draw(st.lists(rows, max_size=12))
    filled = np.zeros(len(drawn), record_dtype())
    for row, (op, latency, first, lag, nbytes, error, flags) in zip(filled, drawn, strict=True):
        row["op"], row["nbytes"], row["error"], row["flags"] = op, nbytes, error, flags
        row["start"], row["end"], row["first"] = 10**15, 10**15 + latency, first and 10**15 + first
        row["due"] = 10**15 - lag if lag else 0
        row["attempts"] = row["n_objects"] = 1
    tally = Tally()
    tally.add(filled)
    return tally


@st.composite
def error_tables(draw):
    entries = draw(st.lists(st.tuples(st.sampled_from(["GET", "PUT"]), texts, st.integers(1, 99), texts), max_size=4))
    names = ("operation", "text", "count", "example")
    return ErrorTable.from_message([dict(zip(names, entry, strict=True)) for entry in entries])


intervals = st.builds(
    Interval,
    start_s=seconds,
    seconds=seconds,
    tally=tallies(),
    cpu_user_pct=shares,
    cpu_system_pct=shares,
    cpu_iowait_pct=shares,
    client_cpu_pct=shares,
    active_workers=st.none() | st.integers(0, 99),
)
readings = st.builds(
    ClockReading, at_ns=times, offset_ns=st.integers(-(2**60), 2**60), uncertainty_ns=counts, probes=counts
)
clocks = st.builds(
    WorkerClock, readings=st.lists(readings, max_size=2), start_skew_ns=st.none() | st.integers(-(10**12), 10**12)
)


@st.composite
def series(draw):
    made = Series(limit=draw(st.integers(1, 9)))
    for start in draw(st.lists(st.floats(0, 100), max_size=3)):
        made.add(start, 1.0, draw(tallies()), draw(st.none() | counts))
    return made


workers = st.builds(
    WorkerOutcome, rank=counts, host=texts, pid=counts, lanes=counts, tally=tallies(), lost=st.none() | texts,
    cpu_seconds=shares, processes=counts, processes_lost=st.lists(texts, max_size=2), address=texts,
    cpus=st.none() | counts, facts=st.dictionaries(texts, json_values, max_size=2), seconds=st.none() | seconds,
    clock=st.none() | clocks, series=st.none() | series(), errors=error_tables(),
    op_log=st.none() | st.dictionaries(texts, json_values, max_size=2),
)  # fmt: skip
phases = st.builds(
    PhaseOutcome, name=texts, seconds=seconds, objects_made=counts, objects_found=counts, nbytes=counts, failed=counts
)
replays = st.builds(
    Replayed,
    log=texts,
    speed=st.none() | st.floats(0.001, 1000),
    recorded=tallies(),
    recorded_seconds=seconds,
    counts=st.dictionaries(texts, counts, max_size=3),
    settings=st.dictionaries(texts, json_values, max_size=3),
)
outcomes = st.builds(
    Outcome,
    name=texts,
    version=texts,
    command_line=texts,
    target=texts,
    started_ns=times,
    ended_ns=times,
    measured_from_ns=st.just(0) | times,
    measured_seconds=seconds,
    status=st.sampled_from(STATUSES),
    reason=texts,
    exit_code=st.integers(0, 255),
    verdict=texts,
    limit=texts,
    totals=tallies(),
    warmup_operations=counts,
    intervals=st.lists(intervals, max_size=3),
    workers=st.lists(workers, max_size=2),
    errors=error_tables(),
    phases=st.lists(phases, max_size=2),
    environment=st.dictionaries(texts, json_values, max_size=3),
    op_log=st.none() | st.dictionaries(texts, json_values, max_size=2),
    notes=st.lists(texts, max_size=2),
    endpoints=st.dictionaries(texts, tallies(), max_size=2),
    replay=st.none() | replays,
    planned=st.none() | st.builds(Planned, operations=seconds, missed=counts),
).filter(lambda outcome: not outcome.did_nothing)


def plain(outcome):
    """What can be compared: an error table has no equality of its own, only the same entries."""
    tables = [outcome.errors, *(worker.errors for worker in outcome.workers)]
    entries = [[attrs.astuple(entry) for entry in table.most_frequent()] for table in tables]
    workers = [attrs.evolve(worker, errors=None) for worker in outcome.workers]
    return attrs.evolve(outcome, errors=None, workers=workers), entries


@settings(max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(outcomes, texts, st.dictionaries(texts, json_values, max_size=3))
def test_what_was_written_is_read_back(outcome, config_text, plan):
    with tempfile.TemporaryDirectory() as directory:
        write_results(directory, outcome, config_text=config_text, plan=plan)
        result = read_result(directory)
        assert plain(result.outcome) == plain(outcome)
        assert (result.config_text, result.plan) == (config_text, plan)


def test_times_and_names_at_the_edges_are_read_back(tmp_path, synth):
    outcome = synth.make_outcome(
        seconds=2, failing=0.3, started_ns=1, ended_ns=10**9 - 1, name="\udc80\n\u2028", notes=["x\udcff"]
    )
    write_results(tmp_path, outcome, config_text="a: 1\n", plan={})
    again = read_result(tmp_path / "result.json")
    assert again.directory == tmp_path
    assert plain(again.outcome) == plain(outcome)
    assert again.outcome.intervals[1].tally.operation("GET").service.percentile(99) > 0


@pytest.fixture
def directory(tmp_path, synth):
    place = tmp_path / "penstock-result"
    place.mkdir()
    write_results(place, synth.make_outcome(seconds=3), config_text="a: 1\n", plan={"b": 2})
    return place


def refused(place):
    with pytest.raises(UsageError) as caught:
        read_result(place)
    return str(caught.value)


def test_what_is_no_result_is_refused(tmp_path):
    assert "does not exist; name a result directory" in refused(tmp_path / "absent")
    (tmp_path / "file").write_text("x")
    assert "is no directory; name a result directory" in refused(tmp_path / "file")
    assert "holds no result.json; name a result directory" in refused(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("result.json", b"{", "result.json is damaged"),
        ("result.json", b"[]", "it holds no object"),
        ("result.json", b"\xff", "result.json is damaged"),
        ("result.json", b'{"schema": "penstock.result/7"}', "version 'penstock.result/7', and this penstock reads"),
        ("result.json", b'{"schema": "penstock.result/1"}', "result.json is damaged: KeyError 'status'"),
        ("plan.json", b"", "plan.json is damaged"),
        ("plan.json", None, "plan.json can't be read: No such file"),
        ("config.yaml", None, "config.yaml can't be read: No such file"),
        ("tallies.jsonl.zst", None, "holds no tallies.jsonl.zst; it was copied incompletely"),
        ("tallies.jsonl.zst", b"", "tallies.jsonl.zst is cut off"),
        ("tallies.jsonl.zst", b"not zstandard", "tallies.jsonl.zst is damaged"),
    ],
)
def test_a_missing_or_damaged_file_is_named(directory, name, content, told):
    (directory / name).unlink()
    if content is not None:
        (directory / name).write_bytes(content)
    message = refused(directory)
    assert told in message
    assert str(directory) in message


def lines_of(directory):
    data = (directory / "tallies.jsonl.zst").read_bytes()
    with zstandard.ZstdDecompressor().stream_reader(data) as reader:
        return reader.read().splitlines(keepends=True)


def replace_lines(directory, lines):
    (directory / "tallies.jsonl.zst").write_bytes(zstandard.ZstdCompressor().compress(b"".join(lines)))


def test_tallies_cut_off_anywhere_are_refused(directory):
    whole = (directory / "tallies.jsonl.zst").read_bytes()
    lines = lines_of(directory)
    for end in range(0, len(whole), max(1, len(whole) // 50)):
        (directory / "tallies.jsonl.zst").write_bytes(whole[:end])
        assert "tallies.jsonl.zst is" in refused(directory)
    for end in range(len(lines)):
        replace_lines(directory, lines[:end])
        assert "is cut off" in refused(directory)
    replace_lines(directory, [*lines[:3], *lines[4:]])
    assert "where" in refused(directory)
    replace_lines(directory, lines)
    read_result(directory)


def test_tallies_of_another_version_are_refused_and_unknown_kinds_left_out(directory):
    head, *lines, end = lines_of(directory)
    known = plain(read_result(directory).outcome)
    empty = json.dumps(Tally().to_message()).encode()
    extra = b'{"kind": "of later", "tally": ' + empty + b"}\n"
    count = json.loads(end)["end"]
    replace_lines(directory, [head, *lines, extra, json.dumps({"end": count + 1}).encode() + b"\n"])
    assert plain(read_result(directory).outcome) == known
    replace_lines(directory, [head.replace(b"tallies/1", b"tallies/2"), *lines, end])
    assert "version 'penstock.tallies/2', and this penstock reads penstock.tallies/1" in refused(directory)
    replace_lines(directory, [head, b'{"kind": "totals", "tally": {}}\n', b'{"end": 1}\n'])
    assert "is damaged: KeyError" in refused(directory)


def test_a_run_that_did_nothing_says_why(tmp_path, synth):
    outcome = synth.make_outcome(
        seconds=0, status="failed", reason="no such bucket", totals=Tally(), phases=[], errors=ErrorTable()
    )
    write_results(tmp_path, outcome, config_text="", plan={})
    assert refused(tmp_path).endswith("that run failed before anything was measured: no such bucket")


def test_a_result_is_told_from_a_log(directory):
    assert is_result(directory)
    assert is_result(directory / "result.json")
    assert not is_result(directory / "op-log.tsv.zst")
