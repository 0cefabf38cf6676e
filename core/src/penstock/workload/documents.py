"""YAML as a tree that remembers where each value stands.

Read strictly: one document, a mapping, no key twice, no tags that would make objects. Scalars keep their text,
so ``off`` is a word where a word is expected and ``1:30`` never becomes 90. Anchors, aliases and merge keys
(``<<``) work. ``${VAR}`` and ``${VAR:-default}`` in values are substituted; ``$${`` stands for ``${``.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import attrs
import yaml

from penstock.errors import ConfigError

__all__ = ["Mark", "Node", "Problem", "Problems", "from_plain", "override", "parse", "read_text"]

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TAG = "tag:yaml.org,2002:"
_SCALARS = ("str", "int", "float", "bool", "null", "timestamp", "value", "merge")
_PLAIN_TAGS = frozenset(f"{_TAG}{name}" for name in _SCALARS)
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_VARIABLE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|\$\{")
_STEP = re.compile(r"([^.\[\]=]+)|\[(\d{1,9})\]")
_TOO_LARGE = 16 << 20
_DEEPEST = 50


@attrs.frozen(slots=True)
class Mark:
    """A place in a file, counted from 1, or ``line=0`` for a place that is no file, such as an option."""

    label: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.label}:{self.line}:{self.column}" if self.line else self.label

    def beside(self, path: str) -> str:
        """A path that stands here: relative to the directory of this file, when this is one."""
        return os.path.join(os.path.dirname(self.label), path) if self.line else path


@attrs.frozen(slots=True)
class Problem:
    """One thing that is wrong; ``str()`` gives ``file:line:col: path: what``."""

    mark: Mark
    path: str
    what: str

    def __str__(self) -> str:
        text = ": ".join(part for part in (str(self.mark), self.path, self.what) if part)
        return " ".join(text.splitlines())


class Problems(list[Problem]):
    """What was found so far; ``labels`` are the files that were read, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.labels: list[str] = []

    def add(self, mark: Mark, path: str, what: str) -> None:
        """Note one problem; the same one is noted once."""
        problem = Problem(mark, path, what)
        if problem not in self:
            self.append(problem)

    def raise_any(self) -> None:
        """Raise ConfigError with all problems, those of a file in its order."""
        if self:
            raise ConfigError(self.texts())

    def texts(self) -> tuple[str, ...]:
        """What there is to say, those of a file in its order."""
        return tuple(str(problem) for problem in sorted(self, key=self._order))

    def _order(self, problem: Problem) -> tuple[bool, int, int, int]:
        mark = problem.mark
        file = self.labels.index(mark.label) if mark.label in self.labels else len(self.labels)
        return mark.line == 0, file, mark.line, mark.column


@attrs.frozen(slots=True, eq=False)
class Node:
    """A value with its place. ``keys`` gives the place of each key of a mapping."""

    kind: Literal["scalar", "sequence", "mapping"]
    mark: Mark
    text: str = ""
    #: Not quoted: the text may stand for nothing, true or false.
    plain: bool = True
    items: tuple[Node, ...] = ()
    entries: Mapping[str, Node] = attrs.field(factory=dict)
    keys: Mapping[str, Mark] = attrs.field(factory=dict)

    @property
    def empty(self) -> bool:
        """Whether this is YAML's null."""
        return self.kind == "scalar" and self.plain and self.text in _NULLS

    def describe(self) -> str:
        """What stands here, for messages."""
        if self.kind == "scalar":
            return "nothing" if self.empty else repr(self.text)
        return "a list" if self.kind == "sequence" else "a mapping"


def read_text(path: str) -> str:
    """The text of a UTF-8 file, ``-`` being standard input. Raises ConfigError."""
    try:
        if path == "-":
            data = sys.stdin.buffer.read(_TOO_LARGE + 1)
        else:
            with open(path, "rb") as file:
                data = file.read(_TOO_LARGE + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError([f"{path}: can't be read: {reason}"]) from error
    if len(data) > _TOO_LARGE:
        raise ConfigError([f"{path}: larger than {_TOO_LARGE >> 20} MiB; this is no workload file"])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].rpartition(b"\n")[2]
        mark = Mark(path, data.count(b"\n", 0, error.start) + 1, len(before) + 1)
        raise ConfigError([f"{mark}: not UTF-8 (byte 0x{data[error.start]:02x}); save the file as UTF-8"]) from error


