"""What penstock-direct offers: the scheme ``direct``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import attrs

from penstock.buffers import PAGE
from penstock.errors import UsageError
from penstock.hookspecs import hookimpl
from penstock.options import option
from penstock.posix import CAPABILITIES, descend, parse
from penstock.store import ObjectStore, StoreType

__all__ = ["DirectOptions", "penstock_store_types"]


@attrs.frozen(kw_only=True)
class DirectOptions:
    """Options of ``direct://``."""

    root: str = option("/", help="directory that keys are relative to; made by the first put", query=False)
    buffer_size: int = option(
        4 * 1024 * 1024, unit="bytes", help="one buffer for what can't be moved in place; a multiple of 4096"
    )
    buffers: int | None = option(
        None, help="how many buffers are kept for reuse; none: one for each thread. They are made when first needed"
    )
    fallback: Literal["none", "buffered"] = option(
        "none", help="where the file system has no O_DIRECT: none refuses, buffered goes through the page cache"
    )
    fsync: bool = option(False, help="a put returns when the file and its name would survive a loss of power")

    def __attrs_post_init__(self) -> None:
        if self.buffer_size < PAGE or self.buffer_size % PAGE:
            raise UsageError(f"direct: buffer_size is a multiple of {PAGE} bytes, not {self.buffer_size}")
        if self.buffers is not None and self.buffers < 1:
            raise UsageError(f"direct: buffers is at least 1, not {self.buffers}")


def _open(options: DirectOptions, threads: int) -> ObjectStore:
    from penstock_direct.store import DirectStore

    return DirectStore(options, threads)


@hookimpl
def penstock_store_types() -> Sequence[StoreType]:
    """The O_DIRECT backend."""
    kind = StoreType(
        schemes=("direct",),
        summary="local files by O_DIRECT, past the page cache",
        options=DirectOptions,
        parse=parse,
        open=_open,
        descend=descend,
        capabilities=CAPABILITIES,
        form="direct:///directory/key",
    )
    return (kind,)
