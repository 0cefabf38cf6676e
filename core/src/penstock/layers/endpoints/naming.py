"""The names of endpoints: templates, lists and files."""

from __future__ import annotations

import itertools
import math
import re
from typing import Final

from penstock.errors import UsageError

__all__ = ["MOST_ENDPOINTS", "expand", "read_endpoints", "split_endpoints"]

#: More than these are a slip of the pen.
MOST_ENDPOINTS: Final = 1024

_GROUP = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"([0-9]+)\.\.\.([0-9]+)\Z", re.ASCII)


def expand(template: str) -> list[str]:
    """Every URI that a template stands for: ``s3+http://storage-{1...8}:9000/bucket/``.

    ``{first...last}`` is each number from the first to the last, both included; zeros before the first one are kept
    (``{01...12}``). Several stand for every combination, the last one counting fastest. Raises UsageError.
    """
    pieces = _GROUP.split(template)
    choices = [[piece] if place % 2 == 0 else _numbers(piece, template) for place, piece in enumerate(pieces)]
    if any("{" in text or "}" in text for text in pieces[::2]):
        raise UsageError(f"{template!r}: a brace without its partner; write {{1...8}}")
    count = math.prod(len(choice) for choice in choices)
    if count > MOST_ENDPOINTS:
        raise UsageError(f"{template!r} stands for {count} endpoints; {MOST_ENDPOINTS} are the most")
    return ["".join(chosen) for chosen in itertools.product(*choices)]


def split_endpoints(text: str) -> list[str]:
    """The endpoints of a list with commas, as an environment variable holds; each may be a template."""
    return _checked([uri for name in text.split(",") if name.strip() for uri in expand(name.strip())], "the list")


def read_endpoints(path: str) -> list[str]:
    """The endpoints of a file: one in a line, a template or a URI; empty lines and those that begin with ``#`` count
    for nothing. Raises UsageError also where the file can't be read.
    """
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the endpoints in {path} can't be read: {error}") from error
    return _checked([uri for line in lines if line and not line.startswith("#") for uri in expand(line)], path)


def _numbers(text: str, template: str) -> list[str]:
    match = _RANGE.match(text)
    if match is None:
        raise UsageError(f"{template!r}: {{{text}}} is no range of numbers; write {{1...8}}, with three dots")
    first, last = int(match[1]), int(match[2])
    if last < first:
        raise UsageError(f"{template!r}: {{{text}}} runs backwards; write {{{match[2]}...{match[1]}}}")
    if last - first >= MOST_ENDPOINTS:
        raise UsageError(f"{template!r}: {{{text}}} is {last - first + 1} numbers; {MOST_ENDPOINTS} are the most")
    width = len(match[1]) if match[1].startswith("0") else 0
    return [f"{number:0{width}}" for number in range(first, last + 1)]


def _checked(uris: list[str], where: str) -> list[str]:
    if not uris:
        raise UsageError(f"{where} names no endpoint; write at least one URI")
    twice = sorted({uri for uri in uris if uris.count(uri) > 1})
    if twice:
        raise UsageError(f"{where} names {twice[0]} more than once")
    return uris
