"""Deleting: one request for a key, one for up to a thousand of them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from hashlib import md5

from penstock.errors import AccessDeniedError, CredentialsError, ObjectNotFoundError, StoreError
from penstock.keys import check_key
from penstock_s3.checksums import checksum
from penstock_s3.errors import failure, named, refused
from penstock_s3.markup import Refusal, can_write, read_failed, write_deletion
from penstock_s3.wire import Wire

__all__ = ["Deleter"]

_BATCH = 1000


class Deleter:
    """Deletes objects of one bucket."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def delete(self, keys: Sequence[str], /) -> Sequence[StoreError]:
        """Delete these keys; one error for each that the service refused."""
        plain = [check_key(key) for key in keys]
        if len(plain) == 1:
            return self._one(plain[0])
        batch = [key for key in plain if can_write(key)]
        failed: list[StoreError] = []
        for start in range(0, len(batch), _BATCH):
            failed += self._many(batch[start : start + _BATCH])
        for key in plain:
            if not can_write(key):
                failed += self._one(key)
        return failed

    def _one(self, key: str) -> list[StoreError]:
        wire = self._wire
        answer = wire.send(b"DELETE", key, "delete")
        if answer.status in (200, 204):
            answer.close()
            return []
        error = failure(answer, uri=wire.base + key, operation="delete")
        if isinstance(error, ObjectNotFoundError) and error.code != "NoSuchBucket":
            return []
        if isinstance(error, AccessDeniedError) and not isinstance(error, CredentialsError):
            return [error]
        raise error

    def _many(self, keys: list[str]) -> list[StoreError]:
        wire = self._wire
        body = write_deletion(keys)
        headers: list[tuple[bytes, bytes]] = []
        line = b"content-type: application/xml\r\n"
        if wire.place.express:
            headers = [(b"x-amz-checksum-crc32", checksum("crc32", body).encode())]
        else:
            # Older services know only this one; it is no protection but against damage on the way.
            digest = md5(body, usedforsecurity=False).digest()
            line += b"content-md5: %b\r\n" % b64encode(digest)
        answer = wire.send(
            b"POST",
            "",
            "delete",
            query=b"delete=",
            headers=headers,
            unsigned=line,
            body=body,
            length=len(body),
        )
        wire.expect(answer, "", "delete", 200)
        text = wire.read(answer, "", "delete", 16 * 1024 * 1024)
        try:
            found = read_failed(text)
        except StoreError as error:
            wire.told(error, "", "delete")
            raise
        if isinstance(found, Refusal):
            raise refused(found, answer, uri=wire.base, operation="delete")
        return [
            named(refusal, uri=wire.base + (refusal.key or ""), operation="delete")
            for refusal in found
            if refusal.code != "NoSuchKey"
        ]
