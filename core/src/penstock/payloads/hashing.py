"""A stateless hash from numbers to numbers: splitmix64's finaliser (Steele, Lea, Flood, OOPSLA 2014)."""

from __future__ import annotations

__all__ = ["absorb", "mix"]

_MASK = (1 << 64) - 1


def mix(*values: int) -> int:
    """64 bits that depend on every value and on their order."""
    state = 0
    for value in values:
        state = absorb(state, value)
    return state


def absorb(state: int, value: int) -> int:
    """One step of :func:`mix`: ``mix(a, b)`` is ``absorb(mix(a), b)``."""
    state = (state + (value & _MASK) + 0x9E3779B97F4A7C15) & _MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)
