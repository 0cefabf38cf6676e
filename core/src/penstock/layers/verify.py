"""Writes that are looked at once more: is what the store holds what was sent?

``stat`` costs one request after each write. It compares the size; the etag with that of the write's answer, which
shows a write that was lost; and the checksum, where the service keeps one that can be computed here. ``read`` reads
the object back and compares every byte.

Of a put that is found wrong another attempt is made, where the configuration allows several and it has no condition;
then LengthMismatchError or ChecksumMismatchError is raised, and what the store holds is left there to be looked at.
The bytes of a writer are not kept, so a commit that is found wrong raises at once. Another client that replaces the
object at this very moment is told from a lost write by the time of change, where the write's answer has one. Copies
within the store move no bytes through here and are not verified.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal

import attrs

from penstock.errors import ChecksumMismatchError, LengthMismatchError, ObjectNotFoundError, StoreError, UsageError
from penstock.layers.digests import ALGORITHMS, Digesting, matches
from penstock.layers.forwarding import Forwarding, flat
from penstock.sinks import Discard
from penstock.store import ObjectInfo, ObjectStore, ObjectWriter

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Verified", "VerifyWrites"]

#: What a writer computes while it writes: quick enough, or strong enough to stand for a comparison byte by byte.
_QUICK: Final = "crc32c"
_STRONG: Final = "sha256"


@attrs.frozen(kw_only=True)
class VerifyWrites:
    """How writes are verified: by ``stat`` or by ``read``; and how many times a put is attempted in all."""

    by: Literal["stat", "read"] = attrs.field(default="stat", validator=attrs.validators.in_(("stat", "read")))
    attempts: int = attrs.field(default=1, validator=attrs.validators.ge(1))


class Verified(Forwarding):
    """A store whose writes are verified; see the module. It owns the store.

    ``verified`` counts writes that were found right, ``repeated`` attempts that were found wrong and made again.
    """

    def __init__(self, store: ObjectStore, verify: VerifyWrites, *, base_uri: str = "") -> None:
        """``base_uri`` plus a key is the URI that errors name."""
        super().__init__(store)
        self.verify = verify
        self._base = base_uri
        self._running = _computable(_STRONG if verify.by == "read" else _QUICK)
        self._lock = threading.Lock()
        self.verified = 0
        self.repeated = 0

    def put(
        self,
        key: str,
        data: Buffer,
        /,
        *,
        create: bool = False,
        if_match: str | None = None,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
    ) -> ObjectInfo:
        left = self.verify.attempts if not create and if_match is None else 1
        if key.endswith("/") and self.capabilities.directories:
            # A directory has no bytes to compare.
            return self._store.put(key, data, create=create, if_match=if_match, metadata=metadata)
        sent = _Whole(data)
        while True:
            info = self._store.put(
                key, data, create=create, if_match=if_match, metadata=metadata, content_type=content_type
            )
            try:
                self._require(key, info, sent, "put")
                return info
            except (LengthMismatchError, ChecksumMismatchError):
                left -= 1
                if not left:
                    raise
                with self._lock:
                    self.repeated += 1

    def open_writer(
        self,
        key: str,
        /,
        *,
        part_size: int,
        create: bool = False,
        metadata: Mapping[str, str] | None = None,
        content_type: str | None = None,
    ) -> ObjectWriter:
        writer = self._store.open_writer(
            key, part_size=part_size, create=create, metadata=metadata, content_type=content_type
        )
        return _VerifiedWriter(self, writer, key, Digesting(self._running))

    def _require(self, key: str, info: ObjectInfo, sent: _Whole | _Streamed, operation: str) -> None:
        """Raise unless the store holds what was sent, or what somebody else has put since."""
        check = _Check(sent)
        try:
            found = self._store.get(key, check) if self.verify.by == "read" else self._store.stat(key)
        except ObjectNotFoundError as error:
            text = "the object is not there after it was written"
            raise self._wrong(ChecksumMismatchError, text, key, operation) from error
        if _overtaken(info, found):
            return
        if found.size != sent.nbytes or (self.verify.by == "read" and check.nbytes != sent.nbytes):
            got = check.nbytes if found.size == sent.nbytes else found.size
            text = f"{sent.nbytes} bytes were sent and {got} are there"
            raise self._wrong(LengthMismatchError, text, key, operation)
        if info.etag is not None and found.etag is not None and info.etag != found.etag:
            text = f"another object is there (etag {found.etag}) than was written (etag {info.etag})"
            raise self._wrong(ChecksumMismatchError, text, key, operation)
        right = check.same() if self.verify.by == "read" else sent.has(found.checksum)
        if right is False:
            raise self._wrong(ChecksumMismatchError, "the bytes that are there are not those sent", key, operation)
        with self._lock:
            self.verified += 1

    def _wrong(self, kind: type[StoreError], text: str, key: str, operation: str) -> StoreError:
        return kind(f"verification failed: {text}", uri=self._base + key, operation=operation)


class _Whole:
    """The bytes of a put, which are still here."""

    def __init__(self, data: Buffer) -> None:
        self._view = flat(data)
        self.nbytes = self._view.nbytes

    def has(self, stored: str | None) -> bool | None:
        """Whether the stored checksum is theirs; None where that can't be told."""
        digesting = Digesting(_computable((stored or "").partition(":")[0]))
        digesting.update(self._view)
        return matches(stored, digesting)

    def compare(self, piece: memoryview, offset: int) -> bool:
        return self._view[offset : offset + piece.nbytes] == piece

    def same(self) -> bool:
        return True


