"""A configuration in the making: values with the places they came from, and what there is to say about them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeAlias

import attrs

from penstock.options import nearest
from penstock.quantities import parse_count, parse_duration, parse_size
from penstock.workload.documents import Mark, Node, Problems

__all__ = ["Draft", "Handler", "Section", "keep", "leave", "mapping", "number", "scalar", "section", "stop"]


def scalar(text: str, mark: Mark, *, plain: bool = True) -> Node:
    """A value."""
    return Node("scalar", mark, text, plain=plain)


def mapping(mark: Mark, entries: Mapping[str, Node]) -> Node:
    """A mapping of these, each key standing where its value does."""
    return Node("mapping", mark, entries=dict(entries), keys={name: node.mark for name, node in entries.items()})


@attrs.define
class Section:
    """A mapping in the making."""

    mark: Mark
    entries: dict[str, Node | Section] = attrs.field(factory=dict)
    keys: dict[str, Mark] = attrs.field(factory=dict)

    def put(self, path: str, node: Node, mark: Mark | None = None) -> None:
        """Set ``a.b.c``; ``mark`` is where its key stood."""
        first, _, rest = path.partition(".")
        if not rest:
            self.entries[first] = node
            self.keys[first] = mark or node.mark
            return
        inner = self.entries.setdefault(first, Section(mark or node.mark))
        if isinstance(inner, Node):
            inner = Section(inner.mark, dict(inner.entries), dict(inner.keys))
            self.entries[first] = inner
        self.keys.setdefault(first, mark or node.mark)
        inner.put(rest, node, mark)

    def get(self, path: str) -> Node | None:
        """What was set at ``a.b.c``, if it is a value."""
        first, _, rest = path.partition(".")
        inner = self.entries.get(first)
        if rest:
            return inner.get(rest) if isinstance(inner, Section) else None
        return inner if isinstance(inner, Node) else None

    def drop(self, path: str) -> None:
        """Forget what was set there."""
        first, _, rest = path.partition(".")
        inner = self.entries.get(first)
        if rest and isinstance(inner, Section):
            inner.drop(rest)
        elif not rest:
            self.entries.pop(first, None)
            self.keys.pop(first, None)

    def node(self) -> Node:
        """The mapping, without sections that stayed empty."""
        built = {
            name: inner.node() if isinstance(inner, Section) else inner
            for name, inner in self.entries.items()
            if not (isinstance(inner, Section) and not inner.entries)
        }
        return Node("mapping", self.mark, entries=built, keys={name: self.keys[name] for name in built})


@attrs.define
class Draft:
    """One conversion. ``notes`` say what became of keys."""

    root: Section
    problems: Problems
    notes: Problems = attrs.field(factory=Problems)
    target: str = ""

    def note(self, mark: Mark, path: str, text: str) -> None:
        """Say what a key became."""
        self.notes.add(mark, path, text)

    def problem(self, mark: Mark, path: str, text: str) -> None:
        """Say why a key can't be taken over."""
        self.problems.add(mark, path, text)

    def read(self, node: Node, path: str, table: Mapping[str, Handler], known: Iterator[str] | tuple[str, ...]) -> None:
        """Hand each key of a mapping to its handler. Keys that are neither in the table nor known are problems."""
        if node.kind != "mapping":
            if not node.empty:
                self.problem(node.mark, path, f"write a mapping of keys, not {node.describe()}")
            return
        own = tuple(known)
        for name, inner in node.entries.items():
            here = f"{path}.{name}".removeprefix(".")
            handler = table.get(name)
            if handler is not None:
                handler(self, inner, node.keys[name], here)
            elif name in own:
                self.root.put(here, inner, node.keys[name])
            else:
                self.problem(node.keys[name], here, f"unknown key, {nearest(name, {*table, *own})}")


#: Takes the value of an old key, where the key stands, and its path in the old file.
Handler: TypeAlias = Callable[[Draft, Node, Mark, str], None]


def keep(to: str, why: str = "") -> Handler:
    """The value goes to ``to``, unchanged; ``why`` says what is different there."""

    def handle(draft: Draft, node: Node, mark: Mark, path: str) -> None:
        draft.root.put(to, node, mark)
        if to != path or why:
            draft.note(mark, path, f"became {to}{why and f': {why}'}" if to != path else why)

    return handle


def leave(why: str) -> Handler:
    """Nothing is lost when the key is left out."""

    def handle(draft: Draft, node: Node, mark: Mark, path: str) -> None:
        draft.note(mark, path, f"left out: {why}")

    return handle


def stop(why: str) -> Handler:
    """The file can't be used with this key."""

    def handle(draft: Draft, node: Node, mark: Mark, path: str) -> None:
        draft.problem(mark, path, why)

    return handle


def section(table: Mapping[str, Handler], known: tuple[str, ...] = ()) -> Handler:
    """A mapping whose keys have handlers of their own."""

    def handle(draft: Draft, node: Node, mark: Mark, path: str) -> None:
        draft.read(node, path, table, known)

    return handle


def number(draft: Draft, node: Node, path: str, kind: str = "count") -> float | None:
    """The value as a number, to compute with; None after noting why not."""
    parsers: dict[str, Callable[[str], float]] = {"count": parse_count, "duration": parse_duration, "size": parse_size}
    try:
        if node.kind != "scalar" or node.empty:
            raise ValueError(f"write a number, not {node.describe()}")
        if "${" in node.text:
            raise ValueError(f"{node.text} has to be computed with; write the number itself")
        return float(node.text) if kind == "number" else parsers[kind](node.text)
    except ValueError as error:
        draft.problem(node.mark, path, str(error))
        return None
