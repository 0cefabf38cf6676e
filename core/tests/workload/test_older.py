"""Files of s3-bench and sai3-bench: no key of theirs is ignored."""

from __future__ import annotations

import copy
import re

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.errors import ConfigError
from penstock.workload.config import Config, convert, dump, load
from penstock.workload.fields import fields_of
from penstock.workload.older.convert import AUTOTUNE_KEYS, TOP_TABLE
from penstock.workload.older.hosts import AGENT_TABLE, DISTRIBUTED_TABLE, STAGE_KEYS
from penstock.workload.older.items import ITEM_KEYS
from penstock.workload.older.prepared import ENSURE_KEYS, PREPARE_TABLE
from penstock.workload.older.settings import ERROR_TABLE, OPTIMIZATION_TABLE, PERF_LOG, RANGE_TABLE, RATE_TABLE

#: Every key of the older tools' schema, section by section.
SCHEMA = {
    "": "target duration concurrency workload prepare io_rate processes processing_mode range_engine page_cache_mode "
    "op_log_path warmup_period perf_log error_handling multi_endpoint s3dlio_optimization enable_metadata_cache "
    "cache_checkpoint_interval_secs dynamic_put_pool distributed lag_threshold recovery_threshold "
    "max_flaps_per_minute drain_timeout max_concurrent use_multi_endpoint",
    "workload[0]": "weight concurrency op path uri object_size size_spec size_distribution min_size max_size "
    "dedup_factor compress_factor recursive bucket prefix base_uri",
    "prepare": "ensure_objects directory_structure prepare_strategy skip_verification force_overwrite cleanup "
    "cleanup_only cleanup_mode post_prepare_delay key_prefix_shards",
    "prepare.ensure_objects[0]": "base_uri count min_size max_size size_spec fill dedup_factor compress_factor",
    "prepare.directory_structure": "width depth files_per_dir distribution dir_mask",
    "io_rate": "iops distribution",
    "perf_log": "path interval enabled",
    "range_engine": "enabled chunk_size max_concurrent_ranges min_split_size range_timeout_secs",
    "multi_endpoint": "strategy endpoints",
    "error_handling": "max_total_errors error_rate_threshold error_rate_window backoff_duration retry_on_error "
    "max_retries initial_retry_delay_ms max_retry_delay_ms retry_backoff_multiplier retry_jitter_factor",
    "s3dlio_optimization": "enable_range_downloads range_threshold_mb range_concurrency chunk_size_mb "
    "gcs_channel_count gcs_rapid_mode gcs_write_chunk_size_bytes gcs_project h2c h2_adaptive_window "
    "h2_stream_window_mb h2_conn_window_mb s3dlio_rt_threads auto_threads",
    "distributed": "agents shared_filesystem tree_creation_mode path_selection partition_overlap ssh deployment "
    "start_delay path_template grpc_keepalive_interval grpc_keepalive_timeout agent_ready_timeout barrier_sync stages",
    "distributed.agents[0]": "address id target_override concurrency_override env volumes path_template listen_port "
    "multi_endpoint kv_cache_dir",
    "distributed.ssh": "enabled user key_path timeout known_hosts",
    "distributed.deployment": "deploy_type container_runtime image network_mode pull_policy binary_path docker_args",
    "distributed.barrier_sync": "enabled default_heartbeat_interval default_missed_threshold default_query_timeout "
    "default_query_retries validation prepare execute cleanup timeout_seconds",
    "distributed.stages[0]": "name order completion barrier timeout_secs optional type duration expected_objects "
    "max_duration expected_tasks command args",
}
KEYS = [f"{section}.{name}".removeprefix(".") for section, names in SCHEMA.items() for name in names.split()]

#: The keys of the layers are read by a part of their own; until it is there, so is the refusal.
LAYERED = {"range_engine", "multi_endpoint"} <= set(fields_of(Config))

#: Two stages with a barrier between them.
STAGES = (
    "{distributed: {barrier_sync: {enabled: true MORE}, stages: [{name: a, type: execute, duration: 9}, "
    "{name: b, type: execute, duration: 5}]}}"
)
TWO_PROCESSES = "{processes: 2, concurrency: 8, distributed: {tree_creation_mode: isolated, agents: [{KEY: VALUE}]}}"
PUT = {"op": "put", "path": "n/", "size_spec": 5, "weight": 1}
BASE = {"target": "mem://b/", "enable_metadata_cache": True, "workload": [{"op": "get", "path": "**", "weight": 1}]}
EXECUTE = {"type": "execute", "duration": "5m"}


