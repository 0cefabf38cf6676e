"""Configurations of every key there is run for 200 ms: none breaks, shares are met, and what was there stays."""

from __future__ import annotations

import contextlib
import math
import re
from collections import Counter
from pathlib import Path

import attrs
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from penstock import memory
from penstock.clocks import wall_ns
from penstock.engine.legs import legs_of
from penstock.engine.plan import make_plans
from penstock.engine.session import Session
from penstock.errors import ConfigError, RunError, StoreError
from penstock.memory import MemoryOptions, MemoryStore
from penstock.stats.tally import Tally
from penstock.workload.config import CONFIG, Rate, loads
from penstock.workload.fields import Record, fields_of

Dumper, Loader = (getattr(yaml, f"C{name}", getattr(yaml, name)) for name in ("SafeDumper", "SafeLoader"))
SLOW = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]


def some(**optional):
    return st.fixed_dictionaries({}, optional=optional)


def one(**values):
    """A mapping with all of these keys."""
    return st.fixed_dictionaries(
        {name: value if isinstance(value, st.SearchStrategy) else st.just(value) for name, value in values.items()}
    )


def of(*values):
    return st.sampled_from(values)


NUMBERS = st.integers(1, 9)
SIZES = st.one_of(
    of(0, 1, 1000, "1KiB", {"type": "fixed", "size": 5}, {"fixed": 70_000}),
    one(uniform=one(min=st.integers(0, 9), max=st.integers(9, 900))),
    one(type="lognormal", mean=50, std_dev=of(0, 50), min=of(0, 9), max=of(500, "70KiB")),
    one(choice=st.lists(one(size=st.integers(0, 99), weight=of(0.5, 3)), min_size=1, max_size=2)),
    of({"type": "choice", "choices": [{"size": 1}, {"size": 7, "weight": 3}]}),
    of({"histogram": {"bins": [{"min": 1, "max": 9, "count": 2}, {"min": 40, "max": 40, "count": 1}]}}),
    of({"type": "histogram", "op": "get", "bins": [{"min": 5, "max": 70, "count": 1}]}),
    one(type="histogram", op=of("get_range"), bins=of([{"min": 5, "max": 70, "count": 1}])),
    of({"histogram": "LOG"}),
)
SELECTIONS = st.one_of(
    of("uniform", "sequential", "each_once", "zipf", "hot_set", {"policy": "sequential"}),
    one(zipf=some(theta=of(0.5, 1, 2), scatter=of(False))),
    one(hot_set=some(fraction=of(0.1, 0.5), probability=of(0.5, 0.99), scatter=st.booleans())),
)
CONTENT = {
    "fill": of("random", "pooled", "zero"),
    "dedup_factor": of(2.5),
    "dedup_across_objects": of(True),
    "compress_factor": of(3),
    "format": of("raw", "none"),
}
GLOBS = of("**", "a/**", "b/**/p*", "*/**")
COMMON = {"weight": NUMBERS, "concurrency": st.integers(1, 3)}
RATES = st.one_of(
    of("max"),
    one(ops_per_second=st.integers(50, 2000), arrivals=of("poisson", "uniform")),
    of([{"for": "100ms", "ops_per_second": 100}, {"seconds": 0.1, "ops_per_second": {"from": 10, "to": 500}}]),
    of({"phases": [{"ops_per_second": 300}], "arrivals": "uniform"}),
)
ENDS = of(
    "off", {"window": "500ms", "tolerance": 0.2, "metrics": ["mean", "p90"]}, {"window": "500ms", "at_most": "0.6s"}
)


def operation(op, required=None, **optional):
    return st.fixed_dictionaries({"op": st.just(op)} | (required or {}), optional=COMMON | optional)


