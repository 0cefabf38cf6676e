"""Options that say on which hosts a job runs: ``--launcher``, ``--launcher-option``, ``--workers``, ``--agents``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs
import click

from penstock.cli.common import key_values
from penstock.cli.elsewhere import begin, serve_elsewhere
from penstock.errors import UsageError
from penstock.plugins import AGENT_LAUNCHER, default_host

if TYPE_CHECKING:
    from penstock.workload.distributed import Distributed, LauncherChoice
    from penstock.workload.documents import Mark, Node

__all__ = ["Launching", "launching_options"]


@attrs.frozen(kw_only=True)
class Launching:
    """What the command line says of hosts; what it does not say is as the file says."""

    launcher: str | None = None
    options: Mapping[str, str] = attrs.field(factory=dict, repr=False)
    workers: int | None = None
    agents: tuple[str, ...] = ()

    def edit(self, root: Node) -> Node:
        """A file's tree with this in it."""
        from penstock.workload.documents import Mark

        named = bool(self.agents) or _names_agents(root)
        if (written := self._launcher(root.entries.get("launcher"), named, Mark)) is not None:
            root = _with(root, "launcher", written)
        if self.agents:
            given = self._agents(_inner(root, "distributed", "agents"), Mark("--agents"))
            root = _with(root, "distributed", _with(_mapping(root, "distributed", given.mark), "agents", given))
        if self.workers is not None:
            count = _scalar(str(self.workers), Mark("--workers"))
            root = _with(root, "distributed", _with(_mapping(root, "distributed", count.mark), "workers", count))
        return root

    def _launcher(self, written: Node | None, agents: bool, mark: type[Mark]) -> Node | None:
        """``agents``: some are named, by their addresses."""
        name = self.launcher
        if name is None and agents and written is None:
            name = AGENT_LAUNCHER
        if name is None and not self.options:
            return None
        entries: dict[str, Node] = {}
        if name is None and written is not None:
            entries = dict(written.entries) if written.kind == "mapping" else {"name": written}
        elif name is None:
            name = "local"
        if name is not None:
            entries["name"] = _scalar(name, mark("--launcher"))
        entries |= {key: _scalar(value, mark("--launcher-option")) for key, value in self.options.items()}
        return _node(entries, next(iter(entries.values())).mark)

    def _agents(self, written: Node | None, mark: Mark) -> Node:
        """Those of the file that have the same address are as there."""
        known = {}
        for agent in written.items if written is not None else ():
            address = agent.entries.get("address")
            if address is not None and address.kind == "scalar":
                known[address.text] = agent
        items = [known.get(text) or _node({"address": _scalar(text, mark)}, mark) for text in self.agents]
        return attrs.evolve(_node({}, mark), kind="sequence", items=tuple(items))

    def ready(self, context: click.Context, launcher: LauncherChoice, distributed: Distributed) -> bool:
        """Return where the command is to go on: whether its workers are hosts. Raises UsageError where they can't be
        as they are asked for.

        A launcher that a file names is known only now, so its other processes leave the command here.
        """
        from penstock.engine.starting import open_launcher

        serve_elsewhere(context, launcher.name)
        fields = attrs.fields(default_host().launcher_type(launcher.name).options)
        if self.agents and not any(field.name == "agents" for field in fields):
            text = f"--agents: the launcher {launcher.name} connects to no agents; leave it out, or name one that does"
            raise UsageError(f"{text}: --launcher {AGENT_LAUNCHER}")
        hosts = open_launcher(launcher, distributed).hosts
        if not hosts:
            _refuse_hosts(launcher, distributed)
        return hosts

    def settings(self) -> tuple[LauncherChoice, Distributed]:
        """What a job without a file has. Raises ConfigError."""
        from penstock.workload.documents import Mark
        from penstock.workload.hosting import read_hosts

        return read_hosts(self.edit(_node({}, Mark("the command line"))))


def _refuse_hosts(launcher: LauncherChoice, distributed: Distributed) -> None:
    what = f"distributed.agents names {len(distributed.agents)} hosts" if distributed.agents else ""
    if not what and distributed.workers is not None:
        what = f"{distributed.workers} hosts are asked for (workers)"
    if what:
        raise UsageError(
            f"{what}, and the launcher {launcher.name} starts processes of this host alone: name another (--launcher; "
            "penstock plugins lists them), or try it on pretended hosts: --launcher local --launcher-option hosts=N"
        )


def _agents(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    if value is None:
        return ()
    found = tuple(text.strip() for text in value.split(",") if text.strip())
    if not found:
        raise click.BadParameter("write addresses with commas between them, such as load1:7167,load2:7167")
    return found


def launching_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command these options; it gets them as ``launching``."""

    @functools.wraps(command)
    def run(
        *args: Any,
        launcher: str | None,
        launcher_options: dict[str, str],
        workers: int | None,
        agents: tuple[str, ...],
        **further: Any,
    ) -> Any:
        launching = Launching(launcher=launcher, options=launcher_options, workers=workers, agents=agents)
        return command(*args, launching=launching, **further)

    decorated: Any = run
    for option in (
        click.option(
            "--agents",
            metavar="HOST:PORT,…",
            callback=_agents,
            help="Agents to connect to, instead of those of the file; what it says of an address holds for it.",
        ),
        click.option(
            "--workers", type=click.IntRange(min=1), metavar="N", help="Hosts; default: as the file or launcher says."
        ),
        click.option(
            "--launcher-option",
            "launcher_options",
            multiple=True,
            metavar="NAME=VALUE",
            callback=key_values,
            help="An option of the launcher; `penstock plugins show NAME` lists them.",
        ),
        click.option(
            "--launcher",
            metavar="NAME",
            is_eager=True,
            callback=begin,
            help="Where workers start: local, or a launcher of a plugin; default: as the file says, else local, or "
            "where addresses of agents are named the launcher that connects to them.",
        ),
    ):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


def _names_agents(root: Node) -> bool:
    agents = _inner(root, "distributed", "agents")
    return agents is not None and any("address" in agent.entries for agent in agents.items)


def _scalar(text: str, mark: Mark) -> Node:
    from penstock.workload.documents import Node

    return Node("scalar", mark, text, plain=False)


def _node(entries: dict[str, Node], mark: Mark) -> Node:
    from penstock.workload.documents import Node

    return Node("mapping", mark, entries=entries, keys={name: inner.mark for name, inner in entries.items()})


def _mapping(root: Node, name: str, mark: Mark) -> Node:
    inner = root.entries.get(name)
    return inner if inner is not None and inner.kind == "mapping" else _node({}, mark)


def _inner(root: Node, first: str, second: str) -> Node | None:
    inner = root.entries.get(first)
    return None if inner is None else inner.entries.get(second)


def _with(root: Node, name: str, inner: Node) -> Node:
    keys = {**root.keys, name: root.keys.get(name, inner.mark)}
    return attrs.evolve(root, entries={**root.entries, name: inner}, keys=keys)
