"""Listing: prefixes, pages, delimiters and order."""

from __future__ import annotations

import pytest

from penstock.errors import UnsupportedOperationError
from penstock.store import ObjectStore
from penstock.testing.tools import broken, listed, pages, put_all, same_object

__all__ = ["ListingLaws"]

_LAW = "law 5 (list_pages yields every key with that string prefix exactly once)"

_TREE = ("a/b", "a/bc/d", "a/c", "ab", "abc/d", "b", "x.y", "xzy", "x[1]", "x1", "x*", "x?/k", "é/ü")

#: A prefix, and what begins with it in the tree above.
_PREFIXES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("", _TREE),
    ("a", ("a/b", "a/bc/d", "a/c", "ab", "abc/d")),
    ("a/", ("a/b", "a/bc/d", "a/c")),
    ("a/b", ("a/b", "a/bc/d")),
    ("a/bc/", ("a/bc/d",)),
    ("ab", ("ab", "abc/d")),
    ("ab/", ()),
    ("abc/d", ("abc/d",)),
    ("abc/d/", ()),
    ("B", ()),
    ("/", ()),
    ("/a", ()),
    ("x.", ("x.y",)),
    ("x[", ("x[1]",)),
    ("x*", ("x*",)),
    ("x?", ("x?/k",)),
    ("*", ()),
    ("é", ("é/ü",)),
    ("é/", ("é/ü",)),
    ("none/such/place", ()),
    ("../", ()),
    ("a/../a", ()),
    ("./a", ()),
    ("a//b", ()),
)

#: A prefix, and the objects and common prefixes in the tree above.
_LEVELS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("", ("a/", "ab", "abc/", "b", "x.y", "xzy", "x[1]", "x1", "x*", "x?/", "é/")),
    ("a", ("a/", "ab", "abc/")),
    ("a/", ("a/b", "a/bc/", "a/c")),
    ("a/b", ("a/b", "a/bc/")),
    ("a/bc", ("a/bc/",)),
    ("a/bc/", ("a/bc/d",)),
    ("x?", ("x?/",)),
    ("none/", ()),
    ("../", ()),
)

#: In the order of their UTF-8. UTF-16 puts the emoji before the half-width form, a sort by path segments puts
#: ``o/b`` before ``o-b/c``, and one without regard to case puts ``oa`` before ``oB``.
_ORDER = ("o!", "o-b/c", "o.b", "o/b", "o/b-", "o/c/d", "o/c0", "o0", "oB", "oa", "oé", "o\uffee", "o\U0001f600")


def _by_bytes(names: tuple[str, ...] | list[str]) -> list[str]:
    return sorted(names, key=str.encode)


