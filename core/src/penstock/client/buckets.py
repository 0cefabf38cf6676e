"""Buckets by URI, and the unfinished uploads in them: what a backend's service offers beside its objects.

A URI that names the service alone, such as ``s3://``, is legal only where buckets are listed. What a call can be
repeated for without harm (listings until their first entry, the abort of an upload) is repeated as objects are.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import attrs

from penstock import clocks
from penstock.errors import InvalidURIError, PenstockError, StoreError, UnsupportedOperationError
from penstock.layers.retry import RetryPolicy, repeating
from penstock.opening import Target, resolve_object
from penstock.service import BucketInfo, StoreService, UploadInfo

if TYPE_CHECKING:
    from typing import Self

__all__ = [
    "ABANDONED_AFTER",
    "BucketService",
    "UploadOutcome",
    "UploadRemoval",
    "abort_upload",
    "abort_uploads",
    "create_bucket",
    "delete_bucket",
    "list_buckets",
    "list_uploads",
    "open_service",
]

Options = Mapping[str, Any] | None
OnRetry = Callable[[StoreError, int, float], None] | None
_T = TypeVar("_T")

#: An upload begun longer ago than this, in seconds, counts as abandoned: a day. Nobody's running upload is that old,
#: or else it is one that its owner would rather name himself.
ABANDONED_AFTER = 86_400.0

_RETRIES = RetryPolicy()


@attrs.frozen(slots=True)
class UploadOutcome:
    """What became of one unfinished upload.

    ``aborted``, ``planned`` (a dry run), ``young`` (it may be in progress, and stays), ``undated`` (nobody says when
    it was begun, and it stays), ``failed`` with its error.
    """

    upload: UploadInfo
    state: Literal["aborted", "planned", "young", "undated", "failed"]
    error: PenstockError | None = None


@attrs.frozen(slots=True)
class UploadRemoval:
    """What :func:`abort_uploads` did, or with ``dry_run`` would do; ``kept`` counts those that it let be."""

    aborted: int
    kept: int
    failures: tuple[UploadOutcome, ...] = ()

    def check(self) -> None:
        """Raise the first failure, if there is one."""
        for outcome in self.failures:
            if outcome.error is not None:
                raise outcome.error


class BucketService:
    """The opened service of a URI. ``target`` is what the URI was understood as; keys are those of its bucket."""

    def __init__(self, target: Target, service: StoreService, retries: RetryPolicy, on_retry: OnRetry) -> None:
        self.target = target
        self.service = service
        self._retries = retries
        self._on_retry = on_retry

    @property
    def bucket_uri(self) -> str:
        """The bucket's URI. Raises InvalidURIError where the URI names only the service, or more than a bucket."""
        address = self.target.address
        self.target.need_bucket()
        if address.key:
            raise InvalidURIError(f"{address.base}{address.key} names more than a bucket; write {address.base}")
        return address.base

    def list_buckets(self) -> Iterator[BucketInfo]:
        """Every bucket that the credentials may list."""
        return self._listed(self.service.list_buckets)

    def create_bucket(self) -> None:
        """Make the bucket. Raises AlreadyExistsError. Not repeated, for a repeat might meet its own bucket."""
        _ = self.bucket_uri
        self.service.create_bucket()

    def delete_bucket(self) -> None:
        """Remove the empty bucket. Raises ObjectNotFoundError; StoreError when objects are in it. Not repeated.

        It looks for objects first, for there are services that remove a bucket with all that is in it.
        """
        uri = self.bucket_uri
        with contextlib.closing(self.target.open()) as store:
            for _ in store.list_pages("", page_size=1):
                raise StoreError("the bucket is not empty", uri=uri, operation="delete_bucket")
        self.service.delete_bucket()

    def list_uploads(self, prefix: str) -> Iterator[UploadInfo]:
        """Every unfinished upload whose key starts with ``prefix``, to the letter."""
        self.target.need_bucket()
        return self._listed(lambda: self.service.list_uploads(prefix))

    def abort_upload(self, upload: UploadInfo) -> None:
        """Remove an unfinished upload with its parts. One that is gone is no failure."""
        self.target.need_bucket()
        self._repeating(lambda: self.service.abort_upload(upload))

    def abort_uploads(
        self,
        prefix: str,
        *,
        older_than: float = ABANDONED_AFTER,
        dry_run: bool = False,
        takes: Callable[[UploadInfo], bool] = lambda upload: True,
    ) -> Iterator[UploadOutcome]:
        """As :func:`penstock.abort_uploads`, one outcome after the other, of those that ``takes`` says."""
        begun_before = clocks.wall_ns() - int(older_than * 1e9)
        for upload in filter(takes, self.list_uploads(prefix)):
            # Without a limit the age does not matter, so it need not be known.
            if older_than > 0 and upload.started_ns is None:
                yield UploadOutcome(upload, "undated")
            elif older_than > 0 and upload.started_ns is not None and upload.started_ns > begun_before:
                yield UploadOutcome(upload, "young")
            elif dry_run:
                yield UploadOutcome(upload, "planned")
            else:
                yield self._outcome(upload)

    def close(self) -> None:
        """Give back what is held. Harmless the second time."""
        self.service.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _outcome(self, upload: UploadInfo) -> UploadOutcome:
        try:
            self.abort_upload(upload)
        except PenstockError as error:
            return UploadOutcome(upload, "failed", error)
        return UploadOutcome(upload, "aborted")

    def _repeating(self, call: Callable[[], _T]) -> _T:
        return repeating(call, self._retries, on_retry=self._on_retry)

    def _listed(self, begin: Callable[[], Iterator[_T]]) -> Iterator[_T]:
        def first() -> tuple[Iterator[_T], list[_T]]:
            entries = iter(begin())
            return entries, [entry for entry in [next(entries, None)] if entry is not None]

        entries, head = self._repeating(first)
        yield from head
        yield from entries


