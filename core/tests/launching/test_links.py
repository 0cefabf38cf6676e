"""Workers at the end of a link: frames, greetings, crews, and the host's side of one."""

from __future__ import annotations

import json
import os
import re
import types
from importlib.util import find_spec
from pathlib import Path

import anyio
import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import RunError, UsageError, WorkerLostError
from penstock.launchers import PROBE, WORKER, WORKERS, Greeting, LaunchSpec
from penstock.launching import Crew, WorkerProcess, check_environment, check_patterns, greet, messages, serve_host
from penstock.launching.rules import announce

GREETING = greet("somewhere").to_message()


class Cut:
    """The output of a process: these bytes, in pieces of these sizes, and then its end."""

    def __init__(self, data, sizes):
        self._data, self._sizes = data, list(sizes)

    async def receive(self, most=65536):
        if not self._data:
            raise anyio.EndOfStream
        size = max(1, min(most, self._sizes.pop(0) if self._sizes else most))
        part, self._data = self._data[:size], self._data[size:]
        return part


def process_that_says(data, sizes):
    stdin = types.SimpleNamespace()
    process = types.SimpleNamespace(stdout=Cut(data, sizes), stdin=stdin, returncode=None, pid=1, kills=0)
    process.kill = lambda: setattr(process, "kills", process.kills + 1)
    return process, WorkerProcess(process, "", 1.0)


async def frames_of(link):
    found = []
    while (frame := await link.receive()) is not None:
        found.append(frame)
    return found


@settings(max_examples=60)
@given(st.lists(st.binary(max_size=300), max_size=5), st.lists(st.integers(1, 90)), st.integers(0, 40))
def test_frames_are_whole_wherever_they_are_cut_and_a_part_of_one_is_none(frames, sizes, lost):
    data = b"".join(messages.header_of(frame) + frame for frame in frames)
    kept = data[: max(len(data) - lost, 0)]
    _, link = process_that_says(kept, sizes)
    found = anyio.run(frames_of, link)
    assert found == frames[: len(found)]
    # All that are whole are there, and no more.
    used = sum(4 + len(frame) for frame in found)
    assert used <= len(kept)
    assert len(found) == len(frames) or used + 4 + len(frames[len(found)]) > len(kept)


def test_a_process_that_prints_into_its_channel_is_ended():
    process, link = process_that_says(b"Warning: something\n", [])
    assert anyio.run(link.receive) is None
    assert process.kills == 1


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (GREETING | {"protocol": 2}, r"worker 0 on h has penstock .* \(messages 2\).* pip install penstock=="),
        (GREETING | {"version": "0.0.1"}, r"worker 0 on h has penstock 0\.0\.1 .* pip install penstock=="),
        ({"protocol": 2, "pid": 1}, "words of another version"),
        ({"error": {"type": "RunError", "message": "no room for it"}}, "could not start: no room for it"),
        (None, "could not start: the other end was closed"),
    ],
)
def test_a_worker_that_is_none_of_ours_is_refused_and_named(link_pair, first, said):
    here, there = link_pair()

    async def answer():
        if first is None:
            there.kill()
        else:
            await there.tell(first)

    async def run():
        await answer()
        crew = Crew([here], ["h"])
        with pytest.raises(RunError, match=said):
            await crew.start(None)
        # It was ended with the rest.
        assert await there.receive() is None

    anyio.run(run)


def test_who_does_not_answer_is_named_with_those_who_could_not_start(link_pair):
    async def run():
        good, bad, silent = link_pair(), link_pair(), link_pair()
        await good[1].tell(GREETING)
        crew = Crew([good[0], silent[0]], ["a", "b"], patience=0.05)
        with pytest.raises(RunError, match=r"^worker 1 on b did not answer within 0\.05 s: is its host reachable"):
            await crew.start(None)
        await bad[1].tell({"error": {"message": "refused"}})
        crew = Crew([bad[0], link_pair()[0]], ["a", "b"], patience=0.05)
        with pytest.raises(RunError, match=r"^worker 0 on a could not start: refused$"):
            await crew.start(None)

    anyio.run(run)


