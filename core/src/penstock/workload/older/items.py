"""The operations of a workload as the older tools write them."""

from __future__ import annotations

from collections.abc import Iterable

from penstock.options import nearest
from penstock.workload.documents import Node
from penstock.workload.fields import fields_of
from penstock.workload.older.drafts import Draft, Section
from penstock.workload.older.places import PLACE_KEYS, glob, place_of, stem
from penstock.workload.older.sizes import SIZE_KEYS, size_of
from penstock.workload.operations import OPERATION

__all__ = ["ITEM_KEYS", "OLD_ITEM_KEYS", "convert_workload", "names_of"]

#: Keys of an operation that the older tools alone have.
OLD_ITEM_KEYS = (*SIZE_KEYS, *PLACE_KEYS)
#: Every key of an operation that the older tools know.
ITEM_KEYS = (
    *("op", "weight", "concurrency", "path", "uri", "dedup_factor", "compress_factor", "recursive"),
    *OLD_ITEM_KEYS,
)


def names_of(op: str) -> set[str]:
    """Every name of penstock's own keys of an operation."""
    record = OPERATION.records.get(op)
    if record is None:
        return set()
    return {"op"}.union(*((name, *entry.aliases) for name, (entry, _) in fields_of(record.cls).items()))


def convert_workload(draft: Draft, node: Node, path: str) -> Node:
    """The list with each operation in penstock's keys."""
    if node.kind != "sequence":
        return node
    items = [_convert(draft, item, f"{path}[{number}]") for number, item in enumerate(node.items)]
    return Node("sequence", node.mark, items=tuple(items))


def _convert(draft: Draft, node: Node, path: str) -> Node:
    op = node.entries.get("op")
    if node.kind != "mapping" or op is None or op.text not in OPERATION.records:
        return node
    own = names_of(op.text)
    item = Section(node.mark)
    for name, inner in node.entries.items():
        here, mark = f"{path}.{name}", node.keys[name]
        if name in ("path", "uri"):
            makes = op.text in ("put", "mkdir", "list")
            item.put("path", (stem if makes else glob)(draft, inner, mark, here), mark)
        elif name == "recursive" and op.text == "rmdir":
            _recursive(draft, inner, here)
        elif name in own:
            item.put(name, inner, mark)
        elif op.text != "put" or name not in OLD_ITEM_KEYS:
            draft.problem(mark, here, f"unknown key, {nearest(name, own | set(_older(op.text)))}")
    if op.text == "put":
        _sized_and_placed(draft, node, path, item)
    return item.node()


def _older(op: str) -> Iterable[str]:
    return OLD_ITEM_KEYS if op == "put" else ("recursive",) if op == "rmdir" else ()


def _sized_and_placed(draft: Draft, node: Node, path: str, item: Section) -> None:
    size, place = size_of(draft, node, path), place_of(draft, node, path)
    if size is not None and "size" in node.entries:
        draft.problem(size.mark, path, "size gives the size already; write one of them")
    elif size is not None:
        item.put("size", size)
    if place is not None and item.get("path") is not None:
        draft.problem(place.mark, path, "path or uri gives the place already; write one of them")
    elif place is not None:
        item.put("path", place)


def _recursive(draft: Draft, node: Node, path: str) -> None:
    if node.text.lower() in ("true", "yes", "on"):
        draft.problem(node.mark, path, "rmdir removes empty directories that mkdir of the run has made, never a tree")
    else:
        draft.note(node.mark, path, "left out: rmdir removes empty directories")
