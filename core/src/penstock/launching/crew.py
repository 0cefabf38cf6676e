"""All workers of a run, from their links on: what every launcher does with them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

import anyio

from penstock.errors import RunError
from penstock.launchers import LaunchSpec, WorkerHandle
from penstock.launching.links import Link
from penstock.launching.workers import Worker

__all__ = ["Crew"]

#: How long workers may take to answer, and what is left to the others once one could not start.
_GREETING_SECONDS = 60.0
_OTHERS_SECONDS = 3.0
#: How long a link may take to close, and then to notice that it was killed.
_STOP_SECONDS = 15.0
_KILL_SECONDS = 2.0


class Crew:
    """What a launcher has started. What it needs of its own for its links has to last from ``start`` to ``stop``."""

    def __init__(
        self, links: Sequence[Link], hosts: Sequence[str] = (), *, patience: float = _GREETING_SECONDS
    ) -> None:
        """``hosts`` says what each link's host is called; the workers are ranked in the order of these names, numbers
        in them by value, equal ones as they come. Without it they are processes of this host, in the order given.
        ``patience`` is how many seconds they have to answer.
        """
        order = sorted(range(len(links)), key=lambda number: _natural(hosts[number])) if hosts else range(len(links))
        self._workers = [
            Worker(links[number], rank, hosts[number] if hosts else "") for rank, number in enumerate(order)
        ]
        self._patience = patience
        self._listening: list[asyncio.Task[None]] = []
        self._ended = False

    async def start(self, spec: LaunchSpec | None) -> list[WorkerHandle]:
        """Send the specification to all, None: they were started with it, and return when all have greeted.

        Raises RunError that names each which could not start, and why; then all are ended.
        """
        try:
            await self._greet(spec)
        except BaseException:
            await self.stop()
            raise
        # Tasks of their own: whoever starts a crew may leave the scope in which he did so.
        self._listening = [asyncio.create_task(worker.listen()) for worker in self._workers]
        return list(self._workers)

    async def stop(self) -> None:
        """End all workers that are left, all at once, within seconds. Stopping twice is harmless."""
        if self._ended:
            return
        self._ended = True
        with anyio.CancelScope(shield=True):
            async with anyio.create_task_group() as ending:
                for worker in self._workers:
                    ending.start_soon(_end, worker)
            for task in self._listening:
                task.cancel()
            for found in await asyncio.gather(*self._listening, return_exceptions=True):
                if found is not None and not isinstance(found, asyncio.CancelledError):
                    raise found

    async def _greet(self, spec: LaunchSpec | None) -> None:
        errors: dict[int, str] = {}
        silent = {worker.rank: worker.called for worker in self._workers}
        hurried = False

        async def one(worker: Worker) -> None:
            nonlocal hurried
            try:
                await worker.greet(spec)
            except RunError as error:
                errors[worker.rank] = str(error)
                hurried = True
                scope.deadline = min(scope.deadline, anyio.current_time() + _OTHERS_SECONDS)
            del silent[worker.rank]

        with anyio.move_on_after(self._patience) as scope:
            async with anyio.create_task_group() as tasks:
                for worker in self._workers:
                    tasks.start_soon(one, worker)
        if not hurried:
            late = f"did not answer within {self._patience:g} s: is its host reachable, and not overloaded?"
            errors |= {rank: f"{called} {late}" for rank, called in silent.items()}
        if errors:
            raise RunError("; ".join(text for _, text in sorted(errors.items())))


async def _end(worker: Worker) -> None:
    with anyio.move_on_after(_STOP_SECONDS):
        await worker.end()
        return
    worker.kill()
    with anyio.move_on_after(_KILL_SECONDS):
        await worker.end()


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name) if part]