class _Streamed:
    """The bytes of a writer, of which the checksums are left."""

    def __init__(self, sent: Digesting, algorithms: tuple[str, ...]) -> None:
        self._sent = sent
        self._came = Digesting(algorithms)
        self._algorithms = algorithms
        self.nbytes = sent.nbytes

    def has(self, stored: str | None) -> bool | None:
        return matches(stored, self._sent)

    def compare(self, piece: memoryview, offset: int) -> bool:
        self._came.update(piece)
        return True

    def same(self) -> bool:
        return all(self._came.text(name) == self._sent.text(name) for name in self._algorithms)


class _Check(Discard):
    """Compares what is read back as it comes."""

    def __init__(self, sent: _Whole | _Streamed) -> None:
        super().__init__()
        self._sent = sent
        self._right = True

    def same(self) -> bool:
        """Whether all that came was what was sent."""
        return self._right and self._sent.same()

    def write(self, data: Buffer, /) -> None:
        self._compare(flat(data))

    def commit(self, nbytes: int, /) -> None:
        self._compare(self._room[:nbytes])

    def _compare(self, piece: memoryview) -> None:
        self._right = self._right and self._sent.compare(piece, self.nbytes)
        self.nbytes += piece.nbytes


class _VerifiedWriter:
    """A writer whose object is verified after the commit. Dropping it drops the store's own, which is its abort."""

    def __init__(self, owner: Verified, writer: ObjectWriter, key: str, sent: Digesting) -> None:
        self._owner = owner
        self._writer = writer
        self._key = key
        self._sent = sent

    def write(self, data: Buffer, /) -> None:
        # Before: a write that fails retryably has taken its bytes.
        self._sent.update(data)
        self._writer.write(data)

    def commit(self) -> ObjectInfo:
        info = self._writer.commit()
        self._owner._require(self._key, info, _Streamed(self._sent, self._owner._running), "commit")
        return info

    def abort(self) -> None:
        self._writer.abort()


def _overtaken(info: ObjectInfo, found: ObjectInfo) -> bool:
    """Whether somebody else has replaced the object since it was written."""
    if info.etag is None or found.etag is None or info.etag == found.etag:
        return False
    if info.modified_ns is None or found.modified_ns is None:
        return False
    return found.modified_ns >= info.modified_ns


def _computable(algorithm: str) -> tuple[str, ...]:
    """The algorithm, if it is known and its package is here."""
    if algorithm not in ALGORITHMS:
        return ()
    try:
        Digesting((algorithm,))
    except UsageError:
        return ()
    return (algorithm,)
