"""Listing a worker's share of a set, and not all of it, where the names lie in the order of their numbers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from penstock.store import ObjectStore
from penstock.workload.names import Names, spans_of

__all__ = ["found_between"]

#: So many objects come in a page; a listing of each prefix is worth it from one page for each on.
_PAGE = 1000


def found_between(
    store: ObjectStore, names: Names, begin: int, end: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Which objects of a family are there, of those from ``begin`` up to, not including, ``end``: their indices, in no
    order, and their sizes, by page; also empty pages.

    Lists no more than their part of the names where the store lists in order, and the names' order is that of the
    numbers; else everything below their base.
    """
    if begin >= end:
        return
    spans = spans_of(names, begin, end) if store.capabilities.ordered else None
    if spans is None or len(spans) > 1 + (end - begin) // _PAGE:
        spans = [("", "", "")]
    base = names.base
    for prefix, after, last in spans:
        for page in store.list_pages(base + prefix, start_after=base + after if after else ""):
            found = [(names.index(info.key[len(base) :]), info.size) for info in page.objects]
            kept = [(index, size) for index, size in found if index is not None and begin <= index < end]
            yield (
                np.array([index for index, _ in kept], dtype=np.int64),
                np.array([size for _, size in kept], dtype=np.int64),
            )
            if last and page.objects and page.objects[-1].key >= base + last:
                break
