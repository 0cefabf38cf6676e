"""What a configuration holds, and what is said of one that is wrong. Everything here is on ``mem://``."""

from __future__ import annotations

import json
import pickle

import attrs
import pytest

from penstock.errors import ConfigError
from penstock.workload import selection, sizes
from penstock.workload.config import CONFIG, Config, EnsureObjects, dump, loads, restore
from penstock.workload.fields import fields_of
from penstock.workload.operations import OPERATION, Get, Put, Range

BASE = "target: mem://b/\nworkload: [{op: get, path: '**'}]\n"


def read(text):
    return loads(text, label="w.yaml", environ={})


def problems_of(text):
    with pytest.raises(ConfigError) as caught:
        read(text)
    return list(caught.value.problems)


def with_operation(text):
    return f"target: mem://b/\nworkload:\n  - {{op: get, path: '**'}}\n  - {text}\n"


def test_defaults():
    config = read(BASE)
    assert config == Config(target="mem://b/", workload=(Get(path="**"),))
    assert (config.duration, config.total_operations, config.warmup) == (60.0, None, 0.0)
    assert (config.concurrency, config.processes, config.rate, config.seed) == (16, "auto", None, 0)
    assert (config.cleanup, config.op_log, config.live_interval) == (False, False, 1.0)
    assert (config.on_error.max_total_errors, config.on_error.action, config.on_error.retries) == (100, "stop", None)


EVERYTHING = """
target: mem://b/base/
name: all
duration: 1m30s
total_operations: 20_000
warmup: 250ms
concurrency: 32
processes: 1
cpu_binding: off
rate: {ops_per_second: 1500.5, arrivals: uniform}
seed: 7
selection: {policy: zipf, theta: 1.2, scatter: false}
reuse_puts: true
verify: content
workload:
  - {op: get, path: a/*, weight: 2.5, range: {size: 4KiB, offset: 1MiB}, selection: uniform, concurrency: 3}
  - {op: get, uri: mem://c/**, range: {size: 4KiB, offset: sequential}, selection: {zipf: {theta: 0.5}}}
  - {op: put, path: new/, size: 1MB, fill: zero, multipart: {part_size: 64KiB}, weight: 0}
  - {op: put, path: "n-{:03d}", size: {uniform: {min: 1, max: 2KiB}}, key_prefix_shards: 16, dedup_factor: 2.5,
     dedup_across_objects: true, compress_factor: 3}
  - {op: put, path: n2/, size: {type: lognormal, mean: 64KiB, std_dev: 16KiB, min: 1KiB, max: 1MiB}}
  - {op: put, path: n3/, size: {choice: [{size: 1KiB, weight: 9}, {size: 1MiB}]}}
  - {op: list, path: a/, recursive: false, page_size: 10}
  - {op: list, path: "tree/**", selection: sequential}
  - {op: stat, path: a/**}
  - {op: delete, path: a/*}
  - {op: copy, path: a/*, to: copies/}
  - {op: mkdir, path: made/}
  - {op: rmdir, path: made/*}
stages:
  - {name: load, workload: [{op: put, path: n4/, size: 1}], total_operations: 100, barrier: majority}
  - {name: steady, duration: 1m, warmup: 5s, cooldown: 1s, stop_when_stable: on, concurrency: 8,
     rate: {ops_per_second: 5}}
cooldown: 2s
repeat: 3
stop_when_stable: {window: 20s, tolerance: 0.05, metrics: [bytes_per_second, p50], at_most: 90s}
prepare:
  ensure_objects:
    - {path: a, count: 1_000, size: {fixed: 4KiB}, fill: zero, name: "o-%05d"}
    - {base_uri: mem://c/, count: 5}
  directory_structure: {path: tree, width: 3, depth: 2, files_per_dir: 4, distribution: all, dir_mask: "d%d_%d",
                        file_mask: "f{:04d}", size: 10, fill: zero}
  skip_verification: true
  post_prepare_delay: 2s
  key_prefix_shards: 256
  concurrency: 4
cleanup: true
on_error:
  max_total_errors: none
  error_rate: {errors_per_second: 2, window: 10s}
  action: continue
  retries: {attempts: 3, base_delay: 50ms, max_delay: 1s, deadline: none}
op_log: ops.tsv.zst
live_interval: 500ms
results_dir: results
backend: {mem: {}}
multi_endpoint: {endpoints: ["mem://b{2...3}/base/"], policy: sticky_key, writes: first}
range_engine: {threshold: 1MiB, part_size: 4MiB, concurrency: 8}
size_cache: {limit: 1_000, ttl: 5s}
verify_writes: {by: read, attempts: 2}
compression: {level: 1}
faults: {seed: 3, rules: [{stall: {time: 1s, at: 10s}, operations: [get]}, {fail: {}, probability: 0.01}]}
launcher: {name: local}
distributed:
  workers: 2
  agents:
    - {address: "load1:7167", id: l1, target: "mem://b/other/", concurrency: 96, env: {AWS_REGION: x, PENSTOCK_X: 5}}
    - {host: load2, multi_endpoint: {endpoints: ["mem://b9/base/"]}}
  shared_filesystem: false
  tree_creation_mode: coordinator
  path_selection: partitioned
  on_worker_lost: abort
  min_workers: 2
  clock: {probes: 31, max_uncertainty: 2ms, action: refuse}
  lease: 1m
  op_log: leave
  forward_env: [AWS_ACCESS_KEY_ID]
"""


