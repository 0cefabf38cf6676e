"""The example workloads load, mean what their comments say, and are valid by the schema."""

from __future__ import annotations

import pathlib

import jsonschema
import pytest
import yaml

from penstock.workload.config import load
from penstock.workload.names import Tree
from penstock.workload.operations import OPERATION
from penstock.workload.schema import json_schema

EXAMPLES = sorted((pathlib.Path(__file__).parent.parent / "examples").glob("*.yaml"))


def test_there_are_examples_and_together_they_show_most_operations():
    assert {path.stem for path in EXAMPLES} >= {"quickstart", "small-files", "direct-large", "metadata"}
    shown = {item.op for path in EXAMPLES for item in load(str(path), environ={}).config.workload}
    assert set(OPERATION.records) - shown == {"copy"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_loads_and_is_valid(path):
    loaded = load(str(path), environ={})
    assert loaded.name == path.stem
    assert loaded.config.cleanup, "an example leaves nothing behind"
    jsonschema.Draft202012Validator(json_schema()).validate(yaml.safe_load(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_works_elsewhere(path):
    assert load(str(path), environ={"TARGET": "mem://x/"}).config.target == "mem://x/"


def test_the_quickstart_is_quick():
    config = load(str(next(path for path in EXAMPLES if path.stem == "quickstart")), environ={}).config
    assert config.warmup + config.duration <= 20
    assert config.target == "file://./penstock-quickstart"
    assert 2000 <= sum(objects.count for objects in config.prepare.ensure_objects) <= 10_000


def test_the_trees_are_as_large_as_the_comments_say():
    trees = {}
    for path in EXAMPLES:
        structure = load(str(path), environ={}).config.prepare.directory_structure
        if structure is not None:
            tree = Tree.of(structure, "")
            trees[path.stem] = (tree.directories.count, tree.count)
    assert trees == {"metadata": (8 + 64 + 512, 584 * 8), "small-files": (110, 50_000)}
