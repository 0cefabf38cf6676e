"""Requests for S3, signed with AWS Signature Version 4, as the bytes of a complete head.

Written after the service's documentation: "Signature Calculations for the Authorization Header: Transferring
Payload in a Single Chunk (AWS Signature Version 4)", and "... in Multiple Chunks" and "... Including Trailing
Headers" for bodies with a checksum behind them. S3 encodes a path once and does not normalise it.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import quote_from_bytes

import attrs

from penstock.errors import InvalidKeyError, UsageError
from penstock.http import now_s
from penstock_s3.credentials import Keys, KeySource
from penstock_s3.resolving import Place

if TYPE_CHECKING:
    from hashlib import _Hash

    from typing_extensions import Buffer

__all__ = ["EMPTY_PAYLOAD", "UNSIGNED_PAYLOAD", "Signer", "encode_key", "encode_query"]

#: What stands for the hash of a body: that of no byte, and none at all.
EMPTY_PAYLOAD = b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
UNSIGNED_PAYLOAD = b"UNSIGNED-PAYLOAD"

_UNSIGNED_TRAILER = b"STREAMING-UNSIGNED-PAYLOAD-TRAILER"
_SIGNED_TRAILER = b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
_ALGORITHM = b"AWS4-HMAC-SHA256"

_SAFE = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/"
_BLOCK = 64
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))

# Servers bound the length of a chunk; this is the one that SDKs send.
_CHUNK = 1024 * 1024

# Never signed: proxies rewrite Accept-Encoding. Without it some would deliver other bytes than were stored.
_FIXED = b"accept-encoding: identity\r\nuser-agent: penstock-s3\r\n"


def encode_key(key: str) -> bytes:
    """The key as it stands in a request's path: everything but letters, digits, ``-._~`` and ``/`` as ``%XX``.

    Raises InvalidKeyError for text that has no UTF-8 (a lone surrogate).
    """
    try:
        data = key.encode()
    except UnicodeEncodeError:
        raise InvalidKeyError(f"{key!r}: a key is text that can be written as UTF-8") from None
    if not data.translate(None, _SAFE):
        return data
    return quote_from_bytes(data, safe="/").encode()


def encode_query(parameters: Sequence[tuple[str, str]]) -> bytes:
    """A query string in the canonical order and encoding, ready for ``Signer.head``: ``a=1&b=``."""
    pairs = sorted((_encode(name), _encode(value)) for name, value in parameters)
    return "&".join(f"{name}={value}" for name, value in pairs).encode()


def _encode(text: str) -> str:
    return quote_from_bytes(text.encode(), safe="")


@attrs.frozen(slots=True)
class _Keyed:
    """HMAC with a day's derived key: the SHA-256 states behind its two padded keys."""

    keys: Keys
    day: bytes
    scope: bytes
    inner: _Hash
    outer: _Hash


@attrs.frozen(slots=True)
class _Moment:
    """What the requests of one second share."""

    second: int
    stamp: bytes
    keyed: _Keyed
    #: Copies of the HMAC's states; the inner one has taken the string to sign up to the request's own hash.
    inner: Callable[[], _Hash]
    outer: Callable[[], _Hash]
    #: Of payloads that recur, what ends the canonical request, and what the head has after the target.
    forms: dict[bytes, tuple[bytes, bytes]]


