"""The layers in a run: from the file to the stores, and one run with all of them."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid

import pytest
from layers_support import keys

from penstock.engine.places import Places
from penstock.engine.run import execute
from penstock.errors import ConfigError, StoreTimeoutError, UsageError
from penstock.memory import MemoryOptions, MemoryStore
from penstock.opening import open_store
from penstock.report.live import open_view
from penstock.report.results import read_result
from penstock.workload.config import Loaded, dump, loads, restore

WORKLOAD = "workload: [{op: get, path: 'in/*'}, {op: put, path: out/, size: 1KiB}]\n"


def config(text):
    return loads(text + WORKLOAD, label="run.yaml", environ={})


def opened(text, *paths):
    places = Places(config(text))
    found = [places.locate(path) for path in paths]
    places.open(2)
    return places, found


def test_without_layers_the_store_is_the_backends_own():
    places, _ = opened("target: mem://x/\n", "in/*")
    assert type(places.stores[0]) is MemoryStore
    places.close()


def test_keys_are_put_on_every_store():
    name = uuid.uuid4().hex
    text = (
        f"target: mem://{name}/base/\nrange_engine: {{threshold: 10, part_size: 10}}\nsize_cache: on\n"
        "verify_writes: stat\ncompression: zstd\n"
        "faults: {rules: [{fail: {error: StoreTimeoutError}, keys: '**/bad.zst'}]}\n"
    )
    places, (place, other) = opened(text, "in/*", "mem://other/k")
    stack = places.stacks[place.store]
    assert [type(layer).__name__ for layer in (stack.ranged, stack.sized, stack.verified, stack.compressed)] == [
        "Ranged",
        "Sized",
        "Verified",
        "Compressed",
    ]
    assert places.stacks[other.store].ranged is not None
    store = places.stores[place.store]
    store.put("base/k", bytes(1000))
    assert keys(open_store(f"mem://{name}")) == ["base/k.zst"]
    with pytest.raises(StoreTimeoutError) as caught:
        store.put("base/bad", b"")
    assert caught.value.uri == f"mem://{name}/base/bad"
    places.close()
    assert places.stacks == []


def test_endpoints_are_those_of_the_target_alone():
    name = uuid.uuid4().hex
    text = f"target: mem://{name}/one\nmulti_endpoint: {{endpoints: ['mem://{name}/{{2...3}}/'], policy: sticky_key}}\n"
    places, (place, same, other) = opened(text, "in/*", "out/", f"mem://{name}/else")
    assert place.store == same.store != other.store
    assert (place.key, places.uri(place)) == ("in/*", f"mem://{name}/one/in/*")
    balanced = places.stacks[place.store].balanced
    assert [one.uri for one in balanced.statistics()] == [f"mem://{name}/one/", f"mem://{name}/2/", f"mem://{name}/3/"]
    assert places.stacks[other.store].balanced is None
    for number in range(30):
        places.stores[place.store].put(f"k{number}", b"")
    everywhere = keys(MemoryStore(MemoryOptions(name=name)))
    assert sorted(key.partition("/")[2] for key in everywhere) == sorted(f"k{number}" for number in range(30))
    assert {key.partition("/")[0] for key in everywhere} == {"one", "2", "3"}
    places.close()


@pytest.mark.parametrize("paths", [("mem://a/in/*", "in/*"), ("in/*", "mem://a/in/*")])
def test_a_whole_uri_may_be_the_targets(paths):
    places, (one, other) = opened("target: mem://a/\nmulti_endpoint: {endpoints: ['mem://b/']}\n", *paths)
    assert one == other
    assert places.stacks[one.store].balanced is not None
    places.close()


def test_a_kept_plan_has_the_same_layers():
    before = config(
        "target: mem://a/\nmulti_endpoint: {endpoints: ['mem://b/']}\nrange_engine: on\nverify_writes: read\n"
        "compression: {level: 9}\nfaults: {rules: [{stall: {time: 1s, at: 2s}}]}\nsize_cache: off\n"
    )
    assert restore(json.loads(json.dumps(dump(before)))) == before


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("multi_endpoint: {endpoints: ['mem://b/']}\n", "there is no target; write it"),
        ("target: mem://a/\nmulti_endpoint: {endpoints: ['mem://b/', 'mem://a']}\n", "mem://a is named more than once"),
        ("target: mem://a/\nmulti_endpoint: {endpoints: ['nosuch://b/']}\n", "nosuch"),
        ("target: mem://a/\nmulti_endpoint: {endpoints: ['/tmp/b/']}\n", "of one backend, not of file and mem"),
        ("target: mem://a/\nmulti_endpoint: {file: absent}\n", "multi_endpoint.file: the endpoints in absent can't be"),
        ("target: mem://a/\nrange_engine: maybe\n", "run.yaml:2:15: range_engine: write off or on or a mapping"),
    ],
)
def test_what_can_not_be_is_refused(text, problem):
    with pytest.raises(ConfigError) as caught:
        config(text)
    assert problem in str(caught.value)


def test_an_endpoints_file_that_is_gone_is_told(tmp_path):
    others = tmp_path / "others"
    others.write_text("mem://b/\n")
    places = Places(config(f"target: mem://a/\nmulti_endpoint: {{file: '{others}'}}\n"))
    others.unlink()
    with pytest.raises(UsageError, match="can't be read"):
        places.locate("in/*")


def test_a_run_with_all_of_them_is_right(tmp_path):
    (tmp_path / "data").mkdir()
    for name in ("second", "third"):
        (tmp_path / name).symlink_to("data")
    (tmp_path / "run.yaml").write_text(
        "target: ./data/\nname: layers\ntotal_operations: 400\nduration: none\nconcurrency: 4\nprocesses: 2\n"
        "multi_endpoint: {endpoints: [./second/, ./third/], policy: least_connections}\n"
        "range_engine: {threshold: 64KiB, part_size: 32KiB, concurrency: 2}\n"
        "size_cache: on\nverify_writes: read\ncompression: {level: 1}\nverify: content\non_error: {retries: {}}\n"
        "faults: {rules: [{fail: {error: StoreTimeoutError}, operations: [put], probability: 0.1}]}\n"
        "prepare: {ensure_objects: [{path: in/, count: 12, size: 256KiB}]}\ncleanup: true\n"
        "workload:\n- {op: get, path: 'in/*', weight: 5}\n- {op: put, path: out/, size: 20KiB, weight: 4}\n"
        "- {op: stat, path: 'in/*', weight: 1}\n"
    )
    command = [sys.executable, "-m", "penstock", "run", "run.yaml", "--quiet"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (folder,) = tmp_path.glob("penstock-*-layers")
    result = json.loads((folder / "result.json").read_text())
    assert set(result["operations"]) == {"GET", "PUT", "STAT"}
    assert sum(one["count"] for one in result["operations"].values()) == 400
    assert sum(one["errors"] for one in result["operations"].values()) == 0
    assert list((tmp_path / "data").rglob("*.zst")) == [], "cleanup deletes what was made, under its stored name"


def test_faults_are_in_the_results(tmp_path):
    (tmp_path / "run.yaml").write_text(
        "target: mem://faults/\nname: faults\ntotal_operations: 300\nduration: none\nconcurrency: 1\nprocesses: 1\n"
        "faults: {rules: [{fail: {error: ThrottledError}, operations: [get], every: 10}]}\n"
        "on_error: {max_total_errors: none}\nprepare: {ensure_objects: [{path: in/, count: 5, size: 10}]}\n"
        "workload: [{op: get, path: 'in/*'}]\n"
    )
    command = [sys.executable, "-m", "penstock", "run", "run.yaml", "--quiet"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    (folder,) = tmp_path.glob("penstock-*-faults")
    result = json.loads((folder / "result.json").read_text())
    get = result["operations"]["GET"]
    assert (get["count"] + get["errors"], get["errors"]) == (300, 30), done.stdout + done.stderr


def test_a_run_tells_what_went_through_each_endpoint(tmp_path):
    roots = [tmp_path / name for name in ("one", "two", "three")]
    for root in roots:
        (root / "in").mkdir(parents=True)
        for number in range(4):
            (root / "in" / f"k{number}").write_bytes(bytes(1000))
    text = (
        f"target: file://{roots[0]}/\nmulti_endpoint: {{endpoints: ['file://{roots[1]}/', 'file://{roots[2]}/']}}\n"
        f"results_dir: {tmp_path}/out\nconcurrency: 2\nprocesses: 2\nduration: none\ntotal_operations: 600\n"
        "workload: [{op: get, path: 'in/*'}]\n"
    )
    loaded = Loaded(loads(text, label="run.yaml", environ={}), text, "spread")
    result = execute(loaded, command_line="test", view=lambda directory: open_view(None, quiet=True))
    assert result.outcome.status == "done", result.outcome.reason
    uses = result.outcome.balance
    assert [use.uri for use in uses] == [f"file://{root}/" for root in roots]
    # Round robin, in each of the two workers.
    assert [use.requests for use in uses] == [200, 200, 200]
    assert [(use.bytes_read, use.errors, use.ejections, use.healthy) for use in uses] == [(200_000, 0, 0, True)] * 3
    header, *lines = (result.directory / "endpoint_stats.tsv").read_text().splitlines()
    rows = [dict(zip(header.split("\t"), line.split("\t"), strict=True)) for line in lines]
    told = [(row["endpoint"], row["count"], row["bytes_read"], row["healthy"]) for row in rows[-3:]]
    assert told == [(f"file://{root}/", "200", "200000", "yes") for root in roots]
    assert "Balance over endpoints" in result.report.read_text()
    assert read_result(result.directory).outcome.balance == uses
