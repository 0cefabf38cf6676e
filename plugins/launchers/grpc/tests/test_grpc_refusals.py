"""What a controller is told when an agent can't be used: the host, what is wrong, and what to do."""

from __future__ import annotations

import socket
import socketserver
import threading
from contextlib import asynccontextmanager, contextmanager, suppress

import anyio
import attrs
import grpc.aio
import pytest
import structlog
from penstock_grpc._proto import agent_v1_pb2 as pb
from penstock_grpc.addresses import parse_address
from penstock_grpc.agent import Agent
from penstock_grpc.connecting import Connection
from penstock_grpc.plugin import GrpcOptions
from penstock_grpc.service import SESSION
from penstock_grpc.settings import AgentOptions, Settings

from penstock.errors import RunError, UsageError
from penstock.options import resolve

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def serving(**options):
    """An agent in this process; its address."""
    agent = Agent(Settings.from_options(AgentOptions(listen="127.0.0.1:0", **options), {}))
    ports = []
    listening = anyio.Event()

    def ready(port):
        ports.append(port)
        listening.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(agent.serve, ready)
        await listening.wait()
        try:
            yield f"127.0.0.1:{ports[0]}"
        finally:
            agent.tell("the test is over")
            agent.tell("the test is over")


@contextmanager
def listener(answer=None):
    """A port where something else listens; it says ``answer`` to whoever comes, None: nothing at all."""

    class Conversation(socketserver.BaseRequestHandler):
        def handle(self):
            if answer is not None:
                self.request.sendall(answer)
                self.request.shutdown(socket.SHUT_WR)
            with suppress(ConnectionError):
                while self.request.recv(4096):
                    pass

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Conversation) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture
def refusal_of(launcher_of, spec):
    """What is said when the launcher starts on agents that can't be used."""

    async def refused(agents, **options):
        launcher = launcher_of(agents=agents, **options)
        with pytest.raises(RunError) as error:
            await launcher.start(None, spec)
        await launcher.stop()
        return str(error.value)

    return refused


async def test_nobody_listens(refusal_of):
    port = free_port()
    said = await refusal_of(f"127.0.0.1:{port}")
    assert said == (f"agent 127.0.0.1:{port}: nobody listens there; start it: penstock agent --listen 127.0.0.1:{port}")


async def test_an_unknown_host(refusal_of, pki):
    for options in ({}, {"tls_ca": pki.ca}):
        said = await refusal_of("no.such.host.invalid", **options)
        assert said.startswith("agent no.such.host.invalid:7167: there is no host named no.such.host.invalid; correct")


async def test_silence(refusal_of):
    with listener() as address:
        said = await refusal_of(address, connect_timeout="0.3s")
    assert address in said
    assert "no agent" in said or "no answer within 0.3 s" in said


async def test_no_agent(refusal_of, pki):
    with listener(b"HTTP/1.1 400 Bad Request\r\n\r\n") as address:
        for options in ({}, {"tls_ca": pki.ca}):
            said = await refusal_of(address, connect_timeout="0.5s", **options)
            assert said == (
                f"agent {address}: something listens on port {address.rpartition(':')[2]}, but it is no agent; "
                "correct the port"
            )


async def test_another_service(refusal_of):
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    said = await refusal_of(f"127.0.0.1:{port}")
    await server.stop(0)
    assert said.startswith(f"agent 127.0.0.1:{port}: what answers there does not know penstock.agent.v1.Agent; install")


async def test_no_token_and_a_wrong_one(refusal_of, token_file, token, tmp_path):
    wrong = tmp_path / "wrong"
    wrong.touch(mode=0o600)
    wrong.write_text(token[::-1])
    async with serving(token_file=token_file) as address:
        assert await refusal_of(address) == (
            f"agent {address}: it wants a token; give the one that it was started with by PENSTOCK_AGENT_TOKEN or "
            "token_file"
        )
        said = await refusal_of(address, token_file=str(wrong))
        assert said == (
            f"agent {address}: it was started with another token than yours (PENSTOCK_AGENT_TOKEN or token_file); give "
            "both the same"
        )


async def test_nothing_is_served_without_the_token(token_file, access_of):
    async with serving(token_file=token_file) as address:
        connection = Connection(parse_address(address), access_of())
        for call in (connection.info, connection.health, lambda: connection.session("here")):
            with pytest.raises(RunError, match="wants a token"):
                await call()
        await connection.close()


@pytest.mark.parametrize(
    ("shown", "options", "said"),
    [
        ("expired", {}, "its certificate has expired; renew it there"),
        ("other_name", {}, "its certificate is not for 127.0.0.1; have one made with that name"),
        ("stranger", {}, "its certificate is not signed by tls_ca"),
        ("", {"server_name": "bench7.example"}, "its certificate is not for bench7.example"),
    ],
)
async def test_certificates_that_are_not_the_agents(refusal_of, pki, token_file, shown, options, said):
    name = f"{shown}_" if shown else ""
    files = {"tls_cert": getattr(pki, f"{name}cert"), "tls_key": getattr(pki, f"{name}key")}
    async with serving(token_file=token_file, **files) as address:
        told = await refusal_of(address, tls_ca=pki.ca, token_file=token_file, **options)
    assert told.startswith(f"agent {address}: {said}")


