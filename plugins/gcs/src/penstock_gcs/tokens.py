"""Bearer tokens from google-auth: found once, renewed before they expire, by one thread while the others go on."""

from __future__ import annotations

import calendar
import copy
import functools
import os
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs

from penstock.errors import CredentialsError, StoreError
from penstock.http import now_s
from penstock_gcs.errors import translating
from penstock_gcs.plugin import GCSOptions

if TYPE_CHECKING:
    from requests import Session

__all__ = ["Tokens", "session"]

_SCOPES = ("https://www.googleapis.com/auth/devstorage.full_control",)
#: A token is renewed this many seconds before it expires, or in the last quarter of its life if that is later.
_AHEAD_S = 225
#: After a renewal that failed while the old token still works, the next attempt comes this much later.
_AGAIN_S = 10
_FOREVER = 1 << 62
_GOOD = re.compile(r"[\x21-\x7e]+\Z")


@attrs.frozen(slots=True)
class _Token:
    """What to send, and until when. Times are in seconds since 1970."""

    line: bytes
    renew: int
    expires: int


_NONE = _Token(b"", 0, 0)
_ANONYMOUS = _Token(b"", _FOREVER, _FOREVER)


class Tokens:
    """The credentials of one store. Threads share it. Nothing is looked for before the first call."""

    def __init__(self, options: GCSOptions) -> None:
        self._options = options
        self._anonymous = options.sends_no_credentials()
        self._current = _ANONYMOUS if self._anonymous else _NONE
        # Reentrant: a writer that is collected while a token is renewed asks for one to abort.
        self._lock = threading.RLock()
        self._credentials: Any = None
        self._session: Session | None = None
        # How many answers came to requests for a token, and the failure of the last one.
        self._answers = 0
        self._failure: StoreError | None = None

    def header(self) -> bytes:
        """The header lines that authorise a request, each with its line end; nothing when anonymous.

        Raises CredentialsError with the remedy, or StoreConnectionError when Google can't be asked for a token.
        """
        current = self._current
        if now_s() < current.renew:
            return current.line
        return self._renewed(current)

    def reject(self, line: bytes) -> None:
        """The service refused this header: the next call asks for a new token."""
        current = self._current
        if current.line == line and not self._anonymous:
            self._current = _NONE

    def credentials(self) -> Any:
        """google-auth's credentials, to hand to the SDK; anonymous ones too."""
        with self._lock:
            if self._credentials is None:
                with translating("", "authenticate"), _readable():
                    self._credentials = self._find()
            return self._credentials

    def describe(self) -> str:
        """Who the caller is and where the credentials come from, without a secret."""
        if self._anonymous:
            return "anonymous"
        found = self.credentials()
        email = getattr(found, "service_account_email", None) or getattr(found, "account", None)
        # Until it has asked, the metadata server's account is called "default".
        who = f"{email}" if email else type(found).__module__.rpartition(".")[2].replace("_", " ")
        source = self._options.credentials_file or os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
        return f"{who}, from {source or 'the application default credentials'}"

    def close(self) -> None:
        """Close the connections to the token service."""
        with self._lock:
            opened, self._session = self._session, None
        if opened is not None:
            opened.close()

    def _renewed(self, seen: _Token) -> bytes:
        # Whoever comes while a token is still good leaves the renewal to the one who is at it.
        answers = self._answers
        if not self._lock.acquire(blocking=now_s() >= seen.expires):
            return seen.line
        try:
            current = self._current
            if current is not seen and now_s() < current.renew:
                return current.line
            if self._answers != answers and self._failure is not None:
                # It failed for another one while this one waited: many would ask in vain one after the other.
                raise copy.copy(self._failure) from self._failure
            self._current = current = self._fetch(current)
            return current.line
        finally:
            self._lock.release()

    def _fetch(self, old: _Token) -> _Token:
        try:
            token = self._ask()
        except StoreError as error:
            self._failure = error
            if now_s() >= old.expires:
                raise
            return attrs.evolve(old, renew=min(now_s() + _AGAIN_S, old.expires))
        finally:
            self._answers += 1
        self._failure = None
        return token

    def _ask(self) -> _Token:
        from google.auth.transport.requests import Request

        credentials = self.credentials()
        if self._session is None:
            self._session = session(self._options)
        with translating("", "authenticate"), _readable():
            credentials.refresh(functools.partial(Request(self._session), timeout=self._options.read_timeout))
        return _token_of(credentials, self._options.user_project)

    def _find(self) -> Any:
        import google.auth

        if self._anonymous:
            from google.auth.credentials import AnonymousCredentials

            return AnonymousCredentials()  # type: ignore[no-untyped-call]
        with warnings.catch_warnings():
            # Both warn of what the user chose: a login of gcloud's, or a file of any kind of credentials.
            warnings.simplefilter("ignore")
            if self._options.credentials_file is not None:
                load: Any = google.auth.load_credentials_from_file
                found, _ = load(self._options.credentials_file, scopes=_SCOPES)
            else:
                found, _ = google.auth.default(scopes=_SCOPES)
        return found


@contextmanager
def _readable() -> Iterator[None]:
    """A file of credentials that can't be read, or holds what is none, is not always google-auth's own error."""
    from google.auth.exceptions import GoogleAuthError
    from requests import RequestException

    try:
        yield
    except (OSError, ValueError) as error:
        if isinstance(error, GoogleAuthError | RequestException):
            raise
        raise CredentialsError(f"the credentials can't be used: {error}", operation="authenticate") from error


def session(options: GCSOptions, credentials: Any = None) -> Session:
    """A session of requests with the options' proxy and certificates, authorised when there are credentials."""
    import requests
    from google.auth.transport.requests import AuthorizedSession, Request

    made: Session = requests.Session()
    if credentials is not None:
        # Tokens are asked for on the same terms as everything else.
        authorized: Any = AuthorizedSession
        made = authorized(credentials, max_refresh_attempts=0, auth_request=Request(session(options)))
    if options.ca_bundle is not None:
        _trust(made, options.ca_bundle)
    if options.proxy is not None:
        made.trust_env = False
        made.proxies = {"http": options.proxy, "https": options.proxy} if options.proxy else {}
    return made


def _trust(made: Any, ca_bundle: str) -> None:
    """Trust these certificates alone. A session's own setting would give way to the variables that requests reads."""
    merged = made.merge_environment_settings

    def settings(*arguments: Any) -> Any:
        return {**merged(*arguments), "verify": ca_bundle}

    made.merge_environment_settings = settings


def _token_of(credentials: Any, user_project: str | None) -> _Token:
    token, expiry, now = credentials.token, credentials.expiry, now_s()
    if not isinstance(token, str) or not _GOOD.match(token):
        raise CredentialsError("the token service gave no usable token", operation="authenticate")
    line = b"Authorization: Bearer " + token.encode() + b"\r\n"
    quota = getattr(credentials, "quota_project_id", None)
    if quota and user_project is None:
        line += b"x-goog-user-project: " + quota.encode("ascii", "replace") + b"\r\n"
    if expiry is None:
        return _Token(line, _FOREVER, _FOREVER)
    # A request must reach the service before the token's end, so the last second is not used.
    expires = calendar.timegm(expiry.timetuple()) - 1
    ahead = min(_AHEAD_S, max(0, (expires - now) // 4))
    return _Token(line, expires - ahead, expires)
