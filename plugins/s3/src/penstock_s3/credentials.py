"""Credentials from every provider that boto3 knows, kept fresh at no cost to the requests."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import attrs

from penstock.errors import CredentialsError, redact
from penstock.http import now_s

if TYPE_CHECKING:
    from boto3.session import Session
    from botocore.client import BaseClient

__all__ = ["ExpressKeys", "KeySource", "Keys", "SessionKeys", "credentials_failure"]

#: Seconds before their end from which keys are fetched anew, while the old ones serve on.
_MARGIN = 900
#: Seconds for which a failed fetch is not repeated.
_PAUSE = 5
_LONGEST_REASON = 300

_REMEDIES = (
    "no credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile of the shared files "
    "(option profile, AWS_PROFILE), log in with 'aws sso login', run where a role is attached, or for a public "
    "bucket use anonymous=true"
)
#: boto3's names of providers that say too little.
_PROVIDERS = {"explicit": "options", "env": "the environment"}
# What looks like a key or a token in a provider's message: long, of mixed letters and digits.
_OPAQUE = re.compile(
    r"(?<![A-Za-z0-9+/=_-])(?=[^\s]*[0-9])(?=[^\s]*[A-Z])(?=[^\s]*[a-z])[A-Za-z0-9+=_-][A-Za-z0-9+/=_-]{27,}"
)


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


@attrs.frozen(slots=True)
class _Lease:
    """Keys, and whether they end within some seconds; None for keys that never do."""

    keys: Keys
    ends_within: Callable[[float], bool] | None = None


class _Renewed:
    """Holds a lease and fetches the next: one thread does, the others go on while the old keys are valid."""

    def __init__(self, fetch: Callable[[], _Lease]) -> None:
        self._fetch = fetch
        self._lock = threading.Lock()
        self._lease: _Lease | None = None
        self._margin = 0.0
        self._failure: Exception | None = None
        self._quiet_until = 0

    def keys(self) -> Keys:
        lease = self._lease
        if lease is None or (lease.ends_within is not None and lease.ends_within(0)):
            with self._lock:
                return self._fetch_unless_valid()
        if lease.ends_within is None or not lease.ends_within(self._margin):
            return lease.keys
        if now_s() >= self._quiet_until and self._lock.acquire(blocking=False):
            try:
                return self._fetch_early(lease)
            finally:
                self._lock.release()
        return lease.keys

    def _fetch_unless_valid(self) -> Keys:
        lease = self._lease
        if lease is not None and (lease.ends_within is None or not lease.ends_within(0)):
            return lease.keys
        if self._failure is not None and now_s() < self._quiet_until:
            raise credentials_failure(self._failure) from self._failure
        try:
            return self._take(self._fetch())
        except Exception as error:
            self._remember(error)
            raise credentials_failure(error) from error

    def _fetch_early(self, lease: _Lease) -> Keys:
        current = self._lease
        if current is not None and current is not lease:
            return current.keys
        try:
            return self._take(self._fetch())
        except Exception as error:  # noqa: BLE001 - any provider's; the old keys are valid, so nothing has failed yet
            self._remember(error)
            return lease.keys

    def _remember(self, error: Exception) -> None:
        self._failure, self._quiet_until = error, now_s() + _PAUSE

    def _take(self, lease: _Lease) -> Keys:
        if self._lease is not None and self._lease.keys == lease.keys:
            lease = attrs.evolve(lease, keys=self._lease.keys)
        self._margin = _margin(lease.ends_within) if lease.ends_within is not None else 0.0
        self._lease, self._failure, self._quiet_until = lease, None, 0
        return lease.keys


def _margin(ends_within: Callable[[float], bool]) -> float:
    """A quarter of an hour; of keys that live shorter, a quarter of what is left of them, to about a second."""
    if not ends_within(_MARGIN):
        return _MARGIN
    low, high = 0.0, float(_MARGIN)
    while high - low > 0.5:
        middle = (low + high) / 2
        low, high = (low, middle) if ends_within(middle) else (middle, high)
    return max(low / 4, min(2.0, low / 2))


class SessionKeys:
    """The keys of a boto3 session: explicit ones, or its chain of providers, asked at the first use.

    Keys that expire are fetched anew by one thread while the others go on with the old ones, from a quarter of
    an hour (for shorter lives: a quarter of it) before their end. A refresh that fails is an error only when the
    old keys have expired.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._renewed = _Renewed(self._fetch)
        self._method = ""

    def keys(self) -> Keys:
        """Keys that are valid now. Raises CredentialsError that names the provider's reason or the remedies."""
        return self._renewed.keys()

    def describe(self) -> str:
        """Who: the access key, shortened, and the provider it comes from. Raises as ``keys`` does."""
        identity = _shortened(self.keys().access_key_id)
        return f"{identity} from {_PROVIDERS.get(self._method, self._method)}"

    def _fetch(self) -> _Lease:
        credentials = self._session.get_credentials()
        if credentials is None:
            raise CredentialsError(_REMEDIES)
        frozen = credentials.get_frozen_credentials()
        if not (frozen.access_key and frozen.secret_key):
            raise CredentialsError(_REMEDIES)
        for name, value in (("access key", frozen.access_key), ("session token", frozen.token or "")):
            if not (value.isascii() and value.isprintable()) or " " in value:
                raise CredentialsError(
                    f"the {name} from {credentials.method} holds a blank, a line's end or another character that no "
                    "key has; see how it got into the variable or file"
                )
        self._method = credentials.method
        # Only credentials that end have it.
        ends_within = getattr(credentials, "refresh_needed", None)
        return _Lease(Keys(frozen.access_key, frozen.secret_key, frozen.token or None), ends_within)


class ExpressKeys:
    """The keys of a session with a directory bucket, made and made anew by its CreateSession.

    ``client`` is asked at the first use; sessions live five minutes.
    """

    def __init__(self, client: Callable[[], BaseClient], bucket: str) -> None:
        self._client = client
        self._bucket = bucket
        self._renewed = _Renewed(self._fetch)

    def keys(self) -> Keys:
        """Keys of a session that is valid now. Raises CredentialsError."""
        return self._renewed.keys()

    def describe(self) -> str:
        """Who: the session's access key, shortened. Raises as ``keys`` does."""
        return f"{_shortened(self.keys().access_key_id)} from a session with {self._bucket}"

    def _fetch(self) -> _Lease:
        found = self._client().create_session(Bucket=self._bucket)["Credentials"]
        end = found["Expiration"].timestamp()
        keys = Keys(found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"])
        return _Lease(keys, lambda seconds: end - now_s() <= seconds)


def credentials_failure(error: Exception) -> CredentialsError:
    """What a provider's failure is to our users: its reason without anything that looks like a secret."""
    if isinstance(error, CredentialsError):
        return CredentialsError(error.message)
    from botocore.exceptions import ConnectionError as SDKConnectionError
    from botocore.exceptions import HTTPClientError

    reason = _OPAQUE.sub("***", redact(" ".join(str(error).split())))[:_LONGEST_REASON]
    return CredentialsError(
        f"the credentials could not be fetched: {reason or type(error).__name__}",
        retryable=isinstance(error, (SDKConnectionError, HTTPClientError)),
    )


def _shortened(access_key_id: str) -> str:
    if len(access_key_id) < 12:
        return f"{access_key_id[:2]}…"
    return f"{access_key_id[:4]}…{access_key_id[-4:]}"
