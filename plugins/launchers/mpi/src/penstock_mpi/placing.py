"""Which ranks are hosts, and what these are called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import attrs

from penstock.errors import RunError
from penstock_mpi.node import Node
from penstock_mpi.plugin import MpiOptions

__all__ = ["Place", "place"]


@attrs.frozen(slots=True, kw_only=True)
class Place:
    """One host: its name, the rank that serves it (0: a child of the controller), and the processors of its worker."""

    name: str
    rank: int
    cpus: tuple[int, ...]


def place(mine: Node, others: Mapping[int, Node], options: MpiOptions) -> list[Place]:
    """The hosts, in no order. ``mine`` is the node of rank 0, ``others`` are those of the ranks from 1 on.

    Raises RunError when there is none.
    """
    places = _each_node(mine, others, options) if options.per == "node" else _each_rank(others)
    if not places:
        raise RunError(
            f"all ranks are on {mine.name}, the node of the controller, and controller=apart leaves no host: start "
            "ranks on other nodes too, or leave controller=apart out"
        )
    return places


def _each_node(mine: Node, others: Mapping[int, Node], options: MpiOptions) -> list[Place]:
    """A node is served by its lowest rank other than 0, where it has one."""
    nodes: dict[tuple[str, str], dict[int, Node]] = {}
    for rank, node in sorted(others.items()):
        nodes.setdefault(node.key, {})[rank] = node
    if options.controller == "apart":
        nodes.pop(mine.key, None)
    else:
        nodes.setdefault(mine.key, {0: mine})
    places = [
        Place(name=ranks[min(ranks)].name, rank=min(ranks), cpus=_union(ranks.values())) for ranks in nodes.values()
    ]
    return _distinct(places)


def _each_rank(others: Mapping[int, Node]) -> list[Place]:
    return _distinct([Place(name=node.name, rank=rank, cpus=node.cpus) for rank, node in others.items()])


def _union(nodes: Iterable[Node]) -> tuple[int, ...]:
    """The processors of all ranks of a node: the worker drives processes for all of them."""
    return tuple(sorted({cpu for node in nodes for cpu in node.cpus}))


def _distinct(places: list[Place]) -> list[Place]:
    """Hosts of one name are told apart by their ranks."""
    count = Counter(place.name for place in places)
    return [
        attrs.evolve(place, name=f"{place.name}:{place.rank}") if count[place.name] > 1 else place for place in places
    ]
