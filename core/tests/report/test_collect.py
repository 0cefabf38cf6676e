"""``penstock collect``: what hosts kept becomes a degraded result, which says what is missing and removes nothing."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

from penstock.cli import main
from penstock.clocks import Anchor
from penstock.engine import hostrecord
from penstock.engine.hostmerge import LegMerge
from penstock.engine.hostrecord import HostRecord, LegRecord
from penstock.engine.parts import HostPart, HostPlan
from penstock.launching.hosting import RECORD
from penstock.oplog import OpLogWriter, read
from penstock.records import Endpoint, Op, RecordBuffer, Recorder
from penstock.report.collecting import HOST_SCHEMA
from penstock.report.results import read_result
from penstock.stats.errors import ErrorTable
from penstock.stats.tally import Tally

AT = 1_795_225_925 * 10**9
OFFSET = 5 * 10**9  # what the clock of host 0 is ahead


def collect(*arguments):
    return CliRunner().invoke(main, ["collect", *map(str, arguments)])


def keep(place, synth, rank, *, hosts=3, run_id="cafe", status="abandoned", ops=(Op.GET, Op.PUT), legs=1, clock=True):
    """What the worker of a host writes, by its own code. Returns the tally of each leg."""
    place.mkdir(parents=True)
    part = HostPart(rank=rank, lanes=(8,), body={"op_log": f"op-log.part-{rank}.tsv"})
    plan = HostPlan(rank=rank, hosts=hosts, run_id=run_id, worker="penstock.engine.worker", parts=(part,))
    record = HostRecord(str(place), f"node-{rank}", plan, {rank: 70 + rank})
    offset = OFFSET if rank == 0 and clock else 0
    if clock:
        record.read_clock([{"at_ns": AT, "offset_ns": offset, "uncertainty_ns": 80_000}])
    tallies = []
    for number in range(legs):
        merge = LegMerge({rank: 70 + rank})
        start = AT + offset + number * 100 * 10**9
        leg = LegRecord({"leg": number, "share": 0, "start_ns": start, "origin_ns": start}, merge)
        record.begin(leg)
        rng, total = np.random.default_rng(rank), Tally()
        for second in range(-1, 5):
            tally = Tally() if second < 0 else synth.tally_of(synth.rows_of(rng, ops, 100 + rank, second))
            total.merge(tally)
            snapshot = {"number": second, "start": 0, "end": 0, "start_s": float(second), "end_s": second + 1.0}
            errors = ErrorTable()
            if second == 2:
                errors.note("GET", "ThrottledError: slow", "a/key")
            messages = {"tally": tally.to_message(), "errors": errors.to_message(), "cpu_ns": 10**9 * (second + 2)}
            merge.take(rank, snapshot | messages)
            for merged in merge.ready():
                leg.take(merged)
        tallies.append(total)
        if status != "running":
            leg.end({"began_ns": start + 250_000, "reason": ""})
        leg.keep()
    if status == "running":
        record.write()
    else:
        record.end(status, "the controller was gone")
    return tallies


def log_of(place, rank, times):
    """A part of an op-log with an operation at each of these times of that host's clock."""
    buffer = RecordBuffer(len(times) + 1)
    recorder = Recorder(0, lambda filled: buffer)
    for time in times:
        recorder.add(Op.GET, f"h{rank}", time, 0, time + 1000, 10)
    path = place / f"op-log.part-{rank}.tsv"
    with OpLogWriter(path, endpoints=[Endpoint("mem://a/", "mem://a")], anchor=Anchor(0)) as writer:
        writer.write(buffer, 0, buffer.count)


def files_below(place):
    return {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}


def test_the_schema_is_that_of_hosts():
    assert HOST_SCHEMA == hostrecord.SCHEMA


