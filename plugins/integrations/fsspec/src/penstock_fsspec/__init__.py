"""Every storage that penstock reads and writes, as a file system of fsspec.

Installing this is enough: ``pandas.read_parquet("penstock+s3://bucket/table.parquet")``. :func:`register` gives the
plain schemes (``s3``, ``gs``, ``az``) to penstock as well, and finds the schemes of plugins that others have written.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock_fsspec.filesystem import PenstockFileSystem
    from penstock_fsspec.schemes import filesystem_class, register

__all__ = ["PenstockFileSystem", "filesystem_class", "register"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'penstock_fsspec' has no attribute {name!r}")
    home = "filesystem" if name == "PenstockFileSystem" else "schemes"
    return getattr(importlib.import_module(f"penstock_fsspec.{home}"), name)
