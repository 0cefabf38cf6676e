"""After the end: what hosts keep is fetched in pieces, or its place is told.

A host keeps its processes' parts of the op-log and what they printed. What could not be fetched stays there, and its
path is in the results.
"""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio

from penstock.engine.parts import HostPlan
from penstock.engine.remote import Remote
from penstock.engine.team import Team
from penstock.engine.watch import Watched
from penstock.errors import PenstockError, RunError, WorkerLostError

__all__ = ["PIECE", "fetch_all", "send_file"]

#: Bytes that travel at once.
PIECE = 1 << 20
#: Hosts that send at the same time, and seconds that a piece may take.
_AT_ONCE = 8
_PIECE_SECONDS = 60.0
#: What processes printed is kept up to so many bytes each.
_MOST_PRINTED = 16 << 20


async def fetch_all(team: Team, directory: Path) -> None:
    """Fetch what all hosts keep to ``directory/workers/<rank>/``; each then removes its own."""
    room = anyio.Semaphore(_AT_ONCE)

    async def one(worker: Watched) -> None:
        async with room:
            await _fetch_from(team, worker, directory / "workers" / str(worker.handle.rank))

    with contextlib.suppress(PenstockError):
        await team.each(one, spare=True)
    for worker in team.lost():
        plan = team.plans[worker.handle.rank]
        remote = worker.remote
        if remote is None or not isinstance(plan, HostPlan):
            continue
        # Its worker ends by its lease and keeps what it has.
        remote.kept = remote.kept or remote.directory
        if plan.logs and not remote.op_log:
            remote.op_log = {
                "path": [os.path.join(remote.kept, name) for name in plan.logs],
                "host": worker.handle.host,
            }
            where = f" in {remote.kept}" if remote.kept else ""
            team.note(f"the part of the op-log of {worker.called} was left there{where}, because it was lost")


async def _fetch_from(team: Team, worker: Watched, place: Path) -> None:
    plan, remote = team.plans[worker.handle.rank], worker.remote
    assert isinstance(plan, HostPlan)
    assert remote is not None
    files = (await team.call(worker, "files", {}))["files"]
    leave = team.course.distributed.op_log == "leave"
    wanted = [each for each in files if (each["name"] in plan.logs and not leave) or _printed(each)]
    kept = [str(each["name"]) for each in files if each["name"] in plan.logs and leave]
    for each in wanted:
        name = str(each["name"])
        try:
            await _fetch(team, worker, name, place, _MOST_PRINTED if _printed(each) else None)
            remote.fetched[name] = str(place / name)
        except WorkerLostError:
            raise
        except (PenstockError, OSError) as error:
            kept += [name] if name in plan.logs else []
            team.note(f"{name} of {worker.called} could not be fetched: {error}")
    _tell(worker, remote, files, kept)
    await team.call(worker, "release", {"keep": kept})


def _printed(file: Mapping[str, Any]) -> bool:
    return str(file["name"]).endswith(".log") and int(file["bytes"]) > 0


def _tell(worker: Watched, remote: Remote, files: Sequence[Mapping[str, Any]], kept: Sequence[str]) -> None:
    paths = [str(each["path"]) for each in files if each["name"] in kept]
    if paths:
        remote.kept = os.path.dirname(paths[0])
    if worker.log is not None:
        where = {"host": worker.handle.host, "path": paths or None}
        remote.op_log = (where if paths else {}) | dict(worker.log)


async def _fetch(team: Team, worker: Watched, name: str, place: Path, most: int | None) -> None:
    """One file, in pieces. Raises OSError where it can't be written here."""
    place.mkdir(parents=True, exist_ok=True)
    path, offset, over = place / name, 0, False
    if path.parent != place:
        raise RunError(f"{worker.called} names a file {name!r}")
    with open(path, "wb") as file:
        while not over and (most is None or offset < most):
            piece = await _timely(team, worker, "fetch", {"name": name, "offset": offset, "length": PIECE})
            data = base64.b64decode(piece["data"], validate=True)
            file.write(data)
            offset, over = offset + len(data), bool(piece["end"]) or not data


async def send_file(team: Team, worker: Watched, name: str, path: str) -> None:
    """Give a host a file that its processes need."""
    offset = 0
    async for data, end in _pieces(path):
        body = {"name": name, "offset": offset, "data": base64.b64encode(data).decode("ascii"), "end": end}
        await _timely(team, worker, "receive", body)
        offset += len(data)


async def _pieces(path: str) -> AsyncIterator[tuple[bytes, bool]]:
    try:
        async with await anyio.open_file(path, "rb") as file:
            data = await file.read(PIECE)
            while True:
                later = await file.read(PIECE)
                yield data, not later
                if not later:
                    return
                data = later
    except OSError as error:
        raise RunError(f"{path} can't be read: {error.strerror}") from error


async def _timely(team: Team, worker: Watched, method: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
    with anyio.move_on_after(_PIECE_SECONDS):
        return await team.call(worker, method, body)
    raise RunError(f"{worker.called} did not {method} a piece of {body['name']} within {_PIECE_SECONDS:g} s")