def at(text, **more):
    """A base file and, set at the path of each key, a value."""
    data = copy.deepcopy(BASE)
    for path, value in (yaml.safe_load(text) | more).items():
        place, *steps = re.findall(r"[^.\[\]]+", f"top.{path}")
        inner = {place: data}
        names = [place, *steps]
        for name, following in zip(names, [*names[1:], None], strict=True):
            key = int(name) if name.isdigit() else name
            if following is None:
                if isinstance(inner, list):
                    inner[key : key + 1] = [value]
                else:
                    inner[key] = value
                break
            empty = [] if following.isdigit() else {}
            if isinstance(inner, list) and key >= len(inner):
                inner.append(empty)
            elif isinstance(inner, dict):
                inner.setdefault(key, empty)
            inner = inner[key]
    return data


#: For each key: what is written in the file, KEY standing for its name, and what becomes of it: values of the new
#: configuration, or what is said.
#: ``!`` begins an error, ``?`` a doubt, anything else a note.
ROWS = {
    "target": ("{target: mem://other/}", {"target": "mem://other/"}),
    "duration": ("{duration: 2m}", {"duration": 120.0}),
    "concurrency": ("{concurrency: 48}", {"concurrency": 48}),
    "workload": ("{workload: [{op: stat, path: x}]}", {"workload[0].op": "stat", "workload[0].path": "x"}),
    "prepare": ("{prepare: {force_overwrite: true}}", {"prepare.force_overwrite": True}),
    "io_rate": ("{io_rate: {iops: 50}}", {"rate.ops_per_second": 50.0}),
    "processes": ("{processes: single}", {"processes": 1}),
    "processing_mode": ("{processing_mode: multi_process}", "left out: processes are processes"),
    "range_engine": ("{range_engine: {enabled: false, chunk_size: 5}}", "left out: it is off"),
    "page_cache_mode": ("{page_cache_mode: dontneed, target: file:///t/}", {"page_cache_mode": "dontneed"}),
    "op_log_path": ("{op_log_path: ops.tsv.zst}", {"op_log": "ops.tsv.zst"}),
    "warmup_period": ("{warmup_period: 10s}", {"warmup": 10.0}),
    "perf_log": ("{perf_log: perf.tsv}", "left out: the time series is perf_log.tsv"),
    "error_handling": ("{error_handling: {max_total_errors: 7}}", {"on_error.max_total_errors": 7}),
    "multi_endpoint": (
        "{multi_endpoint: {strategy: round_robin, endpoints: ['mem://b/', 'mem://c/']}}",
        {"multi_endpoint.policy": "round_robin", "multi_endpoint.endpoints": ["mem://c/"], "target": "mem://b/"},
    ),
    "s3dlio_optimization": ("{s3dlio_optimization: {h2c: true}}", "left out: the backends speak HTTP/1.1"),
    "enable_metadata_cache": ("{enable_metadata_cache: false}", "left out: there is no cache"),
    "cache_checkpoint_interval_secs": ("{cache_checkpoint_interval_secs: 9}", "left out: there is no cache"),
    "dynamic_put_pool": (
        "{dynamic_put_pool: true, 'workload[1]': {op: put, path: n/, size_spec: 5}}",
        {"reuse_puts": True},
    ),
    "distributed": ("{distributed: {start_delay: 5}}", "left out: all begin at an instant"),
    **dict.fromkeys(
        ("lag_threshold", "recovery_threshold", "max_flaps_per_minute", "drain_timeout", "max_concurrent"),
        ("{KEY: 5}", "!belongs to the replay of a log"),
    ),
    "use_multi_endpoint": ("{use_multi_endpoint: true}", "left out: it did nothing in the older tools either"),
    "workload[0].weight": ("{'workload[0].weight': 7}", {"workload[0].weight": 7.0}),
    "workload[0].concurrency": ("{'workload[0].concurrency': 3}", {"workload[0].concurrency": 3}),
    "workload[0].op": ("{'workload[0].op': stat}", {"workload[0].op": "stat"}),
    "workload[0].path": ("{'workload[0].path': 'a-*.dat'}", {"workload[0].path": "a-**.dat"}),
    "workload[0].uri": (
        "{workload: [{op: get, uri: 'mem://b/p/*/x'}]}",
        {"workload[0].path": "p/**/x"},
    ),
    "workload[0].object_size": ("{workload: [{op: put, path: n/, object_size: 9}]}", {"workload[0].size": 9}),
    "workload[0].size_spec": (
        "{workload: [{op: put, path: n/, size_spec: {type: lognormal, mean: 9, std_dev: 1}}]}",
        {"workload[0].size.type": "lognormal", "workload[0].size.min": 1, "workload[0].size.max": None},
    ),
    "workload[0].size_distribution": (
        "{workload: [{op: put, path: n/, size_distribution: {type: uniform, max: 2048}}]}",
        {"workload[0].size.type": "uniform", "workload[0].size.min": 1024, "workload[0].size.max": 2048},
    ),
    "workload[0].min_size": (
        "{workload: [{op: put, path: n/, min_size: 5}]}",
        {"workload[0].size.min": 5, "workload[0].size.max": 1 << 20},
    ),
    "workload[0].max_size": (
        "{workload: [{op: put, path: n/, min_size: 5, max_size: 5}]}",
        {"workload[0].size": 5},
    ),
    "workload[0].dedup_factor": (
        "{workload: [{op: put, path: n/, object_size: 9, dedup_factor: 2}]}",
        {"workload[0].dedup_factor": 2},
    ),
    "workload[0].compress_factor": (
        "{workload: [{op: put, path: n/, object_size: 9, compress_factor: 3}]}",
        {"workload[0].compress_factor": 3},
    ),
    "workload[0].recursive": (
        "{'workload[1]': {op: mkdir, path: d/}, 'workload[0]': {op: rmdir, path: 'd/*', recursive: true}}",
        "!rmdir removes empty directories",
    ),
    "workload[0].bucket": (
        "{workload: [{op: put, bucket: b, prefix: p/, object_size: 1}]}",
        {"workload[0].path": "s3://b/p/"},
    ),
    "workload[0].prefix": ("{workload: [{op: put, prefix: p/, object_size: 1}]}", {"workload[0].path": "p/"}),
    "workload[0].base_uri": (
        "{workload: [{op: put, base_uri: 'mem://other', prefix: p/, object_size: 1}]}",
        {"workload[0].path": "mem://other/p/"},
    ),
    "prepare.ensure_objects": ("{'prepare.ensure_objects': [{count: 5}]}", {"prepare.ensure_objects[0].count": 5}),
    "prepare.directory_structure": (
        "{'prepare.directory_structure': {width: 2}}",
        {"prepare.directory_structure.size": 1 << 20},
    ),
    "prepare.prepare_strategy": ("{'prepare.prepare_strategy': parallel}", "left out: sets are made one after the"),
    "prepare.skip_verification": ("{'prepare.skip_verification': true}", {"prepare.skip_verification": True}),
    "prepare.force_overwrite": ("{'prepare.force_overwrite': true}", {"prepare.force_overwrite": True}),
    "prepare.cleanup": ("{'prepare.cleanup': true}", {"cleanup": True}),
    "prepare.cleanup_only": ("{'prepare.cleanup_only': true}", "!to delete what is there use penstock rm"),
    "prepare.cleanup_mode": ("{'prepare.cleanup_mode': strict}", "left out: what is gone already is no error"),
    "prepare.post_prepare_delay": ("{'prepare.post_prepare_delay': 5}", {"prepare.post_prepare_delay": 5.0}),
    "prepare.key_prefix_shards": ("{'prepare.key_prefix_shards': 16}", {"prepare.key_prefix_shards": 16}),
    "prepare.ensure_objects[0].base_uri": (
        "{'prepare.ensure_objects': [{base_uri: 'mem://b/x/', count: 1}]}",
        {"prepare.ensure_objects[0].path": "x/"},
    ),
    "prepare.ensure_objects[0].count": (
        "{'prepare.ensure_objects': [{count: 1_000}]}",
        {"prepare.ensure_objects[0].count": 1000},
    ),
    "prepare.ensure_objects[0].min_size": (
        "{'prepare.ensure_objects': [{count: 1, min_size: 5, max_size: 7}]}",
        {"prepare.ensure_objects[0].size.min": 5, "prepare.ensure_objects[0].size.max": 7},
    ),
    "prepare.ensure_objects[0].max_size": (
        "{'prepare.ensure_objects': [{count: 1, max_size: 2097152}]}",
        {"prepare.ensure_objects[0].size.min": 1 << 20, "prepare.ensure_objects[0].size.max": 2 << 20},
    ),
    "prepare.ensure_objects[0].size_spec": (
        "{'prepare.ensure_objects': [{count: 1, size_spec: 77}]}",
        {"prepare.ensure_objects[0].size": 77},
    ),
    "prepare.ensure_objects[0].fill": (
        "{'prepare.ensure_objects': [{count: 1, fill: prand}]}",
        {"prepare.ensure_objects[0].fill": "random"},
    ),
    "prepare.ensure_objects[0].dedup_factor": (
        "{'prepare.ensure_objects': [{count: 1, dedup_factor: 2}]}",
        {"prepare.ensure_objects[0].dedup_factor": 2},
    ),
    "prepare.ensure_objects[0].compress_factor": (
        "{'prepare.ensure_objects': [{count: 1, compress_factor: 2}]}",
        {"prepare.ensure_objects[0].compress_factor": 2},
    ),
    "prepare.directory_structure.width": (
        "{'prepare.directory_structure.width': 4}",
        {"prepare.directory_structure.width": 4, "prepare.directory_structure.dir_mask": "sai3bench.d%d_w%d.dir"},
    ),
    "prepare.directory_structure.depth": (
        "{'prepare.directory_structure.depth': 2}",
        {"prepare.directory_structure.depth": 2},
    ),
    "prepare.directory_structure.files_per_dir": (
        "{'prepare.directory_structure.files_per_dir': 4}",
        {"prepare.directory_structure.files_per_dir": 4},
    ),
    "prepare.directory_structure.distribution": (
        "{'prepare.directory_structure.distribution': all}",
        {"prepare.directory_structure.distribution": "all"},
    ),
    "prepare.directory_structure.dir_mask": (
        "{'prepare.directory_structure.dir_mask': 'x%d_%d'}",
        {"prepare.directory_structure.dir_mask": "x%d_%d"},
    ),
    "io_rate.iops": ("{'io_rate.iops': max}", {"rate": "max"}),
    "io_rate.distribution": (
        "{io_rate: {iops: 9, distribution: deterministic}}",
        {"rate.arrivals": "uniform", "rate.ops_per_second": 9.0},
    ),
    "perf_log.path": ("{'perf_log.path': p.tsv}", "left out: the time series is perf_log.tsv"),
    "perf_log.interval": ("{'perf_log.interval': 2s}", {"live_interval": 2.0}),
    "perf_log.enabled": ("{'perf_log.enabled': true}", "left out: it did nothing"),
    "range_engine.enabled": ("{range_engine: {enabled: true}}", {"range_engine.threshold": 16 << 20}),
    "range_engine.chunk_size": ("{range_engine: {enabled: true, KEY: 5}}", {"range_engine.part_size": 5}),
    "range_engine.max_concurrent_ranges": ("{range_engine: {enabled: true, KEY: 5}}", {"range_engine.concurrency": 5}),
    "range_engine.min_split_size": ("{range_engine: {enabled: true, KEY: 5}}", {"range_engine.threshold": 5}),
    "range_engine.range_timeout_secs": ("{range_engine: {enabled: true, KEY: 3}}", "left out: time-outs are options"),
    "multi_endpoint.strategy": (
        "{multi_endpoint: {strategy: least_connections, endpoints: ['mem://d/', 'mem://c/']}}",
        {"multi_endpoint.policy": "least_connections", "target": "mem://d/"},
    ),
    "multi_endpoint.endpoints": (
        "{multi_endpoint: {endpoints: ['mem://c/', 'mem://b/']}}",
        {"multi_endpoint.endpoints": ["mem://c/"], "target": "mem://b/"},
    ),
    "error_handling.max_total_errors": ("{'error_handling.max_total_errors': 5}", {"on_error.max_total_errors": 5}),
    "error_handling.error_rate_threshold": (
        "{'error_handling.error_rate_threshold': 2.5}",
        {"on_error.error_rate.errors_per_second": 2.5, "on_error.error_rate.window": 1.0},
    ),
    "error_handling.error_rate_window": (
        "{'error_handling.error_rate_window': 3}",
        {"on_error.error_rate.errors_per_second": 5.0, "on_error.error_rate.window": 3.0},
    ),
    "error_handling.backoff_duration": ("{'error_handling.backoff_duration': 3}", "left out: a run with too many"),
    "error_handling.retry_on_error": (
        "{'error_handling.retry_on_error': true}",
        {"on_error.retries.attempts": 4, "on_error.retries.base_delay": 0.1, "on_error.retries.max_delay": 5.0},
    ),
    "error_handling.max_retries": (
        "{error_handling: {retry_on_error: true, max_retries: 6}}",
        {"on_error.retries.attempts": 7},
    ),
    "error_handling.initial_retry_delay_ms": (
        "{error_handling: {retry_on_error: true, initial_retry_delay_ms: 20}}",
        {"on_error.retries.base_delay": 0.02},
    ),
    "error_handling.max_retry_delay_ms": (
        "{error_handling: {retry_on_error: true, max_retry_delay_ms: 200}}",
        {"on_error.retries.max_delay": 0.2},
    ),
    "error_handling.retry_backoff_multiplier": (
        "{error_handling: {retry_on_error: true, retry_backoff_multiplier: 3.0}}",
        "left out: the wait doubles",
    ),
    "error_handling.retry_jitter_factor": (
        "{error_handling: {retry_jitter_factor: 0.5}}",
        "left out: nothing is repeated unless retry_on_error is true",
    ),
    "s3dlio_optimization.enable_range_downloads": (
        "{s3dlio_optimization: {KEY: true}}",
        {"range_engine.threshold": 64 << 20},
    ),
    "s3dlio_optimization.range_threshold_mb": (
        "{s3dlio_optimization: {enable_range_downloads: true, KEY: 4}}",
        {"range_engine.threshold": 4 << 20},
    ),
    "s3dlio_optimization.range_concurrency": (
        "{s3dlio_optimization: {enable_range_downloads: true, KEY: 4}}",
        {"range_engine.concurrency": 4},
    ),
    "s3dlio_optimization.chunk_size_mb": (
        "{s3dlio_optimization: {enable_range_downloads: false, KEY: 4}}",
        "left out: enable_range_downloads is not on",
    ),
    **{
        f"s3dlio_optimization.{name}": ("{s3dlio_optimization: {KEY: 4}}", "left out: ")
        for name in SCHEMA["s3dlio_optimization"].split()[4:]
        if name != "gcs_project"
    },
    "s3dlio_optimization.gcs_project": (
        "{target: 'gs://bucket/', s3dlio_optimization: {gcs_project: p}}",
        {"backend.gs.project": "p"},
    ),
    "distributed.agents": (
        "{distributed: {agents: ['load1:7167', {address: b}]}}",
        {"distributed.agents[0].address": "load1:7167", "distributed.agents[1].address": "b"},
    ),
    **{
        f"distributed.agents[0].{name}": (
            TWO_PROCESSES.replace("VALUE", value),
            {f"distributed.agents[0].{new}": found},
        )
        for name, value, new, found in (
            ("address", "'a:5'", "address", "a:5"),
            ("id", "a", "id", "a"),
            ("target_override", "'mem://c/'", "target", "mem://c/"),
            ("concurrency_override", "48", "concurrency", 96),
            ("env", "{AWS_REGION: x}", "env", {"AWS_REGION": "x"}),
            ("path_template", "'mine/'", "path_template", "mine/"),
        )
    },
    "distributed.agents[0].multi_endpoint": (
        "{distributed: {agents: [{multi_endpoint: {strategy: round_robin, endpoints: ['mem://c/', 'mem://d/']}}]}}",
        {
            "distributed.agents[0].target": "mem://c/",
            "distributed.agents[0].multi_endpoint.endpoints": ["mem://d/"],
            "distributed.agents[0].multi_endpoint.policy": "round_robin",
        },
    ),
    "distributed.agents[0].listen_port": (
        "{distributed: {agents: [{address: a, listen_port: 7200}]}}",
        {"distributed.agents[0].address": "a:7200"},
    ),
    **{
        f"distributed.agents[0].{name}": ("{distributed: {agents: [{KEY: x}]}}", "left out: ")
        for name in ("volumes", "kv_cache_dir")
    },
    **{
        f"distributed.{name}": (
            "{distributed: {start_delay: 5, KEY: VALUE}}".replace("VALUE", value),
            {f"distributed.{name}": found},
        )
        for name, value, found in (
            ("shared_filesystem", "false", False),
            ("tree_creation_mode", "isolated", "isolated"),
            ("path_selection", "exclusive", "exclusive"),
            ("partition_overlap", "0.1, path_selection: weighted", 0.1),
            ("path_template", "'a-{id}/', tree_creation_mode: isolated", "a-{id}/"),
        )
    },
    **{
        f"distributed.{name}": ("{distributed: {KEY: 5}}", "left out: ")
        for name in ("start_delay", "grpc_keepalive_interval", "grpc_keepalive_timeout", "agent_ready_timeout")
    },
    "distributed.ssh": ("{distributed: {ssh: {user: me}}}", "left out: whoever runs the hosts"),
    "distributed.deployment": ("{distributed: {deployment: {image: x}}}", "left out: whoever runs the hosts"),
    "distributed.barrier_sync": (STAGES.replace("MORE", ""), {"stages[1].barrier": "all"}),
    "distributed.stages": ("{distributed: {stages: [{type: execute, duration: 5m}]}}", {"duration": 300.0}),
    **{
        f"distributed.{section}.{name}": (
            "{distributed: {SECTION: {KEY: 5}}}".replace("SECTION", section),
            "left out: ",
        )
        for section in ("ssh", "deployment", "barrier_sync")
        for name in SCHEMA[f"distributed.{section}"].split()
    },
    "distributed.barrier_sync.enabled": (STAGES.replace("MORE", ""), {"stages[1].barrier": "all"}),
    "distributed.barrier_sync.execute": (
        STAGES.replace("MORE", ", execute: {type: majority}"),
        {"stages[1].barrier": "majority"},
    ),
    "distributed.stages[0].barrier": (
        "{distributed: {stages: [{name: a, type: execute, duration: 9, barrier: {type: best_effort}}, NEXT]}}".replace(
            "NEXT", "{name: b, type: execute, duration: 5, barrier: {type: majority}}"
        ),
        {"stages[0].barrier": None, "stages[1].barrier": "best_effort"},
    ),
    "distributed.stages[0].name": (
        "{distributed: {stages: [{name: x, type: execute, duration: 5}]}}",
        {"duration": 5.0},
    ),
    "distributed.stages[0].order": (
        "{distributed: {stages: [{order: 2, type: cleanup}, {order: 1, type: execute, duration: 7}]}}",
        {"cleanup": True, "duration": 7.0},
    ),
    "distributed.stages[0].type": ("{distributed: {stages: [{type: custom}]}}", "!a stage that runs a command"),
    "distributed.stages[0].duration": (
        "{distributed: {stages: [{type: execute, duration: 9}]}}",
        {"duration": 9.0},
    ),
    "distributed.stages[0].max_duration": (
        "{distributed: {stages: [{type: hybrid, max_duration: 9}]}}",
        {"duration": 9.0},
    ),
    "distributed.stages[0].expected_tasks": (
        "{distributed: {stages: [{type: hybrid, max_duration: 9, expected_tasks: 20}]}}",
        {"duration": 9.0, "total_operations": 20},
    ),
    "distributed.stages[0].expected_objects": (
        "{distributed: {stages: [{type: prepare, expected_objects: 5}, {type: execute, duration: 9}]}}",
        "left out: prepare says itself",
    ),
    **{
        f"distributed.stages[0].{name}": ("{distributed: {stages: [{type: custom, KEY: x}]}}", "!runs a command")
        for name in ("command", "args")
    },
    **{
        f"distributed.stages[0].{name}": (
            "{distributed: {stages: [{type: execute, duration: 9, KEY: x}]}}",
            "left out: a ",
        )
        for name in ("completion", "timeout_secs", "optional")
    },
}


