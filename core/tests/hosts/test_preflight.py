"""The look at a host before the first byte: each finding with its remedy, and nothing left behind."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
from importlib.metadata import EntryPoint, version

import anyio
import attrs
import pytest

from penstock.engine import machine
from penstock.engine.findings import Finding, PreflightError, ordered
from penstock.engine.looking import look_at_clock
from penstock.engine.preflight import (
    Need,
    answer,
    ask,
    inspect,
    look_at_plugins,
    look_at_versions,
    needs_of,
    preflight,
    questions,
)
from penstock.engine.trials import PROBE
from penstock.errors import (
    AccessDeniedError,
    CredentialsError,
    ObjectNotFoundError,
    StorageFullError,
    StoreConnectionError,
    UsageError,
    WorkerLostError,
)
from penstock.launching.greeting import greet
from penstock.memory import MemoryStore
from penstock.plugins import PluginHost
from penstock.workload.config import loads
from penstock.workload.distributed import Clock, Distributed

READ = "target: mem://pre/\nworkload: [{op: get, path: 'a/*'}]\n"
WRITE = "target: mem://pre/\nworkload: [{op: get, path: 'a/*'}, {op: put, path: new/, size: 5}]\n"


def config_of(text):
    return loads(text, label="w.yaml", environ={})


def look(text, tmp_path, **options):
    return preflight(config_of(text), hosts=1, scratch=str(tmp_path), **options)


def failing(error):
    def call(*arguments, **options):
        raise error

    return call


def test_nothing_is_found_where_nothing_is_wrong(tmp_path):
    assert look(WRITE, tmp_path) == []
    (finding,) = answer(ask(config_of(WRITE), hosts=1), scratch=str(tmp_path))["findings"]
    assert (finding["level"], finding["subject"]) == ("info", "host")
    assert version("penstock") in finding["cause"]


STORE_ERRORS = [
    (CredentialsError("no credentials found"), "give this host credentials of its own, or hand them on by name"),
    (AccessDeniedError("not for you"), "these credentials may not do this"),
    (StoreConnectionError("refused"), "check that the port is this service's"),
    (ObjectNotFoundError("no such bucket", operation="list_pages"), "check the bucket's name"),
]


@pytest.mark.parametrize(("error", "remedy"), STORE_ERRORS, ids=[type(error).__name__ for error, _ in STORE_ERRORS])
def test_a_store_that_cannot_be_listed_is_told_once(monkeypatch, tmp_path, error, remedy):
    monkeypatch.setattr(MemoryStore, "list_pages", failing(error))
    (finding,) = look(WRITE, tmp_path)
    assert (finding.level, finding.subject) == ("error", "store mem://pre/")
    assert finding.cause.startswith("can't be listed: ")
    assert str(error.message) in finding.cause
    assert finding.remedy.startswith(remedy)


@pytest.mark.parametrize(("method", "error"), [("put", StorageFullError("full")), ("delete", AccessDeniedError("no"))])
def test_a_store_that_cannot_be_written_is_told(monkeypatch, tmp_path, method, error):
    monkeypatch.setattr(MemoryStore, method, failing(error))
    (finding,) = look(WRITE.replace("pre", method), tmp_path)
    assert finding.cause.startswith("can't be written: ")
    assert finding.remedy
    assert look(READ, tmp_path) == [], "who only reads is not asked to write"


def test_a_defect_of_a_backend_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(MemoryStore, "list_pages", failing(KeyError("surprise")))
    (finding,) = look(READ, tmp_path)
    assert finding.remedy == "tell the backend's authors"
    assert "surprise" in finding.cause


def test_no_secret_of_an_error_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(MemoryStore, "list_pages", failing(StoreConnectionError("X-Amz-Signature=marker refused")))
    assert "marker" not in str(look(READ, tmp_path))


def test_a_store_that_says_nothing_keeps_nobody(monkeypatch, tmp_path):
    release = threading.Event()

    def hang(*arguments, **options):
        release.wait(60)
        return iter(())

    monkeypatch.setattr(MemoryStore, "list_pages", hang)
    try:
        (finding,) = look(READ, tmp_path, patience=0.05)
    finally:
        release.set()
    assert (finding.level, finding.subject) == ("error", "store mem://pre/")
    assert "did not answer within 0.05 s" in finding.cause
    assert "firewall" in finding.remedy


def test_what_was_written_is_removed_and_no_directory_is_made(monkeypatch, tmp_path):
    written = []
    original = MemoryStore.put

    def put(self, key, *arguments, **options):
        written.append(key)
        return original(self, key, *arguments, **options)

    monkeypatch.setattr(MemoryStore, "put", put)
    assert look(WRITE, tmp_path) == []
    (key,) = written
    assert key.startswith(f"new/{PROBE}")
    assert list(MemoryStore.list_pages(_store("pre"))) == []


def _store(name):
    from penstock.memory import MemoryOptions

    return MemoryStore(MemoryOptions(name=name))


TREE = """
target: file://{path}/there/not/yet/
workload: [{{op: get, path: 'a/*'}}, {{op: put, path: new/deep/, size: 5}}]
prepare: {{ensure_objects: [{{path: a/, count: 10, size: 1MiB}}]}}
"""


def test_directories_that_are_not_there_are_not_made(tmp_path):
    (tmp_path / "there").mkdir()
    text = TREE.replace("{path}", str(tmp_path)).replace("{{", "{").replace("}}", "}")
    assert look(text, tmp_path) == []
    assert sorted(each.relative_to(tmp_path).as_posix() for each in tmp_path.rglob("*")) == ["there"]


def space(monkeypatch, free):
    monkeypatch.setattr(machine, "_free", lambda path: free)


def test_a_disk_without_room_for_what_prepare_writes_is_told(monkeypatch, tmp_path):
    text = TREE.replace("{path}", str(tmp_path)).replace("{{", "{").replace("}}", "}")
    space(monkeypatch, 2 << 30)
    assert look(text, tmp_path) == []
    space(monkeypatch, 9 << 20)
    (scratch, finding) = look(text, tmp_path)
    assert scratch.subject.startswith("scratch ")
    assert (finding.level, finding.subject) == ("error", f"space at {tmp_path}")
    assert finding.cause == "9.00 MiB are free, and prepare is to write 10.0 MiB"
    assert finding.remedy == "make room, prepare less, or name another target"


def test_what_is_there_needs_no_room(monkeypatch, tmp_path):
    text = TREE.replace("{path}", str(tmp_path)).replace("{{", "{").replace("}}", "}")
    there = tmp_path / "there/not/yet/a"
    there.mkdir(parents=True)
    for number in range(10):
        (there / f"prepared-{number:08d}.dat").write_bytes(bytes(1 << 20))
    space(monkeypatch, 5)
    assert [each.subject for each in look(text, tmp_path)] == [f"scratch {tmp_path}"]
    (there / "prepared-00000003.dat").write_bytes(b"short")
    assert [each.subject for each in look(text, tmp_path)][1:] == [f"space at {there}"]


def test_hosts_that_each_make_all_of_it_on_one_disk_need_so_much_more(monkeypatch, tmp_path):
    text = TREE.replace("{path}", str(tmp_path)).replace("{{", "{").replace("}}", "}")
    space(monkeypatch, 25 << 20)
    isolated = config_of(f"{text}distributed: {{tree_creation_mode: isolated}}")
    subjects = [
        [each.subject for each in preflight(isolated.for_host(0), hosts=hosts, scratch=str(tmp_path))]
        for hosts in (2, 3)
    ]
    assert subjects[0] == [f"scratch {tmp_path}"]
    assert subjects[1] == [f"scratch {tmp_path}", f"space at {tmp_path}"]


def test_scratch_that_is_full_or_gone_is_told(monkeypatch, tmp_path):
    (finding,) = look(READ, tmp_path / "no")
    assert (finding.level, finding.cause) == ("error", "can't be used: No such file or directory")
    space(monkeypatch, 512 << 20)
    assert look(READ, tmp_path) == []
    (finding,) = look(f"{READ}op_log: true\n", tmp_path)
    assert (finding.level, finding.subject) == ("warning", f"scratch {tmp_path}")
    assert "TMPDIR" in finding.remedy


def test_too_few_files_are_told_with_the_limit_that_would_do(monkeypatch, tmp_path):
    text = f"{READ}concurrency: 100\nprocesses: 1\n"
    monkeypatch.setattr(resource, "getrlimit", lambda which: (120, 4096))
    (finding,) = look(text, tmp_path)
    assert (finding.level, finding.subject) == ("error", "open files")
    assert finding.remedy.endswith("ulimit -n 132")
    monkeypatch.setattr(resource, "getrlimit", lambda which: (120, 125))
    assert "raise the hard limit, 125," in look(text, tmp_path)[0].remedy
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1024, 4096))
    assert look(text, tmp_path) == []
    (finding,) = look(f"{text}range_engine: {{threshold: 1MiB, part_size: 1MiB, concurrency: 16}}\n", tmp_path)
    assert finding.level == "warning", "it may be more than there ever are"


def test_memory_that_does_not_suffice_is_a_warning(monkeypatch, tmp_path):
    text = WRITE.replace("size: 5", "size: 64MiB").replace("target", "concurrency: 64\nprocesses: 2\ntarget")
    assert machine.needed_memory(config_of(text)) == 2 * (80 << 20) + 64 * (64 << 20)
    monkeypatch.setattr(machine, "_available", lambda: 1 << 30)
    (finding,) = look(text, tmp_path)
    assert (finding.level, finding.subject) == ("warning", "memory")
    assert "1.00 GiB can be had" in finding.cause
    assert "lower concurrency" in finding.remedy


def test_a_version_that_differs_is_told():
    own = greet()
    assert [each.level for each in look_at_versions(own, own)] == ["info"]
    other = attrs.evolve(own, version="0.0.1", python="3.99.0")
    found = {each.subject: each for each in look_at_versions(other, own)}
    assert found["version"].level == "error"
    assert found["version"].remedy == f"run there: pip install penstock=={own.version}"
    assert found["Python"].level == "warning"
    found = {each.subject: each for each in look_at_versions(attrs.evolve(own, protocol=1), own)}
    assert found["protocol"].level == "error"


def need(name, distribution="penstock-acme", number="1.0"):
    return Need(group="penstock.stores", name=name, distribution=distribution, version=number)


def test_a_missing_or_broken_plugin_is_told_with_what_to_install():
    broken = EntryPoint("acme", "no_such_module", "penstock.stores")
    (finding,) = look_at_plugins([need("acme")], PluginHost(entries=[broken], disabled=[]))
    assert (finding.level, finding.subject) == ("error", "plugin acme")
    assert "no_such_module" in finding.cause
    (finding,) = look_at_plugins([need("s3.acme")], PluginHost(entries=[], disabled=[]))
    assert finding.subject == "plugin s3+acme"
    assert finding.remedy == "run there: pip install penstock-acme==1.0"
    assert list(look_at_plugins([need("mem", "penstock", version("penstock"))], PluginHost(disabled=[]))) == []
    (finding,) = look_at_plugins([need("mem", "penstock", "0.0.1")], PluginHost(disabled=[]))
    assert finding.level == "warning"


def test_a_plugin_that_the_host_lacks_is_told_before_the_configuration_is_read(tmp_path):
    body = ask(config_of(READ), hosts=1)
    body["needs"] = [attrs.asdict(need("acme"))]
    body["config"] |= {"target": "acme://b/"}
    found = [Finding.from_message(each) for each in answer(body, scratch=str(tmp_path))["findings"]]
    assert [each.subject for each in found if each.level == "error"] == ["plugin acme"]


def test_a_configuration_that_the_host_cannot_read_is_told(tmp_path):
    body = ask(config_of(READ), hosts=1)
    body["config"] |= {"later_key": 5}
    (_, finding) = (Finding.from_message(each) for each in answer(body, scratch=str(tmp_path))["findings"])
    assert (finding.level, finding.subject) == ("error", "configuration")
    assert "later_key: unknown key" in finding.cause
    assert f"install penstock {version('penstock')}" in finding.remedy


def test_the_plugins_of_a_configuration_are_those_of_its_places_and_contents():
    text = TREE.replace("{path}", "/x").replace("{{", "{").replace("}}", "}")
    needs = needs_of(config_of(text))
    assert [(each.name, each.distribution) for each in needs] == [("file", "penstock-file")]
    assert needs_of(config_of(READ)) == [], "what core brings is not asked for"


def test_a_host_is_looked_at_with_the_variables_that_its_workers_get(monkeypatch, tmp_path):
    seen = {}

    def list_pages(*arguments, **options):
        seen.update({name: os.environ.get(name) for name in ("AWS_A", "AWS_B")})
        return iter(())

    monkeypatch.setattr(MemoryStore, "list_pages", list_pages)
    monkeypatch.setenv("AWS_B", "mine")
    config = config_of(f"{READ}distributed: {{agents: [{{env: {{AWS_B: agent}}}}]}}\n")
    (question,) = questions(config, [("h0",)], {"AWS_A": "handed", "AWS_B": "handed"})
    answer(question, scratch=str(tmp_path))
    assert seen == {"AWS_A": "handed", "AWS_B": "agent"}
    assert (os.environ.get("AWS_A"), os.environ["AWS_B"]) == (None, "mine")


def test_all_hosts_are_asked_and_one_that_is_lost_is_a_finding():
    async def call(rank, question):
        if rank == 1:
            raise WorkerLostError(1, "h1", "cut off")
        return {"findings": [{"level": level, "subject": "x", "cause": "y"} for level in ("info", "warning")]}

    found = anyio.run(inspect, [{}, {}, {}], ["h0", "h1", "h2"], call)
    assert [(each.level, each.host) for each in found] == [
        ("error", "h1"),
        ("warning", "h0"),
        ("warning", "h2"),
        ("info", "h0"),
        ("info", "h2"),
    ]
    assert "cut off" in found[0].cause
    assert found[0].remedy
    error = PreflightError(found)
    assert isinstance(error, UsageError)
    assert str(error) == str(found[0])
    assert error.findings == tuple(ordered(found))


def test_a_clock_is_judged_by_the_policy():
    sure = look_at_clock("h", 3_000_000_000, 100_000, Distributed())
    assert (sure.level, sure.cause) == ("info", "3.00 s ahead, give or take 100 µs")
    unsure = look_at_clock("h", -5, 50_000_000, Distributed())
    assert (unsure.level, unsure.remedy) == ("warning", "use a faster network, or raise it")
    assert look_at_clock("h", 0, 50_000_000, Distributed(clock=Clock(action="refuse"))).level == "error"


FILES = """
target: file://{path}/data/
concurrency: 2
processes: 1
total_operations: 20
results_dir: {path}/results
prepare: {{ensure_objects: [{{count: 5, size: SIZE}}]}}
workload: [{{op: get, path: '*'}}]
cleanup: true
"""


@pytest.fixture
def penstock(tmp_path):
    (tmp_path / "results").mkdir()

    def run(command, *arguments, size="10"):
        text = FILES.replace("{path}", str(tmp_path)).replace("{{", "{").replace("}}", "}").replace("SIZE", size)
        (tmp_path / "w.yaml").write_text(text)
        line = [sys.executable, "-m", "penstock", command, str(tmp_path / "w.yaml"), *arguments]
        return subprocess.run(line, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)

    return run


def test_the_command_looks_at_this_host_and_at_pretended_ones(penstock, tmp_path):
    done = penstock("preflight")
    assert (done.returncode, "nothing is in the way" in done.stdout) == (0, True), done.stderr
    done = penstock("preflight", "--launcher-option", "hosts=2", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["schema"], told["errors"], told["warnings"]) == ("penstock.preflight/1", 0, 0)
    assert sorted({each["host"] for each in told["findings"]}) == ["host-0", "host-1"]
    assert [each["subject"] for each in told["findings"]].count("clock") == 2
    assert not (tmp_path / "data").exists()


def test_a_run_that_cannot_succeed_does_nothing(penstock, tmp_path):
    options = ("--launcher-option", "hosts=2")
    refused = penstock("preflight", *options, size="1PiB")
    assert refused.returncode == 2
    assert "2 things are in the way" in refused.stdout
    refused = penstock("run", *options, size="1PiB")
    assert refused.returncode == 2
    assert "host-1" in refused.stderr
    assert "make room, prepare less, or name another target" in refused.stderr
    assert "--no-preflight" in refused.stderr
    assert list((tmp_path / "results").iterdir()) == []
    assert not (tmp_path / "data").exists()


def test_a_run_looks_unless_it_is_told_not_to(penstock):
    looked = penstock("run", "--launcher-option", "hosts=1")
    assert (looked.returncode, "preflight" in looked.stderr) == (0, True), looked.stderr
    blind = penstock("run", "--launcher-option", "hosts=1", "--no-preflight")
    assert (blind.returncode, "preflight" in blind.stderr) == (0, False), blind.stderr
