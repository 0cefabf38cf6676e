"""The checksums that a store sends with what it writes, as its options ask for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from penstock_s3.checksums import Algorithm, checksum, full_object, header_name, kind
from penstock_s3.plugin import S3Options

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Sums"]

Headers = Sequence[tuple[bytes, bytes]]


class Sums:
    """Says which headers and which trailer carry a checksum; nothing at all where none is ``wanted``."""

    def __init__(self, algorithm: Algorithm | None, *, behind: bool = False) -> None:
        """``behind``: after the body, as a trailer."""
        self._algorithm = algorithm
        self._behind = behind
        self.wanted = algorithm is not None

    @classmethod
    def of(cls, options: S3Options) -> Sums:
        """As a store's options say."""
        algorithm = None if options.checksum == "none" else options.checksum
        return cls(algorithm, behind=options.checksum_location == "trailer")

    def announce(self, data: Buffer, headers: Headers) -> tuple[Headers, tuple[bytes, bytes] | None]:
        """``headers`` and the checksum of ``data``: among them, or as the trailer."""
        if self._algorithm is None:
            return headers, None
        pair = (header_name(self._algorithm), checksum(self._algorithm, data).encode())
        return (headers, pair) if self._behind and memoryview(data).nbytes else ((*headers, pair), None)

    def begin(self) -> Headers:
        """What an upload announces of its parts' checksums."""
        if self._algorithm is None:
            return ()
        return (
            (b"x-amz-checksum-algorithm", self._algorithm.upper().encode()),
            (b"x-amz-checksum-type", kind(self._algorithm).encode()),
        )

    def finish(self, parts: Sequence[tuple[str | None, int]]) -> tuple[Headers, str]:
        """The checksum of the whole from those of the parts, and the element that holds a part's.

        The service compares it before it makes the object. A composite one is computed by the service alone.
        """
        if self._algorithm is None:
            return (), ""
        element = f"Checksum{self._algorithm.upper()}"
        if kind(self._algorithm) == "COMPOSITE":
            return (), element
        whole = full_object(self._algorithm, [(value or "", nbytes) for value, nbytes in parts])
        return (
            (header_name(self._algorithm), whole.encode()),
            (b"x-amz-checksum-type", b"FULL_OBJECT"),
        ), element
