"""Requests for S3, signed with AWS Signature Version 4, as the bytes of a complete head.

Written after the service's documentation: "Signature Calculations for the Authorization Header: Transferring
Payload in a Single Chunk (AWS Signature Version 4)", and "... in Multiple Chunks" and "... Including Trailing
Headers" for bodies with a checksum behind them. S3 encodes a path once and does not normalise it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from penstock_s3.credentials import KeySource
from penstock_s3.resolving import Place

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["EMPTY_PAYLOAD", "UNSIGNED_PAYLOAD", "Signer", "encode_key", "encode_query"]

#: What stands for the hash of a body: that of no byte, and none at all.
EMPTY_PAYLOAD = b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
UNSIGNED_PAYLOAD = b"UNSIGNED-PAYLOAD"


def encode_key(key: str) -> bytes:
    """The key as it stands in a request's path: everything but letters, digits, ``-._~`` and ``/`` as ``%XX``.

    Raises InvalidKeyError for text that has no UTF-8 (a lone surrogate).
    """
    raise NotImplementedError


def encode_query(parameters: Sequence[tuple[str, str]]) -> bytes:
    """A query string in the canonical order and encoding, ready for ``Signer.head``: ``a=1&b=``."""
    raise NotImplementedError


class Signer:
    """Makes signed request heads for one place. Threads share it.

    What does not change within a second (time, derived key, scope, the fixed headers) is made once a second;
    the keys are asked for then too.
    """

    def __init__(
        self, place: Place, source: KeySource | None, *, sign_payloads: bool, request_payer: bool = False
    ) -> None:
        """``source`` None: requests carry no signature."""
        raise NotImplementedError

    def head(
        self,
        method: bytes,
        key: bytes,
        *,
        query: bytes = b"",
        headers: Sequence[tuple[bytes, bytes]] = (),
        unsigned: bytes = b"",
        length: int | None = None,
        payload: bytes = EMPTY_PAYLOAD,
    ) -> bytes:
        """The complete head of a request, from its first line to the empty one.

        ``key`` comes from :func:`encode_key` (empty: the bucket itself), ``query`` from :func:`encode_query`.
        ``headers`` are signed: lower-case names, in any order; every ``x-amz-…`` belongs here. ``unsigned`` holds
        complete lines, each with its CRLF, that need no signature (``range``, ``if-match``, ``content-type``).
        ``length`` is the body's, in bytes: give it with every PUT and POST, also when it is 0. ``payload`` stands
        for the body: :data:`EMPTY_PAYLOAD` without one, else what :meth:`payload` says. Raises CredentialsError.
        """
        raise NotImplementedError

    def payload(self, *body: Buffer) -> bytes:
        """What ``head`` takes as the payload of these buffers in a row: their SHA-256, or that it is not signed."""
        raise NotImplementedError

    def framed(
        self,
        method: bytes,
        key: bytes,
        body: Sequence[Buffer],
        trailer: tuple[bytes, bytes],
        *,
        query: bytes = b"",
        headers: Sequence[tuple[bytes, bytes]] = (),
        unsigned: bytes = b"",
    ) -> tuple[bytes, list[Buffer]]:
        """Head and body of a request whose checksum follows the body: ``trailer`` is its name and value.

        The body comes back in chunks (``aws-chunked``) that are views of ``body``, signed one by one where
        payloads are signed. Content-Length and the headers that announce the framing are in the head.
        """
        raise NotImplementedError
