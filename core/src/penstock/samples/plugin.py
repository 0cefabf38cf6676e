"""The format that core brings."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from penstock.formats import DataFormat, FormatType
from penstock.hookspecs import hookimpl

__all__ = ["RawOptions"]


@attrs.frozen(kw_only=True)
class RawOptions:
    """The format raw has no options."""


def _open(options: RawOptions) -> DataFormat:
    from penstock.samples.raw import RawFormat

    return RawFormat()


@hookimpl
def penstock_format_types() -> Sequence[FormatType]:
    return (
        FormatType(
            name="raw",
            summary="the bytes of a file are one sample",
            extensions=(".bin", ".raw", ".dat"),
            options=RawOptions,
            open=_open,
        ),
    )