def test_there_is_a_row_for_every_key_of_the_schema():
    assert set(ROWS) == set(KEYS)


def test_every_key_of_the_schema_is_in_a_table():
    tables = {
        "": TOP_TABLE,
        "workload[0]": ITEM_KEYS,
        "prepare": PREPARE_TABLE,
        "prepare.ensure_objects[0]": ENSURE_KEYS,
        "io_rate": RATE_TABLE,
        "perf_log": PERF_LOG,
        "range_engine": RANGE_TABLE,
        "error_handling": ERROR_TABLE,
        "s3dlio_optimization": OPTIMIZATION_TABLE,
        "distributed": DISTRIBUTED_TABLE,
        "distributed.agents[0]": AGENT_TABLE,
        "distributed.stages[0]": STAGE_KEYS,
    }
    for section, table in tables.items():
        assert set(table) >= set(SCHEMA[section].split()), section


@pytest.fixture
def write(tmp_path):
    def to(data, name="old.yaml"):
        path = tmp_path / name
        path.write_text(data if isinstance(data, str) else yaml.safe_dump(data, sort_keys=False))
        return str(path)

    return to


def lookup(data, path):
    for step in re.findall(r"[^.\[\]]+", path):
        data = data[int(step)] if step.isdigit() else data[step]
    return data


