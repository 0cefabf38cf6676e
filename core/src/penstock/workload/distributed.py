"""Runs on several hosts, as a file describes them: the launcher, the hosts, and what they share."""
# ruff: noqa: RUF009 -- key() makes an attrs field, no value

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from penstock.errors import UsageError
from penstock.workload.documents import Node
from penstock.workload.fields import Record, key
from penstock.workload.layering import MULTI_ENDPOINT, MultiEndpoint
from penstock.workload.shapes import (
    Either,
    Flag,
    InvalidFieldError,
    ListOf,
    NotedError,
    Optional,
    Quantity,
    Reader,
    Text,
    Word,
)

__all__ = [
    "AGENT_PORT",
    "DISTRIBUTED",
    "LAUNCHER",
    "Agent",
    "Clock",
    "Distributed",
    "LauncherChoice",
    "LauncherShape",
    "VariablesShape",
    "address_of",
]

#: Where an agent listens, unless its address says so.
AGENT_PORT = 7167
_ONE_OR_MORE = Quantity("count", minimum=1, maximum=100_000)
_SOME_TIME = Quantity("duration", above=True)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.%a-z]+\]|[^\s:/,\[\]@]+)(?::(\d{1,5}))?")


@attrs.frozen
class LauncherChoice:
    """Where worker processes start, and the options of that launcher as they were written."""

    name: str = "local"
    options: Mapping[str, str | None] = attrs.field(factory=dict)


@attrs.frozen
class LauncherShape:
    """``ray``, or ``{name: ray, option: value}``."""

    expects: str = "the name of a launcher, or {name: ray, option: value}"

    def accepts(self, node: Node) -> bool:
        return node.kind == "mapping" or (node.kind == "scalar" and not node.empty)

    def read(self, node: Node, path: str, reader: Reader) -> LauncherChoice:
        if not self.accepts(node):
            raise ValueError(f"write {self.expects}, not {node.describe()}")
        if node.kind == "scalar":
            return LauncherChoice(node.text)
        values = _scalars(node, path, reader)
        name = values.pop("name", None)
        if name is None:
            raise ValueError("name is missing: the launcher, as penstock plugins lists them")
        return LauncherChoice(name, values)

    def dump(self, value: LauncherChoice) -> str | dict[str, str | None]:
        return {"name": value.name, **value.options} if value.options else value.name

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        scalar = {"type": ["string", "number", "boolean", "null"]}
        name = {"type": "string", "examples": ["local", "ray", "mpi", "grpc"], "description": "which launcher"}
        options = {"type": "object", "properties": {"name": name}, "required": ["name"], "additionalProperties": scalar}
        return {"anyOf": [name, options]}


def _scalars(node: Node, path: str, reader: Reader) -> dict[str, str | None]:
    """The texts of a mapping without further levels."""
    values: dict[str, str | None] = {}
    wrong = False
    for name, value in node.entries.items():
        reader.marks[f"{path}.{name}"] = value.mark
        if value.kind != "scalar":
            reader.note(f"{path}.{name}", f"write one value, not {value.describe()}")
            wrong = True
        else:
            values[name] = None if value.empty else value.text
    if wrong:
        raise NotedError
    return values


@attrs.frozen
class VariablesShape:
    """Environment variables by name."""

    expects: str = "a mapping of environment variables, such as {AWS_REGION: eu-west-1}"

    def accepts(self, node: Node) -> bool:
        return node.kind == "mapping"

    def read(self, node: Node, path: str, reader: Reader) -> dict[str, str]:
        if not self.accepts(node):
            raise ValueError(f"write {self.expects}, not {node.describe()}")
        values = _scalars(node, path, reader)
        for name in values:
            if not _VARIABLE.fullmatch(name):
                reader.note(f"{path}.{name}", f"{name!r} is no name of an environment variable")
        return {name: value or "" for name, value in values.items()}

    def dump(self, value: Mapping[str, str]) -> dict[str, str]:
        return dict(value)

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        scalar = {"type": ["string", "number", "boolean", "null"]}
        return {
            "type": "object",
            "propertyNames": {"pattern": f"^{_VARIABLE.pattern}$"},
            "additionalProperties": scalar,
        }