def test_ranks_follow_the_names_of_hosts_numbers_by_value(link_pair):
    names = ["load10", "load2", "10.0.0.9:7167", "load2", "10.0.0.10:7167"]

    async def run():
        pairs = [link_pair() for _ in names]
        for number, (_, there) in enumerate(pairs):
            await there.tell(GREETING | {"pid": number})
        crew = Crew([here for here, _ in pairs], names)
        workers = await crew.start(None)
        found = [(worker.rank, worker.host, worker.pid) for worker in workers]
        await crew.stop()
        return found

    assert anyio.run(run) == [
        (0, "load2", 1),
        (1, "load2", 3),
        (2, "load10", 0),
        (3, "10.0.0.9:7167", 2),
        (4, "10.0.0.10:7167", 4),
    ]


@pytest.fixture
def crew_of_one(link_pair):
    """Runs a check with a crew of one greeted worker, the worker's handle and the other end of its link."""

    def run(check):
        async def main():
            here, there = link_pair()
            await there.tell(GREETING)
            crew = Crew([here], ["h"])
            (worker,) = await crew.start(None)
            try:
                await check(worker, there)
            finally:
                await crew.stop()

        anyio.run(main)

    return run


def test_who_waits_for_a_worker_hears_at_once_that_it_is_given_up(crew_of_one):
    async def check(worker, there):
        errors = []

        async def wait():
            with pytest.raises(WorkerLostError, match="worker 0 on h was lost: it was given up") as caught:
                await worker.call("rest", {})
            errors.append(caught.value)

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(wait)
            for _ in range(3):
                await there.receive()
            worker.kill()
        assert len(errors) == 3
        with pytest.raises(WorkerLostError, match="given up"):
            await worker.call("rest", {})

    crew_of_one(check)


def test_an_answer_that_meets_a_worker_as_it_is_given_up_harms_nobody(crew_of_one):
    async def check(worker, there):
        async def wait():
            with pytest.raises(WorkerLostError, match="given up"):
                await worker.call("rest", {})

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            request = await there.hear()
            # Both before anybody else gets a turn: who listens has the frame, and who asked has not heard of the end.
            await there.tell({"id": request["id"], "body": {}})
            worker.kill()

    crew_of_one(check)


def test_what_was_said_before_the_end_is_heard(crew_of_one):
    async def check(worker, there):
        items = []

        async def say():
            request = await there.hear()
            for number in range(3):
                await there.tell({"id": request["id"], "item": {"n": number}})
            worker._link.why = "somebody pulled the plug"
            there.kill()

        async def collect():
            async for item in worker.stream("count", {}):
                items.append(item["n"])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(say)
            with pytest.raises(WorkerLostError, match="pulled the plug"):
                await collect()
        assert items == [0, 1, 2]

    crew_of_one(check)


@pytest.mark.parametrize("frame", [b"no message", b"[1]", b"\xff\xfe"])
def test_a_frame_that_is_no_message_ends_the_worker(crew_of_one, frame):
    async def check(worker, there):
        async def answer():
            await there.receive()
            await there.send(frame)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answer)
            with pytest.raises(WorkerLostError, match="no message"):
                await worker.call("rest", {})
        assert await there.receive() is None

    crew_of_one(check)


SPEC = LaunchSpec(worker=PROBE)


def serve(link_pair, tmp_path, first, allow=()):
    """What a host says to a first frame; it has ended then."""

    async def run():
        here, there = link_pair()
        await here.send(first if isinstance(first, bytes) else json.dumps(first).encode())
        async with anyio.create_task_group() as tasks:

            async def host():
                await serve_host(there, allow_environment=allow, scratch=str(tmp_path), name="load7")

            tasks.start_soon(host)
            answer = await here.hear()
            here.kill()
        return answer

    return anyio.run(run)


