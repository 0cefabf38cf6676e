"""What every file that answers ranges has to do."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from penstock.errors import FormatError

__all__ = ["naming_file"]


@contextlib.contextmanager
def naming_file(uri: str) -> Iterator[None]:
    """Let a FormatError name the file."""
    try:
        yield
    except FormatError as error:
        if str(error).startswith(uri):
            raise
        raise type(error)(f"{uri}: {error}") from error
