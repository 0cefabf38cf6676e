"""From recorded names to names on the storage that is replayed against.

A mapper keeps state, such as whose turn it is. Every process that maps the same rows in the same order gets the same
names.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from typing import Final

import attrs

from penstock.errors import UsageError
from penstock.payloads.hashing import mix
from penstock.replay.names import Base, Names
from penstock.replay.roots import Place, Roots
from penstock.replay.rules import Elsewhere, Many, Match, Rule
from penstock.replay.settings import Settings

__all__ = ["Mapped", "Mapper"]

_RANDOM: Final = 0x5EED_0F_A11


@attrs.frozen(slots=True)
class Mapped:
    """Where a name goes. ``own_bucket``: the bucket is not one that stands for several recorded ones."""

    store: int
    key: str
    own_bucket: bool


class Mapper:
    """Maps names by the rules, then the target; see the module."""

    def __init__(self, settings: Settings, roots: Roots, names: Names) -> None:
        """Raises what the places' URIs raise."""
        self._roots = roots
        self._names = names
        self._in_place = settings.in_place
        self._target = None if settings.target is None else roots.place(settings.target)
        self._rules = [
            _compiled(rule, number, settings.seed, roots, self._below) for number, rule in enumerate(settings.rules)
        ]
        #: Whether where a name goes depends on the names before it.
        self.has_state = any(
            rule.map_to_many is not None and rule.map_to_many.strategy != "sticky_key" for rule in settings.rules
        )
        #: How often each rule decided, the target (``target``) and the recorded name itself (``recorded``).
        self.decided: list[int] = [0] * len(self._rules)
        self.by_target = 0
        self.as_recorded = 0

    def map(self, endpoint: str, file: str) -> Mapped:
        """The place of a recorded name. Raises UsageError for one that has none."""
        base, key = self._names.split(endpoint, file)
        mapped = self._moved(base, key)
        if mapped is None:
            return self._recorded(base, key)
        if mapped.key == key and not self._in_place and self._roots.endpoints[mapped.store].base == base.uri:
            raise UsageError(
                f"{base.uri + key!r} would go where its name already leads, to the recorded storage itself; give "
                "another target, or --in-place if that is meant, also where an option leads elsewhere"
            )
        return mapped

    def _moved(self, base: Base, key: str) -> Mapped | None:
        """Where the rules and the target lead, None for a name that they leave alone."""
        for number, rule in enumerate(self._rules):
            mapped = rule(base, key)
            if mapped is not None:
                self.decided[number] += 1
                return mapped
        if self._target is None:
            return None
        self.by_target += 1
        return Mapped(self._target.store, self._target.prefix + key, False)

    def _recorded(self, base: Base, key: str) -> Mapped:
        shown = base.uri + key if not base.relative else key or base.endpoint
        if base.relative:
            raise UsageError(f"{shown!r} is a relative name; say with --target what it is relative to")
        if not self._in_place:
            raise UsageError(
                f"{shown!r} would be replayed on the recorded storage itself; give --target or a rule for it, "
                "or --in-place if that is meant"
            )
        self.as_recorded += 1
        return Mapped(self._roots.base(base.uri), key, True)

    def _below(self, name: str) -> Mapped:
        """A name that a rule made: a URI, or a relative one below the target."""
        if "://" in name:
            base, key = self._names.split("", name)
            if base.relative or base.service:
                raise UsageError(f"{name!r}, which a rule made, names no object")
            return Mapped(self._roots.base(base.uri), key, True)
        if self._target is None:
            raise UsageError(f"{name!r}, which a rule made, is relative; say with --target what it is relative to")
        return Mapped(self._target.store, self._target.prefix + name.lstrip("/"), False)


_Compiled = Callable[[Base, str], Mapped | None]


def _compiled(rule: Rule, number: int, seed: int, roots: Roots, below: Callable[[str], Mapped]) -> _Compiled:
    if rule.regex is not None:
        return _by_regex(rule, below)
    matches = rule.matches()
    if isinstance(rule.map_to, Elsewhere):
        return _by_bucket(matches, rule.map_to, roots)
    if rule.map_to is not None:
        place = roots.place(rule.map_to)
        return _by_place(matches, lambda key: place)
    assert rule.map_to_many is not None
    return _by_place(matches, _chooser(rule.map_to_many, number, seed, roots))


def _by_regex(rule: Rule, below: Callable[[str], Mapped]) -> _Compiled:
    assert rule.regex is not None
    pattern, pieces = re.compile(rule.regex), rule.template()

    def decide(base: Base, key: str) -> Mapped | None:
        whole = f"{base.uri.rstrip('/')}/{key}" if base.relative and base.uri else base.uri + key
        match = pattern.search(whole)
        if match is None:
            return None
        made = "".join((match[piece] or "") if isinstance(piece, int) else piece for piece in pieces)
        return below(whole[: match.start()] + made + whole[match.end() :])

    return decide


def _by_bucket(matches: tuple[Match, ...], elsewhere: Elsewhere, roots: Roots) -> _Compiled:
    def decide(base: Base, key: str) -> Mapped | None:
        cut = _match(matches, base, key)
        if cut is None:
            return None
        if not base.bucket or not base.uri.endswith(f"{base.bucket}/"):
            raise UsageError(
                f"{base.uri + key!r} has no bucket that a rule could replace; let map_to name a place, a URI"
            )
        uri = f"{base.uri.removesuffix(f'{base.bucket}/')}{elsewhere.bucket}/"
        return Mapped(roots.base(uri), elsewhere.prefix + key[cut:], True)

    return decide


def _by_place(matches: tuple[Match, ...], choose: Callable[[str], Place]) -> _Compiled:
    def decide(base: Base, key: str) -> Mapped | None:
        cut = _match(matches, base, key)
        if cut is None:
            return None
        place = choose(key)
        return Mapped(place.store, place.prefix + key[cut:].lstrip("/"), False)

    return decide


def _chooser(many: Many, number: int, seed: int, roots: Roots) -> Callable[[str], Place]:
    places = [roots.place(uri) for uri in many.targets]
    count = len(places)
    if many.strategy == "sticky_key":
        return lambda key: places[mix(zlib.crc32(key.encode(errors="surrogatepass"))) % count]
    turn = -1

    def next_place(key: str) -> Place:
        nonlocal turn
        turn += 1
        return places[turn % count if many.strategy == "round_robin" else mix(_RANDOM, seed, number, turn) % count]

    return next_place


def _match(matches: tuple[Match, ...], base: Base, key: str) -> int | None:
    """How much of the key the first match that fits cuts off; None when none fits."""
    for match in matches:
        if (
            (match.scheme is None or match.scheme == base.scheme)
            and (match.endpoint is None or match.endpoint.rstrip("/") == base.endpoint.rstrip("/"))
            and (match.bucket is None or match.bucket == base.bucket)
            and key.startswith(match.prefix)
        ):
            return len(match.prefix)
    return None