def test_every_key_is_read_into_its_unit():
    config = read(EVERYTHING)
    assert (config.duration, config.warmup, config.total_operations) == (90.0, 0.25, 20_000)
    assert (config.rate.ops_per_second, config.rate.arrivals) == (1500.5, "uniform")
    assert config.selection == selection.Zipf(theta=1.2, scatter=False)
    get, ranged, put, uniform, lognormal, choice, *_ = config.workload
    assert (get.weight, get.range, get.concurrency) == (2.5, Range(size=4096, offset=1 << 20), 3)
    assert get.selection == selection.Uniform()
    assert (ranged.path, ranged.range.offset) == ("mem://c/**", "sequential")
    assert ranged.selection == selection.Zipf(theta=0.5)
    assert (put.size, put.fill, put.multipart.part_size) == (sizes.Fixed(size=1_000_000), "zero", 65536)
    assert uniform.size == sizes.Uniform(min=1, max=2048)
    assert lognormal.size == sizes.Lognormal(mean=65536, std_dev=16384, min=1024, max=1 << 20)
    assert [(one.size, one.weight) for one in choice.size.choices] == [(1024, 9), (1 << 20, 1)]
    assert config.prepare.ensure_objects[1] == EnsureObjects(path="mem://c/", count=5)
    assert (config.prepare.post_prepare_delay, config.prepare.concurrency) == (2.0, 4)
    assert (config.on_error.max_total_errors, config.on_error.error_rate.window) == (None, 10.0)
    assert attrs.astuple(config.on_error.retries) == (3, 0.05, 1.0, None)
    assert (config.op_log, config.live_interval, config.results_dir) == ("ops.tsv.zst", 0.5, "results")


def test_the_example_above_leaves_no_key_out():
    given = dump(read(EVERYTHING))
    defaults = dump(read(BASE))
    same = {name for name in fields_of(Config) if given[name] == defaults[name]}
    assert same == {"page_cache_mode", "launcher"}, "memory has no page cache, and the launcher is the usual one"
    assert {item["op"] for item in given["workload"]} == set(OPERATION.records)


