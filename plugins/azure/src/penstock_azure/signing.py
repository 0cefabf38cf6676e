"""What authorizes a request: the account's key, a shared access signature, a bearer token, or nothing.

The string that a key signs is that of "Authorize with Shared Key" in the REST reference of Azure Storage, in the
form of the Blob service since version 2015-02-21: the verb and eleven standard header fields, the ``x-ms-`` fields in
the service's order, the account with the path as it is sent, and the query's parameters, decoded and sorted.
Ranges are asked for by ``x-ms-range``, which stands among the ``x-ms-`` fields.

Most of it never changes from one request to the next of a kind, so callers hand it over in four pieces that they
keep: see :meth:`Signer.sign`.
"""

from __future__ import annotations

import hashlib
from binascii import b2a_base64
from collections.abc import Iterable, Mapping, Sequence
from email.utils import formatdate
from typing import Protocol
from urllib.parse import quote

from penstock.http import now_s
from penstock_azure.account import Account

__all__ = [
    "VERSION",
    "VERSION_LINE",
    "Anonymous",
    "Bearer",
    "SharedKey",
    "Signer",
    "Tokens",
    "canonical_query",
    "encode_query",
    "ms_fields",
    "signer_of",
    "standard_fields",
]

#: Version of the REST interface that requests are in.
VERSION = "2023-11-03"

_BLOCK = 64
#: That as it is signed.
VERSION_LINE = f"x-ms-version:{VERSION}\n"
# The service sorts by a language's order: hyphens don't count, and the underscore comes before digits and letters.
_ORDER = str.maketrans({"-": None, "_": "!"})
_DATE = "xmsdate"


class Signer(Protocol):
    """Authorizes requests. Threads share it."""

    #: What the query of each request ends with, without ``?`` or ``&``: a shared access signature, or nothing.
    @property
    def query(self) -> str: ...

    def sign(self, standard: str, before: str, after: str, resource: str, version: str = VERSION_LINE) -> str:
        """The lines, each ended by CRLF, that a request's head needs beside its own; a date is one of them.

        ``standard`` is from :func:`standard_fields`, ``before`` and ``after`` from :func:`ms_fields`; ``resource``
        is the path as sent and the :func:`canonical_query`. ``version``
        is empty for requests within a batch, which say no version of their own.
        """

    def close(self) -> None:
        """Give back what is held."""


def standard_fields(
    verb: str, *, length: int = 0, md5: str = "", content_type: str = "", if_match: str = "", if_none_match: str = ""
) -> str:
    """The verb and the standard fields as they are signed."""
    return f"{verb}\n\n\n{length or ''}\n{md5}\n{content_type}\n\n\n{if_match}\n{if_none_match}\n\n\n"


def ms_fields(fields: Mapping[str, str]) -> tuple[str, str]:
    """Lower-case ``x-ms-`` fields as they are signed: those that stand before the date, and those after it.

    With CR before each line end they are also what is sent.
    """
    ordered = sorted((name.translate(_ORDER), name) for name in fields)
    before = "".join(f"{name}:{fields[name]}\n" for place, name in ordered if place < _DATE)
    after = "".join(f"{name}:{fields[name]}\n" for place, name in ordered if place > _DATE)
    return before, after


def canonical_query(query: Iterable[tuple[str, str]]) -> str:
    """The parameters of a query as they are signed; names are in lower case."""
    return "".join(f"\n{name}:{value}" for name, value in sorted(query))


def encode_query(query: Sequence[tuple[str, str]], more: str = "") -> str:
    """A query as it is sent, with its ``?``, ending in ``more``; empty when there is nothing."""
    parts = [f"{name}={quote(value, safe='')}" for name, value in query]
    if more:
        parts.append(more)
    return f"?{'&'.join(parts)}" if parts else ""


class _Clock:
    """The date of now as HTTP writes it, made once a second."""

    __slots__ = ("_made",)

    def __init__(self) -> None:
        self._made = (0, "")

    def date(self) -> str:
        second = now_s()
        made = self._made
        if made[0] != second:
            # One assignment: threads see the old pair or the new one.
            self._made = made = (second, formatdate(second, usegmt=True))
        return made[1]


class SharedKey:
    """Signs with the account's key."""

    query = ""

    def __init__(self, account: str, key: bytes) -> None:
        self._clock = _Clock()
        self._account = f"/{account}"
        self._fields = f"Authorization: SharedKey {account}:"
        # HMAC (RFC 2104) by its definition: the two halves of the key are hashed once, not for each request.
        if len(key) > _BLOCK:
            key = hashlib.sha256(key).digest()
        key = key.ljust(_BLOCK, b"\0")
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in key))

    def sign(self, standard: str, before: str, after: str, resource: str, version: str = VERSION_LINE) -> str:
        date = self._clock.date()
        inner = self._inner.copy()
        inner.update(f"{standard}{before}x-ms-date:{date}\n{after}{version}{self._account}{resource}".encode())
        outer = self._outer.copy()
        outer.update(inner.digest())
        signature = b2a_base64(outer.digest(), newline=False).decode("ascii")
        return f"x-ms-date: {date}\r\n{self._fields}{signature}\r\n"

    def close(self) -> None:
        """Nothing is held."""


class Anonymous:
    """Adds nothing but the query it was made with: a shared access signature, which is complete in itself."""

    def __init__(self, query: str = "") -> None:
        self.query = query

    def sign(self, standard: str, before: str, after: str, resource: str, version: str = VERSION_LINE) -> str:
        return ""

    def close(self) -> None:
        """Nothing is held."""


class Tokens(Protocol):
    """Gives a token that is valid now, and has it at hand."""

    def token(self) -> str: ...

    def close(self) -> None: ...


class Bearer:
    """Sends a token, asked for anew with each request."""

    query = ""

    def __init__(self, tokens: Tokens) -> None:
        self._clock = _Clock()
        self._token = tokens.token
        self.close = tokens.close

    def sign(self, standard: str, before: str, after: str, resource: str, version: str = VERSION_LINE) -> str:
        return f"x-ms-date: {self._clock.date()}\r\nAuthorization: Bearer {self._token()}\r\n"


def signer_of(account: Account) -> Signer:
    """What authorizes requests to an account. Raises CredentialsError."""
    if account.kind == "key":
        return SharedKey(account.name, account.key)
    if account.kind == "default":
        from penstock_azure.credentials import TokenSource

        return Bearer(TokenSource.default())
    return Anonymous(account.secret)
