"""One bucket's line to its service: requests are signed, sent, and repeated once where the bucket really is."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from penstock.errors import StoreError
from penstock.http import Answer, HTTPClient
from penstock_s3.errors import Condition, failure
from penstock_s3.plugin import S3Options
from penstock_s3.resolving import Place, make_client, make_keys, make_session, make_settings, resolve, signs_payloads
from penstock_s3.signing import EMPTY_PAYLOAD, Signer, encode_key

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Wire", "base_uri"]

#: Answers with which S3 names the region that a bucket is in.
_ELSEWHERE = frozenset({301, 307, 400})


@attrs.frozen(slots=True)
class _Link:
    place: Place
    signer: Signer
    client: HTTPClient


def base_uri(options: S3Options) -> str:
    """The URI of the bucket, to which a key is appended; of the service, where the options name no bucket.

    It has the form that was asked for: an endpoint of the environment or of an option does not stand in it.
    """
    base = options.root or "s3://"
    return f"{base}{options.bucket}/" if options.bucket else base


class Wire:
    """Sends requests for the objects of one bucket. Threads share it.

    A bucket may turn out to be in another region than the options say: then its region is adopted for good and
    the request is sent there, the one case in which a call makes a request more than it tells.
    """

    def __init__(self, options: S3Options) -> None:
        self.base = base_uri(options)
        self._options = options
        self._session = make_session(options)
        self._settings = make_settings(options, self._session)
        self._lock = threading.Lock()
        self._link = self._connect(None)

    @property
    def bucket(self) -> str:
        """The bucket, as the options name it."""
        return self._options.bucket

    @property
    def place(self) -> Place:
        """Where requests go now."""
        return self._link.place

    def send(
        self,
        method: bytes,
        key: str,
        operation: str,
        *,
        query: bytes = b"",
        headers: Sequence[tuple[bytes, bytes]] = (),
        unsigned: bytes = b"",
        body: Buffer | None = None,
        length: int | None = None,
        trailer: tuple[bytes, bytes] | None = None,
        replay: bool = True,
    ) -> Answer:
        """Send one request and return its answer, whatever its status.

        ``length`` is that of ``body``, in bytes: given with every PUT and POST. An empty ``key`` is the bucket
        itself. ``trailer`` is the name and value of a checksum that follows the body. ``replay``: may be sent again
        when a kept connection turns out to be closed. Raises StoreError with URI and operation.
        """
        link = self._link
        try:
            name = encode_key(key)
            for moved in (False, True):
                signer = link.signer
                sent: Buffer | Sequence[Buffer] | None = body
                if trailer is not None and body is not None:
                    head, sent = signer.framed(
                        method, name, (body,), trailer, query=query, headers=headers, unsigned=unsigned
                    )
                else:
                    payload = EMPTY_PAYLOAD if body is None else signer.payload(body)
                    head = signer.head(
                        method, name, query=query, headers=headers, unsigned=unsigned, length=length, payload=payload
                    )
                answer = link.client.send(head, sent, replay=replay)
                if answer.status not in _ELSEWHERE:
                    return answer
                region = answer.header("x-amz-bucket-region")
                if moved or region is None or region == link.place.region:
                    return answer
                answer.close()
                link = self._move(link, region)
            raise AssertionError("the second answer was returned")
        except StoreError as error:
            self.told(error, key, operation)
            raise

    def expect(
        self, answer: Answer, key: str, operation: str, *statuses: int, condition: Condition | None = None
    ) -> None:
        """Raise the error that an answer is, unless it has one of the statuses."""
        if answer.status not in statuses:
            raise failure(answer, uri=self.base + key, operation=operation, condition=condition)

    def read(self, answer: Answer, key: str, operation: str, limit: int = 1024 * 1024) -> bytes:
        """The body of an answer."""
        try:
            return answer.read(limit).lstrip()
        except StoreError as error:
            self.told(error, key, operation)
            raise

    def told(self, error: StoreError, key: str, operation: str) -> None:
        """Give an error the URI and the operation that only this end knows."""
        error.uri = error.uri or self.base + key
        error.operation = error.operation or operation

    def close(self) -> None:
        """Close the idle connections."""
        self._link.client.close()

    def _move(self, link: _Link, region: str) -> _Link:
        with self._lock:
            if self._link is link:
                self._link = self._connect(region)
                link.client.close()
            return self._link

    def _connect(self, region: str | None) -> _Link:
        options, session = self._options, self._session
        place = resolve(options, session, region=region)
        signer = Signer(
            place,
            make_keys(options, session, place, lambda: make_client(options, session, region=region)),
            sign_payloads=signs_payloads(options, place),
            request_payer=options.request_payer,
        )
        return _Link(place, signer, HTTPClient(place.origin, self._settings))
