"""What the README shows: certificates as it makes them, agents that take them, and the options that there are."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from penstock_grpc.command import agent
from penstock_grpc.plugin import GrpcOptions

from penstock.options import describe
from penstock.workload.config import loads

_README = (Path(__file__).parent.parent / "README.md").read_text()
_PATIENCE = 60


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", _README, re.MULTILINE | re.DOTALL)


def run(script, where, **environ):
    environment = {**os.environ, **environ}
    command = ["bash", "-euc", script]
    return subprocess.run(
        command, cwd=where, env=environment, capture_output=True, text=True, timeout=_PATIENCE, check=False
    )


def status(where, *arguments):
    command = [sys.executable, "-m", "penstock", "agent", "status", *arguments]
    return subprocess.run(command, cwd=where, capture_output=True, text=True, timeout=_PATIENCE, check=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    (script,) = (block for block in blocks("sh") if block.startswith("openssl"))
    where = tmp_path_factory.mktemp("made")
    done = run(script, where, HOSTS="localhost bench2")
    assert done.returncode == 0, done.stderr
    return where


def test_an_agent_takes_the_certificates_and_the_token(made, agents):
    files = [str(made / name) for name in ("localhost.pem", "localhost.key", "ca.pem", "token")]
    names = ("--tls-cert", "--tls-key", "--tls-client-ca", "--token-file")
    options = [word for pair in zip(names, files, strict=True) for word in pair]
    address = agents.start(*options, listen="localhost:0").address
    way = ["--tls-ca", "ca.pem", "--token-file", "token"]
    mine = ["--tls-cert", "controller.pem", "--tls-key", "controller.key"]
    good = status(made, address, *way, *mine)
    assert (good.returncode, good.stderr) == (0, "")
    assert f"{address}  SERVING  free" in good.stdout
    without = status(made, address, *way)
    assert without.returncode == 1
    assert "it takes only controllers with a certificate" in without.stdout


def test_the_workload_can_be_read():
    (text,) = blocks("yaml")
    config = loads("target: /data\nworkload: [{op: get, path: a/*}]\n" + text, label="w.yaml", environ={})
    assert [each.address for each in config.distributed.agents] == ["bench1:7167", "bench2:7167"]
    assert config.launcher.name == "grpc"


def test_every_option_is_told_with_its_default():
    table = _README.partition("## Options of the launcher")[2].partition("## Recipes")[0]
    rows = [row.split("|") for row in table.splitlines() if row.startswith("| `")]
    told = {name: row[2].strip() for row in rows for name in re.findall(r"`(\w+)`", row[1])}
    assert set(told) == {field.name for field in describe(GrpcOptions)}
    for field in describe(GrpcOptions):
        default = field.default.removesuffix(".0")
        assert told[field.name] in (default, f"{default} s")
        for variable in field.env:
            assert f"`{variable}`" in table


def test_options_of_the_command_that_are_told_are_there():
    there = {flag for command in (agent, agent.commands["status"]) for option in command.params for flag in option.opts}
    text = _README.partition("## What an agent does")[2].partition("## Options of the launcher")[0]
    told = set(re.findall(r"--[a-z][a-z-]+", text)) | set(
        re.findall(r"--[a-z][a-z-]+", "".join(line for line in _README.splitlines(True) if "penstock agent" in line))
    )
    assert told - {"--launcher"} <= there


def test_the_unit_is_one_that_systemd_could_read():
    (unit,) = blocks("ini")
    (command,) = re.findall(r"^ExecStart=(.*(?:\\\n.*)*)", unit, re.MULTILINE)
    words = command.replace("\\\n", " ").split()
    assert words[:2] == ["/opt/penstock/bin/penstock", "agent"]
    flags = {flag for option in agent.params for flag in option.opts}
    assert {word for word in words if word.startswith("--")} <= flags