def open_service(
    uri: str, options: Options = None, *, retries: RetryPolicy = _RETRIES, on_retry: OnRetry = None
) -> BucketService:
    """Open the service of a URI, without a request. The caller closes it, or uses it in ``with``.

    Raises UnsupportedOperationError where the backend has none, and what :func:`penstock.connect` raises.
    """
    return _opened(_understood(uri, options), retries, on_retry)


def list_buckets(uri: str, *, options: Options = None) -> Iterator[BucketInfo]:
    """Every bucket of the service that a URI names, ``s3://`` or any in it, that the credentials may list."""
    return _each(_understood(uri, options), lambda service: service.list_buckets())


def create_bucket(uri: str, *, options: Options = None) -> None:
    """Make the bucket. Raises AlreadyExistsError, also when it is the caller's own; UnsupportedOperationError."""
    with open_service(uri, options) as service:
        service.create_bucket()


def delete_bucket(uri: str, *, options: Options = None) -> None:
    """Remove the empty bucket. Raises ObjectNotFoundError; StoreError when it is not empty."""
    with open_service(uri, options) as service:
        service.delete_bucket()


def list_uploads(uri: str, *, options: Options = None) -> Iterator[UploadInfo]:
    """Every upload that was begun and neither finished nor aborted, whose URI starts with ``uri``, to the letter.

    Keys are whole URIs. One may belong to a writer that is at work this moment.
    """
    target = _understood(uri, options)
    target.need_bucket()
    base, prefix = target.address.base, target.address.key
    return _each(target, lambda service: (_whole(base, upload) for upload in service.list_uploads(prefix)))


def abort_upload(upload: UploadInfo, *, options: Options = None) -> None:
    """Remove an upload that :func:`list_uploads` named, with its parts. One that is gone is no failure."""
    with open_service(upload.key, options) as service:
        service.abort_upload(attrs.evolve(upload, key=service.target.address.key))


def abort_uploads(
    uri: str,
    *,
    older_than: float = ABANDONED_AFTER,
    dry_run: bool = False,
    watch: Callable[[UploadOutcome], None] | None = None,
    options: Options = None,
) -> UploadRemoval:
    """Remove the uploads that :func:`list_uploads` names and that were begun more than ``older_than`` seconds ago.

    Younger ones may be in progress and stay, as do those whose age nobody says; 0 takes every one, also of writers
    that are at work. ``watch`` sees each outcome, with whole URIs for keys.
    """
    aborted, kept, failures = 0, 0, []
    with open_service(uri, options) as service:
        address = service.target.address
        for found in service.abort_uploads(address.key, older_than=older_than, dry_run=dry_run):
            outcome = attrs.evolve(found, upload=_whole(address.base, found.upload))
            aborted += outcome.state in ("aborted", "planned")
            kept += outcome.state in ("young", "undated")
            if outcome.state == "failed":
                failures.append(outcome)
            if watch is not None:
                watch(outcome)
    return UploadRemoval(aborted, kept, tuple(failures))


def _understood(uri: str, options: Options) -> Target:
    target = resolve_object(uri, options=options)
    if target.kind.service is None:
        scheme = target.kind.schemes[0]
        raise UnsupportedOperationError(f"{scheme}:// has no buckets and no unfinished uploads", uri=uri)
    return target


def _opened(target: Target, retries: RetryPolicy = _RETRIES, on_retry: OnRetry = None) -> BucketService:
    assert target.kind.service is not None
    return BucketService(target, target.kind.service(target.resolved.options), retries, on_retry)


def _each(target: Target, begin: Callable[[BucketService], Iterator[_T]]) -> Iterator[_T]:
    # Opened at the first entry, so that a listing that nobody reads holds nothing.
    with _opened(target) as service:
        yield from begin(service)


def _whole(base: str, upload: UploadInfo) -> UploadInfo:
    return attrs.evolve(upload, key=base + upload.key)
