"""Listing with globs, on the pages of the contract."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from penstock.client.values import CommonPrefix, Count
from penstock.errors import UsageError
from penstock.globs import compile_glob
from penstock.keys import sort_key
from penstock.store import ObjectInfo, ObjectStore, Page

__all__ = ["count", "entries"]


def entries(
    store: ObjectStore,
    prefix: str,
    *,
    recursive: bool = True,
    pattern: str | None = None,
    regex: str | None = None,
    start_after: str = "",
    page_size: int = 1000,
) -> Iterator[ObjectInfo | CommonPrefix]:
    """What lies below a prefix, streaming; see :meth:`penstock.client.Store.list`."""
    matches = _matcher(pattern, regex)
    start = prefix + compile_glob(pattern).prefix if pattern is not None else prefix
    one_level = pattern is not None and "**" not in pattern and "/" not in pattern[compile_glob(pattern).start :]
    delimiter = "" if recursive and not one_level else "/"
    cut = len(prefix)
    for page in store.list_pages(start, delimiter=delimiter, start_after=start_after, page_size=page_size):
        for entry in _in_order(page, with_prefixes=not recursive):
            if matches is None or matches(entry.key[cut:].removesuffix("/" if _is_prefix(entry) else "")):
                yield entry


def count(found: Iterator[ObjectInfo | CommonPrefix]) -> Count:
    """Add up the objects of a listing."""
    objects = nbytes = 0
    for entry in found:
        if isinstance(entry, ObjectInfo):
            objects += 1
            nbytes += entry.size
    return Count(objects, nbytes)


def _is_prefix(entry: ObjectInfo | CommonPrefix) -> bool:
    return isinstance(entry, CommonPrefix)


def _in_order(page: Page, *, with_prefixes: bool) -> list[ObjectInfo | CommonPrefix]:
    if not (with_prefixes and page.prefixes):
        return list(page.objects)
    both: list[ObjectInfo | CommonPrefix] = [*page.objects, *map(CommonPrefix, page.prefixes)]
    return sorted(both, key=lambda entry: sort_key(entry.key)) if page.objects else both


def _matcher(pattern: str | None, regex: str | None) -> Callable[[str], object] | None:
    if pattern is not None and regex is not None:
        raise UsageError("give a pattern or a regex, not both")
    try:
        if pattern is not None:
            return compile_glob(pattern).matches
        return re.compile(regex, re.DOTALL).fullmatch if regex is not None else None
    except (ValueError, re.error) as error:
        raise UsageError(f"the pattern can't be used: {error}") from None
