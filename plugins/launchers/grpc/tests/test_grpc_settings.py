"""What an agent refuses to be, and where its token and certificates come from."""

from __future__ import annotations

import os
import socket

import pytest
from penstock_grpc.settings import AgentOptions, Settings
from penstock_grpc.tokens import VARIABLE, Token, read_token

from penstock.errors import UsageError

_SECRET = "0123456789abcdef0123456789abcdef"
_WITH_TOKEN = {VARIABLE: _SECRET}


def settings(environ=None, **options):
    return Settings.from_options(AgentOptions(**options), {} if environ is None else environ)


def tls_of(pki):
    return {"tls_cert": pki.cert, "tls_key": pki.key}


def test_no_port_is_open_by_default():
    with pytest.raises(UsageError, match=r"anybody who reaches .* set PENSTOCK_AGENT_TOKEN or give token_file"):
        settings()


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])
@pytest.mark.parametrize("token", [{}, _WITH_TOKEN], ids=["open", "token"])
@pytest.mark.parametrize("insecure", [False, True])
def test_without_tls_only_the_loopback_is_listened_on(host, token, insecure):
    with pytest.raises(UsageError, match=r"can be reached from other hosts.*give tls_cert and tls_key"):
        settings(dict(token), listen=f"{host}:7167", insecure_loopback=insecure)


def test_tls_alone_keeps_nobody_out(pki):
    for listen in ("0.0.0.0:7167", "127.0.0.1:7167"):
        with pytest.raises(UsageError, match=r"anybody who reaches .* tls_client_ca|insecure-loopback"):
            settings(listen=listen, **tls_of(pki))
    with pytest.raises(UsageError, match="anybody who reaches"):
        settings(listen="0.0.0.0:7167", insecure_loopback=True, **tls_of(pki))


def test_what_is_safe_enough(pki):
    assert settings(dict(_WITH_TOKEN)).protection == "token"
    assert settings(insecure_loopback=True).protection == "loopback alone"
    everywhere = {"listen": "0.0.0.0:7167", **tls_of(pki)}
    assert settings(dict(_WITH_TOKEN), **everywhere).protection == "TLS and token"
    assert settings(tls_client_ca=pki.ca, **everywhere).protection == "mutual TLS"
    assert settings(dict(_WITH_TOKEN), tls_client_ca=pki.ca, **everywhere).protection == "mutual TLS and token"


def test_the_token_is_taken_out_of_the_environment():
    environ = dict(_WITH_TOKEN)
    token = settings(environ).token
    assert environ == {}
    assert token.metadata() == (("authorization", f"Bearer {_SECRET}"),)


def test_the_token_shows_itself_nowhere(token_file):
    read = settings({}, token_file=token_file)
    with open(token_file) as file:
        secret = file.read().strip()
    assert secret not in repr(read)
    assert secret not in str(read.token)


def test_tokens_are_compared_whole():
    token = Token(_SECRET)
    assert token.fits([("authorization", f"Bearer {_SECRET}")])
    assert token.fits([("user-agent", "x"), ("authorization", f"Bearer {_SECRET}".encode())])
    for other in ("", _SECRET, f"Bearer {_SECRET[:-1]}", f"Bearer {_SECRET}x", f"bearer {_SECRET}", "Bearer größe"):
        assert not token.fits([("authorization", other)])
    assert not token.fits([])
    assert not token.fits([("authorization-", f"Bearer {_SECRET}")])


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "a token of 0 characters"), ("short", "a token of 5 characters"), (f"{_SECRET} {_SECRET}", "is one word")],
)
def test_what_is_no_token_is_refused_and_not_shown(tmp_path, text, said):
    path = tmp_path / "token"
    path.touch(mode=0o600)
    path.write_text(text)
    with pytest.raises(UsageError, match=f"{said}.*openssl rand -hex 32") as refused:
        read_token(str(path), {})
    assert _SECRET not in str(refused.value)
    if text:
        with pytest.raises(UsageError, match=f"{VARIABLE}: .*{said}"):
            read_token(None, {VARIABLE: text})


def test_a_token_that_everybody_can_read_is_refused(tmp_path):
    path = tmp_path / "token"
    path.write_text(_SECRET)
    path.chmod(0o644)
    with pytest.raises(UsageError, match="everybody on this host may read it; do: chmod o="):
        read_token(str(path), {})
    path.chmod(0o640)
    assert read_token(str(path), {}) is not None


def test_a_token_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="No such file or directory; make one by"):
        read_token(str(tmp_path / "none"), dict(_WITH_TOKEN))
    assert read_token(None, {}) is None
    assert read_token(None, {VARIABLE: ""}) is None


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("cert", None), "tls_key is missing"),
        ((None, "key"), "tls_cert is missing"),
        (("cert", "client_key"), "is not the key of tls_cert"),
        (("key", "cert"), "are PEM files"),
        (("cert", "nowhere"), "tls_key nowhere: No such file"),
    ],
)
def test_certificates_that_do_not_fit_are_refused(pki, names, said):
    cert, key = (name and getattr(pki, name, name) for name in names)
    with pytest.raises(UsageError, match=said):
        settings(dict(_WITH_TOKEN), tls_cert=cert, tls_key=key)


def test_a_ca_that_is_none_is_refused(pki, token_file):
    with pytest.raises(UsageError, match=r"tls_client_ca .*: no certificate in PEM form"):
        settings(tls_client_ca=token_file, **tls_of(pki))
    with pytest.raises(UsageError, match="tls_client_ca is for an agent with a certificate"):
        settings(tls_client_ca=pki.ca)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"allow_env": ("LD_PRELOAD",)}, "--allow-env LD_PRELOAD: with it a controller could run code"),
        ({"scratch": "/no/such/place"}, "scratch /no/such/place: no directory that can be written"),
        ({"max_sessions": 0}, "max_sessions: 0"),
        ({"keepalive": 30.0}, "keepalive: 30 s; it is 1 to 5 s"),
        ({"listen": "no.such.host.invalid:1"}, "listen: there is no host no.such.host.invalid"),
    ],
)
def test_other_wrong_options_are_refused(options, said):
    with pytest.raises(UsageError, match=said):
        settings(dict(_WITH_TOKEN), **options)


def test_variables_may_be_allowed(tmp_path):
    read = settings(dict(_WITH_TOKEN), allow_env=("ACME_*",), scratch=os.fspath(tmp_path))
    assert (read.allow_env, read.scratch) == (("ACME_*",), str(tmp_path))


@pytest.mark.parametrize(
    ("listen", "leads_to", "warned"),
    [
        ("bench1:0", "127.0.1.1", True),
        ("bench1:0", "192.0.2.7", False),
        ("localhost:0", "127.0.0.1", False),
        ("127.0.0.1:0", "127.0.0.1", False),
    ],
)
def test_a_name_that_others_can_not_reach_is_told(pki, monkeypatch, listen, leads_to, warned):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (leads_to, 0))]
    monkeypatch.setattr("penstock_grpc.addresses.socket.getaddrinfo", lambda *_, **__: found)
    assert settings(dict(_WITH_TOKEN), listen=listen, **tls_of(pki)).is_unreachable is warned
