"""Stages, repeats and steady states: several legs in the same workers, each with a result of its own."""

from __future__ import annotations

import io
import json
import re
import shutil

import anyio
import attrs
import pytest
import yaml
from click.testing import CliRunner

from penstock.cli import main
from penstock.clocks import monotonic_ns, wall_ns
from penstock.engine.control import Control
from penstock.engine.coordinator import Coordinator
from penstock.engine.course import course_of
from penstock.engine.legs import legs_of
from penstock.engine.outcomes import leg_end, status_of
from penstock.engine.plan import make_plans
from penstock.engine.run import execute
from penstock.engine.session import Session
from penstock.errors import WorkerLostError
from penstock.launchers import LaunchSpec
from penstock.memory import MemoryOptions, MemoryStore
from penstock.report.jobs import is_job, read_job
from penstock.report.live import LineView, open_view
from penstock.report.prometheus import Exporter
from penstock.report.summary import summarise
from penstock.report.terminal import print_job
from penstock.stats.tally import Tally
from penstock.workload.config import Loaded, loads

STAGES = """
target: mem://legs/
concurrency: 2
live_interval: 0.1
verify: content
cleanup: true
prepare: {ensure_objects: [{path: a/, count: 20, size: 100}]}
stages:
  - {name: write, workload: [{op: put, path: n/, size: 10}, {op: put, path: "m-{:03d}", size: 10}],
     total_operations: 40}
  - {name: thin, workload: [{op: delete, path: "a/*"}], total_operations: 9, concurrency: 1}
  - {name: read, workload: [{op: get, path: "a/*"}, {op: get, path: "n/*"}, {op: get, path: "m-*"}],
     total_operations: 90}
"""


def read(text):
    return loads(text, label="w.yaml", environ={})


@pytest.fixture
def store():
    store = MemoryStore(MemoryOptions(name="legs"))
    yield store
    store.delete(keys(store))


def keys(store):
    return [info.key for page in store.list_pages() for info in page.objects]


def carry_out(config):
    """Every leg in one worker, by its label: the tally of what counted, and the keys there were at its end."""
    session, found = Session(), {}
    (plan,) = make_plans(config, run_id="run")
    session.open(plan.to_message())
    for leg in legs_of(config):
        if leg.number == 0 or leg.again:
            list(session.prepare({}))
        session.resolve({"leg": leg.number})
        tally = Tally()
        *snapshots, last = session.run({"leg": leg.number, "start_ns": wall_ns()})
        for snapshot in snapshots:
            tally.merge(Tally.from_message(snapshot["tally"]))
        assert last["reason"] == ""
        found[leg.label] = tally, set(keys(MemoryStore(MemoryOptions(name="legs"))))
    for directories in (False, True):
        list(session.cleanup({"directories": directories}))
    return found


def test_a_stage_reads_what_is_left_and_every_repeat_begins_with_everything(store):
    found = carry_out(read(f"{STAGES}repeat: 2\n"))
    assert list(found) == [f"repeat {n}, {name}" for n in (1, 2) for name in ("write", "thin", "read")]
    for repeat in (1, 2):
        written, thinned, done = (found[f"repeat {repeat}, {name}"] for name in ("write", "thin", "read"))
        assert {key for key in written[1] if key.startswith("a/")} == {f"a/prepared-{n:08d}.dat" for n in range(20)}
        assert len([key for key in thinned[1] if key.startswith("a/")]) == 11
        # What was deleted is not read, and all that is read is as it was written last.
        assert (done[0].operation("GET").count, done[0].errors) == (90, 0)
        assert (written[0].operation("PUT").count, thinned[0].operation("DELETE").count) == (40, 9)
    made = [{key for key in found[f"repeat {n}, write"][1] if key.startswith("n/")} for n in (1, 2)]
    assert made[0] < made[1], "a repeat makes objects of its own"
    assert keys(store) == []


def test_without_a_preparation_a_repeat_has_what_the_one_before_left(store):
    for number in range(12):
        store.put(f"a/prepared-{number:08d}.dat", b"x")
    text = (
        "target: mem://legs/\nconcurrency: 1\ntotal_operations: 4\nrepeat: 3\n"
        "prepare: {skip_verification: true, ensure_objects: [{path: a/, count: 12, size: 1}]}\n"
        "workload: [{op: delete, path: 'a/*'}]\n"
    )
    found = carry_out(read(text))
    assert [tally.operation("DELETE").count for tally, _ in found.values()] == [4, 4, 4]
    assert [tally.errors for tally, _ in found.values()] == [0, 0, 0]
    assert keys(store) == []


