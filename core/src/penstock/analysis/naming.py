"""Clients and endpoints: which slot each has, whether it is selected, and what its calls add up to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from penstock.analysis.grid import SLOTS, Grid, Rows
from penstock.analysis.pairs import Array
from penstock.analysis.values import MOST_NAMES, OTHERS
from penstock.globs import compile_glob
from penstock.oplog.formatter import WARMING
from penstock.oplog.names import Names
from penstock.stats.tally import Tally

__all__ = ["Known", "Named", "TooManyNamesError"]

#: Names that a part tells apart; the last slot is for all others.
_NAMES: Final = SLOTS - 1


class TooManyNamesError(Exception):
    """A part of a log has more clients or endpoints than can be told apart without having seen all of it."""


class Named:
    """A grid by name. As long as there is one name only, all that was counted is its, and is not counted twice."""

    def __init__(self, *, exact: bool) -> None:
        """With ``exact`` more names than there are slots for are TooManyNamesError, else they share the last one."""
        self.names: list[str] = []
        self._grid: Grid | None = None
        self._exact = exact

    def slot(self, name: str) -> int:
        """The slot of a name."""
        try:
            return self.names.index(name)
        except ValueError:
            if len(self.names) < _NAMES:
                self.names.append(name)
                return len(self.names) - 1
            if self._exact:
                raise TooManyNamesError from None
            return _NAMES

    def name(self, slot: int) -> str:
        """The name of a slot."""
        return self.names[slot] if slot < len(self.names) else OTHERS

    def add(self, slots: Array, rows: Rows, before: Callable[[], Grid]) -> None:
        """Count rows, each in its slot. ``before`` gives all that was counted until now, in slot 0."""
        if len(self.names) > 1:
            self._open(before).add(slots, rows)

    def merge(self, other: Named, mine: Callable[[], Grid], theirs: Callable[[], Grid]) -> None:
        """Add what the other counts, which is used up. ``mine`` and ``theirs`` give all that each counted."""
        slots = np.array([self.slot(name) for name in other.names] + [_NAMES] * (SLOTS - len(other.names)))
        if len(self.names) < 2:
            return
        if not other.names:
            return
        grid = other._open(theirs)
        grid.move(slots)
        # Names may have come from the other; what was counted here until now is of the first one.
        self._open(mine).merge(grid)

    def tallies(self, total: Tally) -> dict[str, Tally]:
        """A tally by name: of those with the most calls, and of all others together. ``total`` is of all."""
        if self._grid is None:
            return dict.fromkeys(self.names, total)
        counts = self._grid.counts()
        ranked = sorted(range(len(self.names)), key=lambda slot: (-int(counts[slot]), self.names[slot]))
        slots = np.full(SLOTS, _NAMES)
        kept = ranked[: len(ranked) if len(ranked) <= MOST_NAMES else MOST_NAMES]
        slots[kept] = kept
        self._grid.move(slots)
        made = self._grid.tallies()
        tallies = {self.names[slot]: made[slot] for slot in kept if slot in made}
        return tallies | ({OTHERS: made[_NAMES]} if _NAMES in made else {})

    def _open(self, before: Callable[[], Grid]) -> Grid:
        if self._grid is None:
            self._grid = before()
        return self._grid


class Known:
    """What is known of the texts of a column, by their numbers: slots, and which are selected, or of a warm-up."""

    def __init__(self, named: Named, globs: Sequence[str]) -> None:
        self._named = named
        self._globs = [compile_glob(glob) for glob in globs]
        self._names: Names | None = None
        self._slots: Array = np.zeros(0, np.int16)
        self.selected: Array = np.zeros(0, np.bool_)
        self.warming: Array = np.zeros(0, np.bool_)

    def learn(self, names: Names) -> None:
        """Look at texts that have come since."""
        known = len(self._slots) if names is self._names else 0
        self._names = names
        new = names.texts[known:]
        if not new:
            return
        selected = [not self._globs or any(glob.matches(text) for glob in self._globs) for text in new]
        warming = [text == WARMING or text.endswith(f"/{WARMING}") for text in new]
        self.selected = np.concatenate([self.selected[:known], np.array(selected, np.bool_)])
        self.warming = np.concatenate([self.warming[:known], np.array(warming, np.bool_)])
        self._slots = np.concatenate([self._slots[:known], np.full(len(new), -1, np.int16)])

    def slots(self, codes: Array) -> Array:
        """The slot of each number; names get one when they are asked for."""
        if len(self._slots) == 1 and self._slots[0] >= 0:
            return np.full(len(codes), self._slots[0])
        slots: Array = self._slots[codes]
        if (slots < 0).any():
            assert self._names is not None
            for code in np.unique(codes[slots < 0]).tolist():
                self._slots[code] = self._named.slot(self._names.texts[code])
            slots = self._slots[codes]
        return slots