def parse(text: str, label: str, problems: Problems, environ: Mapping[str, str] | None) -> Node | None:
    """The tree of a document, or None when nothing can be read of it; what is wrong goes to ``problems``.

    ``environ`` is None where variables are to be left as they stand.
    """
    if label not in problems.labels:
        problems.labels.append(label)
    root = _compose(text, lambda mark: Mark(label, mark.line + 1, mark.column + 1), Mark(label, 1, 1), problems)
    if root is None:
        return None
    return _Converter(label, problems, environ).convert(root)


def from_plain(value: Any, mark: Mark) -> Node:
    """The tree of plain data, as :func:`penstock.workload.config.dump` makes it."""
    if isinstance(value, Mapping):
        entries = {str(name): from_plain(inner, mark) for name, inner in value.items()}
        return Node("mapping", mark, entries=entries, keys=dict.fromkeys(entries, mark))
    if isinstance(value, list | tuple):
        return Node("sequence", mark, items=tuple(from_plain(item, mark) for item in value))
    if isinstance(value, str):
        return Node("scalar", mark, value, plain=False)
    if value is None or isinstance(value, bool):
        return Node("scalar", mark, "" if value is None else str(value).lower())
    return Node("scalar", mark, repr(value))


def override(root: Node, assignment: str, problems: Problems) -> Node:
    """``root`` with one ``a.b[0].c=value`` applied; the value is read as YAML."""
    mark = Mark(f"--set {assignment if assignment.isprintable() else repr(assignment)}")
    path, equals, text = assignment.partition("=")
    steps = _steps(path.strip())
    if not equals or not steps:
        problems.add(mark, "", "write --set key=value, such as --set workload[0].weight=2")
        return root
    composed = _compose(text, lambda _: mark, mark, problems, empty_ok=True) if text.strip() else None
    if text.strip() and composed is None:
        return root
    value = Node("scalar", mark) if composed is None else _Converter(None, problems, None, mark).convert(composed)
    try:
        return _replace(root, steps, value, mark)
    except LookupError as error:
        problems.add(mark, path, str(error.args[0]))
        return root


def _compose(
    text: str, place: Callable[[Any], Mark], start: Mark, problems: Problems, *, empty_ok: bool = False
) -> yaml.Node | None:
    try:
        too_deep = _too_deep(text)
        if too_deep is not None:
            problems.add(place(too_deep), "", f"more than {_DEEPEST} levels deep")
            return None
        root: yaml.Node | None = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problems.add(place(mark) if mark else start, "", _syntax(error))
        return None
    except (yaml.YAMLError, RecursionError, UnicodeEncodeError) as error:
        problems.add(start, "", f"not YAML: {str(error).splitlines()[0]}")
        return None
    if root is None and not empty_ok:
        problems.add(start, "", "the file is empty; penstock config schema shows what a workload can hold")
    return root