def test_legs_have_the_same_plan_and_other_names(store):
    config = read("target: mem://legs/\nrepeat: 2\ntotal_operations: 5\nworkload: [{op: put, path: n/, size: 1}]\n")
    assert [leg.run_id("run") for leg in legs_of(config)] == ["run-0", "run-1"]
    assert [leg.run_id("run") for leg in legs_of(attrs.evolve(config, repeat=1))] == ["run"]
    assert [leg.config.seed for leg in legs_of(config)] == [0, 0]


def test_a_cool_down_is_kept_out(store):
    text = "target: mem://legs/\nconcurrency: 3\nlive_interval: 0.1\nworkload: [{op: put, path: n/, size: 1}]\n"
    session = Session()
    (plan,) = make_plans(read(f"{text}total_operations: 20\nduration: none\ncooldown: 1s\n"), run_id="run")
    session.open(plan.to_message())
    session.resolve({})
    begin = monotonic_ns()
    *snapshots, _ = session.run({"start_ns": wall_ns()})
    assert monotonic_ns() - begin >= 1_000_000_000
    counted = [Tally.from_message(each["tally"]) for each in snapshots if each["number"] != -2]
    cooling = [Tally.from_message(each["tally"]) for each in snapshots if each["number"] == -2]
    assert sum(tally.count for tally in counted) == 20
    assert sum(tally.count for tally in cooling) == 0
    assert sum(tally.warmup for tally in cooling) > 0
    end = max(each["end_s"] for each in snapshots if each["number"] >= 0)
    assert end < 1
    session.cleanup({"directories": False})


def test_what_is_finished_cools_down_and_what_is_stopped_does_not():
    control = Control(begin=0, warm=0, deadline=None, budget=None, max_errors=None, cooldown=1, lanes=1)
    control.finish()
    assert (control.stopping, control.cooling.stopping, control.reason) == (True, False, "")
    control.stop("enough")
    assert (control.cooling.stopping, control.cooling.reason, control.reason) == (True, "enough", "enough")


# A whole run, of two processes.


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    where = tmp_path_factory.mktemp("job")
    text = yaml.safe_dump(
        {
            "target": f"file://{where}/data/",
            "results_dir": f"{where}/out",
            "concurrency": 2,
            "processes": 2,
            "live_interval": 0.1,
            "op_log": True,
            "cleanup": True,
            "repeat": 3,
            "prepare": {"ensure_objects": [{"path": "a/", "count": 10, "size": 1000}]},
            "stages": [
                {"name": "write", "workload": [{"op": "put", "path": "n/", "size": 100}], "total_operations": 30},
                {
                    "name": "read",
                    "workload": [{"op": "get", "path": "a/*"}, {"op": "stat", "path": "n/**"}],
                    "duration": 0.3,
                    "warmup": 0.1,
                    "barrier": "all",
                },
            ],
        }
    )
    (where / "log").mkdir()
    view = LineView(open(where / "log" / "console.log", "w"), owned=True)  # noqa: SIM115 - closed by the view
    result = execute(Loaded(read(text), text, "legs"), command_line="test", view=lambda directory: view)
    view.close()
    return result, where


def test_each_leg_has_a_result_of_its_own(job):
    result, where = job
    assert (result.job.status, result.job.exit_code) == ("done", 0), result.job.reason
    assert [leg.label for leg in result.job.legs] == [
        f"repeat {number}, {stage}" for number in (1, 2, 3) for stage in ("write", "read")
    ]
    for leg in result.job.legs:
        files = {path.name for path in (result.directory / leg.directory).iterdir()}
        assert {"result.json", "results.tsv", "perf_log.tsv", "report.html", "tallies.jsonl.zst"} <= files
        operations = {"write": ["PUT"], "read": ["GET", "STAT"]}[leg.stage]
        assert leg.outcome.totals.operations() == operations
        assert leg.outcome.totals.errors == 0
    assert [leg.outcome.totals.count for leg in result.job.legs if leg.stage == "write"] == [30, 30, 30]
    assert all(leg.outcome.warmup_operations for leg in result.job.legs if leg.stage == "read")
    assert not list((where / "data").rglob("*")) or not (where / "data").exists()
    told = (where / "log" / "console.log").read_text()
    assert "repeat 2, read (4 of 6)" in told


