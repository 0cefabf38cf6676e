"""Which ranks are hosts."""

from __future__ import annotations

import pytest
from penstock_mpi.node import Node, this_node
from penstock_mpi.placing import Place, place
from penstock_mpi.plugin import MpiOptions

from penstock.errors import RunError


def node(name: str, *cpus: int, boot: str = "b") -> Node:
    return Node(name=name, boot=boot + name, cpus=cpus or (0,))


def hosts(mine: Node, *others: Node, **options: str) -> dict[str, tuple[int, tuple[int, ...]]]:
    places = place(mine, dict(enumerate(others, 1)), MpiOptions(**options))
    return {each.name: (each.rank, each.cpus) for each in places}


def test_each_node_is_a_host_with_the_processors_of_all_its_ranks():
    ranks = [node("a", 0), node("a", 1), node("b", 0), node("b", 3), node("c", 2)]
    assert hosts(*ranks) == {"a": (1, (1,)), "b": (2, (0, 3)), "c": (4, (2,))}


def test_the_controller_serves_its_own_node_where_nobody_else_is():
    assert hosts(node("a", 0, 1), node("b", 2)) == {"a": (0, (0, 1)), "b": (1, (2,))}


def test_its_node_can_stay_apart():
    assert hosts(node("a"), node("a"), node("b"), controller="apart") == {"b": (2, (0,))}
    with pytest.raises(RunError, match="all ranks are on a, the node of the controller"):
        hosts(node("a"), node("a"), controller="apart")


def test_each_rank_but_the_first_can_be_a_host():
    ranks = [node("a"), node("a", 1), node("b", 0), node("b", 1)]
    assert hosts(*ranks, per="rank") == {"a": (1, (1,)), "b:2": (2, (0,)), "b:3": (3, (1,))}


def test_nodes_of_one_name_and_two_kernels_are_two_hosts():
    ranks = [node("a"), node("x", boot="1"), node("x", boot="2"), node("x", boot="1")]
    assert hosts(*ranks) == {"a": (0, (0,)), "x:1": (1, (0,)), "x:2": (2, (0,))}


def test_a_node_survives_the_way_as_a_message():
    assert Node.from_message(this_node().to_message()) == this_node()
    assert isinstance(place(this_node(), {}, MpiOptions())[0], Place)