OPERATIONS = st.one_of(
    operation(
        "get",
        {"path": GLOBS},
        range=one(size=of(7, "1KiB"), offset=of("random", "sequential", 3)),
        selection=SELECTIONS,
    ),
    operation("get", {"uri": of("mem://any/deep/a/**", "mem://any/**")}),
    operation("stat", {"path": GLOBS}, selection=SELECTIONS),
    operation("list", path=of("", "a/", "new/"), recursive=st.booleans(), page_size=of(3, 1000)),
    operation("list", {"path": of("tree/**/", "tree/*/")}, selection=SELECTIONS),
    operation("delete", {"path": GLOBS}),
    operation("copy", {"path": GLOBS, "to": of("copies/", "c-{:05d}")}, selection=SELECTIONS),
    operation(
        "put",
        {"path": of("new/", "new/x-", "n-{:04d}"), "size": SIZES},
        multipart=some(part_size=of(64, "1MiB"), concurrency=of("none")),
        key_prefix_shards=st.integers(0, 20),
        **CONTENT,
    ),
    operation("mkdir", {"path": of("dirs/", "dirs/d-{:03d}")}),
)
PAIRS = st.tuples(operation("mkdir", {"path": of("dirs/")}), operation("rmdir", {"path": of("dirs/")})).map(list)
WORKLOADS = st.one_of(st.lists(OPERATIONS, min_size=1, max_size=4), PAIRS)
OBJECTS = st.tuples(
    st.fixed_dictionaries(
        {"path": st.just("a/"), "count": st.integers(1, 40)},
        optional={"size": SIZES, "name": of("o-{}", "prepared-%04d.dat"), **CONTENT},
    ),
    st.fixed_dictionaries({"base_uri": st.just("b/"), "count": st.just(9)}, optional={"size": SIZES}),
).map(list)
PREPARE = st.fixed_dictionaries(
    {"ensure_objects": OBJECTS},
    optional={
        "key_prefix_shards": st.integers(0, 5),
        "force_overwrite": st.booleans(),
        "skip_verification": st.booleans(),
        "post_prepare_delay": of(0, "1ms"),
        "concurrency": st.integers(1, 3),
        "directory_structure": st.fixed_dictionaries(
            {"path": st.just("tree/")},
            optional={
                "width": st.integers(1, 3),
                "depth": st.integers(1, 2),
                "files_per_dir": st.integers(0, 3),
                "distribution": of("bottom", "all"),
                "dir_mask": of("d%d_w%d", "{}-{}"),
                "file_mask": of("f%d", "{:04d}.bin"),
                "size": SIZES,
                **CONTENT,
            },
        ),
    },
)
STAGES = st.lists(
    st.fixed_dictionaries(
        {"name": of("one", "two", "three")},
        optional={
            "workload": WORKLOADS,
            "duration": of("60ms", "0.1s"),
            "total_operations": st.integers(1, 200),
            "warmup": of("10ms"),
            "cooldown": of("5ms"),
            "stop_when_stable": st.one_of(of("as run"), ENDS),
            "concurrency": st.integers(1, 4),
            "rate": RATES,
            "barrier": of("all", "majority", "best_effort", "none"),
        },
    ),
    max_size=3,
    unique_by=lambda stage: stage["name"],
)
DRAWN = {"distribution": of("uniform", "exponential", "lognormal"), "sigma": of(0.5)}
EFFECTS = st.one_of(
    one(
        fail=st.fixed_dictionaries(
            {"error": of("ThrottledError", "StoreConnectionError", "AccessDeniedError")},
            optional={
                "when": of("before", "after"),
                "message": of("as asked for"),
                "retryable": st.booleans(),
            },
        )
    ),
    of({"fail": {"status": 503, "code": "SlowDown", "retry_after": "1ms"}, "probability": 0.1}),
    of({"fail": {"when": "within", "at": 5}, "operations": ["get"]}),
    one(delay=st.fixed_dictionaries({"seconds": of("100us", 0)}, optional=DRAWN)),
    one(stall=st.fixed_dictionaries({"time": of("20ms")}, optional={"at": of("10ms")})),
    of({"stall": {"time": "5ms", "every": "50ms"}}),
    one(service=one(concurrency=of(1, 4), time="100us", **DRAWN)),
    one(truncate=one(at=of(3))),
    one(corrupt=some(offset=of(5), bits=of(8))),
    of({"stale": True}),
    of({"lose": True}),
    one(torn=one(at=of(3))),
)
RULES = st.tuples(
    EFFECTS,
    some(
        operations=of(["get"], ["put"]),
        keys=of("**", "**/p*"),
        probability=of(0.1, 1),
        nth=of(3),
        every=of(2),
        after=of(5),
        limit=of(2, 0),
    ),
).map(lambda parts: parts[0] | parts[1])
LAYERS = {
    "range_engine": st.one_of(
        of("on", "off"),
        some(threshold=of(16), part_size=of(64), concurrency=of(2), memory=of("1MiB"), resumes=of(1)),
    ),
    "size_cache": st.one_of(of("on", "off"), some(limit=of(3), ttl=of("5ms"))),
    "verify_writes": st.one_of(of("off", "stat", "read"), some(by=of("stat", "read"), attempts=of(2))),
    "compression": st.one_of(
        of("off", "zstd"), some(level=of(1), frame_size=of(1024), list_sizes=of("exact", "stored"))
    ),
    "faults": one(rules=st.lists(RULES, min_size=1, max_size=2), seed=of(1), history=of("1MiB")),
    "multi_endpoint": st.fixed_dictionaries(
        {"endpoints": of(["TARGET"])},
        optional={
            "policy": of("round_robin", "random", "least_connections", "latency_weighted"),
            "writes": of("balanced", "first"),
            "eject_after": of(2),
            "base_delay": of("10ms"),
            "max_delay": of("1s"),
        },
    ),
}
HOSTS = some(
    workers=of(1),
    agents=of([{"id": "only", "target": "mem://any/", "concurrency": 2, "env": {"A_VARIABLE": "1"}}]),
    shared_filesystem=st.booleans(),
    tree_creation_mode=of("concurrent", "coordinator", "isolated"),
    path_selection=of("random", "partitioned", "exclusive", "weighted"),
    partition_overlap=of(0.5),
    path_template=of("h-{id}/"),
    on_worker_lost=of("abort"),
    min_workers=of(1, 2),
    clock=some(probes=of(5), max_uncertainty=of("1ms"), action=of("refuse")),
    lease=of("10s"),
    op_log=of("leave"),
    forward_env=of(["AWS_REGION"]),
)
NEED = {"target": of("mem://any/", "mem://any/deep"), "workload": WORKLOADS, "prepare": PREPARE}
MAY = {
    "name": of("a name"),
    "total_operations": st.integers(1, 500),
    "warmup": of("20ms"),
    "cooldown": of("5ms"),
    "stop_when_stable": ENDS,
    "repeat": of(2),
    "concurrency": st.integers(1, 4),
    "processes": of(1, "auto", 2),
    "cpu_binding": of("off"),
    "rate": RATES,
    "seed": st.integers(0, 99),
    "selection": SELECTIONS,
    "reuse_puts": st.booleans(),
    "verify": of("size", "content", "checksum"),
    "stages": STAGES,
    "on_error": some(
        error_rate=some(errors_per_second=of(6, 1e6), window=of("100ms")),
        action=of("stop", "continue"),
        retries=some(attempts=of(2), base_delay=of("1ms"), max_delay=of("2ms"), deadline=of("1s", "none")),
    ),
    "op_log": of(True, "ops.tsv.zst"),
    "live_interval": of("100ms"),
    "results_dir": of("results"),
    "page_cache_mode": of("random"),
    "backend": of({"mem": {}}, {"mem": {"name": "any"}}, {"s3": {"region": "x"}}),
    "launcher": of("local", {"name": "local", "hosts": 1}),
    "distributed": HOSTS,
    **LAYERS,
}
CONFIGS = st.fixed_dictionaries(NEED, optional=MAY)
#: Without these an operation is none.
NEEDED = {"path", "uri", "to", "op"}
#: Keys whose values need what is not here, and where they are tested.
ELSEWHERE = {
    ("Config", "page_cache_mode"): "no page cache in memory: plugins/file",
    ("Agent", "address"): "where agents of launchers listen: plugins/launchers/grpc",
    ("Agent", "host"): "names that launchers know: core/tests/hosts",
    ("Agent", "multi_endpoint"): "core/tests/hosts",
    ("Agent", "path_template"): "core/tests/hosts",
    ("MultiEndpoint", "file"): "core/tests/layers",
    ("Multipart", "concurrency"): "memory sends one part after the other: test_engine_keys",
}
FOREIGN = {"deep/a/keep": b"theirs", "new/keep": b"theirs", "other": b"theirs", "n-9999": b"theirs"}


