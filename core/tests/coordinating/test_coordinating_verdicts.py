"""Which host is the limit: each is judged by its own processors, disks and links."""

from __future__ import annotations

import numpy as np
import pytest

from penstock.engine.course import LegCourse
from penstock.engine.found import Measured
from penstock.engine.judging import judge_limit
from penstock.engine.remote import Remote, Seen
from penstock.engine.watch import Watched
from penstock.records import Op, record_dtype
from penstock.report.outcome import Planned
from penstock.stats.machine import DeviceUse

SECONDS = 10.0


@pytest.fixture
def watched(host):
    """Makes a host with two lanes in calls for ``busy`` of the time, whose processes used so many seconds of CPU."""

    def watched(rank, *, busy=1.0, cpu=(1.0, 1.0), share=0.2, disk=0.0, link=0.0, missed=0):
        handle = host(rank)
        seen = Seen(
            cpu_ns={number: round(used * 1e9) for number, used in enumerate(cpu)},
            busy=100 * share * SECONDS,
            seconds=SECONDS,
            disks={"sda": DeviceUse("sda", disk, 1e8)},
            links={"eth0": DeviceUse("eth0", link, 1e9)},
        )
        worker = Watched(handle, 2, remote=Remote(greeting=handle.greeting, processes=len(cpu)), seen=seen)
        rows = np.zeros(1000, record_dtype())
        rows["op"], rows["end"], rows["attempts"] = Op.GET, round(busy * 2 * SECONDS / 1000 * 1e9), 1
        worker.tally.add(rows)
        worker.end_s, worker.missed = SECONDS, missed
        return worker

    return watched


def judged(*workers, planned=None, path=None):
    measured = Measured(LegCourse(), workers=list(workers))
    for worker in workers:
        measured.totals.merge(worker.tally)
    return judge_limit(measured, lanes=2 * len(workers), planned=planned, path=path)


def test_when_no_host_is_busy_the_storage_limits_them_all(watched):
    verdict = judged(watched(0), watched(1))
    assert verdict.kind == "storage"
    # Two processors and two processes of each.
    assert "4 lanes waited for it 100%" in verdict.text
    assert "0.4 of 4 processors" in verdict.text


@pytest.mark.parametrize(
    ("what", "kind", "says"),
    [
        ({"cpu": (9.9, 9.9)}, "client", "it used 2.0 of 2 processors"),
        ({"share": 0.99}, "client", "This host limits: its processors were busy 99%"),
        ({"link": 0.95}, "network", "eth0 carried 95%"),
        ({"busy": 0.2}, "client", "within calls of the storage only 20%"),
    ],
)
def test_the_host_that_is_the_limit_is_named(watched, what, kind, says):
    verdict = judged(watched(0), watched(1, **what), watched(2))
    assert verdict.kind == kind
    assert verdict.text.startswith("worker 1 on node1: ")
    assert says in verdict.text


def test_several_that_are_the_limit_are_counted(watched):
    verdict = judged(*(watched(rank, cpu=(9.9, 9.9)) for rank in range(3)), watched(3))
    assert verdict.text.startswith("worker 0 on node0, as do 2 of the other 3 hosts: ")


def test_a_full_disk_is_told_of_where_files_are_worked_on(watched):
    busy = watched(1, disk=0.97)
    assert judged(watched(0), busy, path="/").text.startswith("worker 1 on node1: The storage limits: sda")
    assert judged(watched(0), busy).kind == "storage"


def test_a_rate_that_all_hosts_keep_together_is_kept(watched):
    workers = [watched(0, cpu=(9.9, 9.9)), watched(1)]
    assert judged(*workers, planned=Planned(operations=2000)).kind == "none"
    late = [watched(0, cpu=(9.9, 9.9), missed=3000), watched(1, missed=3000)]
    verdict = judged(*late, planned=Planned(operations=8000, missed=6000))
    assert (verdict.kind, verdict.text.partition(":")[0]) == ("client", "worker 0 on node0")