def test_a_configuration_travels_as_data_and_as_a_pickle():
    config = read(EVERYTHING)
    assert restore(json.loads(json.dumps(dump(config)))) == config
    assert loads(json.dumps(dump(config)), label="dump", environ={}) == config
    assert pickle.loads(pickle.dumps(config)) == config


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4096", sizes.Fixed(size=4096)),
        ("{type: fixed, size: 1KiB}", sizes.Fixed(size=1024)),
        ("{fixed: 1KiB}", sizes.Fixed(size=1024)),
        ("{type: uniform, min: 0, max: 5}", sizes.Uniform(min=0, max=5)),
        ("{lognormal: {mean: 1KiB, std_dev: 0}}", sizes.Lognormal(mean=1024, std_dev=0)),
        ("{type: choice, choices: [{size: 5}]}", sizes.Choice(choices=(sizes.Weighted(size=5),))),
        ("{choice: {choices: [{size: 5}]}}", sizes.Choice(choices=(sizes.Weighted(size=5),))),
    ],
)
def test_the_forms_of_a_size(text, expected):
    assert read(with_operation(f"{{op: put, path: n/, size: {text}}}")).workload[1].size == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("uniform", selection.Uniform()),
        ("zipf", selection.Zipf()),
        ("{zipf: }", selection.Zipf()),
        ("{policy: zipf}", selection.Zipf()),
        ("{zipf: {theta: 2}}", selection.Zipf(theta=2.0)),
        ("{each_once: {}}", selection.EachOnce()),
        ("hot_set", selection.HotSet()),
        (
            "{hot_set: {fraction: 0.2, probability: 0.5, scatter: no}}",
            selection.HotSet(fraction=0.2, probability=0.5, scatter=False),
        ),
    ],
)
def test_the_forms_of_a_selection(text, expected):
    assert read(f"{BASE}selection: {text}\n").selection == expected


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("durration: 5", "3:1: durration: unknown key, did you mean duration?"),
        ("duration: 0", "3:11: duration: 0 is too small; write more than 0"),
        ("duration: -1s", "3:11: duration: -1s is negative"),
        ("duration: 200y", "3:11: duration: '200y' is not a duration"),
        ("duration: [1]", "3:11: duration: write a duration such as 30s or 5m, not a list"),
        ("total_operations: 0", "3:19: total_operations: 0 is too small; write 1 or more"),
        ("concurrency: 0", "3:14: concurrency: 0 is too small; write 1 or more"),
        ("concurrency: 1e3", "3:14: concurrency: '1e3' is not a whole number"),
        ("concurrency:", "3:13: concurrency: write a whole number, not nothing"),
        ("seed: 99999999999999999999", "3:7: seed: 99999999999999999999 is too large"),
        ("processes: many", "3:12: processes: write auto or a whole number, not 'many'"),
        ("processes: 17", "3:12: processes: 17 processes can't share 16 operations in flight"),
        ("rate: 500", "3:7: rate: write max, a mapping such as {ops_per_second: 1000}, or a list of phases, not '500'"),
        ("rate: {}", "3:7: rate: write either ops_per_second or phases"),
        ("rate: {ops_per_second: 0}", "3:24: rate.ops_per_second: 0 is too small; write more than 0"),
        ("rate: {ops_per_second: 5, arrivals: often}", "3:37: rate.arrivals: write poisson or uniform, not 'often'"),
        ("selection: zipff", "3:12: selection: write one of uniform, sequential, each_once, zipf, hot_set, not"),
        ("selection: {zipff: {}}", "3:13: selection.zipff: unknown policy 'zipff', did you mean zipf?"),
        ("selection: {policy: x}", "3:21: selection.policy: unknown policy 'x'"),
        ("selection: {policy: [x]}", "3:12: selection: policy is one of"),
        ("selection: {zipf: {theta: 0}}", "3:27: selection.zipf.theta: 0 is too small; write more than 0"),
        ("selection: {uniform: {theta: 1}}", "3:23: selection.uniform.theta: unknown key"),
        ("selection: {hot_set: {fraction: 0}}", "3:33: selection.hot_set.fraction: 0 is too small; write more than 0"),
        ("selection: {hot_set: {probability: 1}}", "3:36: selection.hot_set.probability: 1 is too large; write less"),
        ("verify: everything", "3:9: verify: write off or size or checksum or content, not 'everything'"),
        ("verify: true", "3:9: verify: write off or size or checksum or content, not 'true'"),
        ("stages: [{}]", "3:10: stages[0]: name is missing"),
        ("stages: [{name: a/b}]", "3:17: stages[0].name: 'a/b' can't be part of a file's name"),
        ("stages: [{name: a, barrier: some}]", "3:29: stages[0].barrier: write all or majority or best_effort"),
        ("stages: [{name: a}, {name: a}]", "3:28: stages[1].name: a stage before it is named a too"),
        ("stages: [{name: a, order: 1}]", "3:20: stages[0].order: unknown key; stages run in the order of the list"),
        ("stages: [{name: a, concurency: 1}]", "3:20: stages[0].concurency: unknown key, did you mean concurrency?"),
        ("stages: [{name: a, concurrency: 1}]\nprocesses: 2", "3:10: stages[0].processes: 2 processes can't share 1"),
        ("stages: [{name: a, workload: [{op: gte, path: x}]}]", "3:36: stages[0].workload[0].op: unknown op 'gte'"),
        (
            "stages: [{name: a, workload: [{op: put, path: x*, size: 1}]}]",
            "3:47: stages[0].workload[0].path: 'x*' names",
        ),
        ("stages: [{name: a, workload: [{op: get, path: x, weight: 0}]}]", "3:30: stages[0].workload: the weights sum"),
        (
            "stages: [{name: a, workload: [{op: get, path: 'mme://x/y'}]}]",
            "3:47: stages[0].workload[0].path: unknown scheme mme",
        ),
        ("distributed: {workerz: 3}", "3:15: distributed.workerz: unknown key, did you mean workers?"),
        ("launcher: no-such", "3:11: launcher.name: no launcher named no-such; known: "),
        ("reuse_puts: true", "3:13: reuse_puts: no put with a weight is in this workload"),
        ("multi_endpoint: {}", "multi_endpoint: name the other endpoints"),
        ("range_engine: maybe", "3:15: range_engine: write off or on or a mapping"),
        ("page_cache_mode: auto", "3:18: page_cache_mode: mem:// has no page cache to set; leave it out"),
        ("page_cache_mode: often", "3:18: page_cache_mode: write auto or sequential or random or dontneed or normal"),
        ("prepare: {key_prefix_shards: 65537}", "3:30: prepare.key_prefix_shards: 65537 is too large"),
        ("live_interval: 1ms", "3:16: live_interval: 1ms is too small; write 0.1 or more"),
        ("results_dir: s3://b", "3:14: results_dir: 's3://b' is not a path on this machine"),
        ("op_log: s3://b", "3:9: op_log: 's3://b' is not a path on this machine"),
        ("name: a/b", "3:7: name: 'a/b' can't be part of a file's name"),
        ("name: '..'", "3:7: name: '..' can't be part of a file's name"),
        ("backend: {mme: {}}", "3:16: backend.mme: unknown scheme mme://"),
        ("backend: {mem: {nmae: x}}", "3:23: backend.mem.nmae: mem: unknown option nmae; did you mean name?"),
        ("backend: {mem: {name: [x]}}", "3:23: backend.mem.name: write one value, not a list"),
        ("backend: {mem: 5}", "3:16: backend.mem: write a mapping of options, not '5'"),
        ("backend: mem", "3:10: backend: write a mapping of schemes"),
        ("on_error: {action: explode}", "3:20: on_error.action: write stop or continue, not 'explode'"),
        ("on_error: {retries: {attempts: 0}}", "3:32: on_error.retries.attempts: 0 is too small"),
        (
            "on_error: {retries: {base_delay: 2, max_delay: 1}}",
            "3:34: on_error.retries.base_delay: 2 is more than max_d",
        ),
        ("prepare: {ensure_objects: [{}]}", "3:28: prepare.ensure_objects[0]: count is missing"),
        ("prepare: {ensure_objects: {count: 5}}", "3:27: prepare.ensure_objects: write a list"),
        ("prepare: {ensure_objects: [{count: 5, name: x}]}", "3:45: prepare.ensure_objects[0].name: 'x' has 0 numbers"),
        ("prepare: {ensure_objects: [{count: 5, path: a*}]}", "[0].path: 'a*' is where objects will be made"),
        (
            "prepare: {ensure_objects: [{count: 5, fill: rand}]}",
            "3:45: prepare.ensure_objects[0].fill: unknown fill 'ra",
        ),
        (
            "prepare: {ensure_objects: [{count: 5, dedup_factor: 0.5}]}",
            "dedup_factor: 0.5 is too small; write 1 or more",
        ),
        (
            "prepare: {ensure_objects: [{count: 5, path: a}, {count: 6, path: mem://b/a/}]}",
            "the same names as prepare.en",
        ),
        (
            "prepare: {force_overwrite: true, skip_verification: true}",
            "3:53: prepare.skip_verification: make everything",
        ),
        ("prepare: {directory_structure: {width: 0}}", "3:40: prepare.directory_structure.width: 0 is too small"),
        (
            "prepare: {directory_structure: {width: 1000, depth: 9}}",
            "3:32: prepare.directory_structure: a tree 9 levels",
        ),
        ("prepare: {directory_structure: {dir_mask: x}}", "3:32: prepare.directory_structure: 'x' has 0 numbers in it"),
    ],
)
def test_what_is_wrong_with_a_key(line, problem):
    found = problems_of(f"{BASE}{line}\n")
    assert len(found) == 1, found
    assert problem in found[0]
    assert found[0].startswith("w.yaml:3:")


