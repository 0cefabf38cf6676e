"""YAML read strictly, with the place of each value."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import ConfigError
from penstock.workload.config import dump, load, loads, restore
from penstock.workload.documents import Mark, Problems, from_plain, override, parse

BASE = "target: mem://b/\nworkload: [{op: get, path: '**'}]\n"


def problems_of(text, *, overrides=(), environ=None):
    with pytest.raises(ConfigError) as caught:
        loads(text, label="w.yaml", overrides=overrides, environ=environ or {})
    return list(caught.value.problems)


def read(text, *, overrides=(), environ=None):
    return loads(BASE + text, label="w.yaml", overrides=overrides, environ=environ or {})


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "w.yaml:1:1: the file is empty"),
        ("# nothing\n", "w.yaml:1:1: the file is empty"),
        ("- a\n- b\n", "w.yaml:1:1: write a mapping of keys, not a list"),
        ("hello", "w.yaml:1:1: write a mapping of keys, not 'hello'"),
        (f"{BASE}---\n{BASE}", "w.yaml:3:1: a second document starts here"),
        ("a: [1\nb: 2", "w.yaml:2:2: not YAML: while parsing a flow sequence"),
        ("a:\n\t- b", "w.yaml:2:1: not YAML: while scanning for the next token found character that cannot start any"),
        ("a: @x", "w.yaml:1:4: not YAML"),
        ("a: *x", "w.yaml:1:4: not YAML: found undefined alias"),
        ("a: \x07", "w.yaml:1:1: not YAML"),
        (f"{BASE}seed: 1\nseed: 2\n", "w.yaml:4:1: seed: this key stands here twice, first in line 3"),
        (f"{BASE}prepare: !!python/object:os.system {{}}\n", "w.yaml:3:10: the tag !!python/object:os.system is not"),
        (f"{BASE}name: !secret x\n", "w.yaml:3:7: the tag !secret is not supported"),
        (f"{BASE}? [a]\n: 1\n", "w.yaml:3:3: a key is a word, not a list"),
        ("&a [*a]", "w.yaml:1:1: an alias stands inside its own anchor"),
        (f"{BASE}prepare: {{<<: 5}}\n", "w.yaml:3:11: <<: takes a mapping or a list of mappings, not '5'"),
        (f"{BASE}name: ${{NOT_SET}}\n", "w.yaml:3:7: the environment has no NOT_SET; set it, or write ${NOT_SET:-"),
        (f"{BASE}name: ${{1x}}\n", "w.yaml:3:7: '${1x}': write ${NAME}"),
    ],
)
def test_what_is_no_document_is_said_with_its_place(text, problem):
    assert problem in problems_of(text)[0]


def test_deep_nesting_is_an_error_not_a_crash():
    assert "w.yaml:" in problems_of("[" * 100_000)[0]


def test_nested_aliases_are_read_once():
    lines = ["a: &a0 [x]"] + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 40)]
    assert len(problems_of("\n".join(lines))) == 41, "40 unknown keys and no workload"


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda path: None, "can't be read: No such file"),
        (lambda path: path.mkdir(), "can't be read: Is a directory"),
        (lambda path: path.write_bytes(b"target: x\nname: \xff\n"), ":2:7: not UTF-8 (byte 0xff)"),
        (lambda path: path.write_bytes(b"#" * (17 << 20)), "larger than 16 MiB"),
    ],
)
def test_a_file_that_is_none(tmp_path, make, problem):
    make(tmp_path / "w.yaml")
    with pytest.raises(ConfigError) as caught:
        load(str(tmp_path / "w.yaml"), environ={})
    assert str(caught.value).startswith(f"{tmp_path}/w.yaml:")
    assert problem in str(caught.value)


def test_a_file_is_read_with_its_text_and_named_after_it(tmp_path):
    path = tmp_path / "my.run.yaml"
    path.write_text(f"\ufeff{BASE}# caf\u00e9\n", encoding="utf-8")
    loaded = load(str(path), environ={})
    assert loaded.name == "my.run"
    assert loaded.text == f"{BASE}# café\n"
    assert load(str(path), overrides=["name=other"], environ={}).name == "other"


@pytest.mark.parametrize("word", ["off", "'off'", "OFF"])
def test_words_that_yaml_takes_for_booleans_are_words_where_words_are_expected(word):
    if word == "OFF":
        assert "verify: write off or size or checksum or content, not 'OFF'" in problems_of(f"{BASE}verify: OFF\n")[0]
    else:
        assert read(f"verify: {word}\n").verify == "off"


@pytest.mark.parametrize(("text", "value"), [("yes", True), ("off", False), ("True", True), ("NO", False)])
def test_booleans_in_all_their_spellings(text, value):
    assert read(f"cleanup: {text}\n").cleanup is value


@pytest.mark.parametrize("text", ["'yes'", "1", "y", "truth", "", "[]"])
def test_what_is_no_boolean(text):
    assert "w.yaml:3:" in problems_of(f"{BASE}cleanup: {text}\n")[0]
    assert "cleanup: write true or false" in problems_of(f"{BASE}cleanup: {text}\n")[0]


def test_text_stays_what_was_written():
    for text in ("2024-01-01", "1e3", "0x1f", "on", "1:30", "007"):
        assert read(f"name: {text}\n").name == text


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("duration: 1:30", "'1:30' is not a duration"),
        ("concurrency: 010", "octal to some readers"),
        ("concurrency: 0x10", "not a whole number"),
        ("concurrency: 4.0", "not a whole number"),
        ("duration: .inf", "not a duration"),
        ("duration: 1e400", "1e400 is not finite"),
        ("rate: {ops_per_second: .nan}", "write a number, not '.nan'"),
        ("rate: {ops_per_second: nan}", "nan is not finite"),
        ("duration:", "duration: list"),
    ],
)
def test_numbers_are_never_guessed(line, problem):
    if line == "duration:":
        assert read("duration:\ntotal_operations: 5\n").duration is None
    else:
        assert problem in problems_of(f"{BASE}{line}\n")[0]


def test_merge_keys_and_anchors():
    config = loads(
        "target: mem://b/\n"
        "workload:\n"
        "  - &read {op: get, path: 'a/*', weight: 3}\n"
        "  - {<<: *read, op: stat}\n"
        "  - {<<: [{weight: 9, concurrency: 2}, *read], path: b}\n",
        label="w.yaml",
        environ={},
    )
    assert [(item.op, item.path, item.weight, item.concurrency) for item in config.workload] == [
        ("get", "a/*", 3, None),
        ("stat", "a/*", 3, None),
        ("get", "b", 9, 2),
    ]


def test_variables():
    environ = {"NAME": "x", "EMPTY": "", "FLAG": "true", "COUNT": "7"}
    assert read("name: a-${NAME}-${OTHER:-y}-${EMPTY:-z}$${NAME}", environ=environ).name == "a-x-y-z${NAME}"
    config = read("cleanup: ${FLAG}\nconcurrency: ${COUNT}\ntotal_operations: ${EMPTY}\n", environ=environ)
    assert (config.cleanup, config.concurrency, config.total_operations) == (True, 7, None)
    sneaky = problems_of(f"{BASE}name: ${{X}}\n", environ={"X": "a/b\nseed: 5"})
    assert sneaky == ["w.yaml:3:7: name: 'a/b\\nseed: 5' can't be part of a file's name"]


def test_overrides_replace_add_and_reach_into_lists():
    config = read(
        "rate: max\n",
        overrides=[
            "workload[0].weight=7",
            "workload[0].range={size: 4KiB}",
            "rate.ops_per_second=50",
            "on_error.retries.attempts=3",
            "seed = 5",
            "name=a=b",
            "duration=",
            "total_operations=9",
        ],
    )
    assert config.workload[0].weight == 7
    assert config.workload[0].range.size == 4096
    assert config.rate.ops_per_second == 50
    assert config.on_error.retries.attempts == 3
    assert (config.seed, config.name, config.duration) == (5, "a=b", None)


@pytest.mark.parametrize(
    ("assignment", "problem"),
    [
        ("seed", "--set seed: write --set key=value"),
        ("=5", "--set =5: write --set key=value"),
        ("a..b=5", "--set a..b=5: write --set key=value"),
        ("[0]=5", "--set [0]=5: write --set key=value"),
        ("sed=5", "--set sed=5: sed: unknown key, did you mean seed?"),
        ("seed=x", "--set seed=x: seed: 'x' is not a whole number"),
        (
            "workload[5].weight=1",
            "--set workload[5].weight=1: workload[5].weight: there is no item [5]; the list has 1",
        ),
        ("workload.weight=1", "--set workload.weight=1: workload.weight: weight needs a mapping, and there is a list"),
        ("seed[0]=1", "--set seed[0]=1: seed[0]: [0] needs a list, and there is nothing"),
        ("seed=[1", "--set seed=[1: not YAML"),
        ("rate={ops_per_second: 0}", "rate.ops_per_second: 0 is too small; write more than 0"),
        ("workload[0].wait=1", "--set workload[0].wait=1: workload[0].wait: unknown key, did you mean weight?"),
    ],
)
def test_a_wrong_override_is_named(assignment, problem):
    assert problem in problems_of(BASE, overrides=[assignment])[0]


def test_problems_of_a_file_come_in_its_order_and_those_of_options_last():
    found = problems_of(f"{BASE}sed: 1\nnam: 2\n", overrides=["foo=1"])
    assert [line.split(": ")[0] for line in found] == ["w.yaml:3:1", "w.yaml:4:1", "--set foo=1"]


def test_plain_data_survives_whatever_its_text_looks_like():
    for name in ("none", "${HOME}", "$${x}", "true", "5", "\U0001f600", "~"):
        config = read("duration: 10us\n", overrides=[])
        data = dump(config) | {"name": name, "op_log": name}
        again = restore(data)
        assert (again.name, again.op_log, again.duration) == (name, name, 1e-5)
    node = from_plain({"a": [1, 2.5, None, True, "x"]}, Mark("here"))
    assert [item.text for item in node.entries["a"].items] == ["1", "2.5", "", "true", "x"]


def test_parse_and_override_leave_the_tree_they_got():
    problems = Problems()
    root = parse("a: {b: 1}", "w.yaml", problems, {})
    changed = override(root, "a.b=2", problems)
    assert root.entries["a"].entries["b"].text == "1"
    assert changed.entries["a"].entries["b"].text == "2"
    assert changed.entries["a"].keys["b"] == Mark("--set a.b=2")
    assert problems == []


WORDS = ["target", "workload", "op", "get", "null", "0", "1e9", "&a", "*a", "<<", "!!str", "${", "%", "@", "#", "?"]
MARKS = ["\u2028", "'", "{", ": ", "- ", "}", "[", "]", ", ", "\n", "  ", '"', "\t", "|\n"]
SCRAPS = st.lists(st.sampled_from([*WORDS, *MARKS]), max_size=25)


def outcome(text, overrides):
    try:
        loads(text, label="w.yaml", overrides=overrides, environ={})
    except ConfigError as error:
        return error.problems
    return ("w.yaml: no problem",)


@given(st.one_of(SCRAPS.map("".join), st.text(max_size=40)))
def test_any_text_is_a_configuration_or_a_list_of_problems(text):
    for document, overrides in (
        (text, ()),
        (f"{BASE}{text}", ()),
        (BASE, (text, f"name={text}", f"workload[0]{text}")),
    ):
        problems = outcome(document, overrides)
        assert problems
        assert all(line.startswith(("w.yaml:", "--set ")) and "\n" not in line for line in problems)
