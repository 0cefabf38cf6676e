"""Rules that say where recorded names go, as they stand in a file.

::

    rules:
      - match: {bucket: training, prefix: 2025/}
        map_to: s3://other-bucket/archive/
      - match: {scheme: s3}
        map_to_many:
          targets: [file:///mnt/a/, file:///mnt/b/]
          strategy: sticky_key
      - match_any: [{bucket: logs-a}, {bucket: logs-b}]
        map_to: {bucket: logs, prefix: joined/}
      - regex: 's3://tenant-(\\w+)/(.*)'
        replace: 's3://all-tenants/$1/$2'

The first rule that matches a name decides. Each has one of ``match``, ``match_any`` and ``regex``.

``match`` compares what it names, all of it: ``scheme``, ``endpoint`` (the log's column of that name), ``bucket``
and the ``prefix`` that the key begins with. ``map_to`` is a place: the key, without the matched prefix, is put below
it. As ``{bucket, prefix}`` it keeps scheme and endpoint, and the key follows ``prefix`` as it stands.
``map_to_many`` has several places; ``strategy`` chooses: ``round_robin``, ``random`` (from the seed), or
``sticky_key``: one key always goes to the same place. ``regex`` is searched for in the whole URI, or in a relative
name; ``replace`` takes the place of what it matched, ``$1`` or ``${name}`` (in a file ``$${name}``) being its
groups and ``$$`` a dollar.
"""
# ruff: noqa: RUF009 -- key() makes an attrs field, no value

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import attrs

from penstock.errors import PenstockError
from penstock.opening import resolve_place
from penstock.workload.documents import Mark, Problems, from_plain, parse, read_text
from penstock.workload.fields import Record, key
from penstock.workload.shapes import FAILED, Either, InvalidFieldError, ListOf, Optional, Reader, Text, Word

__all__ = ["Elsewhere", "Many", "Match", "Rule", "Rules", "dump_rules", "load_rules", "restore_rules"]

_GROUP = re.compile(r"\$(?:(\$)|(\d+)|\{(\w+)\}|(\w+))")


def _check_place(text: str) -> None:
    if "://" not in text:
        raise ValueError(f"{text!r} names no place; write a URI, a scheme, :// and where in it")
    try:
        resolve_place(text)
    except PenstockError as error:
        raise ValueError(str(error)) from None


def _check_regex(text: str) -> None:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None


_PLACE = Text("the URI of a place", ("mem://data/",), _check_place)


@attrs.frozen
class Match:
    """What a name must have. What is left out may be anything."""

    scheme: str | None = key(Optional(Text("a scheme")), None, help="the scheme, such as file")
    endpoint: str | None = key(
        Optional(Text("an endpoint")), None, help="what the log's endpoint column says", aliases=("host",)
    )
    bucket: str | None = key(Optional(Text("a bucket")), None, help="the bucket or container")
    prefix: str = key(Text("a prefix"), "", help="what the key begins with; it is cut off")


@attrs.frozen
class Elsewhere:
    """The same scheme and endpoint with another bucket."""

    bucket: str = key(Text("a bucket"), help="the bucket that takes the place of the recorded one")
    prefix: str = key(Text("a prefix"), "", help="what the key begins with then")


@attrs.frozen
class Many:
    """Several places, of which a strategy chooses one for each operation."""

    targets: tuple[str, ...] = key(ListOf(_PLACE, minimum=1), help="URIs of places")
    strategy: str = key(
        Word(("round_robin", "random", "sticky_key")),
        "round_robin",
        help="round_robin: one after the other; random: from the seed; sticky_key: by the key",
    )


def _is(kind: type[Any]) -> Any:
    return lambda value: isinstance(value, kind)