async def test_an_agent_tells_of_its_own_expired_certificate(pki, token_file):
    with structlog.testing.capture_logs() as logs:
        async with serving(token_file=token_file, tls_cert=pki.expired_cert, tls_key=pki.expired_key):
            pass
        async with serving(token_file=token_file, tls_cert=pki.cert, tls_key=pki.key):
            pass
    assert [line["file"] for line in logs if line["event"] == "certificate_expired"] == [pki.expired_cert]


async def test_another_name_that_is_expected(pki, token_file, access_of):
    async with serving(token_file=token_file, tls_cert=pki.other_name_cert, tls_key=pki.other_name_key) as address:
        way = access_of(tls_ca=pki.ca, token_file=token_file, server_name="bench7.example")
        connection = Connection(parse_address(address), way)
        assert (await connection.info()).max_sessions == 1
        await connection.close()


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        ("", "it takes only controllers with a certificate; give yours by tls_cert and tls_key"),
        ("stranger_", "it does not take your certificate (tls_cert "),
        ("expired_", "your certificate (tls_cert "),
    ],
)
async def test_certificates_that_are_no_controllers(refusal_of, pki, shown, said):
    mine = {"tls_cert": getattr(pki, f"{shown}cert"), "tls_key": getattr(pki, f"{shown}key")} if shown else {}
    async with serving(tls_cert=pki.cert, tls_key=pki.key, tls_client_ca=pki.ca) as address:
        told = await refusal_of(address, tls_ca=pki.ca, **mine)
    assert told.startswith(f"agent {address}: {said}")


async def test_mutual_tls_needs_no_token(pki, access_of):
    async with serving(tls_cert=pki.cert, tls_key=pki.key, tls_client_ca=pki.ca) as address:
        way = access_of(tls_ca=pki.ca, tls_cert=pki.client_cert, tls_key=pki.client_key)
        connection = Connection(parse_address(address), way)
        assert await connection.health() == "SERVING"
        await connection.close()


async def test_tls_at_one_end_only(refusal_of, pki, token_file):
    async with serving(token_file=token_file, tls_cert=pki.cert, tls_key=pki.key) as address:
        said = await refusal_of(address, token_file=token_file)
        assert said.startswith(f"agent {address}: it speaks TLS, and you don't; give")
    async with serving(token_file=token_file) as address:
        said = await refusal_of(address, token_file=token_file, tls_ca=pki.ca)
        assert said.startswith(f"agent {address}: it speaks without TLS, and you with it; start it with --tls-cert")


async def test_without_tls_nothing_leaves_the_host(refusal_of, token_file):
    said = await refusal_of("192.0.2.1:7167", token_file=token_file)
    assert said.startswith("agent 192.0.2.1:7167: without TLS everybody on the way could read")


async def test_other_messages(refusal_of, monkeypatch):
    async with serving(insecure_loopback=True) as address:
        monkeypatch.setattr("penstock_grpc.agent.PROTOCOL", 99)
        said = await refusal_of(address)
        assert said.startswith(f"agent {address} has penstock 0.1.0 (messages 99), here it is 0.1.0 (messages 3); ")
        assert "pip install penstock==" in said


async def test_an_agent_checks_the_messages_itself(access_of, monkeypatch):
    async with serving(insecure_loopback=True) as address:
        monkeypatch.setattr("penstock_grpc.connecting.PROTOCOL", 99)
        connection = Connection(parse_address(address), access_of())
        with pytest.raises(RunError, match=f"{address}: the agent has penstock .* the controller messages 99"):
            await connection.session("here")
        await connection.close()


async def test_another_python_is_told(launcher_of, spec, monkeypatch):
    monkeypatch.setattr("penstock_grpc.agent.platform.python_version", lambda: "3.10.1")
    monkeypatch.setattr("penstock_grpc.launcher.platform.python_version", lambda: "3.11.7")
    async with serving(insecure_loopback=True) as address:
        monkeypatch.setattr("penstock_grpc.agent.platform", type("Other", (), {"python_version": lambda: "3.9.2"}))
        launcher = launcher_of(agents=address)
        with structlog.testing.capture_logs() as logs:
            await launcher.start(None, spec)
            await launcher.stop()
    (warning,) = [line for line in logs if line["event"] == "other_python"]
    assert (warning["agent"], warning["there"], warning["here"]) == (address, "3.9.2", "3.11.7")
    assert warning["log_level"] == "warning"


