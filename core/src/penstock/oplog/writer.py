"""OpLogWriter: records in, an operation log file out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from penstock.clocks import Anchor
from penstock.errors import OpLogError
from penstock.oplog.columns import COLUMNS, COLUMNS_15, COLUMNS_DUE
from penstock.oplog.formatter import BATCH, Formatter
from penstock.oplog.textfile import TextFile
from penstock.records import Endpoint, RecordBuffer

if TYPE_CHECKING:
    from typing import Self

__all__ = ["OpLogWriter"]


class OpLogWriter:
    """Writes rows of record buffers to one file, numbered in the order of the calls. It belongs to one thread.

    Rows are readable in the file when ``write`` returns. After a failure the file holds the ``written`` rows
    and ends there; every later ``write`` raises again and counts its rows as accepted.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        endpoints: Sequence[Endpoint],
        anchor: Anchor,
        client_id: str = "",
        level: int = 1,
        header: bool = True,
        columns: int = 13,
        due: bool = False,
    ) -> None:
        """Replaces the file at ``path``. ``endpoints`` may grow while the log is written.

        ``header=False`` leaves out the line of column names. ``columns`` is 13, or 15 for ``last_byte``, when a put's
        body had been sent, and ``cat``, which is 0. ``due`` adds to the 13 when each call was due. Raises OpLogError.
        """
        if columns not in (13, 15):
            raise OpLogError(f"columns: {columns}; choose 13 or 15")
        if due and columns != 13:
            raise OpLogError("the column due goes with the 13 columns")
        self.path = os.fspath(path)
        #: Rows that ``write`` was given, and those of them that are in the file.
        self.accepted = 0
        self.written = 0
        self._formatter = Formatter(endpoints, anchor, client_id, wide=columns == 15, due=due)
        self._failure: OSError | None = None
        self._file: TextFile | None = TextFile(self.path, level=level)
        if header:
            names = COLUMNS_15 if columns == 15 else COLUMNS_DUE if due else COLUMNS
            self._append("\t".join(names).encode() + b"\n")

    def write(self, buffer: RecordBuffer, begin: int, end: int) -> None:
        """Append the rows from ``begin`` up to, not including, ``end``.

        Raises OpLogError when the file can't be written, such as on a full disk.
        """
        self.accepted += end - begin
        for at in range(begin, end, BATCH):
            upto = min(at + BATCH, end)
            self._append(self._formatter.format(buffer, at, upto, self.written))
            self.written += upto - at

    def close(self) -> None:
        """End the file. Closing twice, or after a failed write, is harmless. Raises OpLogError."""
        file, self._file = self._file, None
        if file is not None:
            try:
                file.finish()
            except OSError as error:
                raise self._failed(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _append(self, text: bytes) -> None:
        if self._file is None:
            raise self._failed(self._failure) if self._failure else OpLogError(f"{self.path} is closed")
        try:
            self._file.append(text)
        except OSError as error:
            self._failure = error
            self._file.salvage()
            self._file = None
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> OpLogError:
        return OpLogError(
            f"{self.path} could not be written ({error.strerror}): of {self.accepted} rows accepted "
            f"{self.written} are in the file"
        )
