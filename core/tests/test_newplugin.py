"""``penstock new-plugin``: names, places, and what is written."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib

import pytest
from click.testing import CliRunner

from penstock.cli.newplugin import new_plugin, write_plugin
from penstock.errors import UsageError


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Rocket", "such as rocket"),
        ("my-store", "such as mystore"),
        ("my_store", "such as mystore"),
        ("s3+http", "such as s3http"),
        ("9p", "such as p"),
        ("", "lower-case letters"),
        ("été", "such as t"),
        ("a/b", "such as ab"),
        ("..", "lower-case letters"),
        ("rocket\n", "such as rocket"),
        ("x" * 41, "at most 40"),
        ("s3", "penstock-s3"),
        ("file", "penstock-file"),
        ("mem", "penstock itself"),
    ],
)
def test_a_name_that_is_no_new_scheme_is_refused(name, hint, tmp_path):
    with pytest.raises(UsageError, match=hint):
        write_plugin(name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_directory_that_holds_something_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="not an empty directory; choose another with --directory"):
        write_plugin("rocket", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(UsageError, match="not an empty directory"):
        write_plugin("rocket", tmp_path / "mine.txt")


def test_it_writes_a_distribution_of_that_name(tmp_path):
    (tmp_path / "empty").mkdir()
    written = write_plugin("rocket7", tmp_path / "empty")
    settings = tomllib.loads((tmp_path / "empty" / "pyproject.toml").read_text())["project"]
    assert settings["name"] == "penstock-rocket7"
    assert settings["entry-points"] == {"penstock.stores": {"rocket7": "penstock_rocket7.plugin"}}
    names = {str(path.relative_to(tmp_path / "empty")) for path in written}
    assert {
        "README.md",
        "src/penstock_rocket7/store.py",
        "src/penstock_rocket7/py.typed",
        "tests/test_contract.py",
    } <= names
    for path in written:
        text = path.read_text()
        assert "acme" not in text.lower()
        if path.suffix == ".py":
            compile(text, path, "exec")


def test_the_command_says_what_to_do_next(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(new_plugin, ["rocket"], catch_exceptions=False)
    assert done.exit_code == 0
    assert "cd penstock-rocket" in done.output
    assert (tmp_path / "penstock-rocket" / "pyproject.toml").exists()
    chosen = CliRunner().invoke(new_plugin, ["rocket", "--directory", "elsewhere"], catch_exceptions=False)
    assert "cd elsewhere" in chosen.output
    assert (tmp_path / "elsewhere" / "pyproject.toml").exists()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Rocket", "can't be a format's name: .* such as rocket"),
        ("npz", "the format npz is that of penstock-npz; choose another name"),
        ("raw", "that of penstock itself"),
        ("x" * 41, "too long for a format's name"),
    ],
)
def test_a_name_that_is_no_new_format_is_refused(name, hint, tmp_path):
    with pytest.raises(UsageError, match=hint):
        write_plugin(name, tmp_path / "out", as_format=True)
    assert not (tmp_path / "out").exists()


def test_the_skeleton_of_a_format_passes_the_kit(tmp_path):
    done = CliRunner().invoke(
        new_plugin, ["--format", "rocket", "--directory", str(tmp_path / "new")], catch_exceptions=False
    )
    assert done.exit_code == 0
    settings = tomllib.loads((tmp_path / "new" / "pyproject.toml").read_text())["project"]
    assert settings["name"] == "penstock-rocket"
    assert settings["entry-points"] == {"penstock.formats": {"rocket": "penstock_rocket.plugin"}}
    for path in (tmp_path / "new").rglob("*.*"):
        assert "acme" not in path.read_text().lower() if path.is_file() else True
    src = tmp_path / "new" / "src"
    # What an installer would write, so that the entry point is found.
    facts = src / "penstock_rocket-0.1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: penstock-rocket\nVersion: 0.1.0\n")
    (facts / "entry_points.txt").write_text("[penstock.formats]\nrocket = penstock_rocket.plugin\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["PYTHONPATH"] = os.pathsep.join([str(src), *filter(None, [os.environ.get("PYTHONPATH")])])
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path / "new",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    passed = re.fullmatch(r"(\d+) passed in .*", ran.stdout.splitlines()[-1])
    assert passed, f"nothing may be skipped: {ran.stdout[-3000:]}"
    assert int(passed[1]) > 50
