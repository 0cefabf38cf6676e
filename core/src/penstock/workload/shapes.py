"""What a configuration value may look like: each shape reads a node, writes a value back, and gives its JSON Schema.

The classes of :mod:`penstock.workload.config` say for every field which shape it has, so the loader, the resolved
plan and the schema for editors come from one description. Shapes of whole classes are in
:mod:`penstock.workload.fields`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import attrs

from penstock.quantities import parse_count, parse_duration, parse_size
from penstock.workload.documents import Mark, Node, Problems

__all__ = [
    "FAILED",
    "VARIABLE",
    "Either",
    "Flag",
    "InputFile",
    "InvalidFieldError",
    "ListOf",
    "NotedError",
    "Optional",
    "Quantity",
    "Reader",
    "Shape",
    "Table",
    "Text",
    "Word",
    "any_of",
]

_LARGEST = 2**63 - 1
_LONGEST = 100 * 365 * 86400.0
_TRUE = frozenset({"true", "yes", "on"})
_FALSE = frozenset({"false", "no", "off"})
_SCIENTIFIC = re.compile(r"\d+(\.\d+)?[eE][+-]?\d+", re.ASCII)
#: Schema of a value that a variable supplies.
VARIABLE: dict[str, Any] = {"$ref": "#/$defs/variable"}

#: Stands for a value that could not be read; why has been noted.
FAILED: Any = object()


class InvalidFieldError(ValueError):
    """Raised by a class whose fields contradict each other; ``field`` is where to look."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


class NotedError(ValueError):
    """A value can't be read and the reasons have been noted."""


@attrs.define(slots=True)
class Reader:
    """Collects what is wrong, where each value stood, and which could not be read."""

    problems: Problems
    marks: dict[str, Mark] = attrs.field(factory=dict)
    failed: set[str] = attrs.field(factory=set)

    def read(self, shape: Shape, node: Node, path: str) -> Any:
        """The value, or FAILED after noting why."""
        self.marks[path] = node.mark
        try:
            return shape.read(node, path, self)
        except NotedError:
            pass
        except InvalidFieldError as error:
            self.note(f"{path}.{error.field}".removeprefix("."), str(error))
        except ValueError as error:
            self.problems.add(node.mark, path, str(error))
        self.failed.add(path)
        return FAILED

    def note(self, path: str, text: str) -> None:
        """Note a problem at the place of ``path``, or of the nearest thing around it."""
        around = path
        while around not in self.marks and around:
            around = around[: max(around.rfind("."), around.rfind("["), 0)]
        self.problems.add(self.marks[around], path, text)


class Shape(Protocol):
    """One kind of value."""

    @property
    def expects(self) -> str:
        """What to write, for messages."""

    def accepts(self, node: Node) -> bool:
        """Whether the node looks meant for this shape."""

    def read(self, node: Node, path: str, reader: Reader) -> Any:
        """The value; raises ValueError with the remedy."""

    def dump(self, value: Any) -> Any:
        """Plain data from which the same value would be read."""

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        """JSON Schema; classes go to ``definitions``."""


def any_of(*schemas: dict[str, Any]) -> dict[str, Any]:
    """The schema of a value that is valid by one of these or by several."""
    choices: list[dict[str, Any]] = []
    for schema in schemas:
        choices += [one for one in (schema["anyOf"] if set(schema) == {"anyOf"} else [schema]) if one not in choices]
    return {"anyOf": choices}


@attrs.frozen
class Text:
    """A line of text."""

    expects: str = "text"
    examples: tuple[str, ...] = ()
    check: Callable[[str], object] | None = None

    def accepts(self, node: Node) -> bool:
        return node.kind == "scalar" and not node.empty

    def read(self, node: Node, path: str, reader: Reader) -> str:
        if not self.accepts(node):
            raise ValueError(f"write {self.expects}, not {node.describe()}")
        if self.check is not None:
            self.check(node.text)
        return node.text

    def dump(self, value: str) -> str:
        return value

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        # A year, a version or "off" need no quotes here, and other readers take them for something else.
        return {"type": ["string", "number", "boolean"]} | ({"examples": list(self.examples)} if self.examples else {})


@attrs.frozen
class InputFile:
    """A file to read, relative to the file that names it; from an option or standard input, to where one is."""

    expects: str = "a file"

    def accepts(self, node: Node) -> bool:
        return node.kind == "scalar" and not node.empty

    def read(self, node: Node, path: str, reader: Reader) -> str:
        if not self.accepts(node):
            raise ValueError(f"write {self.expects}, not {node.describe()}")
        return node.mark.beside(node.text)

    def dump(self, value: str) -> str:
        return value

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        return {"type": "string"}