@pytest.fixture
def store(monkeypatch):
    store = MemoryStore(MemoryOptions(name="any"))
    monkeypatch.setitem(memory._spaces, "alias", memory._spaces["any"])
    yield store
    store.delete(keys(store))


@pytest.fixture
def read(log):
    """What reads a drawn configuration. What does not go with the rest is said with its place, and taken out there."""

    def load(data):
        stable = data.get("stop_when_stable", {})
        duration = {} if "at_most" in stable else {"duration": "600ms" if "window" in stable else "200ms"}
        data = data | {"cleanup": True, "live_interval": data.get("live_interval", 0.1)} | duration
        # The other endpoint shows the same objects.
        other = data["target"].replace("any", "alias")
        errors = {"max_total_errors": "none" if "faults" in data else 0}
        data["on_error"] = errors | data.get("on_error", {})
        for _ in range(40):
            text = yaml.dump(data, Dumper=Dumper)
            try:
                return loads(text.replace("LOG", str(log)).replace("TARGET", other), label="w.yaml", environ={})
            except ConfigError as error:
                data = take_out(yaml.load(text, Loader), error.problems)
        raise AssertionError("it can't be mended")

    return load


def take_out(data, problems):
    """Without the keys that are wrong; without what they are in, where they are missing or needed there."""
    matches = [re.match(r"w.yaml:\d+:\d+: ([a-z_0-9.\[\]]+): \S", line) for line in problems]
    assert all(matches), problems
    found = {}
    for match in matches:
        inner, places = data, []
        for step in re.findall(r"[^.\[\]]+", match[1]):
            key = int(step) if isinstance(inner, list) else step
            if isinstance(inner, list) or (isinstance(inner, dict) and key in inner):
                places.append((inner, key))
                inner = inner[key]
        around, key = places[-2 if places[-1][1] in NEEDED else -1]
        found[id(around), key] = around
    for (_, key), around in sorted(found.items(), key=lambda item: -item[0][1] if isinstance(item[0][1], int) else 0):
        del around[key]
    if not data.get("workload"):
        data["workload"] = [{"op": "get", "path": "**"}]
    return data


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """An op-log with two sizes of puts."""
    path = tmp_path_factory.mktemp("log") / "sizes.tsv"
    config = loads(
        "target: mem://sizes/\ntotal_operations: 20\nconcurrency: 1\n"
        "workload: [{op: put, path: x/, size: {choice: [{size: 3}, {size: 30}]}}]\n",
        label="w.yaml",
        environ={},
    )
    drive(config, str(path))
    return path


