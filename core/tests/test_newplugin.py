"""``penstock new-plugin``: names, places, and what is written."""

from __future__ import annotations

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
