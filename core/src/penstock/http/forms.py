"""Heads in a form that came before, read by one match.

The answers of a server to one kind of request differ in the values of their fields alone: the status line, the names
and their order stay. Of a form that has come a few times a pattern is made, which takes nothing that the strict
reader (:mod:`penstock.http.heads`) would not take, and means the same by it, in a third of the time. What no pattern
takes is the strict reader's, and all that is hard to delimit is never made a pattern of.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from penstock.http.heads import Head, Names

__all__ = ["USUAL_HEAD", "Form", "Forms"]

#: The longest head in bytes that a form is looked for in.
USUAL_HEAD = 2048

_MOST_FORMS = 8
#: A form is made when its head comes so often,
_TIMES = 3
#: of the first so many heads that no form took.
_LOOKED_AT = 256


class Form:
    """``match`` takes a text that begins with such a head, and its end is the head's; its groups are the fields'
    values, by the numbers of ``names``. ``length`` is that of Content-Length, which says a plain number; 0 where the
    status allows no body. ``repeated`` has the numbers of each field that comes more than once.
    """

    __slots__ = ("length", "match", "names", "repeated", "status")

    def __init__(self, status: int, lines: list[str]) -> None:
        """``lines`` are those of a head, without its empty line."""
        self.status = status
        fields = [line.partition(":") for line in lines[1:]]
        numbers: dict[str, list[int]] = {}
        for number, (name, _, _) in enumerate(fields, 1):
            numbers.setdefault(name.lower(), []).append(number)
        self.repeated = [found for found in numbers.values() if len(found) > 1]
        self.names = Names((name.lower() for name, _, _ in fields), 1)
        self.length = self.names.get("content-length", 0)
        pattern = "".join(f"\r\n{re.escape(name)}:{_value_of(name, value)}" for name, _, value in fields)
        self.match: Callable[[str], re.Match[str] | None] = re.compile(f"{re.escape(lines[0])}{pattern}\r\n\r\n").match

    def joined(self, match: re.Match[str]) -> list[str]:
        """The values, those of a repeated field in one, at the last one's place."""
        values = ["", *match.groups()]
        for first, *others in self.repeated:
            values[others[-1]] = ", ".join([values[first], *(values[number].strip() for number in others)])
        return values


class Forms:
    """The forms of one server's answers. Threads share it."""

    def __init__(self) -> None:
        # Tried one after the other; those that don't fit mostly differ in the status or the first names.
        self._known: list[Form] = []
        self._came: dict[tuple[str, ...], int] = {}
        self._left = _LOOKED_AT

    def read(self, text: str, bodiless: bool) -> tuple[Head, int] | None:
        """The head that ``text`` begins with, and where it ends; None if it is of no known form or not whole.

        ``text`` has a character for each byte (ISO 8859-1).
        """
        for form in self._known:
            match = form.match(text)
            if match is not None:
                length = int(match[form.length]) if form.length else None if bodiless else 0
                values = form.joined(match) if form.repeated else match
                return (form.status, form.names, values, length, 0 if bodiless else length or 0, True), match.end()
        return None

    def learn(self, text: str, head: Head) -> None:
        """Take note of a head, without its empty line, that the strict reader has understood as ``head``."""
        if self._left <= 0 or not _is_plain(text, head):
            return
        self._left -= 1
        lines = text.split("\r\n")
        key = (lines[0], *(line.partition(":")[0] for line in lines[1:]))
        self._came[key] = came = self._came.get(key, 0) + 1
        if came == _TIMES:
            self._known.append(Form(head[0], lines))
            if len(self._known) >= _MOST_FORMS:
                self._left = 0


def _is_plain(text: str, head: Head) -> bool:
    """Whether every head of this form has a body of the length that it says, or none, and the connection stays."""
    status, names, values, _, _, persists = head
    if not (persists and text.startswith("HTTP/1.1 ") and len(text) + 4 <= USUAL_HEAD):
        return False
    if not all(line.isascii() and line.isprintable() for line in text.split("\r\n")):
        return False
    if "connection" in names and values[names["connection"]].strip().lower() != "keep-alive":
        return False
    if status in (204, 304):
        return "content-length" not in names and "transfer-encoding" not in names
    return (
        "content-length" in names
        and "transfer-encoding" not in names
        and values[names["content-length"]].strip().isdecimal()
    )


def _value_of(name: str, value: str) -> str:
    blank = " " if value.startswith(" ") else ""
    match name.lower():
        case "content-length":
            return f"{blank}([0-9]{{1,18}})"
        case "connection":
            return f"({re.escape(value)})"
        case _:
            return f"{blank}([ -~]*)"
