"""What to do about a failure: words for each kind of error, whichever backend met it.

The most specific rule wins: the service's own code, then what the network or TLS reported beneath the error, then the
class of the error itself.
"""

from __future__ import annotations

import errno
import re
import shlex
import socket
import ssl
from collections.abc import Callable, Iterator

import attrs

from penstock.errors import (
    AccessDeniedError,
    ChecksumMismatchError,
    CredentialsError,
    LengthMismatchError,
    ObjectNotFoundError,
    PenstockError,
    StorageFullError,
    StoreConnectionError,
    StoreError,
    StoreTimeoutError,
    ThrottledError,
    redact,
)
from penstock.plugins import default_host
from penstock.store import Address
from penstock.urls import parse_object

__all__ = ["health_command", "is_unreachable", "remedy"]

CLOCK = (
    "set this machine's clock by NTP (timedatectl shows whether it is): the service refuses requests whose time is "
    "minutes off"
)
REGION = "name the bucket's own region: by the option region, or by an endpoint of that region"
BUCKET = (
    "check the bucket's name, and that the endpoint and the credentials are of the account that holds it; or make "
    "it: `{mb}`"
)
OPTIONS = "? and what follows it belong to the key; options are given beside the URI: -O name=value"
NAME = (
    "check the host in the URI or the endpoint option, and this machine's DNS (getent hosts HOST); where only a proxy "
    "knows the name, give the option proxy"
)
REFUSED = "nothing listens there: check the host and the port, that the server runs, and that no firewall refuses"
TIMEOUT = (
    "nothing came back in time: check for a firewall that drops packets, for a proxy that is needed (the option proxy "
    "or HTTPS_PROXY), and that the server is not stuck; connect_timeout and read_timeout give it longer"
)
ROUTE = "this machine has no route there: check its network, or name the proxy that leads out (the option proxy)"
PROXY = "the proxy wants a user and password: give the option proxy as http://user:password@host:port"
EXPIRED = "the server's certificate has to be renewed there; if its dates look right, check this machine's clock"
NOT_YET = "the certificate is not valid yet: check this machine's clock, then the certificate's dates"
AUTHORITY = (
    "the certificate's authority is not known here: name the file with its certificate by the option ca_bundle; if "
    "nobody here runs an authority, somebody may be reading along"
)
WRONG_HOST = "the certificate is for another name: connect by a name that it bears, or have it issued for this one too"
CERTIFICATE = "have the server's certificate put right, or name its authority's file by the option ca_bundle"
NOT_TLS = "the server does not speak TLS on this port: use its TLS port, or the http form of the endpoint"
TLS = "check that the port is the TLS port, and that the server offers TLS 1.2 or later"
BROKEN = "check that the port is this service's, and look at the log of the server or of a proxy in between"
KEY = (
    "check these credentials, their expiry, and that they are of this service and account; "
    "`{plugins}` names the options that give others"
)
RIGHT = "these credentials may not do this: ask the owner of the storage for the right to, or use others"
THROTTLED = "the service asks for fewer requests: use fewer threads (-j), wait, or have the limit raised"
FULL = "free space there (`penstock rm --incomplete` finds abandoned uploads), or have the quota raised"
CORRUPT = "the bytes changed on their way or in the storage: do not trust it, and look at what stands in between"


@attrs.frozen(slots=True)
class _Rule:
    words: str
    fits: Callable[[BaseException], bool]


def _code(*codes: str) -> Callable[[BaseException], bool]:
    return lambda error: isinstance(error, StoreError) and error.code in codes


def _status(*statuses: int) -> Callable[[BaseException], bool]:
    return lambda error: isinstance(error, StoreError) and error.status in statuses


def _kind(*kinds: type[BaseException]) -> Callable[[BaseException], bool]:
    return lambda error: isinstance(error, kinds)


def _number(*numbers: int) -> Callable[[BaseException], bool]:
    return lambda error: isinstance(error, OSError) and error.errno in numbers


def _verification(*numbers: int) -> Callable[[BaseException], bool]:
    # An SDK may have made the error anew, without its details.
    return lambda error: (
        isinstance(error, ssl.SSLCertVerificationError) and getattr(error, "verify_code", None) in numbers
    )


def _no_bucket(error: BaseException) -> bool:
    """Of a call on the bucket as a whole, "not found" can mean only the bucket. Some services name it in words."""
    whole = ("authenticate", "list_pages", "delete_bucket", "list_uploads")
    if not isinstance(error, ObjectNotFoundError):
        return False
    return error.operation in whole or re.search(r"\bbucket does not exist", error.message) is not None


def _with_options(error: BaseException) -> bool:
    return isinstance(error, ObjectNotFoundError) and re.search(r"\?[a-z_]+=", error.uri or "") is not None


def _key_or_right(error: BaseException) -> bool:
    """Whether a refusal may be that of a wrong key: some services don't tell it from a right that is missing.

    Azurite and accounts with network rules have one code for both; the answer to a HEAD has no room for any.
    """
    if isinstance(error, CredentialsError):
        return True
    vague = isinstance(error, AccessDeniedError) and error.status == 403 and error.code is None
    return vague or (isinstance(error, StoreError) and error.code == "AuthorizationFailure")