def plan(path, **overrides):
    return dump(load(path, overrides=[f"{name}={value}" for name, value in overrides.items()], environ={}).config)


@pytest.mark.parametrize("key", KEYS)
def test_no_key_is_ignored(key, write):
    text, expected = ROWS[key]
    if not LAYERED and any(
        word in text for word in ("range_engine: {enabled: true", "multi_endpoint: {", "threshold_mb")
    ):
        expected = "!is not supported by this version"
    if not LAYERED and ("enable_range_downloads: true" in text or key.endswith("enable_range_downloads")):
        expected = "!is not supported by this version"
    path = write(at(text.replace("KEY", key.rpartition(".")[2])))
    if isinstance(expected, str) and expected.startswith("!"):
        with pytest.raises(ConfigError) as caught:
            convert(path, environ={})
        assert any(expected[1:] in line and re.match(r".*:\d+:\d+: ", line) for line in caught.value.problems)
        return
    converted = convert(path, environ={})
    new = write(converted.text, "new.yaml")
    if isinstance(expected, dict):
        found = plan(new)
        assert {place: lookup(found, place) for place in expected} == expected
        assert plan(path) == found, "run as it is, it means the same"
        return
    said = [line for line in converted.notes if expected in line]
    assert any(f": {key}" in line or f": {key.rpartition('.')[0]}" in line for line in said), converted.notes
    assert plan(path) == plan(new)