@attrs.frozen
class Word:
    """One of a few words; also those that YAML 1.1 takes for true and false."""

    words: tuple[str, ...]
    #: Words of later releases.
    later: tuple[str, ...] = ()

    @property
    def expects(self) -> str:
        return " or ".join(self.words)

    def accepts(self, node: Node) -> bool:
        return node.kind == "scalar" and node.text in self.words

    def read(self, node: Node, path: str, reader: Reader) -> str:
        if node.kind == "scalar" and node.text in self.later:
            raise ValueError(f"{node.text} is not supported by this version; write {self.expects}")
        if not self.accepts(node):
            raise ValueError(f"write {self.expects}, not {node.describe()}")
        return node.text

    def dump(self, value: str) -> str:
        return value

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        # A YAML 1.1 editor shows on, off, yes and no as booleans.
        booleans = [word in _TRUE for word in self.words if word in _TRUE | _FALSE]
        return {"anyOf": [{"enum": [*self.words, *booleans]}, VARIABLE]}


@attrs.frozen
class Flag:
    """True or false."""

    expects: str = "true or false"

    def accepts(self, node: Node) -> bool:
        return node.kind == "scalar" and node.plain and node.text.lower() in _TRUE | _FALSE

    def read(self, node: Node, path: str, reader: Reader) -> bool:
        if not self.accepts(node):
            raise ValueError(f"write {self.expects}, not {node.describe()}")
        return node.text.lower() in _TRUE

    def dump(self, value: bool) -> bool:
        return value

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        return {"anyOf": [{"type": "boolean"}, VARIABLE]}


def _parse_duration(text: str) -> float:
    # 1e-05 is how a short duration is written back.
    return float(text) if _SCIENTIFIC.fullmatch(text) else parse_duration(text)


_DURATION = r"^\s*(\d[\d_]*(\.\d+)?([eE][+-]?\d+)?|(\d[\d_]*(\.\d+)?\s*(us|µs|ms|s|m|h|d)\s*)+)\s*$"
_PARSERS: Mapping[str, tuple[Callable[[str], float], str, str]] = {
    "size": (parse_size, "a size such as 4096 or 64KiB", r"^\s*\d[\d_]*(\.\d+)?\s*([kKMGTPE]?B|[KMGTPE]iB)?\s*$"),
    "duration": (_parse_duration, "a duration such as 30s or 5m", _DURATION),
    "count": (parse_count, "a whole number", r"^\s*[\d_,]+\s*$"),
    "number": (float, "a number", r"^\s*[+-]?[\d_]*\.?[\d_]*([eE][+-]?\d+)?\s*$"),
}


@attrs.frozen
class Quantity:
    """A size in bytes, a duration in seconds, a count or a number, within bounds.

    ``minimum`` and ``maximum`` are inclusive, ``below`` is not.
    """

    kind: Literal["size", "duration", "count", "number"]
    minimum: float = 0
    maximum: float | None = None
    #: Strictly more than ``minimum``.
    above: bool = False
    below: float | None = None

    @property
    def expects(self) -> str:
        return _PARSERS[self.kind][1]

    @property
    def largest(self) -> float:
        if self.maximum is not None:
            return self.maximum
        return {"duration": _LONGEST, "number": 1e15}.get(self.kind, _LARGEST)

    def accepts(self, node: Node) -> bool:
        return node.kind == "scalar" and node.text.lstrip(" +-.")[:1].isdigit()

    def read(self, node: Node, path: str, reader: Reader) -> float:
        if node.kind != "scalar" or node.empty:
            raise ValueError(f"write {self.expects}, not {node.describe()}")
        value = self._parse(node.text)
        if value < self.minimum or (self.above and value == self.minimum):
            bound = f"more than {self.minimum:g}" if self.above else f"{self.minimum:g} or more"
            raise ValueError(f"{node.text} is too small; write {bound}")
        if self.below is not None and value >= self.below:
            raise ValueError(f"{node.text} is too large; write less than {self.below:g}")
        if value > self.largest:
            raise ValueError(f"{node.text} is too large; write {self.largest:g} or less")
        return value

    def dump(self, value: float) -> float:
        return value

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        number: dict[str, Any] = {"type": "number" if self.kind in ("duration", "number") else "integer"}
        number["exclusiveMinimum" if self.above else "minimum"] = self.minimum
        number |= {"maximum": self.largest} if self.below is None else {"exclusiveMaximum": self.below}
        return {"anyOf": [number, {"type": "string", "pattern": _PARSERS[self.kind][2]}, VARIABLE]}

    def _parse(self, text: str) -> float:
        digits = text.strip()
        if digits.startswith("-") and self.minimum >= 0:
            raise ValueError(f"{text} is negative; write {self.expects}")
        if len(digits) > 1 and digits[0] == "0" and digits[1].isdigit():
            raise ValueError(f"{text}: a number with a leading zero is octal to some readers; write it without")
        try:
            value = _PARSERS[self.kind][0](text)
        except (ValueError, OverflowError) as error:
            if self.kind == "number" or isinstance(error, OverflowError):
                raise ValueError(f"write {self.expects}, not {text!r}") from None
            raise
        if not math.isfinite(value):
            raise ValueError(f"{text} is not finite; write {self.expects}")
        return value


