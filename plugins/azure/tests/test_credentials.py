"""Tokens: kept, renewed in time by one thread, and never used when they have ended."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError

from penstock.errors import CredentialsError, StoreConnectionError
from penstock_azure import credentials
from penstock_azure.credentials import SCOPE, TokenSource
from penstock_azure.service import caller_of


class Clock:
    def __init__(self, monkeypatch):
        self.now = 1_000_000
        monkeypatch.setattr(credentials, "now_s", lambda: self.now)


class Issuer:
    """A credential of azure-identity's shape, whose tokens live ``life`` seconds."""

    def __init__(self, clock, life, refresh_on=None):
        self.clock, self.life, self.refresh_on = clock, life, refresh_on
        self.asked = 0
        self.failure = None
        self.closed = False

    def get_token(self, *scopes):
        assert scopes == (SCOPE,)
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        token = SimpleNamespace(token=f"token-{self.asked}", expires_on=self.clock.now + self.life)
        if self.refresh_on is not None:
            token.refresh_on = self.clock.now + self.refresh_on
        return token

    def close(self):
        self.closed = True


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def test_a_token_is_kept_until_shortly_before_its_end(clock):
    issuer = Issuer(clock, 3600)
    source = TokenSource(issuer)
    assert [source.token() for _ in range(3)] == ["token-1"] * 3
    clock.now += 3299
    assert source.token() == "token-1"
    clock.now += 1
    assert source.token() == "token-2"
    assert issuer.asked == 2


def test_the_issuer_may_say_when_to_renew(clock):
    issuer = Issuer(clock, 86_400, refresh_on=1000)
    source = TokenSource(issuer)
    source.token()
    clock.now += 999
    assert source.token() == "token-1"
    clock.now += 1
    assert source.token() == "token-2"


def test_a_token_of_short_life_is_renewed_halfway(clock):
    source = TokenSource(Issuer(clock, 60))
    source.token()
    clock.now += 24
    assert source.token() == "token-1"
    clock.now += 1
    assert source.token() == "token-2"


def test_one_thread_renews_while_others_use_the_old_one(clock):
    issuer = Issuer(clock, 3600)
    source = TokenSource(issuer)
    source.token()
    clock.now += 3400
    begun, go_on = threading.Event(), threading.Event()
    plain = issuer.get_token

    def slow(*scopes):
        begun.set()
        assert go_on.wait(60)
        return plain(*scopes)

    issuer.get_token = slow
    renewed = []
    thread = threading.Thread(target=lambda: renewed.append(source.token()))
    thread.start()
    assert begun.wait(60)
    assert [source.token() for _ in range(5)] == ["token-1"] * 5
    go_on.set()
    thread.join(60)
    assert renewed == ["token-2"]
    assert source.token() == "token-2"
    assert issuer.asked == 2


def test_many_threads_ask_once_for_the_first(clock):
    issuer = Issuer(clock, 3600)
    source = TokenSource(issuer)
    got = []
    threads = [threading.Thread(target=lambda: got.append(source.token())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert got == ["token-1"] * 8
    assert issuer.asked == 1


def test_a_failing_renewal_is_no_failure_while_the_old_token_is_good(clock):
    issuer = Issuer(clock, 3600)
    source = TokenSource(issuer)
    source.token()
    issuer.failure = ServiceRequestError("issuer is away")
    clock.now += 3400
    assert source.token() == "token-1"
    assert source.token() == "token-1"
    assert issuer.asked == 2
    clock.now += 30
    assert source.token() == "token-1"
    assert issuer.asked == 3
    clock.now += 200
    with pytest.raises(StoreConnectionError) as caught:
        source.token()
    assert caught.value.retryable
    issuer.failure = None
    assert source.token() == "token-5"


def test_no_credentials_are_told_in_one_line(clock):
    issuer = Issuer(clock, 3600)
    issuer.failure = ClientAuthenticationError("DefaultAzureCredential failed.\nAttempted:\n  a\n  b")
    with pytest.raises(CredentialsError, match="sign in \\(az login\\)") as caught:
        TokenSource(issuer).token()
    assert "\n" not in str(caught.value)


def test_closing_closes_the_credential(clock):
    issuer = Issuer(clock, 3600)
    TokenSource(issuer).close()
    assert issuer.closed


def test_who_a_token_is_of():
    # {"upn": "someone@example.com"} and {"appid": "a-1", "oid": "o-1"}
    assert caller_of("Authorization: Bearer h.eyJ1cG4iOiAic29tZW9uZUBleGFtcGxlLmNvbSJ9.s\r\n") == "someone@example.com"
    assert caller_of("Authorization: Bearer h.eyJhcHBpZCI6ICJhLTEiLCAib2lkIjogIm8tMSJ9.s\r\n") == "a-1"
    for odd in ("", "Bearer x", "Bearer a.%%%.c", "Bearer a.bnVsbA.c"):
        assert caller_of(odd) == "a caller"
