"""Trying the stores of a configuration before a run: a page of a listing, and an object that is removed again."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator
from typing import Final

import attrs

from penstock.client.remedies import remedy
from penstock.engine.findings import Finding
from penstock.engine.places import Places
from penstock.engine.prepare import exists
from penstock.errors import (
    CredentialsError,
    PenstockError,
    StoreConnectionError,
    StoreError,
    StoreTimeoutError,
    redact,
)
from penstock.globs import compile_glob
from penstock.opening import Target, open_stack
from penstock.store import ObjectStore
from penstock.workload.config import Config
from penstock.workload.names import new_names
from penstock.workload.operations import Copy, Mkdir, Put, Rmdir

__all__ = ["PROBE", "Trial", "trials_of"]

#: How the object is called with which writing is tried; sixteen digits follow.
PROBE: Final = "penstock-preflight-"

_NO_CREDENTIALS: Final = (
    "give this host credentials of its own, or hand them on by name: distributed: {forward_env: […]}"
)
_NO_ANSWER: Final = "look at the endpoint, the network and the firewall between this host and the storage"


@attrs.frozen(kw_only=True)
class Trial:
    """One store as this host reaches it: where to list, and where to write; None: not at all."""

    target: Target
    listed: str | None
    written: str | None

    @property
    def subject(self) -> str:
        return f"store {self.target.address.base}{self.target.address.key}"

    def carry_out(self) -> list[Finding]:
        """What is in the way, at most one thing for each way of using it."""
        try:
            store = open_stack([self.target], None).store
        except PenstockError as error:
            return [self._finding("can't be opened", error)]
        with contextlib.closing(store):
            found = [self._try("can't be listed", lambda: self._list(store))] if self.listed is not None else []
            # Who can't even list is told once what is wrong.
            if self.written is not None and not any(found):
                found.append(self._try("can't be written", lambda: self._write(store)))
        return [each for each in found if each is not None]

    def silent(self, seconds: float) -> Finding:
        """What to say when nothing was heard for so long."""
        return Finding(
            level="error", subject=self.subject, cause=f"it did not answer within {seconds:g} s", remedy=_NO_ANSWER
        )

    def _list(self, store: ObjectStore) -> None:
        next(iter(store.list_pages(self.listed or "", page_size=1)), None)

    def _write(self, store: ObjectStore) -> None:
        key = f"{_nearest(store, self.written or '')}{PROBE}{secrets.token_hex(8)}"
        store.put(key, b"penstock preflight")
        for error in store.delete([key]):
            raise error

    def _try(self, what: str, action: Callable[[], None]) -> Finding | None:
        try:
            action()
        except Exception as error:  # noqa: BLE001 - a backend's defect is a finding as well
            return self._finding(what, error)
        return None

    def _finding(self, what: str, error: Exception) -> Finding:
        scheme = self.target.kind.schemes[0]
        known = _NO_CREDENTIALS if isinstance(error, CredentialsError) else remedy(error, scheme=scheme)
        if not known:
            known = "correct the configuration" if isinstance(error, PenstockError) else "tell the backend's authors"
            known = "look at the storage" if isinstance(error, StoreError) else known
            known = _NO_ANSWER if isinstance(error, StoreConnectionError | StoreTimeoutError) else known
        return Finding(level="error", subject=self.subject, cause=redact(f"{what}: {error}"), remedy=known)


def _nearest(store: ObjectStore, prefix: str) -> str:
    """The prefix, or the nearest directory above it that is there: several hosts may look at the same time, and none
    is to make directories, or take away those that another needs.
    """
    while prefix and store.capabilities.directories and not exists(store, prefix):
        prefix = prefix[: prefix.rstrip("/").rfind("/") + 1]
    return prefix


def trials_of(config: Config) -> list[Trial]:
    """A trial for each store of a configuration, and for each of its endpoints. Raises what resolving paths raises."""
    places = Places(config)
    reads: dict[int, str] = {}
    writes: dict[int, str] = {}
    for path, written in _uses(config):
        place = places.locate(path)
        prefix = place.key if written else compile_glob(place.key).prefix
        (writes if written else reads).setdefault(place.store, prefix)
    return [
        Trial(target=target, listed=reads.get(number), written=writes.get(number))
        for number in sorted({*reads, *writes})
        for target in places.targets(number)
    ]


def _uses(config: Config) -> Iterator[tuple[str, bool]]:
    """Paths that are listed or read (False), and prefixes that are written below (True)."""
    prepare = config.prepare
    roots = [entry.path for entry in prepare.ensure_objects]
    if prepare.directory_structure is not None:
        roots.append(prepare.directory_structure.path)
    for path in roots:
        yield path, False
        if not prepare.skip_verification:
            yield _as_prefix(path), True
    for part in config.parts():
        for item in part.workload:
            if not item.weight:
                continue
            if isinstance(item, Put | Mkdir):
                yield _stem(item.path, directory=isinstance(item, Mkdir)), True
            elif isinstance(item, Copy):
                yield item.path, False
                yield _stem(item.to), True
            elif not isinstance(item, Rmdir):
                yield item.path, False


def _as_prefix(path: str) -> str:
    return f"{path.rstrip('/')}/" if path else ""


def _stem(path: str, *, directory: bool = False) -> str:
    """The directory that new names lie in, up to the first number."""
    base, mask = new_names(path, directory=directory) if path else ("", None)
    text = base + (mask.plain[0] if mask is not None else "")
    return text[: text.rfind("/") + 1]
