"""A healthy launcher in small steps, so that a mutant changes one of them: its hosts are tasks of this process."""

from __future__ import annotations

import asyncio
import atexit
import itertools
import os
import shutil
import tempfile
import threading

import attrs

from penstock.engine.probe import Probe
from penstock.errors import PenstockError, RunError
from penstock.launching import Crew, greet, messages, rules

#: Those that were made, by the number that stands for a process's.
PUPPETS = {}
#: Below it are their directories; some mutants leave theirs.
ROOT = tempfile.mkdtemp(prefix="puppets-")
atexit.register(shutil.rmtree, ROOT)
_PIDS = itertools.count(1_000_000_000)
#: What the hosts were built with, whatever the kit makes this process believe.
_PROTOCOL = messages.PROTOCOL


class Puppet:
    """A host's worker: one task, with queues for pipes."""

    def __init__(self, name):
        self.name = name
        self.pid = next(_PIDS)
        self.inbox, self.outbox = asyncio.Queue(), asyncio.Queue()
        self.ended = threading.Event()
        self.cause = ""
        self.scratch = ""
        self.environment = {}
        self.tasks = {asyncio.create_task(self.live())}
        PUPPETS[self.pid] = self

    async def live(self):
        frame = await self.inbox.get()
        try:
            spec = rules.read_spec({**messages.decode(frame), "protocol": rules.PROTOCOL}, host=self.name)
        except RunError as error:
            self.say({"error": messages.from_error(error)})
            self.die("it was refused")
            return
        self.environment = spec.environment
        self.scratch = self.directory()
        self.say(attrs.evolve(self.greeting(), protocol=_PROTOCOL).to_message())
        while (frame := await self.inbox.get()) is not None:
            self.tasks.add(asyncio.create_task(self.serve(messages.decode(frame))))
        self.die("it ended")

    def directory(self):
        return tempfile.mkdtemp(dir=ROOT)

    def greeting(self):
        return attrs.evolve(greet(self.name), pid=self.pid)

    async def serve(self, request):
        number, method, body = request["id"], request["method"], request["body"]
        # Answers come in another order than questions.
        for _ in range(number % 3):
            await asyncio.sleep(0)
        try:
            if method in ("count", "fail_later"):
                for item in getattr(Probe(), method)(body):
                    self.say({"id": number, "item": item})
                    await asyncio.sleep(0)
                self.say({"id": number, "end": True})
            elif method == "wait":
                self.say({"id": number, "item": {"waiting": True}})
            elif method != "rest":
                self.say({"id": number, "body": self.answer(method, body)})
        except (PenstockError, ZeroDivisionError, ValueError) as error:
            self.say({"id": number, "error": messages.from_error(error)})

    def answer(self, method, body):
        if method == "place":
            mode = os.stat(self.scratch).st_mode & 0o777
            return {"scratch": self.scratch, "mode": mode, "names": os.listdir(self.scratch)}
        if method == "environment":
            return {"value": self.environment.get(body["name"])}
        if method not in ("echo", "fail"):
            raise ValueError(f"unknown method {method}")
        return getattr(Probe(), method)(body)

    def say(self, message):
        if not self.ended.is_set():
            self.outbox.put_nowait(messages.encode(message))

    def die(self, cause):
        if self.ended.is_set():
            return
        self.cause = cause
        self.ended.set()
        self.outbox.put_nowait(None)
        for task in self.tasks:
            if task is not asyncio.current_task():
                task.cancel()
        if self.scratch:
            shutil.rmtree(self.scratch)


class Wire:
    """A link to a puppet."""

    def __init__(self, puppet):
        self.puppet = puppet

    async def send(self, frame):
        if self.puppet.ended.is_set():
            raise ConnectionError("it is gone")
        self.puppet.inbox.put_nowait(frame)

    async def receive(self):
        frame = await self.puppet.outbox.get()
        if frame is None:
            self.puppet.outbox.put_nowait(None)
        return frame

    async def close(self):
        self.puppet.inbox.put_nowait(None)
        await self.until_ended()

    async def until_ended(self):
        for task in list(self.puppet.tasks):
            await asyncio.wait([task])
            break
        self.puppet.die("it was ended")

    def kill(self):
        self.puppet.die("it was killed")

    async def cause(self):
        return self.puppet.cause


class Stagehand:
    """A launcher of puppets."""

    #: Those whose mutants change one more thing are no mutants yet.
    whole = True
    hosts = True
    channel = "protected"
    puppet = Puppet
    wire = Wire
    crew_of = Crew

    def __init__(self):
        self.crew = None

    def names(self):
        return ["host-10", "host-9", "host-1", "host-2"]

    async def start(self, workers, spec, /):
        names = self.chosen(workers)
        self.links = [self.wire(self.puppet(name)) for name in names]
        self.crew = self.crew_of(self.links, names)
        return self.handles(await self.crew.start(spec))

    def chosen(self, workers):
        names = self.names()
        if workers is not None and workers > len(names):
            raise RunError(f"{workers} workers need as many hosts; there are {len(names)}: {names}; ask for fewer")
        return names[:workers]

    def handles(self, handles):
        return handles

    async def stop(self):
        if self.crew is not None:
            await self.crew.stop()