def keys(store):
    return [info.key for page in store.list_pages() for info in page.objects]


def drive(config, log=None):
    """Carry out every leg, in this process, and clean up; the tallies of each leg, None for one without objects."""
    session = Session()
    (plan,) = make_plans(config, run_id="run")
    session.open(attrs.evolve(plan, op_log=log).to_message())
    found = []
    for leg in legs_of(config):
        if leg.number == 0 or leg.again:
            list(session.prepare({}))
        try:
            session.resolve({"leg": leg.number})
        except RunError as error:
            if "nothing matches" not in str(error):
                raise
            break
        *snapshots, last = session.run({"leg": leg.number, "start_ns": wall_ns()})
        assert last["done"] is True
        tally = Tally()
        for snapshot in snapshots:
            tally.merge(Tally.from_message(snapshot["tally"]))
        found.append((leg, tally, last["reason"]))
    session.finish({})
    for directories in (False, True):
        list(session.cleanup({"directories": directories}))
    return found


def counts(tally):
    """Operations by the word of the file."""
    found = Counter()
    for name in tally.operations():
        cell = tally.operation(name)
        found[name.partition("_")[0].lower()] += cell.count + cell.errors
    return found


def shares(config):
    """The share of each operation; None where operations are passed over, so that shares are others."""
    if any(item.concurrency is not None or item.op in ("delete", "rmdir") for item in config.workload):
        return None
    policies = [getattr(item, "selection", None) or config.selection for item in config.workload]
    if any(type(policy).__name__ == "EachOnce" for policy in policies):
        return None
    total = sum(item.weight for item in config.workload)
    found = Counter()
    for item in config.workload:
        found[item.op] += item.weight / total
    return found