class Signer:
    """Makes signed request heads for one place. Threads share it.

    What does not change within a second (time, derived key, scope, the fixed headers) is made once a second;
    the keys are asked for then too.
    """

    def __init__(
        self, place: Place, source: KeySource | None, *, sign_payloads: bool, request_payer: bool = False
    ) -> None:
        """``source`` None: requests carry no signature."""
        self.place = place
        self._source = source
        self._sign_payloads = sign_payloads and source is not None
        self._prefix = place.prefix
        self._region = f"{place.region}/{place.service}/aws4_request".encode()
        self._always = ((b"x-amz-request-payer", b"requester"),) if request_payer else ()
        self._moment: _Moment | None = None

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
        for the body: :data:`EMPTY_PAYLOAD` without one, else what :meth:`payload` says. Raises CredentialsError,
        and UsageError for a header that holds a line's end.
        """
        if length is not None:
            unsigned = b"content-length: %d\r\n%b" % (length, unsigned)
        if self._source is None:
            return self._anonymous(method, key, query, headers, unsigned)
        second = now_s()
        moment = self._moment
        if moment is None or moment.second != second:
            moment = self._renew(second)
        form = None if headers else moment.forms.get(payload)
        if form is None:
            form = self._form(moment.stamp, moment.keyed, payload, headers)
        target = self._prefix + key
        signature = _sign(moment, b"".join((method, b"\n", target, b"\n", query, form[0])))
        if query:
            target = b"%b?%b" % (target, query)
        return b"".join((method, b" ", target, form[1], signature, b"\r\n", unsigned, b"\r\n"))

    def payload(self, *body: Buffer) -> bytes:
        """What ``head`` takes as the payload of these buffers in a row: their SHA-256, or that it is not signed."""
        if not self._sign_payloads:
            return UNSIGNED_PAYLOAD
        digest = sha256()
        for data in body:
            digest.update(data)
        return digest.hexdigest().encode()

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
        payloads are signed. No buffer of ``body`` but the last may be shorter than 8 KiB. Content-Length and the
        headers that announce the framing are in the head. Raises as ``head`` does.
        """
        chunks = _cut(body)
        payload = _SIGNED_TRAILER if self._sign_payloads else _UNSIGNED_TRAILER
        nbytes = sum(map(len, chunks))
        announced = (
            *headers,
            (b"content-encoding", b"aws-chunked"),
            (b"x-amz-decoded-content-length", b"%d" % nbytes),
            (b"x-amz-trailer", trailer[0]),
        )
        if self._source is None:
            frames = _frames(chunks, trailer, None)
            announced += ((b"x-amz-content-sha256", payload),)
            return self._anonymous(method, key, query, announced, _with_length(frames, unsigned)), frames
        moment = self._renew(now_s())
        form = self._form(moment.stamp, moment.keyed, payload, announced)
        target = self._prefix + key
        seed = _sign(moment, b"%b\n%b\n%b%b" % (method, target, query, form[0]))
        frames = _frames(chunks, trailer, _Chain(moment, seed) if self._sign_payloads else None)
        if query:
            target = b"%b?%b" % (target, query)
        return b"%b %b%b%b\r\n%b\r\n" % (method, target, form[1], seed, _with_length(frames, unsigned)), frames

    def _anonymous(
        self, method: bytes, key: bytes, query: bytes, headers: Sequence[tuple[bytes, bytes]], unsigned: bytes
    ) -> bytes:
        mark = b"?" if query else b""
        lines = b"".join(b"%b: %b\r\n" % pair for pair in _checked(headers))
        return b"%b %b%b%b%b HTTP/1.1\r\nhost: %b\r\n%b%b%b\r\n" % (
            *(method, self._prefix, key, mark, query),
            *(self.place.host, _FIXED, lines, unsigned),
        )

    def _renew(self, second: int) -> _Moment:
        moment = self._moment
        if moment is not None and moment.second == second:
            return moment
        assert self._source is not None
        keys = self._source.keys()
        stamp = datetime.fromtimestamp(second, UTC).strftime("%Y%m%dT%H%M%SZ").encode()
        keyed = moment.keyed if moment is not None else None
        if keyed is None or keyed.keys is not keys or keyed.day != stamp[:8]:
            keyed = _derive(keys, stamp[:8], self._region)
        inner = keyed.inner.copy()
        inner.update(b"%b\n%b\n%b\n" % (_ALGORITHM, stamp, keyed.scope))
        forms = {payload: self._form(stamp, keyed, payload, ()) for payload in (EMPTY_PAYLOAD, UNSIGNED_PAYLOAD)}
        self._moment = moment = _Moment(second, stamp, keyed, inner.copy, keyed.outer.copy, forms)
        return moment

    def _form(
        self, stamp: bytes, keyed: _Keyed, payload: bytes, headers: Sequence[tuple[bytes, bytes]]
    ) -> tuple[bytes, bytes]:
        """The canonical request from its headers on, and the head from the version on to ``Signature=``."""
        signed = [(b"x-amz-content-sha256", payload), (b"x-amz-date", stamp), *self._always, *_checked(headers)]
        if keyed.keys.token is not None:
            name = b"x-amz-s3session-token" if self.place.express else b"x-amz-security-token"
            signed.append((name, keyed.keys.token.encode()))
        lines = b"".join(b"%b: %b\r\n" % pair for pair in signed)
        signed.append((b"host", self.place.host))
        signed.sort(key=lambda pair: pair[0])
        names = b";".join(name for name, _ in signed)
        canonical = b"".join(b"%b:%b\n" % (name, b" ".join(value.split())) for name, value in signed)
        return (
            b"\n%b\n%b\n%b" % (canonical, names, payload),
            b" HTTP/1.1\r\nhost: %b\r\n%b%bauthorization: %b Credential=%b/%b, SignedHeaders=%b, Signature="
            % (self.place.host, _FIXED, lines, _ALGORITHM, keyed.keys.access_key_id.encode(), keyed.scope, names),
        )


