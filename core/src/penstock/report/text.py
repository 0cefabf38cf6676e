"""Text of a run made fit for a terminal."""

from __future__ import annotations

__all__ = ["printable", "round_rate"]


def printable(text: str) -> str:
    """``text`` on one line, without what a terminal would obey and what UTF-8 can't hold."""
    safe = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    return safe.encode("utf-8", "backslashreplace").decode()


def round_rate(rate: float) -> float:
    """A rate with the digits that are worth showing."""
    return round(rate, 1) if rate < 100 else round(rate)
