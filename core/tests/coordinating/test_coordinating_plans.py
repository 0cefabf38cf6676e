"""Plans for the processes of several hosts: ranks, lanes, budgets and arrivals over all of them."""

from __future__ import annotations

from itertools import pairwise

import attrs
import numpy as np
import pytest

from penstock.engine.arrivals import Arrivals, rate_phases
from penstock.engine.parts import HostPlan
from penstock.engine.plan import Host, WorkerPlan, make_plans
from penstock.engine.session import Session
from penstock.engine.turns import shared_turns
from penstock.errors import UsageError
from penstock.memory import MemoryOptions, MemoryStore
from penstock.replay.part import Outlook, make_parts
from penstock.replay.settings import Backpressure, Settings
from penstock.workload.config import loads


def read(text, target="file:///x"):
    return loads(f"target: {target}\nworkload: [{{op: put, path: n/, size: 1}}]\n{text}", label="w", environ={})


def plans(text, hosts=3, cpus=4, **given):
    return make_plans(
        read(text, **given), run_id="run", hosts=[Host(names=(f"h{n}",), cpus=cpus) for n in range(hosts)]
    )


def test_concurrency_is_of_each_host_and_operations_are_of_all():
    made = plans("concurrency: 10\nprocesses: 4\ntotal_operations: 100\n")
    assert [(plan.rank, plan.host, plan.place) for plan in made] == [
        (4 * h + p, h, p) for h in range(3) for p in range(4)
    ]
    assert {(plan.workers, plan.hosts, plan.places) for plan in made} == {(12, 3, 4)}
    shares = [plan.shares[0] for plan in made]
    assert {share.total_lanes for share in shares} == {30}
    assert [share.first_lane for share in shares] == [sum(other.lanes for other in shares[:n]) for n in range(12)]
    assert [sum(plan.lanes for plan in made if plan.host == host) for host in range(3)] == [10] * 3
    assert sum(share.budget for share in shares) == 100
    # In proportion to lanes, as near as whole numbers come.
    assert all(abs(share.budget - 100 * share.lanes / 30) < 1 for share in shares)


def test_a_host_may_have_another_concurrency_target_and_environment():
    agents = (
        "agents: [{host: h0, concurrency: 2}, {host: h1, target: 'file:///y', env: {AWS_REGION: marker-7}}, {host: h2}]"
    )
    made = plans(f"concurrency: 6\nprocesses: 2\ndistributed: {{{agents}}}\ntotal_operations: 70\n")
    assert [plan.lanes for plan in made] == [1, 1, 3, 3, 3, 3]
    assert [plan.shares[0].budget for plan in made] == [5, 5, 15, 15, 15, 15]
    assert [plan.load_config().target for plan in made][2:5] == ["file:///y", "file:///y", "file:///x"]
    # What one host is given is nobody else's business.
    assert all("marker-7" not in str(plan.to_message()) for plan in made)


def test_processes_are_as_many_as_a_host_has_processors():
    made = make_plans(read("concurrency: 8\n"), run_id="run", hosts=[Host(cpus=2), Host(cpus=64), Host(cpus=5)])
    assert [sum(plan.host == host for plan in made) for host in range(3)] == [2, 8, 5]
    assert [plan.cpu for plan in made if plan.host == 0] == [0, 1]
    assert {plan.cpu for plan in made if plan.host == 1} == {None}


def test_a_rate_is_offered_by_all_hosts_together():
    config = read("concurrency: 3\nprocesses: 2\nrate: {ops_per_second: 4000, arrivals: uniform}\n")
    made = make_plans(config, run_id="run", hosts=[Host(cpus=2)] * 4)
    phases = rate_phases(config.rate, 0.0)
    due = []
    for plan in made:
        share = plan.shares[0]
        arrivals = Arrivals(phases, 0, poisson=False, turns=share.turns, of=share.total_lanes, seed=0)
        own = []
        while (at := arrivals.take()) < 10 * 10**9:
            own.append(at)
        # As many as it has lanes.
        assert len(own) == pytest.approx(40_000 * share.lanes / 12, rel=0.001)
        due += own
    assert len(due) == 40_000
    assert np.all(np.diff(np.sort(due)) == 250_000)


@pytest.mark.parametrize("lanes", [[1], [4, 4, 4], [3, 2], [1, 0, 5], [7, 1, 1, 30]])
def test_turns_go_round_in_proportion(lanes):
    turns = shared_turns(lanes)
    assert sorted(turn for each in turns for turn in each) == list(range(sum(lanes)))
    assert [len(each) for each in turns] == lanes
    if len(set(lanes)) == 1:
        assert turns[0] == tuple(range(0, sum(lanes), len(lanes)))
    # Nobody waits for long: between two turns of one lie no more than its share of all, and a little.
    for each, count in zip(turns, lanes, strict=True):
        assert all(later - turn <= sum(lanes) / count + len(lanes) for turn, later in pairwise(each))


