"""Writing in parts: the writer, its abort and its loss."""

from __future__ import annotations

import gc

import pytest

from penstock.errors import AlreadyExistsError, ObjectNotFoundError
from penstock.store import ObjectStore
from penstock.testing.sinks import CheckedSink
from penstock.testing.tools import (
    broken,
    check_error,
    listed,
    noise,
    pages,
    part_size,
    raises,
    read,
    refused,
    same_object,
    write,
)
from penstock.writers import GuardedWriter

__all__ = ["StreamingLaws"]

_CREATE = "open_writer(create=True)"
_METADATA = "open_writer(metadata=…)"
_HIDDEN = "law 4 (a writer shows nothing until commit returns)"

#: How the bytes of an object are cut into writes: multiples of the part, and bytes.
_CUTS: dict[str, tuple[tuple[int, int], ...]] = {
    "nothing": (),
    "empty-write": ((0, 0),),
    "one-byte": ((0, 1),),
    "less-than-a-part": ((1, -1),),
    "one-part": ((1, 0),),
    "one-part-in-two": ((1, -1), (0, 1)),
    "a-part-and-a-byte": ((1, 1),),
    "two-parts": ((1, 0), (1, 0)),
    "two-parts-at-once": ((2, 0),),
    "uneven": ((0, 10), (1, 7), (0, 0), (0, 1), (1, -3), (0, 100)),
    "three-parts-and-a-tail-at-once": ((3, 11),),
}


#: An object that a backend may send in one request, and one in parts, whose last is short.
_SHORT_AND_LONG = pytest.mark.parametrize("parts", [0, 2])