@pytest.mark.parametrize(
    ("operation", "problem"),
    [
        ("{path: a}", "4:5: workload[1]: op is missing: one of get, put"),
        ("{op: gte, path: a}", "4:10: workload[1].op: unknown op 'gte', did you mean get?"),
        ("get", "4:5: workload[1]: write a mapping with op: one of get"),
        ("{op: get}", "4:5: workload[1]: path or uri is missing"),
        ("{op: get, path: a, uri: b}", "4:24: workload[1].uri: path and uri are names of one key"),
        ("{op: get, path: a, weigth: 5}", "4:24: workload[1].weigth: unknown key, did you mean weight?"),
        ("{op: get, path: a, weight: -1}", "4:32: workload[1].weight: -1 is negative"),
        ("{op: get, path: a, weight: many}", "4:32: workload[1].weight: write a number, not 'many'"),
        ("{op: get, path: a, concurrency: 0}", "4:37: workload[1].concurrency: 0 is too small"),
        ("{op: get, path: ''}", "4:21: workload[1].path: is empty; write ** for every object"),
        ("{op: get, path: a/}", "4:21: workload[1].path: 'a/' names no object; write a/* or a/**"),
        ("{op: get, path: /a}", "4:21: workload[1].path: '/a' begins with a slash"),
        ("{op: get, path: mme://a}", "4:21: workload[1].path: unknown scheme mme://"),
        ("{op: get, path: MEM://a}", "4:21: workload[1].path: 'MEM://a': a scheme is lower case"),
        ("{op: get, path: a, range: {}}", "4:31: workload[1].range: size is missing"),
        ("{op: get, path: a, range: {size: 0}}", "4:38: workload[1].range.size: 0 is too small"),
        ("{op: get, path: a, range: {size: 4k}}", "4:38: workload[1].range.size: '4k': k is read as 1000 by some"),
        (
            "{op: get, path: a, range: {size: 4, offset: x}}",
            "4:49: workload[1].range.offset: write random or sequential",
        ),
        ("{op: get, path: a, size: 5}", "4:24: workload[1].size: unknown key"),
        ("{op: get, path: a, verify: size}", "4:24: workload[1].verify: unknown key; verify stands at the top level"),
        ("{op: put, path: a}", "4:5: workload[1]: size is missing"),
        ("{op: put, path: a, object_size: 5, size: 5}", "4:24: workload[1].object_size: unknown key; write size"),
        ("{op: put, path: a, size: -5}", "4:30: workload[1].size: -5 is negative"),
        ("{op: put, path: a, size: {}}", "4:30: workload[1].size: write a size such as 4096"),
        ("{op: put, path: a, size: {min: 1, max: 2}}", "4:30: workload[1].size: write a size such as 4096"),
        ("{op: put, path: a, size: {histogram: x}}", "4:42: workload[1].size.op_log: x can't be read: "),
        ("{op: put, path: a, size: {histogram: {op: put}}}", "4:42: workload[1].size.histogram.op_log: write op_log"),
        ("{op: put, path: a, size: {histogram: {bins: [{min: 2, max: 1, count: 1}]}}}", "bins[0].min: 2 is more than"),
        (
            "{op: put, path: a, dedup_factor: 2, size: {histogram: {bins: [{min: 2, max: 1, count: 1}]}}}",
            "bins[0].min: 2 is more than",
        ),
        ("{op: put, path: a, size: {histogram: {bins: [{min: 1, max: 1, count: 0}]}}}", "bins: the counts sum to 0"),
        ("{op: put, path: a, size: {uniform: {min: 5, max: 4}}}", "4:46: workload[1].size.uniform.min: 5 is more than"),
        ("{op: put, path: a, size: {type: uniform, min: 5, max: 4}}", "4:51: workload[1].size.min: 5 is more than max"),
        ("{op: put, path: a, size: {lognormal: {mean: 5, std_dev: 1, min: 99}}}", "fewer than one size in a thousand"),
        ("{op: put, path: a, size: {choice: []}}", "4:39: workload[1].size.choices: the list is empty"),
        ("{op: put, path: a, size: {choice: [{size: 1, weight: 0}]}}", "the weights sum to 0"),
        ("{op: put, path: a*, size: 1}", "4:21: workload[1].path: 'a*' names what will be made"),
        ("{op: put, path: 'a{}{}', size: 1}", "2 numbers in it; write one number"),
        ("{op: put, path: a, size: 1, fill: rnd}", "4:39: workload[1].fill: unknown fill 'rnd', did you mean random?"),
        (
            "{op: put, path: a, size: 1, multipart: {part_size: 0}}",
            "4:56: workload[1].multipart.part_size: 0 is too small",
        ),
        (
            "{op: put, path: a, size: 1, multipart: {concurrency: 4}}",
            "4:58: workload[1].multipart.concurrency: mem:// sends the parts of an object one after the other",
        ),
        ("{op: put, path: a, size: 1, multipart: {concurrency: 0}}", "4:58: workload[1].multipart.concurrency: 0 is"),
        ("{op: put, path: a, size: 1, selection: uniform}", "4:33: workload[1].selection: unknown key"),
        ("{op: copy, path: a}", "4:5: workload[1]: to is missing"),
        ("{op: copy, path: a, to: b*}", "4:29: workload[1].to: 'b*' names what will be made"),
        ("{op: list, path: a/*}", "4:22: workload[1].path: a list with * chooses among prepared directories"),
        (
            "{op: list, path: a/, selection: zipf}",
            "4:37: workload[1].selection: there is one prefix and nothing to choo",
        ),
        ("{op: list, page_size: 0}", "4:27: workload[1].page_size: 0 is too small"),
        ("{op: rmdir, path: a/*}", "4:5: workload[1]: rmdir removes what mkdir has made, and no mkdir"),
    ],
)
def test_what_is_wrong_with_an_operation(operation, problem):
    found = problems_of(with_operation(operation))
    assert len(found) == 1, found
    assert problem in found[0]
    assert found[0].startswith("w.yaml:4:")


