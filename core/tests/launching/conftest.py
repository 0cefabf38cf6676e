"""Links within a process, and workers of which a test says what they do."""

from __future__ import annotations

import json
import math
import time

import anyio
import pytest

from penstock.errors import WorkerLostError
from penstock.launchers import Greeting
from penstock.launching import greet


class MemoryLink:
    """One end of a way for frames within this process. ``why`` is what it says of the other's end."""

    def __init__(self, outgoing, incoming):
        self._outgoing, self._incoming = outgoing, incoming
        self.why = "the other end was closed"

    async def send(self, frame):
        try:
            await self._outgoing.send(frame)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            raise ConnectionError("closed") from None

    async def receive(self):
        try:
            return await self._incoming.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            return None

    async def close(self):
        self.kill()

    def kill(self):
        self._outgoing.close()
        self._incoming.close()

    async def cause(self):
        return self.why

    async def tell(self, message):
        await self.send(json.dumps(message).encode())

    async def hear(self):
        frame = await self.receive()
        return None if frame is None else json.loads(frame)


@pytest.fixture
def link_pair():
    """Makes two ends that are connected. They are closed at the end."""
    made = []

    def make():
        there, here = (anyio.create_memory_object_stream(math.inf) for _ in range(2))
        pair = MemoryLink(there[0], here[1]), MemoryLink(here[0], there[1])
        made.extend(pair)
        return pair

    yield make
    for link in made:
        link.kill()


class ScriptedWorker:
    """A worker handle. ``script(method, body)`` is an async generator of its items, the last one a call's answer."""

    host = "scripted"

    def __init__(self, rank, script):
        self.rank = rank
        self.pid = 1000 + rank
        self._script = script
        self._killed = anyio.Event()
        self.asked = []

    @property
    def greeting(self):
        return Greeting.from_message(greet(self.host).to_message())

    def kill(self):
        self._killed.set()

    async def call(self, method, body):
        answer = {}
        async for item in self.stream(method, body):
            answer = item
        return answer

    async def stream(self, method, body):
        self.asked.append((method, dict(body)))
        items = self._script(self, method, body)
        while True:
            found, failed = [], []
            async with anyio.create_task_group() as tasks:
                # What waits for ever does so until it is killed.
                tasks.start_soon(self._until_killed, tasks.cancel_scope)
                try:
                    found.append(await anext(items))
                except StopAsyncIteration:
                    pass
                except Exception as error:  # noqa: BLE001 - raised below, not wrapped in a group
                    failed.append(error)
                tasks.cancel_scope.cancel()
            if self._killed.is_set():
                raise WorkerLostError(self.rank, self.host, "it was given up")
            if failed:
                raise failed[0]
            if not found:
                return
            yield found[0]

    async def _until_killed(self, scope):
        await self._killed.wait()
        scope.cancel()


class ScriptedLauncher:
    """A launcher of scripted workers; ``scripts`` by rank."""

    hosts = False
    channel = "local"

    def __init__(self, *scripts):
        self._scripts = scripts
        self.workers = []
        self.specs = []

    async def start(self, workers, spec):
        self.specs.append(spec)
        self.workers = [ScriptedWorker(rank, script) for rank, script in enumerate(self._scripts[:workers])]
        return list(self.workers)

    async def stop(self):
        for worker in self.workers:
            worker.kill()


@pytest.fixture
def scripted():
    """Makes a launcher of scripted workers."""
    return ScriptedLauncher


@pytest.fixture
def gone():
    """Waits until none of these processes is there any more."""

    def wait(pids, seconds=60):
        deadline = time.monotonic() + seconds
        while left := [pid for pid in pids if _is_there(pid)]:
            assert time.monotonic() < deadline, f"still there: {left}"
            time.sleep(0.05)

    return wait


def _is_there(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
