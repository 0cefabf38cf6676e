"""What a configuration says of faults, the size cache, verified writes and compression."""

from __future__ import annotations

import attrs
import pytest

from penstock.layers.compression import Compression
from penstock.layers.endpoints import Endpoints
from penstock.layers.faults import (
    Corrupt,
    Delay,
    Fail,
    Faults,
    Lose,
    Rule,
    Service,
    Stale,
    Stall,
    Torn,
    Truncate,
)
from penstock.layers.ranges import Ranges
from penstock.layers.sizes import Sizes
from penstock.layers.stack import Layers
from penstock.layers.verify import VerifyWrites
from penstock.workload.documents import Mark, Problems, from_plain, parse
from penstock.workload.layering import (
    COMPRESSION,
    FAULTS,
    MULTI_ENDPOINT,
    RANGE_ENGINE,
    SIZE_CACHE,
    VERIFY_WRITES,
    layers_of,
)
from penstock.workload.shapes import Reader

SHAPES = {
    "multi_endpoint": MULTI_ENDPOINT,
    "range_engine": RANGE_ENGINE,
    "faults": FAULTS,
    "size_cache": SIZE_CACHE,
    "verify_writes": VERIFY_WRITES,
    "compression": COMPRESSION,
}


@attrs.frozen
class Keys:
    multi_endpoint: object = None
    range_engine: object = None
    faults: object = None
    size_cache: object = None
    verify_writes: object = None
    compression: object = None


def read(text):
    """The layers of a file of these keys, and what is wrong with it."""
    problems = Problems()
    root = parse(text, "run.yaml", problems, {})
    reader = Reader(problems)
    values = {name: reader.read(SHAPES[name], node, name) for name, node in root.entries.items()}
    return Keys(**values), problems.texts()


def layers(text):
    keys, problems = read(text)
    assert not problems, problems
    again = {}
    for name, shape in SHAPES.items():
        value = getattr(keys, name)
        plain = from_plain({"it": shape.dump(value)}, Mark("plan")).entries["it"]
        again[name] = Reader(Problems()).read(shape, plain, name)
    assert Keys(**again) == keys, "the plan holds the same"
    return layers_of(keys)


def rules(text):
    return layers(f"faults: {{rules: [{text}]}}").faults.rules


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", Layers()),
        ("size_cache: on", Layers(sizes=Sizes())),
        ("size_cache: off", Layers()),
        ("size_cache: {limit: 10, ttl: 5m}", Layers(sizes=Sizes(limit=10, ttl=300.0))),
        ("verify_writes: off", Layers()),
        ("verify_writes: stat", Layers(verify=VerifyWrites())),
        ("verify_writes: read", Layers(verify=VerifyWrites(by="read"))),
        ("verify_writes: {by: read, attempts: 3}", Layers(verify=VerifyWrites(by="read", attempts=3))),
        ("compression: zstd", Layers(compression=Compression())),
        (
            "compression: {level: 1, frame_size: 1MiB, list_sizes: stored}",
            Layers(compression=Compression(level=1, frame_size=2**20, list_sizes="stored")),
        ),
        ("faults: none", Layers()),
        ("range_engine: on", Layers(ranges=Ranges())),
        ("range_engine: off", Layers()),
        (
            "range_engine: {threshold: 1MiB, part_size: 8MiB, concurrency: 4, memory: 64MiB, resumes: 2}",
            Layers(ranges=Ranges(threshold=2**20, part_size=2**23, concurrency=4, memory=2**26, resumes=2)),
        ),
    ],
)
def test_keys_are_layers(text, expected):
    assert layers(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{fail: {}}", Rule(effect=Fail())),
        (
            "{fail: {error: ThrottledError, retry_after: 2s, status: 503}, operations: [get, put], probability: 0.01}",
            Rule(
                effect=Fail(error="ThrottledError", retry_after=2.0, status=503),
                operations=("get", "put"),
                probability=0.01,
            ),
        ),
        (
            "{fail: {when: within, at: 64KiB}, operations: [get]}",
            Rule(effect=Fail(when="within", at=65536), operations=["get"]),
        ),
        (
            "{delay: {time: 5ms, distribution: exponential}}",
            Rule(effect=Delay(seconds=0.005, distribution="exponential")),
        ),
        ("{stall: {at: 10s, seconds: 1s, every: 1m}}", Rule(effect=Stall(at=10.0, seconds=1.0, every=60.0))),
        ("{service: {concurrency: 8, time: 10ms}}", Rule(effect=Service(concurrency=8, seconds=0.01))),
        ("{truncate: {at: 10}, nth: 3}", Rule(effect=Truncate(at=10), nth=3)),
        ("{corrupt: {}, every: 100, after: 10, limit: 2}", Rule(effect=Corrupt(), every=100, after=10, limit=2)),
        ("{corrupt: {offset: 7, bits: 3}, keys: 'a/*'}", Rule(effect=Corrupt(offset=7, bits=3), keys="a/*")),
        ("{stale: true}", Rule(effect=Stale())),
        ("{torn: {at: 4096}}", Rule(effect=Torn(at=4096))),
        ("{lose: true, operations: [put]}", Rule(effect=Lose(), operations=["put"])),
    ],
)
def test_rules_are_effects(text, expected):
    assert rules(text) == (expected,)