def test_weights():
    assert "w.yaml:2:11: workload: the weights sum to 0" in problems_of(BASE.replace("'**'", "'**', weight: 0"))[0]
    assert "w.yaml:2:11: workload: the list is empty" in problems_of("target: mem://b\nworkload: []")[0]
    assert "w.yaml:1:1: workload is missing" in problems_of("target: mem://b\n")[0]
    assert read(with_operation("{op: stat, path: '**', weight: 0}")).workload[1].weight == 0


def test_a_relative_path_needs_a_target():
    text = "workload: [{op: get, path: a}, {op: get, uri: mem://b/a}]\nprepare: {ensure_objects: [{count: 1}]}\n"
    assert [line.partition(" is relative")[0] for line in problems_of(text)] == [
        "w.yaml:1:28: workload[0].path: 'a'",
        "w.yaml:2:28: prepare.ensure_objects[0].path: ''",
    ]
    assert read("workload: [{op: get, uri: mem://b/a}]").target is None
    assert "unknown scheme mme://" in problems_of(BASE.replace("mem:", "mme:"))[0]
    for uri in ("s3://", "s3+http://h:9000/", "az://acme", "gs://"):
        text = BASE.replace("mem://b/", uri)
        assert f"w.yaml:1:9: target: {uri.rstrip('/') if uri.startswith('az') else uri}" in problems_of(text)[0]
        assert "names no bucket" in problems_of(text)[0]
        assert "workload[1].path: " in problems_of(with_operation(f"{{op: list, path: '{uri}'}}"))[0]
    assert "name=value" in problems_of(BASE.replace("mem://b/", "mem://b/?x"))[0]


