"""Faults on purpose: errors, waits and lies, the same in every run of one seed.

:class:`Faults` says what goes wrong and when, :class:`Faulty` is the store that does it. What a rule decides depends
on the seed, the rule's place and the number of the call among those that the rule covers; with several threads the
numbers are those of the order in which the calls came.

================  ====================================  =================================================
effect            acts on                               what it does
================  ====================================  =================================================
:class:`Fail`     every call                            raises an error, before, within or after the work
:class:`Delay`    every call                            waits, for a fixed or a drawn time
:class:`Stall`    every call                            makes all calls of some seconds wait for their end
:class:`Service`  every call                            serves so many at a time, each in a known time
:class:`Truncate` get, put, list_pages                  leaves the end away and tells nobody
:class:`Corrupt`  get, put, write                       flips bits
:class:`Stale`    get, stat                             answers with the object's previous version
:class:`Torn`     get, put                              mixes the new version with the previous one
:class:`Lose`     put, commit, delete                   answers as if it were done, and does nothing
================  ====================================  =================================================

``write`` and ``commit`` are those of a writer. Each page of a listing is a call of its own, whose key is the prefix.
"""

from __future__ import annotations

from penstock.layers.faults.plan import (
    OPERATIONS,
    Corrupt,
    Delay,
    Effect,
    Fail,
    Faults,
    Lose,
    Rule,
    Service,
    Stale,
    Stall,
    Torn,
    Truncate,
)
from penstock.layers.faults.rules import RuleCount
from penstock.layers.faults.store import Faulty

__all__ = [
    "OPERATIONS",
    "Corrupt",
    "Delay",
    "Effect",
    "Fail",
    "Faults",
    "Faulty",
    "Lose",
    "Rule",
    "RuleCount",
    "Service",
    "Stale",
    "Stall",
    "Torn",
    "Truncate",
]
