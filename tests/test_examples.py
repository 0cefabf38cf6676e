"""The example workloads load, mean what their comments say, and are valid by the schema."""

from __future__ import annotations

import pathlib
import re

import attrs
import jsonschema
import pytest
import yaml

from penstock.workload.config import load
from penstock.workload.names import Tree
from penstock.workload.operations import OPERATION
from penstock.workload.schema import json_schema

#: The scheme of each cloud's quick start, and whose it is.
CLOUDS = {"s3-quickstart": "s3", "azure-quickstart": "az", "gcs-quickstart": "gs"}
EXAMPLES = sorted((pathlib.Path(__file__).parent.parent / "examples").glob("*.yaml"))


def loaded(stem):
    return load(str(next(path for path in EXAMPLES if path.stem == stem)), environ={}).config


def test_there_are_examples_and_together_they_show_most_operations():
    stems = {path.stem for path in EXAMPLES}
    assert stems >= {"quickstart", "small-files", "direct-large", "metadata", "list-delete", "large-objects", *CLOUDS}
    shown = {item.op for path in EXAMPLES for item in load(str(path), environ={}).config.workload}
    assert set(OPERATION.records) == shown


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
    config = loaded("quickstart")
    assert config.warmup + config.duration <= 20
    assert config.target == "file://./penstock-quickstart"
    assert 2000 <= sum(objects.count for objects in config.prepare.ensure_objects) <= 10_000


@pytest.mark.parametrize(("stem", "scheme"), CLOUDS.items())
def test_the_quick_starts_of_the_clouds_differ_in_nothing_but_the_cloud(stem, scheme):
    config, first = (loaded(name) for name in (stem, "s3-quickstart"))
    assert config.target.startswith(f"{scheme}://my")
    assert (config.concurrency, config.processes) == (64, 2)
    assert {item.op for item in config.workload} == {"get", "put", "stat", "list", "delete"}
    assert attrs.evolve(config, target="", name="") == attrs.evolve(first, target="", name="")


@pytest.mark.parametrize("stem", CLOUDS)
def test_no_operation_of_a_cloud_meets_what_another_deletes(stem):
    paths = {item.path for item in loaded(stem).workload if item.op != "delete"}
    deleted = {item.path for item in loaded(stem).workload if item.op == "delete"}
    assert deleted == {"doomed/*"}
    assert not {path for path in paths if path.startswith(("**", "doomed"))}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_commands_in_the_comments_name_the_example(path):
    text = path.read_text(encoding="utf-8")
    assert set(re.findall(r"penstock run (\S+\.yaml)", text)) <= {f"examples/{path.name}"}
    default = loaded(path.stem).target
    assert set(re.findall(r"--set target=(az://\S+|gs://\S+)", text)) <= {default}


def test_the_trees_are_as_large_as_the_comments_say():
    trees = {}
    for path in EXAMPLES:
        structure = load(str(path), environ={}).config.prepare.directory_structure
        if structure is not None:
            tree = Tree.of(structure, "")
            trees[path.stem] = (tree.directories.count, tree.count)
    assert trees == {
        "list-delete": (16, 16_000),
        "metadata": (8 + 64 + 512, 584 * 8),
        "small-files": (110, 50_000),
    }


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_editor_sees_every_mistake_in_an_example(path):
    validator = jsonschema.Draft202012Validator(json_schema())
    for broken in mistakes(yaml.safe_load(path.read_text(encoding="utf-8"))):
        assert not validator.is_valid(broken), broken


def mistakes(data):
    """The file with one key misspelt, one value of another kind, one key that is needed left out."""
    for name in data:
        yield {(f"{key}x" if key == name else key): value for key, value in data.items()}
    yield data | {"concurrency": [1]}
    yield data | {"prepare": 5}
    if "stages" not in data:
        yield {key: value for key, value in data.items() if key != "workload"}
    for number, stage in enumerate(data.get("stages", ())):
        for broken in ({key: value for key, value in stage.items() if key != "name"}, stage | {"barrier": "some"}):
            yield data | {"stages": [*data["stages"][:number], broken, *data["stages"][number + 1 :]]}
    for number, item in enumerate(data.get("workload", ())):
        for broken in (
            {key: value for key, value in item.items() if key != "op"},
            item | {"op": "fetch"},
            item | {"weigth": 1},
            item | {"weight": "often"},
            [item],
        ):
            yield data | {"workload": [*data["workload"][:number], broken, *data["workload"][number + 1 :]]}
