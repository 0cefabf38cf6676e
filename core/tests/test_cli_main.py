"""The command group: what it imports, how it fails, what it finds."""

import os
import re
import signal
import subprocess
import sys
from importlib.metadata import EntryPoint

import click
import pytest
from click.testing import CliRunner

from penstock.cli import COMMANDS, main
from penstock.cli.envfile import parse
from penstock.errors import StoreError, UsageError
from penstock.hookspecs import hookimpl
from penstock.plugins import PluginHost, default_host

HEAVY = [
    "numpy",
    "zstandard",
    "rich",
    "yaml",
    "cattrs",
    "anyio",
    "structlog",
    "boto3",
    "json",
    "penstock.client",
    "penstock.memory",
]


def run(*args, **options):
    return CliRunner().invoke(main, args, **options)


def shell(*args, **options):
    return subprocess.run([sys.executable, "-m", "penstock", *args], capture_output=True, text=True, **options)


def test_help_names_every_command_and_imports_nothing_heavy():
    code = (
        "import sys\nfrom penstock.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit as exit: assert not exit.code\n"
        f"print('HEAVY', [name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("HEAVY []\n")
    for name, entry in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(entry.summary[:30])}", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_has_two_spellings_everywhere(option):
    assert run(option).exit_code == 0
    done = run("ls", option)
    assert done.exit_code == 0
    assert "--json" in done.stdout


@pytest.mark.parametrize(
    "name",
    [
        "ls",
        "stat",
        "count",
        "du",
        "cat",
        "get",
        "put",
        "cp",
        "mv",
        "upload",
        "download",
        "set-metadata",
        "rm",
        "mkdir",
        "rmdir",
        "rb",
        "health",
    ],
)
def test_every_storage_command_has_the_common_options(name):
    text = run(name, "--help").stdout
    for option in ("--op-log", "--env-file", "--option", "--verbose"):
        assert option in text


def test_version():
    assert re.fullmatch(r"penstock \d+\.\d+\.\d+\S*\n", run("--version").stdout)


def test_an_unknown_command_names_the_nearest():
    done = run("dowload")
    assert done.exit_code == 2
    assert done.stderr == "penstock: no command named dowload; did you mean download?\n"


@pytest.mark.parametrize(
    ("args", "code", "text"),
    [
        (["ls", "S3://b/"], 2, "lower case"),
        (["cat", "mem://nobody/nothing"], 1, "no such object"),
        (["ls", "mem://a/", "-O", "nme=1"], 2, "did you mean name?"),
        (["ls", "mem://a/", "-O", "name"], 2, "NAME=VALUE"),
        (["ls", "--nonsense"], 2, "--nonsense"),
        (["plugins", "show", "fil"], 2, "did you mean file?"),
        (["plugins", "show", "azure"], 2, "no plugin named azure; did you mean az or https? (penstock-azure)"),
        (
            ["plugins", "show", "penstock-gcs"],
            2,
            "no plugin named penstock-gcs; did you mean gcs or gs? (penstock-gcs)",
        ),
    ],
)
def test_errors_are_one_line_and_an_exit_code(args, code, text):
    done = run(*args)
    assert done.exit_code == code
    assert text in done.stderr
    assert "Traceback" not in done.output


def test_a_backend_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr("penstock.opening.default_host", lambda: PluginHost(entries=[]))
    done = run("ls", "s3://b/")
    assert done.exit_code == 2
    assert "pip install penstock-s3" in done.stderr
    assert "s3+https://" in run("ls", "https://example.com/b/").stderr


@pytest.mark.parametrize(
    ("name", "package"),
    [("s3", "s3"), ("s3+https", "s3"), ("az", "azure"), ("azure", "azure"), ("penstock-gcs", "gcs"), ("gs", "gcs")],
)
def test_of_a_plugin_that_is_not_installed_the_package_is_named(monkeypatch, name, package):
    monkeypatch.setattr("penstock.cli.plugins.default_host", lambda: PluginHost(entries=[]))
    done = run("plugins", "show", name)
    assert done.exit_code == 2
    assert done.stderr == f"penstock: no plugin named {name}; run: pip install penstock-{package}\n"


def test_a_traceback_is_there_for_who_asks():
    done = shell("-vv", "cat", "mem://nobody/nothing")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("penstock: ")


