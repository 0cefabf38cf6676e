"""``launcher`` and ``distributed`` in a file: read, written back, and refused where they are wrong."""

from __future__ import annotations

import json

import attrs
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import ConfigError, UsageError
from penstock.workload.config import Config, LauncherChoice, dump, loads, restore
from penstock.workload.distributed import Agent, Clock, Distributed, address_of

BASE = {"target": "mem://b/", "workload": [{"op": "get", "path": "**"}]}
NAMES = st.text("abcdefgh0123456789-", min_size=1, max_size=8).filter(lambda text: text.strip("-"))
AGENTS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "address": st.builds("{}:{}".format, NAMES, st.integers(1, 65535)),
            "target": st.sampled_from(["mem://b/two/", "mem://c/"]),
            "concurrency": st.integers(1, 99),
            "env": st.dictionaries(st.sampled_from(["AWS_REGION", "GCS_X", "PENSTOCK_A"]), st.text("ab 1", max_size=4)),
            "multi_endpoint": st.sampled_from(["none", "as run", {"endpoints": ["mem://d/"]}]),
        },
    ),
    max_size=4,
    unique_by=lambda agent: agent.get("address", object()),
)
HOSTS = st.fixed_dictionaries(
    {},
    optional={
        "agents": AGENTS,
        "shared_filesystem": st.booleans(),
        "tree_creation_mode": st.sampled_from(["concurrent", "coordinator", "isolated"]),
        "path_selection": st.sampled_from(["random", "partitioned", "exclusive", "weighted"]),
        "on_worker_lost": st.sampled_from(["continue", "abort"]),
        "clock": st.fixed_dictionaries(
            {}, optional={"probes": st.integers(3, 99), "action": st.sampled_from(["warn", "refuse"])}
        ),
        "lease": st.sampled_from([5, "30s", "1h"]),
        "op_log": st.sampled_from(["fetch", "leave"]),
        "forward_env": st.lists(st.sampled_from(["AWS_PROFILE", "X_1"]), max_size=2),
    },
)


def read(more):
    return loads(yaml.safe_dump(BASE | more), label="w.yaml", environ={})


def problems_of(text):
    with pytest.raises(ConfigError) as caught:
        loads(text, label="w.yaml", environ={})
    return "\n".join(caught.value.problems)


@settings(max_examples=60)
@given(hosts=HOSTS)
def test_what_is_read_is_written_back_and_read_again(hosts):
    config = read({"distributed": hosts})
    assert restore(json.loads(json.dumps(dump(config)))) == config
    assert loads(yaml.safe_dump(dump(config)), label="w.yaml", environ={}) == config
    for name, value in hosts.items():
        if isinstance(value, str | bool) and name != "lease":
            assert getattr(config.distributed, name) == value
    assert [agent.concurrency for agent in config.distributed.agents] == [
        agent.get("concurrency") for agent in hosts.get("agents", [])
    ]


def test_defaults_are_one_host():
    config = read({})
    assert config.launcher == LauncherChoice("local", {})
    assert config.distributed == Distributed()
    assert config.distributed.clock == Clock(probes=15, max_uncertainty=0.01, action="warn")
    assert config.distributed.hosts is None
    assert (config.distributed.shared_filesystem, config.distributed.own_namespaces) == (True, False)


def test_a_launcher_is_a_name_or_a_name_with_options():
    assert read({"launcher": "local"}).launcher == LauncherChoice("local", {})
    chosen = read({"launcher": {"name": "local", "hosts": 3}}).launcher
    assert chosen == LauncherChoice("local", {"hosts": "3"})
    assert dump(read({"launcher": {"name": "local", "hosts": 3}}))["launcher"] == {"name": "local", "hosts": "3"}