def test_faults_have_a_seed_and_an_order():
    found = layers("faults: {seed: 7, history: 1MiB, rules: [{stale: true}, {fail: {}}]}").faults
    assert found == Faults(seed=7, history=2**20, rules=[Rule(effect=Stale()), Rule(effect=Fail())])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("faults: {rules: []}", "faults.rules: the list is empty"),
        ("faults: {rules: [{}]}", "faults.rules[0]: write one of fail, delay"),
        ("faults: {rules: [{fail: {}, lose: true}]}", "lose, not fail and lose"),
        ("faults: {rules: [{stale: false}]}", "write one of fail"),
        ("faults: {rules: [{fail: {error: KeyError}}]}", "faults.rules[0].fail.error: write AccessDeniedError or"),
        ("faults: {rules: [{fail: {whem: after}}]}", "unknown key, did you mean when?"),
        ("faults: {rules: [{stale: true, operations: [put]}]}", "Stale does not act on put; it acts on get, stat"),
        ("faults: {rules: [{fail: {}, operations: [read]}]}", "write get or put"),
        ("faults: {rules: [{fail: {}, probability: 2}]}", "too large; write 1 or less"),
        ("faults: {rules: [{stall: {time: 2s, every: 1s}}]}", "never ends"),
        ("faults: {rules: [{delay: {}}]}", "seconds or time is missing"),
        ("faults: {rules: [{delay: {seconds: 1, time: 1}}]}", "names of one key"),
        ("faults: {rule: []}", "did you mean rules?"),
        ("verify_writes: head", "write off or stat or read"),
        ("verify_writes: {by: head}", "verify_writes.by: write stat or read"),
        ("size_cache: {ttl: 0}", "size_cache.ttl: 0 is too small"),
        ("range_engine: {threshold: 0}", "range_engine.threshold: 0 is too small"),
        ("range_engine: {chunk: 1MiB}", "unknown key"),
        ("multi_endpoint: {}", "name the other endpoints"),
        ("multi_endpoint: {endpoints: ['mem://{3...1}/']}", "multi_endpoint.endpoints: 'mem://{3...1}/'"),
        ("multi_endpoint: {endpoints: ['mem://a'], policy: best}", "write round_robin or"),
        ("multi_endpoint: {endpoints: ['mem://a'], base_delay: 2m}", "multi_endpoint.base_delay: 120 is more than"),
        ("compression: gzip", "write off or zstd"),
        ("compression: {level: 23}", "compression.level: 23 is too large"),
    ],
)
def test_what_can_not_be_is_refused_at_its_place(text, problem):
    _, problems = read(text)
    assert problem in " ".join(problems)
    assert all(line.startswith("run.yaml:1:") for line in problems)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_editors_get_a_schema(shape):
    definitions = {}
    schema = shape.schema(definitions)
    assert schema
    for body in definitions.values():
        assert body["description"]
        assert all(inner["description"] for inner in body["properties"].values())


def test_endpoints_are_told_by_templates_and_a_file(tmp_path):
    (tmp_path / "others").write_text("# more\nmem://x\nmem://y{8...9}\n")
    text = "multi_endpoint: {endpoints: ['mem://a{1...2}', 'mem://b'], strategy: sticky_key, writes: first, "
    keys, problems = read(text + f"file: '{tmp_path}/others', eject_after: 5, base_delay: 100ms, max_delay: 2s}}")
    assert not problems
    multi = keys.multi_endpoint
    assert multi.uris() == ["mem://a1", "mem://a2", "mem://b", "mem://x", "mem://y8", "mem://y9"]
    assert multi.layer(7) == Endpoints(
        policy="sticky_key", writes="first", eject_after=5, base_delay=0.1, max_delay=2.0, seed=7
    )
