"""A tree as YAML again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from penstock.workload.documents import Node

__all__ = ["write_yaml"]

_WIDTH = 110
_RESOLVER: Any = yaml.resolver.Resolver()


def write_yaml(root: Node, *, comments: Iterable[str] = ()) -> str:
    """The text of a tree: what it is parsed from is the same tree again. ``comments`` come first, one a line."""
    head = "".join(f"# {line}\n" for line in comments)
    body: str = yaml.serialize(_node(root, 0), allow_unicode=True, width=_WIDTH, Dumper=yaml.SafeDumper)
    return head + body


def _node(node: Node, depth: int) -> Any:
    if node.kind == "scalar":
        return _scalar(node)
    if node.kind == "sequence":
        items = [_node(item, depth + 1) for item in node.items]
        flow = all(item.kind == "scalar" for item in node.items)
        return yaml.SequenceNode("tag:yaml.org,2002:seq", items, flow_style=flow)
    pairs = [(_key(name), _node(inner, depth + 1)) for name, inner in node.entries.items()]
    return yaml.MappingNode("tag:yaml.org,2002:map", pairs, flow_style=depth > 1 or not pairs)


def _key(name: str) -> yaml.ScalarNode:
    return yaml.ScalarNode("tag:yaml.org,2002:str", name)


def _scalar(node: Node) -> yaml.ScalarNode:
    if node.empty:
        return yaml.ScalarNode("tag:yaml.org,2002:null", "null")
    if not node.plain:
        return yaml.ScalarNode("tag:yaml.org,2002:str", node.text)
    return yaml.ScalarNode(_RESOLVER.resolve(yaml.ScalarNode, node.text, (True, False)), node.text)
