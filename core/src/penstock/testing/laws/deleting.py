"""Deleting and copying."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import pytest

from penstock.errors import ObjectNotFoundError, StoreError
from penstock.store import ObjectStore
from penstock.testing.tools import broken, listed, noise, put_all, raises, read, refused, same_object

__all__ = ["CopyingLaws", "DeletingLaws"]

_EXACT = "the law of delete (exactly these keys, never a neighbour or a directory)"
_METADATA = "the law of copy (metadata)"
_FACTS = {"owner": "someone", "note": "from the source"}
_NEIGHBOURS = ("logs/a/x", "logs/ab", "logs/b", "logs2", "my-logs/a", "other")


class DeletingLaws:
    """Laws of ``delete``."""

    def test_delete_takes_exactly_its_key(self, store: ObjectStore) -> None:
        put_all(store, _NEIGHBOURS)
        assert list(store.delete(["logs/ab"])) == [], "delete returns failures only"
        expected = [key for key in _NEIGHBOURS if key != "logs/ab"]
        if listed(store) != expected and sorted(listed(store)) != expected:
            raise broken(_EXACT, f"{listed(store)} are left, not {expected}", "delete by the exact key")
        with raises(ObjectNotFoundError, "logs/ab", "stat", "the law of delete"):
            store.stat("logs/ab")

    @pytest.mark.parametrize(
        "key", ["logs", "logs/a", "logs/a*", "logs/*", "lo", "my-log", "*", "LOGS2", "logs/absent"]
    )
    def test_delete_of_a_prefix_takes_nothing(self, store: ObjectStore, key: str) -> None:
        put_all(store, _NEIGHBOURS)
        # A directory's name may be reported as a failure; nothing may be taken in either case.
        store.delete([key])
        if sorted(listed(store)) != sorted(_NEIGHBOURS):
            lost = sorted(set(_NEIGHBOURS) - set(listed(store)))
            raise broken(_EXACT, f"delete([{key!r}]) took {lost}", "no prefixes, no globs, no trees")

    def test_deleting_a_missing_key_succeeds(self, store: ObjectStore) -> None:
        put_all(store, ("kept",))
        for keys in (["absent"], ["deep/er/absent"], ["absent", "absent"], ["kept/absent"], []):
            try:
                failed = store.delete(keys)
            except StoreError as error:
                raise broken(
                    "law 5 (deleting a missing key succeeds)", f"delete({keys}) raised {error}", "let it pass"
                ) from error
            assert list(failed) == [], f"law 5: a missing key is no failure, delete({keys}) returned {list(failed)}"
        assert listed(store) == ["kept"], "deleting a missing key takes nothing else"

    def test_delete_many(self, store: ObjectStore) -> None:
        keys = [f"dir{number % 3}/{number}" for number in range(30)]
        put_all(store, keys)
        failed = store.delete([*keys[:10], "absent", keys[0], *keys[20:]])
        assert list(failed) == [], "delete returns one error for each key that failed, and none failed"
        assert sorted(listed(store)) == sorted(keys[10:20]), f"{_EXACT}: {listed(store)}"

    def test_deleting_twice(self, store: ObjectStore) -> None:
        store.put("twice", b"x")
        assert list(store.delete(["twice"])) == [], "the first delete takes the object"
        assert list(store.delete(["twice"])) == [], "the second finds nothing, which is no failure"
        store.put("twice", b"y")
        assert read(store, "twice") == b"y", "a deleted key can be put again"


class CopyingLaws:
    """Laws of ``copy``."""

    def test_copy(self, store: ObjectStore) -> None:
        data = noise(70_001)
        store.put("source", data)
        if not store.capabilities.copy:
            with refused(None, "copy", "copy"):
                store.copy("source", "target")
            assert listed(store) == ["source"], "a refused copy stores nothing"
            return
        info = store.copy("source", "some/target")
        assert (info.key, info.size) == ("some/target", len(data)), "copy answers for the target"
        assert read(store, "some/target") == data, "the law of copy: the target has the source's bytes"
        assert read(store, "source") == data, "the law of copy: the source stays as it was"
        store.put("source", b"changed")
        assert read(store, "some/target") == data, "the law of copy: the target lives on its own"

    def test_copy_replaces(self, store: ObjectStore) -> None:
        store.put("source", b"new")
        store.put("target", noise(5_000))
        if not store.capabilities.copy:
            with refused(None, "copy", "copy"):
                store.copy("source", "target")
            assert read(store, "target") == noise(5_000), "a refused copy changes nothing"
            return
        store.copy("source", "target")
        assert read(store, "target") == b"new", "the law of copy: the target is replaced whole"

    def test_copy_of_a_missing_source_raises(self, store: ObjectStore) -> None:
        store.put("target", b"old")
        if not store.capabilities.copy:
            with refused(None, "copy", "copy"):
                store.copy("absent", "target")
        else:
            with raises(ObjectNotFoundError, "absent", "copy", "the law of copy (a missing source raises)"):
                store.copy("absent", "target")
            with raises(ObjectNotFoundError, "absent", "copy", "the law of copy (a missing source raises)"):
                store.copy("absent", "fresh")
        assert listed(store) == ["target"], "a copy without a source makes no target"
        assert read(store, "target") == b"old", "a copy without a source leaves the target as it was"

    def test_copy_onto_itself_keeps_the_object(self, store: ObjectStore) -> None:
        store.put("self", noise(9_999))
        # Some services refuse it; none may lose the object.
        with contextlib.suppress(StoreError):
            store.copy("self", "self")
        assert read(store, "self") == noise(9_999), "the law of copy: copying an object onto itself keeps it"

    def test_copy_carries_metadata(self, store: ObjectStore) -> None:
        if not (store.capabilities.copy and store.capabilities.metadata):
            store.put("plain", b"x")
            assert not store.stat("plain").metadata, "an object that was put without metadata has none"
            return
        store.put("source", b"x", metadata=_FACTS)
        store.put("target", b"y", metadata={"of": "the old target"})
        store.copy("source", "target")
        self._require(store, "target", _FACTS, "a copy has the source's metadata")

    @pytest.mark.parametrize("target", ["target", "source"])
    @pytest.mark.parametrize("expected", [{"colour": "blue", "note": "two words"}, {}])
    def test_copy_with_metadata_replaces_all_of_it(
        self, store: ObjectStore, target: str, expected: dict[str, str]
    ) -> None:
        claims, data, metadata = store.capabilities, noise(70_001), dict(expected)
        store.put("source", data, metadata=_FACTS if claims.metadata else None)
        store.put("beside", b"beside")
        if not (claims.copy and claims.metadata):
            with refused(None, "copy", "metadata"):
                store.copy("source", target, metadata=metadata)
            assert listed(store) == ["beside", "source"], "a refused copy stores nothing"
            assert read(store, "source") == data, "a refused copy changes nothing"
            return
        info = store.copy("source", target, metadata=metadata)
        metadata["colour"] = "the caller's mapping is free on return"
        assert (info.key, info.size) == (target, len(data)), "copy answers for the target"
        self._require(store, target, expected, "what was given replaces all of the source's")
        same_object(info, store.stat(target))
        if read(store, target) != data or read(store, "source") != data:
            raise broken(_METADATA, "the bytes changed", "replace the metadata, and nothing else")
        if target != "source":
            self._require(store, "source", _FACTS, "the source keeps its own")
        assert sorted(listed(store)) == sorted({"beside", "source", target}), f"{_METADATA} makes nothing else"

    @pytest.mark.parametrize("metadata", [None, {"colour": "blue"}])
    @pytest.mark.parametrize("target", ["target", "source"])
    def test_copy_keeps_the_content_type(
        self, store: ObjectStore, target: str, metadata: dict[str, str] | None
    ) -> None:
        claims = store.capabilities
        store.put("source", b"{}", content_type="application/json")
        kept = store.stat("source").content_type
        if claims.copy and (claims.metadata if metadata else target != "source"):
            store.copy("source", target, metadata=metadata)
            found = store.stat(target).content_type
            if found != kept:
                raise broken(
                    "the law of copy (its type goes with an object)",
                    f"{kept!r} became {found!r} with metadata={metadata}",
                    "name the type again where replacing the metadata would lose it",
                )
        assert store.stat("source").content_type == kept, "the law of copy: the source stays as it was"

    @pytest.mark.parametrize("target", ["absent", "fresh", "taken"])
    def test_metadata_for_a_missing_object_raises(self, store: ObjectStore, target: str) -> None:
        store.put("taken", b"old")
        if not (store.capabilities.copy and store.capabilities.metadata):
            with refused(None, "copy", "metadata"):
                store.copy("absent", target, metadata={"colour": "blue"})
        else:
            with raises(ObjectNotFoundError, "absent", "copy", "the law of copy (a missing source raises)"):
                store.copy("absent", target, metadata={"colour": "blue"})
        assert listed(store) == ["taken"], "a copy without a source makes no target"
        assert read(store, "taken") == b"old", "a copy without a source leaves the target as it was"

    def _require(self, store: ObjectStore, key: str, metadata: Mapping[str, str], what: str) -> None:
        found = store.stat(key).metadata
        if dict(found or {}) != metadata:
            raise broken(
                _METADATA, f"stat of {key} gives {found!r}, not {dict(metadata)}", f"{what}, as it was at the call"
            )
