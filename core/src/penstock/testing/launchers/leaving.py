"""Law 5: ``stop``, and what is left."""

from __future__ import annotations

from typing import Any

import anyio

from penstock.errors import WorkerLostError
from penstock.launchers import WorkerHandle
from penstock.testing.launchers.base import LauncherLaws
from penstock.testing.launchers.tools import Left, Stage
from penstock.testing.tools import broken

__all__ = ["LeavingLaws"]

_STOP = "law 5 (stop() ends whatever is going on, and leaves nothing)"
_AFTER = "law 5 (a question to a stopped worker is refused)"
_NEVER = "law 5 (stop() without start() is harmless)"


class LeavingLaws(LauncherLaws):
    """Laws of ``stop``."""

    def test_stop_in_midstream(self, stage: Stage) -> None:
        stage.clear()
        before = Left.now()
        with stage.alone() as crew:
            scratches = [crew.run(self._scratch, handle, law=_STOP) for handle in crew.handles]
            open_ones = [crew.portal.start_task_soon(self._until_told, handle) for handle in crew.handles]
            crew.run(self._ready, crew.handles, law=_STOP)
            crew.stop(_STOP)
            for one in open_ones:
                self._require_told(one, crew.handles)
            for handle in crew.handles:
                self._require_refused(crew.run(self._ask, handle, law=_AFTER))
        self.require_nothing_left(before, crew.handles, scratches, _STOP)

    def test_stop_without_start(self, stage: Stage) -> None:
        async def stop() -> None:
            never = stage.opener()
            with anyio.fail_after(self.patience):
                await never.stop()
                await never.stop()

        before = Left.now()
        anyio.run(stop)
        before.require_nothing_more(_NEVER, self.grace)

    async def _scratch(self, handle: WorkerHandle) -> str:
        return str((await handle.call("place", {}))["scratch"])

    async def _until_told(self, handle: WorkerHandle) -> BaseException | None:
        try:
            async for _ in handle.stream("wait", {}):
                pass
        except Exception as error:  # noqa: BLE001  (it is judged by the caller)
            return error
        return None

    async def _ready(self, handles: list[WorkerHandle]) -> None:
        for handle in handles:
            await handle.call("echo", {"said": "ready"})

    def _require_told(self, one: Any, handles: list[WorkerHandle]) -> None:
        try:
            error = one.result(self.grace)
        except TimeoutError:
            raise broken(_STOP, "a stream is still open", "end open questions before stop() returns") from None
        if not isinstance(error, WorkerLostError):
            raise broken(_STOP, f"an open stream ended with {error!r}", "raise WorkerLostError in it")

    async def _ask(self, handle: WorkerHandle) -> BaseException | None:
        try:
            await handle.call("echo", {"said": "too late"})
        except Exception as error:  # noqa: BLE001  (it is judged by the caller)
            return error
        return None

    def _require_refused(self, error: BaseException | None) -> None:
        if not isinstance(error, WorkerLostError):
            raise broken(_AFTER, f"it ended with {error!r}", "raise WorkerLostError after stop()")
