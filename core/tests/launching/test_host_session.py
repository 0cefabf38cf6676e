"""A host's worker, with processes of which each test says what they do."""

from __future__ import annotations

import base64
import json
import os
import stat
import threading

import anyio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.engine import hostcrew, hostleg
from penstock.engine.host import HostSession
from penstock.engine.hostfiles import MAX_PIECE, HostFiles
from penstock.engine.hostrecord import SCHEMA
from penstock.engine.parts import HostPart, HostPlan
from penstock.errors import PenstockError, RunError, StorageFullError, UsageError, WorkerLostError
from penstock.launching.hosting import HostSettings
from penstock.records import Op, record_dtype
from penstock.stats.errors import ErrorTable
from penstock.stats.tally import Tally


def snapshot(number, count=1):
    rows = np.zeros(count, record_dtype())
    rows["op"], rows["start"], rows["end"], rows["attempts"] = Op.GET, 1, 1000, 1
    tally = Tally()
    tally.add(rows)
    return {
        "number": number,
        "start": 0,
        "end": 1,
        "start_s": float(max(number, 0)),
        "end_s": float(number + 1),
        "tally": tally.to_message(),
        "errors": ErrorTable().to_message(),
        "cpu_ns": 10,
    }


DONE = {"done": True, "reason": "", "missed": 0, "generating_ns": 1, "endpoints": [], "began_ns": 77}


def worker(**phases):
    """A script: what each method gives, as items or as a function that yields them; else what a process says that has
    nothing to say.
    """
    usual = {
        "open": [{"lanes": 2}],
        "prepare": [{"total": 2, "made": 1, "example": ""}, {"total": 2, "made": 2, "example": ""}],
        "run": [snapshot(-1, 0), snapshot(0), snapshot(1), DONE],
        "finish": [{"log": {"accepted": 3, "written": 3}}],
    }

    async def script(handle, method, body):
        items = {**usual, **phases}.get(method, [{}])
        for item in items(handle, body) if callable(items) else items:
            if item is ...:
                await anyio.sleep_forever()
            if isinstance(item, Exception):
                raise item
            yield item

    return script


def plan(count, **more):
    parts = tuple(HostPart(rank=10 + place, lanes=(2,), body={"op_log": f"part-{place}.tsv"}) for place in range(count))
    return HostPlan(
        **{"rank": 3, "hosts": 4, "run_id": "r", "worker": "penstock.engine.worker", "parts": parts, **more}
    )


@pytest.fixture
def host(tmp_path, scripted):
    """Makes the session of a host on which these workers run, opened."""
    made = []

    def make(*scripts, opened=True, lease=30.0, **more):
        scratch = tmp_path / f"scratch-{len(made)}"
        scratch.mkdir(mode=0o700)
        launcher = scripted(*scripts)
        session = HostSession(
            HostSettings(scratch=str(scratch), name="load3", lease=lease, allow=("ACME_*",)), launcher
        )
        session.scratch, session.workers = scratch, launcher
        made.append(session)
        if opened:
            session.open(plan(len(scripts), **more).to_message())
        return session

    yield make
    for session in made:
        session.left()


def record(session):
    return json.loads((session.scratch / "host.json").read_text())


def counts(items):
    return [(item["number"], Tally.from_message(item["tally"]).count) for item in items if "number" in item]


RUN = {"leg": 0, "share": 0, "start_ns": 5, "origin_ns": 4}


def test_a_host_tells_as_one_what_its_processes_say(host):
    session = host(worker(), worker())
    assert list(session.prepare({}))[-1] == {"total": 4, "made": 4, "example": ""}
    assert session.resolve(RUN) == {}
    *items, end = session.run(RUN)
    assert counts(items) == [(-1, 0), (0, 2), (1, 2)]
    assert {name for item in items for name in item["host"]} == {"user", "system", "iowait"}
    assert (end["reason"], end["began_ns"], end["generating_ns"]) == ("", 77, 2)
    assert isinstance(end["disks"], list)
    assert isinstance(end["links"], list)
    assert session.finish({}) == {"log": {"accepted": 6, "written": 6}, "processes": []}


