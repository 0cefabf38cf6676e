"""A process that forks while it has connections: two who talk on one get each other's answers."""

from __future__ import annotations

import subprocess
import sys

import pytest

FORKED = """
import os, sys
from penstock.http import HTTPClient, Origin, Settings

tls, port, bundle = sys.argv[1:]
client = HTTPClient(Origin(tls == "tls", "127.0.0.1", int(port)), Settings(proxy="", ca_bundle=bundle))

def ask(path):
    answer = client.send(f"GET /{path} HTTP/1.1\\r\\nHost: h\\r\\n\\r\\n".encode())
    assert answer.read() == f"/{path}".encode()

ask("parent")
for name in "abc":
    if not os.fork():
        code = 1
        try:
            for turn in range(50):
                ask(f"{name}{turn}")
            code = 0
        finally:
            os._exit(code)
for turn in range(50):
    ask(f"parent{turn}")
codes = [os.wait()[1] for _ in range(3)]
ask("end")
sys.exit(any(codes))
"""


@pytest.mark.parametrize("tls", ["plain", "tls"])
def test_a_forked_process_does_not_use_its_parents_connections(tls, hostile, context_for, bundle):
    def answer(peer, head):
        path = head.split()[1]
        users.setdefault(peer.number, set()).add(path[1:2])
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(path) + path)

    users = {}
    server = hostile(answer, context=context_for("127.0.0.1") if tls == "tls" else None)
    command = [sys.executable, "-c", FORKED, tls, str(server.port), bundle]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    # The parent asks for /parent… and /end, its children for /a…, /b… and /c….
    assert sorted(users.values(), key=sorted) == [{b"a"}, {b"b"}, {b"c"}, {b"e", b"p"}]
