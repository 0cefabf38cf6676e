"""What penstock-safetensors offers: the format ``safetensors``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import attrs

from penstock.formats import DataFormat, FormatType
from penstock.hookspecs import hookimpl
from penstock.options import option

__all__ = ["SafetensorsOptions", "penstock_format_types"]


@attrs.frozen(kw_only=True)
class SafetensorsOptions:
    """Options of ``safetensors``."""

    samples: Literal["file", "rows"] = option(
        "file", help="file: all tensors are one sample; rows: the first axis of every tensor counts the samples"
    )
    tensors: str = option("", help="read only these tensors, separated by commas; none: all of the file")
    small_floats: Literal["auto", "ml_dtypes", "bits"] = option(
        "auto",
        help="bfloat16 and 8-bit floats: types of the package ml_dtypes, or integers of a field of that name (bits); "
        "auto: bits where ml_dtypes is not installed",
    )
    sample_size: int = option(100 * 1024, unit="bytes", help="content of each synthetic sample, where rows are samples")


def _open(options: SafetensorsOptions) -> DataFormat:
    from penstock_safetensors.codec import SafetensorsFormat

    return SafetensorsFormat(options)


@hookimpl
def penstock_format_types() -> Sequence[FormatType]:
    """The format."""
    return (
        FormatType(
            name="safetensors",
            summary="safetensors files of named tensors",
            extensions=(".safetensors",),
            options=SafetensorsOptions,
            open=_open,
            splittable=True,
        ),
    )