NUMBERS = st.integers(1, 10_000)
SIZES = st.one_of(
    NUMBERS,
    st.fixed_dictionaries(
        {"type": st.just("uniform")}, optional={"min": st.integers(0, 5), "max": st.integers(5, 9).map("{}KiB".format)}
    ),
    st.fixed_dictionaries(
        {"type": st.just("lognormal"), "mean": st.integers(500, 900), "std_dev": st.integers(0, 500)}
    ),
)
SIZED = st.one_of(
    st.fixed_dictionaries({"size_spec": SIZES}),
    st.fixed_dictionaries({"object_size": NUMBERS}),
    st.fixed_dictionaries({}, optional={"min_size": st.integers(0, 9), "max_size": st.integers(9, 20)}),
)
NAMES = st.sampled_from(["a/", "new", "deep/er/", "a b/", "n:/", "#x/", "${VAR:-v}/", "$${x/"])
GLOBS = st.sampled_from(["*", "prepared-*.dat", "a/*/b-*", "mem://b/x*", "mem://other/*", "plain", "${VAR:-v}/*"])
FACTORS = st.integers(1, 5)


def items():
    put = st.tuples(
        st.fixed_dictionaries({"op": st.just("put"), "weight": NUMBERS}, optional={"dedup_factor": FACTORS}),
        SIZED,
        st.one_of(
            st.fixed_dictionaries({"path": NAMES}),
            st.fixed_dictionaries({"base_uri": st.sampled_from(["mem://b/", "mem://c"])}, optional={"prefix": NAMES}),
        ),
    ).map(lambda parts: parts[0] | ({"object_size": 5} | parts[1] if not parts[1] else parts[1]) | parts[2])
    reads = st.fixed_dictionaries(
        {"op": st.sampled_from(["get", "stat", "delete"]), "weight": NUMBERS, "path": GLOBS},
        optional={"concurrency": st.integers(1, 4)},
    )
    listing = st.fixed_dictionaries({"op": st.just("list"), "weight": NUMBERS, "path": NAMES | st.just("a/*")})
    return st.lists(st.one_of(put, reads, listing), min_size=1, max_size=4)


