"""The rich face over the nine methods: globs, trees, copies, streams, batches.

:class:`Store` has the operations by key, :mod:`penstock.client.functions` by URI. Nothing here knows a backend's
name: a local path is a URI like any other.
"""

from __future__ import annotations

from penstock.client.store import Store
from penstock.client.stores import Found, StoreCache, close_stores, connect
from penstock.client.streams import ReadStream
from penstock.client.values import CommonPrefix, Count, Outcome, Removal, Transfer, TreeReport

__all__ = [
    "CommonPrefix",
    "Count",
    "Found",
    "Outcome",
    "ReadStream",
    "Removal",
    "Store",
    "StoreCache",
    "Transfer",
    "TreeReport",
    "close_stores",
    "connect",
]
