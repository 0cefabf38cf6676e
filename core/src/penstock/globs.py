"""Globs over keys and URIs, anchored at both ends.

``*`` stands for any text within one segment, ``**`` for any text, slashes included; ``**/`` at the start of a
segment also for nothing, so ``a/**/b`` matches ``a/b``. A segment that is ``*`` alone is not empty. ``[*]`` is a star
itself. Every other character stands for itself: ``?``, ``[`` and ``%`` are legal in keys.
"""

from __future__ import annotations

import functools
import re

import attrs

__all__ = ["Glob", "compile_glob", "has_wildcard", "unescape"]

_TOKEN = re.compile(r"\[\*\]|(?:(?<=/)|(?<!.))\*\*+/|\*\*+|\*|\[|[^*\[]+", re.DOTALL)


@attrs.frozen
class Glob:
    """A compiled glob.

    ``prefix`` is the text, unescaped, with which every match begins; ``start`` is where in ``pattern`` the first
    wildcard stands, its length when there is none.
    """

    pattern: str
    prefix: str
    start: int
    _match: re.Pattern[str]

    @property
    def literal(self) -> bool:
        """Whether it has no wildcard and so matches one name alone, ``prefix``."""
        return self.start == len(self.pattern)

    def matches(self, name: str) -> bool:
        """Whether the whole of ``name`` matches."""
        return self._match.fullmatch(name) is not None


def has_wildcard(text: str) -> bool:
    """Whether the text is more than a name."""
    return "*" in text and not compile_glob(text).literal


def unescape(text: str) -> str:
    """The name that a glob without wildcards stands for."""
    return text.replace("[*]", "*")


@functools.lru_cache(maxsize=256)
def compile_glob(pattern: str) -> Glob:
    """Compile a glob; every text is one."""
    expression, start = [], len(pattern)
    for token in _TOKEN.finditer(pattern):
        piece = _translate(token, pattern)
        if token[0].startswith("*"):
            start = min(start, token.start())
        expression.append(piece)
    return Glob(pattern, unescape(pattern[:start]), start, re.compile("".join(expression), re.DOTALL))


def _translate(token: re.Match[str], pattern: str) -> str:
    piece = token[0]
    if piece.startswith("**"):
        return "(?:.*/)?" if piece.endswith("/") else ".*"
    if piece == "*":
        before, after = pattern[: token.start()][-1:], pattern[token.end() :][:1]
        return "[^/]+" if before in ("", "/") and after in ("", "/") else "[^/]*"
    return re.escape(unescape(piece))