def test_a_run_has_to_end():
    forever = BASE + "duration: none\n"
    assert "w.yaml:3:11: duration: get has no end by itself" in problems_of(forever)[0]
    assert read(f"{forever}total_operations: 5\n").duration is None
    assert read(f"{forever}selection: each_once\n").duration is None
    assert read(forever.replace("op: get", "op: delete")).duration is None
    assert (
        "put has no end"
        in problems_of(with_operation("{op: put, path: n/, size: 1}\nduration: none\nselection: each_once"))[0]
    )
    assert read(with_operation("{op: put, path: n/, size: 1, weight: 0}\nduration: none\nselection: each_once"))


def test_options_for_a_scheme_that_nothing_is_on_are_refused():
    text = "workload: [{op: get, uri: mem://b/a}]\nbackend: {mem: {name: x}}\n"
    assert read(text).backend == {"mem": {"name": "x"}}
    assert "w.yaml:1:42" not in problems_of(f"{text}sed: 1\n")[0]


def test_a_page_cache_mode_reaches_every_backend_that_has_one():
    config = read("target: file:///t\nworkload: [{op: get, path: '*'}]\npage_cache_mode: dontneed\n")
    assert config.options("file") == {"page_cache": "dontneed"}
    both = (
        "target: file:///t\nworkload: [{op: get, path: '*'}]\npage_cache_mode: auto\n"
        "backend: {file: {page_cache: auto}}\n"
    )
    assert problems_of(both) == ["w.yaml:3:18: page_cache_mode: backend.file.page_cache says it too; write one of them"]
    mixed = (
        "target: file:///t\npage_cache_mode: auto\nworkload: [{op: get, path: '*'}, {op: get, uri: direct:///x/y}]\n"
    )
    assert problems_of(mixed) == ["w.yaml:2:18: page_cache_mode: direct:// has no page cache to set; leave it out"]


