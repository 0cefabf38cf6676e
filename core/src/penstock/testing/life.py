"""Life: many threads, other processes, sudden death, and what is left after."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import pickle
import threading

import pytest

from penstock.errors import AlreadyExistsError, PreconditionFailedError, StoreError, UnsupportedOperationError
from penstock.store import ObjectStore
from penstock.testing import children
from penstock.testing.children import Opener
from penstock.testing.tools import THREADS, broken, contend, listed, noise, part_size, read, together, write

__all__ = ["ProcessLaws", "ThreadLaws"]

_ATOMIC = "law 3 (a reader sees the old object or the new one)"
#: How long a closed store's threads may take to end, in seconds.
_GRACE_S = 5.0
_DEATH = "law 3 and law 4 (a process that dies leaves whole objects only)"


def _version(number: int) -> bytes:
    return bytes([number]) * (100_000 + number)


def _require_version(data: bytes) -> None:
    if not data or data != _version(data[0]):
        raise broken(_ATOMIC, f"{len(data)} bytes came that no put has put", "make new bytes visible in one step")


class ThreadLaws:
    """One store, many threads."""

    def test_readers_see_whole_versions(self, store: ObjectStore) -> None:
        store.put("atomic", _version(1))

        def put(turn: int) -> None:
            store.put("atomic", _version(2 + turn % 50))

        def stream(turn: int) -> None:
            data = _version(100 + turn % 50)
            write(store, "atomic", (data[:60_000], data[60_000:]))

        def look(turn: int) -> None:
            _require_version(read(store, "atomic"))

        def look_around(turn: int) -> None:
            size = store.stat("atomic").size
            assert 100_000 < size < 100_256, f"{_ATOMIC}: stat gave the size {size}"
            assert listed(store) == ["atomic"], f"{_ATOMIC}: a listing shows other names, or none"

        contend(put, stream, look, look_around)
        _require_version(read(store, "atomic"))

    @pytest.mark.parametrize("by", ["put", "writer"])
    def test_one_of_many_creators_wins(self, store: ObjectStore, by: str) -> None:
        law = "put(create=True)" if by == "put" else "open_writer(create=True)"
        for turn in range(30):
            key = f"race/{turn}"
            won: list[bytes] = []

            def create(name: bytes, key: str = key, won: list[bytes] = won) -> None:
                with contextlib.suppress(AlreadyExistsError, UnsupportedOperationError):
                    if by == "put":
                        store.put(key, name, create=True)
                    else:
                        write(store, key, [name], create=True)
                    won.append(name)

            together(*(lambda name=bytes([65 + n]): create(name) for n in range(6)))
            winners = 1 if store.capabilities.create else 0
            if len(won) != winners:
                raise broken(law, f"{len(won)} of 6 threads created one key", "never check and then write")
            if won:
                assert read(store, key) == won[0], f"{law}: the object is the winner's"

    def test_one_of_many_replacements_wins(self, store: ObjectStore) -> None:
        for turn in range(30):
            key = f"race/{turn}"
            won: list[bytes] = []
            store.put(key, b"first")
            etag = store.stat(key).etag or "any"

            def replace(name: bytes, key: str = key, etag: str = etag, won: list[bytes] = won) -> None:
                with contextlib.suppress(PreconditionFailedError, UnsupportedOperationError):
                    store.put(key, name, if_match=etag)
                    won.append(name)

            together(*(lambda name=bytes([65 + n]): replace(name) for n in range(6)))
            winners = 1 if store.capabilities.if_match else 0
            if len(won) != winners:
                raise broken(
                    "put(if_match=…)", f"{len(won)} of 6 threads replaced one etag", "never check and then write"
                )
            assert read(store, key) == (won[0] if won else b"first"), "put(if_match=…): the object is the winner's"

    def test_threads_do_not_mix_their_data(self, store: ObjectStore) -> None:
        def work(lane: int) -> None:
            for turn in range(12):
                key, data = f"lane-{lane}/{turn}", noise(3_000 + 977 * lane, (lane, turn))
                if turn % 3:
                    store.put(key, data)
                else:
                    write(store, key, (data[:1_000], data[1_000:]))
                if read(store, key) != data or read(store, key, start=10, length=900) != data[10:910]:
                    raise broken(THREADS, f"{key} came back with other bytes", "share no scratch memory or position")
                assert store.stat(key).size == len(data), f"{THREADS}: stat mixed two objects up"
                assert f"lane-{lane}/{turn}" in listed(store, f"lane-{lane}/"), f"{THREADS}: a listing lost a key"
                if turn % 4 == 3:
                    store.delete([key])

        together(*(lambda lane=lane: work(lane) for lane in range(6)))
        expected = sorted(f"lane-{lane}/{turn}" for lane in range(6) for turn in range(12) if turn % 4 != 3)
        assert sorted(listed(store)) == expected, f"{THREADS}: objects were lost or came back"

    def test_listing_while_threads_write(self, store: ObjectStore) -> None:
        steady = [f"steady/{number:03}" for number in range(100)]
        for key in steady:
            store.put(key, b"")

        def churn(lane: int, turn: int) -> None:
            key = f"steady/{turn // 2 % 100:03}-{lane}"
            if turn % 2:
                store.delete([key])
            else:
                store.put(key, b"x")

        def look(turn: int) -> None:
            delimiter = "/" if turn % 2 else ""
            got = [key for key in listed(store, "steady/", delimiter=delimiter, page_size=9) if len(key) == 10]
            if sorted(got) != steady:
                raise broken("law 5 (list_pages)", "a listing lost keys that stayed", "page by key, not by position")

        contend(functools.partial(churn, 0), functools.partial(churn, 1), look)

    def test_many_dropped_writers_leave_nothing(self, store: ObjectStore) -> None:
        def drop(lane: int) -> None:
            for turn in range(8):
                writer = store.open_writer(f"dropped/{lane}-{turn}", part_size=part_size(store))
                # A few have sent parts; a part is some MiB where the store wants that.
                writer.write(noise(2 * part_size(store) if lane < 2 and turn < 2 else 5, turn))
                if turn % 2:
                    writer.abort()
                del writer

        together(*(lambda lane=lane: drop(lane) for lane in range(4)))
        gc.collect()
        assert listed(store) == [], "law 4: dropping a writer leaves no object, no parts and no temporary file"


class ProcessLaws:
    """One place, several processes, and what a store holds."""

    def test_options_travel(self, store: ObjectStore, opener: Opener) -> None:
        store.put("dir/here", b"put by the parent")
        # The kit pickles only what it has just made itself.
        again = pickle.loads(pickle.dumps(opener))()  # noqa: S301
        try:
            assert again.capabilities == store.capabilities, "law 6: options that travel open the same kind of store"
            assert read(again, "dir/here") == b"put by the parent", "law 6: options that travel open the same place"
        finally:
            again.close()

    def test_another_process(self, store: ObjectStore, opener: Opener) -> None:
        store.put("dir/here", b"put by the parent")
        with children.child(children.visit, opener) as child:
            seen = child.next()
        theirs = [("dir/here", b"put by the parent")] if store.capabilities.shared else []
        if seen != theirs:
            raise broken(
                "the capability 'shared'", f"another process saw {seen}, not {theirs}", "claim it as it is, or fix it"
            )
        ours = ["dir/here", "from/child"] if store.capabilities.shared else ["dir/here"]
        assert sorted(listed(store)) == ours, "the capability 'shared': what another process puts is seen here"

    def test_death_in_a_writer(self, store: ObjectStore, opener: Opener) -> None:
        store.put("dir/beside", b"beside")
        with children.child(children.vanish_in_writer, opener) as child:
            assert child.next() is None, "the child died before it could commit"
        self._require_only(store, "dir/beside")
        store.put("dir/streamed", b"later")
        assert read(store, "dir/streamed") == b"later", f"{_DEATH}: the key is free"

    def test_failure_in_a_put(self, store: ObjectStore, opener: Opener) -> None:
        store.put("dir/put", b"old")
        with children.child(children.vanish_in_put, opener) as child:
            kind, _ = child.hear()
        assert kind in ("failed", "died"), "a put can't succeed whose memory can't be read"
        self._require_only(store, "dir/put")
        if read(store, "dir/put") != b"old":
            raise broken(_DEATH, "half of a put is visible", "write elsewhere, and replace in one step")

    def test_death_while_putting(self, store: ObjectStore, opener: Opener) -> None:
        for rounds in (1, 4):
            with children.child(children.put_forever, opener) as child:
                for _ in range(rounds):
                    assert child.next() is not None, "the child puts until it is killed"
                child.kill()
            names = listed(store)
            assert bool(names) == store.capabilities.shared, "the capability 'shared': what a dead process put stays"
            for name in names:
                data = read(store, name)
                if not data or data != bytes([data[0]]) * (children.BODY + data[0]):
                    raise broken(_DEATH, f"{name} holds {len(data)} bytes that were never put", "put atomically")
                assert name.startswith(("dir/0", "dir/1", "dir/2", "dir/3", "dir/4", "dir/new-")), f"{_DEATH}: {name}"

    def test_closing_gives_everything_back(self, store: ObjectStore, opener: Opener) -> None:
        self._use(opener)
        threads, descriptors = set(threading.enumerate()), self._descriptors()
        for _ in range(3):
            self._use(opener)
        gc.collect()
        for thread in set(threading.enumerate()) - threads:
            thread.join(_GRACE_S)
            assert not thread.is_alive(), f"the law of close: the thread {thread.name} outlives its store"
        left = self._descriptors() - descriptors
        assert left <= 0, f"the law of close: {left} file descriptors outlive their stores"

    def _use(self, opener: Opener) -> None:
        store = opener()
        try:
            together(*(lambda lane=lane: self._touch(store, lane) for lane in range(4)))
        finally:
            store.close()

    def _touch(self, store: ObjectStore, lane: int) -> None:
        key = f"touched/{lane}"
        store.put(key, b"x" * 70_000)
        read(store, key)
        write(store, key, (b"y",))
        store.open_writer(key, part_size=part_size(store)).abort()
        next(iter(store.list_pages("touched/", page_size=1)))
        store.delete([key])
        with pytest.raises(StoreError):
            store.stat(key)

    def _descriptors(self) -> int:
        return len(os.listdir("/proc/self/fd"))

    def _require_only(self, store: ObjectStore, key: str) -> None:
        if listed(store) != [key]:
            raise broken(_DEATH, f"a listing shows {listed(store)}, not {[key]}", "hide what is unfinished")
        for page in store.list_pages("dir/", delimiter="/"):
            assert [info.key for info in page.objects] == [key], f"{_DEATH}: a listing with a delimiter shows more"
            assert list(page.prefixes) == [], f"{_DEATH}: a listing with a delimiter shows more"
