"""Files that include others."""

from __future__ import annotations

import os

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import ConfigError
from penstock.workload.composing import merge
from penstock.workload.config import CONFIG, dump, load, loads
from penstock.workload.documents import Mark, from_plain
from penstock.workload.schema import json_schema

BASE = "target: mem://b/\nworkload: [{op: get, path: '**'}]\n"


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(**texts):
        for name, text in texts.items():
            path = tmp_path / f"{name.replace('__', '/')}.yaml"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)

    return write


def problems_of(path, **environ):
    with pytest.raises(ConfigError) as caught:
        load(path, environ=environ)
    return list(caught.value.problems)


def test_a_file_wins_over_what_it_includes_and_a_later_include_over_an_earlier(files):
    files(
        base=f"{BASE}seed: 1\nduration: 5\nconcurrency: 4\n"
        "on_error: {max_total_errors: 3, retries: {attempts: 7}}\n",
        fast="duration: 2\nconcurrency: 8\nprepare: {ensure_objects: [{count: 5}]}\n",
        top="include: [base.yaml, fast.yaml]\nconcurrency: 16\n"
        "on_error: {action: continue, retries: {base_delay: 1}}\n",
    )
    loaded = load("top.yaml", environ={})
    config = loaded.config
    assert (config.seed, config.duration, config.concurrency) == (1, 2.0, 16)
    assert (config.on_error.max_total_errors, config.on_error.action) == (3, "continue")
    assert (config.on_error.retries.attempts, config.on_error.retries.base_delay) == (7, 1.0)
    assert config.prepare.ensure_objects[0].count == 5
    assert loaded.name == "top"
    assert loaded.files == ("top.yaml", "base.yaml", "fast.yaml")
    assert loaded.text.startswith("include: [base.yaml")


def test_lists_sizes_and_choices_are_replaced_whole_and_options_one_by_one(files):
    files(
        base="target: file:///t\nselection: {zipf: {theta: 2}}\nbackend: {file: {fsync: true, page_cache: normal}}\n"
        "workload: [{op: put, path: a/, size: {uniform: {min: 1, max: 2}}}, {op: get, path: '*'}]\n"
        "prepare: {directory_structure: {width: 3, size: {uniform: {min: 1, max: 2}}}}\n",
        top="include: base.yaml\nworkload: [{op: stat, path: x}]\nselection: {hot_set: {fraction: 0.5}}\n"
        "backend: {file: {page_cache: random}}\n"
        "prepare: {directory_structure: {depth: 1, size: {lognormal: {mean: 9, std_dev: 1}}}}\n",
    )
    config = load("top.yaml", environ={}).config
    assert [item.op for item in config.workload] == ["stat"]
    assert config.selection.fraction == 0.5
    assert config.backend == {"file": {"fsync": "true", "page_cache": "random"}}
    tree = config.prepare.directory_structure
    assert (tree.width, tree.depth, tree.size.mean) == (3, 1, 9)


def test_paths_are_relative_to_the_file_that_names_them_and_may_hold_variables(files, tmp_path):
    files(
        parts__base=BASE,
        parts__more="include: base.yaml\nseed: 3\n",
        top="include: ${PARTS:-parts}/more.yaml\n",
        other=f"include: {tmp_path}/parts/more.yaml\nseed:\ntotal_operations: 5\n",
    )
    assert load("top.yaml", environ={}).config.seed == 3
    assert load(f"{tmp_path}/top.yaml", environ={}).config.seed == 3
    assert problems_of("top.yaml", PARTS="nowhere") == [
        "top.yaml:1:10: include: nowhere/more.yaml: can't be read: No such file or directory"
    ]
    assert problems_of("other.yaml") == ["other.yaml:2:6: seed: write a whole number, not nothing"]


def test_a_key_may_be_written_by_its_other_name_on_top(files):
    files(
        base=f"{BASE}prepare: {{directory_structure: {{base_uri: mem://c/}}}}\n",
        top="include: base.yaml\nprepare: {directory_structure: {path: tree}}\n",
    )
    assert load("top.yaml", environ={}).config.prepare.directory_structure.path == "tree"
    config = loads(BASE.replace("path", "uri"), label="x", overrides=["workload[0].path=a/*"], environ={})
    assert config.workload[0].path == "a/*"


def test_one_file_may_be_included_by_two_others(files):
    files(base=BASE, a="include: base.yaml\nseed: 1\n", b="include: base.yaml\n", top="include: [a.yaml, b.yaml]\n")
    loaded = load("top.yaml", environ={})
    assert loaded.config.seed == 1
    assert loaded.files == ("top.yaml", "a.yaml", "base.yaml", "b.yaml")


