"""The contract of the service around a store: what is not about objects.

A backend that talks to a service offers a :class:`StoreService` beside its store. With it core makes and removes
buckets, checks a connection step by step, and finds the parts that killed writers left behind.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import attrs

__all__ = ["BucketInfo", "Endpoint", "StoreService", "UploadInfo"]


@attrs.frozen(slots=True, kw_only=True)
class Endpoint:
    """Where requests go. ``proxy`` is ``http://host:port`` without its password, None when there is none.

    ``ca_bundle`` is the file of the certificates that are trusted, None for the system's.
    """

    host: str
    port: int
    tls: bool
    proxy: str | None = None
    ca_bundle: str | None = None


@attrs.frozen(slots=True, kw_only=True)
class BucketInfo:
    """A bucket or container. ``uri`` names it; ``created_ns`` is in nanoseconds since 1970, None when not said."""

    name: str
    uri: str
    created_ns: int | None = None
    region: str | None = None


@attrs.frozen(slots=True, kw_only=True)
class UploadInfo:
    """An upload that was begun and neither finished nor aborted; its parts take space but no one sees them.

    ``id`` is the service's own name of it, ``started_ns`` nanoseconds since 1970. What is not said is None.
    """

    key: str
    id: str
    started_ns: int | None = None


class StoreService(Protocol):
    """The service that holds the bucket of some options. Opening it makes no request.

    A backend that lacks one of these raises UnsupportedOperationError from it, at the call.
    """

    def endpoint(self) -> Endpoint:
        """Where the requests for the bucket go. Makes no request to it."""

    def authenticate(self) -> str:
        """Find the credentials and make one request with them that touches no object.

        Returns who the caller is and where the credentials come from, in a few words without a secret. Raises
        CredentialsError, AccessDeniedError, ObjectNotFoundError for a bucket that does not exist.
        """

    def list_buckets(self) -> Iterator[BucketInfo]:
        """Every bucket that these credentials may list, by pages."""

    def create_bucket(self) -> None:
        """Make the bucket. Raises AlreadyExistsError, also when it is the caller's own."""

    def delete_bucket(self) -> None:
        """Remove the empty bucket. Raises ObjectNotFoundError; StoreError when objects are in it."""

    def list_uploads(self, prefix: str = "", /) -> Iterator[UploadInfo]:
        """Every unfinished upload whose key starts with ``prefix``, by pages."""

    def abort_upload(self, upload: UploadInfo, /) -> None:
        """Remove an unfinished upload and its parts. One that is gone is no failure."""

    def close(self) -> None:
        """Give back what is held. Closing twice is harmless."""