def test_names_in_a_plan_become_paths_of_the_host(host):
    parts = (HostPart(rank=0, lanes=(1,), body={"op_log": "part.tsv", "inputs": {"log": "in.tsv"}, "x": 1}),)
    session = host(worker(), opened=False)
    session.open(plan(1, parts=parts, environment={"AWS_REGION": "r", "ACME_MODE": "m"}).to_message())
    asked = dict(session.workers.workers[0].asked)["open"]
    assert asked == {
        "op_log": str(session.scratch / "part.tsv"),
        "inputs": {"log": str(session.scratch / "in.tsv")},
        "x": 1,
    }
    (spec,) = session.workers.specs
    assert dict(spec.environment) == {"AWS_REGION": "r", "ACME_MODE": "m"}
    assert spec.scratch == str(session.scratch)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"worker": "os"}, "does not run 'os'"),
        ({"environment": {"LD_PRELOAD": "x"}}, "LD_PRELOAD"),
        ({"environment": {"PENSTOCK_HOST_ALLOW": "*"}}, "PENSTOCK_HOST_ALLOW"),
        ({"environment": {"OTHER": "x"}}, "--allow-env OTHER"),
        ({"environment": {"PENSTOCK_CLOCK_SHIFT": "1s"}}, "clock"),
        ({"parts": ()}, "no processes"),
    ],
)
def test_a_plan_that_may_not_be_is_refused_before_anything_starts(host, more, said):
    session = host(worker(), opened=False)
    with pytest.raises(RunError, match=said):
        session.open(plan(1, **more).to_message())
    assert session.workers.specs == []
    assert list(session.scratch.iterdir()) == []


@pytest.mark.parametrize("name", ["../part", "/etc/part", "", "host.json", "a/b", ".hidden"])
def test_a_part_of_a_log_stays_in_the_directory(host, name):
    session = host(worker(), opened=False)
    with pytest.raises(UsageError, match="no name of a file"):
        session.open(plan(1, parts=(HostPart(rank=0, lanes=(1,), body={"op_log": name}),)).to_message())


def test_an_idle_process_is_not_asked(host):
    parts = (HostPart(rank=0, lanes=(1, 0), body={}), HostPart(rank=1, lanes=(1, 2), body={}))
    session = host(worker(), worker(), parts=parts)
    second = RUN | {"share": 1}
    session.resolve(second)
    *items, _ = session.run(second)
    assert counts(items) == [(-1, 0), (0, 1), (1, 1)]
    idle, busy = ([method for method, _ in each.asked if method != "beat"] for each in session.workers.workers)
    assert (idle, busy) == (["open"], ["open", "resolve", "run"])


LOST = WorkerLostError(1, "scripted", "killed by SIGKILL")


def test_the_host_goes_on_without_a_process_that_is_lost(host):
    session = host(worker(), worker(run=[snapshot(-1, 0), snapshot(0), LOST]))
    *items, end = session.run(RUN)
    assert counts(items) == [(-1, 0), (0, 2), (1, 1)]
    assert {each["rank"]: each["lost"] for each in end["processes"]} == {10: None, 11: "killed by SIGKILL"}
    assert session.finish({})["log"] == {"accepted": 3, "written": 3}
    assert session.beat({})["processes"] == [{"rank": 11, "pid": 1001, "lost": "killed by SIGKILL"}]
    kept = record(session)
    assert [each["lost"] for each in kept["processes"]] == [None, "killed by SIGKILL"]
    assert Tally.from_message(kept["legs"][0]["tally"]).count == 3


def test_a_host_without_processes_is_lost_and_has_said_all(host):
    session = host(worker(run=[snapshot(-1, 0), snapshot(0), LOST]))
    items = session.run(RUN)
    assert counts([next(items), next(items)]) == [(-1, 0), (0, 1)]
    with pytest.raises(WorkerLostError, match=r"worker 3 on load3 .*every process of it.*SIGKILL"):
        next(items)
    with pytest.raises(WorkerLostError, match="every process"):
        session.finish({})


def test_what_a_lost_process_was_to_prepare_is_missing(host):
    session = host(worker(), worker(prepare=[{"made": 1}, LOST]))
    text = r"worker 3 on load3 .*process 11 was lost in prepare, so its share is missing: killed"
    with pytest.raises(WorkerLostError, match=text):
        list(session.prepare({}))


def test_an_error_of_one_ends_the_others_and_names_it(host):
    def until_drained(handle, body):
        yield snapshot(-1, 0)
        while not any(method == "drain" for method, _ in handle.asked):
            yield snapshot(0, 0) | {"number": -1}
        yield snapshot(0)
        yield DONE

    failing = worker(run=[snapshot(-1, 0), StorageFullError("no room", uri="k")])
    session = host(worker(run=until_drained), failing)
    seen = []
    with pytest.raises(StorageFullError, match=r"process 11: .*no room"):
        seen.extend(session.run(RUN))
    assert dict(session.workers.workers[0].asked)["drain"] == {"reason": "process 11 failed"}
    assert counts(seen)[-1] == (0, 1)
    assert "process 11" in record(session)["legs"][0]["failure"]