def test_a_circle_names_every_place_on_it(files):
    files(a="seed: 1\ninclude: b.yaml\n", b="include: [sub/c.yaml]\n", sub__c=f"{BASE}include: ../a.yaml\n")
    assert problems_of("a.yaml")[0] == (
        "sub/c.yaml:3:10: include: sub/../a.yaml is being read already: a circle of includes "
        "(sub/c.yaml:3:10, included at b.yaml:1:11, included at a.yaml:2:10)"
    )
    files(me=f"{BASE}include: ./me.yaml\n")
    assert problems_of("me.yaml") == ["me.yaml:3:10: include: ./me.yaml includes itself"]
    os.symlink("me.yaml", "link.yaml")
    assert problems_of("link.yaml") == ["link.yaml:3:10: include: ./me.yaml includes itself"]


def test_a_chain_without_end_is_cut(files):
    files(**{f"f{number}": f"include: f{number + 1}.yaml\n" for number in range(60)})
    assert problems_of("f0.yaml")[0].startswith("f50.yaml:1:10: include: more than 50 files")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("include: {a: b}", "top.yaml:1:10: include: write the path of a file, or a list of them, not a mapping"),
        ("include: [[a]]", "top.yaml:1:11: include: write the path of a file, or a list of them, not a list"),
        ("include:", "top.yaml:1:9: include: write the path of a file, or a list of them, not nothing"),
        ("include: '-'", "top.yaml:1:10: include: write the path of a file, or a list of them, not '-'"),
        ("include: list.yaml", "list.yaml:1:1: write a mapping of keys, not a list"),
        ("include: empty.yaml", "empty.yaml:1:1: the file is empty"),
        ("include: bad.yaml", "bad.yaml:2:1: not YAML"),
        ("include: unknown.yaml", "unknown.yaml:1:1: sed: unknown key, did you mean seed?"),
        ("include: nested.yaml", "nested.yaml:2:3: prepare.include: unknown key"),
        ("include: .", "top.yaml:1:10: include: .: can't be read: Is a directory"),
    ],
)
def test_what_is_wrong_with_an_include_is_said_where_it_stands(files, text, problem):
    files(
        list="- a\n",
        empty="# nothing\n",
        bad="a: [1\n",
        unknown=f"sed: 1\n{BASE}",
        nested=f"prepare:\n  include: x.yaml\n{BASE}",
        top=f"{text}\n",
    )
    assert problems_of("top.yaml")[0].startswith(problem)


def test_problems_come_file_by_file(files):
    files(base=f"{BASE}a: 1\nb: 2\n", top="include: base.yaml\n\n\n\nc: 3\n")
    assert [line.split(" ")[0] for line in problems_of("top.yaml")] == [
        "top.yaml:5:1:",
        "base.yaml:3:1:",
        "base.yaml:4:1:",
    ]


def test_include_stands_in_files_alone(files):
    files(base=BASE)
    with pytest.raises(ConfigError, match="include stands at the top of a file, and nowhere else"):
        load("base.yaml", overrides=["include=base.yaml"], environ={})


def test_the_schema_knows_includes():
    validator = jsonschema.Draft202012Validator(json_schema())
    assert validator.is_valid({"include": ["a.yaml"], "seed": 1})
    assert validator.is_valid({"include": "a.yaml"})
    assert not validator.is_valid({"include": 5})
    assert not validator.is_valid({"seed": 1})


KEYS = st.fixed_dictionaries(
    {},
    optional={
        "seed": st.integers(0, 9),
        "duration": st.integers(1, 9),
        "concurrency": st.integers(4, 9),
        "cleanup": st.booleans(),
        "selection": st.sampled_from(["uniform", {"zipf": {"theta": 1}}, {"policy": "hot_set", "fraction": 0.3}]),
        "on_error": st.fixed_dictionaries(
            {}, optional={"max_total_errors": st.integers(0, 9), "action": st.sampled_from(["stop", "continue"])}
        ),
        "workload": st.just([{"op": "get", "path": "x"}]),
    },
)


def over(under, top):
    """What the rules say, on plain data."""
    errors = under.get("on_error", {}) | top.get("on_error", {})
    return under | top | ({"on_error": errors} if "on_error" in under or "on_error" in top else {})


@given(one=KEYS, two=KEYS, three=KEYS)
def test_composition_is_what_the_rules_say_and_does_not_depend_on_the_grouping(one, two, three):
    nodes = [
        from_plain(part, Mark("x"))
        for part in ({"target": "mem://b", "workload": [{"op": "stat", "path": "y"}]}, one, two, three)
    ]
    left = merge(CONFIG, merge(CONFIG, merge(CONFIG, nodes[0], nodes[1]), nodes[2]), nodes[3])
    right = merge(CONFIG, nodes[0], merge(CONFIG, nodes[1], merge(CONFIG, nodes[2], nodes[3])))
    assert plain(left) == plain(right)
    expected = over(over(over({"target": "mem://b", "workload": [{"op": "stat", "path": "y"}]}, one), two), three)
    text = yaml.safe_dump(expected)
    assert dump(loads(yaml.safe_dump(plain(left)), label="x", environ={})) == dump(loads(text, label="x", environ={}))


def plain(node):
    if node.kind == "mapping":
        return {name: plain(inner) for name, inner in node.entries.items()}
    return [plain(item) for item in node.items] if node.kind == "sequence" else yaml.safe_load(node.text)
