"""Runs on many hosts as the older tools write them, brought to the one host of this version; and their stages."""

from __future__ import annotations

from penstock.workload.documents import Mark, Node
from penstock.workload.older.drafts import Draft, Handler, keep, leave, number, refuse, scalar, section
from penstock.workload.older.places import whole
from penstock.workload.older.settings import DEAD

__all__ = ["AGENT_TABLE", "DISTRIBUTED_TABLE", "ENDPOINT_TABLE", "STAGE_KEYS", "finish_endpoints", "finish_stages"]

_ONE_HOST = "this version runs on one host"
_HOSTS = refuse(_ONE_HOST)
_QUIET = leave(_ONE_HOST)

#: What becomes of each key of an agent.
AGENT_TABLE: dict[str, Handler] = {
    "address": refuse(f"{_ONE_HOST}: concurrency is what it alone keeps in flight"),
    "id": _QUIET,
    "target_override": _HOSTS,
    "concurrency_override": _HOSTS,
    "env": _HOSTS,
    "volumes": _QUIET,
    "path_template": _HOSTS,
    "listen_port": _QUIET,
    "multi_endpoint": _HOSTS,
    "kv_cache_dir": leave("there is no cache of what exists; preparation lists"),
}
_BARRIER = (
    "enabled",
    "default_heartbeat_interval",
    "default_missed_threshold",
    "default_query_timeout",
    "default_query_retries",
    "validation",
    "prepare",
    "execute",
    "cleanup",
)
_SSH = ("enabled", "user", "key_path", "timeout", "known_hosts")
_DEPLOYMENT = (
    "deploy_type",
    "container_runtime",
    "image",
    "network_mode",
    "pull_policy",
    "binary_path",
    "docker_args",
)
#: Every key of a stage that the older tools know.
STAGE_KEYS = (
    "name",
    "order",
    "type",
    "completion",
    "barrier",
    "timeout_secs",
    "optional",
    "duration",
    "expected_objects",
    "command",
    "args",
    "max_duration",
    "expected_tasks",
)
_TYPES = ("execute", "prepare", "cleanup", "hybrid", "validation", "custom")


def _agents(draft: Draft, node: Node, mark: Mark, path: str) -> None:
    if node.kind != "sequence":
        draft.problem(node.mark, path, f"write a list of agents, not {node.describe()}")
        return
    for number_, agent in enumerate(node.items):
        if agent.kind == "scalar":
            AGENT_TABLE["address"](draft, agent, agent.mark, f"{path}[{number_}]")
        else:
            draft.read(agent, f"{path}[{number_}]", AGENT_TABLE, ())


def _stages(draft: Draft, node: Node, mark: Mark, path: str) -> None:
    if node.kind != "sequence":
        draft.problem(node.mark, path, f"write a list of stages, not {node.describe()}")
        return
    for number_, stage in enumerate(node.items):
        draft.read(stage, f"{path}[{number_}]", dict.fromkeys(STAGE_KEYS, _later), ())


def _later(draft: Draft, node: Node, mark: Mark, path: str) -> None:
    """Looked at when everything else has been read."""


#: What becomes of each key of ``distributed``.
DISTRIBUTED_TABLE: dict[str, Handler] = {
    "agents": _agents,
    "shared_filesystem": _QUIET,
    "tree_creation_mode": leave("worker processes share the making of a tree"),
    "path_selection": leave("every worker may choose any object, as selection says"),
    "partition_overlap": leave("every worker may choose any object, as selection says"),
    "ssh": section(dict.fromkeys(_SSH, _QUIET)),
    "deployment": section(dict.fromkeys(_DEPLOYMENT, _QUIET)),
    "start_delay": _QUIET,
    "path_template": _HOSTS,
    "grpc_keepalive_interval": _QUIET,
    "grpc_keepalive_timeout": _QUIET,
    "agent_ready_timeout": _QUIET,
    "barrier_sync": section(
        dict.fromkeys(_BARRIER, leave("the processes of one host need no heartbeat")) | {"timeout_seconds": DEAD}
    ),
    "stages": _stages,
}


def _endpoints(draft: Draft, node: Node, mark: Mark, path: str) -> None:
    if node.kind != "sequence" or any(item.kind != "scalar" for item in node.items):
        draft.problem(node.mark, path, "write a list of URIs")
    else:
        draft.root.put(path, node, mark)


#: What becomes of each key of ``multi_endpoint``.
ENDPOINT_TABLE: dict[str, Handler] = {"strategy": keep("multi_endpoint.strategy"), "endpoints": _endpoints}


