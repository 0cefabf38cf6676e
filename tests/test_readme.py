"""What the documents say is true: tables, commands, options, variables, links.

Run as a script it writes the README's tables anew.
"""

from __future__ import annotations

import itertools
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import click
import pytest
import yaml

from penstock.cli import COMMANDS, main
from penstock.commands import Command
from penstock.formats import FormatType
from penstock.launchers import LauncherType
from penstock.options import describe
from penstock.plugins import PluginHost, default_host
from penstock.store import Capabilities, StoreType
from penstock.urls import parse_store
from penstock.workload.config import loads

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = {str(path.relative_to(ROOT)): path for path in sorted([*ROOT.glob("*.md"), *ROOT.glob("core/*.md")])}
PAGES |= {str(path.relative_to(ROOT)): path for path in sorted(ROOT.glob("plugins/**/README.md"))}
TABLE = re.compile(r"(<!-- table: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
#: Variables set for one command, before its name.
SETTINGS = r"(?:[A-Z][A-Z0-9_]*=(?:\"[^\"]*\"|\S)*\s+)*"
VARIABLE = re.compile(r"\b(?:PENSTOCK|AWS|AZURE|GCS|GOOGLE|STORAGE_EMULATOR)_[A-Z0-9_]+\b")
#: Variables that the services' SDKs read by themselves, and no code here names.
OF_SDKS = {"AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"}

every_page = pytest.mark.parametrize("page", PAGES)


def kinds() -> list[StoreType]:
    return [record.kind for record in PluginHost(disabled=()).records() if isinstance(record.kind, StoreType)]


def table_backends() -> str:
    rows: dict[str, tuple[str, ...]] = {}
    for record in PluginHost(disabled=()).records():
        if isinstance(record.kind, StoreType):
            kind = record.kind
            schemes = ", ".join(f"`{scheme}://`" for scheme in kind.schemes)
            rows[schemes] = (schemes, record.distribution, kind.summary, f"`{kind.form}`", _claims(kind.capabilities))
    return _table(("scheme", "package", "what it is", "form", "can do"), [rows[name] for name in sorted(rows)])


def _claims(capabilities: Capabilities) -> str:
    switches = [field.name for field in attrs.fields(Capabilities) if field.type in (bool, "bool")]
    return ", ".join(name.replace("_", "-") for name in switches if getattr(capabilities, name))


def table_formats() -> str:
    rows = []
    for record in PluginHost(disabled=()).records():
        if isinstance(record.kind, FormatType):
            kind = record.kind
            endings = ", ".join(f"`{ending}`" for ending in kind.extensions)
            indexes = ", ".join(f"`{form}`" for form in kind.index_forms)
            parts = "one by one" if kind.splittable else "together"
            rows.append((f"`{kind.name}`", record.distribution, kind.summary, endings, parts, indexes))
    return _table(("format", "package", "what it is", "endings", "samples are read", "indexes"), sorted(rows))


def table_launchers() -> str:
    rows = []
    for record in PluginHost(disabled=()).records():
        if isinstance(record.kind, LauncherType):
            kind = record.kind
            options = ", ".join(f"`{option.name}`" for option in describe(kind.options))
            rows.append((f"`{kind.name}`", record.distribution, kind.summary, options))
    return _table(("launcher", "package", "where workers start", "options"), sorted(rows))


def table_commands() -> str:
    rows = [(f"`penstock {name}`", "penstock", entry.summary) for name, entry in COMMANDS.items()]
    for record in PluginHost(disabled=()).records():
        if isinstance(record.kind, Command):
            name = record.kind.name.replace(".", " ")
            rows.append((f"`penstock {name}`", record.distribution, record.kind.summary))
    return _table(("command", "package", "what it does"), rows)


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def with_tables(text: str) -> str:
    return TABLE.sub(lambda found: found[1] + globals()[f"table_{found[2]}"]() + found[4], text)


def test_the_tables_are_those_of_the_code():
    text = README.read_text()
    assert {found[2] for found in TABLE.finditer(text)} == {"backends", "commands", "formats", "launchers"}
    assert text == with_tables(text), "run: nox -s readme"


def blocks(text: str, *languages: str) -> Iterator[str]:
    for language, body in re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        if language in languages:
            yield body


def command_lines(text: str) -> Iterator[list[str]]:
    """Every ``penstock …`` of a page, in blocks and between backticks, as words after the name."""
    lines = [
        line for block in blocks(text, "sh", "console", "bash") for line in block.replace("\\\n", " ").splitlines()
    ]
    lines += re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))
    for line in lines:
        for part in re.split(r"&&|\|\||[|;]|\s>", line.removeprefix("$ ")):
            if not re.match(rf"\s*{SETTINGS}(?:\S*/)?penstock\s", part):
                continue
            words = shlex.split(re.sub(rf"^\s*{SETTINGS}", "", part).replace("…", " "), comments=True)
            yield words[1:]


