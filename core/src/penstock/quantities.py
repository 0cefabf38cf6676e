"""Sizes, durations and counts as people write them, and back.

Sizes: ``4096``, ``4KiB``, ``1.5 MB``; powers of 1000 without the ``i``, of 1024 with it. A bare ``K`` is an error,
because half of the tools read it as 1000 and half as 1024; ``Mb`` is one, because it means bits. Durations:
``30``, ``30s``, ``1m30s``, ``2h``, ``250ms``, ``100us``, ``1d``; a bare number is seconds. Counts: ``20_000``.
"""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import TypeVar

__all__ = [
    "format_bytes",
    "format_count",
    "format_duration",
    "format_rate",
    "parse_count",
    "parse_duration",
    "parse_size",
]

_Number = TypeVar("_Number", int, float)

_NUMBER = r"([0-9][0-9_]*(?:\.[0-9]+)?)"
_COUNT = re.compile(r"\s*[0-9]+(?:[_,][0-9]+)*\s*\Z")
_SIZE = re.compile(rf"\s*{_NUMBER}\s*([A-Za-z]*)\s*\Z")
_DURATION_PART = re.compile(rf"\s*{_NUMBER}\s*(us|µs|ms|s|m|h|d)")
_BARE = re.compile(rf"\s*{_NUMBER}\s*\Z")
_SIZES = {"": 1, "B": 1} | {
    f"{letter}{infix}B": base**power
    for power, letter in enumerate("KMGTPE", start=1)
    for infix, base in (("", 1000), ("i", 1024))
}
_SECONDS = {"us": "1e-6", "µs": "1e-6", "ms": "1e-3", "s": "1", "m": "60", "h": "3600", "d": "86400"}


def parse_size(text: str | int) -> int:
    """Bytes. Raises ValueError with the remedy."""
    if isinstance(text, int) and not isinstance(text, bool):
        return _not_negative(text)
    match = _SIZE.match(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{text!r} is not a size; write bytes, or a number with KiB, MiB, GiB, KB, MB or GB")
    number, unit = Decimal(match[1].replace("_", "")), match[2]
    factor = _SIZES.get("KB" if unit == "kB" else unit)
    if factor is None:
        raise ValueError(_unit_remedy(str(text), unit))
    nbytes = number * factor
    if nbytes != int(nbytes):
        raise ValueError(f"{text!r} is not a whole number of bytes")
    return int(nbytes)


def parse_duration(text: str | float) -> float:
    """Seconds. Raises ValueError with the remedy."""
    if isinstance(text, int | float) and not isinstance(text, bool) and math.isfinite(text):
        return _not_negative(float(text))
    text = str(text)
    bare = _BARE.match(text)
    if bare:
        return float(bare[1].replace("_", ""))
    seconds, position = Decimal(0), 0
    for match in _DURATION_PART.finditer(text):
        if match.start() != position:
            break
        seconds += Decimal(match[1].replace("_", "")) * Decimal(_SECONDS[match[2]])
        position = match.end()
    if position == 0 or text[position:].strip():
        raise ValueError(f"{text!r} is not a duration; write seconds, or 250ms, 30s, 5m, 1m30s, 2h, 1d")
    return float(seconds)


def parse_count(text: str | int) -> int:
    """A whole number, with ``_`` or ``,`` between digits for readability. Raises ValueError."""
    if isinstance(text, int) and not isinstance(text, bool):
        return _not_negative(text)
    if not isinstance(text, str) or not _COUNT.match(text):
        raise ValueError(f"{text!r} is not a whole number; write 20000 or 20_000")
    return int(text.replace("_", "").replace(",", ""))


def format_bytes(nbytes: float) -> str:
    """Powers of 1024 with three digits: ``1.50 MiB``."""
    return _scaled(nbytes, 1024.0, ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"))


def format_rate(bytes_per_second: float) -> str:
    """``812 MiB/s``."""
    return f"{format_bytes(bytes_per_second)}/s"


def format_count(count: float) -> str:
    """Powers of 1000 with three digits: ``12.3 k``; whole numbers below 10,000 in full."""
    if count < 10_000 and count == int(count):
        return f"{int(count)}"
    return _scaled(count, 1000.0, ("", "k", "M", "G", "T")).rstrip()


def format_duration(seconds: float) -> str:
    """Three digits in the unit that fits: ``85.2 µs``, ``12.0 ms``, ``1.50 s``, ``2m05s``, ``3h20m``."""
    if seconds >= 3600:
        return f"{int(seconds // 3600)}h{int(seconds % 3600 // 60):02d}m"
    if seconds >= 60:
        return f"{int(seconds // 60)}m{int(seconds % 60):02d}s"
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= scale * 0.9995:
            return f"{_three_digits(seconds / scale)} {unit}"
    return f"{seconds * 1e9:.0f} ns" if seconds > 0 else "0 s"


def _scaled(value: float, base: float, units: tuple[str, ...]) -> str:
    index = 0
    while value >= base * 0.9995 and index < len(units) - 1:
        value /= base
        index += 1
    number = f"{value:.0f}" if index == 0 else _three_digits(value)
    return f"{number} {units[index]}"


def _three_digits(value: float) -> str:
    if value >= 99.95:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def _unit_remedy(text: str, unit: str) -> str:
    letter = unit[:1].upper()
    if unit.endswith("b"):
        return f"{text!r}: {unit} would be bits; write {letter}B or {letter}iB"
    if len(unit) == 1 and letter in "KMGTPE":
        return f"{text!r}: {unit} is read as 1000 by some and 1024 by others; write {letter}iB or {letter}B"
    return f"{text!r}: unknown unit {unit}; write KiB, MiB, GiB, TiB (powers of 1024) or KB, MB, GB, TB (of 1000)"


def _not_negative(value: _Number) -> _Number:
    if value < 0:
        raise ValueError(f"{value} is negative")
    return value
