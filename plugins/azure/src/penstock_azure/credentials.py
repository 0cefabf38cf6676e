"""Tokens of azure-identity, kept, and renewed before they expire by one thread while the others use the old one."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

from penstock.http import now_s
from penstock_azure.errors import translating

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken

__all__ = ["SCOPE", "TokenSource"]

#: What the tokens are for: Azure Storage, any account.
SCOPE = "https://storage.azure.com/.default"

#: Seconds before its end at which a token is renewed, where its issuer does not say when; and how often that is
#: tried while the old one is still good.
_EARLY_S = 300
_AGAIN_S = 30
#: Seconds before its end from which a token is not used: the request has to arrive.
_MARGIN_S = 10


class _Credential(Protocol):
    def get_token(self, *scopes: str) -> AccessToken: ...


class TokenSource:
    """Tokens of one credential. Threads share it."""

    def __init__(self, credential: _Credential) -> None:
        self._credential = credential
        self._lock = threading.Lock()
        self._token = ""
        self._renew_at = 0
        self._ends_at = 0

    @classmethod
    def default(cls) -> TokenSource:
        """Of azure-identity's default chain: environment, workload and managed identity, the command-line tools."""
        from azure.identity import DefaultAzureCredential

        return cls(DefaultAzureCredential())

    def token(self) -> str:
        """A token that is valid now. Waits only for the first, or when the last has ended.

        Raises CredentialsError, or StoreConnectionError (retryable) when the issuer can't be reached.
        """
        now = now_s()
        if now < self._renew_at:
            return self._token
        # Whoever comes while another renews it uses the old one, as long as that is good.
        if not self._lock.acquire(blocking=now >= self._ends_at):
            return self._token
        try:
            return self._renewed(now)
        finally:
            self._lock.release()

    def close(self) -> None:
        """Close the credential's own connections."""
        close = getattr(self._credential, "close", None)
        if close is not None:
            close()

    def _renewed(self, now: int) -> str:
        if now < self._renew_at:
            return self._token
        try:
            with translating("authenticate", None):
                fresh = self._credential.get_token(SCOPE)
        except Exception:
            if now >= self._ends_at:
                raise
            self._renew_at = now + _AGAIN_S
            return self._token
        self._token = fresh.token
        self._ends_at = fresh.expires_on - _MARGIN_S
        renew_on = getattr(fresh, "refresh_on", None) or fresh.expires_on - _EARLY_S
        # A token that lives shorter than that is renewed halfway.
        self._renew_at = max(renew_on, now + max(0, self._ends_at - now) // 2) if renew_on <= now else renew_on
        return self._token
