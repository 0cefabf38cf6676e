"""Globs over keys and URIs, anchored at both ends.

``*`` stands for any text within one segment, ``**`` for any text, slashes included; ``**/`` at the start of a
segment also for nothing. A segment that is ``*`` alone is not empty. Every other character stands for itself:
``?`` and ``[`` are legal in keys.
"""

from __future__ import annotations

import re

import attrs

__all__ = ["Glob", "compile_glob", "has_wildcard"]

_PIECE = re.compile(r"(?:(?<=/)|(?<!.))\*\*+/|\*\*+|\*|[^*]+", re.DOTALL)


@attrs.frozen
class Glob:
    """A compiled glob. ``prefix`` is the text before the first wildcard, with which every match begins."""

    pattern: str
    prefix: str
    _match: re.Pattern[str]

    @property
    def literal(self) -> bool:
        """Whether it has no wildcard and so matches one name alone."""
        return self.prefix == self.pattern

    def matches(self, name: str) -> bool:
        """Whether the whole of ``name`` matches."""
        return self._match.fullmatch(name) is not None


def has_wildcard(text: str) -> bool:
    """Whether the text is more than a name."""
    return "*" in text


def compile_glob(pattern: str) -> Glob:
    """Compile a glob; every text is one."""
    expression, position = [], 0
    for match in _PIECE.finditer(pattern):
        position = match.end()
        expression.append(_translate(match[0], pattern, match.start(), position))
    return Glob(pattern, pattern.partition("*")[0], re.compile("".join(expression), re.DOTALL))


def _translate(piece: str, pattern: str, begin: int, end: int) -> str:
    if piece.startswith("**"):
        return "(?:.*/)?" if piece.endswith("/") else ".*"
    if piece == "*":
        whole = pattern[begin - 1 : begin] in ("", "/") and pattern[end : end + 1] in ("", "/")
        return "[^/]+" if whole else "[^/]*"
    return re.escape(piece)
