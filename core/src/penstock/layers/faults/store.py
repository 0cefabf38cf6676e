"""The store that does what the rules say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from penstock import errors
from penstock.errors import PreconditionFailedError, StoreError
from penstock.layers.faults.bodies import Body, EditedSink
from penstock.layers.faults.history import History, Version
from penstock.layers.faults.plan import Fail, Faults, Lose, Stale, Torn, Truncate
from penstock.layers.faults.rules import Hit, RuleCount, Rules, wait_until
from penstock.layers.forwarding import Forwarding, flat
from penstock.layers.timing import REAL, Timing
from penstock.store import ObjectInfo, ObjectStore, ObjectWriter, Page, Sink

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Faulty"]


class Faulty(Forwarding):
    """A store on which things go wrong as ``faults`` says; see the package. It owns the store.

    Without rules it does nothing. Faults are this process's: each process that opens one counts for itself.
    """

    def __init__(self, store: ObjectStore, faults: Faults, *, base_uri: str = "", timing: Timing = REAL) -> None:
        """``base_uri`` plus a key is the URI that errors name."""
        super().__init__(store)
        self.faults = faults
        self._base = base_uri
        self._timing = timing
        self._rules = Rules(faults)
        self._history = History(store, faults.history)

    def counts(self) -> tuple[RuleCount, ...]:
        """What each rule has done so far, in the order of the rules."""
        return self._rules.counts()

    def get(
        self, key: str, sink: Sink, /, *, start: int = 0, length: int | None = None, if_match: str | None = None
    ) -> ObjectInfo:
        hits = self._begin("get", key)
        if not hits:
            return self._store.get(key, sink, start=start, length=length, if_match=if_match)
        previous = self._previous(hits, key)
        fail = _failing(hits, "within")
        body = Body(hits, None if previous is None else previous.data)
        at = fail.effect.at if fail is not None and isinstance(fail.effect, Fail) else None
        edited = EditedSink(sink, body, start, at, lambda: self._error(fail, "get", key))
        stale = _first(hits, Stale)
        if stale is not None and previous is not None:
            stale.done()
            info = self._deliver(previous, key, edited, start, length, if_match)
        else:
            info = self._store.get(key, edited, start=start, length=length, if_match=if_match)
        edited.finish()
        self._end(hits, "get", key)
        return info

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
        hits = self._begin("put", key)
        nbytes = memoryview(data).nbytes
        if (lost := _first(hits, Lose)) is not None:
            lost.done()
            return _as_if(key, nbytes)
        self._keep(key)
        if hits:
            data = self._spoiled(data, hits, key)
        info = self._store.put(
            key, data, create=create, if_match=if_match, metadata=metadata, content_type=content_type
        )
        self._end(hits, "put", key)
        return info if info.size == nbytes else attrs.evolve(info, size=nbytes)

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
        hits = self._begin("open_writer", key)
        writer = self._store.open_writer(
            key, part_size=part_size, create=create, metadata=metadata, content_type=content_type
        )
        self._end(hits, "open_writer", key)
        return _FaultyWriter(self, writer, key)

    def stat(self, key: str, /) -> ObjectInfo:
        hits = self._begin("stat", key)
        previous, stale = self._previous(hits, key), _first(hits, Stale)
        if stale is not None and previous is not None:
            stale.done()
            info = previous.info
        else:
            info = self._store.stat(key)
        self._end(hits, "stat", key)
        return info

    def list_pages(
        self, prefix: str = "", /, *, delimiter: str = "", start_after: str = "", page_size: int = 1000
    ) -> Iterator[Page]:
        pages: Iterator[Page] | None = None
        while True:
            hits = self._begin("list_pages", prefix)
            if (cut := _first(hits, Truncate)) is not None:
                cut.done()
                return
            if pages is None:
                pages = self._store.list_pages(
                    prefix, delimiter=delimiter, start_after=start_after, page_size=page_size
                )
            page = next(pages, None)
            self._end(hits, "list_pages", prefix)
            if page is None:
                return
            yield page

    def delete(self, keys: Sequence[str], /) -> Sequence[StoreError]:
        batch = self._rules.meet_batch(keys)
        self._wait([hit for hit, _ in batch])
        for hit, key in batch:
            self._fail([hit], "before", "delete", key)
        refused: list[StoreError] = []
        left: list[str] = []
        for key in keys:
            hits = self._rules.meet_key(key)
            fail, lost = _failing(hits, "within"), _first(hits, Lose)
            if fail is not None:
                refused.append(self._error(fail, "delete", key))
            elif lost is not None:
                lost.done()
            else:
                left.append(key)
        for key in left:
            self._keep(key)
        failed = self._store.delete(left) if left else ()
        for hit, key in batch:
            self._fail([hit], "after", "delete", key)
        return [*refused, *failed]

    def copy(self, source: str, target: str, /, *, metadata: Mapping[str, str] | None = None) -> ObjectInfo:
        hits = self._begin("copy", target)
        self._keep(target)
        info = self._store.copy(source, target, metadata=metadata)
        self._end(hits, "copy", target)
        return info

    def _begin(self, operation: str, key: str) -> Sequence[Hit]:
        """Count the call, wait as it has to, and raise what is to be raised before it."""
        hits = self._rules.meet(operation, key)
        if hits:
            self._wait(hits)
            self._fail(hits, "before", operation, key)
        return hits

    def _end(self, hits: Sequence[Hit], operation: str, key: str) -> None:
        if hits:
            self._fail(hits, "after", operation, key)

    def _wait(self, hits: Sequence[Hit]) -> None:
        if not hits:
            return
        now = self._timing.clock()
        end = wait_until(hits, now)
        if end > now:
            self._timing.sleep((end - now) / 1e9)

    def _fail(self, hits: Sequence[Hit], when: str, operation: str, key: str) -> None:
        hit = _failing(hits, when)
        if hit is not None:
            raise self._error(hit, operation, key)

    def _error(self, hit: Hit | None, operation: str, key: str) -> StoreError:
        assert hit is not None
        effect = hit.effect
        assert isinstance(effect, Fail)
        hit.done()
        kind: type[StoreError] = getattr(errors, effect.error)
        return kind(
            effect.message,
            uri=self._base + key,
            operation=operation,
            status=effect.status,
            code=effect.code,
            retryable=effect.retryable,
            retry_after=effect.retry_after,
        )

    def _keep(self, key: str) -> None:
        if self._rules.covering((Stale, Torn), key):
            self._history.keep(key)

    def _previous(self, hits: Sequence[Hit], key: str) -> Version | None:
        if any(isinstance(hit.effect, Stale | Torn) for hit in hits):
            return self._history.previous(key)
        return None

    def _deliver(
        self, version: Version, key: str, sink: Sink, start: int, length: int | None, if_match: str | None
    ) -> ObjectInfo:
        if if_match is not None and if_match != version.info.etag:
            raise PreconditionFailedError("the object is another one", uri=self._base + key, operation="get")
        data = version.data[start : None if length is None else start + length]
        if data.nbytes:
            sink.write(data)
        return version.info

    def _spoiled(self, data: Buffer, hits: Sequence[Hit], key: str) -> Buffer:
        """The body of a put as it will be stored; the caller's buffer stays as it is."""
        torn = _first(hits, Torn) is not None
        previous = self._history.now(key) if torn else None
        body = Body(hits, None if previous is None else previous.data)
        changed = bytearray(flat(data))
        body.edit(memoryview(changed), 0)
        return memoryview(changed)[: body.kept(len(changed), 0)]


