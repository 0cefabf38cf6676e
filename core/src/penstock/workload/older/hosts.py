"""Runs on many hosts as the older tools write them: agents, what hosts share, and stages with their barriers."""

from __future__ import annotations

from penstock.options import nearest
from penstock.workload.distributed import Agent
from penstock.workload.documents import Mark, Node
from penstock.workload.fields import fields_of
from penstock.workload.older.drafts import Draft, Handler, keep, leave, mapping, number, scalar, section
from penstock.workload.older.places import whole
from penstock.workload.older.settings import DEAD

__all__ = [
    "AGENT_TABLE",
    "DISTRIBUTED_TABLE",
    "ENDPOINT_TABLE",
    "STAGE_KEYS",
    "finish_endpoints",
    "finish_hosts",
    "finish_stages",
    "in_flight",
]

_STARTED = leave("whoever runs the hosts starts penstock there: penstock agent, a cluster, mpirun or a scheduler")
_LAUNCHERS = leave("how long to wait for hosts is an option of the launcher")
_PACED = leave("time-outs of barriers follow from the progress that workers make")
#: Barriers of the older tools, which stand at the end of a stage, as those before the next.
_BARRIERS = {"all_or_nothing": "all", "majority": "majority", "best_effort": "best_effort"}

#: Every key of an agent that the older tools know; what has another name here is renamed.
AGENT_TABLE: dict[str, str] = {
    "address": "address",
    "id": "id",
    "target_override": "target",
    "concurrency_override": "concurrency",
    "env": "env",
    "volumes": "",
    "path_template": "path_template",
    "listen_port": "",
    "multi_endpoint": "multi_endpoint",
    "kv_cache_dir": "",
}
_PHASES = ("validation", "prepare", "execute", "cleanup")
_BARRIER = (
    "default_heartbeat_interval",
    "default_missed_threshold",
    "default_query_timeout",
    "default_query_retries",
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
    items = [_agent(draft, agent, f"{path}[{number_}]") for number_, agent in enumerate(node.items)]
    draft.root.put(path, Node("sequence", node.mark, items=tuple(items)), mark)


def _agent(draft: Draft, agent: Node, path: str) -> Node:
    if agent.kind == "scalar":
        return mapping(agent.mark, {"address": agent})
    entries: dict[str, Node] = {}
    keys: dict[str, Mark] = {}
    for name, value in agent.entries.items():
        new, mark = AGENT_TABLE.get(name), agent.keys[name]
        if new is None and name not in _OWN:
            draft.problem(mark, f"{path}.{name}", f"unknown key, {nearest(name, {*AGENT_TABLE, *_OWN})}")
        elif new == "":
            draft.note(mark, f"{path}.{name}", _AGENT_NOTES[name])
        else:
            entries[new or name], keys[new or name] = value, mark
            if new not in (None, name):
                draft.note(mark, f"{path}.{name}", f"became {new}")
    _agent_port(agent, entries)
    _agent_variables(draft, entries, f"{path}.env")
    _agent_endpoints(draft, entries, keys, f"{path}.multi_endpoint")
    return Node("mapping", agent.mark, entries=entries, keys=keys)


_AGENT_NOTES = {
    "volumes": "left out: whoever runs the hosts starts penstock there",
    "listen_port": "is part of the address",
    "kv_cache_dir": "left out: there is no cache of what exists; preparation lists",
}
_OWN = tuple(fields_of(Agent))


def _agent_port(agent: Node, entries: dict[str, Node]) -> None:
    """An address without a port has that of ``listen_port``."""
    port, address = agent.entries.get("listen_port"), entries.get("address")
    if port is not None and address is not None and address.kind == "scalar" and ":" not in address.text:
        entries["address"] = scalar(f"{address.text}:{port.text}", address.mark)


def _agent_variables(draft: Draft, entries: dict[str, Node], path: str) -> None:
    """Without those that only the older tools read."""
    env = entries.get("env")
    theirs = [name for name in env.entries if name.startswith("RUST_")] if env is not None else []
    if env is not None and theirs:
        kept = {name: value for name, value in env.entries.items() if name not in theirs}
        entries["env"] = Node("mapping", env.mark, entries=kept, keys={name: env.keys[name] for name in kept})
        draft.note(env.mark, path, f"{', '.join(theirs)} left out: nothing here reads it")


def _agent_endpoints(draft: Draft, entries: dict[str, Node], keys: dict[str, Mark], path: str) -> None:
    """Of an agent's endpoints one is its target, and the others are named beside it."""
    several = entries.get("multi_endpoint")
    if several is None or several.kind != "mapping":
        return
    listed = several.entries.get("endpoints")
    if listed is None or listed.kind != "sequence" or not listed.items:
        draft.problem(several.mark, path, "write endpoints: a list of URIs")
        return
    target = entries.get("target")
    first = next((item for item in listed.items if target is not None and item.text == target.text), listed.items[0])
    entries["target"], keys["target"] = first, keys.get("target", first.mark)
    others = tuple(item for item in listed.items if item is not first)
    draft.note(listed.mark, path, f"{first.text} became the agent's target, and the others are beside it")
    if not others:
        entries["multi_endpoint"] = scalar("none", several.mark)
        return
    inner = {**several.entries, "endpoints": Node("sequence", listed.mark, items=others)}
    entries["multi_endpoint"] = Node("mapping", several.mark, entries=inner, keys=several.keys)


def finish_hosts(draft: Draft, distributed: Node) -> None:
    """What of the hosts' keys depends on others of them."""
    root = draft.root
    for name, of, value in (
        ("partition_overlap", "path_selection", "weighted"),
        ("path_template", "tree_creation_mode", "isolated"),
    ):
        word = distributed.entries.get(of)
        if name in distributed.entries and (word is None or word.text != value):
            root.drop(f"distributed.{name}")
            draft.note(distributed.keys[name], f"distributed.{name}", f"left out: it is for {of}: {value}")
    mode = distributed.entries.get("tree_creation_mode")
    agents = root.get("distributed.agents")
    if agents is not None:
        kept = [_finish_agent(draft, agent, mode is not None and mode.text == "isolated") for agent in agents.items]
        root.put("distributed.agents", Node("sequence", agents.mark, items=tuple(kept)))


def _finish_agent(draft: Draft, agent: Node, isolated: bool) -> Node:
    if isolated or "path_template" not in agent.entries:
        return agent
    draft.note(
        agent.keys["path_template"], "distributed.agents.path_template", "left out: it is for agents that are isolated"
    )
    entries = {name: value for name, value in agent.entries.items() if name != "path_template"}
    return Node("mapping", agent.mark, entries=entries, keys={name: agent.keys[name] for name in entries})


def in_flight(draft: Draft, processes: float) -> None:
    """The older tools count an agent's concurrency for each process, too."""
    agents = draft.root.get("distributed.agents")
    if agents is None:
        return
    items = [_in_flight(draft, agent, processes, place) for place, agent in enumerate(agents.items)]
    draft.root.put("distributed.agents", Node("sequence", agents.mark, items=tuple(items)))


def _in_flight(draft: Draft, agent: Node, processes: float, place: int) -> Node:
    given, path = agent.entries.get("concurrency"), f"distributed.agents[{place}].concurrency_override"
    each = None if given is None else number(draft, given, path)
    if given is None or each is None:
        return agent
    draft.note(given.mark, path, f"became {each * processes:.0f}: {each:.0f} for each of {processes:.0f} processes")
    entries = {**agent.entries, "concurrency": scalar(f"{each * processes:.0f}", given.mark)}
    return Node("mapping", agent.mark, entries=entries, keys=agent.keys)


def _stages(draft: Draft, node: Node, mark: Mark, path: str) -> None:
    if node.kind != "sequence":
        draft.problem(node.mark, path, f"write a list of stages, not {node.describe()}")
        return
    for number_, stage in enumerate(node.items):
        draft.read(stage, f"{path}[{number_}]", dict.fromkeys(STAGE_KEYS, _later), ())


def _later(draft: Draft, node: Node, mark: Mark, path: str) -> None:
    """Looked at when everything else has been read."""


def _barrier_of(draft: Draft, node: Node | None, path: str) -> str | None:
    """The word for a barrier that is given as ``{type: …}``."""
    kind = node.entries.get("type") if node is not None else None
    if kind is None:
        return None if node is None else "all"
    word = _BARRIERS.get(kind.text)
    if word is None:
        draft.problem(kind.mark, f"{path}.type", f"write one of {', '.join(_BARRIERS)}")
    return word


def _barrier_sync(draft: Draft, node: Node, mark: Mark, path: str) -> None:
    phases = dict.fromkeys(_PHASES, leave("a stage of its own says its barrier; that of execute holds for the others"))
    table = dict.fromkeys(_BARRIER, _PACED) | phases | {"enabled": _later, "timeout_seconds": DEAD}
    draft.read(node, path, table, ())


#: What becomes of each key of ``distributed``.
DISTRIBUTED_TABLE: dict[str, Handler] = {
    "agents": _agents,
    "shared_filesystem": keep("distributed.shared_filesystem"),
    "tree_creation_mode": keep("distributed.tree_creation_mode"),
    "path_selection": keep("distributed.path_selection"),
    "partition_overlap": keep("distributed.partition_overlap"),
    "ssh": section(dict.fromkeys(_SSH, _STARTED)),
    "deployment": section(dict.fromkeys(_DEPLOYMENT, _STARTED)),
    "start_delay": leave("all begin at an instant that they agree on when they are ready"),
    "path_template": keep("distributed.path_template"),
    "grpc_keepalive_interval": _LAUNCHERS,
    "grpc_keepalive_timeout": _LAUNCHERS,
    "agent_ready_timeout": _LAUNCHERS,
    "barrier_sync": _barrier_sync,
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
    _measured(draft, stages.mark, measured, _usual_barrier(draft, distributed, len(measured)))


def _usual_barrier(draft: Draft, distributed: Node, stages: int) -> str | None:
    """That of stages which have none of their own."""
    sync = distributed.entries.get("barrier_sync")
    switch = sync.entries.get("enabled") if sync is not None else None
    if sync is None or switch is None or switch.text.lower() in ("false", "no", "off"):
        return None
    path = "distributed.barrier_sync"
    word = _barrier_of(draft, sync.entries.get("execute"), f"{path}.execute") or "all"
    what = f"became barrier: {word} of each stage but the first" if stages > 1 else "left out: one stage is measured"
    draft.note(switch.mark, f"{path}.enabled", what)
    return word


def _order(draft: Draft, stage: Node, path: str) -> float:
    order = stage.entries.get("order")
    return (number(draft, order, path) or 0.0) if order is not None else 0.0


_STAGE_NOTES = {
    "completion": "left out: a stage ends when its duration is over or its operations are done",
    "timeout_secs": "left out: a worker that makes no progress is given up; the others take as long as they take",
    "optional": "left out: a stage that fails ends the run, and what was measured is kept",
}


def _stage(draft: Draft, stage: Node, path: str, measured: list[tuple[str, Node, dict[str, Node]]]) -> None:
    kind = stage.entries.get("type")
    for name, text in _STAGE_NOTES.items():
        if name in stage.entries:
            draft.note(stage.keys[name], f"{path}.{name}", text)
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
            _last_barrier(draft, stage, path)
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
            _last_barrier(draft, stage, path)
            draft.root.put("cleanup", scalar("true", mark))
            draft.note(mark, f"{path}.type", "became cleanup: true, which deletes what the run created")
        case "validation":
            _last_barrier(draft, stage, path)
            draft.note(
                mark, f"{path}.type", "left out: penstock config check looks at the file, and prepare at objects"
            )
        case "custom":
            draft.problem(mark, f"{path}.type", "a stage that runs a command can't be taken over: a run starts none")
        case _:
            draft.problem(mark, f"{path}.type", f"write one of {', '.join(_TYPES)}")


def _measured(draft: Draft, mark: Mark, measured: list[tuple[str, Node, dict[str, Node]]], usual: str | None) -> None:
    if not measured:
        draft.problem(mark, "distributed.stages", "no stage is of type execute or hybrid, so nothing would be measured")
        return
    if len(measured) == 1:
        path, stage, ends = measured[0]
        for key, value in ends.items():
            if not value.empty:
                draft.root.put(key, value)
        draft.note(stage.mark, path, f"became {' and '.join(ends)} of the run")
        _last_barrier(draft, stage, path)
        return
    items: list[Node] = []
    before: Node | None = None
    for path, stage, ends in measured:
        named = {"name": stage.entries["name"]} if "name" in stage.entries else {}
        entries = named | {key: value for key, value in ends.items() if not value.empty}
        if before is not None:
            entries |= before.entries
        items.append(mapping(stage.mark, entries))
        draft.note(stage.mark, path, "became a stage of stages")
        before = _before_next(draft, stage, path, usual, last=stage is measured[-1][1])
    draft.root.put("stages", Node("sequence", mark, items=tuple(items)))


def _before_next(draft: Draft, stage: Node, path: str, usual: str | None, *, last: bool) -> Node | None:
    """What a stage's barrier is for the stage after it."""
    if last:
        _last_barrier(draft, stage, path)
        return None
    own = stage.entries.get("barrier")
    word = _barrier_of(draft, own, f"{path}.barrier") or usual
    if word is None:
        return None
    mark = stage.mark if own is None else own.mark
    if own is not None:
        text = f"became barrier: {word} of the stage after it; time-outs follow from the progress that workers make"
        draft.note(mark, f"{path}.barrier", text)
    return mapping(mark, {"barrier": scalar(word, mark)})


def _last_barrier(draft: Draft, stage: Node, path: str) -> None:
    if "barrier" in stage.entries:
        draft.note(
            stage.keys["barrier"],
            f"{path}.barrier",
            "left out: all workers come together before anything is measured, and at the end",
        )
