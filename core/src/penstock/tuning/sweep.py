"""Settings tried one after another, and the best of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import yaml

from penstock.errors import UsageError

__all__ = ["Vary", "best_of", "parse_vary", "settings_of"]

#: The largest number of combinations that are all tried; of more, one setting after the other is varied.
MOST_COMBINED = 16


@attrs.frozen
class Vary:
    """A key of the workload, as ``--set`` writes it, and the values to try, in order."""

    key: str
    values: Sequence[Any]


def parse_vary(text: str) -> Vary:
    """Read ``key=v1,v2,…``; values are YAML. Raises UsageError."""
    key, equals, rest = text.partition("=")
    try:
        values = yaml.safe_load(f"[{rest}]")
    except yaml.YAMLError:
        values = None
    if not equals or not key.strip() or not values:
        raise UsageError(f"--vary {text}: write a key and values, such as --vary concurrency=8,16,32")
    if len({repr(value) for value in values}) != len(values):
        raise UsageError(f"--vary {text}: a value stands there twice")
    return Vary(key.strip(), values)


def settings_of(settings: Mapping[str, Any]) -> list[str]:
    """The settings as ``--set`` takes them."""
    return [f"{key}={_flow(value)}" for key, value in settings.items()]


def best_of(
    varied: Sequence[Vary], score: Callable[[dict[str, Any]], float], *, least_gain: float = 0.03
) -> dict[str, Any]:
    """Try settings and return the best.

    ``score`` carries out one combination; higher is better, ``-inf`` means that it can't be used. Few combinations
    are all tried; of more than 16, each key in turn while the others keep the best that is known, until a round
    changes nothing. Of scores within ``least_gain`` of the highest, as a share, the earliest combination wins: give
    the cheap values first. Raises UsageError when no combination can be used.
    """
    tried: dict[tuple[str, ...], tuple[float, dict[str, Any]]] = {}

    def scored(settings: dict[str, Any]) -> float:
        name = tuple(settings_of(settings))
        if name not in tried:
            tried[name] = (score(settings), settings)
        return tried[name][0]

    def pick(candidates: Sequence[dict[str, Any]]) -> dict[str, Any]:
        scores = [scored(candidate) for candidate in candidates]
        bar = max(scores) - abs(max(scores)) * least_gain
        return next(candidate for candidate, value in zip(candidates, scores, strict=True) if value >= bar)

    if math.prod(len(vary.values) for vary in varied) <= MOST_COMBINED:
        best = pick(list(_combinations(varied)))
    else:
        best = {vary.key: vary.values[0] for vary in varied}
        before: dict[str, Any] | None = None
        while best != before:
            before = best
            for vary in varied:
                best = pick([{**best, vary.key: value} for value in vary.values])
    if scored(best) == -math.inf:
        raise UsageError("no combination of settings could be run; see the reasons above")
    return best


def _combinations(varied: Sequence[Vary]) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*(vary.values for vary in varied)):
        yield {vary.key: value for vary, value in zip(varied, values, strict=True)}


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=math.inf).strip()
    return text.removesuffix("...").strip()
