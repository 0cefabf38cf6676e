"""The legs of a run: what is measured by itself, one after the other, in the same workers.

A leg is one stage in one repeat. A run without either has one leg.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from penstock.workload.config import Config
from penstock.workload.operations import Delete

__all__ = ["Leg", "deletes", "legs_of", "prepares"]


@attrs.frozen(kw_only=True)
class Leg:
    """One leg. ``place`` is the number of its stage, ``stage`` its name, empty where there are no stages; ``repeat``
    counts from 1. ``again`` says that a repeat begins with it before which prepared objects must be made again, and
    ``thinned`` that legs since the last preparation may have deleted objects.
    """

    number: int
    place: int
    stage: str
    repeat: int
    config: Config
    last: int
    repeats: int
    again: bool = False
    thinned: bool = False

    @property
    def label(self) -> str:
        """What tells it from the others: ``write``, ``repeat 2``, ``repeat 2, write``; empty for the only one."""
        repeat = f"repeat {self.repeat}" if self.repeats > 1 else ""
        return ", ".join(filter(None, (repeat, self.stage)))

    @property
    def directory(self) -> str:
        """Where its results lie, relative to those of the run."""
        repeat = f"repeat-{self.repeat:0{len(str(self.repeats))}d}" if self.repeats > 1 else ""
        return "/".join(filter(None, (repeat, f"stage-{self.place + 1}-{self.stage}" if self.stage else "")))

    def run_id(self, run_id: str) -> str:
        """What stands for this leg in the names that it makes: legs make other objects, as runs do."""
        return f"{run_id}-{self.number}" if self.last else run_id


def legs_of(config: Config) -> Sequence[Leg]:
    """All legs in order."""
    parts, names = config.parts(), [stage.name for stage in config.stages] or [""]
    last, fewer, made = config.repeat * len(parts) - 1, any(map(deletes, parts)), prepares(config)
    legs: list[Leg] = []
    for repeat in range(1, config.repeat + 1):
        for place, (name, part) in enumerate(zip(names, parts, strict=True)):
            legs.append(
                Leg(
                    number=len(legs),
                    place=place,
                    stage=name,
                    repeat=repeat,
                    config=part,
                    last=last,
                    repeats=config.repeat,
                    again=fewer and made and place == 0 and repeat > 1,
                    thinned=any(map(deletes, parts[:place])) or (fewer and not made and repeat > 1),
                )
            )
    return legs


def prepares(config: Config) -> bool:
    """Whether there is anything to prepare."""
    prepare = config.prepare
    return not prepare.skip_verification and bool(prepare.ensure_objects or prepare.directory_structure)


def deletes(config: Config) -> bool:
    """Whether any operation of a workload deletes objects."""
    return any(isinstance(item, Delete) and item.weight for item in config.workload)
