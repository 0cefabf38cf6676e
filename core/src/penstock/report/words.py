"""Numbers in sentences and tables."""

from __future__ import annotations

__all__ = ["figure", "many"]


def figure(value: float) -> str:
    """Three digits that matter, or all before the point: ``0.0213``, ``4.5``, ``312``, ``12,400``."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    text = f"{value:.3g}"
    if "e" in text:
        text = f"{value:.12f}".rstrip("0").rstrip(".") if abs(value) >= 1e-9 else "0"
    return text


def many(count: int, noun: str) -> str:
    """``1 worker``, ``3 workers``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