OBJECTS = st.tuples(
    st.fixed_dictionaries(
        {"count": NUMBERS},
        optional={
            "base_uri": st.sampled_from(["mem://b/", "mem://b/sub", "mem://other/x/"]),
            "fill": st.sampled_from(["random", "prand", "zero"]),
        },
    ),
    SIZED,
).map(lambda parts: parts[0] | parts[1])
FILES = st.fixed_dictionaries(
    {"target": st.sampled_from(["mem://b/", "mem://b", "mem://b/deeper/"]), "workload": items()},
    optional={
        "duration": st.sampled_from([30, "30s", "5m", "1d"]),
        "concurrency": st.integers(4, 64),
        "processes": st.sampled_from([1, "single", "auto", 2, 4]),
        "io_rate": st.fixed_dictionaries(
            {},
            optional={
                "iops": st.sampled_from([0, "max", 50, "1000"]),
                "distribution": st.sampled_from(["exponential", "uniform", "deterministic"]),
            },
        ),
        "warmup_period": st.sampled_from([0, "2s"]),
        "op_log_path": st.sampled_from(["log.tsv.zst", "a b.tsv", "7"]),
        "dynamic_put_pool": st.just(False),
        "perf_log": st.fixed_dictionaries({}, optional={"interval": st.just("2s"), "path": st.just("x")}),
        "error_handling": st.fixed_dictionaries(
            {},
            optional={
                "max_total_errors": NUMBERS,
                "error_rate_threshold": NUMBERS,
                "error_rate_window": NUMBERS,
                "retry_on_error": st.booleans(),
                "max_retries": st.integers(0, 9),
                "initial_retry_delay_ms": st.integers(1, 100),
            },
        ),
        "prepare": st.fixed_dictionaries(
            {},
            optional={
                "ensure_objects": st.lists(OBJECTS, max_size=1),
                "directory_structure": st.fixed_dictionaries({}, optional={"width": st.integers(1, 5)}),
                "cleanup": st.booleans(),
                "cleanup_mode": st.just("tolerant"),
                "key_prefix_shards": st.integers(0, 9),
                "post_prepare_delay": st.integers(0, 9),
            },
        ),
    },
)


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(old=FILES)
def test_a_converted_file_means_the_same_plan(old, write):
    text = yaml.safe_dump(old, sort_keys=False)
    path = write(text)
    try:
        converted = convert(path, environ={})
        meant = plan(path)
    except ConfigError as error:
        refused = list(error.problems)
    else:
        refused = []
    assert all(re.match(r".*:\d+:\d+: ", line) and "unknown key" not in line for line in refused), refused
    if refused:
        return
    again = convert(write(converted.text, "new.yaml"), environ={})
    if not converted.older:
        assert converted.text == text
        return
    assert plan(write(converted.text, "new.yaml")) == meant | {"name": meant["name"]}
    assert (again.older, again.text) == (False, converted.text), "a converted file is penstock's own"


