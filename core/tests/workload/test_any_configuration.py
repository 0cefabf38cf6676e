"""Any configuration that loads runs, and any that is spoilt is refused where it was spoilt or runs as documented."""

from __future__ import annotations

import re

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.clocks import wall_ns
from penstock.engine.legs import legs_of
from penstock.engine.plan import make_plans
from penstock.engine.session import Session
from penstock.errors import ConfigError, RunError
from penstock.memory import MemoryOptions, MemoryStore
from penstock.workload.config import loads

SLOW = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
SIZES = st.sampled_from(
    [
        *(0, 1, 1000, "1KiB"),
        {"uniform": {"min": 0, "max": 99}},
        {"lognormal": {"mean": 50, "std_dev": 50, "max": 500}},
        {"choice": [{"size": 1}, {"size": 7, "weight": 3}]},
        {"histogram": {"bins": [{"min": 1, "max": 9, "count": 2}]}},
    ]
)
SELECTIONS = st.sampled_from(["uniform", "zipf", "hot_set", {"zipf": {"theta": 2, "scatter": False}}, "sequential"])
GLOBS = st.sampled_from(["**", "a/**", "b/**/p*", "*/**"])
RANGES = st.sampled_from([{"size": 7}, {"size": 5, "offset": "sequential"}, {"size": "1KiB", "offset": 3}])
COMMON = {"weight": st.integers(1, 9), "concurrency": st.integers(1, 3)}


def operation(op, required, **optional):
    return st.fixed_dictionaries({"op": st.just(op)} | required, optional=COMMON | optional)


OPERATIONS = st.one_of(
    operation("get", {"path": GLOBS}, range=RANGES, selection=SELECTIONS),
    operation("stat", {"path": GLOBS}, selection=SELECTIONS),
    operation("list", {"path": st.sampled_from(["", "a/", "new/"])}, recursive=st.booleans(), page_size=st.just(3)),
    operation("delete", {"path": GLOBS}),
    operation("copy", {"path": GLOBS, "to": st.sampled_from(["copies/", "c-{:05d}"])}, selection=SELECTIONS),
    operation(
        "put",
        {"path": st.sampled_from(["new/", "new/x-", "n-{:04d}"]), "size": SIZES},
        multipart=st.sampled_from([{}, {"part_size": 64}]),
        key_prefix_shards=st.integers(0, 20),
        fill=st.sampled_from(["random", "zero"]),
    ),
    operation("mkdir", {"path": st.just("dirs/")}),
)
CONFIGS = st.fixed_dictionaries(
    {
        "target": st.sampled_from(["mem://any/", "mem://any/deep/er"]),
        "workload": st.lists(OPERATIONS, min_size=1, max_size=4),
        "prepare": st.fixed_dictionaries(
            {
                "ensure_objects": st.just(
                    [
                        {"path": "a/", "count": 30, "size": 50},
                        {"path": "b/", "count": 9, "size": {"uniform": {"min": 0, "max": 9}}},
                    ]
                )
            },
            optional={"key_prefix_shards": st.integers(0, 5), "force_overwrite": st.booleans()},
        ),
    },
    optional={
        "seed": st.integers(0, 99),
        "reuse_puts": st.booleans(),
        "selection": SELECTIONS,
        "on_error": st.just({"retries": {"attempts": 2}}),
        "repeat": st.just(2),
        "cooldown": st.just("5ms"),
        "stop_when_stable": st.just({"window": "1s", "metrics": ["mean"]}),
        "stages": st.lists(
            st.fixed_dictionaries(
                {"name": st.sampled_from(["one", "two", "three"])},
                optional={
                    "workload": st.lists(OPERATIONS, min_size=1, max_size=2),
                    "total_operations": st.integers(1, 30),
                    "barrier": st.sampled_from(["all", "majority", "best_effort"]),
                    "warmup": st.just("5ms"),
                },
            ),
            max_size=2,
            unique_by=lambda stage: stage["name"],
        ),
    },
)
FOREIGN = {"deep/er/a/keep": b"theirs", "new/keep": b"theirs", "other": b"theirs", "n-9999": b"theirs"}


@pytest.fixture
def store():
    store = MemoryStore(MemoryOptions(name="any"))
    yield store
    store.delete(keys(store))


def keys(store):
    return [info.key for page in store.list_pages() for info in page.objects]


def carry_out(config, monkeypatch, store):
    """What one run asked of the store, in order; the store holds what it did before."""
    store.delete(keys(store))
    for key, body in FOREIGN.items():
        store.put(key, body)
    asked = []
    with monkeypatch.context() as patched:
        for name in ("get", "put", "stat", "copy", "delete", "open_writer"):
            patched.setattr(MemoryStore, name, noting(getattr(MemoryStore, name), name, asked))
        session = Session()
        (plan,) = make_plans(config, run_id="run")
        session.open(plan.to_message())
        # What is called in a warm-up and a cool-down is a matter of time.
        timed = any(part.warmup or part.cooldown for part in config.parts())
        for leg in legs_of(config):
            if leg.number == 0 or leg.again:
                list(session.prepare({}))
            asked.append(("leg", leg.label, None, None))
            try:
                session.resolve({"leg": leg.number})
            except RunError as error:
                if leg.number == 0 or "nothing matches" not in str(error):
                    raise
                # A stage before has deleted what this one was to read.
                break
            *_, last = session.run({"leg": leg.number, "start_ns": wall_ns()})
            assert (last["done"], last["reason"]) == (True, "")
    for directories in (False, True):
        list(session.cleanup({"directories": directories}))
    return [] if timed else asked


