"""Law 4: workers that are ended, or end by themselves."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import anyio

from penstock.launchers import WorkerHandle
from penstock.testing.launchers.base import LauncherLaws
from penstock.testing.launchers.tools import Left, Stage, lost
from penstock.testing.tools import broken

__all__ = ["LosingLaws"]

_KILL = "law 4 (kill() ends a worker at once, and who waits for it is told)"
_DEATH = "law 4 (a worker that dies is missed, and who waits for it is told)"
_OTHERS = "law 4 (the others go on when one is lost)"
_AGAIN = "law 1 (the same hosts get the same ranks again)"
_STOP = "law 5 (stop() also with workers that are lost)"


async def _next(handle: WorkerHandle) -> Any:
    """What comes after the first item of a stream that has no second."""
    async for item in handle.stream("wait", {}):
        if "waiting" not in item:
            return item
    return "the stream ended"


class LosingLaws(LauncherLaws):
    """Laws of workers that are gone. They cost a worker each, so several share a start."""

    def test_workers_are_lost(self, stage: Stage) -> None:
        known = stage.hosts
        stage.clear()
        before = Left.now()
        with stage.alone() as crew:
            if stage.hosts != known:
                raise broken(_AGAIN, f"the hosts were {known}, and {stage.hosts} later", "let the names alone decide")
            killed, struck, *others = crew.handles
            # What a worker leaves that was given up is kept, as it may hold what was measured.
            scratches = [crew.run(self._scratch, handle, law=_OTHERS) for handle in others]
            crew.run(self._end, killed, killed.kill, _KILL, self.patience, law=_KILL)
            if not self.has_ended(killed):
                raise broken(_KILL, "the worker's process is still there", "end it by force, not by asking it")
            crew.run(self._end, struck, partial(self.strike, struck), _DEATH, self.grace, law=_DEATH)
            crew.run(self._killed_twice, killed, law=_KILL)
            crew.run(self._go_on, others, law=_OTHERS)
            crew.stop(_STOP)
        self.require_nothing_left(before, crew.handles, scratches, _STOP)

    async def _scratch(self, handle: WorkerHandle) -> str:
        return str((await handle.call("place", {}))["scratch"])

    async def _end(self, handle: WorkerHandle, blow: Callable[[], None], law: str, seconds: float) -> None:
        """Ask, end the worker, and hear of it in every question."""
        with anyio.move_on_after(seconds) as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(lost, handle.call("rest", {}), handle, law)
                tasks.start_soon(lost, _next(handle), handle, law)
                # The worker has got the questions when it answers one that came after them.
                await handle.call("echo", {"said": "ready"})
                blow()
            await lost(handle.call("echo", {"said": "too late"}), handle, law)
            await lost(_next(handle), handle, law)
        if scope.cancelled_caught:
            what = f"a question is still open after {seconds:g} s"
            raise broken(law, what, "end every open question with WorkerLostError as soon as the worker is gone")

    async def _killed_twice(self, handle: WorkerHandle) -> None:
        handle.kill()
        await lost(handle.call("echo", {"said": "too late"}), handle, _KILL)

    async def _go_on(self, handles: list[WorkerHandle]) -> None:
        for handle in handles:
            answer = await handle.call("echo", {"said": handle.rank})
            if answer != {"said": handle.rank}:
                raise broken(_OTHERS, f"worker {handle.rank} answered {answer}", "share nothing between workers")
            numbers = [item["number"] async for item in handle.stream("count", {"items": 30, "data": "x"})]
            if numbers != list(range(30)):
                raise broken(_OTHERS, f"worker {handle.rank}'s stream gave {numbers}", "share nothing between workers")
