"""Law 2: calls, streams and frames."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import Any

import anyio
import anyio.lowlevel

from penstock.launchers import WorkerHandle
from penstock.testing.launchers.base import LauncherLaws
from penstock.testing.launchers.tools import Running
from penstock.testing.tools import broken

__all__ = ["SpeakingLaws", "echo", "of_all"]

_CALL = "law 2 (a call is answered once, by its own answer)"
_STREAM = "law 2 (a stream gives every item, in order, and ends)"
_LARGE = "law 2 (a frame is carried whole, of 8 MiB too)"
_LEAVING = "law 2 (who leaves a question disturbs no other)"
_BIG = 8 * 1024 * 1024
_LINE = 64
_CALLS = 40
_ITEMS = 500


def _pattern(nbytes: int, seed: int = 0) -> str:
    """ASCII in which no two lines are the same, so that a lost, doubled or moved piece is seen."""
    fill = "0123456789abcdefghijklmnopqrstuvwxyz"
    lines = range(-(-nbytes // _LINE))
    return "".join(f"{seed:08x}{line:08x}".ljust(_LINE, fill[(seed + line) % len(fill)]) for line in lines)[:nbytes]


async def of_all(question: Callable[[WorkerHandle], Coroutine[Any, Any, None]], handles: list[WorkerHandle]) -> None:
    """Ask all workers at the same time."""
    async with anyio.create_task_group() as tasks:
        for handle in handles:
            tasks.start_soon(question, handle)


async def echo(handle: WorkerHandle, said: Any, law: str) -> None:
    """Ask for what was said, and get it."""
    answer = await handle.call("echo", {"said": said})
    if answer != {"said": said}:
        raise broken(law, f"worker {handle.rank} answered {str(answer)[:80]}", "carry the bytes of a frame unchanged")


async def _count(handle: WorkerHandle, items: int, nbytes: int, law: str) -> None:
    due = _pattern(nbytes)
    number = 0
    async with aclosing(handle.stream("count", {"items": items, "data": due})) as stream:  # type: ignore[type-var]
        async for item in stream:
            if item != {"number": number, "data": due}:
                what = f"worker {handle.rank} sent item {item.get('number')} where {number} was due, or changed it"
                raise broken(law, what, "hand frames on in the order in which they come, each once")
            number += 1
    if number != items:
        raise broken(law, f"worker {handle.rank}'s stream ended after {number} of {items} items", "lose no frame")


class SpeakingLaws(LauncherLaws):
    """Laws of ``call`` and ``stream``."""

    def test_calls_are_answered(self, crew: Running) -> None:
        async def ask(handle: WorkerHandle) -> None:
            for said in ("", 0, None, [1.5, {"größe": "\u2028\n\0"}], {"id": 7, "body": {}, "error": "none"}):
                await echo(handle, said, _CALL)

        crew.run(of_all, ask, crew.handles, law=_CALL)

    def test_many_calls_at_once(self, crew: Running) -> None:
        async def ask(handle: WorkerHandle) -> None:
            async with anyio.create_task_group() as tasks:
                # This one has no answer as long as the others are asked.
                tasks.start_soon(handle.call, "rest", {})
                await anyio.lowlevel.checkpoint()
                async with anyio.create_task_group() as asking:
                    for number in range(_CALLS):
                        said = [handle.rank, number, _pattern(number * 100, number)]
                        asking.start_soon(echo, handle, said, _CALL)
                tasks.cancel_scope.cancel()

        crew.run(of_all, ask, crew.handles, law=_CALL)

    def test_streams_come_in_order(self, crew: Running) -> None:
        async def ask(handle: WorkerHandle) -> None:
            await _count(handle, 0, 10, _STREAM)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_count, handle, _ITEMS, 30, _STREAM)
                tasks.start_soon(_count, handle, _ITEMS // 5, 3000, _STREAM)
                tasks.start_soon(echo, handle, "between", _CALL)

        crew.run(of_all, ask, crew.handles, law=_STREAM)

    def test_large_frames(self, crew: Running) -> None:
        async def ask(handle: WorkerHandle) -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(echo, handle, _pattern(_BIG, handle.rank), _LARGE)
                tasks.start_soon(_count, handle, 2, _BIG, _LARGE)
                tasks.start_soon(echo, handle, "small beside large", _LARGE)

        # One after the other: what four would take at once is no matter of the channel.
        for handle in crew.handles[:2]:
            crew.run(ask, handle, law=_LARGE)

    def test_leaving_early(self, crew: Running) -> None:
        async def ask(handle: WorkerHandle) -> None:
            async with aclosing(handle.stream("count", {"items": 50, "data": "x"})) as stream:  # type: ignore[type-var]
                async for _ in stream:
                    break
            with anyio.move_on_after(0.05) as scope:
                await handle.call("rest", {})
            if not scope.cancelled_caught:
                raise broken(_LEAVING, "a call that has no answer was answered", "match answers by their ids")
            await echo(handle, "after", _LEAVING)
            await _count(handle, 20, 10, _LEAVING)

        crew.run(of_all, ask, crew.handles, law=_LEAVING)
