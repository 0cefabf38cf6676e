"""Sizes as the older tools write them."""

from __future__ import annotations

from collections.abc import Mapping

from penstock.options import nearest
from penstock.workload.documents import Mark, Node
from penstock.workload.older.drafts import Draft, mapping, scalar

__all__ = ["SIZE_KEYS", "size_of"]

#: Every key that says how large objects are.
SIZE_KEYS = ("object_size", "size_spec", "size_distribution", "min_size", "max_size")

#: What each distribution has, and what it is when it is not written; None: required, or without bound.
_SPECS: Mapping[str, Mapping[str, str | None]] = {
    "uniform": {"min": "1024", "max": "1048576"},
    "lognormal": {"mean": None, "std_dev": None, "min": None, "max": None},
    "fixed": {"size": None},
}
_MEBI = "1048576"


def size_of(draft: Draft, node: Node, path: str) -> Node | None:
    """The ``size`` of an item from its old keys; None when it has none of them."""
    found = [name for name in SIZE_KEYS if name in node.entries]
    if not found:
        return None
    bounds = [name for name in found if name in ("min_size", "max_size")]
    if len(found) > max(len(bounds), 1):
        other = next(name for name in found[1:] if name not in bounds or found[0] not in bounds)
        draft.problem(node.keys[other], f"{path}.{other}", f"{found[0]} gives the size already; write one of them")
        return None
    for name in found:
        draft.note(node.keys[name], f"{path}.{name}", "became size")
    if bounds:
        return _between(node)
    value = node.entries[found[0]]
    return value if value.kind == "scalar" else _spec(draft, value, f"{path}.{found[0]}")


def _between(node: Node) -> Node:
    mark = (node.entries.get("min_size") or node.entries["max_size"]).mark
    low = node.entries.get("min_size") or scalar(_MEBI, mark)
    high = node.entries.get("max_size") or scalar(_MEBI, mark)
    if low.text == high.text:
        return low
    return mapping(mark, {"type": scalar("uniform", mark), "min": low, "max": high})


def _spec(draft: Draft, node: Node, path: str) -> Node | None:
    kind = node.entries.get("type")
    if node.kind != "mapping" or kind is None or kind.kind != "scalar":
        draft.problem(node.mark, path, "write bytes, or a mapping with type: uniform or lognormal")
        return None
    spec = _SPECS.get(kind.text)
    if spec is None:
        draft.problem(kind.mark, f"{path}.type", f"unknown distribution {kind.text!r}, {nearest(kind.text, _SPECS)}")
        return None
    entries = {"type": kind}
    for name, inner in node.entries.items():
        if name == "type":
            continue
        if name not in spec:
            draft.problem(node.keys[name], f"{path}.{name}", f"unknown key, {nearest(name, spec)}")
        entries[name] = inner
    for name, default in spec.items():
        if name not in entries and default is not None:
            entries[name] = _default(draft, name, default, node.mark, path)
    return mapping(node.mark, entries)


def _default(draft: Draft, name: str, default: str, mark: Mark, path: str) -> Node:
    draft.note(mark, f"{path}.{name}", f"is {default} when it is not written")
    return scalar(default, mark)