WRONG = [
    (
        "launcher: {name: local, hots: 3}",
        "2:31: launcher.hots: launcher local: unknown option hots; did you mean hosts?",
    ),
    ("launcher: {name: local, hosts: many}", "2:32: launcher.hosts: launcher local: option hosts"),
    ("launcher: {hosts: 3}", "2:11: launcher: name is missing"),
    ("launcher: [local]", "2:11: launcher: write the name of a launcher"),
    ("launcher: {name: local, hosts: [1]}", "2:32: launcher.hosts: write one value, not a list"),
    ("distributed: {agent: []}", "2:15: distributed.agent: unknown key, did you mean agents?"),
    ("distributed: {workers: 0}", "2:24: distributed.workers: 0 is too small; write 1 or more"),
    ("distributed: {workers: 2, agents: [{}, {}, {}]}", "2:24: distributed.workers: 2 workers, and 3 agents"),
    ("distributed: {min_workers: 3, agents: [{}]}", "2:28: distributed.min_workers: 3 is more than there are: 1"),
    ("distributed: {path_selection: mine}", "2:31: distributed.path_selection: write random or partitioned or"),
    ("distributed: {partition_overlap: 0.5}", "distributed.partition_overlap: is for path_selection: weighted"),
    ("distributed: {path_template: 'x-{id}/'}", "2:30: distributed.path_template: is for tree_creation_mode: isolated"),
    ("distributed: {lease: 1s}", "2:22: distributed.lease: 1s is too small; write 5 or more"),
    ("distributed: {clock: {probes: 1}}", "2:31: distributed.clock.probes: 1 is too small; write 3 or more"),
    ("distributed: {forward_env: ['A B']}", "2:29: distributed.forward_env[0]: 'A B' is no name of an environment"),
    ("distributed: {agents: [{address: 'a:b'}]}", "2:34: distributed.agents[0].address: 'a:b' is no address; write a"),
    ("distributed: {agents: [{address: 'a:0'}]}", "distributed.agents[0].address: 'a:0' is no address"),
    ("distributed: {agents: [{address: a, host: b}]}", "distributed.agents[0].host: address says where"),
    ("distributed: {agents: [{address: a}, {address: a}]}", "2:48: distributed.agents[1].address: agents[0] is a too"),
    ("distributed: {agents: [{id: x}, {id: x}]}", "2:38: distributed.agents[1].id: agents[0] is x too"),
    ("distributed: {agents: [{id: a/b}]}", "2:29: distributed.agents[0].id: 'a/b' can't be part of a path"),
    ("distributed: {agents: [{env: {'A B': 1}}]}", "distributed.agents[0].env.A B: 'A B' is no name"),
    ("distributed: {agents: [{env: [A]}]}", "2:30: distributed.agents[0].env: write a mapping of environment"),
    ("distributed: {agents: [{target: 'no://b/'}]}", "2:33: distributed.agents[0].target: unknown scheme no://"),
    ("distributed: {agents: [{path_template: x/}]}", "path_template: is for tree_creation_mode: isolated"),
    ("distributed: {agents: [{listen_port: 5, nope: 1}]}", "2:41: distributed.agents[0].nope: unknown key"),
    ("distributed: {tree_creation_mode: isolated, path_template: 'x/'}", "is the same for all hosts; write {id}"),
    ("distributed: {tree_creation_mode: isolated, path_template: 'x-{name}/'}", "only {id} stands for something"),
    (
        "distributed: {tree_creation_mode: isolated, agents: [{path_template: a/}, {path_template: a/}]}",
        "distributed.agents[1].path_template: agents[0] has the prefix a/ too",
    ),
    ("processes: 8\ndistributed: {agents: [{concurrency: 4}]}", "agents[0].concurrency: 8 processes can't share 4"),
]


@pytest.mark.parametrize(("text", "expected"), WRONG, ids=[text for text, _ in WRONG])
def test_what_is_wrong_is_told_with_its_line_and_key(text, expected):
    found = problems_of(f"target: mem://b/\n{text}\nworkload: [{{op: get, path: '**'}}]\n")
    assert expected in found


def test_a_place_of_its_own_needs_a_target_that_everything_is_below():
    text = "workload: [{op: get, path: 'mem://b/**'}]\ndistributed: {agents: [{target: 'mem://c/'}]}\n"
    assert "2:33: distributed.agents[0].target: there is no target of the run" in problems_of(text)
    text = "target: mem://b/\nworkload: [{op: get, path: 'mem://c/**'}]\ndistributed: {tree_creation_mode: isolated}\n"
    assert "2:28: workload[0].path: mem://c/** is not below target" in problems_of(text)


@pytest.mark.parametrize("more", ["{op: delete, path: '**'}", "{op: stat, path: '**', selection: each_once}"])
def test_what_others_delete_or_take_once_is_not_lent(more):
    text = f"target: mem://b/\nworkload: [{{op: get, path: '**'}}, {more}]\ndistributed: {{path_selection: weighted}}\n"
    assert "3:31: distributed.path_selection: weighted lends objects" in problems_of(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("load1", ("load1", 7167)),
        ("load1:80", ("load1", 80)),
        ("10.0.0.1:7167", ("10.0.0.1", 7167)),
        ("[::1]:9", ("::1", 9)),
        ("[fe80::1]", ("fe80::1", 7167)),
    ],
)
def test_an_address_is_a_host_with_or_without_a_port(text, expected):
    assert address_of(text) == expected


