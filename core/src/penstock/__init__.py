"""penstock: moves data between storage and accelerators, and measures how well storage does it.

Every operation is a function by URI and a method of an opened store::

    penstock.put("mem://demo/a", b"data")
    with penstock.connect("mem://demo/") as store:
        bytes(store.get("a"))

``penstock.aio`` has the same names as coroutines, ``penstock.oplog`` records what a program does, and
``penstock.samples`` reads and writes files of samples, whatever their format. Importing this package imports next to
nothing; names are resolved when they are first used.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock import aio, errors, oplog, samples
    from penstock.client import (
        CommonPrefix,
        Count,
        Found,
        Outcome,
        ReadStream,
        Removal,
        Store,
        StoreCache,
        Transfer,
        TreeReport,
        close_stores,
        connect,
    )
    from penstock.client.buckets import (
        UploadOutcome,
        UploadRemoval,
        abort_upload,
        abort_uploads,
        create_bucket,
        delete_bucket,
        list_buckets,
        list_uploads,
    )
    from penstock.client.functions import (
        copy,
        copy_tree,
        count,
        delete,
        delete_many,
        delete_prefix,
        download,
        exists,
        get,
        get_into,
        get_metadata,
        get_range,
        get_range_into,
        list,  # noqa: A004
        make_directory,
        move,
        open_file,
        open_read,
        open_writer,
        put,
        remove_directory,
        set_metadata,
        stat,
        sync,
        upload,
    )
    from penstock.errors import PenstockError
    from penstock.opening import open_store
    from penstock.samples import open_samples, read_samples, write_samples
    from penstock.scheduling import as_batch
    from penstock.service import BucketInfo, UploadInfo
    from penstock.store import Capabilities, ObjectInfo, ObjectStore, ObjectWriter
    from penstock.writers import GuardedWriter

__all__ = [
    "BucketInfo",
    "Capabilities",
    "CommonPrefix",
    "Count",
    "Found",
    "GuardedWriter",
    "ObjectInfo",
    "ObjectStore",
    "ObjectWriter",
    "Outcome",
    "PenstockError",
    "ReadStream",
    "Removal",
    "Store",
    "StoreCache",
    "Transfer",
    "TreeReport",
    "UploadInfo",
    "UploadOutcome",
    "UploadRemoval",
    "abort_upload",
    "abort_uploads",
    "aio",
    "as_batch",
    "close_stores",
    "connect",
    "copy",
    "copy_tree",
    "count",
    "create_bucket",
    "delete",
    "delete_bucket",
    "delete_many",
    "delete_prefix",
    "download",
    "errors",
    "exists",
    "get",
    "get_into",
    "get_metadata",
    "get_range",
    "get_range_into",
    "list",
    "list_buckets",
    "list_uploads",
    "make_directory",
    "move",
    "open_file",
    "open_read",
    "open_samples",
    "open_store",
    "open_writer",
    "oplog",
    "put",
    "read_samples",
    "remove_directory",
    "samples",
    "set_metadata",
    "stat",
    "sync",
    "upload",
    "write_samples",
]

_SUBMODULES = ("aio", "errors", "oplog", "samples")
_HOMES = {
    "penstock.client": (
        "CommonPrefix Count Found Outcome ReadStream Removal Store StoreCache Transfer TreeReport close_stores connect"
    ),
    "penstock.client.buckets": (
        "UploadOutcome UploadRemoval abort_upload abort_uploads create_bucket delete_bucket list_buckets list_uploads"
    ),
    "penstock.errors": "PenstockError",
    "penstock.opening": "open_store",
    "penstock.samples": "open_samples read_samples write_samples",
    "penstock.scheduling": "as_batch",
    "penstock.service": "BucketInfo UploadInfo",
    "penstock.store": "Capabilities ObjectInfo ObjectStore ObjectWriter",
    "penstock.writers": "GuardedWriter",
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"penstock.{name}")
    if name not in __all__:
        raise AttributeError(f"module 'penstock' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF.get(name, "penstock.client.functions")), name)
    globals()[name] = value
    return value


def __dir__() -> Any:
    return sorted({*globals(), *__all__})


def _record_for_the_environment(path: str) -> None:
    from penstock.layers.switch import arrange

    def begin() -> None:
        from penstock.oplog.capturing import begin_part

        begin_part(path)

    arrange(begin)


if os.environ.get("PENSTOCK_OPLOG"):
    _record_for_the_environment(os.path.abspath(os.environ["PENSTOCK_OPLOG"]))