class _FaultyWriter:
    """A writer whose calls meet the rules. Dropping it drops the store's own writer, which is its abort."""

    def __init__(self, store: Faulty, writer: ObjectWriter, key: str) -> None:
        self._store = store
        self._writer = writer
        self._key = key
        self._nbytes = 0
        self._broken: StoreError | None = None

    def write(self, data: Buffer, /) -> None:
        store, key = self._store, self._key
        self._require_whole()
        hits = store._rules.meet("write", key)
        store._wait(hits)
        body = Body(hits, None)
        nbytes = memoryview(data).nbytes
        if body.edits() and nbytes:
            data = bytearray(flat(data))
            body.edit(memoryview(data), self._nbytes)
        self._writer.write(data)
        self._nbytes += nbytes
        self._fail(hits, "before", "write")
        self._fail(hits, "after", "write")

    def commit(self) -> ObjectInfo:
        store, key = self._store, self._key
        self._require_whole()
        hits = store._rules.meet("commit", key)
        store._wait(hits)
        self._fail(hits, "before", "commit")
        if (lost := _first(hits, Lose)) is not None:
            lost.done()
            self._writer.abort()
            return _as_if(key, self._nbytes)
        store._keep(key)
        info = self._writer.commit()
        self._fail(hits, "after", "commit")
        return info

    def abort(self) -> None:
        self._writer.abort()

    def _fail(self, hits: Sequence[Hit], when: str, operation: str) -> None:
        try:
            self._store._fail(hits, when, operation, self._key)
        except StoreError as error:
            if not error.retryable:
                self._broken = error
            raise

    def _require_whole(self) -> None:
        if self._broken is not None:
            raise self._broken


def _first(hits: Sequence[Hit], kind: type) -> Hit | None:
    return next((hit for hit in hits if isinstance(hit.effect, kind)), None)


def _failing(hits: Sequence[Hit], when: str) -> Hit | None:
    return next((hit for hit in hits if isinstance(hit.effect, Fail) and hit.effect.when == when), None)


def _as_if(key: str, nbytes: int) -> ObjectInfo:
    """The answer to a write that was lost: all that a service would say, of an object that is nowhere."""
    return ObjectInfo(key, nbytes, etag="lost")
