"""Commands that were started in many processes at once."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from penstock.cli import main
from penstock.launchers import LauncherType
from penstock.plugins import PluginHost

COMMANDS = [
    ["run", "absent.yaml"],
    ["find", "absent.yaml", "--slo", "p99<1ms"],
    ["autotune", "absent.yaml"],
    ["replay", "absent.tsv", "--in-place"],
]


@pytest.fixture
def served(monkeypatch):
    """A launcher that is called ``crowd``; in this process its ``serve`` returns what stands in the list."""
    answers: list[int | None] = []

    def kind(_host: PluginHost, name: str) -> LauncherType:
        assert name == "crowd"
        return LauncherType(
            name=name, summary="", options=dict, open=lambda _: pytest.fail("opened"), serve=lambda: answers.pop()
        )

    monkeypatch.setattr(PluginHost, "launcher_type", kind)
    return answers


def call(*arguments: str):
    return CliRunner().invoke(main, [*arguments, "--launcher", "crowd"])


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_process_that_serves_does_nothing_else(command, served, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    served.append(7)
    done = call(*command)
    assert (done.exit_code, done.output, served, list(tmp_path.iterdir())) == (7, "", [], [])


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_the_one_that_controls_goes_on(command, served, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    served.append(None)
    done = call(*command)
    assert (bool(done.exit_code), served) == (True, [])
    assert "absent" in done.output
