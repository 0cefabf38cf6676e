"""Law 2 and law 3: calls, streams, frames and errors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import Any

import anyio
import pytest

from penstock import errors
from penstock.launchers import WorkerHandle
from penstock.testing.launchers.base import LauncherLaws
from penstock.testing.launchers.tools import Running
from penstock.testing.tools import broken

__all__ = ["ErrorLaws", "SpeakingLaws"]

_CALL = "law 2 (a call is answered once, by its own answer)"
_STREAM = "law 2 (a stream gives every item, in order, and ends)"
_LARGE = "law 2 (a frame is carried whole, of 8 MiB too)"
_LEAVING = "law 2 (who leaves a question disturbs no other)"
_ERROR = "law 3 (an error of the worker arrives as its class, with its message)"
_AFTER = "law 3 (a worker goes on after an error)"
_BIG = 8 * 1024 * 1024
_LINE = 64
_CALLS = 40
_ITEMS = 500


def _pattern(nbytes: int, seed: int = 0) -> str:
    """ASCII in which no two lines are the same, so that a lost, doubled or moved piece is seen."""
    fill = "0123456789abcdefghijklmnopqrstuvwxyz"
    lines = range(-(-nbytes // _LINE))
    return "".join(f"{seed:08x}{line:08x}".ljust(_LINE, fill[(seed + line) % len(fill)]) for line in lines)[:nbytes]


async def _all(question: Callable[[WorkerHandle], Coroutine[Any, Any, None]], handles: list[WorkerHandle]) -> None:
    async with anyio.create_task_group() as tasks:
        for handle in handles:
            tasks.start_soon(question, handle)


async def _echo(handle: WorkerHandle, said: Any, law: str) -> None:
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
                await _echo(handle, said, _CALL)

        crew.run(_all, ask, crew.handles, law=_CALL)

    def test_many_calls_at_once(self, crew: Running) -> None:
        async def ask(handle: WorkerHandle) -> None:
            async with anyio.create_task_group() as tasks:
                for number in range(_CALLS):
                    tasks.start_soon(_echo, handle, [handle.rank, number, _pattern(number * 100, number)], _CALL)

        crew.run(_all, ask, crew.handles, law=_CALL)

    def test_streams_come_in_order(self, crew: Running) -> None:
        async def ask(handle: WorkerHandle) -> None:
            await _count(handle, 0, 10, _STREAM)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_count, handle, _ITEMS, 30, _STREAM)
                tasks.start_soon(_count, handle, _ITEMS // 5, 3000, _STREAM)
                tasks.start_soon(_echo, handle, "between", _CALL)

        crew.run(_all, ask, crew.handles, law=_STREAM)

    def test_large_frames(self, crew: Running) -> None:
        async def ask(handle: WorkerHandle) -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_echo, handle, _pattern(_BIG, handle.rank), _LARGE)
                tasks.start_soon(_count, handle, 2, _BIG, _LARGE)
                tasks.start_soon(_echo, handle, "small beside large", _LARGE)

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
            await _echo(handle, "after", _LEAVING)
            await _count(handle, 20, 10, _LEAVING)

        crew.run(_all, ask, crew.handles, law=_LEAVING)


class ErrorLaws(LauncherLaws):
    """Laws of what a worker raises."""

    @pytest.mark.parametrize(
        "kind", [errors.RunError, errors.FormatError, errors.UnknownSchemeError, errors.ObjectNotFoundError]
    )
    def test_errors_keep_their_class(self, crew: Running, kind: type[errors.PenstockError]) -> None:
        async def ask(handle: WorkerHandle) -> None:
            said = f"worker {handle.rank} met größe 7"
            body = {"type": kind.__name__, "message": said}
            await self._require_error(handle.call("fail", body), kind, said)
            await self._require_error(self._listen(handle, "fail_later", body), kind, said)
            await _echo(handle, "after", _AFTER)

        crew.run(_all, ask, crew.handles, law=_ERROR)

    def test_other_errors_are_told(self, crew: Running) -> None:
        async def ask(handle: WorkerHandle) -> None:
            for method, body in (("fail", {"type": "ZeroDivisionError", "message": "by 0"}), ("no such method", {})):
                await self._require_error(handle.call(method, body), errors.RunError, body.get("message", method))
            await _echo(handle, "after", _AFTER)

        crew.run(_all, ask, crew.handles, law=_ERROR)

    async def _listen(self, handle: WorkerHandle, method: str, body: dict[str, Any]) -> str:
        items = [item async for item in handle.stream(method, body)]
        return f"{len(items)} items and the end"

    async def _require_error(self, question: Awaitable[Any], kind: type[Exception], said: str) -> None:
        try:
            answer = await question
        except Exception as error:
            if type(error) is not kind or said not in str(error):
                what = f"{kind.__name__}({said!r}) came as {type(error).__name__}({str(error)!r})"
                raise broken(_ERROR, what, "leave errors to penstock.launching") from error
        else:
            raise broken(_ERROR, f"{str(answer)[:80]!r} came instead", "hand error frames on as all others")
