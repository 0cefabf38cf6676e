"""The kit for launchers over four agents on this host, with TLS and a token."""

from __future__ import annotations

import pytest

from penstock.testing.launchers import LauncherContract


class TestGrpc(LauncherContract):
    name = "grpc"

    @pytest.fixture(scope="class")
    @classmethod
    def options(cls, lasting_agents, pki, token_file):
        # Tests start crews of their own beside the one that the class shares.
        way = ("--tls-cert", pki.cert, "--tls-key", pki.key, "--token-file", token_file, "--max-sessions", "4")
        started = lasting_agents.start_all(cls.workers, *way)
        return {
            "agents": ",".join(agent.address for agent in started),
            "tls_ca": pki.ca,
            "token_file": token_file,
            "keepalive": "1s",
        }
