"""Retrying: what is repeated, what never is, and how long it waits. Nothing here sleeps."""

from __future__ import annotations

import itertools
import pickle
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import pytest

from penstock.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StoreConnectionError,
    StoreError,
    StoreTimeoutError,
    ThrottledError,
)
from penstock.layers.retry import Retrying, RetryPolicy
from penstock.memory import MemoryOptions, MemoryStore
from penstock.opening import open_store
from penstock.sinks import Collect
from penstock.store import ObjectStore, ObjectWriter, Page
from penstock.testing import StoreContract
from penstock.writers import GuardedWriter

BASE = "mem://name/"


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0
        self.sleeps: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.now += round(seconds * 1e9)


class Scripted:
    """A store that plays ``script`` before each call: an error is raised, a callable runs, None lets it pass."""

    def __init__(self, *script: StoreError | Callable[[], object] | None) -> None:
        self.inner = MemoryStore(MemoryOptions(name=uuid.uuid4().hex))
        self.capabilities = self.inner.capabilities
        self.script = list(script)
        self.calls: list[tuple[object, ...]] = []
        self.closed = False

    def _play(self, *call: object) -> None:
        self.calls.append(call)
        step = self.script.pop(0) if self.script else None
        if isinstance(step, StoreError):
            raise step
        if step is not None:
            step()

    def get(self, key, sink, /, *, start=0, length=None, if_match=None):
        self._play("get", key, start, length)
        return self.inner.get(key, sink, start=start, length=length, if_match=if_match)

    def put(self, key, data, /, **how):
        self._play("put", key)
        return self.inner.put(key, data, **how)

    def open_writer(self, key, /, *, part_size, **how):
        self._play("open_writer", key)
        return self.inner.open_writer(key, part_size=part_size, **how)

    def stat(self, key, /):
        self._play("stat", key)
        return self.inner.stat(key)

    def list_pages(self, prefix="", /, *, delimiter="", start_after="", page_size=1000) -> Iterator[Page]:
        pages = self.inner.list_pages(prefix, delimiter=delimiter, start_after=start_after, page_size=page_size)
        while True:
            self._play("page", start_after)
            page = next(pages, None)
            if page is None:
                return
            yield page

    def delete(self, keys: Sequence[str], /) -> Sequence[StoreError]:
        self.calls.append(("delete", *keys))
        step = self.script.pop(0) if self.script else None
        if isinstance(step, StoreError):
            raise step
        refused: Sequence[StoreError] = step() if step is not None else ()
        self.inner.delete([key for key in keys if not any(error.uri == BASE + key for error in refused)])
        return refused

    def copy(self, source, target, /, *, metadata=None):
        self._play("copy", source, target)
        return self.inner.copy(source, target, metadata=metadata)

    def close(self) -> None:
        self.closed = True


def retrying(store: Scripted, time: Time | None = None, random: float = 0.5, on_retry=None, **policy) -> Retrying:
    time = time or Time()
    return Retrying(
        store,
        RetryPolicy(**{"attempts": 4, "base_delay": 1.0, "max_delay": 10.0, "deadline": None} | policy),
        on_retry=on_retry,
        sleep=time.sleep,
        random=lambda: random,
        clock=lambda: time.now,
    )


def lost() -> StoreError:
    return StoreConnectionError("reset by peer", uri=f"{BASE}k", operation="put")


