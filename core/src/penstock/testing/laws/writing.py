"""Writing whole objects: put and its conditions."""

from __future__ import annotations

import array

import pytest

from penstock.errors import AlreadyExistsError, PreconditionFailedError
from penstock.store import ObjectStore
from penstock.testing.tools import broken, listed, noise, raises, read, refused, same_object

__all__ = ["WritingLaws"]

_CREATE = "put(create=True)"
_MATCH = "put(if_match=…)"


class WritingLaws:
    """Laws of ``put``."""

    def test_put_stores_and_answers(self, store: ObjectStore) -> None:
        info = store.put("one", noise(777))
        assert (info.key, info.size) == ("one", 777), "put answers with the key and the size of what it stored"
        assert read(store, "one") == noise(777), "law 3: what was put comes back"

    def test_put_replaces(self, store: ObjectStore) -> None:
        for data in (noise(9_000, 1), noise(20, 2), b"", noise(9_001, 3)):
            store.put("again", data)
            if read(store, "again") != data:
                raise broken("law 3 (put)", "an older version, or a mixture, came back", "replace the object whole")
        assert listed(store) == ["again"], "law 3: replacing an object makes no second one"

    @pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 4095, 4096, 4097, 65_536, 1_000_003, 4_194_304])
    def test_put_of_any_size(self, store: ObjectStore, size: int) -> None:
        data = noise(size, size)
        store.put("size", data)
        assert store.stat("size").size == size, "sizes are exact: no padding, no rounding"
        assert read(store, "size") == data, f"law 3: {size} bytes come back as they were put"

    def test_put_takes_any_buffer(self, store: ObjectStore) -> None:
        text = noise(4_096)
        numbers = array.array("d", [1.5, -2.25, 1e300])
        table = memoryview(text).cast("B", shape=[64, 64])
        for data in (text, bytearray(text), memoryview(text), memoryview(text)[1:4_000], numbers, table, b""):
            expected = memoryview(data).tobytes()
            info = store.put("buffer", data)
            if read(store, "buffer") != expected or info.size != len(expected):
                raise broken(
                    "law 3 (put)",
                    f"a buffer of format {memoryview(data).format!r} came back changed",
                    "use memoryview(data).cast('B'); len() of a buffer counts items, not bytes",
                )

    def test_put_of_a_buffer_with_gaps_is_stored_or_refused(self, store: ObjectStore) -> None:
        data = memoryview(noise(1_000))[::2]
        try:
            store.put("gaps", data)
        except (TypeError, ValueError, BufferError):
            assert listed(store) == [], "law 3: a put that was refused stores nothing"
        else:
            assert read(store, "gaps") == data.tobytes(), "law 3: a buffer with gaps is stored as its bytes, or refused"

    def test_put_leaves_the_buffer_to_the_caller(self, store: ObjectStore) -> None:
        buffer = bytearray(noise(10_000))
        expected = bytes(buffer)
        store.put("mine", buffer)
        buffer[:] = bytes(10_000)
        if read(store, "mine") != expected:
            raise broken("law 3 (put)", "the object changed with the caller's buffer", "copy, or send, before return")
        try:
            buffer.extend(b"x")
        except BufferError as error:
            raise broken(
                "law 3 (put)", "the store still holds the caller's buffer", "release the memoryview before return"
            ) from error

    def test_put_does_not_write_into_the_buffer(self, store: ObjectStore) -> None:
        buffer = bytearray(noise(10_000))
        store.put("mine", buffer)
        assert buffer == noise(10_000), "law 3: put only reads the caller's buffer"

    def test_create(self, store: ObjectStore) -> None:
        if not store.capabilities.create:
            with refused("new", "put", "create"):
                store.put("new", b"x", create=True)
            assert listed(store) == [], "a refused put stores nothing"
            return
        store.put("new", b"first", create=True)
        assert read(store, "new") == b"first", f"{_CREATE} of a free key stores the object"
        with raises(AlreadyExistsError, "new", "put", _CREATE):
            store.put("new", b"second", create=True)
        if read(store, "new") != b"first":
            raise broken(_CREATE, "the object was replaced", "let the storage check and write in one step")
        store.put("new", b"third")
        assert read(store, "new") == b"third", "a put without create replaces"
        store.delete(["new"])
        store.put("new", b"fourth", create=True)
        assert read(store, "new") == b"fourth", f"{_CREATE} of a deleted key stores the object"

    def test_if_match(self, store: ObjectStore) -> None:
        first = store.put("shared", b"first")
        if not store.capabilities.if_match:
            with refused("shared", "put", "if_match"):
                store.put("shared", b"second", if_match=first.etag or "any")
            assert read(store, "shared") == b"first", "a refused put changes nothing"
            return
        etag = store.stat("shared").etag
        assert etag, "a store that claims if_match gives an etag in stat"
        second = store.put("shared", b"second", if_match=etag)
        assert read(store, "shared") == b"second", f"{_MATCH} with the right etag replaces"
        with raises(PreconditionFailedError, "shared", "put", _MATCH):
            store.put("shared", b"third", if_match=etag)
        if read(store, "shared") != b"second":
            raise broken(_MATCH, "an object of another etag was replaced", "let the storage compare and write in one")
        store.put("shared", b"fourth", if_match=second.etag)
        with raises(PreconditionFailedError, "absent", "put", _MATCH):
            store.put("absent", b"x", if_match=etag)
        assert listed(store) == ["shared"], f"{_MATCH} of a missing object fails and stores nothing"

    def test_etag_changes_with_the_bytes(self, store: ObjectStore) -> None:
        etags = [store.put("etag", data).etag for data in (b"aaaa", b"bbbb", b"aaaab")]
        known = [etag for etag in etags if etag is not None]
        assert len(set(known)) == len(known), "the law of ObjectInfo.etag: it changes whenever the bytes do"

    def test_metadata(self, store: ObjectStore) -> None:
        metadata = {"owner": "someone", "note": "two words, = and ; too"}
        if not store.capabilities.metadata:
            with refused("facts", "put", "metadata"):
                store.put("facts", b"x", metadata=metadata)
            assert listed(store) == [], "a refused put stores nothing"
            return
        store.put("facts", b"x", metadata=metadata)
        found = store.stat("facts").metadata
        if dict(found or {}) != metadata:
            raise broken("put(metadata=…)", f"stat gives back {found!r}", "keep the metadata with the object")
        metadata["owner"] = "somebody else"
        assert dict(store.stat("facts").metadata or {})["owner"] == "someone", "the caller's mapping is free on return"
        store.put("facts", b"y")
        assert not store.stat("facts").metadata, "a put replaces the object, its metadata included"

    def test_content_type_is_kept_or_let_go(self, store: ObjectStore) -> None:
        info = store.put("typed", b"{}", content_type="application/json")
        assert read(store, "typed") == b"{}", "content_type never changes the bytes"
        kept = store.stat("typed")
        assert kept.content_type in (None, "application/json"), "a content_type is kept or let go, never changed"
        same_object(info, kept)