def _too_deep(text: str) -> Any:
    """Where nesting goes too deep. The C loader composes by recursion and would overflow the stack."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEEPEST:
                return event.start_mark
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return None


def _syntax(error: yaml.MarkedYAMLError) -> str:
    what = " ".join(part for part in (error.context, error.problem) if part)
    if "single document" in what:
        return "a second document starts here; a workload file holds one"
    if "cannot start any token" in what:
        return f"not YAML: {what}; indent with spaces, quote text that starts with @, ` or %"
    return f"not YAML: {what}"


class _Converter:
    def __init__(
        self, label: str | None, problems: Problems, environ: Mapping[str, str] | None, mark: Mark | None = None
    ) -> None:
        self._label = label
        self._problems = problems
        self._environ = environ
        self._mark = mark
        self._done: dict[int, Node] = {}
        self._open: set[int] = set()

    def convert(self, node: yaml.Node) -> Node:
        # An alias is the same node again: converted once, so nested aliases can't explode.
        key = id(node)
        if key not in self._done:
            if key in self._open:
                self._problems.add(self._place(node), "", "an alias stands inside its own anchor")
                return Node("scalar", self._place(node))
            self._open.add(key)
            self._done[key] = self._fresh(node)
            self._open.discard(key)
        return self._done[key]

    def _fresh(self, node: yaml.Node) -> Node:
        mark = self._place(node)
        if isinstance(node, yaml.ScalarNode):
            if node.tag not in _PLAIN_TAGS:
                self._problems.add(mark, "", f"the tag {_short(node.tag)} is not supported; write the plain value")
            text = self._substitute(node.value, mark, self._environ) if self._environ is not None else node.value
            return Node("scalar", mark, text, plain=not node.style)
        if isinstance(node, yaml.SequenceNode):
            self._check_tag(node, "seq", mark)
            return Node("sequence", mark, items=tuple(self.convert(item) for item in node.value))
        self._check_tag(node, "map", mark)
        return self._mapping(node, mark)

    def _mapping(self, node: yaml.Node, mark: Mark) -> Node:
        entries: dict[str, Node] = {}
        keys: dict[str, Mark] = {}
        merged: list[Node] = []
        for key, value in node.value:
            at = self._place(key)
            if not isinstance(key, yaml.ScalarNode):
                self._problems.add(at, "", "a key is a word, not a list or a mapping")
            elif key.tag == f"{_TAG}merge":
                merged.extend(self._merge(self.convert(value), at))
            elif key.value in entries:
                first = keys[key.value]
                self._problems.add(at, key.value, f"this key stands here twice, first in line {first.line}")
            else:
                entries[key.value], keys[key.value] = self.convert(value), at
        for source in merged:
            entries = {**source.entries, **entries}
            keys = {**source.keys, **keys}
        return Node("mapping", mark, entries=entries, keys=keys)

    def _merge(self, node: Node, at: Mark) -> list[Node]:
        sources = [node] if node.kind == "mapping" else list(node.items)
        if not sources or any(source.kind != "mapping" for source in sources):
            self._problems.add(at, "<<", f"takes a mapping or a list of mappings, not {node.describe()}")
            return []
        return sources

    def _check_tag(self, node: yaml.Node, name: str, mark: Mark) -> None:
        if node.tag != f"{_TAG}{name}":
            self._problems.add(mark, "", f"the tag {_short(node.tag)} is not supported; write the plain value")

    def _substitute(self, text: str, mark: Mark, environ: Mapping[str, str]) -> str:
        def value(match: re.Match[str]) -> str:
            name, default = match[1], match[2]
            if match[0] == "$${":
                return "${"
            if name is None:
                self._problems.add(mark, "", f"{text!r}: write ${{NAME}}, ${{NAME:-default}}, or $${{ for a plain ${{")
                return ""
            found = environ.get(name, "")
            if not found and default is None and name not in environ:
                self._problems.add(mark, "", f"the environment has no {name}; set it, or write ${{{name}:-default}}")
            return found or default or ""

        return _VARIABLE.sub(value, text) if "${" in text else text

    def _place(self, node: yaml.Node) -> Mark:
        if self._mark is not None:
            return self._mark
        return Mark(self._label or "", node.start_mark.line + 1, node.start_mark.column + 1)


def _short(tag: str) -> str:
    return f"!!{tag.removeprefix(_TAG)}" if tag.startswith(_TAG) else tag


def _steps(path: str) -> list[str | int]:
    steps: list[str | int] = []
    position = 0
    while position < len(path):
        if steps and path[position] == ".":
            position += 1
            match = _STEP.match(path, position)
            match = match if match and match[1] else None
        else:
            match = _STEP.match(path, position)
            if match and bool(steps) != bool(match[2]):
                match = None
        if match is None:
            return []
        steps.append(match[1] if match[1] else int(match[2]))
        position = match.end()
    return steps


def _replace(node: Node, steps: Sequence[str | int], value: Node, mark: Mark) -> Node:
    if not steps:
        return value
    step, rest = steps[0], steps[1:]
    if isinstance(step, int):
        if node.kind != "sequence":
            raise LookupError(f"[{step}] needs a list, and there is {node.describe()}")
        if step >= len(node.items):
            raise LookupError(f"there is no item [{step}]; the list has {len(node.items)}")
        items = list(node.items)
        items[step] = _replace(items[step], rest, value, mark)
        return attrs.evolve(node, items=tuple(items))
    if node.kind == "sequence":
        raise LookupError(f"{step} needs a mapping, and there is a list; write its index, such as [0]")
    base = node if node.kind == "mapping" else Node("mapping", mark)
    child = _replace(base.entries.get(step, Node("scalar", mark)), rest, value, mark)
    keys = {**base.keys, step: base.keys.get(step, mark) if rest else mark}
    return attrs.evolve(base, entries={**base.entries, step: child}, keys=keys)
