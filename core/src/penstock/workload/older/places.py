"""Where objects lie, as the older tools write it: a bucket or a base URI and a prefix, or a path of this host."""

from __future__ import annotations

import re

from penstock.urls import join, parse_store
from penstock.workload.documents import Mark, Node
from penstock.workload.older.drafts import Draft, scalar

__all__ = ["PLACE_KEYS", "below_target", "glob", "place_of", "stem", "whole"]

#: The keys of a put that say where, apart from ``path`` and ``uri``.
PLACE_KEYS = ("bucket", "base_uri", "prefix")
_STARS = re.compile(r"\*+")
#: Whose buckets the bare name of a bucket means.
_BUCKETS = "s3://"


def place_of(draft: Draft, node: Node, path: str) -> Node | None:
    """The place that ``bucket`` or ``base_uri``, and ``prefix``, name together; None when there is none of them."""
    found = [name for name in PLACE_KEYS if name in node.entries]
    if not found:
        return None
    for name in found:
        if node.entries[name].kind != "scalar":
            draft.problem(node.entries[name].mark, f"{path}.{name}", "write text")
            return None
    if "bucket" in found and "base_uri" in found:
        draft.problem(node.keys["base_uri"], f"{path}.base_uri", "bucket gives the place already; write one of them")
        return None
    prefix = node.entries["prefix"].text if "prefix" in found else ""
    root = node.entries[found[0]].text if found[0] != "prefix" else ""
    text = whole(root, bucket=found[0] == "bucket") if root else ""
    text = below_target(draft, join(text, prefix) if text and prefix else text or prefix)
    mark = node.entries[found[0]].mark
    draft.note(node.keys[found[0]], f"{path}.{found[0]}", f"became path: {text or 'target itself'}")
    return scalar(text, mark, plain=False)


def whole(text: str, *, bucket: bool = False) -> str:
    """A path of this host as a URI; the name of a bucket as one of S3's, which is what a bare name means."""
    if text.startswith("/"):
        return str(parse_store(text))
    return f"{_BUCKETS}{text}/" if bucket and "://" not in text else text


def below_target(draft: Draft, text: str) -> str:
    """A URI at or below the file's own target, relative to it, so that both move when target does."""
    if not draft.target or "${" in draft.target:
        return text
    base = whole(draft.target).rstrip("/")
    if text.rstrip("/") == base:
        return ""
    return text.removeprefix(f"{base}/") if text.startswith(f"{base}/") else text


def glob(draft: Draft, node: Node, mark: Mark, path: str) -> Node:
    """A glob in which ``*`` crosses slashes, as it does in the older tools."""
    if node.kind != "scalar":
        return node
    text = below_target(draft, _STARS.sub("**", whole(node.text))) or "**"
    if "*" in node.text and text != node.text:
        draft.note(mark, path, f"* crosses / in the older tools; became {text}")
    return scalar(text, node.mark, plain=False)


def stem(draft: Draft, node: Node, mark: Mark, path: str) -> Node:
    """Where something is made or listed: a star at the end stood for the names."""
    if node.kind != "scalar":
        return node
    text = below_target(draft, _STARS.sub("", whole(node.text)) if node.text.endswith("*") else whole(node.text))
    if text != node.text and "*" in node.text:
        draft.note(mark, path, f"became {text or 'target itself'}: the names come from the run")
    return scalar(text, node.mark, plain=False)