@pytest.mark.parametrize(("options", "heard"), [([], False), (["-v"], True)])
def test_libraries_are_heard_only_on_demand(options, heard):
    code = (
        "import logging, sys\nfrom penstock.cli import main\nfrom penstock.memory import MemoryStore\n"
        "def stat(self, key):\n    logging.getLogger('sdk').warning('noise of the SDK')\n    raise KeyboardInterrupt\n"
        f"MemoryStore.stat = stat\nmain([*{options}, 'stat', 'mem://x/a'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 130
    assert ("noise of the SDK" in done.stderr) == heard


@pytest.fixture
def command(monkeypatch):
    """Makes ``penstock probe`` do what the test gives it."""

    def add(function):
        monkeypatch.setattr("penstock.cli.lazy._import", lambda name, target: click.command(name)(function))

    return add


@pytest.mark.parametrize(
    ("error", "code"),
    [(UsageError("x"), 2), (StoreError("x"), 1), (KeyboardInterrupt(), 130), (click.UsageError("x"), 2)],
)
def test_exit_codes_of_errors(command, error, code):
    def fail():
        raise error

    command(fail)
    assert run("ls").exit_code == code


def test_a_command_may_return_its_exit_code(command):
    command(lambda: 3)
    assert run("ls").exit_code == 3
    command(lambda: None)
    assert run("ls").exit_code == 0


def test_a_bug_is_not_dressed_up(command):
    def fail():
        raise ZeroDivisionError

    command(fail)
    assert isinstance(run("ls").exception, ZeroDivisionError)


def test_a_reader_that_leaves_is_no_failure(tmp_path):
    (tmp_path / "big").write_bytes(bytes(8 << 20))
    line = f"{sys.executable} -m penstock cat big | head -c 5 | wc -c; echo ${{PIPESTATUS[@]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.split() == ["5", "0", "0", "0"]
    assert done.stderr == ""


def test_ctrl_c_leaves_no_part_and_says_so(tmp_path):
    fifo = tmp_path / "in"
    os.mkfifo(fifo)
    child = subprocess.Popen(
        [sys.executable, "-m", "penstock", "put", "-", "out"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    )
    # More than a pipe holds, so that the command is known to be at work when this returns.
    child.stdin.write(bytes(4 << 20))
    child.stdin.flush()
    child.send_signal(signal.SIGINT)
    assert child.wait(30) == 130
    assert b"interrupted" in child.stderr.read()
    child.stderr.close()
    child.stdin.close()
    assert sorted(os.listdir(tmp_path)) == ["in"]


@hookimpl
def penstock_commands():
    from penstock.commands import Command

    def load():
        return click.command("extra")(lambda: click.echo("extra was here"))

    return (Command(name="extra", summary="From a plugin.", load=load),)


@pytest.fixture
def plugged(monkeypatch):
    entries = [
        EntryPoint("extra", __name__, "penstock.commands"),
        EntryPoint("broken", "no_such_module_anywhere", "penstock.commands"),
    ]
    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or sys.modules[penstock_commands.__module__])
    host = PluginHost(entries=entries)
    # Modules that are imported now would keep another host for good; so the one that there is becomes this one.
    for name, value in vars(host).items():
        monkeypatch.setattr(default_host(), name, value)


def test_commands_from_plugins_are_found_and_broken_ones_named(plugged):
    text = run("--help").stdout
    assert re.search(r"extra +From a plugin\.", text)
    assert re.search(r"broken +\(broken\)", text)
    assert "no_such_module_anywhere" in text
    assert run("extra").stdout == "extra was here\n"
    assert run("broken").exit_code == 1
    assert "no_such_module_anywhere" in run("broken").stderr
    assert run("extr").stderr == "penstock: no command named extr; did you mean extra?\n"
    assert run("completion", "bash").exit_code == 0


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_completion_scripts(name):
    done = run("completion", name)
    assert done.exit_code == 0
    assert "_PENSTOCK_COMPLETE" in done.stdout


def test_completion_completes():
    env = os.environ | {"_PENSTOCK_COMPLETE": "bash_complete", "COMP_WORDS": "penstock do", "COMP_CWORD": "1"}
    assert shell(env=env).stdout.split() == ["plain,download"]


def test_env_file_is_for_one_command_and_only_when_named(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("PENSTOCK_TEST_VALUE=silent\n")
    (tmp_path / "my.env").write_text("PENSTOCK_TEST_VALUE='a b'\nPENSTOCK_TEST_OTHER=1\n")
    monkeypatch.setenv("PENSTOCK_TEST_OTHER", "before")
    command(lambda: click.echo(f"{os.environ.get('PENSTOCK_TEST_VALUE')} {os.environ['PENSTOCK_TEST_OTHER']}"))
    assert run("ls").stdout == "None before\n"
    assert run("--env-file", "my.env", "ls").stdout == "a b 1\n"
    assert run("ls").stdout == "None before\n"
    assert run("--env-file", "none.env", "ls").exit_code == 2


@pytest.mark.parametrize(("before", "within"), [(None, "1"), ("4", "4")])
def test_libraries_start_no_threads_that_a_command_has_no_use_for(monkeypatch, command, before, within):
    if before is None:
        monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", before)
    command(lambda: click.echo(os.environ.get("OPENBLAS_NUM_THREADS")))
    assert run("ls").stdout == f"{within}\n"
    assert os.environ.get("OPENBLAS_NUM_THREADS") == before


def test_the_syntax_of_env_files():
    text = """
    # comment
    A=1
    export B = two words   # note
    C='it is # not $A \\n'
    D="a \\"b\\" \\n c" # note
    E=
    F=a#b
    G==x=
    A=2
    """
    assert parse(text) == {
        "A": "2",
        "B": "two words",
        "C": "it is # not $A \\n",
        "D": 'a "b" \n c',
        "E": "",
        "F": "a#b",
        "G": "=x=",
    }


@pytest.mark.parametrize("line", ["SECRET", "1A=x", 'A="open', "A='x' y"])
def test_a_bad_line_is_named_by_number_and_never_shown(line):
    with pytest.raises(UsageError, match=r"my\.env:2") as caught:
        parse(f"OK=1\n{line}\n", "my.env")
    assert "SECRET" not in str(caught.value)