class StreamingLaws:
    """Laws of ``open_writer`` and the writer."""

    @pytest.mark.parametrize("cut", _CUTS)
    def test_writer_stores_what_was_written(self, store: ObjectStore, cut: str) -> None:
        part = part_size(store)
        sizes = [multiple * part + rest for multiple, rest in _CUTS[cut]]
        data = noise(sum(sizes), cut)
        chunks, position = [], 0
        for size in sizes:
            chunks.append(data[position : position + size])
            position += size
        info = write(store, "streamed", chunks)
        assert (info.key, info.size) == ("streamed", len(data)), "commit answers with the key and the whole size"
        assert store.stat("streamed").size == len(data), "law 4: the size is the sum of what was written"
        got = read(store, "streamed")
        if got != data:
            raise broken(
                "the law of ObjectWriter",
                f"writes of {sizes} bytes in parts of {part} came back as {len(got)} bytes that differ",
                "keep the order, send the last part at commit, and don't pad it",
            )

    def test_many_small_writes(self, store: ObjectStore) -> None:
        data = noise(10_000)
        write(store, "drops", (data[at : at + 7] for at in range(0, len(data), 7)))
        assert read(store, "drops") == data, "the law of ObjectWriter: many small writes are one object"

    def test_nothing_is_visible_before_commit(self, store: ObjectStore) -> None:
        part = part_size(store)
        writer = store.open_writer("dir/hidden", part_size=part)
        for size in (part + 1, part - 1, 7):
            self._require_hidden(store, "dir/hidden")
            writer.write(noise(size))
        self._require_hidden(store, "dir/hidden")
        writer.commit()
        assert listed(store) == ["dir/hidden"], "law 4: the object is there when commit has returned"

    def test_commit_replaces(self, store: ObjectStore) -> None:
        part = part_size(store)
        store.put("old", b"old")
        writer = store.open_writer("old", part_size=part)
        writer.write(noise(2 * part))
        if read(store, "old") != b"old":
            raise broken(_HIDDEN, "the old object changed before the commit", "write elsewhere, replace at the commit")
        writer.commit()
        assert read(store, "old") == noise(2 * part), "commit replaces the object of that key"

    @pytest.mark.parametrize("parts", [0, 1, 2])
    def test_abort_leaves_nothing(self, store: ObjectStore, parts: int) -> None:
        writer = store.open_writer("dir/aborted", part_size=part_size(store))
        for _ in range(parts):
            writer.write(noise(part_size(store)))
        writer.abort()
        writer.abort()
        self._require_hidden(store, "dir/aborted")
        store.put("dir/aborted", b"later")
        assert read(store, "dir/aborted") == b"later", "after an abort the key is free"

    def test_abort_keeps_the_old_object(self, store: ObjectStore) -> None:
        store.put("old", b"old")
        writer = store.open_writer("old", part_size=part_size(store))
        writer.write(noise(2 * part_size(store)))
        writer.abort()
        assert read(store, "old") == b"old", "law 4: an abort leaves the old object as it was"

    def test_abort_after_commit_is_harmless(self, store: ObjectStore) -> None:
        writer = store.open_writer("kept", part_size=part_size(store))
        writer.write(b"kept")
        writer.commit()
        writer.abort()
        assert listed(store) == ["kept"], "abort on a finished writer is harmless: the object stays"
        assert read(store, "kept") == b"kept", "abort on a finished writer is harmless: the object stays whole"

    @pytest.mark.parametrize("guarded", [False, True], ids=["bare", "guarded"])
    def test_dropping_a_writer_leaves_nothing(self, store: ObjectStore, guarded: bool) -> None:
        store.put("dir/other", b"stays")
        bare = store.open_writer("dir/dropped", part_size=part_size(store))
        writer = GuardedWriter(bare, "dir/dropped") if guarded else bare
        writer.write(noise(2 * part_size(store) + 5))
        del writer, bare
        gc.collect()
        self._require_hidden(store, "dir/dropped", "dir/other")

    def test_an_exception_aborts(self, store: ObjectStore) -> None:
        store.put("dir/old", b"old")
        for key in ("dir/fresh", "dir/old"):
            guard = GuardedWriter(store.open_writer(key, part_size=part_size(store)), key)
            with pytest.raises(KeyboardInterrupt):
                self._interrupt(guard, noise(2 * part_size(store)))
        assert listed(store) == ["dir/old"], "law 4: leaving the block by an exception leaves no object"
        assert read(store, "dir/old") == b"old", "law 4: leaving the block by an exception keeps the old object"

    def test_leaving_the_block_commits(self, store: ObjectStore) -> None:
        with GuardedWriter(store.open_writer("done", part_size=part_size(store)), "done") as writer:
            writer.write(b"all of it")
        assert read(store, "done") == b"all of it", "leaving the block commits"
        assert writer.info is not None, "the guarded writer keeps the answer"
        assert writer.info.size == 9, "the answer carries the size"

    def test_writer_leaves_the_buffer_to_the_caller(self, store: ObjectStore) -> None:
        part = part_size(store)
        buffer, expected = bytearray(part // 2 + 1), b""
        writer = store.open_writer("reused", part_size=part)
        for turn in range(5):
            buffer[:] = noise(len(buffer), turn)
            expected += bytes(buffer)
            writer.write(buffer)
        buffer[:] = bytes(len(buffer))
        writer.commit()
        if read(store, "reused") != expected:
            raise broken(
                "the law of ObjectWriter.write",
                "the object changed with the caller's buffer",
                "copy what is not sent yet before write returns",
            )
        buffer.extend(b"x")

    def test_writers_do_not_disturb_each_other(self, store: ObjectStore) -> None:
        part = part_size(store)
        one = store.open_writer("pair/one", part_size=part)
        two = store.open_writer("pair/two", part_size=part)
        same = store.open_writer("pair/one", part_size=part)
        for turn in range(2):
            one.write(noise(part, ("one", turn)))
            two.write(noise(part - 1, ("two", turn)))
            same.write(noise(part + 1, ("same", turn)))
        one.commit()
        two.abort()
        assert read(store, "pair/one") == b"".join(noise(part, ("one", turn)) for turn in range(2)), "law 4: whole"
        same.commit()
        expected = b"".join(noise(part + 1, ("same", turn)) for turn in range(2))
        assert read(store, "pair/one") == expected, "two writers of one key: the last commit wins, whole"
        assert listed(store) == ["pair/one"], "the aborted one of three writers leaves nothing"

    def test_writer_takes_any_buffer(self, store: ObjectStore) -> None:
        numbers = memoryview(noise(800)).cast("d")
        write(store, "buffers", [bytearray(b"ab"), memoryview(b"cdef")[1:3], numbers])
        assert read(store, "buffers") == b"abde" + noise(800), "a writer takes any contiguous buffer, by its bytes"

    @_SHORT_AND_LONG
    def test_create_stores_under_a_free_key(self, store: ObjectStore, parts: int) -> None:
        size = part_size(store)
        if not store.capabilities.create:
            with refused("dir/new", "open_writer", "create"):
                store.open_writer("dir/new", part_size=size, create=True)
            self._require_hidden(store, "dir/new")
            return
        aborted = store.open_writer("dir/new", part_size=size, create=True)
        aborted.write(noise(parts * size + 5))
        self._require_hidden(store, "dir/new")
        aborted.abort()
        self._require_hidden(store, "dir/new")
        writer = store.open_writer("dir/new", part_size=size, create=True)
        writer.write(noise(parts * size + 5))
        self._require_hidden(store, "dir/new")
        info = writer.commit()
        writer.abort()
        assert (info.key, info.size) == ("dir/new", parts * size + 5), f"{_CREATE}: commit answers with key and size"
        assert read(store, "dir/new") == noise(parts * size + 5), f"{_CREATE} of a free key stores the object"

    @_SHORT_AND_LONG
    def test_create_keeps_what_has_the_key(self, store: ObjectStore, parts: int) -> None:
        if not store.capabilities.create:
            return
        size = part_size(store)
        store.put("dir/taken", b"first")
        doing = "open_writer"
        try:
            writer = store.open_writer("dir/taken", part_size=size, create=True)
            doing = "commit"
            writer.write(noise(parts * size + 5))
            writer.commit()
        except AlreadyExistsError as error:
            check_error(error, "dir/taken", doing)
            if doing == "commit":
                writer.abort()
        else:
            raise broken(
                _CREATE, "a key that was taken was written", "let the storage check at the commit, in one step"
            )
        assert read(store, "dir/taken") == b"first", f"{_CREATE}: the object that was there stays"
        assert listed(store) == ["dir/taken"], f"{_CREATE}: a writer that was refused leaves nothing"
        write(store, "dir/taken", [b"third"])
        assert read(store, "dir/taken") == b"third", "a writer without create replaces"

    @_SHORT_AND_LONG
    @pytest.mark.parametrize("by", ["put", "writer"])
    def test_create_keeps_what_came_after_the_opening(self, store: ObjectStore, by: str, parts: int) -> None:
        if not store.capabilities.create:
            return
        size = part_size(store)
        late = store.open_writer("dir/late", part_size=size, create=True)
        if by == "put":
            store.put("dir/late", b"first")
        else:
            early = store.open_writer("dir/late", part_size=size, create=True)
            early.write(b"first")
            early.commit()
        late.write(noise(parts * size + 5))
        with raises(AlreadyExistsError, "dir/late", "commit", _CREATE):
            late.commit()
        late.abort()
        if read(store, "dir/late") != b"first":
            raise broken(
                _CREATE,
                "an object was replaced that came while the writer was open",
                "send the condition with the commit: what was true at the opening proves nothing",
            )
        assert listed(store) == ["dir/late"], f"{_CREATE}: a writer that was refused leaves nothing"

    @_SHORT_AND_LONG
    def test_metadata_of_a_writer(self, store: ObjectStore, parts: int) -> None:
        size, data = part_size(store), noise(parts * part_size(store) + 5)
        metadata = {"owner": "someone", "note": "two words, = and ; too"}
        if not store.capabilities.metadata:
            with refused("dir/facts", "open_writer", "metadata"):
                store.open_writer("dir/facts", part_size=size, metadata=metadata)
            self._require_hidden(store, "dir/facts")
            return
        store.put("dir/facts", b"old", metadata={"old": "one"})
        writer = store.open_writer("dir/facts", part_size=size, metadata=metadata)
        metadata["owner"] = "somebody else"
        writer.write(data)
        assert dict(store.stat("dir/facts").metadata or {}) == {"old": "one"}, f"{_HIDDEN}, and no metadata either"
        info = writer.commit()
        found = store.stat("dir/facts")
        if dict(found.metadata or {}) != metadata | {"owner": "someone"}:
            raise broken(
                _METADATA, f"stat gives back {found.metadata!r}", "keep a copy of it, and send it with the object"
            )
        same_object(info, found)
        assert read(store, "dir/facts") == data, f"{_METADATA} never changes the bytes"
        write(store, "dir/facts", [data])
        assert not store.stat("dir/facts").metadata, "commit replaces the object, its metadata included"

    @_SHORT_AND_LONG
    def test_content_type_of_a_writer(self, store: ObjectStore, parts: int) -> None:
        data = noise(parts * part_size(store) + 5)
        store.put("typed", b"{}", content_type="application/json")
        kept = store.stat("typed").content_type
        writer = store.open_writer("typed", part_size=part_size(store), content_type="application/json")
        writer.write(data)
        info = writer.commit()
        found = store.stat("typed")
        assert found.content_type == kept, "a writer keeps the content_type, or lets it go, as put does"
        same_object(info, found)
        assert read(store, "typed") == data, "content_type never changes the bytes"

    def _interrupt(self, guard: GuardedWriter, data: bytes) -> None:
        with guard:
            guard.write(data)
            raise KeyboardInterrupt

    def _require_hidden(self, store: ObjectStore, key: str, *others: str) -> None:
        names = listed(store)
        if names != list(others):
            raise broken(
                _HIDDEN,
                f"a listing shows {[name for name in names if name not in others]}",
                "parts and temporary files stay out of listings; abort, also on collection, removes them",
            )
        for page in pages(store, "dir/", delimiter="/"):
            assert [info.key for info in page.objects] == list(others), f"{_HIDDEN}: also in listings with a delimiter"
        with raises(ObjectNotFoundError, key, "stat", _HIDDEN):
            store.stat(key)
        with raises(ObjectNotFoundError, key, "get", _HIDDEN):
            store.get(key, CheckedSink())