@attrs.frozen
class Optional:
    """A shape, or nothing (``none``, ``null`` or an empty value)."""

    shape: Shape

    @property
    def expects(self) -> str:
        return f"{self.shape.expects} or none"

    def accepts(self, node: Node) -> bool:
        return _is_none(node) or self.shape.accepts(node)

    def read(self, node: Node, path: str, reader: Reader) -> Any:
        if _is_none(node):
            return None
        return self.shape.read(node, path, reader)

    def dump(self, value: Any) -> Any:
        return None if value is None else self.shape.dump(value)

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        return any_of(self.shape.schema(definitions), {"enum": [None, "none"]})


def _is_none(node: Node) -> bool:
    return node.empty or (node.kind == "scalar" and node.plain and node.text == "none")


@attrs.frozen
class Either:
    """The first shape that the value looks meant for. ``means`` turns a word into the value it stands for."""

    shapes: tuple[Shape, ...]
    holds: tuple[Callable[[Any], bool], ...]
    means: Mapping[str, Any] = attrs.field(factory=dict)

    @property
    def expects(self) -> str:
        return " or ".join(shape.expects for shape in self.shapes)

    def accepts(self, node: Node) -> bool:
        return any(shape.accepts(node) for shape in self.shapes)

    def read(self, node: Node, path: str, reader: Reader) -> Any:
        for shape in self.shapes:
            if shape.accepts(node):
                value = shape.read(node, path, reader)
                return self.means.get(value, value) if isinstance(shape, Word) else value
        raise ValueError(f"write {self.expects}, not {node.describe()}")

    def dump(self, value: Any) -> Any:
        for word, meaning in self.means.items():
            if value is meaning:
                return word
        return next(shape.dump(value) for shape, holds in zip(self.shapes, self.holds, strict=True) if holds(value))

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        return any_of(*(shape.schema(definitions) for shape in self.shapes))


@attrs.frozen
class ListOf:
    """A list with at least ``minimum`` items.

    ``partial`` keeps FAILED in the place of items that can't be read, for checks that skip them.
    """

    shape: Shape
    minimum: int = 0
    partial: bool = False

    @property
    def expects(self) -> str:
        return "a list (each item begins with - )"

    def accepts(self, node: Node) -> bool:
        return node.kind == "sequence"

    def read(self, node: Node, path: str, reader: Reader) -> tuple[Any, ...]:
        if not self.accepts(node):
            raise ValueError(f"write {self.expects}, not {node.describe()}")
        if len(node.items) < self.minimum:
            raise ValueError("the list is empty")
        values = [reader.read(self.shape, item, f"{path}[{index}]") for index, item in enumerate(node.items)]
        if FAILED in values and not self.partial:
            raise NotedError
        return tuple(values)

    def dump(self, value: Sequence[Any]) -> list[Any]:
        return [self.shape.dump(item) for item in value]

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        bound = {"minItems": self.minimum} if self.minimum else {}
        return {"type": "array", "items": self.shape.schema(definitions)} | bound


@attrs.frozen
class Table:
    """Options of backends by scheme; the values go to the backend's own option class."""

    expects: str = "a mapping of schemes, such as {file: {option: value}}"

    def accepts(self, node: Node) -> bool:
        return node.kind == "mapping"

    def read(self, node: Node, path: str, reader: Reader) -> dict[str, dict[str, str | None]]:
        if not self.accepts(node):
            raise ValueError(f"write {self.expects}, not {node.describe()}")
        return {scheme: self._options(inner, f"{path}.{scheme}", reader) for scheme, inner in node.entries.items()}

    def _options(self, node: Node, path: str, reader: Reader) -> dict[str, str | None]:
        reader.marks[path] = node.mark
        if node.kind != "mapping":
            reader.note(path, f"write a mapping of options, not {node.describe()}")
            return {}
        options: dict[str, str | None] = {}
        for name, value in node.entries.items():
            reader.marks[f"{path}.{name}"] = value.mark
            if value.kind != "scalar":
                reader.note(f"{path}.{name}", f"write one value, not {value.describe()}")
            else:
                options[name] = None if value.empty else value.text
        return options

    def dump(self, value: Mapping[str, Mapping[str, str | None]]) -> dict[str, dict[str, str | None]]:
        return {scheme: dict(options) for scheme, options in value.items()}

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        scalar = {"type": ["string", "number", "boolean", "null"]}
        return {"type": "object", "additionalProperties": {"type": "object", "additionalProperties": scalar}}