REFUSED = [
    (
        announce(SPEC) | {"protocol": 2},
        r"load7 has penstock .* the controller .*messages 2\): install the same version",
    ),
    (announce(SPEC) | {"version": "0.0.1"}, r"load7 has penstock .* the controller 0\.0\.1 .*pip install penstock=="),
    (announce(SPEC) | {"worker": "os"}, "load7 does not run 'os'; a worker is one of"),
    (announce(SPEC) | {"worker": "penstock.cli"}, "load7 does not run 'penstock.cli'"),
    (announce(SPEC) | {"environment": {"LD_PRELOAD": "x"}}, "load7 lets nobody set 'LD_PRELOAD' from outside"),
    (announce(SPEC) | {"environment": {"PATH": "x"}}, "load7 lets nobody set 'PATH'"),
    (announce(SPEC) | {"environment": {"A=B": "x"}}, "load7 lets nobody set 'A=B'"),
    (announce(SPEC) | {"environment": {"PENSTOCK_HOST_SCRATCH": "x"}}, "lets nobody set"),
    (announce(SPEC) | {"environment": {"AWS_CONFIG_FILE": "x"}}, "does not let a controller set AWS_CONFIG_FILE"),
    (announce(SPEC) | {"environment": {"ACME": "x"}}, r"its owner may allow it \(--allow-env ACME\)"),
    (announce(SPEC) | {"lease": 0}, "a lease of 0 s"),
    (announce(SPEC) | {"lease": "soon"}, "no specification of a worker"),
    (announce(SPEC) | {"environment": ["x"]}, "no specification of a worker"),
    (b"GET / HTTP/1.1", "no message"),
]


@pytest.mark.parametrize(("first", "said"), REFUSED)
def test_what_a_host_does_not_do_is_refused_with_its_name_and_the_remedy(link_pair, tmp_path, first, said):
    answer = serve(link_pair, tmp_path, first)
    assert re.search(said, answer["error"]["message"])
    assert "load7" in answer["error"]["message"]
    assert list(tmp_path.iterdir()) == []


def test_a_host_serves_who_asks_as_it_should_and_is_left_as_it_was(link_pair, tmp_path, monkeypatch):
    monkeypatch.delenv("ACME_MODE", raising=False)
    spec = attrs.evolve(SPEC, environment={"ACME_MODE": "m", "AWS_REGION": "r"})
    answer = serve(link_pair, tmp_path, announce(spec), allow=("ACME_*",))
    greeting = Greeting.from_message(answer)
    assert greeting.cpus == tuple(sorted(os.sched_getaffinity(0)))
    assert greeting.pid != os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_a_controller_that_says_nothing_leaves_nothing(link_pair, tmp_path):
    async def run():
        here, there = link_pair()
        here.kill()
        await serve_host(there, scratch=str(tmp_path))

    anyio.run(run)
    assert list(tmp_path.iterdir()) == []


def test_a_host_whose_disk_has_no_place_says_so(link_pair, tmp_path):
    answer = serve(link_pair, tmp_path / "absent", announce(SPEC))
    assert "load7 could not start a worker" in answer["error"]["message"]


def test_values_of_variables_are_in_no_repr():
    assert "MARKER" not in repr(LaunchSpec(environment={"AWS_SECRET_ACCESS_KEY": "MARKER"}))


@pytest.mark.parametrize("pattern", ["LD_PRELOAD", "LD_*", "PYTHONPATH", "PATH", "PENSTOCK_HOST_LEASE"])
def test_a_hosts_owner_can_not_allow_what_is_code(pattern):
    with pytest.raises(UsageError, match=pattern.replace("*", r"\*")):
        check_patterns([pattern])


def test_a_pattern_for_everything_still_lets_no_code_in():
    check_patterns(["*"])
    check_environment(["ACME", "AWS_CONFIG_FILE", "LC_ALL"], host="h", allow=["*"])
    with pytest.raises(RunError, match="LD_LIBRARY_PATH"):
        check_environment(["LD_LIBRARY_PATH"], host="h", allow=["*"])


def test_every_module_of_a_worker_can_be_run():
    assert all(find_spec(module) for module in WORKERS)


@pytest.mark.parametrize(("environ", "seen"), [({}, b"1"), ({"OPENBLAS_NUM_THREADS": "3"}, b"3")])
def test_a_worker_starts_without_threads_that_it_has_no_use_for(tmp_path, monkeypatch, environ, seen):
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)

    async def main():
        worker = await WorkerProcess.spawn(WORKER, name="worker", scratch=str(tmp_path), environment=environ)
        try:
            return Path(f"/proc/{worker.pid}/environ").read_bytes().split(b"\0")
        finally:
            await worker.close()

    assert b"OPENBLAS_NUM_THREADS=" + seen in anyio.run(main)
