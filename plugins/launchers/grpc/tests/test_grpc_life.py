"""The life of an agent: told to end, killed, cut off, and left by its controller."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager, suppress

import anyio
import pytest
from penstock_grpc.addresses import parse_address
from penstock_grpc.connecting import Connection

from penstock.errors import RunError, WorkerLostError
from penstock.testing.launchers.tools import ended

pytestmark = pytest.mark.anyio

_PATIENCE = 60

_CONTROLLER = """
import anyio, sys
from penstock.launchers import PROBE, LaunchSpec
from penstock.options import resolve
from penstock.plugins import default_host

async def main():
    kind = default_host().launcher_type("grpc")
    launcher = kind.open(resolve(kind.options, explicit={"agents": sys.argv[1], "token_file": sys.argv[2]}).options)
    handles = await launcher.start(None, LaunchSpec(worker=PROBE, scratch=sys.argv[3], lease=5.0))
    print(*(handle.pid for handle in handles), flush=True)
    await anyio.sleep_forever()

anyio.run(main)
"""


@asynccontextmanager
async def asked(address, access):
    connection = Connection(parse_address(address), access)
    try:
        yield connection
    finally:
        await connection.close()


async def until(connection, holds):
    """Wait until what the agent says of itself is so."""
    with anyio.fail_after(_PATIENCE):
        while not holds(await connection.info()):
            await anyio.sleep(0.02)


async def told(handle):
    """What becomes of a stream that has no end."""
    with anyio.fail_after(_PATIENCE), pytest.raises(WorkerLostError) as error:
        async for _ in handle.stream("wait", {}):
            pass
    return error.value


def test_it_ends_when_it_is_told(agents, token_file, token):
    agent = agents.start("--token-file", token_file)
    agent.tell(signal.SIGTERM)
    assert agent.ended() == 0
    said = agent.said()
    assert "listening" in said
    assert "why=SIGTERM" in said
    assert token not in said


def test_a_second_agent_on_the_same_port_is_refused(agents, token_file):
    agent = agents.start("--token-file", token_file)
    command = [sys.executable, "-m", "penstock", "agent", "--listen", agent.address, "--token-file", token_file]
    second = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE)
    assert second.returncode == 1
    assert f"penstock: can't listen on {agent.address}; is another agent there" in second.stderr
    assert "Traceback" not in second.stderr


async def test_once(agents, token_file, launcher_of, spec):
    agent = agents.start("--token-file", token_file, "--once")
    launcher = launcher_of(agents=agent.address, token_file=token_file)
    (handle,) = await launcher.start(None, spec)
    assert await handle.call("echo", {"said": 1}) == {"said": 1}
    await launcher.stop()
    assert agent.ended() == 0


async def test_it_drains(agents, token_file, launcher_of, access_of, spec):
    agent = agents.start("--token-file", token_file)
    launcher = launcher_of(agents=agent.address, token_file=token_file)
    (handle,) = await launcher.start(None, spec)
    async with asked(agent.address, access_of(token_file=token_file)) as connection:
        assert await connection.health() == "SERVING"
        agent.tell()
        await until(connection, lambda info: info.draining)
        assert await connection.health() == "NOT_SERVING"
        with pytest.raises(RunError, match=f"{agent.address}: the agent is about to end"):
            await connection.session("here")
    assert await handle.call("echo", {"said": "still here"}) == {"said": "still here"}
    await launcher.stop()
    assert agent.ended() == 0


@pytest.mark.parametrize("grace", ["0.1s", "1h"])
async def test_it_cuts_a_session_off_after_the_grace_or_when_told_twice(
    agents, token_file, launcher_of, access_of, spec, grace
):
    agent = agents.start("--token-file", token_file, "--grace", grace)
    launcher = launcher_of(agents=agent.address, token_file=token_file)
    (handle,) = await launcher.start(None, spec)
    async with asked(agent.address, access_of(token_file=token_file)) as connection:
        agent.tell()
        if grace == "1h":
            await until(connection, lambda info: info.draining)
            agent.tell()
        lost = await told(handle)
    assert (lost.host, lost.cause) == ("127.0.0.1", "the agent was told to end")
    assert agent.ended() == 0
    assert ended(handle.pid, _PATIENCE)
    await launcher.stop()


async def test_a_controller_that_is_killed_leaves_the_agents_free(
    agents, token_file, launcher_of, access_of, spec, tmp_path
):
    started = agents.start_all(2, "--token-file", token_file)
    names = ",".join(agent.address for agent in started)
    command = [sys.executable, "-c", _CONTROLLER, names, token_file, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as controller:
        workers = [int(word) for word in controller.stdout.readline().split()]
        assert len(workers) == 2
        controller.kill()
    for agent in started:
        async with asked(agent.address, access_of(token_file=token_file)) as connection:
            await until(connection, lambda info: not info.running)
    assert all(ended(pid, _PATIENCE) for pid in workers)
    launcher = launcher_of(agents=names, token_file=token_file)
    handles = await launcher.start(None, spec)
    assert [await handle.call("echo", {"said": handle.rank}) for handle in handles] == [{"said": 0}, {"said": 1}]
    await launcher.stop()


async def test_an_agent_that_is_killed_is_named_and_the_others_go_on(agents, token_file, launcher_of, spec):
    started = agents.start_all(2, "--token-file", token_file)
    launcher = launcher_of(agents=",".join(agent.address for agent in started), token_file=token_file)
    handles = await launcher.start(None, spec)
    (victim,) = [handle for handle in handles if handle.host == started[0].address]
    (other,) = [handle for handle in handles if handle is not victim]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_require_lost, victim, "the connection to its agent broke")
        assert await victim.call("echo", {"said": 1}) == {"said": 1}
        started[0].tell(signal.SIGKILL)
    assert await other.call("echo", {"said": 2}) == {"said": 2}
    assert ended(victim.pid, _PATIENCE)
    await launcher.stop()


async def test_the_cause_of_a_workers_death_comes_from_its_host(agents, token_file, launcher_of, spec):
    agent = agents.start("--token-file", token_file)
    launcher = launcher_of(agents=agent.address, token_file=token_file)
    (handle,) = await launcher.start(None, spec)
    os.kill(handle.pid, signal.SIGKILL)
    assert "killed by SIGKILL" in (await told(handle)).cause
    await launcher.stop()


async def _require_lost(handle, cause):
    lost = await told(handle)
    assert (lost.rank, lost.host) == (handle.rank, handle.host)
    assert cause in lost.cause


@asynccontextmanager
async def cable(address):
    """A way to an agent that can be cut: then nothing passes, and nobody is told. Its address, and the cut."""
    cut = asyncio.Event()
    conversations = set()

    async def pump(reader, writer):
        with suppress(ConnectionError):
            while (data := await reader.read(65536)) and not cut.is_set():
                writer.write(data)
                await writer.drain()
        if not cut.is_set():
            writer.close()
        await asyncio.Event().wait()

    async def carry(reader, writer):
        conversations.add(asyncio.current_task())
        there, back = await asyncio.open_connection(*address.rsplit(":", 1))
        try:
            await asyncio.gather(pump(reader, back), pump(there, writer))
        except asyncio.CancelledError:
            pass
        finally:
            for end in (writer, back):
                end.transport.abort()

    server = await asyncio.start_server(carry, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", cut
    finally:
        for conversation in conversations:
            conversation.cancel()
        await asyncio.gather(*conversations, return_exceptions=True)
        server.close()
        await server.wait_closed()


async def test_a_host_that_is_cut_off_is_missed_at_both_ends(agents, token_file, launcher_of, access_of, spec):
    agent = agents.start("--token-file", token_file, "--keepalive", "1s")
    async with cable(agent.address) as (address, cut), asked(agent.address, access_of(token_file=token_file)) as ask:
        launcher = launcher_of(agents=address, token_file=token_file, keepalive="1s")
        (handle,) = await launcher.start(None, spec)
        assert await handle.call("echo", {"said": 1}) == {"said": 1}
        cut.set()
        assert (await told(handle)).cause == "no sign of life any more; its host is down or cut off"
        await until(ask, lambda info: not info.running)
        with anyio.fail_after(_PATIENCE):
            await launcher.stop()
    assert ended(handle.pid, _PATIENCE)


async def test_a_worker_that_is_cut_off_is_given_up_at_once(agents, token_file, launcher_of, spec):
    agent = agents.start("--token-file", token_file)
    async with cable(agent.address) as (address, cut):
        launcher = launcher_of(agents=address, token_file=token_file, keepalive="5s")
        (handle,) = await launcher.start(None, spec)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_require_lost, handle, "given up")
            assert await handle.call("echo", {"said": 1}) == {"said": 1}
            cut.set()
            handle.kill()
        with anyio.fail_after(_PATIENCE):
            await launcher.stop()


def test_the_log_tells_of_sessions(agents, token_file, token, tmp_path):
    agent = agents.start("--token-file", token_file)
    command = [sys.executable, "-c", _CONTROLLER, agent.address, token_file, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as controller:
        controller.stdout.readline()
        status = [sys.executable, "-m", "penstock", "agent", "status", agent.address, "--token-file", token_file]
        asked = subprocess.run(status, capture_output=True, text=True, timeout=_PATIENCE)
        controller.kill()
    assert asked.returncode == 1
    assert f"{agent.address}  SERVING  busy (" in asked.stdout
    agent.tell()
    agent.ended()
    said = agent.said()
    assert f"pid {controller.pid}' peer=ipv4:127.0.0.1:" in said
    assert said.index("session_begins") < said.index("session_ends")
    assert token not in said