def test_one_log_holds_every_leg(job):
    result, _ = job
    counts = result.job.op_log
    whole = sum(leg.outcome.totals.count + leg.outcome.warmup_operations for leg in result.job.legs)
    assert (counts["accepted"], counts["written"], counts["dropped"]) == (whole, whole, 0)


def test_what_was_written_is_read_back(job):
    result, _ = job
    assert is_job(result.directory)
    assert not is_job(result.directory / result.job.legs[0].directory)
    again = read_job(result.directory / "result.json")
    for read_leg, leg in zip(again.job.legs, result.job.legs, strict=True):
        assert attrs.evolve(read_leg, outcome=leg.outcome) == leg
        assert summarise(read_leg.outcome) == summarise(leg.outcome)
        assert read_leg.outcome.totals == leg.outcome.totals
    assert attrs.evolve(again.job, legs=()) == attrs.evolve(result.job, legs=())
    assert [each.directory for each in again.legs] == [result.directory / leg.directory for leg in result.job.legs]


def test_the_spread_is_that_of_the_repeats(job):
    result, _ = job
    summary = json.loads((result.directory / "result.json").read_text())
    rates = [leg.outcome.totals.count / leg.outcome.measured_seconds for leg in result.job.repeats_of("write")]
    told = summary["repeats"]["write"]["PUT"]["ops_per_sec"]
    assert told["values"] == pytest.approx(rates)
    assert told["mean"] == pytest.approx(sum(rates) / 3)
    assert (told["min"], told["max"]) == pytest.approx((min(rates), max(rates)))
    # Student's quantile for three values and 95 %.
    half = 4.302652729749464 * told["stdev"] / 3**0.5
    assert (told["low"], told["high"]) == pytest.approx((told["mean"] - half, told["mean"] + half))
    assert set(summary["repeats"]["read"]) == {"GET", "STAT", "ALL"}
    header, *lines = (result.directory / "repeats.tsv").read_text().splitlines()
    rows = [dict(zip(header.split("\t"), line.split("\t"), strict=True)) for line in lines]
    (row,) = [row for row in rows if (row["stage"], row["operation"], row["figure"]) == ("write", "PUT", "ops_per_sec")]
    assert float(row["mean"]) == pytest.approx(told["mean"], rel=1e-5)
    assert row["repeats"] == "3"


def test_the_table_of_all_legs_has_the_rows_of_each(job):
    result, _ = job
    header, *lines = (result.directory / "results.tsv").read_text().splitlines()
    assert header.split("\t")[:4] == ["repeat", "stage", "operation", "size_bucket"]
    for leg in result.job.legs:
        own = (result.directory / leg.directory / "results.tsv").read_text().splitlines()[1:]
        assert [f"{leg.repeat}\t{leg.stage}\t{line}" for line in own] == [
            line for line in lines if line.startswith(f"{leg.repeat}\t{leg.stage}\t")
        ]


# The coordinator alone, with workers that do as they are told.


@attrs.define
class FakeWorker:
    """Ends each leg at once, but for what ``does`` says of it: a word by leg number."""

    rank: int
    does: dict[int, str] = attrs.Factory(dict)
    seen: list[str] = attrs.Factory(list)
    host: str = "here"
    pid: int = 1
    killed: anyio.Event | None = None
    drained: dict[int, anyio.Event] = attrs.Factory(dict)

    def kill(self):
        assert self.killed is not None
        self.killed.set()

    async def call(self, method, body):
        if method != "beat":
            self.seen.append(method if method != "resolve" else f"resolve {body['leg']}")
        if method == "drain" and "leg" in body:
            self.drained.setdefault(body["leg"], anyio.Event()).set()
        return {}

    async def stream(self, method, body):
        if method != "run":
            return
        leg = body["leg"]
        self.seen.append(f"run {leg}")
        self.killed = anyio.Event()
        does = self.does.get(leg, "")
        yield snapshot(-1)
        if does == "dies":
            raise WorkerLostError(self.rank, self.host, "killed by test")
        if does == "hangs":
            await self.killed.wait()
            raise WorkerLostError(self.rank, self.host, "killed by test")
        if does == "waits":
            await self.drained.setdefault(leg, anyio.Event()).wait()
        yield snapshot(0)
        yield {"done": True, "reason": ""}


