"""Runs that go wrong: each ends by itself, says what happened, and keeps what was measured."""

from __future__ import annotations

import os
import signal
import time

import pytest

LONG = """
target: file://{directory}/t
duration: 60s
concurrency: 4
processes: 2
live_interval: 200ms
cleanup: true
prepare: {{ensure_objects: [{{count: 100, size: 1000}}]}}
workload: [{{op: get, path: "*", weight: 5}}, {{op: put, path: new/, size: 1000}}]
"""


@pytest.fixture
def long(penstock, tmp_path):
    running = penstock.start("run", str(penstock.write(LONG.format(directory=tmp_path))))
    running.wait_for_rows()
    return running


def total(result) -> int:
    return result["totals"]["ALL"]["count"]


@pytest.mark.parametrize("binding", ["auto", "off"])
def test_a_worker_for_each_processor_stays_on_its_own(penstock, tmp_path, binding):
    usable = os.sched_getaffinity(0)
    text = LONG.format(directory=tmp_path).replace("processes: 2", f"processes: {len(usable)}")
    text = text.replace("concurrency: 4", f"concurrency: {2 * len(usable)}")
    running = penstock.start("run", str(penstock.write(f"{text}cpu_binding: {binding}\n")))
    running.wait_for_rows()
    threads = [[int(name) for name in os.listdir(f"/proc/{pid}/task")] for pid in running.workers()]
    placed = [{frozenset(os.sched_getaffinity(thread)) for thread in each} for each in threads]
    running.signal(signal.SIGINT)
    assert running.finish().code == 130
    if binding == "off":
        assert placed == [{frozenset(usable)}] * len(usable)
    else:
        assert all(len(each) == 1 for each in placed)
        assert set().union(*placed) == {frozenset({cpu}) for cpu in usable}


def test_one_interrupt_drains_reports_and_cleans_up(long, tmp_path):
    long.signal(signal.SIGINT)
    finished = long.finish()
    assert finished.code == 130, finished.err
    assert finished.result["status"] == "interrupted"
    assert total(finished.result) > 0
    assert not (tmp_path / "t").exists()
    assert (finished.results / "report.html").stat().st_size > 1000


def test_a_second_interrupt_stops_at_once_and_still_reports(penstock, tmp_path):
    text = LONG.format(directory=tmp_path).replace("count: 100", "count: 3000")
    running = penstock.start("run", str(penstock.write(text)))
    running.wait_for_rows()
    running.signal(signal.SIGINT)
    running.wait_for("interrupted: finishing")
    running.signal(signal.SIGINT)
    finished = running.finish()
    assert finished.code == 130, finished.err
    assert total(finished.result) > 0


def test_an_interrupt_that_cannot_wait_kills_and_reports(long, tmp_path):
    for pid in long.workers():
        os.kill(pid, signal.SIGSTOP)
    long.signal(signal.SIGINT)
    long.wait_for("interrupted: finishing")
    long.signal(signal.SIGINT)
    finished = long.finish()
    assert finished.code == 130, finished.err
    assert finished.result["status"] == "interrupted"
    assert "not cleaned up" in finished.err
    assert total(finished.result) > 0


def test_a_worker_that_says_nothing_is_given_up_and_named(penstock, tmp_path):
    text = LONG.format(directory=tmp_path).replace("60s", "14s")
    running = penstock.start("run", str(penstock.write(text)))
    running.wait_for_rows()
    victim = running.workers()[1]
    os.kill(victim, signal.SIGSTOP)
    finished = running.finish()
    assert finished.code == 1, finished.err
    lost = [worker for worker in finished.result["workers"] if worker["lost"]]
    assert [worker["pid"] for worker in lost] == [victim]
    assert "has said nothing" in finished.err
    assert finished.result["window"]["seconds"] > 13


def test_an_op_log_that_fills_its_disk_fails_the_run_and_keeps_the_figures(penstock, small_tmpfs):
    text = f"""
target: mem:///
duration: 30s
concurrency: 2
op_log: {small_tmpfs}/log.tsv.zst
live_interval: 200ms
prepare: {{ensure_objects: [{{count: 10, size: 10}}]}}
workload: [{{op: get, path: "*"}}]
"""
    finished = penstock("run", str(penstock.write(text)))
    assert finished.code == 1, finished.err
    assert "No space left" in finished.err
    assert total(finished.result) > 1000
    logs = sorted(small_tmpfs.iterdir())
    assert logs
    head = penstock("oplog", "head", "-n", "5", "--tsv", str(logs[0]))
    assert head.code == 0, head.err
    assert len(head.out.splitlines()) == 6


def test_errors_per_second_above_the_rate_stop_the_run(penstock, tmp_path):
    policy = "on_error: {max_total_errors: none, error_rate: {errors_per_second: 20, window: 1s}}"
    running = penstock.start(
        "run", str(penstock.write(LONG.format(directory=tmp_path).replace("cleanup: true", policy)))
    )
    running.wait_for_rows()
    for path in (tmp_path / "t").glob("prepared-*"):
        path.unlink()
    finished = running.finish()
    assert finished.code == 3, finished.err
    assert "errors per second, more than 20" in finished.err


def test_a_killed_worker_is_named_and_the_rest_goes_on(penstock, tmp_path):
    text = LONG.format(directory=tmp_path).replace("60s", "4s")
    running = penstock.start("run", str(penstock.write(text)))
    running.wait_for_rows()
    victim = running.workers()[0]
    os.kill(victim, signal.SIGKILL)
    finished = running.finish()
    assert finished.code == 1
    result = finished.result
    assert result["status"] == "degraded"
    lost = [worker for worker in result["workers"] if worker["lost"]]
    assert [worker["pid"] for worker in lost] == [victim]
    assert "SIGKILL" in lost[0]["lost"]
    assert f"worker {lost[0]['rank']}" in finished.err
    alive = next(worker for worker in result["workers"] if not worker["lost"])
    assert alive["operations"]["GET"]["count"] > 0
    assert result["window"]["seconds"] > 3