@attrs.frozen
class Rule:
    """One rule: what it matches, and where that goes."""

    match: Match | None = key(Optional(Record(Match)), None, help="what a name must have")
    match_any: tuple[Match, ...] | None = key(
        Optional(ListOf(Record(Match), minimum=1)), None, help="several of these; one must match"
    )
    regex: str | None = key(
        Optional(Text("a regular expression", (), _check_regex)), None, help="what the URI must contain"
    )
    map_to: str | Elsewhere | None = key(
        Optional(Either((_PLACE, Record(Elsewhere)), (_is(str), _is(Elsewhere)))),
        None,
        help="a place, or {bucket, prefix} to keep scheme and endpoint",
    )
    map_to_many: Many | None = key(Optional(Record(Many)), None, help="several places and a strategy")
    replace: str | None = key(Optional(Text("text with $1, $2, …")), None, help="what the regex's match becomes")

    def check(self) -> None:
        """Raise InvalidFieldError where the fields do not go together."""
        matchers = [name for name in ("match", "match_any", "regex") if getattr(self, name) is not None]
        if len(matchers) != 1:
            text = f"a rule has one of match, match_any and regex, not {' and '.join(matchers) or 'none'}"
            raise InvalidFieldError("", text)
        if self.regex is not None:
            if self.replace is None or self.map_to is not None or self.map_to_many is not None:
                raise InvalidFieldError("regex", "regex goes with replace, and with nothing else")
            _check_template(self.regex, self.replace)
        elif self.replace is not None:
            raise InvalidFieldError("replace", f"replace goes with regex, not with {matchers[0]}")
        elif (self.map_to is None) == (self.map_to_many is None):
            raise InvalidFieldError("", "write map_to or map_to_many, one of them")

    def matches(self) -> tuple[Match, ...]:
        """What it matches, other than by a regular expression."""
        return self.match_any or ((self.match,) if self.match is not None else ())

    def template(self) -> list[str | int]:
        """``replace`` in pieces: text, and the numbers or names of groups as the regex counts them."""
        assert self.regex is not None
        assert self.replace is not None
        return _pieces(re.compile(self.regex), self.replace)


def _check_template(regex: str, replace: str) -> None:
    try:
        _pieces(re.compile(regex), replace)
    except (LookupError, re.error) as error:
        raise InvalidFieldError("replace", str(error.args[0])) from None


def _pieces(pattern: re.Pattern[str], replace: str) -> list[str | int]:
    pieces: list[str | int] = []
    at = 0
    for match in _GROUP.finditer(replace):
        pieces.append(replace[at : match.start()])
        at = match.end()
        dollar, number, braced, bare = match.groups()
        name = braced or bare
        if dollar:
            pieces.append("$")
        elif number is None and name in pattern.groupindex:
            pieces.append(pattern.groupindex[name])
        elif number is not None and int(number) <= pattern.groups:
            pieces.append(int(number))
        elif number is None and name is not None and name.isdecimal() and int(name) <= pattern.groups:
            pieces.append(int(name))
        else:
            raise LookupError(f"the regex has no group {number or name}; write $$ for a dollar")
    pieces.append(replace[at:])
    return pieces


@attrs.frozen
class Rules:
    """A file of rules, in their order."""

    rules: tuple[Rule, ...] = key(
        ListOf(Record(Rule), minimum=1, partial=True), help="the first one that matches decides"
    )


_RULES = Record(Rules)


def load_rules(path: str, *, environ: Mapping[str, str]) -> tuple[Rule, ...]:
    """Read a file of rules; ``-`` is standard input. Raises ConfigError with every problem that was found."""
    problems = Problems()
    label = "standard input" if path == "-" else path
    root = parse(read_text(path), label, problems, environ)
    problems.raise_any()
    assert root is not None
    return _read(root, problems)


def dump_rules(rules: tuple[Rule, ...]) -> Any:
    """Plain data from which :func:`restore_rules` makes the same rules."""
    return _RULES.dump(Rules(rules=rules)) if rules else None


def restore_rules(plain: Any) -> tuple[Rule, ...]:
    """The rules that :func:`dump_rules` was called on."""
    return _read(from_plain(plain, Mark("plan")), Problems()) if plain else ()


def _read(root: Any, problems: Problems) -> tuple[Rule, ...]:
    reader = Reader(problems)
    read = reader.read(_RULES, root, "")
    for number, rule in enumerate(read.rules if read is not FAILED else ()):
        path = f"rules[{number}]"
        # What could not be read has been said; more of it would only puzzle.
        if rule is FAILED or any(failed.startswith(path) for failed in reader.failed):
            continue
        try:
            rule.check()
        except InvalidFieldError as error:
            reader.note(f"{path}.{error.field}".rstrip("."), str(error))
    problems.raise_any()
    assert isinstance(read, Rules)
    return read.rules