def test_parts_are_sent_at_once_where_the_backend_can():
    put = "{op: put, path: 's3://bucket/n/', size: 1GiB, multipart: {part_size: 16MiB, concurrency: 8}}"
    assert read(with_operation(put)).workload[1].multipart.concurrency == 8


@pytest.mark.parametrize("policy", ["each_once", "sequential"])
def test_puts_are_not_reused_by_what_goes_in_turn(policy):
    put = "{op: put, path: n/, size: 1}\nreuse_puts: true\n"
    whole = problems_of(with_operation(f"{put}selection: {policy}\n"))
    told = f"{policy} goes in turn over what was there before; with reuse_puts write uniform, zipf or hot_set"
    assert whole == [f"w.yaml:6:12: selection: {told}"]
    one = problems_of(
        with_operation(f"{put}".replace("{op: put", f"{{op: stat, path: a, selection: {policy}}}\n  - {{op: put"))
    )
    assert f"4:36: workload[1].selection: {policy} goes in turn" in one[0]


def test_copies_stay_in_one_store():
    assert read(with_operation("{op: copy, path: 'a/*', to: mem://c/}"))
    local = problems_of(with_operation("{op: copy, path: 'a/*', to: other://c/}"))
    assert any("copies stay in one store; mem:// and other:// are two" in line for line in local)


