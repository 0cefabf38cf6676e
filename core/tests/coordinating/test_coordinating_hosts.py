"""The coordinator with simulated hosts: clocks that differ, hosts that are lost or silent, files that they keep."""

from __future__ import annotations

import pytest

from penstock.clocks import Anchor
from penstock.engine.remote import offset_at
from penstock.engine.team import Rhythm
from penstock.errors import UsageError
from penstock.report.crew import ClockReading

SECOND = 10**9
SHIFTS = (5 * SECOND, -3 * SECOND, SECOND // 4, 0)
#: Between them lies the whole of a run.
PHASES = ("open", "prepare", "resolve", "clock", "run", "middle", "finish", "cleanup", "files", "release")
PREPARES = "cleanup: true\nprepare: {ensure_objects: [{count: 8, size: 1}]}\n"


def test_all_begin_at_one_instant_whatever_their_clocks_show(simulate, host):
    workers = [host(rank, shift=shift) for rank, shift in enumerate(SHIFTS)]
    done = simulate(workers)
    assert done.end == ("done", 0, "")
    (leg,) = done.found.legs
    readings = [worker.remote.readings for worker in done.found.workers]
    assert [len(each) for each in readings] == [2] * 4, "before the group of legs and after it"
    for worker, shift, (before, _) in zip(workers, SHIFTS, readings, strict=True):
        assert before.probes == 15
        assert len(worker.seen("clock")) == 30
        assert abs(before.offset_ns - shift) <= before.uncertainty_ns + SECOND // 1000
        # It was told the agreed instant by its own clock.
        (told,) = worker.seen("run")
        assert told["start_ns"] == told["origin_ns"] == leg.started_ns + before.offset_ns
    skews = [worker.outcome().clock.start_skew_ns for worker in leg.workers]
    # None begins before the instant, but for what is not known of its clock.
    assert all(
        skew >= -2 * before.uncertainty_ns - SECOND // 500 for skew, (before, _) in zip(skews, readings, strict=True)
    )
    assert leg.totals.operation("PUT").count == 12


def test_an_answer_may_take_longer_one_way_than_the_other(simulate, host):
    workers = [host(0, shift=SECOND, out=0.012), host(1, shift=-SECOND, back=0.012)]
    done = simulate(workers, "distributed: {clock: {max_uncertainty: 5ms}}\n")
    for worker, shift in zip(done.found.workers, (SECOND, -SECOND), strict=True):
        reading = worker.remote.readings[0]
        assert reading.uncertainty_ns >= 6_000_000
        assert abs(reading.offset_ns - shift) <= reading.uncertainty_ns + SECOND // 1000
    assert any("the clock of worker 0 on node0 is known to ± " in note for note in done.notes)
    assert len([note for note in done.notes if "is known to" in note]) == 2, "each is told of once"


def test_too_uncertain_a_clock_can_be_refused(simulate, host):
    done = simulate([host(0), host(1, out=0.03)], "distributed: {clock: {probes: 3, action: refuse}}\n")
    status, code, reason = done.end
    assert (status, code) == ("failed", 1)
    assert "the clock of worker 1 on node1" in reason
    assert "raise it, or write action: warn" in reason
    assert not done.workers[0].seen("run")


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("how", ["dies", "silent"])
def test_a_host_that_is_lost_in_any_phase_is_named_and_nothing_hangs(simulate, host, phase, how):
    workers = [host(0), host(1, does={phase: how}, files={"w.log": b"x"}), host(2)]
    done = simulate(workers, PREPARES)
    lost = done.found.workers[1].lost
    assert lost is not None
    assert ("said nothing for" in lost) == (how == "silent")
    assert any(note.startswith("worker 1 on node1 was lost") for note in done.notes)
    status, code, reason = done.end
    assert code == 1
    if phase in ("open", "prepare"):
        # What it was to make is missing, so nothing can be measured.
        assert status == "failed"
        assert "node1" in reason
        assert not workers[0].seen("run")
    else:
        assert (status, reason) == ("degraded", "1 of 3 workers were lost")
        (leg,) = done.found.legs
        counts = [worker.tally.operation("PUT").count for worker in leg.workers]
        # What the others measured is whole, and what it had told counts.
        told = {"resolve": 0, "clock": 0, "run": 0, "middle": 1}.get(phase, 3)
        assert counts == [3, told, 3]
        assert leg.totals.operation("PUT").count == 6 + told
    assert bool(workers[0].seen("cleanup")) == (phase != "open")
    if phase not in ("open", "files", "release"):
        assert any("what worker 1 on node1 made was not cleaned up" in note for note in done.notes)


@pytest.mark.parametrize("phase", ["open", "prepare"])
@pytest.mark.parametrize("own", ["shared_filesystem: false", "tree_creation_mode: isolated"])
def test_where_each_host_prepares_its_own_the_others_go_on(simulate, host, phase, own):
    done = simulate([host(0), host(1, does={phase: "dies"})], f"{PREPARES}distributed: {{{own}}}\n")
    assert done.end[:2] == ("degraded", 1)
    assert done.found.legs[0].totals.operation("PUT").count == 3


@pytest.mark.parametrize("how", ["dies", "silent"])
def test_without_a_preparation_a_host_that_never_opens_is_done_without(simulate, host, how):
    done = simulate([host(0, does={"open": how}), host(1)])
    assert done.end[:2] == ("degraded", 1)
    assert done.found.legs[0].totals.operation("PUT").count == 3


def test_a_host_is_warned_of_before_it_is_given_up(simulate, host):
    done = simulate([host(0), host(1, does={"middle": "silent"})])
    said = [note for note in done.notes if "node1" in note]
    assert [note.partition(" for ")[0] for note in said[:2]] == ["worker 1 on node1 has said nothing"] * 2
    assert said[1].endswith("giving it up")
    assert done.workers[1].killed


def test_a_host_that_is_slow_and_answers_is_not_given_up(simulate, host):
    done = simulate([host(0), host(1, does={"middle": 0.6, "resolve": 0.6})])
    assert done.end == ("done", 0, "")


@pytest.mark.parametrize(
    ("text", "lost", "why"),
    [
        ("on_worker_lost: abort", 1, "on_worker_lost is abort: the link is down"),
        ("min_workers: 2", 2, "1 workers are left, and min_workers is 2"),
        ("min_workers: 2", 1, ""),
    ],
)
def test_how_many_may_be_lost_is_the_users_choice(simulate, host, text, lost, why):
    workers = [host(rank, does={"middle": "dies"} if rank < lost else {"middle": 0.2}) for rank in range(3)]
    done = simulate(workers, f"distributed: {{{text}}}\n")
    status, code, reason = done.end
    assert code == 1
    assert status == ("failed" if why else "degraded")
    assert why in reason
    # What was measured is there in any case.
    counts = [worker.tally.operation("PUT").count for worker in done.found.legs[0].workers]
    assert counts == [1] * lost + [3] * (3 - lost)
    assert bool(workers[2].seen("drain")) == bool(why)


def test_when_all_hosts_are_lost_the_run_has_failed(simulate, host):
    done = simulate([host(rank, does={"middle": "dies"}) for rank in range(2)])
    assert done.end[:2] == ("failed", 1)
    assert done.end[2].startswith("every worker was lost")


def test_what_a_host_keeps_is_fetched_in_pieces(simulate, host, tmp_path):
    big = bytes(range(256)) * 10_000
    workers = [
        host(0, files={"op-log.part-0.tsv": big, "op-log.part-1.tsv": b"", "worker-0.log": b"oh", "worker-1.log": b""}),
        host(1),
    ]
    done = simulate(workers, op_log="op-log.tsv")
    assert (tmp_path / "workers/0/op-log.part-0.tsv").read_bytes() == big
    assert (tmp_path / "workers/0/worker-0.log").read_text() == "oh"
    assert not (tmp_path / "workers/0/worker-1.log").exists()
    pieces = [body["length"] for body in workers[0].seen("fetch") if body["name"] == "op-log.part-0.tsv"]
    assert len(pieces) == 3
    assert max(pieces) <= 1 << 20
    assert workers[0].seen("release") == [{"keep": []}]
    assert done.end == ("done", 0, "")


def test_what_is_left_on_a_host_is_told(simulate, host, tmp_path):
    workers = [host(0, files={"op-log.part-0.tsv": b"log", "worker-0.log": b"oh"})]
    done = simulate(workers, "distributed: {op_log: leave}\n", op_log="op-log.tsv")
    assert not (tmp_path / "workers/0/op-log.part-0.tsv").exists()
    assert workers[0].seen("release") == [{"keep": ["op-log.part-0.tsv"]}]
    told = done.found.legs[0].workers[0].outcome().op_log
    assert told == {"host": "node0", "path": ["/far/op-log.part-0.tsv"], "accepted": 7, "written": 7}


def test_a_host_cannot_choose_where_its_files_go(simulate, host, tmp_path):
    done = simulate([host(0, files={"../../evil.log": b"x"})])
    assert not list(tmp_path.parent.glob("evil.log"))
    assert any("could not be fetched" in note and "names a file" in note for note in done.notes)


def test_files_that_hosts_need_are_sent_to_each(simulate, host, tmp_path):
    data = b"line\n" * 500_000
    (tmp_path / "log.tsv").write_bytes(data)
    done = simulate([host(0), host(1)], inputs={"input.tsv": str(tmp_path / "log.tsv")})
    assert [worker.received for worker in done.workers] == [{"input.tsv": data}] * 2
    assert all(len(body["data"]) <= 1_400_000 for body in done.workers[0].seen("receive"))
    assert [name for name, _ in done.workers[0].calls if name in ("receive", "open")][-1] == "open"


def test_credentials_travel_only_where_nobody_reads_them(simulate, host, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "marker-1234")
    text = "distributed: {forward_env: [AWS_SECRET_ACCESS_KEY]}\n"
    done = simulate([host(0)], text)
    (opened,) = done.workers[0].seen("open")
    assert opened["environment"] == {"AWS_SECRET_ACCESS_KEY": "marker-1234"}
    assert "marker-1234" not in repr(done.coordinator.plans)
    refused = simulate([host(0)], text, channel="open")
    assert refused.end[0] == "failed"
    assert "AWS_SECRET_ACCESS_KEY: not handed on" in refused.end[2]
    assert "marker-1234" not in repr(refused.found) + str(refused.workers[0].calls)
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(UsageError, match="AWS_SECRET_ACCESS_KEY: not set here"):
        simulate([host(0)], text)


def test_what_each_host_is_goes_into_the_results(simulate, host):
    done = simulate([host(0), host(1)])
    first = done.found.legs[0].workers[0].outcome()
    assert (first.processes, first.cpus, first.lanes, first.host) == (2, 2, 4, "node0")
    assert first.facts["processes"] == [{"rank": 0, "pid": 1000}, {"rank": 1, "pid": 1001}]
    assert next(first.series.points()).cell("ALL").count == 1
    interval = done.found.legs[0].intervals()[0]
    assert (interval.cpu_user_pct, interval.cpu_system_pct, interval.cpu_iowait_pct) == (10.0, 5.0, 1.0)


def test_offsets_between_two_readings_are_on_the_line_through_them():
    readings = [
        ClockReading(at_ns=1000, offset_ns=100, uncertainty_ns=1),
        ClockReading(at_ns=2000, offset_ns=300, uncertainty_ns=1),
    ]
    assert offset_at([], 5) == 0
    assert [offset_at(readings, at) for at in (0, 1100, 1700, 2300, 9999)] == [100, 100, 200, 300, 300]
    assert Anchor.now().offset_ns > 0


def test_a_host_that_lost_a_process_goes_on_and_is_told_of(simulate, host):
    done = simulate([host(0, lost={1: "killed by SIGKILL"}, does={"finish": 0.2}), host(1)])
    assert done.notes == ["worker 0 on node0 lost its process 1: killed by SIGKILL"]
    assert done.end == ("degraded", 1, "1 process of worker 0 on node0 lost")
    (leg,) = done.found.legs
    assert leg.totals.operation("PUT").count == 6
    assert [worker.outcome().processes_lost for worker in leg.workers] == [("process 1: killed by SIGKILL",), ()]


def test_an_interrupt_lets_all_hosts_end_and_keeps_what_they_have(simulate, host, tmp_path):
    done = simulate([host(0, does={"middle": "interrupts"}, files={"worker-0.log": b"oh"}), host(1)], PREPARES)
    assert done.end == ("interrupted", 130, "interrupted by its user")
    for worker in done.workers:
        assert worker.seen("drain") == [{"reason": "interrupted"}]
        assert len(worker.seen("finish")) == 1
        assert len(worker.seen("cleanup")) == 2
        assert worker.seen("release")
    assert (tmp_path / "workers/0/worker-0.log").exists()
    assert done.found.legs[0].totals.operation("PUT").count == 6


@pytest.mark.parametrize("phase", ["preflight", "open"])
def test_interrupted_before_anything_is_made_nothing_is(simulate, host, phase):
    done = simulate([host(0, does={phase: "interrupts"})], PREPARES, asks=True)
    assert done.end[:2] == ("interrupted", 130)
    assert not done.workers[0].seen("prepare")
    assert not done.workers[0].seen("run")


def test_interrupted_twice_nothing_is_waited_for(simulate, host):
    does = {"middle": "interrupts", "drain": "interrupts", "finish": "silent"}
    done = simulate([host(0, does=does), host(1, does={"middle": "silent"})], rhythm=Rhythm())
    assert done.end[:2] == ("interrupted", 130)
    assert all(worker.killed for worker in done.workers)
    assert done.found.legs[0].totals.operation("PUT").count >= 1


def test_without_a_host_that_fails_the_others_measure_on_and_it_cleans_up(simulate, host):
    stages = "stages: [{name: one}, {name: two, barrier: best_effort}]\n"
    done = simulate([host(0, does={"middle": "fails"}), host(1)], f"{PREPARES}{stages}")
    assert done.end == ("degraded", 1, "one: 1 of 2 workers were lost")
    assert "worker 0 on node0 failed: no room left" in done.notes
    assert [worker.outcome().lost for worker in done.found.legs[1].workers] == ["it failed: no room left", None]
    assert [[worker.tally.operation("PUT").count for worker in leg.workers] for leg in done.found.legs] == [
        [1, 3],
        [0, 3],
    ]
    first, second = done.workers
    assert (len(first.seen("run")), len(second.seen("run"))) == (1, 2)
    assert first.seen("finish")
    assert first.seen("cleanup")
    assert first.seen("release")
    assert not second.seen("drain")


def test_a_host_that_fails_ends_the_run_where_none_may_be_lost(simulate, host):
    workers = [host(0, does={"middle": "fails"}), host(1, does={"middle": 0.2})]
    done = simulate(workers, "distributed: {on_worker_lost: abort}\n")
    assert done.end == ("failed", 1, "worker 0 on node0: no room left")
    assert done.workers[1].seen("drain")
    assert done.found.legs[0].workers[1].tally.operation("PUT").count == 3


def test_when_all_hosts_fail_so_has_the_run(simulate, host):
    done = simulate([host(0, does={"middle": "fails"}), host(1, does={"middle": "fails"})])
    assert done.end[:2] == ("failed", 1)
    assert "no room left" in done.end[2]