def address_of(text: str) -> tuple[str, int]:
    """Host and port of an agent's address, such as ``load1``, ``load1:7167`` or ``[::1]:7167``. Raises ValueError."""
    match = _ADDRESS.fullmatch(text)
    if match is None or not 0 < int(match[2] or AGENT_PORT) < 65536:
        raise ValueError(f"{text!r} is no address; write a host, or host:port such as load1:{AGENT_PORT}")
    return match[1].strip("[]"), int(match[2] or AGENT_PORT)


def _check_variable(name: str) -> None:
    if not _VARIABLE.fullmatch(name):
        raise ValueError(f"{name!r} is no name of an environment variable")


def _check_label(text: str) -> None:
    if "/" in text or not text.strip(".") or not text.isprintable():
        raise ValueError(f"{text!r} can't be part of a path; write a name without /")


def _check_template(text: str) -> None:
    if not text.strip("/.") or text.startswith("/") or "://" in text or not text.isprintable():
        raise ValueError(f"{text!r} is no prefix below target; write one such as agent-{{id}}/")
    if set(re.findall(r"[{}]", text.replace("{id}", ""))):
        raise ValueError(f"{text!r}: only {{id}} stands for something here")


_TEMPLATE = Text("a prefix such as agent-{id}/", ("agent-{id}/",), _check_template)


@attrs.frozen
class Agent:
    """One host, and what is different there. What it does not say is as the run says."""

    address: str | None = key(
        Optional(Text("host:port", ("load1:7167",), address_of)),
        None,
        help=f"where its agent listens, for launchers that connect to agents; the port is {AGENT_PORT} unless said",
    )
    host: str | None = key(
        Optional(Text("a host's name", ("node07",))),
        None,
        help="the host's name, as launchers know it that place workers themselves; neither this nor address: the "
        "agent in this place of the list is the host in this place",
    )
    id: str | None = key(
        Optional(Text("a name without /", ("l1",), _check_label)),
        None,
        help="its name, which {id} in path_template stands for; none: its place in the list, from 0",
    )
    target: str | None = key(
        Optional(Text("a URI or a directory", ("/mnt/nfs2/bench/",))),
        None,
        help="where it works instead of target: paths, and URIs below target, are there for it",
        aliases=("target_override",),
    )
    concurrency: int | None = key(
        Optional(Quantity("count", minimum=1, maximum=100_000)),
        None,
        help="operations in flight there, in every stage",
        aliases=("concurrency_override",),
    )
    path_template: str | None = key(
        Optional(_TEMPLATE), None, help="its own prefix below target, where tree_creation_mode is isolated"
    )
    env: Mapping[str, str] = key(
        VariablesShape(),
        attrs.Factory(dict),
        help="environment variables of its workers; a host takes those of storage (AWS_*, AZURE_*, GOOGLE_*, GCS_*, "
        "STORAGE_EMULATOR_HOST, PENSTOCK_*) and what its owner allows. Shown and kept as ***",
    )
    multi_endpoint: MultiEndpoint | str | None = key(
        Either(
            (Word(("as run",)), MULTI_ENDPOINT),
            (lambda value: value == "as run", lambda value: not isinstance(value, str)),
        ),
        "as run",
        help="its own other URIs of what target shows; none: target alone; as run: as the run says",
    )

    def label(self, number: int) -> str:
        """Its name; ``number`` is its place in the list."""
        return self.id or str(number)

    def names(self) -> frozenset[str]:
        """What a launcher may call it."""
        host = set() if self.host is None else {self.host}
        return frozenset(host | ({self.address, address_of(self.address)[0]} if self.address else set()))


@attrs.frozen
class Clock:
    """How the clocks of hosts are compared, before and after what is measured."""

    probes: int = key(Quantity("count", minimum=3, maximum=10_000), 15, help="questions to each host; the fastest wins")
    max_uncertainty: float = key(
        _SOME_TIME, 0.01, help="half the fastest round trip; a start can't be nearer together than this"
    )
    action: str = key(
        Word(("warn", "refuse")), "warn", help="where it is uncertain by more: say so in the results, or do not begin"
    )


