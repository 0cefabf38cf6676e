"""The writer: bytes go to a temporary file, which takes the object's name in one step.

So readers see the old object or the new one, and a crash leaves neither half an object nor a visible file.
"""

from __future__ import annotations

import contextlib
import io
import os
import uuid
import weakref
from typing import TYPE_CHECKING

from penstock.store import ObjectInfo
from penstock_acme.errors import translated

if TYPE_CHECKING:
    from typing_extensions import Buffer

#: Names that begin so are no keys, and no listing shows them.
TEMPORARY = ".acme-tmp-"


class AcmeWriter:
    """Appends to a temporary file in the object's directory."""

    def __init__(self, key: str, path: str, uri: str, operation: str, *, create: bool, fsync: bool) -> None:
        """``operation`` is what errors of the commit say was called: put or commit."""
        self._key, self._path, self._uri = key, path, uri
        self._operation, self._create, self._fsync = operation, create, fsync
        directory = os.path.dirname(path)
        self._temporary = f"{directory}/{TEMPORARY}{uuid.uuid4().hex}"
        with translated("put" if operation == "put" else "open_writer", uri):
            os.makedirs(directory, exist_ok=True)
            self._file = io.FileIO(self._temporary, "x")
        # Dropping the writer discards the file, as an abort does.
        self._discard = weakref.finalize(self, _discard, self._file, self._temporary)

    def write(self, data: Buffer, /) -> None:
        left = memoryview(data).cast("B")
        with translated("write", self._uri):
            while left:
                left = left[self._file.write(left) :]

    def commit(self) -> ObjectInfo:
        with translated(self._operation, self._uri):
            if self._fsync:
                os.fsync(self._file.fileno())
            facts = os.fstat(self._file.fileno())
            # A link fails when the name is taken; a rename replaces what has it.
            (os.link if self._create else os.replace)(self._temporary, self._path)
        self._discard()
        return ObjectInfo(self._key, facts.st_size, facts.st_mtime_ns)

    def abort(self) -> None:
        self._discard()


def _discard(file: io.FileIO, temporary: str) -> None:
    file.close()
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
