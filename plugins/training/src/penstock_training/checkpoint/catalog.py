"""Which checkpoints there are, which is the latest, and how a manifest becomes one of them.

A checkpoint exists from the moment its manifest does. ``latest.json`` names a manifest, so that nobody has to list all
of them: who looks for the latest reads it, and lists the manifests after the one that it names, which are those of
saves that ended between the two writes. So a pointer that is old, missing, damaged, or names a manifest that was
deleted, never makes anybody miss a checkpoint.

The pointer only moves forward, in the order of steps and, within a step, of time. Where the store has conditional
writes that is certain. Where it lacks ``if_match`` (file systems) two savers at the same moment can put the older
pointer over the newer one: the one who did sees it when he lists afterwards, and moves it forward again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import attrs

from penstock.errors import (
    AlreadyExistsError,
    ChecksumMismatchError,
    FormatError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StoreError,
)
from penstock.samples.spans import together
from penstock.sinks import Collect
from penstock_training.checkpoint.manifest import (
    Manifest,
    decode_manifest,
    decode_pointer,
    encode_manifest,
    encode_pointer,
)
from penstock_training.checkpoint.naming import LATEST, MANIFESTS, ManifestName, parse_manifest_key
from penstock_training.checkpoint.writing import links

if TYPE_CHECKING:
    from penstock import ObjectInfo, Store

__all__ = ["Catalog", "Entry"]

_log = logging.getLogger("penstock_training.checkpoint")
#: How often the pointer is tried again when others move it meanwhile. Each time one of them has succeeded.
_TRIES: Final = 100
_SMALL: Final = 16


@attrs.frozen(slots=True)
class Entry:
    """A manifest by name, and what it says, or why it can't be read."""

    name: ManifestName
    manifest: Manifest | None = None
    problem: str = ""


@attrs.frozen(slots=True)
class _Pointer:
    """``name`` is None where there is a pointer that can't be read; ``etag`` is that of ``latest.json``."""

    name: ManifestName | None
    etag: str | None


class Catalog:
    """The manifests and the pointer below a store's root."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def names(self, after: ManifestName | None = None) -> list[ManifestName]:
        """Every manifest by name, or those after one, in order."""
        pages = self._store.raw.list_pages(MANIFESTS, start_after=after.key if after else "")
        found = (parse_manifest_key(info.key) for page in pages for info in page.objects)
        return sorted(name for name in found if name is not None)

    def read(self, name: ManifestName) -> Manifest:
        """Raises ObjectNotFoundError, ChecksumMismatchError where it is damaged, FormatError."""
        try:
            return decode_manifest(self._store.get(name.key), name.key)
        except ChecksumMismatchError as error:
            error.uri = self._store.uri + name.key
            raise

    def entries(self, names: Sequence[ManifestName] | None = None) -> list[Entry]:
        """All manifests, or these, read several at once; those deleted meanwhile are left out."""
        names = self.names() if names is None else names
        found: list[Entry | None] = [None] * len(names)

        def look(number: int) -> None:
            name = names[number]
            try:
                found[number] = Entry(name, self.read(name))
            except ObjectNotFoundError:
                pass
            except (ChecksumMismatchError, FormatError) as error:
                found[number] = Entry(name, problem=str(error))

        together(look, len(names), min(self._store.threads, _SMALL))
        return [entry for entry in found if entry is not None]

    def latest(self) -> Manifest | None:
        """The newest checkpoint whose manifest can be read; None when there is none. Raises FormatError where the
        newest is of a version that this one does not know.
        """
        pointer = self._pointer()
        named = pointer.name if pointer is not None else None
        for name in reversed(self.names(named)):
            if (manifest := self._readable(name)) is not None:
                return manifest
        if named is None:
            return None
        if (manifest := self._readable(named)) is not None:
            return manifest
        return next(filter(None, map(self._readable, reversed(self.names()))), None)

    def of_step(self, step: int) -> list[ManifestName]:
        """The manifests of one step, in order."""
        prefix = f"{MANIFESTS}{step:015d}-"
        found = (parse_manifest_key(info.key) for page in self._store.raw.list_pages(prefix) for info in page.objects)
        return sorted(name for name in found if name is not None)

    def publish(self, manifest: Manifest) -> None:
        """Write a new manifest: the commit."""
        try:
            self._store.put(
                manifest.key,
                encode_manifest(manifest),
                if_absent=links(self._store),
                content_type="application/json",
            )
        except StoreError:
            # Nobody else has this id: if it is there, only the answer was lost.
            if not self._holds(manifest):
                raise

    def advance(self) -> None:
        """Move the pointer to the newest manifest, unless it is there, or beyond one that exists."""
        for _ in range(_TRIES):
            pointer = self._pointer()
            newest = self._newest(pointer)
            if newest is None:
                if pointer is not None:
                    self._drop()
                return
            if pointer is not None and pointer.name == newest:
                return
            if self._point(pointer, newest) and (self._certain() or self._newest_after(newest) is None):
                return
        raise StoreError("others move the pointer all the time", uri=self._store.uri + LATEST, operation="put")

    def remove(self, name: ManifestName) -> None:
        """Delete a manifest: the end of the checkpoint."""
        self._store.delete(name.key)

    def _newest(self, pointer: _Pointer | None) -> ManifestName | None:
        """The newest manifest there is, by a listing that begins where the pointer stands."""
        if pointer is None or pointer.name is None:
            return max(self.names(), default=None)
        if (later := self._newest_after(pointer.name)) is not None:
            return later
        return pointer.name if self._store.exists(pointer.name.key) else max(self.names(), default=None)

    def _newest_after(self, name: ManifestName) -> ManifestName | None:
        return max(self.names(name), default=None)

    def _readable(self, name: ManifestName) -> Manifest | None:
        try:
            return self.read(name)
        except ObjectNotFoundError:
            return None
        except ChecksumMismatchError as error:
            _log.warning("a checkpoint is passed over, as its manifest is damaged: %s", error)
            return None

    def _pointer(self) -> _Pointer | None:
        sink = Collect()
        try:
            info: ObjectInfo = self._store.raw.get(LATEST, sink)
        except ObjectNotFoundError:
            return None
        return _Pointer(decode_pointer(sink.view(), self._store.uri + LATEST), info.etag)

    def _holds(self, manifest: Manifest) -> bool:
        try:
            return self.read(manifest.name) == manifest
        except (StoreError, FormatError):
            return False

    def _certain(self) -> bool:
        return self._store.capabilities.if_match

    def _point(self, pointer: _Pointer | None, name: ManifestName) -> bool:
        """Write the pointer over the one that was read; False where it is another one by now."""
        able = self._store.capabilities
        try:
            self._store.put(
                LATEST,
                encode_pointer(name),
                if_absent=pointer is None and able.create,
                if_match=pointer.etag if pointer is not None and able.if_match else None,
                content_type="application/json",
            )
        except StoreError as error:
            if not _met_another(error):
                raise
            return False
        return True

    def _drop(self) -> None:
        """Nothing is left to point at. Whoever commits at this moment makes a new pointer, or is found by listing."""
        self._store.delete(LATEST)


def _met_another(error: StoreError) -> bool:
    """Whether a conditional write, or its repeat after an answer that was lost, met an object or another version."""
    met = (AlreadyExistsError, PreconditionFailedError)
    return isinstance(error, met) or isinstance(error.__cause__, met)