def test_what_hosts_kept_becomes_a_degraded_result(tmp_path, synth):
    tallies = [keep(tmp_path / "left" / f"dir-{rank}", synth, rank)[0] for rank in (0, 2)]
    (tmp_path / "left" / "dir-0" / "worker-0.log").write_text("it said this\n")
    before = files_below(tmp_path / "left")
    done = collect(tmp_path / "left", "-o", tmp_path / "out")
    assert done.exit_code == 1, done.output
    assert "nothing was found of 1 worker of 3: 1" in done.output
    assert "worker 0 on node-0 ended by itself: the controller was gone" in done.output
    assert "op-log.part-0.tsv, a part of its op-log, is not in" in done.output
    assert files_below(tmp_path / "left") == before
    outcome = read_result(tmp_path / "out").outcome
    total = Tally()
    for tally in tallies:
        total.merge(tally)
    assert outcome.totals == total
    assert (outcome.status, outcome.exit_code, outcome.measured_seconds) == ("degraded", 1, 5.0)
    assert outcome.measured_from_ns == AT
    assert [(entry.text, entry.count) for entry in outcome.errors.most_frequent()] == [("ThrottledError: slow", 2)]
    first, second = outcome.workers
    assert (first.rank, first.host, first.processes, first.lost, first.seconds) == (0, "node-0", 1, None, 5.0)
    assert (first.clock.offset_ns, first.clock.start_skew_ns) == (OFFSET, 250_000)
    assert first.tally == tallies[0]
    assert second.cpu_seconds == 5.0
    place = tmp_path / "out" / "workers" / "0"
    assert (place / "worker-0.log").read_text() == "it said this\n"
    rows = [line.split("\t") for line in (place / "timeline.tsv").read_text().splitlines()]
    assert rows[0] == ["start_s", "end_s", "count", "errors", "bytes"]
    assert sum(int(row[2]) for row in rows[1:]) == tallies[0].count
    assert "Operations by worker" in (tmp_path / "out" / "report.html").read_text()


def test_a_host_that_died_is_named(tmp_path, synth):
    keep(tmp_path / "a", synth, 0, hosts=1, status="running", clock=False)
    done = collect(tmp_path / "a", "-o", tmp_path / "out")
    (worker,) = read_result(tmp_path / "out").outcome.workers
    assert worker.lost.startswith("its record ends in the middle, at 20")
    assert "how far its clock was off is not known" in done.output
    assert "it may still run" in done.output


def test_parts_of_the_op_log_are_merged_in_true_order(tmp_path, synth):
    for rank in (0, 1):
        keep(tmp_path / str(rank), synth, rank, hosts=2)
    log_of(tmp_path / "0", 0, [AT + OFFSET + 1_000_000 * step for step in (1, 3, 5)])
    log_of(tmp_path / "1", 1, [AT + 1_000_000 * step for step in (2, 4, 6)])
    before = files_below(tmp_path)
    done = collect(tmp_path / "0", tmp_path / "1", "-o", tmp_path / "out")
    assert "op-log.tsv.zst, 6 rows" in done.output
    assert before.items() <= files_below(tmp_path).items()
    assert [row.file.rpartition("/")[2] for row in read(tmp_path / "out" / "op-log.tsv.zst")] == ["h0", "h1"] * 3


def test_remove_takes_what_was_collected_and_nothing_else(tmp_path, synth):
    keep(tmp_path / "0", synth, 0)
    keep(tmp_path / "1", synth, 1, status="running")
    log_of(tmp_path / "0", 0, [AT])
    log_of(tmp_path / "1", 1, [AT])
    (tmp_path / "1" / "mine.txt").write_text("x")
    (tmp_path / "0" / "mine.txt").write_text("x")
    done = collect(tmp_path / "0", tmp_path / "1", "--remove", "-o", tmp_path / "out")
    assert [path.name for path in (tmp_path / "0").iterdir()] == ["mine.txt"]
    assert {path.name for path in (tmp_path / "1").iterdir()} == {RECORD, "mine.txt", "op-log.part-1.tsv"}
    assert "by its record the host is at work, so it was left" in done.output


