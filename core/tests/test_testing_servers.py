"""Servers that tests start: ready when they answer, gone afterwards, and a failure tells its story."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading

import pytest

from penstock.testing.servers import accepts, free_port, serving

LISTEN = """
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening", flush=True)
while True:
    server.accept()[0].close()
"""


def python(script, *arguments):
    return [sys.executable, "-c", script, *map(str, arguments)]


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_a_free_port_can_be_bound_and_comes_once():
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50
    for port in ports:
        with socket.create_server(("127.0.0.1", port)):
            pass


def test_a_port_that_is_taken_is_not_given_out(monkeypatch):
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        monkeypatch.setattr("penstock.testing.servers._PORTS", range(port, port + 1))
        monkeypatch.setattr("penstock.testing.servers._given", set())
        with pytest.raises(OSError, match="is free"):
            free_port()
    assert free_port() == port


def test_the_block_begins_when_the_server_answers_and_it_is_gone_afterwards():
    port = free_port()
    with serving(python(LISTEN, port), ready=lambda: accepts(port)) as process:
        assert accepts(port)
        assert process.poll() is None
    assert process.returncode == -15
    assert not accepts(port)


def test_an_oserror_is_not_yet_and_other_errors_are_raised():
    answers = iter([OSError("refused"), False, True, KeyError("mine")])

    def ready():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with serving(["sleep", "60"], ready=ready):
        pass
    with pytest.raises(KeyError), serving(["sleep", "60"], ready=ready):
        pytest.fail("the block ran")


def test_a_server_that_ends_at_once_says_why():
    command = python("import sys; print('said', flush=True); sys.exit('no such port')")
    story = r"(?s)ended with code 1 before .*said\nno such port"
    with pytest.raises(RuntimeError, match=story), serving(command, ready=lambda: False):
        pytest.fail("the block ran")


def test_a_server_that_is_late_is_stopped_and_its_last_words_kept(tmp_path):
    written = tmp_path / "pid"
    script = (
        "import os, sys, time\n"
        "print('x' * 100_000, 'the end', flush=True)\n"
        "open(sys.argv[1], 'w').write(str(os.getpid()))\n"
        "time.sleep(60)\n"
    )

    def ready():
        while not written.exists() or not written.read_text():
            pause.wait(0.01)
        return False

    pause = threading.Event()
    story = r"(?s)not ready after 0\.5 s.*the end"
    with pytest.raises(RuntimeError, match=story) as caught, serving(python(script, written), ready, timeout=0.5):
        pytest.fail("the block ran")
    assert len(str(caught.value)) < 10_000
    assert not is_running(int(written.read_text()))


@pytest.mark.parametrize("stubborn", [False, True], ids=["willing", "stubborn"])
def test_children_go_with_the_server(tmp_path, stubborn, monkeypatch):
    monkeypatch.setattr("penstock.testing.servers._TERM_S", 0.2)
    written = tmp_path / "pids"
    script = (
        "import os, signal, subprocess, sys, time\n"
        f"if {stubborn}: signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        "with open(sys.argv[1] + '~', 'w') as file: print(os.getpid(), child.pid, file=file)\n"
        "os.rename(sys.argv[1] + '~', sys.argv[1])\n"
        "time.sleep(60)\n"
    )
    with serving(python(script, written), ready=written.exists) as process:
        pids = [int(pid) for pid in written.read_text().split()]
        assert all(is_running(pid) for pid in pids)
    assert process.returncode == (-9 if stubborn else -15)
    assert not is_running(pids[0])
    wait_for_end(pids[1])


def wait_for_end(pid):
    """An orphan was killed; it is gone when its adoptive parent notices, which a descriptor tells."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], 30.0)[0]
    finally:
        os.close(descriptor)


def test_a_failure_of_the_block_stops_the_server_and_is_raised():
    with pytest.raises(KeyError), serving(["sleep", "60"], ready=lambda: True) as process:
        raise KeyError("mine")
    assert process.returncode == -15


def test_the_environment_is_added_to_and_the_directory_is_set(tmp_path):
    seen = tmp_path / "seen"
    script = (
        "import os, time\n"
        "open('writing', 'w').write(os.environ['ACME'] + str('PATH' in os.environ))\n"
        "os.rename('writing', 'seen')\n"
        "time.sleep(60)\n"
    )
    with serving(python(script), ready=seen.exists, cwd=tmp_path, env={"ACME": "1"}):
        assert seen.read_text() == "1True"


def test_a_command_that_is_not_there_is_reported():
    with pytest.raises(FileNotFoundError), serving(["penstock-no-such-server"], ready=lambda: True):
        pytest.fail("the block ran")


def test_no_descriptor_is_left():
    before = len(os.listdir("/proc/self/fd"))
    with serving(["sleep", "60"], ready=lambda: True):
        pass
    with pytest.raises(subprocess.SubprocessError), serving(["sleep", "60"], ready=lambda: True):
        raise subprocess.SubprocessError
    assert len(os.listdir("/proc/self/fd")) == before