CALLS = {
    "get": lambda store: store.get("k", Collect()),
    "put": lambda store: store.put("k", b"new"),
    "open_writer": lambda store: store.open_writer("k", part_size=1024),
    "stat": lambda store: store.stat("k"),
    "list_pages": lambda store: list(store.list_pages()),
    "delete": lambda store: store.delete(["k"]),
    "copy": lambda store: store.copy("k", "l"),
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@every_call
def test_a_call_is_repeated_until_it_succeeds(call):
    store = Scripted(lost(), ThrottledError("slow down"))
    store.inner.put("k", b"old")
    call(retrying(store))
    assert len(store.calls) >= 3
    assert not store.script


@every_call
def test_the_last_error_is_raised_when_the_attempts_are_used_up(call):
    errors = [lost() for _ in range(4)]
    store, time = Scripted(*errors), Time()
    with pytest.raises(StoreConnectionError) as caught:
        call(retrying(store, time))
    assert caught.value is errors[-1]
    assert len(store.calls) == 4
    assert len(time.sleeps) == 3


@every_call
def test_an_error_that_is_not_retryable_is_raised_at_once(call):
    error = AccessDeniedError("no")
    store, time = Scripted(error), Time()
    with pytest.raises(AccessDeniedError) as caught:
        call(retrying(store, time))
    assert caught.value is error
    assert len(store.calls) == 1
    assert time.sleeps == []


@every_call
def test_one_attempt_repeats_nothing(call):
    store = Scripted(lost())
    with pytest.raises(StoreConnectionError):
        call(retrying(store, attempts=1))
    assert len(store.calls) == 1


def test_retryable_decides_and_not_the_class():
    store = Scripted(StoreError("internal error", status=500, retryable=True))
    store.inner.put("k", b"")
    assert retrying(store).stat("k").size == 0
    with pytest.raises(StoreTimeoutError):
        retrying(Scripted(StoreTimeoutError("never again", retryable=False))).stat("k")


def test_errors_that_are_not_a_stores_are_not_caught():
    def bug() -> None:
        raise ZeroDivisionError

    store = Scripted(bug)
    with pytest.raises(ZeroDivisionError):
        retrying(store).stat("k")
    assert len(store.calls) == 1


class TestWaiting:
    def test_back_off_doubles_up_to_the_maximum(self):
        time = Time()
        with pytest.raises(StoreConnectionError):
            retrying(Scripted(*[lost() for _ in range(6)]), time, random=1.0, attempts=6, max_delay=5.0).stat("k")
        assert time.sleeps == [1.0, 2.0, 4.0, 5.0, 5.0]

    def test_jitter_is_full(self):
        for random, first in ((0.0, 0.0), (0.25, 0.25), (0.999, 0.999)):
            time = Time()
            store = Scripted(lost())
            store.inner.put("k", b"")
            retrying(store, time, random=random).stat("k")
            assert time.sleeps == [first]

    def test_many_attempts_do_not_overflow(self):
        assert RetryPolicy(base_delay=1, max_delay=7).ceiling(5000) == 7

    def test_a_hint_is_the_least_wait(self):
        time = Time()
        store = Scripted(ThrottledError("slow", retry_after=3.0), ThrottledError("slow", retry_after=0.1))
        store.inner.put("k", b"")
        retrying(store, time).stat("k")
        assert time.sleeps == [3.0, 1.0]

    def test_a_hint_counts_above_the_maximum_but_not_beyond_the_deadline(self):
        time = Time()
        store = Scripted(ThrottledError("slow", retry_after=30.0))
        store.inner.put("k", b"")
        retrying(store, time, max_delay=2.0).stat("k")
        assert time.sleeps == [30.0]
        time = Time()
        with pytest.raises(ThrottledError):
            retrying(Scripted(ThrottledError("slow", retry_after=30.0)), time, deadline=29.0).stat("k")
        assert time.sleeps == []

    def test_no_repeat_begins_after_the_deadline(self):
        store, time = Scripted(*[lost() for _ in range(9)]), Time()
        with pytest.raises(StoreConnectionError):
            retrying(store, time, random=1.0, attempts=9, deadline=3.5).stat("k")
        assert time.sleeps == [1.0, 2.0]
        assert len(store.calls) == 3

    def test_the_deadline_counts_the_time_that_attempts_take(self):
        time = Time()
        slow = [lambda: time.sleep(4.0)]
        store = Scripted(*slow)
        store.inner.get = lambda *_, **__: (_ for _ in ()).throw(lost())
        with pytest.raises(StoreConnectionError):
            retrying(store, time, deadline=4.2).get("k", Collect())
        assert len(store.calls) == 1

    def test_on_retry_hears_of_each_repeat_before_the_wait(self):
        time, heard = Time(), []
        first, second = lost(), ThrottledError("slow")
        store = Scripted(first, second)
        store.inner.put("k", b"")
        told = retrying(store, time, on_retry=lambda *what: heard.append((*what, len(time.sleeps))))
        told.stat("k")
        assert heard == [(first, 1, 0.5, 0), (second, 2, 1.0, 1)]

    @pytest.mark.parametrize(
        "wrong",
        [{"attempts": 0}, {"base_delay": -1}, {"max_delay": -0.1}, {"deadline": -1}, {"base_delay": float("nan")}],
    )
    def test_a_policy_that_means_nothing_is_refused(self, wrong):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            RetryPolicy(**wrong)


class TestGet:
    """A read is repeated only while its sink is untouched."""

    @pytest.mark.parametrize("how", ["write", "commit"])
    def test_after_a_byte_the_error_is_raised(self, how):
        class Cut(Scripted):
            def get(self, key, sink, /, *, start=0, length=None, if_match=None):
                self._play("get", key)
                if how == "write":
                    sink.write(b"par")
                else:
                    sink.reserve(3)[:3] = b"par"
                    sink.commit(3)
                raise lost()

        store, sink = Cut(), Collect()
        with pytest.raises(StoreConnectionError):
            retrying(store).get("k", sink)
        assert len(store.calls) == 1
        assert bytes(sink.view()) == b"par"

    def test_a_reservation_alone_is_no_byte(self):
        class Reserves(Scripted):
            def get(self, key, sink, /, *, start=0, length=None, if_match=None):
                sink.reserve(4)[:4] = b"junk"
                return super().get(key, sink, start=start, length=length, if_match=if_match)

        store, sink = Reserves(lost()), Collect()
        store.inner.put("k", b"right")
        retrying(store).get("k", sink)
        assert bytes(sink.view()) == b"right"

    def test_a_sink_that_fails_is_not_called_again(self):
        class Refuses(Collect):
            def write(self, data, /) -> None:
                raise StoreConnectionError("the place where the bytes go is down")

        store = Scripted()
        store.inner.put("k", b"right")
        with pytest.raises(StoreConnectionError):
            retrying(store).get("k", Refuses())
        assert len(store.calls) == 1

    def test_the_range_is_kept(self):
        store, sink = Scripted(lost()), Collect()
        store.inner.put("k", b"0123456789")
        retrying(store).get("k", sink, start=2, length=3)
        assert bytes(sink.view()) == b"234"
        assert store.calls == [("get", "k", 2, 3)] * 2


class TestPut:
    """A conditional put whose answer was lost must not blame another writer."""

    def written_but_lost(self, store: Scripted) -> Callable[[], None]:
        def step() -> None:
            store.inner.put("k", b"mine")
            raise StoreTimeoutError("no answer", uri=f"{BASE}k", operation="put")

        return step

    def test_create_after_a_lost_answer_says_that_the_outcome_is_unknown(self):
        store = Scripted()
        store.script = [self.written_but_lost(store)]
        with pytest.raises(StoreTimeoutError, match="may have written") as caught:
            retrying(store).put("k", b"mine", create=True)
        assert isinstance(caught.value.__cause__, AlreadyExistsError)
        assert not caught.value.retryable
        assert "may have written" in str(pickle.loads(pickle.dumps(caught.value)))

    def test_if_match_after_a_lost_answer_says_so_too(self):
        store = Scripted()
        etag = store.inner.put("k", b"old").etag
        store.script = [self.written_but_lost(store)]
        with pytest.raises(StoreTimeoutError, match="may have written") as caught:
            retrying(store).put("k", b"mine", if_match=etag)
        assert isinstance(caught.value.__cause__, PreconditionFailedError)

    def test_a_key_that_was_taken_is_reported_as_taken(self):
        store = Scripted()
        store.inner.put("k", b"theirs")
        with pytest.raises(AlreadyExistsError):
            retrying(store).put("k", b"mine", create=True)
        assert len(store.calls) == 1

    def test_after_throttling_alone_a_conflict_is_another_writers(self):
        store = Scripted(ThrottledError("slow"))
        store.inner.put("k", b"theirs")
        with pytest.raises(AlreadyExistsError):
            retrying(store).put("k", b"mine", create=True)

    def test_throttling_does_not_hide_an_earlier_lost_answer(self):
        store = Scripted()
        store.script = [self.written_but_lost(store), ThrottledError("slow")]
        with pytest.raises(StoreTimeoutError, match="may have written"):
            retrying(store).put("k", b"mine", create=True)

    def test_everything_given_is_given_again(self):
        store = Scripted(lost())
        info = retrying(store).put("k", memoryview(b"x"), metadata={"a": "b"}, content_type="text/plain", create=True)
        assert (info.metadata, info.content_type) == ({"a": "b"}, "text/plain")


class TestListing:
    def filled(self, *script: StoreError | None) -> Scripted:
        store = Scripted(*script)
        for name in ("a/1", "a/2", "b", "c", "d/1", "e"):
            store.inner.put(name, b"")
        return store

    @pytest.mark.parametrize("fails", range(4))
    @pytest.mark.parametrize("delimiter", ["", "/"])
    def test_it_goes_on_after_the_last_entry(self, fails, delimiter):
        whole = self.listed(self.filled().inner, delimiter)
        store = self.filled(*[None] * fails, lost(), lost())
        assert self.listed(retrying(store), delimiter) == whole
        assert store.script == []

    def listed(self, store, delimiter: str) -> list[str]:
        names = []
        for page in store.list_pages(delimiter=delimiter, page_size=2):
            names += sorted([info.key for info in page.objects] + list(page.prefixes))
        return names

    def test_each_page_has_its_own_attempts(self):
        store = self.filled(lost(), None, lost(), None, lost(), None, lost())
        assert len(self.listed(retrying(store, attempts=2), "")) == 6

    def test_a_page_that_keeps_failing_ends_the_listing_after_what_was_yielded(self):
        store = self.filled(None, lost(), lost())
        pages = retrying(store, attempts=2).list_pages(page_size=2)
        assert [info.key for info in next(pages).objects] == ["a/1", "a/2"]
        with pytest.raises(StoreConnectionError):
            next(pages)

    def test_without_order_there_is_no_place_to_go_on_from(self):
        store = self.filled(lost(), None, lost())
        store.capabilities = type(store.capabilities)(ordered=False)
        pages = retrying(store).list_pages(page_size=2)
        next(pages)
        with pytest.raises(StoreConnectionError):
            next(pages)
        assert store.script == []

    def test_the_callers_start_is_kept(self):
        store = self.filled(lost())
        pages = list(retrying(store).list_pages("", start_after="b"))
        assert [info.key for page in pages for info in page.objects] == ["c", "d/1", "e"]
        assert store.calls[:2] == [("page", "b"), ("page", "b")]


class TestDelete:
    def refuse(self, **errors: bool) -> Callable[[], list[StoreError]]:
        return lambda: [StoreError("no", uri=BASE + key, retryable=again) for key, again in errors.items()]

    def test_only_the_keys_that_may_succeed_are_tried_again(self):
        store = Scripted(self.refuse(b=True, c=False), self.refuse(b=True))
        answer = retrying(store).delete(["a", "b", "c"])
        assert [error.uri for error in answer] == [f"{BASE}c"]
        assert store.calls == [("delete", "a", "b", "c"), ("delete", "b"), ("delete", "b")]

    def test_what_still_fails_at_the_end_is_in_the_answer(self):
        store = Scripted(*[self.refuse(b=True)] * 2)
        answer = retrying(store, attempts=2).delete(["a", "b"])
        assert [(error.uri, error.retryable) for error in answer] == [(f"{BASE}b", True)]

    def test_a_key_that_ends_like_another_is_not_taken_for_it(self):
        store = Scripted(lambda: [StoreError("no", uri=f"{BASE}xa", retryable=True)])
        retrying(store).delete(["a", "b", "xa"])
        assert set(store.calls[1]) >= {"xa"}
        assert "b" not in store.calls[1]

    def test_an_error_that_names_nothing_repeats_all(self):
        store = Scripted(lambda: [StoreError("no", retryable=True)])
        assert retrying(store).delete(["a", "b"]) == []
        assert store.calls == [("delete", "a", "b")] * 2

    def test_the_longest_hint_of_a_batch_is_waited_for(self):
        hints = [ThrottledError("slow", uri=f"{BASE}{key}", retry_after=hint) for key, hint in (("a", 2.0), ("b", 9.0))]
        store, time = Scripted(lambda: hints), Time()
        assert retrying(store, time).delete(["a", "b", "c"]) == []
        assert time.sleeps == [9.0]
        assert store.calls == [("delete", "a", "b", "c"), ("delete", "a", "b")]

    def test_a_repeat_that_fails_as_a_whole_keeps_what_is_known_of_each_key(self):
        store = Scripted(self.refuse(b=True, c=False), AccessDeniedError("no"))
        answer = retrying(store).delete(["a", "b", "c"])
        assert [error.uri for error in answer] == [f"{BASE}c", f"{BASE}b"]
        assert store.calls == [("delete", "a", "b", "c"), ("delete", "b")]

    def test_a_failure_of_the_whole_call_repeats_all(self):
        store = Scripted(lost())
        assert not retrying(store).delete(["a", "b"])
        assert store.calls == [("delete", "a", "b")] * 2


class TestWriter:
    def test_a_write_is_repeated_without_its_bytes(self):
        writer = Writer(lost(), ThrottledError("slow"), None, None)
        over(writer).write(b"abc")
        assert writer.calls == [b"abc", b"", b""]
        assert over(writer).commit() is None
        assert b"".join(writer.taken) == b"abc"

    def test_a_commit_is_repeated(self):
        writer = Writer(lost(), lost(), None)
        over(writer).commit()
        assert writer.calls == ["commit"] * 3

    @pytest.mark.parametrize("call", [lambda writer: writer.write(b"abc"), lambda writer: writer.commit()])
    def test_each_call_has_attempts_and_waits_of_its_own(self, call):
        time = Time()
        errors = [lost() for _ in range(3)]
        writer = Writer(*errors[:2], None, *errors)
        guard = over(writer, time, attempts=3)
        call(guard)
        assert time.sleeps == [0.5, 1.0]
        with pytest.raises(StoreConnectionError) as caught:
            call(guard)
        assert caught.value is errors[2]
        assert time.sleeps == [0.5, 1.0, 0.5, 1.0]
        assert len(writer.calls) == 6

    @pytest.mark.parametrize("call", [lambda writer: writer.write(b"abc"), lambda writer: writer.commit()])
    def test_no_repeat_begins_after_the_deadline(self, call):
        time = Time()
        writer = Writer(*[lost() for _ in range(9)])
        with pytest.raises(StoreConnectionError):
            call(over(writer, time, random=1.0, attempts=9, deadline=3.5))
        assert time.sleeps == [1.0, 2.0]

    @pytest.mark.parametrize("call", [lambda writer: writer.write(b"abc"), lambda writer: writer.commit()])
    def test_what_is_not_retryable_is_raised_at_once(self, call):
        error = AccessDeniedError("no")
        writer, time = Writer(error), Time()
        with pytest.raises(AccessDeniedError) as caught:
            call(over(writer, time))
        assert caught.value is error
        assert (len(writer.calls), time.sleeps) == (1, [])

    def test_a_hint_is_the_least_wait(self):
        time = Time()
        over(Writer(ThrottledError("slow", retry_after=7.0), None), time).write(b"")
        assert time.sleeps == [7.0]

    @pytest.mark.parametrize("conflict", [AlreadyExistsError, PreconditionFailedError, ObjectNotFoundError])
    def test_a_commit_that_may_have_met_itself_says_so(self, conflict):
        writer = Writer(StoreTimeoutError("no answer"), ThrottledError("slow"), conflict("there"))
        with pytest.raises(StoreTimeoutError, match="may have written") as caught:
            over(writer).commit()
        assert type(caught.value.__cause__) is conflict
        assert not caught.value.retryable

    def test_a_commit_that_met_another_object_says_that(self):
        for script in ((AlreadyExistsError("taken"),), (ThrottledError("slow"), AlreadyExistsError("taken"))):
            with pytest.raises(AlreadyExistsError):
                over(Writer(*script)).commit()

    def test_a_guarded_writer_aborts_when_the_attempts_are_used_up(self):
        writer = Writer(lost(), None, lost(), lost())
        guard = GuardedWriter(over(writer, attempts=2), "k")
        guard.write(b"abc")
        assert "abort" not in writer.calls
        with pytest.raises(StoreConnectionError):
            guard.commit()
        assert writer.calls[-1] == "abort"

    def test_opening_with_create_is_repeated_and_a_taken_key_stays_the_error(self):
        store = Scripted(lost(), lost())
        writer = retrying(store).open_writer("k", part_size=1024, create=True)
        assert store.calls == [("open_writer", "k")] * 3
        store.inner.put("k", b"first")
        writer.write(b"second")
        with pytest.raises(AlreadyExistsError):
            writer.commit()
        assert store.calls == [("open_writer", "k")] * 3


class Writer:
    """Takes all bytes, then plays ``script``: an error is raised, None lets the call succeed."""

    def __init__(self, *script: StoreError | None) -> None:
        self.script = list(script)
        self.taken: list[bytes] = []
        self.calls: list[object] = []

    def write(self, data, /):
        self.calls.append(bytes(data))
        self.taken.append(bytes(data))
        self._play()

    def commit(self):
        self.calls.append("commit")
        self._play()

    def abort(self):
        self.calls.append("abort")

    def _play(self):
        error = self.script.pop(0)
        if error is not None:
            raise error


def over(writer: Writer, time: Time | None = None, **policy):
    """The layer's writer over that one."""
    store = Scripted()
    store.inner.open_writer = lambda key, **how: writer
    return retrying(store, time, **policy).open_writer("k", part_size=1024)


class FlakyWriter:
    """Sends nothing at every other call, and keeps what it was given."""

    def __init__(self, flaky: Flaky, inner: ObjectWriter) -> None:
        self.flaky = flaky
        self.inner = inner
        self.abort = inner.abort

    def write(self, data, /):
        self.inner.write(data)
        self.flaky._refuse()

    def commit(self):
        self.flaky._refuse()
        return self.inner.commit()


class Flaky:
    """Refuses every other call, and every other page, before anything has happened."""

    def __init__(self, store: ObjectStore) -> None:
        self.inner = store
        self.capabilities = store.capabilities
        self.calls = itertools.count()

    def _refuse(self) -> None:
        if next(self.calls) % 2 == 0:
            raise ThrottledError("slow down")

    def get(self, key, sink, /, *, start=0, length=None, if_match=None):
        self._refuse()
        return self.inner.get(key, sink, start=start, length=length, if_match=if_match)

    def put(self, key, data, /, *, create=False, if_match=None, metadata=None, content_type=None):
        self._refuse()
        how = {"create": create, "if_match": if_match, "metadata": metadata, "content_type": content_type}
        return self.inner.put(key, data, **how)

    def open_writer(self, key, /, *, part_size, create=False, metadata=None, content_type=None):
        self._refuse()
        how = {"create": create, "metadata": metadata, "content_type": content_type}
        return FlakyWriter(self, self.inner.open_writer(key, part_size=part_size, **how))

    def stat(self, key, /):
        self._refuse()
        return self.inner.stat(key)

    def list_pages(self, prefix="", /, *, delimiter="", start_after="", page_size=1000):
        for page in self.inner.list_pages(prefix, delimiter=delimiter, start_after=start_after, page_size=page_size):
            self._refuse()
            yield page

    def delete(self, keys, /):
        self._refuse()
        return self.inner.delete(keys)

    def copy(self, source, target, /, *, metadata=None):
        self._refuse()
        return self.inner.copy(source, target, metadata=metadata)

    def close(self) -> None:
        self.inner.close()


class TestOverAFlakyStore(StoreContract):
    """With retries, a store that refuses every other call keeps the whole contract."""

    histories = 40

    @pytest.fixture
    def store(self):
        flaky = Flaky(open_store(f"mem://{uuid.uuid4()}"))
        # Threads share the count, so one of them may be refused many times in a row.
        policy = RetryPolicy(attempts=1000, base_delay=0, deadline=None)
        with closing(Retrying(flaky, policy, sleep=lambda seconds: None)) as store:
            yield store


def test_capabilities_pass_through_and_close_closes():
    store = Scripted()
    layer = retrying(store)
    assert layer.capabilities is store.capabilities
    layer.close()
    assert store.closed


def test_a_missing_object_is_no_reason_to_wait():
    time = Time()
    with pytest.raises(ObjectNotFoundError):
        retrying(Scripted(), time).get("missing", Collect())
    assert time.sleeps == []
