"""Where a bucket is: host, path, region and service, as boto3 resolves them from options and configuration files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from penstock.http import Origin, Settings
from penstock_s3.credentials import KeySource
from penstock_s3.plugin import S3Options

if TYPE_CHECKING:
    from boto3.session import Session
    from botocore.client import BaseClient

__all__ = ["Place", "make_client", "make_keys", "make_session", "make_settings", "resolve", "signs_payloads"]


@attrs.frozen(slots=True, kw_only=True)
class Place:
    """Where a bucket is and what requests to it are signed for.

    ``prefix`` begins and ends with a slash; behind it stands the encoded key: ``/`` or ``/bucket/``. ``express``
    says that it is a directory bucket, whose requests are signed with the keys of a session.
    """

    origin: Origin
    host: bytes
    prefix: bytes
    region: str
    service: str = "s3"
    bucket: str = ""
    express: bool = False


def make_session(options: S3Options) -> Session:
    """The boto3 session of these options, a new one: sessions are not shared between threads' stores."""
    raise NotImplementedError


def make_client(options: S3Options, session: Session, *, region: str | None = None) -> BaseClient:
    """The client of the control plane: one attempt, our time-outs, proxy and certificates; threads share it.

    ``region`` replaces the options', after a redirect.
    """
    raise NotImplementedError


def make_settings(options: S3Options, session: Session) -> Settings:
    """The transport's settings, with the configuration file's certificates where the options name none."""
    raise NotImplementedError


def resolve(options: S3Options, session: Session, *, region: str | None = None) -> Place:
    """Where boto3 would send a request for an object of the bucket. Makes no request.

    ``region`` replaces the options', after a redirect. Raises UsageError for what boto3 refuses.
    """
    raise NotImplementedError


def make_keys(options: S3Options, session: Session, place: Place) -> KeySource | None:
    """The keys to sign with at that place; None for anonymous requests."""
    raise NotImplementedError


def signs_payloads(options: S3Options, place: Place) -> bool:
    """Whether the SHA-256 of a body goes into its signature."""
    raise NotImplementedError
