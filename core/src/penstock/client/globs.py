"""Anchored globs over keys: ``*`` within a segment, ``**`` across segments, ``[*]`` for a star itself.

Everything else stands for itself, so keys with ``?``, ``[`` or ``%`` need no escape. ``**/`` also matches
nothing: ``a/**/b`` matches ``a/b``.
"""

from __future__ import annotations

import functools
import re

__all__ = ["compile_glob", "glob_start", "is_glob", "literal_prefix", "unescape"]

_TOKEN = re.compile(r"\[\*\]|\*\*+/?|\*")


def is_glob(text: str) -> bool:
    """Whether ``text`` holds a star that is not escaped."""
    return "*" in text.replace("[*]", "")


def unescape(text: str) -> str:
    """The key that a pattern without stars names."""
    return text.replace("[*]", "*")


def glob_start(pattern: str) -> int:
    """The index of the first star that is not escaped; the length when there is none."""
    for token in _TOKEN.finditer(pattern):
        if token[0] != "[*]":
            return token.start()
    return len(pattern)


def literal_prefix(pattern: str) -> str:
    """What every match starts with."""
    return unescape(pattern[: glob_start(pattern)])


@functools.lru_cache(maxsize=256)
def compile_glob(pattern: str) -> re.Pattern[str]:
    """An expression whose ``fullmatch`` decides. Raises ValueError for three stars in a row."""
    parts, position = [], 0
    for token in _TOKEN.finditer(pattern):
        parts.append(re.escape(pattern[position : token.start()]))
        parts.append(_expression(pattern, token))
        position = token.end()
    parts.append(re.escape(pattern[position:]))
    return re.compile("".join(parts), re.DOTALL)


def _expression(pattern: str, token: re.Match[str]) -> str:
    text = token[0]
    if text == "[*]":
        return r"\*"
    if text == "*":
        return "[^/]*"
    if text.startswith("***"):
        raise ValueError(f"{pattern!r}: write * for one segment or ** for any number of them")
    begins_segment = token.start() == 0 or pattern[token.start() - 1] == "/"
    if text == "**/" and begins_segment:
        return "(?:.*/)?"
    return ".*/" if text.endswith("/") else ".*"