@pytest.mark.parametrize("text", ["", ":80", "a:b", "a:70000", "a b", "a/b", "::1", "user@host", "a:1:2"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ValueError, match="is no address"):
        address_of(text)


def test_secrets_are_for_the_hosts_alone():
    config = read({"distributed": {"agents": [{"env": {"AWS_SECRET_ACCESS_KEY": "marker"}}]}})
    assert config.distributed.agents[0].env == {"AWS_SECRET_ACCESS_KEY": "marker"}
    shown = dump(config, secrets=False)
    assert shown["distributed"]["agents"][0]["env"] == {"AWS_SECRET_ACCESS_KEY": "***"}
    assert "marker" not in json.dumps(shown)
    assert "marker" not in json.dumps(dump(config.for_host(0, 0))), "it travels beside the plan, not in it"


def hosts(*agents, **more):
    return Distributed(agents=tuple(Agent(**agent) for agent in agents), **more)


def test_agents_go_to_the_hosts_that_they_name_and_the_others_to_what_is_left():
    two = hosts({"address": "b:7167"}, {"address": "a:7167"})
    assert two.agents_of([("a:7167", "node1"), ("b:7167", "node2")]) == (1, 0)
    assert two.agents_of([("x", "a"), ("y", "b")]) == (1, 0), "by the host's own name"
    assert two.agents_of([("host-0",), ("host-1",)]) == (0, 1), "by their places where no name is known"
    mixed = hosts({}, {"host": "n1"}, {})
    assert mixed.agents_of([("n0",), ("n1",), ("n2",)]) == (0, 1, 2)
    assert mixed.agents_of([("n1",), ("n2",)]) == (1, 0), "one of three may be missing"
    assert hosts().agents_of([("a",), ("b",)]) == (None, None)


def test_agents_that_do_not_go_with_the_hosts_are_told():
    with pytest.raises(UsageError, match=r"agents\[0\]\.host: there is no host n7; known: n1, n2"):
        hosts({"host": "n7"}, {}).agents_of([("n1",), ("n2",)])
    with pytest.raises(UsageError, match="1 agents, and 2 hosts; name them all"):
        hosts({}).agents_of([("n1",), ("n2",)])


PLACED = {
    "workload": [
        {"op": "get", "path": "a/*"},
        {"op": "put", "uri": "mem://b/new/", "size": 1},
        {"op": "stat", "uri": "mem://c/*"},
    ],
    "stages": [{"name": "s", "workload": [{"op": "copy", "path": "mem://b/a/*", "to": "mem://b/copies/"}]}],
    "prepare": {"ensure_objects": [{"path": "mem://b", "count": 3}], "directory_structure": {"path": "tree"}},
    "concurrency": 8,
}


def test_a_host_has_its_target_and_what_lies_below_it():
    config = read(PLACED | {"distributed": {"agents": [{}, {"target": "mem://two/x", "concurrency": 3}]}})
    assert paths(config.for_host(0, 0)) == paths(config)
    own = config.for_host(1, 1)
    assert own.target == "mem://two/x"
    assert paths(own) == ["a/*", "new/", "mem://c/*", "a/*", "copies/", "", "tree"]
    assert (own.concurrency, config.for_host(0, 0).concurrency) == (3, 8)
    assert own.launcher == LauncherChoice()
    assert own.distributed.agents == ()
    assert restore(dump(own)) == own, "it can travel"


def test_an_isolated_host_has_a_prefix_of_its_own():
    more = {"workload": PLACED["workload"][:2], "target": "mem://b/?name=b"}
    text = {"tree_creation_mode": "isolated", "agents": [{"id": "l1"}, {}, {"path_template": "mine"}]}
    config = read(more | {"distributed": text})
    assert [config.for_host(n, n).target for n in range(3)] == [
        "mem://b/agent-l1/?name=b",
        "mem://b/agent-1/?name=b",
        "mem://b/mine/?name=b",
    ]
    assert paths(config.for_host(0, 0)) == ["a/*", "new/"]
    nobody = read(more | {"distributed": {"tree_creation_mode": "isolated"}})
    assert nobody.for_host(4).target == "mem://b/agent-4/?name=b", "without agents it is the rank"


def test_endpoints_are_those_of_the_host(tmp_path):
    (tmp_path / "more.txt").write_text("mem://b2/\nmem://b3/\n")
    agents = [{}, {"multi_endpoint": "none"}, {"multi_endpoint": {"endpoints": ["mem://b9/"]}}]
    run = {"multi_endpoint": {"file": str(tmp_path / "more.txt")}}
    config = read(run | {"distributed": {"agents": agents, "tree_creation_mode": "isolated"}})
    found = [config.for_host(number, number).multi_endpoint for number in range(3)]
    assert (found[0].endpoints, found[0].file) == (("mem://b2/agent-0/", "mem://b3/agent-0/"), None)
    assert found[1] is None
    assert found[2].endpoints == ("mem://b9/agent-2/",)


def test_a_place_in_the_working_directory_is_the_same_on_every_host(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    more = {
        "target": "bench/?fsync=true",
        "workload": [{"op": "get", "path": "a?/*"}, {"op": "stat", "uri": "file://./other/*"}],
        "distributed": {"agents": [{}, {"target": "./two"}]},
        "multi_endpoint": {"endpoints": ["./more/"]},
    }
    config = read(more)
    own = config.for_host(0, 0)
    assert own.target == f"file://{tmp_path}/bench/?fsync=true"
    assert paths(own) == ["a?/*", f"file://{tmp_path}/other/*"]
    assert own.multi_endpoint.endpoints == (f"file://{tmp_path}/more/",)
    assert config.for_host(1, 1).target == f"file://{tmp_path}/two"
    assert read({}).for_host(0).target == "mem://b/", "only where it is relative"


def paths(config: Config) -> list[str]:
    found = [item.path for item in config.workload]
    for stage in config.stages:
        found += [text for item in stage.workload for text in (item.path, item.to)]
    found += [objects.path for objects in config.prepare.ensure_objects]
    tree = config.prepare.directory_structure
    return found + ([tree.path] if tree is not None else [])


def test_a_value_of_a_host_is_frozen():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Distributed().workers = 3  # type: ignore[misc]