def snapshot(number):
    return {
        "number": number, "start_s": max(number, 0) * 0.1, "end_s": (number + 1) * 0.1, "tally": Tally().to_message(),
        "errors": [], "cpu_ns": 1,
    }  # fmt: skip


@attrs.define
class FakeLauncher:
    workers: list[FakeWorker]
    hosts: bool = False

    async def start(self, workers, spec):
        return self.workers

    async def stop(self):
        pass


def conducted(barrier, *does, repeat=1):
    text = (
        "target: file:///x\nconcurrency: 3\nprocesses: 3\nlive_interval: 0.1\non_error: {action: continue}\n"
        f"workload: [{{op: put, path: n/, size: 1}}]\nrepeat: {repeat}\n"
        f"stages: [{{name: one, duration: 1s}}, {{name: two, duration: 1s, barrier: {barrier}}}]\n"
    )
    config = read(text)
    workers = [FakeWorker(rank, dict(each)) for rank, each in enumerate(does)]
    plans = make_plans(config, run_id="run")
    coordinator = Coordinator(course_of(config), plans, FakeLauncher(workers), open_view(quiet=True))

    async def run():
        with anyio.fail_after(60):
            await coordinator.run(LaunchSpec())

    anyio.run(run)
    return coordinator.found, workers, config.on_error


DIES, HANGS, WAITS = {0: "dies"}, {0: "hangs"}, {0: "waits"}


@pytest.mark.parametrize("barrier", ["none", "all", "majority", "best_effort"])
def test_stages_follow_each_other_whatever_the_barrier(barrier):
    found, workers, on_error = conducted(barrier, {}, {}, {})
    assert [worker.seen for worker in workers] == [["open", "resolve 0", "run 0", "resolve 1", "run 1", "finish"]] * 3
    assert status_of(on_error, found) == ("done", 0, "")
    assert [measured.leg.label for measured in found.legs] == ["one", "two"]


@pytest.mark.parametrize(
    ("barrier", "lost", "begun"),
    [("none", 1, True), ("best_effort", 2, True), ("majority", 1, True), ("majority", 2, False), ("all", 1, False)],
)
def test_a_barrier_says_who_must_be_left(barrier, lost, begun):
    found, _, on_error = conducted(barrier, *([DIES] * lost + [{}] * (3 - lost)))
    assert (len(found.legs) == 2) == begun
    assert leg_end(on_error, found.legs[0])[:2] == ("degraded", 1)
    status, code, reason = status_of(on_error, found)
    if begun:
        assert (status, code) == ("degraded", 1)
        assert leg_end(on_error, found.legs[1]) == ("degraded", 1, f"{lost} of 3 workers were lost")
    else:
        assert (status, code) == ("failed", 1)
        assert reason.startswith("two was not begun: its barrier waits for")


def test_when_every_worker_is_lost_nothing_more_is_begun():
    found, _, on_error = conducted("best_effort", DIES, DIES, DIES)
    assert len(found.legs) == 1
    assert status_of(on_error, found)[0] == "failed"


def test_most_of_the_workers_call_the_others_to_the_barrier():
    found, workers, on_error = conducted("majority", {}, {}, WAITS)
    assert status_of(on_error, found) == ("done", 0, "")
    assert "drain" in workers[2].seen
    assert workers[2].seen[-3:] == ["resolve 1", "run 1", "finish"]


@pytest.mark.parametrize("barrier", ["best_effort", "majority"])
def test_a_worker_without_progress_is_not_waited_for(barrier):
    found, _, on_error = conducted(barrier, {}, {}, HANGS)
    assert len(found.legs) == 2
    assert found.workers[2].lost == "it made no progress while others waited for it"
    assert any("makes no progress while others wait for it" in note for note in found.legs[0].notes)
    assert status_of(on_error, found)[0] == "degraded"


def test_a_worker_that_is_lost_in_a_later_stage_leaves_the_earlier_whole():
    found, _, on_error = conducted("none", {}, {}, {1: "dies"})
    assert leg_end(on_error, found.legs[0]) == ("done", 0, "")
    assert leg_end(on_error, found.legs[1])[0] == "degraded"