def check_shares(config, tally):
    expected, found = shares(config), counts(tally)
    total = found.total()
    if expected is None:
        return
    assert set(found) <= set(expected)
    for op, share in expected.items():
        # An operation that is under way at the end is in no share of anybody.
        slack = 5.5 * math.sqrt(total * share * (1 - share)) + 2 * config.concurrency
        assert abs(found[op] - total * share) <= slack, (op, found, expected)


@settings(max_examples=12, suppress_health_check=SLOW, phases=[Phase.generate])
@given(data=CONFIGS)
def test_a_configuration_of_any_keys_runs_for_its_time_and_cleans_up(data, store, read, tmp_path):
    config = read(data)
    if config.prepare.skip_verification or data.get("processes") == 2:
        return
    store.delete(keys(store))
    for key, body in FOREIGN.items():
        store.put(key, body)
    with contextlib.chdir(tmp_path):
        logged = str(tmp_path / "ops.tsv") if config.op_log else None
        try:
            legs = drive(config, logged)
        except (StoreError, RunError):
            # Nothing is spared by faults, preparing least of all.
            assert config.faults is not None
            return
    for leg, tally, reason in legs:
        if config.faults is None:
            assert reason == "", (reason, leg.label)
            assert not any(tally.operation(name).errors for name in tally.operations())
            check_shares(leg.config, tally)
        if leg.config.total_operations is not None and not (leg.config.warmup or leg.config.cooldown):
            assert counts(tally).total() <= leg.config.total_operations
    if logged and not any(leg.config.warmup or leg.config.cooldown for leg, _, _ in legs):
        rows = [line for line in Path(logged).read_text().splitlines()[1:] if not line.startswith("#")]
        assert len(rows) == sum(counts(tally).total() for _, tally, _ in legs)
    left = set(keys(store))
    if config.faults is None:
        assert left <= set(FOREIGN)
    if not any(item.op == "delete" for part in config.parts() for item in part.workload):
        assert left >= set(FOREIGN)
        assert {key: memory._spaces["any"].objects[key].data for key in FOREIGN} == FOREIGN


def keys_of(value):
    """Every key that a shape reads, as the class and field it becomes."""
    found, seen = set(), set()

    def walk(shape):
        if id(shape) in seen or not attrs.has(type(shape)):
            return
        seen.add(id(shape))
        if hasattr(shape, "cls"):
            for name, (entry, _) in fields_of(shape.cls).items():
                found.add((shape.cls.__name__, name))
                walk(entry.shape)
        for name in ("shape", "shapes", "records"):
            inner = getattr(shape, name, ())
            for each in inner.values() if isinstance(inner, dict) else inner if isinstance(inner, tuple) else (inner,):
                walk(each)

    walk(value)
    return found


def values_in(value):
    """The keys of a configuration that are not as they are unless said otherwise."""
    if isinstance(value, tuple):
        return set().union(*map(values_in, value))
    if not attrs.has(type(value)):
        return set()
    found = set()
    for name, (_, default) in fields_of(type(value)).items():
        own = getattr(value, name)
        if own != default:
            found |= {(type(value).__name__, name)} | values_in(own)
    return found


def test_every_key_of_the_schema_is_drawn_above(read):
    drawn = set()
    plain = {"target": "mem://any/", "workload": [{"op": "put", "path": "x/", "size": 1}]}
    plain["prepare"] = {"directory_structure": {"path": "tree/"}}

    def sample(strategy, examples):
        @settings(max_examples=examples, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(strategy)
        def draw(data):
            drawn.update(values_in(read(plain | data)))

        draw()

    for name in ("workload", "prepare", "stages", "faults", "distributed"):
        sample(one(**{name: (NEED | MAY)[name]}), 120 if name == "workload" else 60)
    for name in MAY:
        sample(one(**{name: MAY[name]}), 8)
    # A rate reads its mapping by itself.
    known = keys_of(CONFIG) | keys_of(Record(Rate))
    assert len(known) > 150
    assert drawn <= known
    missing = known - drawn
    assert sorted(missing - set(ELSEWHERE)) == []
    assert sorted(set(ELSEWHERE) - missing) == []
