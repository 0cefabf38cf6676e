"""What a configuration comes to on each of several hosts, and what can be wrong with it there."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import attrs

from penstock.errors import PenstockError, UsageError
from penstock.options import check_value
from penstock.plugins import default_host
from penstock.urls import join, parse_store
from penstock.workload.distributed import DISTRIBUTED, LAUNCHER, Agent, Distributed, LauncherChoice
from penstock.workload.documents import Node, Problems
from penstock.workload.layering import MultiEndpoint
from penstock.workload.operations import Copy, Delete, Operation
from penstock.workload.prepare import Prepare
from penstock.workload.selection import EachOnce
from penstock.workload.shapes import FAILED, Reader

if TYPE_CHECKING:
    from penstock.workload.config import Config

__all__ = ["check_hosts", "for_host", "read_hosts"]


def for_host(config: Config, rank: int, number: int | None = None) -> Config:
    """The configuration as the host of that rank has it; ``number`` is that of its agent, None: it has none.

    Nothing in it is about other hosts: neither the launcher, whose options may be secrets, nor agents and what they
    are given. Raises UsageError where there is no target to be replaced.
    """
    distributed = config.distributed
    agent = Agent() if number is None else distributed.agents[number]
    config = attrs.evolve(
        config,
        launcher=LauncherChoice(),
        distributed=attrs.evolve(distributed, workers=None, agents=(), forward_env=(), min_workers=1),
    )
    if agent.concurrency is not None:
        config = _with_concurrency(config, agent.concurrency)
    several = config.multi_endpoint if isinstance(agent.multi_endpoint, str) else agent.multi_endpoint
    several = None if several is None else _spelled_out(several)
    config = _with_paths(attrs.evolve(config, multi_endpoint=several), _absolute)
    if config.target is not None:
        config = attrs.evolve(config, target=_absolute(config.target, bare=True))
    target = None if agent.target is None else _absolute(agent.target, bare=True)
    prefix = _prefix(distributed, agent, rank if number is None else number)
    return config if target is None and not prefix else _moved(config, target, prefix)


def _absolute(uri: str, *, bare: bool = False) -> str:
    """A place that is relative to the working directory of this process, for those that have another; with ``bare``
    also where it has no scheme.
    """
    if "://" not in uri and not bare:
        return uri
    text, mark, query = uri.partition("?")
    url = parse_store(text)
    if url.authority != ".":
        return uri
    end = "/" if url.path.endswith("/") else ""
    return f"{url.scheme}://{os.path.abspath(url.path.lstrip('/') or '.').rstrip('/')}{end}{mark}{query}"


def _prefix(distributed: Distributed, agent: Agent, number: int) -> str:
    """What a host has below target for itself; empty: nothing."""
    if distributed.tree_creation_mode != "isolated":
        return ""
    template = agent.path_template or distributed.path_template
    return template.replace("{id}", agent.label(number)).rstrip("/") + "/"


def _with_concurrency(config: Config, concurrency: int) -> Config:
    stages = tuple(attrs.evolve(stage, concurrency=None) for stage in config.stages)
    return attrs.evolve(config, concurrency=concurrency, stages=stages)


def _spelled_out(several: MultiEndpoint) -> MultiEndpoint:
    """Without the file that names some, which lies on this host."""
    uris = several.uris() if several.file is not None else several.endpoints
    return attrs.evolve(several, endpoints=tuple(_absolute(uri, bare=True) for uri in uris), file=None)


def _moved(config: Config, target: str | None, prefix: str) -> Config:
    old = config.target
    if old is None:
        raise UsageError("target is missing, below which each host has a place of its own; write it")
    several = config.multi_endpoint
    if several is not None and prefix:
        several = attrs.evolve(several, endpoints=tuple(_below(uri, prefix) for uri in several.endpoints))

    def move(path: str) -> str:
        below = _relative(old, path)
        return path if below is None else below

    config = _with_paths(config, move)
    return attrs.evolve(config, target=_below(target or old, prefix), multi_endpoint=several)


def _below(uri: str, prefix: str) -> str:
    """A prefix below a place; options after ``?`` stay where they are."""
    if not prefix:
        return uri
    base, mark, query = uri.partition("?")
    return f"{join(base, prefix)}{mark}{query}"


def _relative(target: str, path: str) -> str | None:
    """A path, relative to target; None for a URI that is not below it."""
    if "://" not in path:
        return path
    base = str(parse_store(target)).rstrip("/")
    if path.rstrip("/") == base:
        return ""
    return path.removeprefix(f"{base}/") if path.startswith(f"{base}/") else None


def _with_paths(config: Config, move: Callable[[str], str]) -> Config:
    def operation(item: Operation) -> Operation:
        moved = attrs.evolve(item, path=move(item.path))
        return attrs.evolve(moved, to=move(moved.to)) if isinstance(moved, Copy) else moved

    prepare = config.prepare
    tree = prepare.directory_structure
    return attrs.evolve(
        config,
        workload=tuple(map(operation, config.workload)),
        stages=tuple(attrs.evolve(each, workload=tuple(map(operation, each.workload))) for each in config.stages),
        prepare=attrs.evolve(
            prepare,
            ensure_objects=tuple(attrs.evolve(each, path=move(each.path)) for each in prepare.ensure_objects),
            directory_structure=None if tree is None else attrs.evolve(tree, path=move(tree.path)),
        ),
    )


def check_hosts(config: Config, reader: Reader) -> None:
    """Note what is wrong with the launcher and with what is said of several hosts."""
    _check_launcher(config.launcher, reader)
    if "distributed" in reader.failed:
        return
    distributed = config.distributed
    agents = _known(distributed)
    _check_unique(agents, reader)
    for number, agent in agents:
        _check_agent(config, agent, f"distributed.agents[{number}]", reader)
    _check_prefixes(config, agents, reader)
    if distributed.path_selection == "weighted":
        _check_lent(config, reader)
    elif distributed.partition_overlap != Distributed().partition_overlap:
        _doubtful(reader, "distributed.partition_overlap", "is for path_selection: weighted")


def _check_lent(config: Config, reader: Reader) -> None:
    """Note operations that no host can lend objects for."""
    path, remedy = "distributed.path_selection", "write partitioned, exclusive or random"
    stages = (stage.workload for stage in config.stages if stage is not FAILED)
    for item in itertools.chain(config.workload, *stages):
        if item is FAILED or not item.weight:
            continue
        if isinstance(item, Delete):
            reader.note(path, f"weighted lends objects that other hosts delete; {remedy}")
            return
        if isinstance(getattr(item, "selection", None) or config.selection, EachOnce):
            reader.note(path, f"weighted lends objects, and each_once takes each of them once; {remedy}")
            return


def _known(distributed: Distributed) -> list[tuple[int, Agent]]:
    return [(number, agent) for number, agent in enumerate(distributed.agents) if agent is not FAILED]


def _doubtful(reader: Reader, path: str, text: str) -> None:
    reader.note(path, f"{text}; write that, or leave this out")


def _check_launcher(launcher: LauncherChoice, reader: Reader) -> None:
    if "launcher" in reader.failed:
        return
    try:
        kind = default_host().launcher_type(launcher.name)
    except PenstockError as error:
        reader.note("launcher.name", str(error))
        return
    for name, value in launcher.options.items():
        try:
            check_value(kind.options, name, value, scheme=f"launcher {launcher.name}", origin="this file")
        except PenstockError as error:
            reader.note(f"launcher.{name}", str(error))


def _check_unique(agents: list[tuple[int, Agent]], reader: Reader) -> None:
    for field in ("address", "host", "id"):
        seen: dict[str, int] = {}
        for number, agent in agents:
            value = agent.label(number) if field == "id" else getattr(agent, field)
            if value is not None and seen.setdefault(value, number) != number:
                path = f"distributed.agents[{number}].{field}"
                reader.note(path, f"agents[{seen[value]}] is {value} too; each host has its own {field}")


def _check_agent(config: Config, agent: Agent, path: str, reader: Reader) -> None:
    if agent.address is not None and agent.host is not None:
        reader.note(f"{path}.host", "address says where the host is; write one of the two")
    if agent.target is not None:
        _check_target(config, agent.target, f"{path}.target", reader)
    if agent.path_template is not None and config.distributed.tree_creation_mode != "isolated":
        _doubtful(reader, f"{path}.path_template", "is for tree_creation_mode: isolated")
    if isinstance(config.processes, int) and agent.concurrency is not None and config.processes > agent.concurrency:
        text = f"{config.processes} processes can't share {agent.concurrency} operations in flight"
        reader.note(f"{path}.concurrency", f"{text}; raise it, or write processes: auto")


def _check_target(config: Config, target: str, path: str, reader: Reader) -> None:
    try:
        url = parse_store(target)
        default_host().store_type(url.scheme, url.authority)
    except PenstockError as error:
        reader.note(path, str(error))
    else:
        _need_target(config, path, reader)


def _need_target(config: Config, path: str, reader: Reader) -> bool:
    if config.target is None and "target" not in reader.failed:
        reader.note(path, "there is no target of the run that it would be about; write target")
    return config.target is not None


def _check_movable(config: Config, path: str, reader: Reader) -> None:
    """Note each path that hosts with prefixes of their own would share."""
    if not _need_target(config, path, reader):
        return
    for where, text in _paths(config):
        if _relative(config.target or "", text) is None:
            what = f"{text} is not below target, so it can't be in each host's own place"
            reader.note(where, f"{what} (distributed.tree_creation_mode: isolated); write it relative to target")


def _paths(config: Config) -> Iterator[tuple[str, str]]:
    lists = [("", config.workload)]
    lists += [(f"stages[{at}].", stage.workload) for at, stage in enumerate(config.stages) if stage is not FAILED]
    for within, workload in lists:
        for number, item in enumerate(workload):
            if item is not FAILED:
                yield f"{within}workload[{number}].path", item.path
                if isinstance(item, Copy):
                    yield f"{within}workload[{number}].to", item.to
    yield from _prepared_paths(config.prepare)


def _prepared_paths(prepare: Prepare) -> Iterator[tuple[str, str]]:
    for number, objects in enumerate(prepare.ensure_objects):
        if objects is not FAILED:
            yield f"prepare.ensure_objects[{number}].path", objects.path
    if prepare.directory_structure is not None:
        yield "prepare.directory_structure.path", prepare.directory_structure.path


def _check_prefixes(config: Config, agents: list[tuple[int, Agent]], reader: Reader) -> None:
    distributed, path = config.distributed, "distributed.path_template"
    if distributed.tree_creation_mode != "isolated":
        if distributed.path_template != Distributed().path_template:
            _doubtful(reader, path, "is for tree_creation_mode: isolated")
        return
    _check_movable(config, "distributed.tree_creation_mode", reader)
    own = [agent for _, agent in agents if agent.path_template is not None]
    if "{id}" not in distributed.path_template and (not agents or len(own) < len(agents)):
        reader.note(path, f"{distributed.path_template!r} is the same for all hosts; write {{id}} where they differ")
        return
    seen: dict[str, int] = {}
    for number, agent in agents:
        prefix = _prefix(distributed, agent, number)
        if seen.setdefault(prefix, number) != number:
            text = f"agents[{seen[prefix]}] has the prefix {prefix} too; each host has its own"
            reader.note(f"distributed.agents[{number}].path_template", text)


def read_hosts(root: Node) -> tuple[LauncherChoice, Distributed]:
    """The launcher, and what is said of hosts, of a job that has no more of a file. Raises ConfigError."""
    problems = Problems()
    reader = Reader(problems)
    reader.marks[""] = root.mark
    launcher, distributed = LauncherChoice(), Distributed()
    if (node := root.entries.get("launcher")) is not None:
        launcher = reader.read(LAUNCHER, node, "launcher")
    if (node := root.entries.get("distributed")) is not None:
        distributed = reader.read(DISTRIBUTED, node, "distributed")
    _check_launcher(launcher, reader)
    if distributed is not FAILED:
        _check_unique(_known(distributed), reader)
    problems.raise_any()
    return launcher, distributed