def _not_tls(error: BaseException) -> bool:
    reasons = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE")
    return isinstance(error, ssl.SSLError) and getattr(error, "reason", None) in reasons


#: Looked up with the error itself first. Codes of several services stand side by side; they do not overlap.
_OWN = (
    _Rule(CLOCK, _code("RequestTimeTooSkewed", "RequestExpired")),
    _Rule(
        REGION,
        _code(
            "AuthorizationHeaderMalformed",
            "IllegalLocationConstraintException",
            "InvalidLocationConstraint",
            "PermanentRedirect",
            "TemporaryRedirect",
        ),
    ),
    _Rule(REGION, _status(301, 307)),
    _Rule(BUCKET, _code("NoSuchBucket", "ContainerNotFound")),
    _Rule(BUCKET, _no_bucket),
    _Rule(OPTIONS, _with_options),
    _Rule(PROXY, _status(407)),
)

#: Looked up with the errors beneath it, the deepest first, for that is what really happened.
_BENEATH = (
    _Rule(EXPIRED, _verification(10)),
    _Rule(NOT_YET, _verification(9)),
    _Rule(WRONG_HOST, _verification(62, 64)),
    _Rule(AUTHORITY, _verification(2, 18, 19, 20, 21)),
    _Rule(CERTIFICATE, _kind(ssl.SSLCertVerificationError)),
    _Rule(NOT_TLS, _not_tls),
    # What a socket with the kernel's time-out says of a handshake that got no answer.
    _Rule(TIMEOUT, _kind(ssl.SSLWantReadError, ssl.SSLWantWriteError)),
    _Rule(TLS, _kind(ssl.SSLError)),
    _Rule(NAME, _kind(socket.gaierror)),
    _Rule(REFUSED, _number(errno.ECONNREFUSED)),
    _Rule(ROUTE, _number(errno.ENETUNREACH, errno.EHOSTUNREACH)),
)

#: Looked up with the error itself last.
_CLASS = (
    _Rule(TIMEOUT, _kind(StoreTimeoutError)),
    _Rule(KEY, _key_or_right),
    _Rule(RIGHT, _kind(AccessDeniedError)),
    _Rule(THROTTLED, _kind(ThrottledError)),
    _Rule(FULL, _kind(StorageFullError)),
    _Rule(CORRUPT, _kind(ChecksumMismatchError, LengthMismatchError)),
    _Rule(BROKEN, _kind(StoreConnectionError)),
)


def remedy(error: BaseException, *, scheme: str | None = None) -> str | None:
    """What to do about a failure, in a sentence; None where nothing general can be said.

    ``scheme`` is that of the backend, for remedies that are commands; None: that of the error's URI.
    """
    if not isinstance(error, StoreError):
        return None
    words = _first(_OWN, [error])
    if words is None and isinstance(error, StoreConnectionError | StoreTimeoutError):
        words = _first(_BENEATH, reversed([*_causes(error)]))
    words = words or _first(_CLASS, [error])
    return _filled(words, error.uri or "", scheme) if words else None


def is_unreachable(error: BaseException) -> bool:
    """Whether a check of the connection to a bucket, step by step, would tell more than the error does."""
    if not (isinstance(error, StoreConnectionError | StoreTimeoutError) or _key_or_right(error)):
        return False
    assert isinstance(error, StoreError)
    return error.operation != "list_buckets" and _first(_OWN, [error]) is None


def health_command(uri: str) -> str | None:
    """The command that checks where this object, bucket or prefix is, for a shell; None where no place is named."""
    scheme, mark, rest = redact(uri).partition("://")
    address = _address(uri)
    if not mark or (address is not None and address.bucket == ""):
        return None
    place, slash, _ = rest.rpartition("/")
    return f"penstock health {shlex.quote(f'{scheme}://{place}{slash}' if place else f'{scheme}://{rest}')}"


def _filled(words: str, uri: str, scheme: str | None) -> str:
    """The words with the commands that they speak of."""
    address = _address(uri)
    bucket = f" {shlex.quote(redact(address.base))}" if address is not None and address.bucket else ""
    kind = scheme or (uri.partition("://")[0] if "://" in uri else None)
    plugins = f"penstock plugins show {kind}" if kind else "penstock plugins"
    return words.replace("{plugins}", plugins).replace("{mb}", f"penstock mb{bucket}")


def _address(uri: str) -> Address | None:
    """What its backend makes of a URI; None where nobody does."""
    try:
        url = parse_object(uri)
        return default_host().store_type(url.scheme).parse(url)
    except PenstockError:
        return None


def _first(rules: tuple[_Rule, ...], errors: Iterator[BaseException] | list[BaseException]) -> str | None:
    for error in errors:
        for rule in rules:
            if rule.fits(error):
                return rule.words
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and those beneath it. A loop of causes ends."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
