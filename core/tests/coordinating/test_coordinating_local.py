"""Runs and replays on pretended hosts of this machine, each with a real worker and a real process of its own."""

from __future__ import annotations

import contextlib
import os
import signal

import attrs
import pytest

from penstock.engine import run as running
from penstock.engine.local import LocalLauncher
from penstock.engine.run import execute
from penstock.oplog import read
from penstock.replay.run import check, execute_replay
from penstock.replay.settings import Settings
from penstock.report.live import open_view
from penstock.report.results import read_result
from penstock.stats.histogram import Histogram
from penstock.workload.config import LauncherChoice, Loaded, loads

#: How far the clocks of four hosts are ahead, in nanoseconds, and how that is said to them.
SHIFTS = {"+5s": 5 * 10**9, "-3s": -3 * 10**9, "+250ms": 250 * 10**6, "": 0}
RUN = """
target: file://{place}/t
concurrency: 1
processes: 1
live_interval: 0.2
op_log: true
seed: 7
verify: content
cleanup: true
prepare: {{ensure_objects: [{{path: a/, count: 60, size: {{uniform: {{min: 1, max: 4096}}}}}}]}}
duration: none
stages:
  - {{name: read, workload: [{{op: get, path: "a/*", selection: each_once}}]}}
  - {{name: write, workload: [{{op: put, path: "n/x-{{:04d}}", size: {{uniform: {{min: 1, max: 4096}}}}}}],
     total_operations: 40, barrier: all}}
"""


def loaded(text, directory, launcher):
    config = attrs.evolve(loads(text.format(place=directory), label="w.yaml", environ={}), results_dir=str(directory))
    return Loaded(config=attrs.evolve(config, launcher=launcher), text=text, name="w")


def carried_out(text, directory, launcher=None, view=None):
    config = loaded(text, directory, launcher or LauncherChoice())
    with contextlib.closing(view or open_view(quiet=True)) as shown:
        return execute(config, command_line="x", view=lambda _: shown)


def rows_of(job):
    with contextlib.closing(read(job.op_log["path"])) as reader:
        return list(reader)


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    """The same run in one process of one lane, and on four hosts whose clocks differ."""
    with pytest.MonkeyPatch.context() as patch:
        one = carried_out(RUN, tmp_path_factory.mktemp("one"))
        shifts = [{"PENSTOCK_CLOCK_SHIFT": shift} if shift else {} for shift in SHIFTS]
        patch.setattr(running, "open_launcher", lambda *_: LocalLauncher(4, environments=shifts))
        four = carried_out(RUN, tmp_path_factory.mktemp("four"))
    return one, four


def test_four_hosts_do_what_one_process_does(jobs):
    one, four = (result.job for result in jobs)
    assert (one.status, four.status, four.reason) == ("done", "done", "")
    for mine, theirs in zip(one.legs, four.legs, strict=True):
        assert {worker.host for worker in theirs.outcome.workers} == {f"host-{rank}" for rank in range(4)}
        for operation in mine.outcome.totals.operations():
            first, second = (each.outcome.totals.operation(operation) for each in (mine, theirs))
            assert (first.count, first.nbytes, first.errors) == (second.count, second.nbytes, second.errors)
    assert [leg.outcome.totals.roll_up("ALL").count for leg in four.legs] == [60, 40]
    first, second = ([phase.objects_made for phase in job.phases] for job in (one, four))
    assert first == second
    assert second[0] == 60
    assert [phase.failed for phase in four.phases] == [0, 0]
    assert four.legs[0].outcome.verification.reads == 60


def test_what_one_process_calls_four_hosts_call_once_as_well(jobs):
    names = [sorted((row.op, row.file.rpartition("/t/")[2], row.nbytes) for row in rows_of(each.job)) for each in jobs]
    assert names[0] == names[1]
    assert len(set(names[1])) == 100


def test_merged_percentiles_are_those_of_the_merged_log(jobs):
    job = jobs[1].job
    logged = {"GET": Histogram(), "PUT": Histogram()}
    for row in rows_of(job):
        logged[row.op].record([row.duration_ns])
    for leg, operation in zip(job.legs, logged, strict=True):
        merged = leg.outcome.totals.operation(operation).service
        percents = (0, 1, 50, 90, 99, 100)
        assert merged.percentiles(percents) == logged[operation].percentiles(percents)