async def test_a_session_begins_with_an_opening_and_soon(access_of, monkeypatch):
    monkeypatch.setattr("penstock_grpc.agent._OPENING_SECONDS", 0.1)
    async with serving(insecure_loopback=True) as address, grpc.aio.insecure_channel(address) as channel:
        method = channel.stream_stream(
            SESSION,
            request_serializer=pb.FromController.SerializeToString,
            response_deserializer=pb.FromAgent.FromString,
        )
        for first in (None, pb.FromController(piece=pb.Piece(data=b"x", last=True))):
            call = method()
            if first is not None:
                await call.write(first)
            with pytest.raises(grpc.aio.AioRpcError, match="a session begins with an opening"):
                await call.read()
        connection = Connection(parse_address(address), access_of())
        assert list((await connection.info()).running) == []
        await connection.close()


async def test_what_a_controller_calls_itself_breaks_no_line_of_the_log(access_of, monkeypatch):
    monkeypatch.setattr(
        "penstock_grpc.connecting.controller_name", lambda: "x\n2026 [info] all is well\x1b[2J" + "y" * 500
    )
    async with serving(insecure_loopback=True) as address:
        connection = Connection(parse_address(address), access_of())
        link = await connection.session("here")
        (running,) = (await connection.info()).running
        await link.close()
        await connection.close()
    assert running.controller.startswith("x?2026 [info] all is well?[2Jyyy")
    assert len(running.controller) == 200


async def test_two_names_of_one_agent(refusal_of):
    async with serving(insecure_loopback=True) as address:
        other = address.replace("127.0.0.1", "localhost")
        assert await refusal_of(f"{address},{other}") == (f"agent {other} and {address} are one agent; name each once")


async def test_a_busy_agent_says_who_runs(refusal_of, launcher_of, spec):
    async with serving(insecure_loopback=True, max_sessions=1) as address:
        launcher = launcher_of(agents=address)
        await launcher.start(None, spec)
        said = await refusal_of(address)
        assert said.startswith(f"agent {address}: it is busy: ")
        assert f"@{socket.gethostname()} pid " in said
        await launcher.stop()
        await launcher.start(None, spec)
        await launcher.stop()


async def test_all_that_is_wrong_is_said_at_once(refusal_of):
    ports = free_port(), free_port()
    async with serving(insecure_loopback=True) as address:
        said = await refusal_of(f"127.0.0.1:{ports[0]},{address},127.0.0.1:{ports[1]}")
    first, *lines = said.splitlines()
    assert first == "2 of 3 agents can't be used:"
    assert [line.split(": ")[0] for line in lines] == [f"  127.0.0.1:{port}" for port in ports]


async def test_one_that_is_busy_leaves_the_others_free(refusal_of, launcher_of, spec):
    async with serving(insecure_loopback=True) as one, serving(insecure_loopback=True) as other:
        busy = launcher_of(agents=other)
        await busy.start(None, spec)
        assert "it is busy" in await refusal_of(f"{one},{other}")
        await busy.stop()
        both = launcher_of(agents=f"{one},{other}")
        handles = await both.start(None, spec)
        assert [handle.rank for handle in handles] == [0, 1]
        await both.stop()


async def test_more_workers_than_agents(launcher_of, spec):
    with pytest.raises(RunError, match="3 workers, and 2 agents are named"):
        await launcher_of(agents="a,b").start(3, spec)


async def test_the_token_is_not_forwarded(launcher_of, spec):
    with pytest.raises(UsageError, match="PENSTOCK_AGENT_TOKEN opens the agents"):
        await launcher_of(agents="a").start(None, attrs.evolve(spec, environment={"PENSTOCK_AGENT_TOKEN": "x"}))


def test_a_token_on_the_command_line_is_refused(options_of):
    with pytest.raises(UsageError, match="unknown option token; did you mean token_file") as error:
        options_of(agents="a", token="MARKER")
    assert "MARKER" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"agents": " , "}, "no agents are named"),
        ({"tls_cert": "c", "tls_key": "k"}, "tls_ca is missing"),
        ({"server_name": "x"}, "tls_ca is missing"),
        ({"connect_timeout": "0"}, "connect_timeout: write a time above 0"),
        ({"keepalive": "1m"}, "keepalive: 60 s; it is 1 to 5 s"),
        ({"tls_ca": "/no/such"}, "tls_ca /no/such: No such file"),
    ],
)
def test_options_that_make_no_sense(launcher_of, options, said):
    with pytest.raises(UsageError, match=said):
        launcher_of(**{"agents": "a", **options})


def test_agents_are_needed(launcher_of):
    with pytest.raises(UsageError, match="no agents are named"):
        launcher_of()


def test_agents_come_from_the_environment():
    found = resolve(GrpcOptions, environ={"PENSTOCK_AGENTS": "a,b"}, scheme="grpc").options
    assert found.agents == "a,b"


@pytest.mark.parametrize(("way", "channel"), [({}, "open"), ({"tls_ca": "ca"}, "protected")])
def test_what_the_channel_is(launcher_of, pki, way, channel):
    launcher = launcher_of(agents="a", **{name: getattr(pki, value) for name, value in way.items()})
    assert (launcher.channel, launcher.hosts) == (channel, True)
