"""What penstock-tfrecord offers: the format ``tfrecord``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import attrs

from penstock.formats import DataFormat, FormatType
from penstock.hookspecs import hookimpl
from penstock.options import option

__all__ = ["TfrecordOptions", "penstock_format_types"]


@attrs.frozen(kw_only=True)
class TfrecordOptions:
    """Options of ``tfrecord``."""

    example: bool = option(True, help="records are tf.train.Example; false: a record is the bytes of the value data")
    check: bool = option(True, help="compare the checksums of lengths and of data when reading")
    compression: Literal["none", "gzip", "zlib"] = option(
        "none", help="the whole file is compressed, as TensorFlow does"
    )
    level: int = option(6, help="of the compression, from 1 (fast) to 9 (small)")
    sample_size: int = option(100 * 1024, unit="bytes", help="content of each synthetic sample")


def _open(options: TfrecordOptions) -> DataFormat:
    from penstock_tfrecord.codec import TfrecordFormat

    return TfrecordFormat(options)


@hookimpl
def penstock_format_types() -> Sequence[FormatType]:
    """The format."""
    return (
        FormatType(
            name="tfrecord",
            summary="TFRecord files of tf.train.Example or of raw records",
            extensions=(".tfrecord", ".tfrecords"),
            options=TfrecordOptions,
            open=_open,
            splittable=True,
            index_forms={"dali": ".idx", "binary": ".index"},
        ),
    )