def test_repeats_wait_for_those_that_are_left():
    found, workers, on_error = conducted("none", DIES, {}, {}, repeat=2)
    assert [measured.leg.label for measured in found.legs] == [
        "repeat 1, one", "repeat 1, two", "repeat 2, one", "repeat 2, two",
    ]  # fmt: skip
    assert [one for one in workers[1].seen if one.startswith("run")] == ["run 0", "run 1", "run 2", "run 3"]
    assert status_of(on_error, found)[0] == "degraded"


# What other commands make of it.


def test_a_report_has_every_leg_and_all_of_them_on_one_axis(job, tmp_path):
    result, _ = job
    page = tmp_path / "page.html"
    done = CliRunner().invoke(main, ["report", str(result.directory), "-o", str(page)])
    assert done.exit_code == 0, done.output
    html = page.read_text()
    assert html == result.report.read_text()
    for leg in result.job.legs:
        assert f"<h2>{leg.label} " in html
    charts = json.loads(re.search(r'id="charts">(.*?)</script>', html)[1])
    (rate,) = [chart for chart in charts if chart["id"] == "rate"]
    assert [line["label"] for line in rate["lines"]] == ["write", "read"]
    known = [[x for x, value in zip(rate["x"], line["values"], strict=True) if value] for line in rate["lines"]]
    # Each repeat reads after it has written, and the axis goes through all of them.
    assert known[0][0] < known[1][0] < known[1][-1]
    whole = result.job.legs[-1].outcome.measured_from_ns - result.job.legs[0].outcome.measured_from_ns
    assert rate["end"] >= whole / 1e9
    one = CliRunner().invoke(main, ["report", str(result.directory / result.job.legs[1].directory), "-o", str(page)])
    assert one.exit_code == 0
    assert "repeat 1, read" in page.read_text()


def test_compare_takes_repeats_as_runs_and_stages_by_name(job, tmp_path):
    result, _ = job
    copy = tmp_path / "copy"
    shutil.copytree(result.directory, copy)
    done = CliRunner().invoke(main, ["compare", str(result.directory), str(copy), "--json", "--resamples", "100"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert {stage: each["verdict"] for stage, each in found["stages"].items()} == {"write": "same", "read": "same"}
    assert [(run["stage"], run["side"]) for run in found["runs"]] == [
        (stage, side) for stage in ("write", "read") for side in "AAABBB"
    ]
    leg = str(copy / result.job.legs[0].directory)
    done = CliRunner().invoke(main, ["compare", str(result.directory), leg])
    assert done.exit_code == 2
    assert "no stage in common: A has write, read, B has none" in done.stderr


def test_what_is_printed_has_the_spread(job):
    result, _ = job
    text = io.StringIO()
    print_job(result.job, result.report, stream=text)
    lines = text.getvalue().splitlines()
    assert any(re.match(r"\s*repeat 3, read\s+Done", line) for line in lines)
    assert any(re.match(r"\s*write\s+PUT\s+p99 µs", line) for line in lines)


def test_an_exporter_keeps_what_legs_before_have_counted(job):
    result, _ = job
    exporter = Exporter()
    for number, leg in enumerate(result.job.legs[:2], start=1):
        exporter.leg(leg.label, number, 2)
        exporter.phase("run", None, None)
        exporter.interval(leg.outcome.intervals[-1], leg.outcome.totals)
    samples = {
        tuple(sample.labels.values()): sample.value
        for metric in exporter.collect()
        for sample in metric.samples
        if sample.name == "penstock_operations_total"
    }
    assert samples["repeat 1, write", "PUT"] == 30
    assert samples["repeat 1, read", "GET"] == result.job.legs[1].outcome.totals.operation("GET").count


def test_a_leg_that_ends_before_its_time_cools_down_no_longer_than_it_says(store):
    text = "target: mem://legs/\nconcurrency: 1\nworkload: [{op: put, path: n/, size: 1}]\n"
    session = Session()
    (plan,) = make_plans(read(f"{text}total_operations: 20\nduration: 10m\ncooldown: 50ms\n"), run_id="run")
    session.open(plan.to_message())
    session.resolve({})
    begin = monotonic_ns()
    list(session.run({"start_ns": wall_ns()}))
    assert monotonic_ns() - begin < 300 * 10**9
