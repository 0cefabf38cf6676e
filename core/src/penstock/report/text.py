"""Text of a run made fit for a terminal."""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str) -> str:
    """``text`` on one line, without what a terminal would obey and what UTF-8 can't hold."""
    safe = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    return safe.encode("utf-8", "backslashreplace").decode()