def test_offsets_are_found_and_every_row_has_its_true_time(jobs):
    job = jobs[1].job
    rows = rows_of(job)
    starts = [row.start_ns for row in rows]
    assert starts == sorted(starts)
    assert [row.idx for row in rows] == list(range(100))
    for leg, operation in zip(job.legs, ("GET", "PUT"), strict=True):
        for worker, shift in zip(leg.outcome.workers, SHIFTS.values(), strict=True):
            # Half of the fastest round trip, and what anchoring a process's clock may be wrong by on a busy machine.
            doubt = worker.clock.uncertainty_ns + 20_000_000
            assert all(abs(each.offset_ns - shift) <= doubt for each in worker.clock.readings)
            own = [row.start_ns for row in rows if row.client_id == f"worker-{worker.rank}" and row.op == operation]
            # The first began when the leg did, by the clock of the controller, and not seconds from it.
            begun = leg.outcome.measured_from_ns + worker.clock.start_skew_ns
            assert abs(own[0] - begun) <= 2 * doubt
            assert -doubt <= worker.clock.start_skew_ns < 10 * 10**9


class Killing(LocalLauncher):
    """Two hosts, and what they are, for who watches them."""

    def __init__(self):
        super().__init__(2)

    async def start(self, workers, spec):
        self.handles = await super().start(workers, spec)
        return self.handles


class KillingView:
    """Kills the worker of a host when it has told of an interval."""

    def __init__(self, launcher):
        self._launcher = launcher
        self._view = open_view(quiet=True)
        self.killed = False

    def __getattr__(self, name):
        return getattr(self._view, name)

    def interval(self, interval, total):
        if not self.killed and total.roll_up("ALL").count:
            self.killed = True
            os.kill(self._launcher.handles[1].pid, signal.SIGKILL)


def test_a_host_that_is_killed_is_named_and_the_other_goes_on(tmp_path, monkeypatch):
    launcher = Killing()
    monkeypatch.setattr(running, "open_launcher", lambda *_: launcher)
    # What the lost host leaves goes with the test's directory.
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    text = RUN.partition("duration:")[0].replace("cleanup: true", "cleanup: true\nrate: {{ops_per_second: 400}}")
    text += 'duration: 3s\nworkload: [{{op: get, path: "a/*"}}]\n'
    result = carried_out(text, tmp_path, view=KillingView(launcher))
    outcome = result.outcome
    assert (outcome.status, outcome.exit_code) == ("degraded", 1)
    alive, lost = outcome.workers
    assert "SIGKILL" in lost.lost
    assert alive.lost is None
    assert alive.tally.roll_up("ALL").count > lost.tally.roll_up("ALL").count > 0
    assert any("worker 1 on host-1 was lost" in note for note in outcome.notes)
    # What remains of its part of the log is where it was; that of the other is whole.
    (left,) = outcome.op_log["left"]
    assert (left["rank"], left["host"]) == (1, "host-1")
    (kept,) = tmp_path.glob("penstock-host-*")
    assert left["path"] == [str(kept / "op-log.part-1.tsv.zst")]
    assert outcome.op_log["rows"] == alive.op_log["written"] == alive.tally.roll_up("ALL").count
    assert read_result(result.directory).outcome.workers[1].lost == lost.lost
    assert (result.directory / "workers/1/facts.json").exists()


def test_a_replay_on_two_hosts_replays_every_row_once(jobs, tmp_path):
    job = jobs[1].job
    settings = Settings(
        log=job.op_log["path"], target=f"file://{tmp_path}/t", prepare=True, cleanup=True, processes=1, op_log=True,
        speed=None, results_dir=str(tmp_path),
    )  # fmt: skip
    with contextlib.closing(open_view(quiet=True)) as view:
        result = execute_replay(
            check(settings), config_text="", command_line="x", launcher=LauncherChoice("local", {"hosts": "2"}),
            view=lambda _: view,
        )  # fmt: skip
    outcome = result.outcome
    assert (outcome.status, outcome.reason) == ("done", "")
    counts = outcome.replay.counts
    assert (counts["replayed"], counts["left_out"], counts["not_begun"]) == (100, 0, 0)
    assert outcome.replay.recorded.roll_up("ALL").count == 100
    assert [worker.processes for worker in outcome.workers] == [1, 1]
    with contextlib.closing(read(outcome.op_log["path"])) as reader:
        assert len(list(reader)) == 100
    assert not (tmp_path / "t").exists() or not any(path.is_file() for path in (tmp_path / "t").rglob("*"))