def test_a_process_that_does_not_answer_is_given_up(host, monkeypatch):
    monkeypatch.setattr(hostcrew, "_PERIOD", 0.01)
    stuck = worker(run=[snapshot(-1, 0), snapshot(0), ...], beat=[...])
    session = host(worker(), stuck)
    *items, end = session.run(RUN)
    assert counts(items) == [(-1, 0), (0, 2), (1, 1)]
    assert "said nothing" in end["processes"][1]["lost"]


def test_a_process_that_tells_nothing_of_its_calls_is_given_up(host, monkeypatch):
    monkeypatch.setattr(hostleg, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(hostleg, "_SILENT_SECONDS", 0.05)
    monkeypatch.setattr(hostleg, "_INTERVALS", 0)
    session = host(worker(), worker(run=[snapshot(-1, 0), snapshot(0), ...]))
    *items, end = session.run(RUN)
    assert counts(items) == [(-1, 0), (0, 2), (1, 1)]
    assert "told nothing of its calls" in end["processes"][1]["lost"]


def test_directories_go_one_process_after_the_other_the_last_first(host):
    order = []

    def note(handle, body):
        order.append((handle.rank, body["directories"]))
        yield {"made": 1, "failed": 0, "example": ""}

    session = host(*(worker(cleanup=note) for _ in range(3)))
    assert list(session.cleanup({"directories": False}))[-1]["made"] == 3
    assert sorted(order) == [(0, False), (1, False), (2, False)]
    assert list(session.cleanup({"directories": True}))[-1]["made"] == 3
    assert order[3:] == [(2, True), (1, True), (0, True)]


def test_nothing_is_asked_of_a_host_without_a_plan(host):
    session = host(worker(), opened=False)
    for ask in (lambda: session.resolve({}), lambda: list(session.run(RUN)), lambda: session.drain({})):
        with pytest.raises(RunError, match="no plan yet"):
            ask()


def test_a_second_plan_is_refused(host):
    session = host(worker())
    with pytest.raises(RunError, match="has a plan already"):
        session.open(plan(1).to_message())


def test_a_worker_that_can_not_open_fails_the_host(host):
    session = host(worker(), worker(open=[UsageError("no such bucket")]), opened=False)
    with pytest.raises(UsageError, match="process 11: no such bucket"):
        session.open(plan(2).to_message())
    session.left()
    assert not (session.scratch / "host.json").exists()


def test_the_record_tells_what_was_measured_and_how_it_ended(host):
    session = host(worker(), worker(), about={"name": "w", "target": "mem:///", "command_line": "penstock run w"})
    session.beat({"clock": [{"at_ns": 1, "offset_ns": 2, "uncertainty_ns": 3, "probes": 15}]})
    list(session.run(RUN))
    list(session.run(RUN | {"leg": 1, "start_ns": 9}))
    session.finish({})
    session.left()
    kept = record(session)
    assert (kept["schema"], kept["status"], kept["rank"], kept["hosts"], kept["run_id"]) == (SCHEMA, "ended", 3, 4, "r")
    assert kept["clock"] == [{"at_ns": 1, "offset_ns": 2, "uncertainty_ns": 3}]
    assert kept["about"] == {"name": "w", "target": "mem:///", "command_line": "penstock run w"}
    assert [leg["start_ns"] for leg in kept["legs"]] == [5, 9]
    for leg in kept["legs"]:
        assert leg["ended"]
        assert Tally.from_message(leg["tally"]).count == 4
        assert [(each["number"], each["count"]) for each in leg["timeline"]] == [(0, 2), (1, 2)]
        assert leg["end_s"] == 2.0
    assert stat.S_IMODE(os.stat(session.scratch / "host.json").st_mode) == 0o600


def test_what_is_secret_in_a_plan_is_not_in_the_record(host):
    parts = (HostPart(rank=0, lanes=(2,), body={"config": {"secret_access_key": "MARKER"}}),)
    session = host(worker(), parts=parts, environment={"AWS_SECRET_ACCESS_KEY": "MARKER"})
    list(session.run(RUN))
    session.finish({})
    session.left()
    assert "MARKER" not in (session.scratch / "host.json").read_text()


def test_a_host_whose_controller_is_gone_drains_and_keeps_what_it_has(host):
    begun = threading.Event()

    def until_drained(handle, body):
        yield snapshot(-1, 0)
        yield snapshot(0)
        begun.set()
        while not any(method == "drain" for method, _ in handle.asked):
            yield snapshot(-1, 0) | {"number": 1}
        yield DONE | {"reason": "the controller was gone"}

    session = host(worker(run=until_drained))
    items = session.run(RUN)
    next(items)
    assert begun.wait(30)
    session.left()
    kept = record(session)
    assert (kept["status"], kept["reason"]) == ("abandoned", "the controller was gone")
    assert kept["legs"][0]["ended"]
    assert Tally.from_message(kept["legs"][0]["tally"]).count == 1
    assert [method for method, _ in session.workers.workers[0].asked if method != "beat"] == [
        "open",
        "run",
        "drain",
        "finish",
    ]


def test_a_host_that_has_measured_nothing_leaves_nothing(host):
    for opened in (True, False):
        session = host(worker(), opened=opened)
        session.left()
        assert not session.scratch.exists()


def test_a_released_host_leaves_nothing_but_what_is_to_be_kept(host):
    session = host(worker())
    list(session.run(RUN))
    (session.scratch / "part-0.tsv").write_text("rows")
    (session.scratch / "worker-10.log").write_text("said")
    files = session.calls()["files"]({})["files"]
    assert [(each["name"], each["bytes"]) for each in files] == [("part-0.tsv", 4), ("worker-10.log", 4)]
    session.finish({})
    session.release({"keep": ["part-0.tsv"]})
    assert sorted(path.name for path in session.scratch.iterdir()) == ["host.json", "part-0.tsv"]
    assert record(session)["status"] == "ended"
    session.release({"keep": []})
    session.left()
    assert not session.scratch.exists()


@pytest.fixture
def files(tmp_path):
    return HostFiles(str(tmp_path))


@settings(max_examples=30)
@given(st.binary(max_size=5000), st.integers(1, 700), st.integers(1, 700))
def test_files_of_any_size_come_and_go_in_pieces(tmp_path_factory, data, piece, length):
    files, offset = HostFiles(str(tmp_path_factory.mktemp("host"))), 0
    while True:
        part = data[offset : offset + piece]
        end = offset + piece >= len(data)
        body = {"name": "log.tsv", "offset": offset, "data": base64.b64encode(part).decode(), "end": end}
        answer = files.receive(body)
        offset += len(part)
        if end:
            break
    assert answer == {"path": files.path("log.tsv")}
    # It was sent, so it is not among what is kept.
    assert files.files() == []
    found, ended = b"", False
    while not ended:
        answer = files.fetch({"name": "log.tsv", "offset": len(found), "length": length})
        found, ended = found + base64.b64decode(answer["data"]), answer["end"]
    assert found == data


def test_a_piece_is_never_larger_than_a_frame_should_be(files, tmp_path):
    (tmp_path / "big").write_bytes(bytes(MAX_PIECE + 10))
    first = files.fetch({"name": "big", "offset": 0, "length": 1 << 40})
    assert (len(base64.b64decode(first["data"])), first["end"]) == (MAX_PIECE, False)
    assert files.fetch({"name": "big", "offset": MAX_PIECE, "length": 1 << 40})["end"]


def test_a_file_sent_again_is_begun_anew_and_a_gap_is_refused(files, tmp_path):
    for text in ("first", "2nd"):
        files.receive({"name": "f", "offset": 0, "data": base64.b64encode(text.encode()).decode()})
    with pytest.raises(RunError, match="a piece at 9, but 3 bytes were received"):
        files.receive({"name": "f", "offset": 9, "data": ""})
    assert (tmp_path / "f").read_text() == "2nd"
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "", ".", "..", "host.json", "host.json.tmp", "x\0", "a" * 300])
def test_no_name_leaves_the_directory(files, name):
    for ask in (
        lambda: files.receive({"name": name, "offset": 0, "data": ""}),
        lambda: files.fetch({"name": name, "offset": 0, "length": 1}),
        lambda: files.release([name]),
    ):
        with pytest.raises(UsageError, match="no name of a file"):
            ask()


def test_no_link_leads_out_of_the_directory(files, tmp_path, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "secret"
    outside.write_text("secret")
    (tmp_path / "link").symlink_to(outside)
    with pytest.raises(RunError, match="can't be read"):
        files.fetch({"name": "link", "offset": 0, "length": 10})
    with pytest.raises(RunError, match="could not be kept"):
        files.receive({"name": "link", "offset": 0, "data": ""})
    assert files.files() == []
    assert outside.read_text() == "secret"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"name": "absent", "offset": 0, "length": 1}, RunError),
        ({"name": "there", "offset": -1, "length": 1}, UsageError),
        ({"name": "there", "offset": 0, "length": 0}, UsageError),
    ],
)
def test_a_piece_that_is_not_there_is_an_error(files, tmp_path, body, kind):
    (tmp_path / "there").write_text("x")
    with pytest.raises(kind):
        files.fetch(body)


def test_a_piece_that_is_no_base64_is_refused(files):
    with pytest.raises(PenstockError, match="not base64"):
        files.receive({"name": "f", "offset": 0, "data": "***"})
