"""What penstock-parquet offers: the format ``parquet``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import attrs

from penstock.formats import DataFormat, FormatType
from penstock.hookspecs import hookimpl
from penstock.options import option

__all__ = ["ParquetOptions", "penstock_format_types"]


@attrs.frozen(kw_only=True)
class ParquetOptions:
    """Options of ``parquet``."""

    columns: str = option("", help="read only these columns, separated by commas; none: all of the file")
    row_group_size: int = option(8 * 1024 * 1024, unit="bytes", help="content of the samples of a row group")
    compression: Literal["none", "snappy", "gzip", "zstd", "lz4", "brotli"] = option("none", help="of each page")
    arrays: Literal["lists", "bytes"] = option(
        "lists",
        help="lists: arrays of numbers of 32 and 64 bits are lists of fixed size, which others read as such; "
        "bytes: all arrays are bytes of fixed size, which are read and written faster",
    )
    check: bool = option(True, help="compare the checksums of pages, where there are any, when reading")
    checksums: bool = option(False, help="write a checksum for each page; a file's length depends on them a little")
    cache_size: int = option(64 * 1024 * 1024, unit="bytes", help="of decoded row groups, kept for each open file")
    sample_size: int = option(100 * 1024, unit="bytes", help="content of each synthetic sample")


def _open(options: ParquetOptions) -> DataFormat:
    from penstock_parquet.codec import ParquetFormat

    return ParquetFormat(options)


@hookimpl
def penstock_format_types() -> Sequence[FormatType]:
    """The format."""
    return (
        FormatType(
            name="parquet",
            summary="Parquet files whose rows are samples",
            extensions=(".parquet",),
            options=ParquetOptions,
            open=_open,
            splittable=True,
        ),
    )