def _checked(headers: Sequence[tuple[bytes, bytes]]) -> Sequence[tuple[bytes, bytes]]:
    names = set()
    for name, value in headers:
        if name in names:
            raise UsageError(f"the header {name.decode()} twice; metadata names differ by more than case")
        names.add(name)
        if b"\n" in value or b"\r" in value or b"\0" in value:
            raise UsageError(f"the header {name.decode()} can't hold the end of a line")
    return headers


def _derive(keys: Keys, day: bytes, region: bytes) -> _Keyed:
    key = b"AWS4" + keys.secret_access_key.encode()
    for word in (day, *region.split(b"/")):
        key = hmac.digest(key, word, "sha256")
    padded = key.ljust(_BLOCK, b"\0")
    inner, outer = sha256(padded.translate(_INNER)), sha256(padded.translate(_OUTER))
    return _Keyed(keys, day, b"%b/%b" % (day, region), inner, outer)


def _sign(moment: _Moment, canonical: bytes) -> bytes:
    inner = moment.inner()
    inner.update(sha256(canonical).hexdigest().encode())
    outer = moment.outer()
    outer.update(inner.digest())
    return outer.hexdigest().encode()


class _Chain:
    """The signatures of a body's chunks, each over the one before."""

    def __init__(self, moment: _Moment, seed: bytes) -> None:
        self._moment = moment
        self._last = seed

    def chunk(self, data: Buffer) -> bytes:
        return self._next(b"-PAYLOAD", b"%b\n%b" % (EMPTY_PAYLOAD, sha256(data).hexdigest().encode()))

    def trailer(self, line: bytes) -> bytes:
        return self._next(b"-TRAILER", sha256(line).hexdigest().encode())

    def _next(self, kind: bytes, hashes: bytes) -> bytes:
        keyed = self._moment.keyed
        inner, outer = keyed.inner.copy(), keyed.outer.copy()
        words = (_ALGORITHM + kind, self._moment.stamp, keyed.scope, self._last, hashes)
        inner.update(b"\n".join(words))
        outer.update(inner.digest())
        self._last = outer.hexdigest().encode()
        return self._last


def _cut(body: Sequence[Buffer]) -> list[memoryview]:
    views = [memoryview(data).cast("B") for data in body]
    return [view[start : start + _CHUNK] for view in views for start in range(0, len(view), _CHUNK)]


def _frames(chunks: Sequence[memoryview], trailer: tuple[bytes, bytes], chain: _Chain | None) -> list[Buffer]:
    frames: list[Buffer] = []
    end = b""
    for chunk in chunks:
        frames += (b"%b%x%b\r\n" % (end, len(chunk), _signature(chain, chunk)), chunk)
        end = b"\r\n"
    line = b"%b:%b" % trailer
    last = b"%b0%b\r\n%b\r\n" % (end, _signature(chain, b""), line)
    if chain is not None:
        last += b"x-amz-trailer-signature:%b\r\n" % chain.trailer(line + b"\n")
    frames.append(last + b"\r\n")
    return frames


def _signature(chain: _Chain | None, chunk: Buffer) -> bytes:
    return b"" if chain is None else b";chunk-signature=" + chain.chunk(chunk)


def _with_length(frames: Sequence[Buffer], unsigned: bytes) -> bytes:
    nbytes = sum(memoryview(frame).nbytes for frame in frames)
    return b"content-length: %d\r\n%b" % (nbytes, unsigned)
