"""Frames over a call: whole, in order, as slow as who receives, and through cancellations."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import anyio
import grpc
import grpc.aio
import pytest
from penstock_grpc._proto import agent_v1_pb2 as pb
from penstock_grpc.connecting import ControllerPipe
from penstock_grpc.incoming import AgentPipe, outlive
from penstock_grpc.links import FrameLink
from penstock_grpc.service import PIECE_BYTES, channel_options, server_options

pytestmark = pytest.mark.anyio

_KEEPALIVE = 5.0
_METHOD = "/test.Link/Session"
_PATIENCE = 60


@asynccontextmanager
async def linked(serve):
    """A link whose other end is given to ``serve``, which has ended when this has."""
    serving = set()

    async def session(requests, context):
        link = FrameLink(AgentPipe(context))
        task = asyncio.create_task(serve(link))
        serving.add(task)
        await outlive(task, link)

    handler = grpc.stream_stream_rpc_method_handler(
        session,
        request_deserializer=pb.FromController.FromString,
        response_serializer=pb.FromAgent.SerializeToString,
    )
    server = grpc.aio.server(options=server_options(_KEEPALIVE))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Link", {"Session": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=channel_options(_KEEPALIVE, None))
    call = channel.stream_stream(
        _METHOD,
        request_serializer=pb.FromController.SerializeToString,
        response_deserializer=pb.FromAgent.FromString,
    )()
    link = FrameLink(ControllerPipe(call))
    try:
        with anyio.fail_after(_PATIENCE):
            yield link
    finally:
        link.kill()
        await link.close()
        await channel.close()
        await server.stop(0)
        # gRPC waits for no call that it has cancelled.
        if serving:
            await asyncio.wait(serving, timeout=_PATIENCE)


async def echo(link):
    while (frame := await link.receive()) is not None:
        await link.send(frame)
    await link.close()


@pytest.mark.parametrize("size", [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 5 * PIECE_BYTES])
async def test_frames_arrive_as_they_were_sent(size):
    frame = bytes(index % 251 for index in range(min(size, 4096))) * (size // 4096 + 1)
    async with linked(echo) as link:
        await link.send(frame[:size])
        assert await link.receive() == frame[:size]
        await link.close()
        assert await link.receive() is None


async def test_frames_keep_their_order_both_ways_at_once():
    frames = [f"{number}".encode() * (1 + number % 7 * 40_000) for number in range(100)]
    async with linked(echo) as link, anyio.create_task_group() as tasks:

        async def send():
            for frame in frames:
                await link.send(frame)

        tasks.start_soon(send)
        for frame in frames:
            assert await link.receive() == frame


@pytest.mark.parametrize("direction", ["to the agent", "from the agent"])
async def test_who_sends_waits_for_who_receives(direction):
    # What may be on its way: HTTP/2's windows, and a few frames at each end. Without a limit all would be at once.
    count, most = 192, 64
    frame = bytes(PIECE_BYTES)
    sent = 0
    done = anyio.Event()

    async def fill(link):
        nonlocal sent
        for _ in range(count):
            await link.send(frame)
            sent += 1
        await link.close()

    async def drain(link):
        for received in range(count):
            assert sent - received <= most, "more is on its way than may be"
            assert await link.receive() == frame
        done.set()

    here, there = (fill, drain) if direction == "to the agent" else (drain, fill)
    async with linked(there) as link:
        await here(link)
        await done.wait()


async def test_a_cancelled_receiver_costs_no_frame():
    more = anyio.Event()

    async def serve(link):
        await more.wait()
        for number in range(3):
            await link.send(b"%d" % number)
        await link.close()

    async with linked(serve) as link:
        for _ in range(3):
            with anyio.move_on_after(0.001):
                await link.receive()
        more.set()
        assert [await link.receive() for _ in range(4)] == [b"0", b"1", b"2", None]


async def test_a_cancelled_sender_breaks_no_frame():
    frame = bytes(PIECE_BYTES) * 3
    begin = anyio.Event()
    received = []

    async def serve(link):
        await begin.wait()
        while (got := await link.receive()) is not None:
            received.append(got)
        await link.close()

    async with linked(serve) as link:
        sent = 0
        with anyio.move_on_after(0.3):
            while True:
                await link.send(frame)
                sent += 1
        begin.set()
        await link.close()
        assert received == [frame] * sent


async def test_what_was_sent_before_the_end_is_received():
    async def serve(link):
        for number in range(50):
            await link.send(bytes([number]) * 100_000)
        await link.close()

    async with linked(serve) as link:
        await anyio.sleep(0)
        frames = []
        while (frame := await link.receive()) is not None:
            frames.append(frame[0])
        assert frames == list(range(50))


async def test_kill_wakes_who_waits_and_ends_the_other_side():
    ended = anyio.Event()

    async def serve(link):
        await link.send(b"here")
        if await link.receive() is None and await _refuses(link):
            ended.set()

    async with linked(serve) as link:
        assert await link.receive() == b"here"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_none, link)
            await anyio.sleep(0)
            link.kill()
        assert await _refuses(link)
        link.kill()
        await ended.wait()
        assert "cancelled" in await link.cause()


async def _refuses(link):
    try:
        await link.send(b"late")
    except ConnectionError:
        return True
    return False


async def _none(link):
    assert await link.receive() is None


async def test_close_does_not_need_a_receiver():
    async def serve(link):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_until_closed, link)
            try:
                for _ in range(100):
                    await link.send(bytes(PIECE_BYTES))
            except ConnectionError:
                pass
            await link.close()

    async with linked(serve) as link:
        await link.close()
        assert await link.cause()


async def _until_closed(link):
    while await link.receive() is not None:
        pass


async def test_a_frame_that_is_too_long_ends_the_link(monkeypatch):
    monkeypatch.setattr("penstock.launching.messages.MAX_FRAME", 10)

    async def serve(link):
        await link.send(b"0123456789")
        await link.send(b"0123456789a")
        assert await link.receive() is None

    async with linked(serve) as link:
        assert await link.receive() == b"0123456789"
        assert await link.receive() is None
        assert await link.cause() == "it sent a frame of more than 10 bytes"


async def test_tasks_of_a_link_end_with_it():
    before = asyncio.all_tasks()
    async with linked(echo) as link:
        await link.send(b"x")
        assert await link.receive() == b"x"
    left = [task for task in asyncio.all_tasks() - before if "FrameLink" in repr(task)]
    assert left == []