def test_the_strategy_above_makes_files_that_load(write):
    reached = []

    @settings(max_examples=60, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(FILES)
    def sample(old):
        path = write(old)
        try:
            plan(path)
        except ConfigError:
            return
        reached.append(convert(path, environ={}).older)

    sample()
    assert sum(reached) > 15, "older files that load"


def test_a_file_with_keys_of_both_is_not_run_but_rewritten(write):
    data = BASE | {"seed": 5, "io_rate": {"iops": 5}}
    with pytest.raises(ConfigError, match="io_rate: unknown key; write rate"):
        load(write(data), environ={})
    assert plan(write(convert(write(data), environ={}).text, "new.yaml"))["seed"] == 5


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"io_rates": {}}, "io_rates: unknown key, did you mean io_rate?"),
        ({"io_rate": {"iopps": 5}}, "io_rate.iopps: unknown key, did you mean iops?"),
        ({"io_rate": {"iops": 5, "distribution": "often"}}, "write exponential, uniform, deterministic, not 'often'"),
        ({"prepare": {"clean_up": True}}, "prepare.clean_up: unknown key, did you mean cleanup?"),
        ({"prepare": {"ensure_objects": [{"count": 1, "sizespec": 5}]}}, "sizespec: unknown key, did you mean size_sp"),
        ({"prepare": {"directory_structure": {"with": 5}}}, "with: unknown key, did you mean width?"),
        ({"workload": [{"op": "get", "path": "x", "wait": 5}]}, "workload[0].wait: unknown key, did you mean weight?"),
        ({"workload": [{"op": "get", "path": "x", "bucket": "b"}]}, "workload[0].bucket: unknown key"),
        ({"workload": [PUT | {"object_size": 5}]}, "workload[0].size_spec: object_size gives the size already"),
        ({"workload": [PUT | {"bucket": "b"}]}, "path or uri gives the place already"),
        (
            {"workload": [{"op": "put", "bucket": "b", "base_uri": "mem://b", "size_spec": 1}]},
            "bucket gives the place al",
        ),
        ({"workload": [PUT | {"size_spec": {"type": "zipf"}}]}, "size_spec.type: unknown distribution 'zipf'"),
        ({"workload": [PUT | {"size_spec": {"min": 1}}]}, "size_spec: write bytes, or a mapping with type"),
        (
            {"workload": [PUT | {"size_spec": {"type": "uniform", "mix": 1}}]},
            "size_spec.mix: unknown key, did you mean m",
        ),
        ({"distributed": {"stages": [{"type": "prepare"}]}}, "no stage is of type execute or hybrid"),
        ({"distributed": {"stages": [{"type": "exec"}]}}, "stages[0].type: write one of execute, prepare"),
        ({"distributed": {"agent": []}}, "distributed.agent: unknown key, did you mean agents?"),
        ({"error_handling": {"retry_on_error": True, "max_retries": "many"}}, "max_retries: could not convert"),
        ({"concurrency": "${N}", "processes": 4}, "concurrency: ${N} has to be computed with; write the number itself"),
    ],
)
def test_what_is_wrong_with_an_older_file_is_said_with_its_place(more, problem, write):
    with pytest.raises(ConfigError) as caught:
        convert(write(BASE | more), environ={})
    assert any(problem in line and re.match(r".*old.yaml:\d+:\d+: ", line) for line in caught.value.problems), (
        caught.value
    )


