"""The rules at work: which of them take a call, and how long it waits."""

from __future__ import annotations

import heapq
import math
import struct
import threading
from collections.abc import Sequence
from hashlib import blake2b
from statistics import NormalDist

import attrs

from penstock.layers.faults.plan import Delay, Effect, Fail, Faults, Lose, Rule, Service, Stall

__all__ = ["Hit", "RuleCount", "Rules", "wait_until"]

_NORMAL = NormalDist()


@attrs.frozen(slots=True)
class RuleCount:
    """What one rule has done: ``covered`` calls were counted, ``injected`` of them really met the effect."""

    rule: Rule
    covered: int
    injected: int


@attrs.frozen(slots=True)
class Hit:
    """A rule has taken a call. ``number`` counts the calls that the rule covered, from 1."""

    effect: Effect
    number: int
    _state: _State

    def draw(self, salt: int = 1) -> float:
        """A number of [0, 1) that belongs to this call."""
        return self._state.draw(self.number, salt)

    def done(self) -> None:
        """Count the effect as injected."""
        self._state.note()


class _State:
    """One rule's counters, and the time that its effect keeps."""

    def __init__(self, rule: Rule, seed: int, place: int) -> None:
        self.rule = rule
        self.covered = 0
        self.taken = 0
        self.injected = 0
        self.begun: int | None = None
        self.free: list[int] = []
        self.lock = threading.Lock()
        self._key = struct.pack("<QQ", seed & (2**64 - 1), place)

    def draw(self, number: int, salt: int) -> float:
        """Of [0, 1), by the seed, the rule's place and the call's number alone."""
        digest = blake2b(struct.pack("<QQ", number, salt), digest_size=8, key=self._key).digest()
        return (int.from_bytes(digest, "little") >> 11) / 2**53

    def take(self) -> Hit | None:
        """Count a call that the rule covers, and say whether it is taken."""
        rule = self.rule
        with self.lock:
            self.covered += 1
            number = self.covered
            if number <= rule.after or (number - rule.after) % rule.every:
                return None
            if rule.nth is not None and number != rule.nth:
                return None
            if rule.limit is not None and self.taken >= rule.limit:
                return None
            if rule.probability < 1.0 and self.draw(number, 0) >= rule.probability:
                return None
            self.taken += 1
        return Hit(rule.effect, number, self)

    def note(self) -> None:
        with self.lock:
            self.injected += 1

    def until(self, hit: Hit, now: int) -> int:
        """When a call that comes at ``now`` may go on, in nanoseconds of the same clock."""
        effect = self.rule.effect
        if isinstance(effect, Delay):
            hit.done()
            return now + _duration(effect, hit)
        if isinstance(effect, Stall):
            end = self._stall_end(effect, now)
            if end > now:
                hit.done()
            return end
        if isinstance(effect, Service):
            hit.done()
            return self._served(effect, hit, now)
        return now

    def _stall_end(self, effect: Stall, now: int) -> int:
        with self.lock:
            if self.begun is None:
                self.begun = now
            begin = self.begun + round(effect.at * 1e9)
        if now < begin:
            return now
        if effect.every is not None:
            period = round(effect.every * 1e9)
            begin += (now - begin) // period * period
        return max(now, begin + round(effect.seconds * 1e9))

    def _served(self, effect: Service, hit: Hit, now: int) -> int:
        # When each place will be free is worked out, not waited for: a sleep that ends late delays nobody else.
        duration = _duration(effect, hit)
        with self.lock:
            if len(self.free) < effect.concurrency:
                end = now + duration
                heapq.heappush(self.free, end)
            else:
                end = max(now, self.free[0]) + duration
                heapq.heapreplace(self.free, end)
        return end


class Rules:
    """All rules of one store. Threads share them."""

    def __init__(self, faults: Faults) -> None:
        self._states = [_State(rule, faults.seed, place) for place, rule in enumerate(faults.rules)]

    def meet(self, operation: str, key: str) -> Sequence[Hit]:
        """Count a call, and say which rules take it, in their order."""
        hits = []
        for state in self._states:
            if state.rule.covers(operation, key) and (hit := state.take()) is not None:
                hits.append(hit)
        return hits

    def meet_batch(self, keys: Sequence[str]) -> Sequence[tuple[Hit, str]]:
        """Count a batch of deletes, which is one call, and say which rules take it, and for which key's sake."""
        hits = []
        for state in self._states:
            if _by_key(state.rule.effect):
                continue
            key = next((key for key in keys if state.rule.covers("delete", key)), None)
            if key is not None and (hit := state.take()) is not None:
                hits.append((hit, key))
        return hits

    def meet_key(self, key: str) -> Sequence[Hit]:
        """Count one key of a batch of deletes for the rules whose effects are on keys, and say which take it."""
        states = [state for state in self._states if _by_key(state.rule.effect) and state.rule.covers("delete", key)]
        return [hit for state in states if (hit := state.take()) is not None]

    def covering(self, kinds: tuple[type[Effect], ...], key: str) -> bool:
        """Whether a read of the key could meet one of these effects."""
        rules = (state.rule for state in self._states if isinstance(state.rule.effect, kinds))
        return any(rule.covers("get", key) or rule.covers("stat", key) for rule in rules)

    def counts(self) -> tuple[RuleCount, ...]:
        """By rule, in their order."""
        return tuple(RuleCount(state.rule, state.covered, state.injected) for state in self._states)


def wait_until(hits: Sequence[Hit], now: int) -> int:
    """When a call that these rules took may go on: the waits of all of them, one after the other."""
    end = now
    for hit in hits:
        end = hit._state.until(hit, end)
    return end


def _by_key(effect: Effect) -> bool:
    return isinstance(effect, Lose) or (isinstance(effect, Fail) and effect.when == "within")


def _duration(effect: Delay | Service, hit: Hit) -> int:
    """Nanoseconds, drawn so that ``seconds`` is the mean."""
    return round(effect.seconds * _factor(effect, hit.draw(2)) * 1e9)


def _factor(effect: Delay | Service, drawn: float) -> float:
    if effect.distribution == "uniform":
        return 2.0 * drawn
    if effect.distribution == "exponential":
        return -math.log(1.0 - drawn)
    if effect.distribution == "lognormal":
        middle = min(max(drawn, 1e-12), 1.0 - 1e-12)
        return math.exp(effect.sigma * _NORMAL.inv_cdf(middle) - effect.sigma**2 / 2)
    return 1.0