def test_workers_end_when_their_coordinator_is_killed(long):
    workers = long.workers()
    assert len(workers) == 2
    long.process.kill()
    long.process.communicate()
    for pid in workers:
        for _ in range(200):
            if not os.path.exists(f"/proc/{pid}"):
                break
            time.sleep(0.05)
        assert not os.path.exists(f"/proc/{pid}")


def test_too_many_errors_stop_the_run_with_their_own_exit_code(penstock, tmp_path):
    text = LONG.format(directory=tmp_path).replace("cleanup: true", "on_error: {max_total_errors: 5}")
    running = penstock.start("run", str(penstock.write(text)))
    running.wait_for_rows()
    for path in (tmp_path / "t").glob("prepared-*"):
        path.unlink()
    finished = running.finish()
    assert finished.code == 3, finished.err
    result = finished.result
    assert result["status"] == "errors"
    assert result["errors"][0]["text"].startswith("ObjectNotFoundError")
    assert total(result) > 0


def test_errors_can_be_told_not_to_stop_the_run(penstock, tmp_path):
    text = LONG.format(directory=tmp_path).replace("60s", "3s")
    text = text.replace("cleanup: true", "on_error: {max_total_errors: 5, action: continue}")
    running = penstock.start("run", str(penstock.write(text)))
    running.wait_for_rows()
    for path in (tmp_path / "t").glob("prepared-*"):
        path.unlink()
    finished = running.finish()
    assert finished.code == 3, finished.err
    assert finished.result["window"]["seconds"] > 2.5


@pytest.mark.parametrize(
    ("text", "code", "says"),
    [
        ("target: nosuch://x\nworkload: [{op: get, path: '*'}]\n", 2, "unknown scheme nosuch://"),
        ("target: mem:///\nworkload: [{op: get, path: '*'}]\n", 1, "nothing matches mem:///*"),
        ("target: mem:///\nworkload: [{op: get, path: '*', weight: 0}]\n", 2, "weights sum to 0"),
        ("target: mem:///\nprocesses: 2\nworkload: [{op: put, path: x, size: 1}]\n", 2, "live in one process"),
        ("target: mem:///\nconcurency: 3\nworkload: []\n", 2, "workload.yaml:2:1: concurency"),
        (
            "target: mem:///\nbackend: {mem: {nme: x}}\nworkload: [{op: put, path: x, size: 1}]\n",
            2,
            "did you mean name",
        ),
        (
            "target: mem:///\nop_log: /no/such/place/log.tsv.zst\nworkload: [{op: put, path: x, size: 1}]\n",
            1,
            "/no/such/place",
        ),
    ],
)
def test_a_configuration_that_cannot_work_is_refused_with_the_remedy(penstock, text, code, says):
    finished = penstock("run", str(penstock.write(text)))
    assert finished.code == code, finished.err
    assert says in finished.err
    assert "Traceback" not in finished.err


@pytest.mark.parametrize("options", [[], ["-q"]])
def test_a_run_that_can_not_begin_says_why_once(penstock, options):
    text = "target: mem:///\nworkload: [{op: get, path: '*'}]\n"
    finished = penstock("run", *options, str(penstock.write(text)))
    assert finished.code == 1
    assert finished.out == ""
    assert finished.err.count("nothing matches") == 1
    assert finished.result["status"] == "failed"
    assert "nothing matches" in finished.result["reason"]
    assert not (finished.results / "report.html").exists()


def test_a_missing_file_is_named(penstock):
    finished = penstock("run", "nowhere.yaml")
    assert finished.code == 2
    assert "nowhere.yaml" in finished.err


def test_a_full_disk_ends_the_run_and_keeps_the_results(penstock, small_tmpfs):
    text = f"""
target: file://{small_tmpfs}/t
duration: 30s
concurrency: 2
live_interval: 200ms
on_error: {{max_total_errors: 10}}
workload: [{{op: put, path: new/, size: 64KiB}}]
"""
    finished = penstock("run", str(penstock.write(text)))
    assert finished.code == 3, finished.err
    result = finished.result
    assert total(result) > 10
    assert result["errors"][0]["text"].startswith("StorageFullError")


def test_a_full_disk_while_preparing_fails_with_an_example(penstock, small_tmpfs):
    text = f"""
target: file://{small_tmpfs}/t
prepare: {{ensure_objects: [{{count: 1000, size: 64KiB}}]}}
workload: [{{op: get, path: "*"}}]
"""
    finished = penstock("run", str(penstock.write(text)))
    assert finished.code == 1
    assert "StorageFullError" in finished.err
    assert finished.result["phases"][0]["objects_made"] > 10


def test_a_read_only_target_is_named(penstock, small_tmpfs, remount_read_only):
    remount_read_only(small_tmpfs)
    text = f"target: file://{small_tmpfs}/t\nduration: 2s\nworkload: [{{op: put, path: new/, size: 1}}]\n"
    finished = penstock("run", str(penstock.write(text)))
    assert finished.code == 3
    assert finished.result["errors"][0]["text"].startswith("AccessDeniedError")


def test_direct_on_tmpfs_is_refused_with_the_remedy(penstock, small_tmpfs):
    text = f"target: direct://{small_tmpfs}/t\nduration: 2s\nworkload: [{{op: put, path: new/, size: 1}}]\n"
    finished = penstock("run", str(penstock.write(text)))
    assert finished.code in (1, 3)
    assert "O_DIRECT" in finished.err + str(finished.result["errors"])