class ListingLaws:
    """Laws of ``list_pages``."""

    def test_an_empty_store_has_no_page(self, store: ObjectStore) -> None:
        assert pages(store) == [], "law 5: a listing without entries has no page"
        assert pages(store, "some/", delimiter="/") == [], "law 5: a listing without entries has no page"

    @pytest.mark.parametrize(("prefix", "expected"), _PREFIXES)
    def test_prefix_is_a_string(self, store: ObjectStore, prefix: str, expected: tuple[str, ...]) -> None:
        put_all(store, _TREE)
        got = listed(store, prefix)
        if sorted(got) != sorted(expected):
            raise broken(
                _LAW,
                f"prefix {prefix!r} gave {sorted(got)}, not {sorted(expected)}",
                "compare keys by startswith: no path segments, no globs, no case folding",
            )

    @pytest.mark.parametrize("page_size", [1, 2, 3, 1000])
    @pytest.mark.parametrize(("prefix", "expected"), _LEVELS)
    def test_delimiter(self, store: ObjectStore, prefix: str, expected: tuple[str, ...], page_size: int) -> None:
        put_all(store, _TREE)
        found = pages(store, prefix, delimiter="/", page_size=page_size)
        objects = [info.key for page in found for info in page.objects]
        prefixes = [name for page in found for name in page.prefixes]
        wanted = sorted(name for name in expected if name.endswith("/"))
        if sorted(prefixes) != wanted or sorted(objects) != sorted(set(expected) - set(wanted)):
            raise broken(
                "the law of delimiter",
                f"prefix {prefix!r} in pages of {page_size} gave objects {objects} and common prefixes {prefixes}",
                "roll keys up to the first delimiter after the prefix, and yield each common prefix once",
            )

    def test_another_delimiter_works_or_is_unsupported(self, store: ObjectStore) -> None:
        put_all(store, ("d-1", "d-2", "e"))
        try:
            got = listed(store, delimiter="-")
        except UnsupportedOperationError:
            return
        assert sorted(got) == ["d-", "e"], "a delimiter other than / works as / does, or is Unsupported"

    def test_objects_are_described(self, store: ObjectStore) -> None:
        store.put("dir/described", b"12345")
        for delimiter in ("", "/"):
            (page,) = pages(store, "dir/", delimiter=delimiter)
            (info,) = page.objects
            assert (info.key, info.size) == ("dir/described", 5), "a listing gives whole keys, and sizes"
            same_object(info, store.stat("dir/described"))

    @pytest.mark.parametrize("page_size", [1, 2, 5, 13, 14])
    def test_pages_are_bounded_and_lose_nothing(self, store: ObjectStore, page_size: int) -> None:
        put_all(store, _TREE)
        got = listed(store, page_size=page_size)
        if sorted(got) != sorted(_TREE):
            lost, extra = sorted(set(_TREE) - set(got)), sorted(set(got) - set(_TREE))
            raise broken(_LAW, f"in pages of {page_size}, {lost} are missing and {extra} too many", "follow every page")

    @pytest.mark.parametrize("page_size", [1, 3, 1000])
    def test_start_after_is_exclusive(self, store: ObjectStore, page_size: int) -> None:
        put_all(store, _TREE)
        for after in (*_TREE, "a", "a/", "a/bb", "zzz", "\U0001f600"):
            got = listed(store, start_after=after, page_size=page_size)
            expected = [key for key in _TREE if key.encode() > after.encode()]
            if sorted(got) != sorted(expected):
                raise broken(
                    "the law of start_after",
                    f"after {after!r} came {sorted(got)}, not {sorted(expected)}",
                    "yield what is greater than start_after, compared as UTF-8; start_after itself is not",
                )

    def test_start_after_with_a_prefix(self, store: ObjectStore) -> None:
        put_all(store, _TREE)
        for prefix, after, expected in (
            ("a/", "a/b", ["a/bc/d", "a/c"]),
            ("a/", "a", ["a/b", "a/bc/d", "a/c"]),
            ("a/", "b", []),
            ("a", "a/c", ["ab", "abc/d"]),
        ):
            got = listed(store, prefix, start_after=after)
            assert sorted(got) == expected, f"the law of start_after: prefix {prefix!r} after {after!r} gave {got}"

    def test_start_after_with_a_delimiter(self, store: ObjectStore) -> None:
        put_all(store, _TREE)
        level = _by_bytes(_LEVELS[0][1])
        for after in ("a", "a/", "a/b", "ab", "abc/", "abc/z", "x?/", "zzz"):
            got = listed(store, delimiter="/", start_after=after)
            expected = [name for name in level if name.encode() > after.encode()]
            if _by_bytes(got) != expected:
                raise broken(
                    "the law of start_after",
                    f"with a delimiter, after {after!r} came {got}, not {expected}",
                    "compare start_after with what would be yielded, the key or the common prefix",
                )

    def test_order(self, store: ObjectStore) -> None:
        keys = list(_ORDER)
        put_all(store, reversed(keys))
        got = listed(store, page_size=4)
        if store.capabilities.ordered and got != keys:
            raise broken(
                "the capability 'ordered'", f"the order is {got}, not {keys}", "sort by key.encode(), or don't claim it"
            )
        assert sorted(got) == sorted(keys), f"{_LAW}: {got}"
        for at, after in enumerate(keys):
            later = listed(store, start_after=after, page_size=4)
            assert sorted(later) == sorted(keys[at + 1 :]), f"the law of start_after (it compares as UTF-8): {after!r}"

    def test_order_with_a_delimiter(self, store: ObjectStore) -> None:
        put_all(store, reversed(("o-b/c", "o.b", "o/b", "o/z", "o0", "p")))
        got = listed(store, delimiter="/", page_size=2)
        expected = ["o-b/", "o.b", "o/", "o0", "p"]
        assert sorted(got) == sorted(expected), f"the law of delimiter: {got}"
        if store.capabilities.ordered:
            assert got == expected, f"the capability 'ordered' holds for common prefixes too: {got}"

    def test_more_than_a_thousand_keys(self, store: ObjectStore) -> None:
        keys = [f"many/{number:05}" for number in range(1_100)]
        for key in keys:
            store.put(key, b"")
        found = pages(store)
        got = [info.key for page in found for info in page.objects]
        if sorted(got) != keys:
            raise broken(_LAW, f"of {len(keys)} keys {len(set(got))} came, {len(got)} entries", "follow every page")
        assert len(found) > 1, "1100 keys don't fit into one page of at most 1000"
        late = listed(store, "many/", start_after="many/01000", page_size=50)
        assert sorted(late) == keys[1_001:], "start_after works beyond the first thousand keys"
        assert listed(store, delimiter="/", page_size=7) == ["many/"], "1100 keys roll up into one common prefix"
        failed = store.delete(keys)
        assert list(failed) == [], "delete takes more keys than fit into one request, and returns failures only"
        assert listed(store) == [], "delete takes more keys than fit into one request, and deletes them all"

    def test_listing_is_right_while_the_store_changes(self, store: ObjectStore) -> None:
        keys = [f"steady/{number:03}" for number in range(60)]
        put_all(store, keys)
        seen: list[str] = []
        for turn, page in enumerate(store.list_pages("steady/", page_size=7)):
            seen += [info.key for info in page.objects]
            if turn == 1:
                store.delete(seen[:5])
                put_all(store, ("steady/!before", "steady/~behind"))
        stayed = sorted(key for key in seen if key in keys)
        if stayed != keys:
            raise broken(_LAW, "changes during a listing made it lose or double others", "page by key, not by position")

    def test_two_listings_at_once(self, store: ObjectStore) -> None:
        put_all(store, _TREE)
        pairs = list(zip(store.list_pages(page_size=2), store.list_pages("a", page_size=1), strict=False))
        assert len(pairs) == 5, "each listing has its own position"
        assert {info.key for _, page in pairs for info in page.objects} == set(_PREFIXES[1][1])