def check_command(words: list[str]) -> str:
    """What is wrong with a command line, or nothing."""
    command: click.Command = main
    known = {"-h", "--help"}
    rest = iter([*itertools.takewhile(lambda word: word != "--", words)])
    for word in rest:
        known |= {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
        if word.startswith("-") and len(word) > 1:
            if any(word in param.opts and not getattr(param, "is_flag", True) for param in command.params):
                next(rest, None)
            if word.partition("=")[0] not in known:
                return f"{command.name} has no option {word}"
        elif isinstance(command, click.Group):
            inner = command.get_command(click.Context(command), word)
            if inner is None:
                return f"{command.name} has no command {word}"
            command = inner
        elif f"{command.name}.{word}" in default_host().names("penstock.commands"):
            command = default_host().command(f"{command.name}.{word}").load()
    return ""


@every_page
def test_every_command_and_option_exists(page):
    problems = {" ".join(words): check_command(words) for words in command_lines(PAGES[page].read_text())}
    assert {line: problem for line, problem in problems.items() if problem} == {}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("penstock nosuch x", "no command nosuch"),
        ("a | .venv/bin/penstock plugins --nosuch=1", "no option --nosuch"),
        ("penstock plugins show file --json", ""),
        ("penstock --version", ""),
        ("penstock capture a.tsv --nosuch -- ls", "no option --nosuch"),
        ("penstock capture a.tsv -- ls --anything", ""),
        ('A_KEY="x y" B=1 penstock nosuch', "no command nosuch"),
        ("A_KEY=x penstock ls --nosuch s3://", "no option --nosuch"),
    ],
)
def test_a_wrong_command_line_is_found(line, problem):
    found = [check_command(words) for words in command_lines(f"```sh\n{line}\n```\n")]
    assert len(found) == 1
    assert problem in found[0] if problem else found == [""]


@every_page
def test_every_option_of_a_store_exists(page):
    known = {field.name for kind in kinds() for field in attrs.fields(kind.options)}
    for words in command_lines(PAGES[page].read_text()):
        for flag, setting in itertools.pairwise(words):
            assert flag != "-O" or setting.partition("=")[0] in known, setting


@every_page
def test_every_uri_of_a_command_is_one(page):
    """Its scheme has a backend, which takes the URI; ``s3+http://…`` and the like stand for one."""
    schemes = {scheme: kind for kind in kinds() for scheme in kind.schemes}
    for words in command_lines(PAGES[page].read_text()):
        for word in words:
            if found := re.search(r"(?:^|=)((?:[a-z0-9+]+)://.*)", word):
                url = parse_store(found[1])
                assert url.scheme in schemes, word
                schemes[url.scheme].parse(url)


@every_page
def test_every_example_of_a_command_is_here(page):
    for name in re.findall(r"\bexamples/[\w.-]+", PAGES[page].read_text()):
        assert (ROOT / name).exists(), name


@every_page
def test_every_variable_exists(page):
    source = "".join(path.read_text() for path in ROOT.glob("core/src/**/*.py"))
    source += "".join(path.read_text() for path in [*ROOT.glob("plugins/**/*.py"), ROOT / "noxfile.py"])
    for name in set(VARIABLE.findall(PAGES[page].read_text())) - OF_SDKS:
        assert re.search(rf"\b{name}\b", source), name


@every_page
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)", PAGES[page].read_text()):
        if "://" not in target:
            assert (PAGES[page].parent / target).exists(), target


@every_page
def test_every_session_of_nox_exists(page):
    sessions = set(re.findall(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text(), re.MULTILINE))
    named = re.findall(r"nox -s \"?(\w+)", PAGES[page].read_text())
    assert set(named) <= sessions


def has_own_tests(page: str) -> bool:
    """Whether the plugin's own tests run the examples of its page, in an environment that has all they need."""
    return any("README.md" in path.read_text() for path in PAGES[page].parent.glob("tests/**/*.py"))


@pytest.mark.parametrize("page", [page for page in PAGES if not has_own_tests(page)])
def test_every_python_example_runs(page, tmp_path):
    for block in blocks(PAGES[page].read_text(), "python"):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", block], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, f"{block}\n{done.stderr}"


def test_the_workload_that_the_readme_shows_is_the_example():
    shown, *others = blocks(README.read_text(), "yaml")
    shown = yaml.safe_load(shown)
    for other in others:
        # Those that show a few keys belong beside what the first one has.
        plain = yaml.safe_load(other)
        needed = {} if {"workload", "stages"} & set(plain) else {key: shown[key] for key in ("target", "workload")}
        loads(yaml.safe_dump(needed) + other if needed else other, label="README.md", environ={})
    whole = yaml.safe_load((ROOT / "examples" / "quickstart.yaml").read_text())
    assert whole.pop("target") == f"${{TARGET:-{shown.pop('target')}}}"
    assert shown == whole


def test_the_readme_gives_two_commands_and_what_they_name_is_here():
    commands = re.findall(r"^python3 -m venv .*$", README.read_text(), re.MULTILINE)
    assert len(commands) == 2
    run, check = commands
    assert re.search(r"penstock run (\S+)$", run)
    assert check.endswith("/nox")
    for word in [
        word for command in commands for word in command.split() if re.match(r"\./|examples/|constraints", word)
    ]:
        assert (ROOT / word).exists(), word


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text()))
