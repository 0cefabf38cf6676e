"""Samples as text and as JSON."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from penstock.cli.text import table

__all__ = ["sample_facts", "sample_lines"]

_WIDTH = 72
_BYTES = 24


def sample_lines(sample: Mapping[str, Any]) -> Iterator[str]:
    """A line for each value: its name, type, shape, and its beginning."""
    rows = [(f"  {name}", *_described(value)) for name, value in sample.items()]
    return iter(table(rows) if rows else ["  (no values)"])


def sample_facts(sample: Mapping[str, Any]) -> dict[str, Any]:
    """All values, in what JSON has: bytes in base64, complex numbers as pairs, times and what is no number as text."""
    return {name: _fact(value) for name, value in sample.items()}


def _described(value: Any) -> tuple[str, str, str]:
    if isinstance(value, np.ndarray | np.generic):
        shape = "x".join(map(str, value.shape)) or "-"
        return str(value.dtype), shape, _shortened(_array_text(np.asarray(value)))
    if isinstance(value, bytes | bytearray | memoryview):
        data = memoryview(value)
        return "bytes", str(data.nbytes), bytes(data[:_BYTES]).hex() + ("…" if data.nbytes > _BYTES else "")
    return ("text" if isinstance(value, str) else type(value).__name__), "-", _shortened(repr(value))


def _array_text(array: np.ndarray[Any, Any]) -> str:
    # Summing a large array up takes NumPy long, whatever it then shows.
    text = np.array2string(array.reshape(-1)[:12], max_line_width=10**6, threshold=100, separator=" ")
    if array.ndim == 0:
        return text[1:-1]
    return f"{text[:-1]} …]" if array.size > 12 else text


def _shortened(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _WIDTH else f"{line[: _WIDTH - 1]}…"


def _fact(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        plain = array.astype(str) if array.dtype.kind in "mM" else array
        return {"dtype": str(array.dtype), "shape": list(array.shape), "values": _plain(plain.tolist())}
    return _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return {"base64": base64.b64encode(value).decode("ascii")}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, complex):
        return [_plain(value.real), _plain(value.imag)]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, bool | int | float | str | None):
        return value
    return str(value)