def test_nothing_is_removed_where_the_op_log_is_damaged(tmp_path, synth):
    keep(tmp_path / "0", synth, 0)
    (tmp_path / "0" / "op-log.part-0.tsv").write_bytes(b"this is no log\n" * 9)
    before = files_below(tmp_path / "0")
    done = collect(tmp_path / "0", "--remove", "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert "could not be merged" in done.output
    assert "nothing was removed" in done.output
    assert files_below(tmp_path / "0") == before


def test_workers_of_a_result_are_collected_too(tmp_path, synth):
    outcome = synth.make_hosts(4, seconds=6)
    synth.written(tmp_path, outcome)
    shutil.rmtree(tmp_path / "workers" / "3")
    done = collect(tmp_path, "-o", tmp_path / "out", "--remove")
    assert "nothing was found of 1 worker of 4: 3" in done.output
    assert "belongs to a result and was left" in done.output
    again = read_result(tmp_path / "out").outcome
    assert [worker.tally for worker in again.workers] == [worker.tally for worker in outcome.workers[:3]]
    assert again.workers[1].series == outcome.workers[1].series
    assert (again.name, again.target) == (outcome.name, outcome.target)
    assert again.measured_from_ns == outcome.measured_from_ns


def test_several_legs_become_a_job(tmp_path, synth):
    tallies = keep(tmp_path / "0", synth, 0, hosts=1, legs=2)
    done = collect(tmp_path / "0", "-o", tmp_path / "out")
    assert done.exit_code == 1, done.output
    for number in (1, 2):
        assert read_result(tmp_path / "out" / f"leg-{number}").outcome.totals == tallies[number - 1]
    assert (tmp_path / "out" / "workers" / "0" / "timeline-leg-2.tsv").exists()


def test_one_family_keeps_its_course(tmp_path, synth):
    (tally,) = keep(tmp_path / "0", synth, 0, hosts=1, ops=(Op.GET,))
    collect(tmp_path / "0", "-o", tmp_path / "out")
    (worker,) = read_result(tmp_path / "out").outcome.workers
    points = list(worker.series.points())
    assert len(points) == 5
    assert sum(point.cell("GET").count for point in points) == tally.count


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda facts: facts | {"schema": "penstock.host/9"}, "is of version 'penstock.host/9'"),
        (lambda facts: {"schema": HOST_SCHEMA}, "is damaged: KeyError"),
        (lambda facts: facts | {"legs": [{}]}, "is damaged: KeyError"),
    ],
)
def test_a_record_that_makes_no_sense_is_refused(tmp_path, synth, change, told):
    keep(tmp_path / "0", synth, 0)
    path = tmp_path / "0" / RECORD
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    done = collect(tmp_path / "0", "-o", tmp_path / "out")
    assert done.exit_code == 2
    assert told in done.output
    assert not (tmp_path / "out").exists()


def test_what_does_not_belong_together_is_refused(tmp_path, synth):
    keep(tmp_path / "a", synth, 0)
    keep(tmp_path / "b", synth, 0)
    keep(tmp_path / "c", synth, 1, run_id="beef")
    (tmp_path / "empty").mkdir()
    twice = collect(tmp_path / "a", tmp_path / "b", "-o", tmp_path / "out")
    assert twice.exit_code == 2
    assert "are both of worker 0; name one of them" in twice.output
    other = collect(tmp_path / "a", tmp_path / "c", "-o", tmp_path / "out")
    assert "is of run cafe" in other.output
    assert "of run beef; collect one run at a time" in other.output
    assert "no host.json and no facts.json" in collect(tmp_path / "empty").output
    assert "does not exist" in collect(tmp_path / "absent").output
    taken = collect(tmp_path / "a", "-o", tmp_path / "b")
    assert "is there already" in taken.output
    assert not (tmp_path / "out").exists()