def finish_endpoints(draft: Draft) -> None:
    """Of the endpoints one is target, and the others are named beside it."""
    endpoints = draft.root.get("multi_endpoint.endpoints")
    if endpoints is None or not endpoints.items:
        return
    path, items = "multi_endpoint.endpoints", endpoints.items
    first = next((item for item in items if whole(item.text).rstrip("/") == whole(draft.target).rstrip("/")), items[0])
    others = tuple(item for item in items if item is not first)
    if draft.root.get("target") is None or whole(first.text).rstrip("/") != whole(draft.target).rstrip("/"):
        draft.root.put("target", first)
        draft.note(first.mark, path, f"{first.text} became target")
    if others:
        draft.root.put(path, Node("sequence", endpoints.mark, items=others))
        draft.note(endpoints.mark, path, "are those beside target, which is one of them")
    else:
        draft.root.drop("multi_endpoint")
        draft.note(endpoints.mark, path, "left out: there is target alone")


def finish_stages(draft: Draft, distributed: Node) -> None:
    """Put the stages in order and say each in penstock's keys."""
    stages = distributed.entries.get("stages") if distributed.kind == "mapping" else None
    if stages is None or stages.kind != "sequence":
        return
    found = [
        (_order(draft, stage, f"distributed.stages[{place}].order"), place, stage)
        for place, stage in enumerate(stages.items)
        if stage.kind == "mapping"
    ]
    measured: list[tuple[str, Node, dict[str, Node]]] = []
    for _, place, stage in sorted(found, key=lambda one: one[:2]):
        _stage(draft, stage, f"distributed.stages[{place}]", measured)
    _measured(draft, stages.mark, measured)


def _order(draft: Draft, stage: Node, path: str) -> float:
    order = stage.entries.get("order")
    return (number(draft, order, path) or 0.0) if order is not None else 0.0


def _stage(draft: Draft, stage: Node, path: str, measured: list[tuple[str, Node, dict[str, Node]]]) -> None:
    kind = stage.entries.get("type")
    for name in ("completion", "barrier", "timeout_secs", "optional"):
        if name in stage.entries:
            draft.note(stage.keys[name], f"{path}.{name}", "left out: on one host a stage ends when its work is done")
    word = kind.text if kind is not None and kind.kind == "scalar" else ""
    mark = stage.mark if kind is None else kind.mark
    match word:
        case "execute":
            measured.append((path, stage, {"duration": stage.entries.get("duration") or scalar("", mark)}))
        case "hybrid":
            ends = {"duration": "max_duration", "total_operations": "expected_tasks"}
            measured.append(
                (path, stage, {new: stage.entries.get(old) or scalar("", mark) for new, old in ends.items()})
            )
        case "prepare":
            trusted = draft.root.get("prepare.skip_verification")
            if trusted is not None:
                draft.root.drop("prepare.skip_verification")
                text = "left out: a stage makes what is missing, and finds that out by listing"
                draft.note(trusted.mark, "prepare.skip_verification", text)
            draft.note(mark, f"{path}.type", "became prepare, which makes what is missing before anything is measured")
            if "expected_objects" in stage.entries:
                text = "left out: prepare says itself how many there are"
                draft.note(stage.keys["expected_objects"], f"{path}.expected_objects", text)
        case "cleanup":
            draft.root.put("cleanup", scalar("true", mark))
            draft.note(mark, f"{path}.type", "became cleanup: true, which deletes what the run created")
        case "validation":
            draft.note(
                mark, f"{path}.type", "left out: penstock config check looks at the file, and prepare at objects"
            )
        case "custom":
            draft.problem(mark, f"{path}.type", "a stage that runs a command can't be taken over: a run starts none")
        case _:
            draft.problem(mark, f"{path}.type", f"write one of {', '.join(_TYPES)}")


def _measured(draft: Draft, mark: Mark, measured: list[tuple[str, Node, dict[str, Node]]]) -> None:
    if not measured:
        draft.problem(mark, "distributed.stages", "no stage is of type execute or hybrid, so nothing would be measured")
        return
    if len(measured) == 1:
        path, stage, ends = measured[0]
        for key, value in ends.items():
            if not value.empty:
                draft.root.put(key, value)
        draft.note(stage.mark, path, f"became {' and '.join(ends)} of the run")
        return
    items = []
    for path, stage, ends in measured:
        named = {"name": stage.entries["name"]} if "name" in stage.entries else {}
        entries = named | {key: value for key, value in ends.items() if not value.empty}
        keys = {key: value.mark for key, value in entries.items()}
        items.append(Node("mapping", stage.mark, entries=entries, keys=keys))
        draft.note(stage.mark, path, "became a stage of stages")
    draft.root.put("stages", Node("sequence", mark, items=tuple(items)))
