"""Directories: real where they are claimed, and plain keys where they are not."""

from __future__ import annotations

from penstock.errors import AlreadyExistsError, NotAnObjectError, ObjectNotFoundError, StoreError
from penstock.store import ObjectStore
from penstock.testing.sinks import CheckedSink
from penstock.testing.tools import broken, check_error, listed, put_all, raises, read

__all__ = ["DirectoryLaws"]

_LAW = "the capability 'directories'"


class DirectoryLaws:
    """Laws of keys that end in ``/``."""

    def test_a_key_with_a_slash_at_its_end(self, store: ObjectStore) -> None:
        info = store.put("top/sub/", b"")
        assert (info.key, info.size) == ("top/sub/", 0), "put of a key with a slash at its end answers with that key"
        assert store.stat("top/sub/").size == 0, "stat finds it, of size 0"
        if store.capabilities.directories:
            assert listed(store) == [], f"{_LAW}: a listing without a delimiter yields objects only"
            assert listed(store, delimiter="/") == ["top/"], f"{_LAW}: put made the parents too"
            assert listed(store, "top/", delimiter="/") == ["top/sub/"], f"{_LAW}: an empty directory is a prefix"
        else:
            assert listed(store) == ["top/sub/"], "without directories it is an ordinary object"
            assert listed(store, "top/", delimiter="/") == ["top/sub/"], "and rolls up into the prefix of its name"
            assert listed(store, "top/sub/", delimiter="/") == ["top/sub/"], "and is an object below its own prefix"
            assert read(store, "top/sub/") == b"", "without directories it can be read"
        assert list(store.delete(["top/sub/"])) == [], "delete removes it"
        with raises(ObjectNotFoundError, "top/sub/", "stat", _LAW):
            store.stat("top/sub/")

    def test_markers_hold_bytes_without_directories(self, store: ObjectStore) -> None:
        if store.capabilities.directories:
            store.put("dir/", b"")
            assert store.put("dir/", b"").size == 0, f"{_LAW}: making a directory that exists is fine"
            return
        store.put("dir/", b"bytes")
        put_all(store, ("dir/inside", "dir"))
        assert read(store, "dir/") == b"bytes", "without directories a key ending in / is opaque text as any other"
        assert sorted(listed(store)) == ["dir", "dir/", "dir/inside"], "dir, dir/ and dir/inside are three objects"
        store.delete(["dir/"])
        assert sorted(listed(store)) == ["dir", "dir/inside"], "and each is deleted alone"

    def test_create_of_a_directory(self, store: ObjectStore) -> None:
        if not (store.capabilities.directories and store.capabilities.create):
            store.put("again/", b"")
            store.put("again/", b"")
            assert store.stat("again/").size == 0, "putting a key again is fine without create"
            return
        store.put("fresh/", b"", create=True)
        with raises(AlreadyExistsError, "fresh/", "put", _LAW):
            store.put("fresh/", b"", create=True)

    def test_directories_outlive_their_objects(self, store: ObjectStore) -> None:
        put_all(store, ("deep/er/one", "deep/er/two"))
        store.delete(["deep/er/one", "deep/er/two"])
        assert listed(store) == [], "no object is left"
        expected = ["deep/"] if store.capabilities.directories else []
        if listed(store, delimiter="/") != expected:
            raise broken(
                _LAW,
                f"after the objects were deleted, {listed(store, delimiter='/')} is left, not {expected}",
                "delete takes objects, never directories; without directories nothing is left",
            )

    def test_a_directory_that_is_not_empty_stays(self, store: ObjectStore) -> None:
        put_all(store, ("full/one", "loose"))
        failed = store.delete(["full/", "loose"])
        assert listed(store) == ["full/one"], f"{_LAW}: the object in it stays, the other key is deleted"
        if not store.capabilities.directories:
            assert list(failed) == [], "without directories full/ is a key that is absent"
            return
        if len(failed) != 1:
            raise broken(
                "the law of delete (one error for each key that failed)",
                f"a directory that is not empty could not be deleted, and {len(failed)} errors were returned",
                "return a StoreError for that key, and delete the others all the same",
            )
        assert isinstance(failed[0], StoreError), "delete returns StoreErrors"
        check_error(failed[0], "full/", "delete")
        assert read(store, "full/one") == b"full/one", f"{_LAW}: the object in it stays whole"

    def test_a_directory_is_not_an_object(self, store: ObjectStore) -> None:
        put_all(store, ("dir/inside",))
        kind = NotAnObjectError if store.capabilities.directories else ObjectNotFoundError
        with raises(kind, "dir", "stat", _LAW):
            store.stat("dir")
        with raises(kind, "dir", "get", _LAW):
            store.get("dir", CheckedSink())
        if not store.capabilities.directories:
            store.put("dir", b"beside")
            assert read(store, "dir/inside") == b"dir/inside", "without directories dir and dir/inside are two objects"
            return
        with raises(StoreError, "dir", "put", _LAW):
            store.put("dir", b"in the way")
        with raises(StoreError, "dir/inside/deeper", "put", _LAW):
            store.put("dir/inside/deeper", b"below an object")
        assert listed(store) == ["dir/inside"], f"{_LAW}: a and a/b can't both be objects"
        assert read(store, "dir/inside") == b"dir/inside", f"{_LAW}: a refused put changes nothing"

    def test_an_object_is_not_a_directory(self, store: ObjectStore) -> None:
        put_all(store, ("file",))
        for key in ("file/", "file/below"):
            with raises(ObjectNotFoundError, key, "stat", "law 5 (a missing key's stat raises)"):
                store.stat(key)
        store.delete(["file/"])
        assert listed(store) == ["file"], "delete of file/ does not take the object file"
        assert listed(store, "file/") == [], "file is not below the prefix file/"
        assert listed(store, "file/", delimiter="/") == [], "file is not below the prefix file/"
