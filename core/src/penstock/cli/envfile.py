"""Variables from a file, for one command: ``KEY=VALUE`` lines, quotes, comments. Nothing is expanded or run."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from penstock.errors import UsageError

__all__ = ["apply", "parse"]

_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)\Z", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


def parse(text: str, name: str = "env file") -> dict[str, str]:
    """The variables of a file's text. The last one of a name wins. Raises UsageError with the line's number.

    A value in single quotes is taken as it stands; in double quotes a backslash escapes ``n``, ``t``, ``r``, the
    quote and itself; without quotes it ends before `` #``.
    """
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = _LINE.match(stripped)
        if match is None:
            # The line itself may be a secret, so it is not shown.
            raise UsageError(f"{name}:{number}: write KEY=VALUE")
        values[match[1]] = _value(match[2], f"{name}:{number}: {match[1]}")
    return values


def apply(path: str) -> Callable[[], None]:
    """Put a file's variables into the environment, over those that are there; the result puts it back."""
    try:
        values = parse(Path(path).read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"can't read the env file {path}: {error}") from error
    before = {key: os.environ.get(key) for key in values}
    os.environ.update(values)
    return lambda: _restore(before)


def _restore(before: Mapping[str, str | None]) -> None:
    for key, value in before.items():
        if value is None:
            os.environ.pop(key, None)
        else:
            os.environ[key] = value


def _value(text: str, where: str) -> str:
    quote = text[:1]
    if quote not in ("'", '"'):
        return re.split(r"(?:^|\s)#", text, maxsplit=1)[0].rstrip()
    body, end = _quoted(text, quote)
    rest = text[end:].strip()
    if end == 0 or (rest and not rest.startswith("#")):
        raise UsageError(f"{where}: the quote is not closed, or text follows it")
    return body


def _quoted(text: str, quote: str) -> tuple[str, int]:
    """The text between quotes and the index after the closing one, 0 when there is none."""
    body: list[str] = []
    index = 1
    while index < len(text):
        char = text[index]
        if char == quote:
            return "".join(body), index + 1
        if char == "\\" and quote == '"' and index + 1 < len(text):
            index += 1
            following = text[index]
            char = _ESCAPES.get(following, following if following in '"\\$`' else f"\\{following}")
        body.append(char)
        index += 1
    return "", 0
