"""The store that spreads its calls over endpoints."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs

from penstock.errors import StoreError, UsageError
from penstock.layers.endpoints.members import EndpointStatistics, Member, Members
from penstock.layers.endpoints.policy import Endpoints, chooser
from penstock.layers.retry import Retrying, RetryPolicy, repeating
from penstock.layers.timing import REAL, Timing
from penstock.metering import TimedSink
from penstock.store import Capabilities, ObjectInfo, ObjectStore, ObjectWriter, Page, Sink

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Balanced"]


class Balanced:
    """Several stores as one; see the package. It satisfies ``ObjectStore`` and owns the stores."""

    def __init__(
        self, stores: Sequence[tuple[str, ObjectStore]], endpoints: Endpoints, *, timing: Timing = REAL
    ) -> None:
        """Each store comes with the URI that statistics name it by. Raises UsageError where there is none, a URI
        comes twice, or the stores' bounds contradict each other.
        """
        uris = [uri for uri, _ in stores]
        if not uris or len(set(uris)) < len(uris):
            raise UsageError(f"endpoints are one or more, each with a URI of its own, not {', '.join(uris) or 'none'}")
        members = [Member(uri, store, place) for place, (uri, store) in enumerate(stores)]
        self.endpoints = endpoints
        self._members = Members(
            members,
            eject_after=endpoints.eject_after,
            base_delay=endpoints.base_delay,
            max_delay=endpoints.max_delay,
            clock=timing.clock,
        )
        self.capabilities = _common([member.store.capabilities for member in members])
        self._spread = _Spread(self._members, endpoints, self.capabilities)
        # Another endpoint is asked at once; nobody has to wait for one that wants a rest.
        self._policy = RetryPolicy(attempts=len(members), base_delay=0.0, max_delay=0.0, deadline=None)
        self._moving = Retrying(self._spread, self._policy, sleep=_at_once)

    def statistics(self) -> tuple[EndpointStatistics, ...]:
        """What went through each endpoint so far, in the order of the endpoints."""
        return self._members.statistics()

    def get(
        self, key: str, sink: Sink, /, *, start: int = 0, length: int | None = None, if_match: str | None = None
    ) -> ObjectInfo:
        with self._spread.fresh():
            return self._moving.get(key, sink, start=start, length=length, if_match=if_match)

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
        with self._spread.fresh():
            return self._moving.put(
                key, data, create=create, if_match=if_match, metadata=metadata, content_type=content_type
            )

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
        def open_one() -> ObjectWriter:
            return self._spread.open_writer(
                key, part_size=part_size, create=create, metadata=metadata, content_type=content_type
            )

        with self._spread.fresh():
            return repeating(open_one, self._policy, sleep=_at_once)

    def stat(self, key: str, /) -> ObjectInfo:
        with self._spread.fresh():
            return self._moving.stat(key)

    def list_pages(
        self, prefix: str = "", /, *, delimiter: str = "", start_after: str = "", page_size: int = 1000
    ) -> Iterator[Page]:
        pages = self._moving.list_pages(prefix, delimiter=delimiter, start_after=start_after, page_size=page_size)
        while True:
            with self._spread.fresh():
                page = next(pages, None)
            if page is None:
                return
            yield page

    def delete(self, keys: Sequence[str], /) -> Sequence[StoreError]:
        with self._spread.fresh():
            return self._moving.delete(keys)

    def copy(self, source: str, target: str, /, *, metadata: Mapping[str, str] | None = None) -> ObjectInfo:
        with self._spread.fresh():
            return self._moving.copy(source, target, metadata=metadata)

    def close(self) -> None:
        for member in self._members.all:
            member.store.close()


class _Spread:
    """Sends each call to one endpoint, and says what became of it. A store, but for ``close``."""

    def __init__(self, members: Members, endpoints: Endpoints, capabilities: Capabilities) -> None:
        self.capabilities = capabilities
        self._members = members
        self._choose = chooser(endpoints)
        self._first_for_writes = endpoints.writes == "first"
        self._local = threading.local()

    @contextmanager
    def fresh(self) -> Iterator[None]:
        """A call of the user's begins: no endpoint has been tried for it. One may be made within another."""
        outer = getattr(self._local, "tried", None)
        self._local.tried = set()
        try:
            yield
        finally:
            self._local.tried = outer

    def get(
        self, key: str, sink: Sink, /, *, start: int = 0, length: int | None = None, if_match: str | None = None
    ) -> ObjectInfo:
        counted = TimedSink(sink)
        member = self._begin(key)
        with self._call(member, lambda: (counted.nbytes, 0)):
            return member.store.get(key, counted, start=start, length=length, if_match=if_match)

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
        nbytes = memoryview(data).nbytes
        member = self._begin(key, writes=True)
        with self._call(member, lambda: (0, nbytes)):
            return member.store.put(
                key, data, create=create, if_match=if_match, metadata=metadata, content_type=content_type
            )

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
        member = self._begin(key, writes=True)
        with self._call(member):
            writer = member.store.open_writer(
                key, part_size=part_size, create=create, metadata=metadata, content_type=content_type
            )
        return _Writer(self, member, writer)

    def stat(self, key: str, /) -> ObjectInfo:
        member = self._begin(key)
        with self._call(member):
            return member.store.stat(key)

    def list_pages(
        self, prefix: str = "", /, *, delimiter: str = "", start_after: str = "", page_size: int = 1000
    ) -> Iterator[Page]:
        member = self._begin(prefix)
        with self._call(member):
            pages = member.store.list_pages(prefix, delimiter=delimiter, start_after=start_after, page_size=page_size)
            page = next(pages, None)
        while page is not None:
            yield page
            self._members.again(member)
            with self._call(member):
                page = next(pages, None)

    def delete(self, keys: Sequence[str], /) -> Sequence[StoreError]:
        member = self._begin(keys[0] if keys else "", writes=True)
        with self._call(member):
            return member.store.delete(keys)

    def copy(self, source: str, target: str, /, *, metadata: Mapping[str, str] | None = None) -> ObjectInfo:
        member = self._begin(target, writes=True)
        with self._call(member):
            return member.store.copy(source, target, metadata=metadata)

    def close(self) -> None:
        """The stores are closed by whoever owns them."""

    def _begin(self, key: str, *, writes: bool = False) -> Member:
        if writes and self._first_for_writes:
            return self._members.begin(lambda members: members[0], self._tried())
        return self._members.begin(lambda members: self._choose(members, key), self._tried())

    def _tried(self) -> set[Member]:
        tried: set[Member] | None = getattr(self._local, "tried", None)
        return set() if tried is None else tried

    @contextmanager
    def _call(self, member: Member, moved: Callable[[], tuple[int, int]] | None = None) -> Iterator[None]:
        """A call on a member that was begun. ``moved`` says how many bytes were read and written."""
        begun, failure = self._members.clock(), None
        try:
            yield
        except BaseException as error:
            failure = error
            self._tried().add(member)
            raise
        finally:
            bytes_read, bytes_written = moved() if moved is not None else (0, 0)
            if failure is not None:
                bytes_written = 0
            self._members.end(member, begun, failure, bytes_read=bytes_read, bytes_written=bytes_written)


