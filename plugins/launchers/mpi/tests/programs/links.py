"""Rank 0 sends frames to rank 1 and gets them back: small and large ones, in order; then both idle."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time

import anyio
from penstock_mpi.letters import PIECE_BYTES
from penstock_mpi.links import MpiLink
from penstock_mpi.post import Post

SESSION = 3
SIZES = [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 10 * PIECE_BYTES + 7, 5, 0, 3 * PIECE_BYTES]


def frame(number: int, size: int) -> bytes:
    return hashlib.shake_128(bytes([number])).digest(size)


def open_link(patience: float) -> tuple[Post, MpiLink]:
    links: list[MpiLink] = []
    post = Post(lambda letter: links[0].deliver(letter), lambda rank, cause: links[0].lose(cause))
    links.append(MpiLink(post, 1 - post.rank, SESSION, patience=patience))
    post.start()
    return post, links[0]


async def ask(post: Post, link: MpiLink) -> dict[str, object]:
    came = []

    async def receive() -> None:
        for _ in SIZES:
            came.append(await link.receive())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive)
        for number, size in enumerate(SIZES):
            await link.send(frame(number, size))
    told = {"right": came == [frame(number, size) for number, size in enumerate(SIZES)]}
    told["idle"] = await anyio.to_thread.run_sync(idle)
    await link.send(b"measure")
    told["idle_there"] = json.loads(await link.receive() or b"0")
    await link.close()
    told["after"] = await link.receive()
    try:
        await link.send(b"too late")
    except ConnectionError:
        told["refused"] = True
    return told


async def echo(link: MpiLink) -> None:
    while (got := await link.receive()) is not None:
        await link.send(json.dumps(idle()).encode() if got == b"measure" else got)
    link.part("done")


def idle(seconds: float = 1.5) -> float:
    """The part of a processor that this process needs when nothing comes or goes."""
    began, used = time.monotonic(), time.process_time()
    threading.Event().wait(seconds)
    return (time.process_time() - used) / (time.monotonic() - began)


def main() -> None:
    post, link = open_link(20)
    if post.rank:
        anyio.run(echo, link)
    else:
        sys.stdout.write(json.dumps(anyio.run(ask, post, link)))
    post.end(10)


main()
