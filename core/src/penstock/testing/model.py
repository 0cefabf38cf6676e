"""Any history: random calls on a store, compared with a dictionary after each."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable
from typing import Any, ClassVar

import attrs
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from penstock.errors import AlreadyExistsError, ObjectNotFoundError, PreconditionFailedError, StoreError
from penstock.store import ObjectInfo, ObjectStore, ObjectWriter
from penstock.testing.oracle import Fate, Oracle
from penstock.testing.sinks import CheckedSink, Room
from penstock.testing.tools import broken, listed, part_size, raises, read

__all__ = ["DATA", "OPAQUE_KEYS", "PATH_KEYS", "HistoryLaws", "StoreMachine"]

_SEGMENTS = ("a", "ab", "a-", "a b", "A", "b", "é", "50%", "x+y", "q?#", "\uffee", "\U0001f600")
_USUAL_EXAMPLES = settings.get_profile("default").max_examples
_LAW = "the law of histories (a store answers as a dictionary would)"

#: Keys that every store holds, few enough to meet again and again.
PATH_KEYS: st.SearchStrategy[str] = st.lists(st.sampled_from(_SEGMENTS), min_size=1, max_size=3).map("/".join)
#: Keys that only stores without directories hold.
OPAQUE_KEYS: st.SearchStrategy[str] = st.lists(st.sampled_from(("a", "/", "//", "b", " ")), min_size=1, max_size=4).map(
    "".join
)
#: Bytes to store, mostly short.
DATA: st.SearchStrategy[bytes] = st.one_of(
    st.binary(max_size=64), st.builds(lambda unit, count: unit * count, st.binary(min_size=1, max_size=9), st.just(601))
)

_runs = itertools.count()


@attrs.define
class _OpenWriter:
    writer: ObjectWriter
    key: str
    create: bool
    written: bytes = b""


class StoreMachine(RuleBasedStateMachine):
    """One history below a prefix of its own."""

    def __init__(self, store: ObjectStore, keys: st.SearchStrategy[str], data: st.SearchStrategy[bytes]) -> None:
        super().__init__()
        self.store = store
        self.claims = store.capabilities
        self.keys = keys
        self.bytes = data
        self.oracle = Oracle(directories=self.claims.directories)
        self.writers: list[_OpenWriter] = []
        self.base = ""

    @initialize()
    def begin(self) -> None:
        self.base = f"history-{next(_runs)}/"

    @rule(data=st.data())
    def put(self, data: st.DataObject) -> None:
        key, body = self._any_key(data), data.draw(self.bytes, label="body")
        self._write(key, body, lambda: self.store.put(self.base + key, body))

    @rule(data=st.data())
    def create(self, data: st.DataObject) -> None:
        if not self.claims.create:
            return
        key, body = self._any_key(data), data.draw(self.bytes, label="body")
        if key in self.oracle.objects:
            with raises(AlreadyExistsError, key, "put", _LAW):
                self.store.put(self.base + key, body, create=True)
        else:
            self._write(key, body, lambda: self.store.put(self.base + key, body, create=True))

    @precondition(lambda self: bool(self.oracle.objects))
    @rule(data=st.data(), stale=st.booleans())
    def replace(self, data: st.DataObject, stale: bool) -> None:
        if not self.claims.if_match:
            return
        key, body = self._known_key(data), data.draw(self.bytes, label="body")
        etag = self.store.stat(self.base + key).etag
        if stale:
            with raises(PreconditionFailedError, key, "put", _LAW):
                self.store.put(self.base + key, body, if_match=f"{etag}-stale")
        else:
            self._write(key, body, lambda: self.store.put(self.base + key, body, if_match=etag))

    @rule(data=st.data(), create=st.booleans())
    def open_writer(self, data: st.DataObject, create: bool) -> None:
        key, create = self._any_key(data), create and self.claims.create
        fate = self.oracle.fate(key)
        self.oracle.attempt(key)
        try:
            writer = self.store.open_writer(self.base + key, part_size=part_size(self.store), create=create)
        except StoreError as error:
            taken = create and key in self.oracle.objects and isinstance(error, AlreadyExistsError)
            assert taken or fate is not Fate.SUCCEEDS, f"{_LAW}: a writer of a free key opens"
            return
        self.writers.append(_OpenWriter(writer, key, create))

    @precondition(lambda self: self.writers)
    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        opened = data.draw(st.sampled_from(self.writers), label="writer")
        body = data.draw(self.bytes, label="body")
        opened.writer.write(body)
        opened.written += body

    @precondition(lambda self: self.writers)
    @rule(data=st.data(), end=st.sampled_from(("commit", "commit", "abort", "drop")))
    def finish(self, data: st.DataObject, end: str) -> None:
        opened = self.writers.pop(data.draw(st.integers(0, len(self.writers) - 1), label="writer"))
        if end == "commit":
            self._commit(opened)
        elif end == "abort":
            opened.writer.abort()
        else:
            del opened
            gc.collect(0)

    @rule(data=st.data(), room=st.sampled_from(Room))
    def get(self, data: st.DataObject, room: Room) -> None:
        key = self._any_key(data)
        start = data.draw(st.integers(0, 6_000), label="start")
        length = data.draw(st.none() | st.integers(0, 6_000), label="length")
        if key not in self.oracle.objects:
            with raises(ObjectNotFoundError, key, "get", _LAW):
                self.store.get(self.base + key, CheckedSink(), start=start, length=length)
            return
        for begin, count in ((0, None), (start, length)):
            got = read(self.store, self.base + key, start=begin, length=count, sink=CheckedSink(room))
            if got != self.oracle.part(key, begin, count):
                raise broken(_LAW, f"get of {key!r}, start={begin}, length={count} gave other bytes", "see law 2")

    @rule(data=st.data())
    def stat(self, data: st.DataObject) -> None:
        key = self._any_key(data)
        if key in self.oracle.objects:
            info = self.store.stat(self.base + key)
            assert (info.key, info.size) == (self.base + key, len(self.oracle.objects[key])), f"{_LAW}: stat"
        else:
            with raises(ObjectNotFoundError, key, "stat", _LAW):
                self.store.stat(self.base + key)

    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        self._delete([self._any_key(data)])

    @rule(data=st.data(), count=st.integers(0, 5))
    def delete_many(self, data: st.DataObject, count: int) -> None:
        self._delete([self._any_key(data) for _ in range(count)])

    @rule(data=st.data())
    def copy(self, data: st.DataObject) -> None:
        source, target = self._any_key(data), self._any_key(data)
        if not self.claims.copy or source == target:
            return
        if source in self.oracle.objects:
            body = self.oracle.objects[source]
            self._write(target, body, lambda: self.store.copy(self.base + source, self.base + target))
            return
        fate = self.oracle.fate(target)
        self.oracle.attempt(target)
        kind = ObjectNotFoundError if fate is Fate.SUCCEEDS else StoreError
        with raises(kind, None, "copy", _LAW):
            self.store.copy(self.base + source, self.base + target)

    @rule(data=st.data(), delimiter=st.sampled_from(("", "/")), page_size=st.integers(1, 6))
    def list_some(self, data: st.DataObject, delimiter: str, page_size: int) -> None:
        prefix = self._fragment(data, "prefix")
        after = self._fragment(data, "start_after")
        self._list(prefix, delimiter, after, page_size)

    @rule()
    def list_all(self) -> None:
        self._list("", "", "", 1000)

    def teardown(self) -> None:
        """Every writer ends, the last listing is right, and nothing is left for the next history."""
        while self.writers:
            self.writers.pop().writer.abort()
        if self.base:
            self._list("", "", "", 3)
            self._list("", "/", "", 3)
            self._delete(list(self.oracle.objects))
            self._list("", "", "", 1000)

    def _any_key(self, data: st.DataObject) -> str:
        known: bool = data.draw(st.booleans(), label="known")
        if known and self.oracle.objects:
            return self._known_key(data)
        return data.draw(self.keys, label="key")

    def _known_key(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.oracle.objects)), label="key")

    def _fragment(self, data: st.DataObject, label: str) -> str:
        key = self._any_key(data)
        return key[: data.draw(st.integers(0, len(key)), label=f"cut of {label}")]

    def _write(self, key: str, body: bytes, call: Callable[[], ObjectInfo]) -> None:
        fate = self.oracle.fate(key)
        self.oracle.attempt(key)
        try:
            info = call()
        except StoreError as error:
            if fate is Fate.SUCCEEDS:
                raise broken(_LAW, f"a write of {key!r} failed: {error}", "see law 3") from error
            return
        if fate is Fate.FAILS:
            raise broken(_LAW, f"{key!r} was written, though a part of its path is taken", "a and a/b can't both be")
        assert (info.key, info.size) == (self.base + key, len(body)), f"{_LAW}: a write answers with key and size"
        self.oracle.put(key, body)

    def _commit(self, opened: _OpenWriter) -> None:
        if opened.create and opened.key in self.oracle.objects:
            with raises(AlreadyExistsError, opened.key, "commit", _LAW):
                opened.writer.commit()
        else:
            self._write(opened.key, opened.written, opened.writer.commit)
        opened.writer.abort()

    def _delete(self, keys: list[str]) -> None:
        failed = self.store.delete([self.base + key for key in keys])
        directories = [key for key in keys if key in self.oracle.maybe]
        if len(failed) > len(directories):
            raise broken(_LAW, f"delete({keys}) returned {list(failed)}", "an absent key is no failure")
        for key in keys:
            self.oracle.objects.pop(key, None)

    def _list(self, prefix: str, delimiter: str, after: str, page_size: int) -> None:
        got = listed(
            self.store,
            self.base + prefix,
            delimiter=delimiter,
            start_after=self.base + after if after else "",
            page_size=page_size,
        )
        names = [name.removeprefix(self.base) for name in got]
        must, may = self.oracle.listing(prefix, delimiter, after)
        if not must <= set(names) <= must | may:
            what = f"prefix={prefix!r} delimiter={delimiter!r} start_after={after!r} gave {names}, not {sorted(must)}"
            raise broken(_LAW, what, "see law 5")
        if self.claims.ordered:
            assert names == sorted(names, key=str.encode), f"the capability 'ordered': {names}"


class HistoryLaws:
    """A state machine against a dictionary."""

    #: Keys of the histories; None: the kit's own, by what the store's keys may be.
    keys: ClassVar[st.SearchStrategy[str] | None] = None
    #: Bytes of the histories' objects.
    data: ClassVar[st.SearchStrategy[bytes]] = DATA
    #: How many histories are played, and how many calls each has at most. The same ones in every run, unless the
    #: loaded hypothesis profile asks for more examples than hypothesis does by itself: then as many as it says, and as
    #: random as it says.
    histories: ClassVar[int] = 200
    calls: ClassVar[int] = 40

    def history_settings(self) -> settings:
        """How a state machine plays ``histories``; for a test of one's own in the place of ``test_any_history``."""
        loaded = settings()
        deeper = loaded.max_examples > max(self.histories, _USUAL_EXAMPLES)
        return settings(
            max_examples=loaded.max_examples if deeper else self.histories,
            stateful_step_count=self.calls,
            derandomize=loaded.derandomize or not deeper,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        )

    def test_any_history(self, store: ObjectStore) -> None:
        keys = self.keys
        if keys is None:
            keys = PATH_KEYS if store.capabilities.directories else PATH_KEYS | OPAQUE_KEYS
        chosen = keys
        machine: Any = lambda: StoreMachine(store, chosen, self.data)  # noqa: E731
        run_state_machine_as_test(machine, settings=self.history_settings())