def test_all_problems_are_told_at_once_and_each_once():
    found = problems_of(
        "target: mem://b/\n"
        "durration: 5\n"
        "concurrency: x\n"
        "workload:\n"
        "  - {op: get, path: a/, weigth: 0}\n"
        "  - {op: put, path: n/}\n"
        "  - {op: nop}\n"
        "  - {op: rmdir, path: '*'}\n"
        "prepare: {ensure_objects: [{count: 0}, {count: 1, name: x}]}\n"
    )
    assert [line.split(": ")[0:2] for line in found] == [
        ["w.yaml:2:1", "durration"],
        ["w.yaml:3:14", "concurrency"],
        ["w.yaml:5:21", "workload[0].path"],
        ["w.yaml:5:25", "workload[0].weigth"],
        ["w.yaml:6:5", "workload[1]"],
        ["w.yaml:7:10", "workload[2].op"],
        ["w.yaml:8:5", "workload[3]"],
        ["w.yaml:9:36", "prepare.ensure_objects[0].count"],
        ["w.yaml:9:57", "prepare.ensure_objects[1].name"],
    ]


def test_paths_are_located_below_the_target():
    config = read(BASE.replace("mem://b/", "mem://b/x?name=y"))
    assert config.locate("a/*") == "mem://b/x/a/*"
    assert config.locate("") == "mem://b/x"
    assert config.locate("mem://c/a?b") == "mem://c/a?b"


def test_every_key_of_every_class_is_explained():
    classes, seen = [Config, *(record.cls for record in OPERATION.records.values())], set()
    while classes:
        cls = classes.pop()
        assert cls.__doc__
        for name, (entry, _) in fields_of(cls).items():
            assert entry.help, f"{cls.__name__}.{name}"
        inner = [field.default for field in attrs.fields(cls) if attrs.has(type(field.default))]
        classes += [type(value) for value in inner if type(value) not in seen]
        seen.add(cls)
    assert CONFIG.cls is Config


def test_classes_refuse_contradictions_without_a_file_too():
    with pytest.raises(ValueError, match="more than max"):
        sizes.Uniform(min=5, max=4)
    with pytest.raises(TypeError):
        Put(path="a")


def test_two_entries_may_share_a_prefix_but_not_a_mask():
    put = "{{op: put, path: {0}, size: 1}}\n  - {{op: copy, path: 'a/*', to: {0}}}"
    assert len(read(with_operation(put.format("n/"))).workload) == 3
    assert (
        "w.yaml:5:33: workload[2].to: makes the same names as workload[1].path"
        in problems_of(with_operation(put.format("'n/{:04d}'")))[0]
    )
