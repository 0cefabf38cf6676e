"""A worker whose log can't be written, as on a host whose disk is full."""

from __future__ import annotations

import subprocess
import sys

import pytest

from penstock.launchers import PROBE
from penstock.launching import messages


@pytest.mark.parametrize(("method", "items"), [("fail", 0), ("fail_later", 1)])
def test_an_error_is_told_when_it_can_not_be_logged(method, items):
    with open("/dev/full", "w") as full:
        worker = subprocess.Popen(
            [sys.executable, "-m", PROBE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=full
        )
    with worker:
        receive(worker)
        body = {"type": "RunError", "message": "no room"}
        request = messages.encode({"id": 1, "method": method, "body": body})
        worker.stdin.write(messages.header_of(request) + request)
        worker.stdin.flush()
        answers = [receive(worker) for _ in range(items + 1)]
        worker.stdin.close()
    assert answers[-1] == {"id": 1, "error": {"type": "RunError", "message": "no room"}}


def receive(worker):
    length = messages.body_length(worker.stdout.read(messages.HEADER_BYTES))
    return messages.decode(worker.stdout.read(length))
