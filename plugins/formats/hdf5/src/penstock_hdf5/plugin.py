"""What penstock-hdf5 offers: the format ``hdf5``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import attrs

from penstock.formats import DataFormat, FormatType
from penstock.hookspecs import hookimpl
from penstock.options import option

__all__ = ["Hdf5Options", "penstock_format_types"]


@attrs.frozen(kw_only=True)
class Hdf5Options:
    """Options of ``hdf5``."""

    datasets: str = option("", help="read only these datasets, separated by commas; none: all of the file")
    chunk_rows: int = option(
        0, help="samples in a chunk; 0: no chunks where no compression or checksum needs them, else about 256 KiB"
    )
    compression: Literal["none", "gzip", "lzf"] = option("none", help="of each chunk")
    level: int = option(4, help="of gzip, from 0 (fast) to 9 (small)")
    shuffle: bool = option(False, help="sort the bytes of numbers by their place before they are compressed")
    checksum: bool = option(False, help="a checksum (fletcher32) for each chunk; it is compared when reading")
    block_size: int = option(64 * 1024, unit="bytes", help="what tells where data lies is read in blocks of this size")
    cache_size: int = option(8 * 1024 * 1024, unit="bytes", help="of such blocks, kept for each open file")
    sample_size: int = option(100 * 1024, unit="bytes", help="content of each synthetic sample")


def _open(options: Hdf5Options) -> DataFormat:
    from penstock_hdf5.codec import Hdf5Format

    return Hdf5Format(options)


@hookimpl
def penstock_format_types() -> Sequence[FormatType]:
    """The format."""
    return (
        FormatType(
            name="hdf5",
            summary="HDF5 files whose datasets have a row for each sample",
            extensions=(".h5", ".hdf5"),
            options=Hdf5Options,
            open=_open,
            splittable=True,
        ),
    )
