"""What every call of a rank on a store passes through: its count, the faults that are asked for, and the log."""

from __future__ import annotations

import threading
from typing import Any

import attrs

from penstock.layers.faults import Faults, Faulty
from penstock.layers.switch import install, uninstall
from penstock.layers.timing import REAL, Timing
from penstock.metering import Metered
from penstock.oplog import OpLog
from penstock.store import ObjectStore

__all__ = ["Counts", "Taps"]


@attrs.frozen
class Counts:
    """Calls and the bytes that they moved, read and written; differences are what happened in between."""

    calls: int = 0
    errors: int = 0
    read: int = 0
    written: int = 0

    def __sub__(self, other: Counts) -> Counts:
        return Counts(
            self.calls - other.calls, self.errors - other.errors, self.read - other.read, self.written - other.written
        )


class Taps:
    """Reaches every store that this process opens, while it is on; a context manager."""

    def __init__(
        self, *, faults: Faults | None = None, log: str | None = None, client_id: str = "", timing: Timing = REAL
    ) -> None:
        """``log`` is the path of this process's operation log, ``client_id`` what its rows say."""
        self._faults = faults
        self._timing = timing
        self._log = OpLog(log, client_id=client_id) if log is not None else None
        self._lock = threading.Lock()
        self._calls = self._errors = self._read = self._written = 0

    def counts(self) -> Counts:
        """What was moved so far."""
        with self._lock:
            return Counts(self._calls, self._errors, self._read, self._written)

    def meter(self, store: ObjectStore, base_uri: str, endpoint_name: str, /) -> ObjectStore:
        """The same store, tapped."""
        if self._faults is not None:
            store = Faulty(store, self._faults, base_uri=base_uri, timing=self._timing)
        if self._log is not None:
            store = self._log.meter(store, base_uri, endpoint_name)
        # It takes what it is given for a source of recorders, and asks of them only to add.
        source: Any = self
        return Metered(store, source)

    def retried(self) -> None:
        """The call that this thread is in has to be repeated."""
        if self._log is not None:
            self._log.retried()

    def current(self) -> Taps:
        """The recorder of whichever thread asks."""
        return self

    def add(
        self,
        op: int,
        name: str,
        start: int,
        first: int,
        end: int,
        nbytes: int,
        n_objects: int = 1,
        error: str = "",
        endpoint: int = 0,
        due: int = 0,
        flags: int = 0,
    ) -> None:
        """Count one call, as :meth:`penstock.records.Recorder.add` notes it."""
        from penstock.records import Op

        with self._lock:
            self._calls += 1
            self._errors += bool(error)
            if op in (Op.GET, Op.GET_RANGE):
                self._read += nbytes
            elif op == Op.PUT:
                self._written += nbytes

    def __enter__(self) -> Taps:
        install(self)
        return self

    def __exit__(self, *_: object) -> None:
        uninstall(self)
        if self._log is not None:
            self._log.close()
