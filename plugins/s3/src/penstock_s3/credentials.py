"""Credentials from every provider that boto3 knows, kept fresh at no cost to the requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs

if TYPE_CHECKING:
    from boto3.session import Session

__all__ = ["KeySource", "Keys", "SessionKeys"]


@attrs.frozen(slots=True)
class Keys:
    """Keys that belong together. ``token`` is None for permanent ones."""

    access_key_id: str
    secret_access_key: str = attrs.field(repr=False)
    token: str | None = attrs.field(default=None, repr=False)


class KeySource(Protocol):
    """Where a signer gets its keys. It asks about once a second; threads share it."""

    def keys(self) -> Keys:
        """Keys that are valid now. The same object as long as they don't change. Raises CredentialsError."""


class SessionKeys:
    """The keys of a boto3 session: explicit ones, or its chain of providers, asked at the first use.

    Keys that expire are fetched anew by one thread while the others go on with the old ones, from a quarter of
    an hour (for shorter lives: a quarter of it) before their end. A refresh that fails is an error only when the
    old keys have expired.
    """

    def __init__(self, session: Session) -> None:
        raise NotImplementedError

    def keys(self) -> Keys:
        """Keys that are valid now. Raises CredentialsError that names the provider's reason or the remedies."""
        raise NotImplementedError

    def describe(self) -> str:
        """Who: the access key, shortened, and the provider it comes from. Raises as ``keys`` does."""
        raise NotImplementedError
