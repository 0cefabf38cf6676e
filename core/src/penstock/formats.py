"""The contract of a data format: samples to bytes and back, in memory, knowing no store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import attrs

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["API_VERSION", "DataFormat", "FormatType"]

API_VERSION = 1


class DataFormat(Protocol):
    """Encodes and decodes one file of a format. Stateless: any thread may call anything at any time."""

    def encode(self, samples: Sequence[Mapping[str, Any]], /) -> Buffer:
        """The bytes of a file that holds these samples, the same for the same samples."""

    def decode(self, data: Buffer, /) -> Iterator[Mapping[str, Any]]:
        """The samples in order; they may be views of ``data``. Raises FormatError on damaged bytes."""


@attrs.frozen(slots=True, kw_only=True)
class FormatType:
    """A format as its plugin offers it. ``open`` gets an instance of ``options``."""

    name: str
    summary: str
    #: File name endings with their dot, the usual one first.
    extensions: tuple[str, ...]
    options: type[Any]
    open: Callable[[Any], DataFormat]
    #: Whether part of a file can be decoded without the rest.
    splittable: bool = False
    api: int = API_VERSION
