"""Launchers that number wrongly, lose, change or mix what they carry, miss deaths, leave things, or refuse nothing."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
import tempfile
import threading
import time

import attrs

from mutants.puppets import ROOT, Puppet, Stagehand, Wire
from penstock.errors import RunError, WorkerLostError
from penstock.launching import Crew, greet, messages

#: For those that hang.
_SOON = 0.4


class Handle:
    """Over the handle of a worker."""

    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        return getattr(self.inner, name)

    async def call(self, method, body):
        return await self.inner.call(method, body)

    async def stream(self, method, body):
        async with contextlib.aclosing(self.inner.stream(method, body)) as items:
            async for item in items:
                yield item


class Wrapping(Stagehand):
    whole = False

    handle = Handle

    def handles(self, handles):
        return [self.handle(handle) for handle in handles]


# Meeting


class TurnsRanksAround(Stagehand):
    law = "meeting"

    def handles(self, handles):
        return handles[::-1]


class CountsFromOne(Wrapping):
    law = "meeting"

    class handle(Handle):  # noqa: N801
        @property
        def rank(self):
            return self.inner.rank + 1


class TakesHostsAsTheyCome(Stagehand):
    law = "meeting"

    def crew_of(self, links, names):
        self.called = names
        return Crew(links)

    def handles(self, handles):
        return [Named(handle, name) for handle, name in zip(handles, self.called, strict=True)]


class Named(Handle):
    def __init__(self, inner, host):
        super().__init__(inner)
        self.host = host


class SortsNumbersAsText(TakesHostsAsTheyCome):
    def names(self):
        return sorted(super().names())


class DrawsAnOrder(Stagehand):
    law = "losing"
    turns = itertools.count()

    def names(self):
        names = super().names()
        names[0] = f"host-{20 + next(self.turns)}"
        return names


class LosesOneAtTheStart(Stagehand):
    law = "meeting"

    def chosen(self, workers):
        return super().chosen(workers)[:3]


class CountsOneTwice(Stagehand):
    law = "meeting"

    def handles(self, handles):
        return [*handles[:3], Renumbered(handles[0])]


class Renumbered(Handle):
    rank = 3


class GreetsForItsWorkers(Wrapping):
    law = "meeting"

    class handle(Handle):  # noqa: N801
        greeting = greet("controller")


class Greeting(Stagehand):
    whole = False

    law = "meeting"
    changes = {}  # noqa: RUF012

    def puppet(self, name):
        puppet = Puppet(name)
        said = puppet.greeting
        puppet.greeting = lambda: attrs.evolve(said(), **self.changes)
        return puppet


class GreetsWithoutProcessors(Greeting):
    changes = {"cpus": ()}  # noqa: RUF012


class GreetsWithAnotherPython(Greeting):
    changes = {"python": "2.7.18"}  # noqa: RUF012


class GreetsWithUnknownPlugins(Greeting):
    changes = {"plugins": {"penstock": ""}}  # noqa: RUF012


class CallsHostsTheSame(Wrapping):
    law = "hosts"

    class handle(Handle):  # noqa: N801
        host = "host"


class CallsItsHostsProcesses(Stagehand):
    law = "hosts"
    hosts = False


class KnowsNoChannel(Stagehand):
    law = "hosts"
    channel = "fast"


# Frames


class Frames(Stagehand):
    whole = False

    law = "speaking"

    def wire(self, puppet):
        return self.Broken(puppet)

    class Broken(Wire):
        """What it holds back comes before what the host sends next."""

        def __init__(self, puppet):
            super().__init__(puppet)
            self.count = 0
            self.held = []

        async def receive(self):
            self.count += 1
            return self.held.pop() if self.held else await super().receive()


class DropsAFrame(Frames):
    patience = 1.0

    class Broken(Frames.Broken):
        async def receive(self):
            frame = await super().receive()
            return frame if self.count % 50 else await super().receive()


class DropsAFrameOnTheWayThere(Frames):
    patience = 1.0

    class Broken(Frames.Broken):
        sent = 0

        async def send(self, frame):
            self.sent += 1
            if self.sent % 30:
                await super().send(frame)


class DoublesFrames(Frames):
    class Broken(Frames.Broken):
        async def receive(self):
            frame = await super().receive()
            if self.count % 40 == 0:
                self.held.append(frame)
            return frame


class TurnsFramesAround(Frames):
    class Broken(Frames.Broken):
        async def receive(self):
            frame = await super().receive()
            if self.count % 20 == 0 and frame and b'"item":{"number"' in frame:
                following = await super().receive()
                self.held.append(frame)
                return following
            return frame


class ChangesABit(Frames):
    class Broken(Frames.Broken):
        async def receive(self):
            frame = await super().receive()
            return frame and frame.replace(b"1", b"2") if frame and len(frame) > 2000 else frame


class CutsLargeFrames(Frames):
    patience = 5.0

    class Broken(Frames.Broken):
        async def receive(self):
            frame = await super().receive()
            return frame and frame[:4_000_000]


class CutsLargeFramesOnTheWayThere(Frames):
    patience = 5.0

    class Broken(Frames.Broken):
        async def send(self, frame):
            if len(frame) < 1_000_000:
                await super().send(frame)


class MixesWorkers(Stagehand):
    law = "speaking"

    def handles(self, handles):
        return [Mixed(handle, handles[1]) for handle in handles]


class Mixed(Handle):
    def __init__(self, inner, other):
        super().__init__(inner)
        self.other = other

    async def call(self, method, body):
        one = self.other if "said" in body and str(body["said"]).count(",") > 3 else self.inner
        return {**await one.call(method, body), "by": one.rank} if one is self.other else await one.call(method, body)


class AnswersInTheOrderOfAsking(Wrapping):
    law = "speaking"

    class handle(Handle):  # noqa: N801
        last = None

        async def call(self, method, body):
            before, self.last = self.last, body
            answer = await self.inner.call(method, body)
            return before if before is not None and "said" in before and method == "echo" else answer


class OneCallAtATime(Wrapping):
    law = "speaking"
    patience = _SOON

    class handle(Handle):  # noqa: N801
        def __init__(self, inner):
            super().__init__(inner)
            self.turn = asyncio.Lock()

        async def call(self, method, body):
            async with self.turn:
                return await self.inner.call(method, body)


class EndsStreamsEarly(Wrapping):
    law = "speaking"

    class handle(Handle):  # noqa: N801
        async def stream(self, method, body):
            count = 0
            async for item in self.inner.stream(method, body):
                count += 1
                if count == 100:
                    return
                yield item


class NeverEndsStreams(Wrapping):
    law = "speaking"
    patience = 1.0

    class handle(Handle):  # noqa: N801
        async def stream(self, method, body):
            async for item in self.inner.stream(method, body):
                yield item
            await asyncio.Event().wait()


class LosesTheLastItem(Wrapping):
    law = "speaking"

    class handle(Handle):  # noqa: N801
        async def stream(self, method, body):
            kept = None
            async for item in self.inner.stream(method, body):
                if kept is not None:
                    yield kept
                kept = item


class LeavesWithTheWorker(Wrapping):
    """Who leaves a question ends its worker."""

    law = "speaking"

    class handle(Handle):  # noqa: N801
        async def call(self, method, body):
            try:
                return await self.inner.call(method, body)
            except asyncio.CancelledError:
                self.inner.kill()
                raise


# Errors


class LosesTheErrorsClass(Wrapping):
    law = "erring"

    class handle(Handle):  # noqa: N801
        async def call(self, method, body):
            try:
                return await self.inner.call(method, body)
            except WorkerLostError:
                raise
            except Exception as error:
                raise RunError(str(error)) from error


class LosesTheErrorsWords(Frames):
    law = "erring"

    class Broken(Frames.Broken):
        async def receive(self):
            frame = await super().receive()
            message = messages.decode(frame) if frame else {}
            if "error" in message and "id" in message:
                message["error"]["message"] = "something went wrong"
                return messages.encode(message)
            return frame


class SwallowsErrors(Frames):
    law = "erring"
    patience = 1.0

    class Broken(Frames.Broken):
        async def receive(self):
            frame = await super().receive()
            while frame and b'"error":{"type"' in frame and b'"id"' in frame:
                frame = await super().receive()
            return frame


class EndsTheStreamAtAnError(Wrapping):
    law = "erring"

    class handle(Handle):  # noqa: N801
        async def stream(self, method, body):
            with contextlib.suppress(Exception):
                async for item in self.inner.stream(method, body):
                    yield item


class LosesTheWorkerAtAnError(Wrapping):
    law = "erring"

    class handle(Handle):  # noqa: N801
        async def call(self, method, body):
            try:
                return await self.inner.call(method, body)
            except WorkerLostError:
                raise
            except Exception:
                self.inner.kill()
                raise


# Losing


class Losing(Wrapping):
    whole = False

    law = "losing"
    patience = 1.0
    grace = _SOON


class IgnoresKill(Losing):
    class handle(Handle):  # noqa: N801
        def kill(self):
            pass


class KillsWithoutTelling(Losing):
    def wire(self, puppet):
        return self.Silent(puppet)

    class Silent(Wire):
        async def receive(self):
            frame = await super().receive()
            if frame is None:
                await asyncio.Event().wait()
            return frame

    class handle(Handle):  # noqa: N801
        def kill(self):
            self.inner._link.kill()


class GivesUpWithoutKilling(Losing):
    def wire(self, puppet):
        return self.Gentle(puppet)

    class Gentle(Wire):
        def kill(self):
            pass


class KillsEveryone(Losing):
    def handles(self, handles):
        found = super().handles(handles)
        for handle in found:
            handle.others = handles
        return found

    class handle(Handle):  # noqa: N801
        def kill(self):
            for other in self.others:
                other.kill()


class KillsTheNeighbour(Losing):
    def handles(self, handles):
        found = super().handles(handles)
        for handle, other in zip(found, handles[1:] + handles[:1], strict=True):
            handle.other = other
        return found

    class handle(Handle):  # noqa: N801
        def kill(self):
            self.other.kill()


class FailsAtTheSecondKill(Losing):
    class handle(Handle):  # noqa: N801
        killed = False

        def kill(self):
            if self.killed:
                raise RuntimeError("killed before")
            self.killed = True
            self.inner.kill()


class SwallowsALostWorker(Losing):
    def wire(self, puppet):
        return KillsWithoutTelling.Silent(puppet)


class LosesAllWithOne(Losing):
    def wire(self, puppet):
        self.wires = [*getattr(self, "wires", []), made := self.Tied(puppet)]
        made.all = self.wires
        return made

    class Tied(Wire):
        async def receive(self):
            frame = await super().receive()
            if frame is None and self.puppet.cause != "it ended":
                for other in self.all:
                    other.kill()
            return frame


class Raising(Losing):
    whole = False

    @staticmethod
    def changed(error):
        return error

    def handles(self, handles):
        return [Changing(handle, self.changed) for handle in handles]


class Changing(Handle):
    def __init__(self, inner, changed):
        super().__init__(inner)
        self.changed = changed

    async def call(self, method, body):
        try:
            return await self.inner.call(method, body)
        except WorkerLostError as error:
            raise self.changed(error) from error


class RaisesWhatTheTransportRaises(Raising):
    @staticmethod
    def changed(error):
        return ConnectionError("the connection was reset")


class NamesAnotherRank(Raising):
    @staticmethod
    def changed(error):
        return WorkerLostError(0 if error.rank else 1, error.host, error.cause)


class NamesAnotherHost(Raising):
    @staticmethod
    def changed(error):
        return WorkerLostError(error.rank, "localhost", error.cause)


class NamesNoCause(Raising):
    @staticmethod
    def changed(error):
        return WorkerLostError(error.rank, error.host, " ")


class EndsStreamsOfTheLost(Losing):
    class handle(Handle):  # noqa: N801
        async def stream(self, method, body):
            with contextlib.suppress(WorkerLostError):
                async for item in self.inner.stream(method, body):
                    yield item


class HangsWhenTheLostIsAsked(Losing):
    class handle(Handle):  # noqa: N801
        async def call(self, method, body):
            if body == {"said": "too late"}:
                await asyncio.Event().wait()
            return await self.inner.call(method, body)


class AnswersForTheLost(Losing):
    class handle(Handle):  # noqa: N801
        async def call(self, method, body):
            try:
                return await self.inner.call(method, body)
            except WorkerLostError:
                return body


# Leaving


class Leaving(Stagehand):
    whole = False

    law = "leaving"
    patience = 5.0
    grace = _SOON


class FailsAtTheSecondStop(Leaving):
    async def stop(self):
        await super().stop()
        if self.crew is None:
            return
        if getattr(self, "stopped", False):
            raise RuntimeError("stopped before")
        self.stopped = True


class FailsToStopWithoutAStart(Leaving):
    async def stop(self):
        await self.crew.stop()


class HangsInStop(Leaving):
    patience = 1.0

    async def stop(self):
        if self.crew is not None and not getattr(self, "stopped", False):
            self.stopped = True
            await super().stop()
            await asyncio.sleep(2.0)


class FailsToStopTheLost(Leaving):
    law = "losing"

    async def stop(self):
        if self.crew is not None and any(link.puppet.ended.is_set() for link in self.links[1:2]):
            self.links = self.links[:1]
            raise WorkerLostError(1, "host-9", "it is gone already")
        await super().stop()


class LeavesProcesses(Leaving):
    def wire(self, puppet):
        return self.Forgetting(puppet)

    class Forgetting(Wire):
        async def close(self):
            self.puppet.outbox.put_nowait(None)

        def kill(self):
            pass


class LeavesOneProcess(Leaving):
    def handles(self, handles):
        self.links[2].close = self.links[2].cause
        self.links[2].kill = lambda: None
        return handles


class LeavesAThread(Leaving):
    def handles(self, handles):
        threading.Thread(target=time.sleep, args=(8,), daemon=True).start()
        return handles


class LeavesAPort(Leaving):
    held = []  # noqa: RUF012

    def handles(self, handles):
        self.held.append(socket.create_server(("127.0.0.1", 0)))
        return handles


class LeavesADirectory(Leaving):
    class puppet(Puppet):  # noqa: N801
        def die(self, cause):
            scratch, self.scratch = self.scratch, ""
            super().die(cause)
            self.left = scratch


class LeavesStreamsOpen(Leaving):
    def handles(self, handles):
        return [LeavesStreamsOpen.Deaf(handle) for handle in handles]

    class Deaf(Handle):
        async def stream(self, method, body):
            with contextlib.suppress(WorkerLostError):
                async for item in self.inner.stream(method, body):
                    yield item
            await asyncio.sleep(2.0)


class EndsStreamsInStop(Leaving):
    def handles(self, handles):
        return [EndsStreamsOfTheLost.handle(handle) for handle in handles]


class AnswersAfterStop(Leaving):
    def handles(self, handles):
        return [AnswersForTheLost.handle(handle) for handle in handles]


# Refusing


class Trusting(Stagehand):
    """What a host checks is told anew to each mutant."""

    whole = False

    law = "hosts"

    async def start(self, workers, spec, /):
        return await super().start(workers, self.changed(spec))

    def changed(self, spec):
        return spec


class TakesAnyVariable(Trusting):
    def changed(self, spec):
        return attrs.evolve(spec, environment={k: v for k, v in spec.environment.items() if k.startswith("PENSTOCK_")})


class TakesVariablesThatCarryCode(Trusting):
    def changed(self, spec):
        return attrs.evolve(spec, environment={k: v for k, v in spec.environment.items() if k[:2] not in ("PY", "LD")})


class LosesVariables(Trusting):
    def changed(self, spec):
        unknown = {k: v for k, v in spec.environment.items() if k != "PENSTOCK_KIT_MARK"}
        return attrs.evolve(spec, environment=unknown)


class ChangesVariables(Trusting):
    def changed(self, spec):
        ascii_only = {k: v.encode("ascii", "ignore").decode() for k, v in spec.environment.items()}
        return attrs.evolve(spec, environment=ascii_only)


class TakesAnyModule(Trusting):
    def changed(self, spec):
        return attrs.evolve(spec, worker="penstock.engine.probe")


class Saying(Trusting):
    whole = False

    @staticmethod
    def said(error, spec):
        return error

    async def start(self, workers, spec, /):
        try:
            return await super().start(workers, spec)
        except RunError as error:
            raise self.said(error, spec) from error


class TellsSecrets(Saying):
    @staticmethod
    def said(error, spec):
        return RunError(f"{error} ({dict(spec.environment)})")


class RefusesWithoutNames(Saying):
    @staticmethod
    def said(error, spec):
        return RunError("a host refused to start a worker")


class RefusesWithAnErrorOfItsOwn(Saying):
    @staticmethod
    def said(error, spec):
        return ValueError(str(error))


class NamesNoHost(Saying):
    law = "refusing"

    @staticmethod
    def said(error, spec):
        return RunError("messages of 3 there, messages of 99 here: install the same version")


class TakesAnyProtocol(Saying):
    law = "refusing"

    async def start(self, workers, spec, /):
        real, messages.PROTOCOL = messages.PROTOCOL, 3
        try:
            return await super().start(workers, spec)
        finally:
            messages.PROTOCOL = real


class StartsFewerThanAsked(Trusting):
    def chosen(self, workers):
        return self.names()[:workers]


class LeavesAThreadWhereItRefuses(Saying):
    law = "refusing"
    grace = _SOON

    @staticmethod
    def said(error, spec):
        threading.Thread(target=time.sleep, args=(8,), daemon=True).start()
        return error


class LeavesAPortWhereItRefuses(Saying):
    held = []  # noqa: RUF012
    grace = _SOON

    @staticmethod
    def said(error, spec):
        LeavesAPortWhereItRefuses.held.append(socket.create_server(("127.0.0.1", 0)))
        return error


class SharesADirectory(Stagehand):
    law = "hosts"

    class puppet(Puppet):  # noqa: N801
        where = None

        def directory(self):
            kind = type(self)
            if kind.where is None or not os.path.exists(kind.where):
                kind.where = tempfile.mkdtemp(dir=ROOT)
            return kind.where

        def die(self, cause):
            self.scratch = self.scratch if os.path.exists(self.scratch) else ""
            super().die(cause)


class LetsAllReadItsDirectory(Stagehand):
    law = "hosts"

    class puppet(Puppet):  # noqa: N801
        def directory(self):
            where = super().directory()
            os.chmod(where, 0o755)
            return where


class FindsADirectoryThatIsUsed(Stagehand):
    law = "hosts"

    class puppet(Puppet):  # noqa: N801
        def directory(self):
            where = super().directory()
            with open(os.path.join(where, "host.json"), "w"):
                return where