@attrs.frozen
class Distributed:
    """Runs on several hosts. ``concurrency`` is that of each; ``rate`` and ``total_operations`` are those of all."""

    workers: int | None = key(
        Optional(_ONE_OR_MORE), None, help="hosts; none: one for each agent, or as many as the launcher knows"
    )
    agents: tuple[Agent, ...] = key(
        ListOf(Record(Agent, {"listen_port": "unknown key; write address: host:port"}), partial=True),
        (),
        help="the hosts, where they have addresses or differ",
    )
    shared_filesystem: bool = key(
        Flag(),
        True,
        help="all hosts see the same objects and share their preparation; false: each host has its own, prepares all "
        "of them, and cleans up what it made",
    )
    tree_creation_mode: str = key(
        Word(("concurrent", "coordinator", "isolated")),
        "concurrent",
        help="who makes what prepare asks for. concurrent: all hosts, each its share; coordinator: the same, but the "
        "first worker makes all directories before; isolated: each host all of it, below a prefix of its own",
    )
    path_selection: str = key(
        Word(("random", "partitioned", "exclusive", "weighted")),
        "random",
        help="what operations choose from. random: all objects; partitioned: the host's own share, or all where it "
        "has none; exclusive: its own share, and an error where it has none; weighted: its own share, and with "
        "probability partition_overlap those of the others",
    )
    partition_overlap: float = key(
        Quantity("number", minimum=0, maximum=1),
        0.3,
        help="for path_selection: weighted; 0: own alone, 1: others alone",
    )
    path_template: str = key(
        _TEMPLATE, "agent-{id}/", help="a host's prefix below target, for tree_creation_mode: isolated"
    )
    on_worker_lost: str = key(
        Word(("continue", "abort")), "continue", help="go on with the others, or end and keep what was measured"
    )
    min_workers: int = key(_ONE_OR_MORE, 1, help="fewer hosts than this end the run")
    clock: Clock = key(Record(Clock), Clock(), help="how the clocks of hosts are compared")
    lease: float = key(
        Quantity("duration", minimum=5, maximum=86400),
        30.0,
        help="a worker that hears nothing for so long ends by itself",
    )
    op_log: str = key(
        Word(("fetch", "leave")),
        "fetch",
        help="what becomes of each host's part of the log: fetched and put together, or left there and its path told",
    )
    forward_env: tuple[str, ...] = key(
        ListOf(Text("the name of an environment variable", ("AWS_ACCESS_KEY_ID",), _check_variable)),
        (),
        help="environment variables to hand on to the hosts, by name; only over a channel that is protected, and "
        "never written anywhere",
    )

    def __attrs_post_init__(self) -> None:
        if self.workers is not None and self.agents and self.workers != len(self.agents):
            text = f"{self.workers} workers, and {len(self.agents)} agents; leave workers out, it is one for each"
            raise InvalidFieldError("workers", text)
        most = self.hosts
        if most is not None and self.min_workers > most:
            raise InvalidFieldError("min_workers", f"{self.min_workers} is more than there are: {most}")

    @property
    def hosts(self) -> int | None:
        """How many hosts the file asks for; None: as many as the launcher knows."""
        return self.workers if self.workers is not None else len(self.agents) or None

    @property
    def own_namespaces(self) -> bool:
        """Whether each host has objects of its own: prepares all of them, and chooses from no others."""
        return not self.shared_filesystem or self.tree_creation_mode == "isolated"

    def agents_of(self, hosts: Sequence[Sequence[str]]) -> tuple[int | None, ...]:
        """For each host, by rank, the number of its agent; None where there are no agents.

        ``hosts`` holds the names that each host has: as the launcher calls it, and as it calls itself. An agent goes
        where one of its names is known, else to the host in its place among those that are left. Raises UsageError
        for an agent whose ``host`` is none of them, and where there are fewer agents than hosts.
        """
        if not self.agents:
            return (None,) * len(hosts)
        if len(self.agents) < len(hosts):
            raise UsageError(f"distributed.agents: {len(self.agents)} agents, and {len(hosts)} hosts; name them all")
        free = dict(enumerate(hosts))
        taken: dict[int, int] = {}
        rest = []
        for number, agent in enumerate(self.agents):
            rank = next((rank for rank, known in free.items() if agent.names() & set(known)), None)
            if rank is not None:
                taken[rank] = number
                del free[rank]
            elif agent.host is not None:
                known = ", ".join(each[0] for each in hosts)
                raise UsageError(f"distributed.agents[{number}].host: there is no host {agent.host}; known: {known}")
            else:
                rest.append(number)
        return tuple(taken[rank] if rank in taken else rest.pop(0) for rank in range(len(hosts)))


#: How the launcher stands in a file.
LAUNCHER = LauncherShape()
#: How runs on several hosts stand in a file.
DISTRIBUTED = Record(Distributed)
