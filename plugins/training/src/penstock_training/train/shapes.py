"""What values of DLIO's files look like, where that differs from core's: words with remedies, -1 for none, times."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np

from penstock.options import nearest
from penstock.quantities import parse_size
from penstock.workload.documents import Node
from penstock.workload.shapes import Reader

__all__ = ["Amount", "Choice", "Flat", "Span", "Time", "Whole"]

_LARGEST = 2**63 - 1


def _scalar(node: Node, expects: str) -> str:
    if node.kind != "scalar" or node.empty:
        raise ValueError(f"write {expects}, not {node.describe()}")
    return node.text.strip()


@attrs.frozen
class Choice:
    """One of a few words. ``refused`` are words of DLIO's that can't be had here, each with what to do instead."""

    words: tuple[str, ...]
    refused: Mapping[str, str] = attrs.field(factory=dict)

    @property
    def expects(self) -> str:
        return " or ".join(self.words)

    def accepts(self, node: Node) -> bool:
        return node.kind == "scalar" and node.text.lower() in self.words

    def read(self, node: Node, path: str, reader: Reader) -> str:
        text = _scalar(node, self.expects).lower()
        if text in self.refused:
            raise ValueError(f"{text} is refused: {self.refused[text]}")
        if text not in self.words:
            raise ValueError(f"{text!r} is unknown; {nearest(text, self.words)}")
        return text

    def dump(self, value: str) -> str:
        return value

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        return {"enum": list(self.words)}


@attrs.frozen
class Whole:
    """A whole number; with a ``minimum`` of -1 that one means none."""

    minimum: int = 0

    @property
    def expects(self) -> str:
        return "a whole number, or -1 for none" if self.minimum < 0 else f"a whole number from {self.minimum} on"

    def accepts(self, node: Node) -> bool:
        return node.kind == "scalar" and node.text.lstrip(" +-")[:1].isdigit()

    def read(self, node: Node, path: str, reader: Reader) -> int:
        text = _scalar(node, self.expects)
        try:
            number = int(text.replace(",", ""))
        except ValueError:
            raise ValueError(f"write {self.expects}, not {text!r}") from None
        if number < self.minimum:
            raise ValueError(f"{number} is too small; write {self.expects}")
        if number > _LARGEST:
            raise ValueError(f"{number} is too large; write at most {_LARGEST}")
        return number

    def dump(self, value: int) -> int:
        return value

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.minimum}


@attrs.frozen
class Amount:
    """A number, which may be a broken one, or where ``size`` is on a size such as ``64KiB``."""

    minimum: float = 0
    maximum: float = 1e18
    size: bool = False

    @property
    def expects(self) -> str:
        return "bytes, or a size such as 64KiB" if self.size else f"a number from {self.minimum:g} on"

    def accepts(self, node: Node) -> bool:
        return node.kind == "scalar" and node.text.lstrip(" +-.")[:1].isdigit()

    def read(self, node: Node, path: str, reader: Reader) -> float:
        text = _scalar(node, self.expects)
        try:
            number = float(text)
        except ValueError:
            if not self.size:
                raise ValueError(f"write {self.expects}, not {text!r}") from None
            number = float(parse_size(text))
        if not math.isfinite(number) or not self.minimum <= number <= self.maximum:
            raise ValueError(f"{text} is out of range; write {self.minimum:g} to {self.maximum:g}")
        return number

    def dump(self, value: float) -> float:
        return value

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        return {"type": ["number", "string"]} if self.size else {"type": "number", "minimum": self.minimum}


@attrs.frozen
class Span:
    """A time in seconds, fixed or drawn anew each time. DLIO's distributions, with NumPy's names of their parameters.

    A draw below zero counts as zero. (DLIO takes its absolute value, which makes the mean longer.)
    """

    kind: str = "fixed"
    #: Seconds, but for ``shape`` of gamma; in the order of :data:`_PARAMETERS`.
    values: tuple[float, ...] = (0.0,)

    def draw(self, random: np.random.Generator) -> float:
        """Seconds, at least 0."""
        first, *rest = self.values
        if self.kind == "normal":
            return max(0.0, float(random.normal(first, rest[0])))
        if self.kind == "uniform":
            return float(random.uniform(first, rest[0]))
        if self.kind == "gamma":
            return float(random.gamma(first, rest[0]))
        if self.kind == "exponential":
            return float(random.exponential(first))
        if self.kind == "poisson":
            return float(random.poisson(first))
        return first

    @property
    def never(self) -> bool:
        """Whether it is always nothing."""
        return self.kind == "fixed" and self.values[0] == 0

    def __str__(self) -> str:
        if self.kind == "fixed":
            return f"{self.values[0]:g} s"
        pairs = zip(_PARAMETERS[self.kind], self.values, strict=True)
        return f"{self.kind}({', '.join(f'{name} {value:g}' for name, value in pairs)})"


@attrs.frozen
class Flat:
    """A mapping of names to single values."""

    expects: str = "a mapping of names to values"

    def accepts(self, node: Node) -> bool:
        return node.kind == "mapping"

    def read(self, node: Node, path: str, reader: Reader) -> dict[str, str | None]:
        if node.kind != "mapping":
            raise ValueError(f"write {self.expects}, not {node.describe()}")
        values: dict[str, str | None] = {}
        for name, inner in node.entries.items():
            reader.marks[f"{path}.{name}"] = inner.mark
            if inner.kind != "scalar":
                reader.problems.add(inner.mark, f"{path}.{name}", f"write one value, not {inner.describe()}")
            else:
                values[name] = None if inner.empty else inner.text
        return values

    def dump(self, value: Mapping[str, str | None]) -> dict[str, str | None]:
        return dict(value)

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        return {"type": "object"}


_PARAMETERS = {
    "fixed": ("mean",),
    "normal": ("mean", "stdev"),
    "uniform": ("min", "max"),
    "gamma": ("shape", "scale"),
    "exponential": ("scale",),
    "poisson": ("lam",),
}


@attrs.frozen
class Time:
    """Seconds, or a mapping of a distribution: ``{type: normal, mean: 0.3, stdev: 0.1}``."""

    expects: str = "seconds, or a distribution such as {type: normal, mean: 0.3, stdev: 0.1}"

    def accepts(self, node: Node) -> bool:
        return node.kind == "mapping" or Amount().accepts(node)

    def read(self, node: Node, path: str, reader: Reader) -> Span:
        if node.kind != "mapping":
            return Span("fixed", (Amount(maximum=86400 * 365).read(node, path, reader),))
        entries = dict(node.entries)
        kind = entries.pop("type", None)
        name = _kind_of(entries) if kind is None else Choice(tuple(_PARAMETERS)[1:]).read(kind, path, reader)
        values = []
        for parameter in _PARAMETERS[name]:
            if parameter not in entries:
                raise ValueError(f"{name} needs {' and '.join(_PARAMETERS[name])}; {parameter} is missing")
            values.append(Amount().read(entries.pop(parameter), path, reader))
        for left in entries:
            reader.problems.add(node.keys[left], f"{path}.{left}", f"{name} has no such key, {_has(name)}")
        if name == "uniform" and values[0] > values[1]:
            raise ValueError(f"min, {values[0]:g}, is more than max, {values[1]:g}")
        return Span(name, tuple(values))

    def dump(self, value: Span) -> Any:
        if value.kind == "fixed":
            return value.values[0]
        return {"type": value.kind} | dict(zip(_PARAMETERS[value.kind], value.values, strict=True))

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        return {"type": ["number", "object"]}


def _kind_of(entries: Mapping[str, Node]) -> str:
    """Without a type, DLIO takes mean and stdev for a normal distribution, and a lone mean as it is."""
    return "normal" if "stdev" in entries else "fixed"


def _has(name: str) -> str:
    return f"it has {' and '.join(_PARAMETERS[name])}"
