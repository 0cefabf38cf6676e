"""Files made of files: ``include:`` at the top of a file names others, which lie under it.

What a file says itself wins over what it includes, and a later include wins over an earlier one. Sections are put
together key by key (``prepare``, ``on_error``, ``backend`` and what is in them); lists, rates, sizes, selections and
single values are replaced whole. A path is relative to the file that names it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import attrs

from penstock.errors import ConfigError
from penstock.workload.documents import Mark, Node, Problems, parse, read_text
from penstock.workload.fields import Record, fields_of
from penstock.workload.shapes import Either, Optional, Table

__all__ = ["INCLUDE", "compose", "merge"]

#: The key, and what editors say of it.
INCLUDE = "include"
_DEEPEST = 50


@attrs.frozen
class _Step:
    """A file that is being read: where it is, and the place that asked for it."""

    real: str
    label: str
    asked: Mark | None


def compose(text: str, label: str, shape: Record, problems: Problems, environ: Mapping[str, str] | None) -> Node | None:
    """The tree of a document with everything that it includes; None when it can't be read, or a file that it needs.

    ``shape`` says which mappings are sections. ``environ`` is None where variables are to be left as they stand.
    """
    return _compose(text, shape, problems, environ, [_Step(os.path.realpath(label), label, None)])


def _compose(
    text: str, shape: Record, problems: Problems, environ: Mapping[str, str] | None, chain: list[_Step]
) -> Node | None:
    root = parse(text, chain[-1].label, problems, environ)
    if root is None or root.kind != "mapping" or INCLUDE not in root.entries:
        return root
    entries, keys = dict(root.entries), dict(root.keys)
    wanted = entries.pop(INCLUDE)
    keys.pop(INCLUDE)
    under: Node | None = Node("mapping", root.mark)
    for item in wanted.items if wanted.kind == "sequence" else (wanted,):
        found = _read(item, shape, problems, environ, chain)
        under = merge(shape, under, found) if under is not None and found is not None else None
    if under is None:
        return None
    return merge(shape, under, attrs.evolve(root, entries=entries, keys=keys))


def _read(
    item: Node, shape: Record, problems: Problems, environ: Mapping[str, str] | None, chain: list[_Step]
) -> Node | None:
    if item.kind != "scalar" or item.empty or item.text == "-":
        problems.add(item.mark, INCLUDE, f"write the path of a file, or a list of them, not {item.describe()}")
        return None
    path = item.mark.beside(item.text)
    real = os.path.realpath(path)
    if any(step.real == real for step in chain):
        problems.add(item.mark, INCLUDE, _cycle(real, path, item.mark, chain))
        return None
    if len(chain) > _DEEPEST:
        problems.add(item.mark, INCLUDE, f"more than {_DEEPEST} files, each of which includes the next")
        return None
    try:
        text = read_text(path)
    except ConfigError as error:
        problems.add(item.mark, INCLUDE, error.problems[0])
        return None
    found = _compose(text, shape, problems, environ, [*chain, _Step(real, path, item.mark)])
    if found is not None and found.kind != "mapping":
        problems.add(found.mark, "", f"write a mapping of keys, not {found.describe()}")
        return None
    return found


def _cycle(real: str, path: str, mark: Mark, chain: list[_Step]) -> str:
    """Who includes whom, from the first time that the file was met."""
    first = next(number for number, step in enumerate(chain) if step.real == real)
    asked = [str(step.asked) for step in chain[first + 1 :]]
    way = "".join(f", included at {place}" for place in reversed(asked))
    return f"{path} is being read already: a circle of includes ({mark}{way})" if way else f"{path} includes itself"


def merge(shape: Any, under: Node, over: Node) -> Node:
    """``under`` with what ``over`` says on top; both of one shape."""
    if under.kind != "mapping" or over.kind != "mapping":
        return over
    inner = _section(shape)
    if inner is None:
        return over
    entries, keys = dict(under.entries), dict(under.keys)
    for name, value in over.entries.items():
        there = next((known for known in _names(inner, name) if known in entries), None)
        below = None if there is None else entries.pop(there)
        if there is not None:
            keys.pop(there)
        entries[name] = value if below is None else merge(_inner(inner, name), below, value)
        keys[name] = over.keys[name]
    return attrs.evolve(over, entries=entries, keys=keys)


def _section(shape: Any) -> Any:
    """The shape whose mappings are put together key by key, if this is or may be one."""
    if isinstance(shape, Record | Table):
        return shape
    if isinstance(shape, Optional):
        return _section(shape.shape)
    if isinstance(shape, Either):
        return next((found for found in map(_section, shape.shapes) if found is not None), None)
    return shape if isinstance(shape, _Options) else None


@attrs.frozen
class _Options:
    """The options of one scheme in a table of backends."""


def _names(shape: Any, name: str) -> tuple[str, ...]:
    """Every name of the key of this name."""
    if isinstance(shape, Record):
        for known, (entry, _) in fields_of(shape.cls).items():
            if name in (known, *entry.aliases):
                return known, *entry.aliases
    return (name,)


def _inner(shape: Any, name: str) -> Any:
    if isinstance(shape, Table):
        return _Options()
    if isinstance(shape, Record):
        known = fields_of(shape.cls).get(_names(shape, name)[0])
        return None if known is None else known[0].shape
    return None
