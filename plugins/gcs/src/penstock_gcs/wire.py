"""What all requests of one store have in common: connections, credentials, heads, and how keys are written."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

from penstock.errors import CredentialsError, InvalidKeyError, StoreError
from penstock.http import Answer, HTTPClient, Origin, Settings
from penstock.keys import check_key
from penstock_gcs.errors import answer_error
from penstock_gcs.plugin import GCSOptions
from penstock_gcs.tokens import Tokens

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Wire", "key_path", "match_query"]

_AGENT = "penstock-gcs/0.1.0"
_PLAIN = re.compile(r"[A-Za-z0-9\-_~/][A-Za-z0-9\-._~/]{0,1023}").fullmatch
_GENERATION = re.compile(r"[1-9][0-9]{0,18}\Z")


class Wire:
    """The connections and credentials of one bucket's options. Threads share it."""

    def __init__(self, options: GCSOptions) -> None:
        origin = Origin.parse(options.origin_url())
        settings = Settings(
            connect_timeout=options.connect_timeout,
            read_timeout=options.read_timeout,
            operation_timeout=options.operation_timeout,
            ca_bundle=options.ca_bundle,
            proxy=options.proxy,
        )
        self.client = HTTPClient(origin, settings)
        self.tokens = Tokens(options)
        self.base = f"gs://{options.bucket}/" if options.bucket else "gs://"
        #: Path of the bucket's objects below ``/storage/v1``.
        self.objects = f"/b/{options.bucket}/o".encode()
        payer = f"x-goog-user-project: {options.user_project}\r\n" if options.user_project else ""
        self.common = f" HTTP/1.1\r\nHost: {origin.authority}\r\nUser-Agent: {_AGENT}\r\n{payer}".encode()
        #: Upload sessions of writers that were dropped; the next writer, or close, cancels them.
        self.abandoned: deque[bytes] = deque()

    def call(
        self,
        method: bytes,
        target: bytes,
        uri: str,
        operation: str,
        *,
        body: Sequence[Buffer] = (),
        headers: bytes = b"",
        good: Sequence[int] = (200,),
        replay: bool = True,
    ) -> Answer:
        """One request off the hot path. Raises what an answer reports whose status is none of ``good``."""
        length = b"" if method in (b"GET", b"HEAD") else b"Content-Length: %d\r\n" % sum(map(_nbytes, body))
        try:
            authorization = self.tokens.header()
            head = b"".join((method, b" ", target, self.common, authorization, length, headers, b"\r\n"))
            answer = self.client.send(head, body or None, replay=replay)
        except StoreError as error:
            self.located(error, uri, operation)
            raise
        if answer.status in good:
            return answer
        raise self.refusal(answer, authorization, uri, operation)

    def refusal(
        self, answer: Answer, authorization: bytes, uri: str, operation: str, *, session: bool = False
    ) -> StoreError:
        """The error that an answer reports; a token that was refused is not used again."""
        error = answer_error(answer, uri, operation, session=session)
        if isinstance(error, CredentialsError):
            self.tokens.reject(authorization)
        return error

    def located(self, error: StoreError, uri: str, operation: str) -> None:
        """Give the error what it does not say yet."""
        error.uri = error.uri or uri
        if error.operation in (None, "authenticate"):
            error.operation = operation

    def close(self) -> None:
        """Close the connections."""
        self.client.close()
        self.tokens.close()


def _nbytes(data: Buffer) -> int:
    return memoryview(data).nbytes


def key_path(key: str) -> bytes:
    """The key as one segment of a path. Raises InvalidKeyError."""
    if _PLAIN(key):
        return key.replace("/", "%2F").encode() if "/" in key else key.encode()
    if key in (".", ".."):
        raise InvalidKeyError(f"{key!r}: Cloud Storage holds no object of this name")
    return quote(check_key(key), safe="").encode()


def match_query(etag: str | None) -> bytes:
    """The condition that the object has this etag, which is its generation, as a part of a query."""
    if etag is None:
        return b""
    # No object has generation 1, so the service answers for an etag that is none as for one that is another's.
    return b"&ifGenerationMatch=" + (etag.encode() if _GENERATION.match(etag) else b"1")
