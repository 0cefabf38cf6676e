"""Law 3: errors of workers."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import pytest

from penstock import errors
from penstock.launchers import WorkerHandle
from penstock.testing.launchers.base import LauncherLaws
from penstock.testing.launchers.speaking import echo, of_all
from penstock.testing.launchers.tools import Running
from penstock.testing.tools import broken

__all__ = ["ErrorLaws"]

_ERROR = "law 3 (an error of the worker arrives as its class, with its message)"
_AFTER = "law 3 (a worker goes on after an error)"


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
            await echo(handle, "after", _AFTER)

        crew.run(of_all, ask, crew.handles, law=_ERROR)

    def test_other_errors_are_told(self, crew: Running) -> None:
        async def ask(handle: WorkerHandle) -> None:
            for method, body in (("fail", {"type": "ZeroDivisionError", "message": "by 0"}), ("no such method", {})):
                await self._require_error(handle.call(method, body), errors.RunError, body.get("message", method))
            await echo(handle, "after", _AFTER)

        crew.run(of_all, ask, crew.handles, law=_ERROR)

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
