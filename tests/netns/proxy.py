"""A link that is slow: ``python proxy.py LISTEN_HOST TARGET_HOST PORT SECONDS`` carries bytes, each so much later.

The kernel's own delay (netem) is not everywhere. Prints a line once it listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys


async def carry(source: asyncio.StreamReader, target: asyncio.StreamWriter, delay: float) -> None:
    """Pass on what comes, in order, ``delay`` seconds after it came; it may come faster than that."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def write() -> None:
        while True:
            due, data = await queue.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            if not data:
                target.close()
                return
            target.write(data)
            await target.drain()

    writing = asyncio.create_task(write())
    with contextlib.suppress(ConnectionError):
        while data := await source.read(65536):
            queue.put_nowait((loop.time() + delay, data))
    queue.put_nowait((loop.time() + delay, b""))
    with contextlib.suppress(ConnectionError):
        await writing


async def main() -> None:
    listen, host, port, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, port)
        await asyncio.gather(carry(reader, back, seconds), carry(there, writer, seconds))

    server = await asyncio.start_server(connected, listen, port)
    print("listening", flush=True)
    async with server:
        await server.serve_forever()


asyncio.run(main())
