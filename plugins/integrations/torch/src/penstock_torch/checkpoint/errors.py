"""What a failed save raises."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.errors import PenstockError

__all__ = ["SaveError"]


class SaveError(PenstockError):
    """A checkpoint that was not published, with every reason: the ``errors`` of all files that could not be written.

    What an earlier save published under the same name is as it was. Only where ``unknown`` is true, the store has
    neither confirmed the metadata nor let it be looked for, so the checkpoint may be there all the same, whole.
    """

    def __init__(self, message: str, errors: Sequence[BaseException] = (), unknown: bool = False) -> None:
        super().__init__("\n  ".join([message, *(f"{type(error).__name__}: {error}" for error in errors)]))
        self.message = message
        self.errors = tuple(errors)
        self.unknown = unknown

    def __reduce__(self) -> tuple[type[SaveError], tuple[str, tuple[BaseException, ...], bool]]:
        return type(self), (self.message, self.errors, self.unknown)
