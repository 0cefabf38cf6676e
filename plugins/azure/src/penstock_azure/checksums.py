"""Checksums on the wire, where an option asks for them: MD5 and the service's CRC64."""

from __future__ import annotations

import hashlib
import importlib
from base64 import b64encode
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from penstock.errors import ChecksumMismatchError, UsageError
from penstock.http import Answer
from penstock.store import Sink

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Checksum", "Running", "checksum_of"]

#: The longest range whose checksum the service computes, in bytes.
_MAX_RANGE = 4 * 1024 * 1024


class Running(Protocol):
    """A checksum of bytes that come one after the other."""

    def update(self, data: memoryview, /) -> None: ...

    def digest(self) -> bytes: ...


class _MD5:
    def __init__(self) -> None:
        # A checksum of the protocol, not a signature.
        self._hash = hashlib.md5(usedforsecurity=False)

    def update(self, data: memoryview, /) -> None:
        self._hash.update(data)

    def digest(self) -> bytes:
        return self._hash.digest()


class _CRC64:
    def __init__(self) -> None:
        self._compute = _crc64()
        self._value = 0

    def update(self, data: memoryview, /) -> None:
        self._value = self._compute(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(8, "little")


def _crc64() -> Callable[[memoryview, int], int]:
    # The service's CRC64 has the polynomial of NVMe's; this library computes it in place, at memory's speed.
    try:
        module = importlib.import_module("awscrt.checksums")
    except ImportError as error:
        raise UsageError("az: checksum=crc64 needs a package more: pip install 'penstock-azure[crc64]'") from error
    compute: Callable[[memoryview, int], int] = module.crc64nvme
    return compute


class Checksum:
    """One kind of checksum: how it is sent, asked for and verified."""

    def __init__(self, kind: str) -> None:
        self._new: Callable[[], Running] = _MD5 if kind == "md5" else _CRC64
        self._is_md5 = kind == "md5"
        # A package that is missing is told at once.
        self._new()

    def of(self, data: memoryview) -> tuple[str, str]:
        """The value of Content-MD5, or empty, and the ``x-ms-`` line to sign and send, or empty."""
        running = self._new()
        running.update(data.cast("B") if data.nbytes else memoryview(b""))
        text = b64encode(running.digest()).decode()
        return (text, "") if self._is_md5 else ("", f"x-ms-content-crc64:{text}\n")

    def ask_for_range(self, length: int | None) -> str:
        """The line that asks for the checksum of a range, or empty when the service would refuse."""
        if length is None or length > _MAX_RANGE:
            return ""
        return f"x-ms-range-get-content-{'md5' if self._is_md5 else 'crc64'}:true\n"

    def verified(self, answer: Answer, sink: Sink) -> int:
        """Deliver the body, and compare it with the checksum that came with it, if one did.

        Raises ChecksumMismatchError after what was delivered.
        """
        expected = answer.header("content-md5" if self._is_md5 else "x-ms-content-crc64")
        if expected is None:
            return answer.into(sink)
        watched = _Watched(sink, self._new())
        count = answer.into(watched)
        found = b64encode(watched.running.digest()).decode()
        if found != expected:
            raise ChecksumMismatchError(
                f"what came has the checksum {found}, what was stored {expected}", retryable=True
            )
        return count


def checksum_of(kind: str) -> Checksum | None:
    """The checksum of the option's name, None for ``none``. Raises UsageError when a package is missing."""
    return None if kind == "none" else Checksum(kind)


class _Watched:
    """A sink that passes everything on, and looks at it."""

    __slots__ = ("_room", "_sink", "running")

    def __init__(self, sink: Sink, running: Running) -> None:
        self._sink = sink
        self._room = memoryview(b"")
        self.running = running

    def write(self, data: Buffer, /) -> None:
        self.running.update(memoryview(data).cast("B"))
        self._sink.write(data)

    def reserve(self, nbytes: int, /) -> memoryview:
        self._room = self._sink.reserve(nbytes)
        return self._room

    def commit(self, nbytes: int, /) -> None:
        self.running.update(self._room[:nbytes])
        self._sink.commit(nbytes)
