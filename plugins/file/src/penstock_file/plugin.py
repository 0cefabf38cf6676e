"""What penstock-file offers: the scheme ``file``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import attrs

from penstock.hookspecs import hookimpl
from penstock.options import option
from penstock.posix import CAPABILITIES, descend, parse
from penstock.store import ObjectStore, StoreType

__all__ = ["FileOptions", "penstock_store_types"]


@attrs.frozen(kw_only=True)
class FileOptions:
    """Options of ``file://``."""

    root: str = option("/", help="directory that keys are relative to; made by the first put", query=False)
    fsync: bool = option(False, help="a put returns when the file and its name would survive a loss of power")
    page_cache: Literal["auto", "sequential", "random", "dontneed", "normal"] = option(
        "auto",
        help="what the kernel is told of reads: auto (sequential from 64 MiB, random for a part of an object), "
        "sequential, random, dontneed (pages leave the cache after each get and put), normal (nothing)",
    )


def _open(options: FileOptions, threads: int) -> ObjectStore:
    from penstock_file.store import FileStore

    return FileStore(options)


@hookimpl
def penstock_store_types() -> Sequence[StoreType]:
    """The file backend."""
    return (
        StoreType(
            schemes=("file",),
            summary="local files through the page cache",
            options=FileOptions,
            parse=parse,
            open=_open,
            descend=descend,
            capabilities=CAPABILITIES,
            form="file:///directory/key",
        ),
    )
