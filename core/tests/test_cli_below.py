"""Commands of plugins below other commands: ``generate.dataset`` is ``penstock generate dataset``."""

import importlib
import os
import sys
from importlib.metadata import EntryPoint, entry_points

import click
import pytest
from click.testing import CliRunner

from penstock.cli import main
from penstock.hookspecs import hookimpl
from penstock.plugins import PluginHost, default_host


def run(*args):
    return CliRunner().invoke(main, args)


# Before the host is another one: what this imports keeps the host that it finds.
importlib.import_module("penstock.cli.generate")


@hookimpl
def penstock_commands():
    from penstock.commands import Command

    @click.command()
    @click.argument("words", nargs=-1)
    def tell(words):
        click.echo(f"told {' '.join(words)}")

    names = ("generate.things", "oplog.things", "own", "own.things")
    return [Command(name=name, summary=f"Does {name}.", load=lambda: tell) for name in names]


@pytest.fixture(autouse=True)
def plugged(monkeypatch):
    names = ("generate.things", "oplog.things", "own", "own.things")
    entries = [EntryPoint(name, __name__, "penstock.commands") for name in names]
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or sys.modules[penstock_commands.__module__])
    installed = [entry for group in ("penstock.stores", "penstock.payloads") for entry in entry_points(group=group)]
    torn = EntryPoint("generate.torn", "no_such_module", "penstock.commands")
    host = PluginHost(entries=[*installed, *entries, torn])
    # Modules that are imported now would keep another host for good; so the one that there is becomes this one.
    for name, value in vars(host).items():
        monkeypatch.setattr(default_host(), name, value)


@pytest.mark.parametrize("above", ["generate", "oplog", "own"])
def test_it_stands_below_a_command_a_group_and_a_plugins_command(above):
    assert run(above, "things", "a", "b").stdout == "told a b\n"
    assert f"Usage: penstock {above} things" in " ".join(run(above, "things", "--help").stdout.split())


def test_the_command_above_keeps_everything_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # The bare word was a path before, and any other still is.
    assert run("own", "a", "things").stdout == "told a things\n"
    assert "Missing argument 'URI'" in run("generate").stderr
    assert "COMMAND" in run("oplog").output
    assert run("generate", "./things", "-s", "10").exit_code == 0
    assert run("generate", "other", "-n", "2", "-s", "10").exit_code == 0
    assert os.listdir("things") == ["object_0_of_1.dat"]
    assert sorted(os.listdir("other")) == ["object_0_of_2.dat", "object_1_of_2.dat"]


def test_help_of_the_command_above_says_what_is_below_it():
    for above in ("generate", "oplog", "own"):
        assert f"{above} things: Does {above}.things." in run(above, "--help").stdout
    assert "generate torn: (broken)" in run("generate", "-h").stdout
    assert "things" not in run("ls", "--help").stdout


def test_the_list_of_commands_has_no_dots():
    text = run("--help").stdout
    assert "things" not in text
    assert "own " in text
    done = run("own.things")
    assert done.exit_code == 2
    assert "no command named own.things" in done.stderr


def test_a_broken_one_is_named_and_harms_nobody_else():
    done = run("generate", "torn", "mem://x/")
    assert done.exit_code == 1
    assert "no_such_module" in done.stderr
    assert run("generate", "things").exit_code == 0


def test_plugins_lists_it_as_it_is_typed():
    from penstock.cli import plugins

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plugins, "default_host", importlib.import_module("penstock.plugins").default_host)
        listed = run("plugins").stdout
        shown = run("plugins", "show", "generate things")
    assert "generate things" in listed
    assert "generate+things" not in listed
    assert (shown.exit_code, "Does generate.things." in shown.stdout) == (0, True), shown.output
