"""A container as requests see it: its place, its signer, and the exchange of a request for an answer."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from penstock.errors import CredentialsError, StoreConnectionError, StoreError
from penstock.http import Answer, HTTPClient, Settings
from penstock_azure.account import Account
from penstock_azure.errors import error_of, located
from penstock_azure.naming import encode_key
from penstock_azure.plugin import AzureOptions
from penstock_azure.signing import (
    VERSION,
    Signer,
    canonical_query,
    encode_query,
    ms_fields,
    signer_of,
    standard_fields,
)

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Container", "settings_of"]

_AGENT = "penstock-azure/0.1.0"


def settings_of(options: AzureOptions) -> Settings:
    """What the transport is told."""
    return Settings(
        connect_timeout=options.connect_timeout,
        read_timeout=options.read_timeout,
        operation_timeout=options.operation_timeout,
        ca_bundle=options.ca_bundle,
        proxy=options.proxy,
    )


def _base(account: str, container: str) -> str:
    return f"az://{account}/{container}/" if container else f"az://{account}/"


class Container:
    """Requests to one container, or with an empty name to its account. Threads share it.

    ``base`` is the URI that keys are appended to, ``root`` the same of paths; ``path`` is the container's own.
    """

    def __init__(self, account: Account, name: str, settings: Settings, signer: Signer | None = None) -> None:
        self.account = account
        self.name = name
        self.base = _base(account.name, name)
        self.path = f"{account.prefix}/{name}"
        self.root = f"{self.path}/"
        self.signer = signer_of(account) if signer is None else signer
        self.client = HTTPClient(account.origin, settings)
        #: What every head has, and the query of requests that have none of their own.
        self.fixed = f"Host:{account.origin.authority}\r\nUser-Agent:{_AGENT}\r\nx-ms-version:{VERSION}\r\n"
        self.query = encode_query((), self.signer.query)

    @classmethod
    def of(cls, options: AzureOptions) -> Container:
        """The container of some options. Makes no request; raises UsageError or CredentialsError."""
        try:
            return cls(Account.of(options), options.container, settings_of(options))
        except CredentialsError as error:
            error.uri = _base(options.account, options.container)
            raise

    def uri(self, key: str) -> str:
        """The URI of an object."""
        return self.base + key

    def url(self, key: str) -> str:
        """The URL of an object, without what authorizes to read it."""
        return f"{self.account.origin}{self.root}{encode_key(key)}"

    def exchange(
        self,
        operation: str,
        verb: str,
        key: str | None,
        *,
        query: Sequence[tuple[str, str]] = (),
        ms: Mapping[str, str] | None = None,
        content_type: str = "",
        md5: str = "",
        if_match: str = "",
        if_none_match: str = "",
        body: Buffer | None = None,
        replay: bool = True,
        expect: Sequence[int] = (200,),
        create: bool = False,
    ) -> Answer:
        """Send a request about an object, or about the container where ``key`` is None, and expect a status.

        ``query`` and ``ms`` have lower-case names, the values are plain. Raises the error of any other status, with
        the answer read, and StoreConnectionError or StoreTimeoutError.
        """
        path = self.path if key is None else self.root + encode_key(key)
        uri = self.base + (key or "")
        length = 0 if body is None else memoryview(body).nbytes
        before, after = ms_fields(ms or {})
        standard = standard_fields(
            verb,
            length=length,
            md5=md5,
            content_type=content_type,
            if_match=if_match,
            if_none_match=if_none_match,
        )
        lines = [
            f"{name}:{value}\r\n"
            for name, value in (
                ("Content-Length", str(length) if verb in ("PUT", "POST") else ""),
                ("Content-Type", content_type),
                ("Content-MD5", md5),
                ("If-Match", if_match),
                ("If-None-Match", if_none_match),
            )
            if value
        ]
        target = path + encode_query(query, self.signer.query)
        signed = path + canonical_query(query)
        answer = self.send(operation, uri, verb, target, signed, standard, before, after, "".join(lines), body, replay)
        if answer.status not in expect:
            raise error_of(answer, operation, uri, create=create)
        return answer

    def send(
        self,
        operation: str,
        uri: str,
        verb: str,
        target: str,
        signed: str,
        standard: str,
        before: str,
        after: str,
        lines: str,
        body: Buffer | None = None,
        replay: bool = True,
    ) -> Answer:
        """Sign a request whose pieces are made, and send it; see :class:`~penstock_azure.signing.Signer`."""
        ms = f"{before}{after}".replace("\n", "\r\n")
        try:
            auth = self.signer.sign(standard, before, after, signed)
            head = f"{verb} {target} HTTP/1.1\r\n{self.fixed}{lines}{ms}{auth}\r\n"
            return self.client.send(head.encode(), body, replay=replay)
        except StoreError as error:
            raise self.located(error, operation, uri) from error.__cause__

    def located(self, error: StoreError, operation: str, uri: str) -> StoreError:
        """Fill in where a failure of the transport happened; a host that nobody knows is a misspelt account's."""
        if isinstance(error.__cause__, socket.gaierror) and not self.account.prefix:
            hint = f"{error.message}; is the account {self.account.name!r} spelled right?"
            told = StoreConnectionError(hint, uri=uri, operation=operation, retryable=error.retryable)
            told.__cause__ = error.__cause__
            return told
        return located(error, operation, uri)

    def close(self) -> None:
        """Close the connections."""
        self.client.close()
        self.signer.close()
