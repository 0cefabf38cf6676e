"""Rewriting a whole file of the older tools in penstock's keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.workload.distributed import Agent, Distributed
from penstock.workload.documents import Mark, Node, Problems
from penstock.workload.fields import fields_of
from penstock.workload.older.drafts import Draft, Handler, Section, keep, leave, number, scalar, section, stop
from penstock.workload.older.hosts import (
    AGENT_TABLE,
    DISTRIBUTED_TABLE,
    ENDPOINT_TABLE,
    finish_endpoints,
    finish_hosts,
    finish_stages,
    in_flight,
)
from penstock.workload.older.items import ITEM_KEYS, OLD_ITEM_KEYS, convert_workload, names_of
from penstock.workload.older.prepared import ENSURE_KEYS, OLD_ENSURE_KEYS, PREPARE_TABLE, finish_tree
from penstock.workload.older.settings import (
    DEAD,
    ERROR_TABLE,
    PERF_LOG,
    RATE_TABLE,
    REPLAY_KEYS,
    finish_errors,
    finish_rate,
    optimization,
    processes,
    range_engine,
)
from penstock.workload.prepare import EnsureObjects, Prepare

__all__ = ["AUTOTUNE_KEYS", "TOP_TABLE", "convert", "is_older", "older_keys"]

_OLD_PREPARE = ("prepare_strategy", "cleanup", "cleanup_only", "cleanup_mode")
#: Keys at the top that say nothing about whose file it is.
_BOTH = frozenset(
    (
        "target",
        "duration",
        "concurrency",
        "workload",
        "prepare",
        "processes",
        "page_cache_mode",
        "range_engine",
        "multi_endpoint",
        "distributed",
    )
)


def _names(cls: type[Any]) -> frozenset[str]:
    return frozenset(name for key, (entry, _) in fields_of(cls).items() for name in (key, *entry.aliases))


_DISTRIBUTED, _AGENT = _names(Distributed), _names(Agent)


def _workload(draft: Draft, node: Node, mark: Mark, path: str) -> None:
    draft.root.put("workload", convert_workload(draft, node, path), mark)


def _rate(draft: Draft, node: Node, mark: Mark, path: str) -> None:
    section(RATE_TABLE)(draft, node, mark, path)
    if node.kind == "mapping":
        finish_rate(draft, node)


def _errors(draft: Draft, node: Node, mark: Mark, path: str) -> None:
    section(ERROR_TABLE)(draft, node, mark, path)
    if node.kind == "mapping":
        finish_errors(draft, node)


def _perf_log(draft: Draft, node: Node, mark: Mark, path: str) -> None:
    if node.kind == "scalar" and not node.empty:
        PERF_LOG["path"](draft, node, mark, path)
    else:
        section(PERF_LOG)(draft, node, mark, path)


#: What becomes of each key at the top of a file of the older tools.
TOP_TABLE: dict[str, Handler] = {
    "target": keep("target"),
    "duration": keep("duration"),
    "concurrency": keep("concurrency"),
    "workload": _workload,
    "prepare": section(PREPARE_TABLE, tuple(fields_of(Prepare))),
    "io_rate": _rate,
    "processes": processes,
    "processing_mode": leave("processes are processes; one of them may hold many threads"),
    "range_engine": range_engine,
    "page_cache_mode": keep("page_cache_mode"),
    "op_log_path": keep("op_log"),
    "warmup_period": keep("warmup", "the older tool reads it and does nothing; here it is kept out of the results"),
    "perf_log": _perf_log,
    "error_handling": _errors,
    "multi_endpoint": section(ENDPOINT_TABLE),
    "s3dlio_optimization": optimization,
    "enable_metadata_cache": leave("there is no cache of what exists; preparation lists"),
    "cache_checkpoint_interval_secs": leave("there is no cache of what exists; preparation lists"),
    "dynamic_put_pool": keep("reuse_puts"),
    "distributed": section(DISTRIBUTED_TABLE, tuple(fields_of(Distributed))),
    "use_multi_endpoint": DEAD,
    **dict.fromkeys(REPLAY_KEYS, stop("belongs to the replay of a log, not to a workload: see penstock replay --help")),
}


#: Keys of the files that say what the older tool's search for settings tries; they have no workload.
AUTOTUNE_KEYS = (
    *("uri", "sizes", "size_range", "size_steps", "threads", "channels", "channels_per_thread", "range_enabled"),
    *("range_thresholds_mb", "gcs_write_chunk_sizes", "gcs_rapid_mode", "objects", "trials", "optimize_for", "ops"),
)
_AUTOTUNE = stop("belongs to a search for settings, not to a workload: see penstock autotune --help")


def is_older(root: Node, own: frozenset[str]) -> bool:
    """Whether a file has keys that only the older tools have, and none that only penstock has.

    ``own`` are penstock's keys at the top of a file.
    """
    return bool(older_keys(root)) and not any(_own_keys(root, own))


def older_keys(root: Node) -> list[str]:
    """The keys of a file that only the older tools have, by their paths, in the order of the file."""
    found = [name for name in root.entries if name in _top_table(root) and name not in _BOTH]
    prepare = root.entries.get("prepare")
    if prepare is not None:
        found += [f"prepare.{name}" for name in prepare.entries if name in _OLD_PREPARE]
        for path, item in _items(prepare.entries.get("ensure_objects"), "prepare.ensure_objects"):
            found += [f"{path}.{name}" for name in item.entries if name in OLD_ENSURE_KEYS]
    for path, item in _items(root.entries.get("workload"), "workload"):
        found += [f"{path}.{name}" for name in item.entries if name in OLD_ITEM_KEYS]
    if (node := root.entries.get("processes")) is not None and node.text == "single":
        found.append("processes")
    return found + _older_hosts(root)


def _older_hosts(root: Node) -> list[str]:
    """The keys under ``distributed`` that only the older tools have."""
    node = root.entries.get("distributed")
    if node is None:
        return []
    found = [f"distributed.{name}" for name in node.entries if name in DISTRIBUTED_TABLE and name not in _DISTRIBUTED]
    for path, item in _items(node.entries.get("agents"), "distributed.agents"):
        found += [f"{path}.{name}" for name in item.entries if name in AGENT_TABLE and name not in _AGENT]
    return found


def _top_table(root: Node) -> Mapping[str, Handler]:
    return TOP_TABLE if "workload" in root.entries else TOP_TABLE | dict.fromkeys(AUTOTUNE_KEYS, _AUTOTUNE)


def _own_keys(root: Node, own: frozenset[str]) -> list[str]:
    """The keys of a file that only penstock has."""
    found = [name for name in root.entries if name in own and name not in TOP_TABLE]
    prepare = root.entries.get("prepare")
    if prepare is not None:
        found += [name for name in prepare.entries if name in fields_of(Prepare) and name not in PREPARE_TABLE]
        for _, item in _items(prepare.entries.get("ensure_objects"), ""):
            found += [name for name in item.entries if name in fields_of(EnsureObjects) and name not in ENSURE_KEYS]
    for _, item in _items(root.entries.get("workload"), ""):
        op = item.entries.get("op")
        known = names_of(op.text) if op is not None else set()
        found += [name for name in item.entries if name in known and name not in ITEM_KEYS]
    return found


def _items(node: Node | None, path: str) -> list[tuple[str, Node]]:
    return [(f"{path}[{number}]", item) for number, item in enumerate(node.items)] if node is not None else []


def convert(root: Node, own: frozenset[str], problems: Problems) -> tuple[Node, Problems]:
    """The same file in penstock's keys, and what became of the old ones.

    Keys of penstock (``own``, at the top) may stand among the old ones. What can't be taken over goes to ``problems``.
    """
    target = root.entries.get("target")
    draft = Draft(Section(root.mark), problems)
    if target is not None and target.kind == "scalar":
        draft.target = target.text
    draft.read(root, "", _top_table(root), tuple(own))
    finish_tree(draft)
    finish_endpoints(draft)
    if "distributed" in root.entries:
        finish_hosts(draft, root.entries["distributed"])
        finish_stages(draft, root.entries["distributed"])
    _in_flight(draft, root)
    return draft.root.node(), draft.notes


def _in_flight(draft: Draft, root: Node) -> None:
    """The older tools count concurrency for each process."""
    many, lanes = root.entries.get("processes"), root.entries.get("concurrency")
    if many is None or many.kind != "scalar" or many.text in ("1", "single"):
        return
    if many.text == "auto":
        text = "concurrency counts for each process in the older tools, and here for all of them together"
        draft.note(many.mark, "processes", text)
        return
    each = 16.0 if lanes is None else number(draft, lanes, "concurrency")
    count = number(draft, many, "processes")
    if each is None or count is None:
        return
    in_flight(draft, count)
    draft.root.put("concurrency", scalar(f"{each * count:.0f}", many.mark if lanes is None else lanes.mark))
    draft.note(many.mark, "processes", f"concurrency became {each * count:.0f}: {each:.0f} for each of {count:.0f}")
