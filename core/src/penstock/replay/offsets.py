"""Where ranges begin whose offsets the log does not hold.

Reading all of them from the start of their objects would find it in some cache; as other logs do not tell sizes either,
that of an object is learned when it is first read.
"""

from __future__ import annotations

from typing import Final

from penstock.payloads.hashing import mix

__all__ = ["Offsets"]

#: Objects whose size is remembered at once.
_MOST: Final = 100_000


class Offsets:
    """Of one process; any thread may call it."""

    def __init__(self, *, spread: bool, salt: int) -> None:
        """``spread``: over the object, on multiples of the length; else each range begins at the start."""
        self._spread = spread
        self._salt = salt
        self._sizes: dict[tuple[int, str], int] = {}

    def begin(self, store: int, key: str, number: int, length: int) -> int:
        """Where the range of the operation ``number`` begins: at the start while the object's size is not known."""
        places = self._sizes.get((store, key), 0) // max(length, 1)
        return mix(self._salt, number) % places * length if places > 1 else 0

    def learn(self, store: int, key: str, size: int | None) -> None:
        """The object's size, None when it may have changed."""
        if not self._spread:
            return
        if size is None:
            self._sizes.pop((store, key), None)
            return
        if len(self._sizes) >= _MOST:
            self._sizes.clear()
        self._sizes[store, key] = size