class _Writer:
    """A writer on the endpoint where it was opened. Dropping it drops that store's own, which is its abort."""

    def __init__(self, spread: _Spread, member: Member, writer: ObjectWriter) -> None:
        self._spread = spread
        self._member = member
        self._writer = writer

    def write(self, data: Buffer, /) -> None:
        nbytes = memoryview(data).nbytes
        self._spread._members.again(self._member)
        with self._spread._call(self._member, lambda: (0, nbytes)):
            self._writer.write(data)

    def commit(self) -> ObjectInfo:
        self._spread._members.again(self._member)
        with self._spread._call(self._member):
            return self._writer.commit()

    def abort(self) -> None:
        self._writer.abort()


def _at_once(seconds: float) -> None:
    return


def _common(claims: Sequence[Capabilities]) -> Capabilities:
    """What every one of the stores can do."""

    def least(values: Sequence[int | None]) -> int | None:
        return min((value for value in values if value is not None), default=None)

    found = attrs.evolve(
        claims[0],
        create=all(one.create for one in claims),
        if_match=all(one.if_match for one in claims),
        metadata=all(one.metadata for one in claims),
        copy=all(one.copy for one in claims),
        ordered=all(one.ordered for one in claims),
        directories=claims[0].directories,
        shared=all(one.shared for one in claims),
        delete_batch=min(one.delete_batch for one in claims),
        max_put=least([one.max_put for one in claims]),
        min_part=max(one.min_part for one in claims),
        max_part=least([one.max_part for one in claims]),
    )
    if any(one.directories != found.directories for one in claims):
        raise UsageError("endpoints with real directories and endpoints without them don't show one namespace")
    if found.max_part is not None and found.max_part < found.min_part:
        raise UsageError(
            f"no part of an object fits all endpoints: {found.min_part} bytes at least, {found.max_part} at most"
        )
    return found