def test_a_file_of_the_search_for_settings_is_told_from_a_workload(write):
    text = (
        "uri sizes size_range size_steps threads channels channels_per_thread range_enabled range_thresholds_mb "
        "gcs_write_chunk_sizes gcs_rapid_mode objects trials optimize_for ops"
    )
    assert set(AUTOTUNE_KEYS) == set(text.split())
    path = write(dict.fromkeys(text.split(), 5))
    for read in (lambda: convert(path, environ={}), lambda: load(path, environ={})):
        with pytest.raises(ConfigError) as caught:
            read()
        assert len(caught.value.problems) == len(AUTOTUNE_KEYS)
        assert caught.value.problems[0].startswith(f"{path}:1:1: uri: belongs to a search for settings")
    with pytest.raises(ConfigError, match="threads: unknown key"):
        load(write("target: mem://b\nthreads: 5\nworkload: [{op: get, path: x}]\n"), environ={})


def test_paths_of_this_host_and_stars_at_the_end(write):
    data = {
        "target": "/mnt/t",
        "workload": [
            {"op": "get", "path": "/mnt/t/a/*", "weight": 1},
            {"op": "put", "bucket": "/mnt/other", "prefix": "p/", "object_size": 1, "weight": 1},
            {"op": "put", "path": "new/*", "object_size": 1, "weight": 1},
            {"op": "list", "path": "a/*", "weight": 1},
        ],
    }
    found = plan(write(data))
    assert [item["path"] for item in found["workload"]] == ["a/**", "file:///mnt/other/p/", "new/", "a/"]


def test_several_measured_stages_become_stages_in_their_order(write):
    stages = [
        {"name": "two", "order": 2, "type": "execute", "duration": "2m"},
        {"name": "one", "order": 1, "type": "hybrid", "max_duration": "1m", "expected_tasks": 50},
    ]
    text = convert(write(BASE | {"distributed": {"stages": stages}}), environ={}).text
    assert yaml.safe_load(text)["stages"] == [
        {"name": "one", "duration": "1m", "total_operations": 50},
        {"name": "two", "duration": "2m"},
    ]
