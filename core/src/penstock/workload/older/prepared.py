"""The preparation as the older tools write it."""

from __future__ import annotations

from penstock.options import nearest
from penstock.workload.documents import Mark, Node
from penstock.workload.fields import fields_of
from penstock.workload.older.drafts import Draft, Handler, Section, keep, leave, scalar
from penstock.workload.older.places import below_target, whole
from penstock.workload.older.sizes import SIZE_KEYS, size_of
from penstock.workload.prepare import DirectoryStructure, EnsureObjects

__all__ = ["ENSURE_KEYS", "OLD_ENSURE_KEYS", "PREPARE_TABLE", "finish_tree"]

#: Keys of a set of objects that the older tools alone have.
OLD_ENSURE_KEYS = SIZE_KEYS
#: Every key of a set of objects that the older tools know.
ENSURE_KEYS = ("base_uri", "count", "fill", "dedup_factor", "compress_factor", *SIZE_KEYS)
_DIR_MASK = "sai3bench.d%d_w%d.dir"
_SHARED = ("size", "fill", "dedup_factor", "compress_factor")


def _ensure(draft: Draft, node: Node, mark: Mark, path: str) -> None:
    if node.kind == "sequence":
        items = [_objects(draft, item, f"{path}[{number}]") for number, item in enumerate(node.items)]
        node = Node("sequence", node.mark, items=tuple(items))
    draft.root.put(path, node, mark)


def _objects(draft: Draft, node: Node, path: str) -> Node:
    if node.kind != "mapping":
        return node
    own = set().union(*((name, *entry.aliases) for name, (entry, _) in fields_of(EnsureObjects).items()))
    made = Section(node.mark)
    for name, inner in node.entries.items():
        here, mark = f"{path}.{name}", node.keys[name]
        if name in ("base_uri", "path") and inner.kind == "scalar":
            place = below_target(draft, whole(inner.text))
            made.put("path", scalar(place, inner.mark, plain=False), mark)
        elif name == "fill" and inner.text == "prand":
            draft.note(mark, here, "prand became random: both are bytes that nothing compresses")
            made.put("fill", scalar("random", inner.mark), mark)
        elif name in own:
            made.put(name, inner, mark)
        elif name not in OLD_ENSURE_KEYS:
            draft.problem(mark, here, f"unknown key, {nearest(name, own | set(OLD_ENSURE_KEYS))}")
    size = size_of(draft, node, path)
    if size is not None:
        made.put("size", size)
    return made.node()


def _tree(draft: Draft, node: Node, mark: Mark, path: str) -> None:
    if node.kind != "mapping":
        draft.root.put(path, node, mark)
        return
    own = set().union(*((name, *entry.aliases) for name, (entry, _) in fields_of(DirectoryStructure).items()))
    for name, inner in node.entries.items():
        if name in own:
            draft.root.put(f"{path}.{name}", inner, node.keys[name])
        else:
            draft.problem(node.keys[name], f"{path}.{name}", f"unknown key, {nearest(name, own)}")
    if "dir_mask" not in node.entries:
        draft.root.put(f"{path}.dir_mask", scalar(_DIR_MASK, node.mark, plain=False))
        draft.note(node.mark, f"{path}.dir_mask", f"is {_DIR_MASK} when it is not written")


def finish_tree(draft: Draft) -> None:
    """The older tools have no size in the tree: its files are as the first set of objects, and lie beside them."""
    tree = draft.root.entries.get("prepare")
    tree = tree.entries.get("directory_structure") if isinstance(tree, Section) else None
    if not isinstance(tree, Section):
        return
    objects = draft.root.get("prepare.ensure_objects")
    first = objects.items[0] if objects is not None and objects.items else None
    here = "prepare.directory_structure"
    if first is not None and first.kind == "mapping":
        for name in ("path", *_SHARED):
            if name in first.entries and name not in tree.entries:
                tree.put(name, first.entries[name])
        draft.note(tree.mark, here, "its files have the size and content of the first set of ensure_objects")
    if "size" not in tree.entries:
        tree.put("size", scalar("1048576", tree.mark))
        draft.note(tree.mark, here, "its files have 1 MiB, as objects have when no size is written")


def _cleanup_only(draft: Draft, node: Node, mark: Mark, path: str) -> None:
    if node.text.lower() in ("true", "yes", "on"):
        draft.problem(mark, path, "a run measures; to delete what is there use penstock rm")
    else:
        draft.note(mark, path, "left out: it was off")


#: What becomes of each key of ``prepare``.
PREPARE_TABLE: dict[str, Handler] = {
    "ensure_objects": _ensure,
    "directory_structure": _tree,
    "prepare_strategy": leave("sets are made one after the other, each by all threads"),
    "skip_verification": keep("prepare.skip_verification"),
    "force_overwrite": keep("prepare.force_overwrite"),
    "cleanup": keep("cleanup", "it deletes what this run created, and nothing else"),
    "cleanup_only": _cleanup_only,
    "cleanup_mode": leave("what is gone already is no error, and what can't be deleted is named; exit status 1"),
    "post_prepare_delay": keep("prepare.post_prepare_delay"),
    "key_prefix_shards": keep("prepare.key_prefix_shards"),
}
