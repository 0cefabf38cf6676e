"""Whose turn it is: planned arrivals dealt to workers in proportion to their lanes."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["shared_turns"]


def shared_turns(lanes: Sequence[int]) -> list[tuple[int, ...]]:
    """For each worker, as many of the numbers from 0 up to the sum of lanes as it has lanes, ascending.

    Those of each worker are spread evenly over all. Workers with equally many take turns.
    """
    marks = [
        ((2 * lane + 1) / (2 * count), worker, lane) for worker, count in enumerate(lanes) for lane in range(count)
    ]
    turns: list[list[int]] = [[] for _ in lanes]
    for turn, (_, worker, _) in enumerate(sorted(marks)):
        turns[worker].append(turn)
    return [tuple(each) for each in turns]
