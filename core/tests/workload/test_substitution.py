"""Variables and ``--set``: what they put into a file is what writing it there would."""

from __future__ import annotations

import copy
import json

import yaml
from hypothesis import given
from hypothesis import strategies as st

from penstock.workload.config import dump, loads
from penstock.workload.documents import Problems, parse

NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
VALUES = st.text(max_size=12)
PLAIN = st.text(st.characters(codec="utf-8", exclude_characters="${}", exclude_categories=["Cs", "Cc"]), max_size=8)


def text_of(scalar, environ):
    problems = Problems()
    root = parse(yaml.safe_dump({"key": scalar}, allow_unicode=True), "w.yaml", problems, environ)
    assert problems == []
    return root.entries["key"].text


@given(before=PLAIN, name=NAMES, value=VALUES, default=PLAIN, after=PLAIN)
def test_a_variable_is_its_value_whatever_that_looks_like(before, name, value, default, after):
    environ = {name: value}
    assert text_of(f"{before}${{{name}}}{after}", environ) == f"{before}{value}{after}"
    assert text_of(f"{before}${{{name}:-{default}}}{after}", environ) == f"{before}{value or default}{after}"
    assert text_of(f"{before}${{{name}:-{default}}}{after}", {}) == f"{before}{default}{after}"
    assert text_of(f"{before}$${{{name}}}{after}", environ) == f"{before}${{{name}}}{after}"
    assert text_of(f"{before}${{{name}:-{default}}}{after}", None) == f"{before}${{{name}:-{default}}}{after}"


@given(parts=st.lists(st.one_of(PLAIN, st.sampled_from(["$", "$${", "}", "{", "$$", "${A}", "${A:-x}"])), max_size=8))
def test_text_without_variables_is_left_alone_and_each_variable_counts_once(parts):
    text = "".join(parts)
    problems = Problems()
    root = parse(yaml.safe_dump({"key": text}, allow_unicode=True), "w.yaml", problems, {"A": "${B}$${"})
    if "${" not in text:
        assert root.entries["key"].text == text
        assert problems == []
    assert not any("B" in problem.what for problem in problems), "a value is not looked into again"


BASE = {
    "target": "mem://b/",
    "total_operations": 5,
    "rate": {"ops_per_second": 5},
    "workload": [{"op": "get", "path": "a/*"}, {"op": "put", "path": "n/", "size": 5}],
    "prepare": {"ensure_objects": [{"path": "a/", "count": 5}, {"path": "b/", "count": 6}]},
    "on_error": {"action": "stop"},
}
SETTINGS = {
    "seed": st.integers(0, 2**40),
    "duration": st.sampled_from(["5m", 30, "1.5s", None]),
    "cleanup": st.booleans(),
    "name": st.from_regex(r"[A-Za-z0-9 #&*!|>'\"%@`,:\[\]{}-]{1,10}", fullmatch=True).filter(lambda text: text.strip()),
    "rate.ops_per_second": st.integers(1, 1000),
    "rate.arrivals": st.sampled_from(["poisson", "uniform"]),
    "workload[0].weight": st.floats(0.5, 10),
    "workload[0].range": st.fixed_dictionaries({"size": st.integers(1, 9), "offset": st.just("sequential")}),
    "workload[1].size": st.sampled_from([7, "4KiB", {"uniform": {"min": 1, "max": 9}}, {"choice": [{"size": 1}]}]),
    "workload[1].multipart.part_size": st.sampled_from(["1MiB", 100]),
    "prepare.ensure_objects[1].count": st.integers(1, 9),
    "prepare.key_prefix_shards": st.integers(0, 9),
    "on_error.retries.attempts": st.integers(1, 9),
    "on_error.error_rate": st.sampled_from([{"errors_per_second": 3}, None]),
    "backend.mem.name": st.from_regex(r"[a-z]{1,5}", fullmatch=True),
    "selection": st.sampled_from(["zipf", {"hot_set": {"fraction": 0.5}}]),
}


def written(data, path, value):
    """The same data with a value at a path."""
    steps = path.replace("[", ".[").split(".")
    inner = data
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        key = int(step[1:-1]) if step.startswith("[") else step
        if following is None:
            inner[key] = value
        elif isinstance(inner, dict):
            inner = inner.setdefault(key, {})
        else:
            inner = inner[key]


@given(st.data())
def test_setting_a_key_is_writing_it(data):
    paths = data.draw(st.lists(st.sampled_from(sorted(SETTINGS)), max_size=5, unique=True))
    plain, overrides = copy.deepcopy(BASE), []
    for path in paths:
        value = data.draw(SETTINGS[path])
        written(plain, path, value)
        overrides.append(f"{path}={json.dumps(value)}")
    there = loads(yaml.safe_dump(plain), label="w.yaml", environ={})
    assert dump(loads(yaml.safe_dump(BASE), label="w.yaml", overrides=overrides, environ={})) == dump(there)
