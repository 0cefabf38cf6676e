"""What penstock-npz offers: the formats ``npy`` and ``npz``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import attrs

from penstock.formats import DataFormat, FormatType
from penstock.hookspecs import hookimpl
from penstock.options import option

__all__ = ["NpyOptions", "NpzOptions", "penstock_format_types"]


@attrs.frozen(kw_only=True)
class NpyOptions:
    """Options of ``npy``."""

    name: str = option("x", help="the name that the array has in a sample")
    dtype: str = option("uint8", help="NumPy type of synthetic arrays")


@attrs.frozen(kw_only=True)
class NpzOptions:
    """Options of ``npz``."""

    arrays: str = option("", help="names of the arrays to read, separated by commas; the others are not fetched")
    compression: Literal["none", "deflate"] = option("none", help="how arrays are written; both are read")
    level: int = option(6, help="of the compression, from 1 (fast) to 9 (small)")
    check: bool = option(True, help="compare the CRC-32 of each array when reading")
    name: str = option("x", help="the name of synthetic arrays")
    dtype: str = option("uint8", help="NumPy type of synthetic arrays")


def _open_npy(options: NpyOptions) -> DataFormat:
    from penstock_npz.codec import NpyFormat

    return NpyFormat(options)


def _open_npz(options: NpzOptions) -> DataFormat:
    from penstock_npz.codec import NpzFormat

    return NpzFormat(options)


@hookimpl
def penstock_format_types() -> Sequence[FormatType]:
    """Both formats."""
    return (
        FormatType(
            name="npy",
            summary="NumPy's files of one array",
            extensions=(".npy",),
            options=NpyOptions,
            open=_open_npy,
        ),
        FormatType(
            name="npz",
            summary="NumPy's archives of named arrays, stored or deflated",
            extensions=(".npz",),
            options=NpzOptions,
            open=_open_npz,
        ),
    )
