"""Rules: how they are read, and what they do to names."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import ConfigError, UsageError
from penstock.replay.mapping import Mapper
from penstock.replay.names import Names
from penstock.replay.roots import Roots
from penstock.replay.rules import Elsewhere, Many, Match, Rule, dump_rules, load_rules, restore_rules
from penstock.replay.settings import Settings

RULES = """
rules:
  - match: {scheme: mem, endpoint: "mem://", bucket: training, prefix: 2025/}
    map_to: mem://other/archive
  - match_any: [{bucket: logs-a}, {bucket: logs-b}]
    map_to: {bucket: logs, prefix: joined-}
  - match: {bucket: spread}
    map_to_many: {targets: [mem://a/, mem://b/, mem://c/], strategy: sticky_key}
  - regex: 'mem://tenant-(\\w+)/(?P<key>.*)'
    replace: 'mem://all/$1/$${key}/$$'
"""


def mapper(rules=(), *, target=None, in_place=False, seed=0):
    roots = Roots({}, 1)
    settings = Settings(log="log", rules=tuple(rules), target=target, in_place=in_place, seed=seed)
    made = Mapper(settings, roots, Names())

    def uri(endpoint, file):
        mapped = made.map(endpoint, file)
        return roots.uri(mapped.store, mapped.key)

    return uri


def read(tmp_path, text):
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    return load_rules(str(path), environ={})


def test_each_kind_of_rule(tmp_path):
    uri = mapper(read(tmp_path, RULES), target="mem://rest/below")
    assert uri("mem://", "training/2025/a/b") == "mem://other/archive/a/b"
    assert uri("mem://", "training/2024/a") == "mem://rest/below/2024/a"
    assert uri("mem://", "logs-a/x") == uri("mem://", "logs-b/x") == "mem://logs/joined-x"
    assert uri("mem://", "tenant-7/k/e") == "mem://all/7/k/e/$"
    assert {uri("mem://", "spread/k") for _ in range(5)} in [{f"mem://{name}/k"} for name in "abc"]
    assert len({uri("mem://", f"spread/{number}").partition("/")[2][1] for number in range(50)}) == 3


def test_rules_survive_the_way_to_a_worker(tmp_path):
    rules = read(tmp_path, RULES)
    assert restore_rules(dump_rules(rules)) == rules
    assert restore_rules(dump_rules(())) == ()


def test_older_names_of_keys_are_read(tmp_path):
    rules = read(tmp_path, "rules: [{match: {host: 'mem://', bucket: b}, map_to: {bucket: c}}]")
    assert rules == (Rule(match=Match(endpoint="mem://", bucket="b"), map_to=Elsewhere(bucket="c")),)


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("rules: []", ["1:8: rules: the list is empty"]),
        ("rule: []", ["1:1: rule: unknown key, did you mean rules?", "rules is missing"]),
        (
            "rules:\n  - match: {bukket: a}\n    map_to: mem://",
            ["2:13: rules[0].match.bukket: unknown key, did you mean b"],
        ),
        ("rules:\n  - match: {bucket: a}", ["2:5: rules[0]: write map_to or map_to_many, one of them"]),
        ("rules:\n  - map_to: mem://", ["2:5: rules[0]: a rule has one of match, match_any and regex, not none"]),
        (
            "rules:\n  - {match: {bucket: a}, regex: b, map_to: mem://}",
            ["2:5: rules[0]: a rule has one of match, match_any and regex, not match and regex"],
        ),
        ("rules:\n  - {regex: 'a(', replace: b}", ["2:13: rules[0].regex: not a regular expression"]),
        ("rules:\n  - {regex: a, replace: $1}", ["2:25: rules[0].replace: the regex has no group 1; write $$"]),
        ("rules:\n  - {regex: a}", ["2:13: rules[0].regex: regex goes with replace, and with nothing else"]),
        ("rules:\n  - {match: {}, replace: a}", ["2:26: rules[0].replace: replace goes with regex, not with match"]),
        (
            "rules:\n  - {match: {}, map_to: elsewhere}",
            ["2:25: rules[0].map_to: 'elsewhere' names no place; write a URI"],
        ),
        ("rules:\n  - {match: {}, map_to: 'nope://a/'}", ["2:25: rules[0].map_to: unknown scheme nope://"]),
        (
            "rules:\n  - {match: {}, map_to_many: {targets: [], strategy: turn}}",
            ["targets: the list is empty", "strategy: write round_robin or random or sticky_key, not 'turn'"],
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path, text, problems):
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert len(caught.value.problems) == len(problems)
    for said, expected in zip(caught.value.problems, problems, strict=True):
        assert expected in said
        assert said.startswith(f"{tmp_path}/rules.yaml:")


_KEYS = st.text("ab/", max_size=5)
_MATCHES = st.builds(Match, bucket=st.sampled_from([None, "x", "y"]), prefix=st.sampled_from(["", "a", "a/", "b/a"]))
_TARGETS = [f"mem://{name}/" for name in ("one", "two", "three")]
_RULES = st.one_of(
    st.builds(Rule, match=_MATCHES, map_to=st.sampled_from(_TARGETS)),
    st.builds(
        Rule,
        match=_MATCHES,
        map_to_many=st.builds(
            Many,
            targets=st.lists(st.sampled_from(_TARGETS), min_size=1, max_size=3).map(tuple),
            strategy=st.sampled_from(["round_robin", "random", "sticky_key"]),
        ),
    ),
)


def fits(match, bucket, key):
    return match.bucket in (None, bucket) and key.startswith(match.prefix)


@given(rules=st.lists(_RULES, max_size=4), names=st.lists(st.tuples(st.sampled_from("xyz"), _KEYS), max_size=30))
def test_the_first_rule_that_matches_decides(rules, names):
    uri = mapper(rules, target="mem://rest/")
    turns = Counter()
    for bucket, key in names:
        found = uri("mem://", f"{bucket}/{key}")
        number = next((n for n, rule in enumerate(rules) if fits(rule.match, bucket, key)), None)
        if number is None:
            assert found == f"mem://rest/{key}"
            continue
        rule = rules[number]
        rest = key[len(rule.match.prefix) :].lstrip("/")
        if rule.map_to is not None:
            assert found == rule.map_to + rest
        elif rule.map_to_many.strategy == "round_robin":
            places = rule.map_to_many.targets
            assert found == places[turns[number] % len(places)] + rest
            turns[number] += 1
        else:
            assert found in {place + rest for place in rule.map_to_many.targets}


@given(
    st.lists(_KEYS, min_size=1, max_size=40),
    st.sampled_from(["round_robin", "random", "sticky_key"]),
    st.integers(0, 3),
)
def test_the_same_names_go_to_the_same_places_in_every_process(keys, strategy, seed):
    rule = Rule(match=Match(), map_to_many=Many(targets=tuple(_TARGETS), strategy=strategy))
    first, second = mapper([rule], seed=seed), mapper([rule], seed=seed)
    assert [first("mem://", f"b/{key}") for key in keys] == [second("mem://", f"b/{key}") for key in keys]


@given(st.lists(_KEYS, min_size=1, max_size=40))
def test_a_sticky_key_stays(keys):
    rule = Rule(match=Match(), map_to_many=Many(targets=tuple(_TARGETS), strategy="sticky_key"))
    uri = mapper([rule])
    places: dict[str, str] = {}
    for key in keys:
        found = uri("mem://", f"b/{key}")
        assert places.setdefault(key, found) == found


def test_random_places_depend_on_the_seed_and_are_all_used():
    rule = Rule(match=Match(), map_to_many=Many(targets=tuple(_TARGETS), strategy="random"))
    runs = []
    for seed in (0, 0, 1):
        uri = mapper([rule], seed=seed)
        runs.append([uri("mem://", "b/k") for _ in range(60)])
    assert runs[0] == runs[1] != runs[2]
    assert len(set(runs[0])) == 3


@pytest.mark.parametrize(
    ("endpoint", "file", "expected"),
    [
        ("mem://", "bucket/a/b", "mem://t/pre/a/b"),
        ("mem://", "bucket", "mem://t/pre/"),
        ("mem://bucket", "a/b", "mem://t/pre/a/b"),
        ("", "mem://bucket/a", "mem://t/pre/a"),
        ("", "just/a/name", "mem://t/pre/just/a/name"),
        ("", "/rooted", "mem://t/pre/rooted"),
        ("http://10.0.0.5:9000", "k2Lm/0041.obj", "mem://t/pre/k2Lm/0041.obj"),
        ("unheard://", "bucket/key", "mem://t/pre/key"),
    ],
)
def test_the_target_takes_the_place_of_all_but_the_key(endpoint, file, expected):
    assert mapper(target="mem://t/pre")(endpoint, file) == expected


def test_backends_say_what_their_buckets_are():
    names = Names()
    base, key = names.split("az://", "account/container/a/b")
    assert (base.uri, base.bucket, key) == ("az://account/container/", "container", "a/b")
    assert names.split("az://", "account/other/a")[0].bucket == "other"
    base, key = names.split("s3+http://", "host:9000/bucket/a")
    assert (base.uri, base.bucket, key) == ("s3+http://host:9000/bucket/", "bucket", "a")
    # With the authority twice, as our own logs have it, and once, as others do.
    for endpoint, file in (("s3+http://host:9000", "host:9000/bucket/a"), ("s3+http://host:9000", "bucket/a")):
        for _ in range(2):
            base, key = names.split(endpoint, file)
            assert (base.uri, base.bucket, key) == ("s3+http://host:9000/bucket/", "bucket", "a")
            assert base.endpoint == "s3+http://host:9000"
    for container in ("first", "second"):
        base, key = names.split("az://account", f"account/{container}/a/b")
        assert (base.uri, base.bucket, key) == (f"az://account/{container}/", container, "a/b")
    base, key = names.split("file://", "/data/a")
    assert (base.uri, base.bucket, key) == ("file:///", "", "data/a")
    assert not names.guessed


@given(
    st.lists(
        st.sampled_from(list(itertools.product(["s3://", "mem://", ""], ["a/b", "a/c/d", "s3://a/b", "e"]))),
        max_size=12,
    )
)
def test_names_are_split_alike_whatever_was_split_before(names):
    used = Names()
    for endpoint, file in names:
        assert used.split(endpoint, file) == Names().split(endpoint, file)


def test_nothing_is_replayed_in_place_unless_that_is_said():
    with pytest.raises(UsageError, match="'mem://b/k' would be replayed on the recorded storage itself"):
        mapper()("mem://", "b/k")
    assert mapper(in_place=True)("mem://", "b/k") == "mem://b/k"
    with pytest.raises(UsageError, match="'k' is a relative name; say with --target"):
        mapper(in_place=True)("", "k")


def test_a_target_that_is_the_recorded_storage_is_refused():
    with pytest.raises(UsageError, match="'mem://b/k' would go where its name already leads"):
        mapper(target="mem://b")("mem://", "b/k")
    assert mapper(target="mem://b/below")("mem://", "b/k") == "mem://b/below/k"
    assert mapper([Rule(match=Match(), map_to="mem://b/")], in_place=True)("mem://", "b/k") == "mem://b/k"


def test_a_rule_may_make_a_name_that_has_no_place():
    rule = Rule(regex="^mem://b/", replace="")
    assert mapper([rule], target="mem://t")("mem://", "b/k") == "mem://t/k"
    with pytest.raises(UsageError, match="'k', which a rule made, is relative"):
        mapper([rule])("mem://", "b/k")
    with pytest.raises(UsageError, match="has no bucket that a rule could replace"):
        mapper([Rule(match=Match(), map_to=Elsewhere(bucket="b"))])("file://", "/data/k")
