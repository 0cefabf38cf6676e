"""What a record holds: an Example, or bytes as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from penstock.errors import FormatError
from penstock.formats import Sample
from penstock_tfrecord.example import ExampleDecoder, encode_example

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Content", "Examples", "Raw"]


class Content(Protocol):
    """Samples to records and back. ``expansion`` times its frame is the most memory that a record takes decoded."""

    @property
    def example(self) -> bool: ...

    @property
    def expansion(self) -> int: ...

    def encode(self, sample: Sample, /) -> Sequence[Buffer]: ...

    def decode(self, record: memoryview, /) -> Sample: ...

    def synthetic(self, data: bytearray, /) -> Sample: ...


class Examples:
    """Records are ``tf.train.Example``."""

    example = True
    # An integer of one byte takes eight, beside the record itself.
    expansion = 9

    def __init__(self) -> None:
        self._decoder = ExampleDecoder()

    def encode(self, sample: Sample, /) -> Sequence[Buffer]:
        return encode_example(sample)

    def decode(self, record: memoryview, /) -> Sample:
        return self._decoder.decode(record)

    def synthetic(self, data: bytearray, /) -> Sample:
        return {"data": np.frombuffer(data, np.uint8) if data else np.empty(0, np.uint8)}


class Raw:
    """Records are bytes, the value ``data``."""

    example = False
    # The bytes are taken out of what was read.
    expansion = 2

    def encode(self, sample: Sample, /) -> Sequence[Buffer]:
        value = sample.get("data")
        if len(sample) != 1 or not isinstance(value, bytes | bytearray | memoryview):
            raise FormatError("with example=false a sample is one value, bytes, of the name data")
        view = memoryview(value)
        return [view.cast("B") if view.nbytes else b""]

    def decode(self, record: memoryview, /) -> Sample:
        return {"data": bytes(record)}

    def synthetic(self, data: bytearray, /) -> Sample:
        return {"data": bytes(data)}