def test_everything_to_prepare_is_somebodys():
    made = plans("concurrency: 3\nprocesses: 2\nprepare: {ensure_objects: [{count: 7, size: 1}], concurrency: 1}\n")
    assert [plan.preparing.rank for plan in made] == [0, 3, 1, 4, 2, 5]
    assert {plan.preparing.workers for plan in made} == {3}, "of each host one process has the one thread"


def test_what_lives_in_one_process_is_not_shared_by_hosts():
    with pytest.raises(UsageError, match="objects of mem:// live in one process, so several hosts can't share them"):
        plans("", target="mem://x/")
    made = plans("distributed: {shared_filesystem: false}\n", target="mem://x/")
    assert [plan.places for plan in made] == [1, 1, 1]
    assert len(plans("", target="mem://x/", hosts=1)) == 1


def test_a_host_s_plan_travels_whole():
    made = plans("processes: 2\nconcurrency: 4\nrate: {ops_per_second: 7}\n", hosts=2)
    assert [WorkerPlan.from_message(plan.to_message()) for plan in made] == made
    host = HostPlan.of(made[2:], rank=1, hosts=2, run_id="run", worker="w", first=2, shares=1, environment={"A": "b"})
    again = HostPlan.from_message(host.to_message())
    assert [part.rank for part in again.parts] == [2, 3]
    assert (again.lanes, again.lanes_of(0), again.op_log) == (4, 4, None)
    assert [WorkerPlan.from_message(part.body) for part in again.parts] == made[2:]
    logging = HostPlan.of([plan.logging_to("l.tsv") for plan in made[2:]], rank=1, hosts=2, run_id="run", worker="w",
                          first=2, shares=1)  # fmt: skip
    assert logging.logs == ["l.part-2.tsv", "l.part-3.tsv"]


@pytest.mark.parametrize(("hosts", "kept"), [(1, True), (2, False)])
def test_what_another_host_made_again_is_not_taken_for_old(hosts, kept):
    text = (
        "repeat: 2\nverify: content\nconcurrency: 1\ntotal_operations: 1\n"
        "prepare: {ensure_objects: [{path: a/, count: 3, size: 10}]}\n"
        "distributed: {shared_filesystem: false}\n"
    )
    text += "workload: [{op: put, path: 'a/x-{:03d}', size: 5}, {op: delete, path: 'a/*'}]"
    text = f"target: mem://again/\n{text}"
    config = loads(text, label="w", environ={})
    plan = make_plans(config, run_id="run", hosts=[Host()] * hosts)[0]
    session = Session()
    try:
        session.open(attrs.evolve(plan, cpu=None).to_message())
        list(session.prepare({}))
        session.resolve({"leg": 0})
        board = session._verifier.board
        board.replace("0 a/x-001", 1, 1)
        assert board.past("0 a/x-001") == 1
        session.resolve({"leg": 1})
        assert (board.past("0 a/x-001") == 1) == kept
    finally:
        store = MemoryStore(MemoryOptions(name="again"))
        store.delete([info.key for page in store.list_pages() for info in page.objects])


def outlook(**given):
    found = {"operations": 9000, "nbytes": 1, "threads": 12, "private": [], "secrets": set(), "empty": False}
    return Outlook(**{**found, "partial": False, **given})


def test_a_replay_is_split_over_the_processes_of_all_hosts():
    hosts = [Host(cpus=4), Host(cpus=2)]
    parts = make_parts(Settings(log="l"), outlook(), first_ns=0, run_id="run", hosts=hosts)
    # 9000 operations a second are the work of three processes, of two on each of two hosts.
    assert [(part.rank, part.host, part.workers) for part in parts] == [(0, 0, 4), (1, 0, 4), (2, 1, 4), (3, 1, 4)]
    assert sum(part.lanes for part in parts) == 1000
    fast = make_parts(Settings(log="l", speed=None), outlook(), first_ns=0, run_id="run", hosts=hosts)
    assert [part.host for part in fast] == [0, 0, 0, 0, 1, 1]


def test_a_replay_that_hosts_cannot_share_is_refused():
    hosts = [Host(cpus=2)] * 3
    with pytest.raises(UsageError, match="so several hosts can't share them"):
        make_parts(Settings(log="l"), outlook(private=["mem"]), first_ns=0, run_id="run", hosts=hosts)
    few = Settings(log="l", backpressure=Backpressure(max_in_flight=2))
    with pytest.raises(UsageError, match="3 processes on 3 hosts; with --concurrency 2 there can be 2"):
        make_parts(few, outlook(), first_ns=0, run_id="run", hosts=hosts)
