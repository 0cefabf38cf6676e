"""Keys, errors, capabilities and closing."""

from __future__ import annotations

from typing import ClassVar

import pytest

from penstock.errors import InvalidKeyError, ObjectNotFoundError
from penstock.store import Capabilities, ObjectStore
from penstock.testing.sinks import CheckedSink
from penstock.testing.tools import broken, listed, put_all, raises, read, write

__all__ = ["AWKWARD_KEYS", "OPAQUE_KEYS", "NamingLaws"]

#: Keys that every store holds, directories or not.
AWKWARD_KEYS: tuple[str, ...] = (
    "with space/and  two",
    " leading and trailing ",
    "50%25 or %2F not/a%20slash",
    "a+b",
    "frag#ment",
    "que?ry=1&x=2",
    "back\\slash",
    "quo'te\"s",
    "semi;colon:and,comma",
    "<angle>&amp;",
    "~tilde/.hidden/-dash",
    "tab\tand\nnewline",
    "e\u0301 is not \u00e9",
    "\u00e9 is not e\u0301",
    "日本/語",
    "\U0001f600/\U0001f680.bin",
    "Case/File",
    "case/file",
    "trailing.dot.",
    "x" * 255,
    "/".join(["long" * 50] * 4),
)

#: Keys that only stores without directories hold: opaque text that no path could be.
OPAQUE_KEYS: tuple[str, ...] = (
    "double//slash",
    "double/slash",
    "/leading",
    "leading",
    "marker/",
    "marker",
    "marker/inside",
    "x" * 300,
)

_ILLEGAL = ("", "nul\0inside", "lone\ud800surrogate", "x" * 1025, "é" * 513)
_ILLEGAL_PATHS = ("../outside", "a/../../outside", "a/../b", "./a", "a/./b", "a//b", "/a", "..", ".", "x" * 256)
_OPAQUE = "the law of keys (opaque text)"


class NamingLaws:
    """Laws of keys, errors, capabilities and ``close``."""

    #: Keys that must survive a round trip side by side. A service that can't hold one of them overrides this.
    awkward_keys: ClassVar[tuple[str, ...]] = AWKWARD_KEYS
    #: The same for stores without directories.
    opaque_keys: ClassVar[tuple[str, ...]] = OPAQUE_KEYS

    def test_keys_are_opaque(self, store: ObjectStore) -> None:
        keys = self._all_keys(store)
        put_all(store, keys)
        for key in keys:
            assert store.stat(key).key == key, f"{_OPAQUE}: stat of {key!r} answers with another key"
            if read(store, key) != key.encode():
                raise broken(_OPAQUE, f"{key!r} holds another key's bytes", "don't decode, fold or normalise keys")
        got = listed(store)
        if sorted(got) != sorted(keys):
            wrong = sorted(set(got) ^ set(keys))
            raise broken(_OPAQUE, f"the listing differs at {wrong}", "escape keys for the wire and undo just that")

    def test_keys_are_opaque_in_every_method(self, store: ObjectStore) -> None:
        for key in self._all_keys(store):
            write(store, key, [b"streamed"])
            assert listed(store, key) == [key], f"{_OPAQUE}: as a prefix, {key!r}"
            if store.capabilities.copy:
                store.copy(key, "the copy")
                assert read(store, "the copy") == b"streamed", f"{_OPAQUE}: as a source, {key!r}"
                store.copy("the copy", key)
            assert read(store, key, start=2, length=3) == b"rea", f"{_OPAQUE}: in a range read, {key!r}"
            assert list(store.delete([key, "the copy"])) == [], f"{_OPAQUE}: in delete, {key!r}"
            assert listed(store) == [], f"{_OPAQUE}: delete of {key!r} took it"

    def test_missing_awkward_keys_are_named(self, store: ObjectStore) -> None:
        for key in self._all_keys(store):
            with raises(ObjectNotFoundError, key, "get", "the law of errors (they carry the key)"):
                store.get(key, CheckedSink())

    def test_illegal_keys_are_refused(self, store: ObjectStore) -> None:
        illegal = [*_ILLEGAL, *(_ILLEGAL_PATHS if store.capabilities.directories else ())]
        for key in illegal:
            law = "the law of keys (penstock.keys.check_key, check_path_key)"
            with raises(InvalidKeyError, key, "put", law):
                store.put(key, b"x")
            with raises(InvalidKeyError, key, "open_writer", law):
                store.open_writer(key, part_size=max(store.capabilities.min_part, 5_003))
            with pytest.raises((InvalidKeyError, ObjectNotFoundError)):
                store.stat(key)
            with pytest.raises((InvalidKeyError, ObjectNotFoundError)):
                store.get(key, CheckedSink())
        assert listed(store) == [], "a refused key stores nothing"

    def test_capabilities_are_sound_and_constant(self, store: ObjectStore) -> None:
        claimed = store.capabilities
        assert type(claimed) is Capabilities, "capabilities is a penstock.store.Capabilities"
        store.put("something", b"x")
        assert store.capabilities == claimed, "capabilities are constant over a store's life"
        assert claimed.delete_batch >= 1, "delete_batch is at least one key"
        assert claimed.min_part >= 1, "min_part is at least one byte"
        assert claimed.max_part is None or claimed.max_part >= claimed.min_part, "max_part is not below min_part"
        assert claimed.max_put is None or claimed.max_put >= 1, "max_put is at least one byte, or None"

    def test_modified_is_a_time(self, store: ObjectStore) -> None:
        first = store.put("time", b"one")
        then = store.stat("time").modified_ns
        assert then is None or then > 10**18, "modified_ns is in nanoseconds since 1970"
        assert first.modified_ns is None or isinstance(first.modified_ns, int), "modified_ns is a whole number"
        store.put("time", b"two")
        now = store.stat("time").modified_ns
        assert (now is None) == (then is None), "stat always says when an object was modified, or never"

    def test_closing_twice_is_harmless(self, store: ObjectStore) -> None:
        store.put("before", b"x")
        store.close()
        store.close()

    def _all_keys(self, store: ObjectStore) -> tuple[str, ...]:
        return self.awkward_keys if store.capabilities.directories else self.awkward_keys + self.opaque_keys
