"""``--launcher``, ``--launcher-option``, ``--workers``, ``--agents``: what they make of a file and what they refuse."""

from __future__ import annotations

import json

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from penstock.cli import main
from penstock.cli.launching import Launching
from penstock.errors import ConfigError
from penstock.plugins import AGENT_LAUNCHER
from penstock.workload.config import LauncherChoice
from penstock.workload.distributed import Distributed
from penstock.workload.documents import Problems, parse

FILE = """
target: mem://cli/
total_operations: 9
workload: [{op: put, path: new/, size: 1}]
"""
AGENTS = "distributed: {agents: [{address: 'a:1', id: l1, concurrency: 3}, {address: 'b:2'}]}\n"


@pytest.fixture
def penstock(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(command, *arguments, more=""):
        (tmp_path / "w.yaml").write_text(FILE + more)
        return CliRunner().invoke(main, [command, "w.yaml", *arguments])

    return run


def edited(text, **options):
    """What a file's tree is after the options; nothing is checked."""
    root = parse(text, "w.yaml", Problems(), {})
    return plain(Launching(**options).edit(root))


def plain(node):
    if node.kind == "mapping":
        return {name: plain(inner) for name, inner in node.entries.items()}
    return [plain(item) for item in node.items] if node.kind == "sequence" else node.text


def test_without_options_the_file_is_as_it_was():
    assert edited(FILE) == plain(parse(FILE, "w.yaml", Problems(), {}))
    assert edited(f"{FILE}launcher: ray\n")["launcher"] == "ray"


def test_options_go_before_the_file():
    text = f"{FILE}launcher: {{name: ray, cpus: 2}}\n"
    assert edited(text, launcher="local")["launcher"] == {"name": "local"}, "another one has other options"
    assert edited(text, options={"cpus": "4"})["launcher"] == {"name": "ray", "cpus": "4"}
    assert edited(FILE, options={"hosts": "2"})["launcher"] == {"name": "local", "hosts": "2"}
    assert edited(FILE, workers=3)["distributed"] == {"workers": "3"}
    assert edited(f"{FILE}distributed: {{lease: 1m}}\n", workers=3)["distributed"] == {"lease": "1m", "workers": "3"}


def test_agents_keep_what_the_file_says_of_their_address():
    found = edited(FILE + AGENTS, agents=("b:2", "c:3", "a:1"))
    assert found["distributed"]["agents"] == [
        {"address": "b:2"},
        {"address": "c:3"},
        {"address": "a:1", "id": "l1", "concurrency": "3"},
    ]


def test_addresses_mean_the_launcher_that_connects_to_agents_unless_one_is_named():
    assert edited(FILE, agents=("a:1",))["launcher"] == {"name": AGENT_LAUNCHER}
    assert edited(FILE + AGENTS)["launcher"] == {"name": AGENT_LAUNCHER}
    assert edited(FILE + AGENTS, launcher="local")["launcher"] == {"name": "local"}
    assert edited(f"{FILE}{AGENTS}launcher: mpi\n")["launcher"] == "mpi"
    assert edited(f"{FILE}launcher: mpi\n", agents=("a:1",))["launcher"] == "mpi"
    assert "launcher" not in edited(f"{FILE}distributed: {{agents: [{{host: a}}]}}\n")


@given(
    options=st.dictionaries(st.sampled_from(["a", "b"]), st.text("01 ", max_size=3)),
    workers=st.none() | st.integers(1, 9),
    launcher=st.none() | st.sampled_from(["local", "ray"]),
    agents=st.lists(st.sampled_from(["a:1", "b:2", "c:3"]), unique=True).map(tuple),
    more=st.sampled_from(["", AGENTS, "launcher: local\n", "distributed: {op_log: leave}\n"]),
)
def test_what_is_said_twice_is_said_once(options, workers, launcher, agents, more):
    given = {"options": options, "workers": workers, "launcher": launcher, "agents": agents}
    once = edited(FILE + more, **given)
    assert edited(yaml.safe_dump(once), **given) == once
    assert {name: once[name] for name in ("target", "workload")} == {
        name: edited(FILE)[name] for name in ("target", "workload")
    }


def test_a_job_without_a_file_has_settings_of_its_own():
    assert Launching().settings() == (LauncherChoice(), Distributed())
    launcher, distributed = Launching(options={"hosts": "2"}, workers=2).settings()
    assert launcher == LauncherChoice("local", {"hosts": "2"})
    assert distributed == Distributed(workers=2)
    with pytest.raises(ConfigError, match=r"--agents: distributed\.agents\[0\]\.address: 'a:b' is no address"):
        Launching(launcher="local", agents=("a:b",)).settings()
    with pytest.raises(ConfigError, match=r"distributed\.agents\[1\]\.address: agents\[0\] is a:1 too"):
        Launching(launcher="local", agents=("a:1", "a:1")).settings()


REFUSED = [
    (("--launcher", "lokal"), "", "no launcher named lokal; did you mean local?"),
    (("--launcher-option", "hots=3"), "", "launcher local: unknown option hots; did you mean hosts?"),
    (("--launcher-option", "hosts=x"), "", "launcher local: option hosts"),
    (("--launcher-option", "hosts=0"), "", "hosts: 0; pretend at least one"),
    (("--launcher-option", "hosts"), "", "write NAME=VALUE, not 'hosts'"),
    (("--workers", "2"), "", "2 hosts are asked for (workers), and the launcher local starts processes of this host"),
    (("--launcher", "local"), AGENTS, "distributed.agents names 2 hosts, and the launcher local starts processes"),
    (("--launcher", "local", "--agents", "a,b"), "", "--agents: the launcher local connects to no agents"),
    (("--agents", ","), "", "write addresses with commas between them"),
    (("--workers", "3", "--launcher", "local"), AGENTS, "3 workers, and 2 agents; leave workers out"),
    (("--workers", "0"), "", "0 is not in the range x>=1"),
]


@pytest.mark.parametrize("command", ["run", "preflight"])
@pytest.mark.parametrize(("options", "more", "expected"), REFUSED, ids=[" ".join(row[0]) for row in REFUSED])
def test_what_cannot_be_is_refused_before_anything_is_started(penstock, tmp_path, command, options, more, expected):
    refused = penstock(command, *options, more=more)
    assert refused.exit_code == 2, refused.output
    assert expected in refused.output
    assert [path.name for path in tmp_path.iterdir()] == ["w.yaml"]


@pytest.mark.parametrize("command", [("find", "--slo", "errors < 1%"), ("autotune",)])
def test_searches_take_the_same_options(penstock, command):
    refused = penstock(*command, "--workers", "2")
    assert (refused.exit_code, "2 hosts are asked for" in refused.output) == (2, True), refused.output


def test_replays_take_the_same_options(penstock, tmp_path):
    assert penstock("run", "--op-log", "log.tsv", "-q").exit_code == 0
    replay = ["replay", "log.tsv", "--in-place", "--workers", "2"]
    refused = CliRunner().invoke(main, replay)
    assert (refused.exit_code, "2 hosts are asked for" in refused.output) == (2, True), refused.output
    refused = CliRunner().invoke(main, [*replay, "--launcher-option", "hots=2"])
    assert (refused.exit_code, "did you mean hosts?" in refused.output) == (2, True), refused.output


def test_a_dry_run_tells_of_the_hosts(penstock, tmp_path):
    options = ("--dry-run", "--launcher", "local", "--launcher-option", "hosts=2")
    more = f"{AGENTS}processes: 1\n"
    more = more.replace("distributed: {", "distributed: {tree_creation_mode: isolated, ")
    shown = penstock("run", *options, more=more)
    assert shown.exit_code == 0, shown.output
    assert "hosts        2\nworkers      2\n" in shown.output
    shown = penstock("run", *options, "--json", more=more)
    workers = json.loads(shown.output)["workers"]
    assert [(worker["host"], worker["lanes"]) for worker in workers] == [(0, 3), (1, 16)]


def test_config_check_tells_of_the_hosts(tmp_path):
    (tmp_path / "w.yaml").write_text(f"{FILE}{AGENTS}launcher: {{name: local, hosts: 2}}\n")
    shown = CliRunner().invoke(main, ["config", "check", str(tmp_path / "w.yaml")])
    assert shown.exit_code == 0, shown.output
    rows = dict(line.strip().split(None, 1) for line in shown.output.splitlines()[1:])
    assert rows["launcher"] == "local"
    assert rows["hosts"].startswith("2, which share the objects; path_selection: random")
    assert "agent l1     a:1, 3 in flight" in shown.output


def test_a_store_in_one_process_is_shared_by_no_two_hosts(penstock):
    refused = penstock("run", "--dry-run", "--launcher-option", "hosts=2", "--workers", "2")
    assert refused.exit_code == 2
    assert "objects of mem:// live in one process, so several hosts can't share them" in refused.output