def noting(method, name, asked):
    def call(self, key, /, *arguments, **given):
        asked.append((name, tuple(key) if name == "delete" else key, given.get("start"), given.get("length")))
        return method(self, key, *arguments, **given)

    return call


@settings(max_examples=12, suppress_health_check=SLOW)
@given(data=CONFIGS)
def test_a_configuration_that_loads_runs_repeats_itself_and_leaves_what_was_there(data, store, monkeypatch):
    text = yaml.safe_dump(
        data
        | {"total_operations": 60, "duration": 60, "concurrency": 1, "cleanup": True, "live_interval": 0.1}
        | {"on_error": {"max_total_errors": 0} | data.get("on_error", {})}
    )
    try:
        config = loads(text, label="w.yaml", environ={})
    except ConfigError as error:
        refused = error.problems
    else:
        refused = ()
    assert all(re.match(r"w.yaml:\d+:\d+: ", line) for line in refused)
    if refused:
        return
    first = carry_out(config, monkeypatch, store)
    deleted = any(item.op == "delete" for part in config.parts() for item in part.workload)
    assert set(keys(store)) <= set(FOREIGN)
    if not deleted:
        assert set(keys(store)) == set(FOREIGN)
    assert carry_out(config, monkeypatch, store) == first, "same seed, same plan"


GOOD = """\
target: mem://any/
duration: 10s
concurrency: 8
selection: uniform
cleanup: true
reuse_puts: false
on_error:
  max_total_errors: 5
  action: stop
prepare:
  post_prepare_delay: 0
  ensure_objects:
    - path: a/
      count: 5
      size: 1KiB
workload:
  - op: get
    path: "**"
    weight: 3
    range:
      size: 10
      offset: random
  - op: put
    path: new/
    size: 5
    weight: 1
"""
PLACES = [
    (number, len(line) - len(line.lstrip(" -")), re.sub(r"^[ -]*", "", line).partition(":")[0])
    for number, line in enumerate(GOOD.splitlines(), start=1)
]
#: Without these the file means something else and is as good.
OPTIONAL = {
    *("duration", "concurrency", "selection", "cleanup", "reuse_puts", "on_error", "max_total_errors", "action"),
    *("prepare", "post_prepare_delay", "ensure_objects", "weight", "range", "offset"),
}
#: The lines of path and size of prepared objects, which have defaults there.
DEFAULTED = {13, 15}


def block(lines, number):
    """The lines of a key: its own, and those that are deeper."""
    depth = PLACES[number - 1][1]
    end = next((later for later, deep, _ in PLACES[number:] if deep <= depth), len(lines) + 1)
    return range(number - 1, end - 1)


@given(place=st.sampled_from(PLACES), how=st.sampled_from(["rename", "drop", "list", "map", "text", "twice"]))
def test_a_spoilt_file_is_refused_where_it_was_spoilt_or_means_what_it_says(place, how):
    number, depth, name = place
    lines = GOOD.splitlines()
    line, inside = lines[number - 1], block(lines, number)
    head = line[: line.index(name)]
    if how == "rename":
        lines[number - 1] = line.replace(f"{name}:", f"{name}z:", 1)
    elif how == "drop":
        kept = "- " if "-" in head else ""
        lines = [text for at, text in enumerate(lines) if at not in inside]
        if kept:
            # The item's dash stays, before the key that follows.
            following = lines[number - 1]
            lines[number - 1] = f"{head}{following.lstrip()}"
    elif how == "twice":
        lines.insert(inside.stop, f"{' ' * depth}{name}: 1")
    else:
        value = {"list": "[[1]]", "map": "{surely: wrong}", "text": "'surely wrong'"}[how]
        lines = [text for at, text in enumerate(lines) if at not in inside or at == number - 1]
        lines[number - 1] = f"{head}{name}: {value}"
    try:
        loads("\n".join(lines), label="w.yaml", environ={})
    except ConfigError as error:
        problems = error.problems
    else:
        problems = ()
    if how == "drop":
        assert bool(problems) == (name not in OPTIONAL and number not in DEFAULTED), problems
        assert not problems or any(name in problem for problem in problems), problems
    elif how == "text" and name in ("path", "target"):
        # A path may be any text; a target without a scheme is a directory of this host.
        return
    else:
        # The place of a value on a line of its own is that line; a key that stands twice is wrong the second time.
        where = rf"w.yaml:({number}|{number + 1}|{inside.stop + 1}):"
        assert any(re.match(where, line) and name in line for line in problems), problems


def test_the_file_that_is_spoilt_above_is_good():
    assert loads(GOOD, label="w.yaml", environ={}).concurrency == 8
    assert {name for _, _, name in PLACES} >= OPTIONAL
    assert [name for number, _, name in PLACES if number in DEFAULTED] == ["path", "size"]
