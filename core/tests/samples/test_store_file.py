"""StoreFile: which requests ranges become, and that they are of one version."""

from __future__ import annotations

import random
import threading

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import (
    FormatError,
    LengthMismatchError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StoreConnectionError,
    UsageError,
)
from penstock.memory import MemoryOptions, MemoryStore
from penstock.samples import LocalBuffer, StoreFile
from penstock.samples.spans import cut, merge, together

DATA = random.Random(7).randbytes(5_000)


def gets(store):
    return [call[:2] for call in store.calls if call != "stat"]


class TestRanges:
    def test_neighbours_are_one_request(self, store):
        store.put("a", DATA)
        file = StoreFile(store, "a", store.stat("a"), merge_gap=10)
        asked = [(0, 100), (110, 20), (141, 9), (2_000, 1_000)]
        assert [bytes(view) for view in file.read_many(asked)] == [DATA[a : a + n] for a, n in asked]
        assert sorted(gets(store)) == [(0, 130), (141, 9), (2_000, 1_000)]

    def test_no_request_is_longer_than_a_part(self, store):
        store.put("a", DATA)
        file = StoreFile(store, "a", store.stat("a"), merge_gap=1_000, part_size=600)
        asked = [(0, 500), (500, 200), (1_000, 2_000)]
        assert [bytes(view) for view in file.read_many(asked)] == [DATA[a : a + n] for a, n in asked]
        assert sorted(gets(store)) == [(0, 500), (500, 200), (1_000, 500), (1_500, 500), (2_000, 500), (2_500, 500)]

    @settings(max_examples=60, deadline=None)
    @given(
        ranges=st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 700)), max_size=12),
        gap=st.integers(0, 300),
        part_size=st.integers(1, 900),
        width=st.integers(1, 4),
        known=st.booleans(),
    )
    def test_any_ranges_come_as_asked(self, ranges, gap, part_size, width, known):
        store = MemoryStore(MemoryOptions(name="samples-ranges"))
        store.put("a", DATA)
        file = StoreFile(
            store, "a", store.stat("a") if known else None, merge_gap=gap, part_size=part_size, in_flight=width
        )
        if any(start + length > len(DATA) for start, length in ranges):
            with pytest.raises(FormatError, match="which has 5000"):
                file.read_many(ranges)
            return
        expected = [DATA[start : start + length] for start, length in ranges]
        assert [bytes(view) for view in file.read_many(ranges)] == expected
        assert [bytes(file.read(*one)) for one in ranges] == expected
        assert [bytes(view) for view in LocalBuffer(DATA).read_many(ranges)] == expected

    @settings(max_examples=100, deadline=None)
    @given(
        ranges=st.lists(st.tuples(st.integers(0, 300), st.integers(0, 60)), max_size=12),
        gap=st.integers(0, 40),
        most=st.integers(1, 120),
    )
    def test_spans_hold_the_ranges_and_little_else(self, ranges, gap, most):
        plan = merge(ranges, gap=gap, most=most)
        wanted = {at for start, length in ranges for at in range(start, start + length)}
        for (span, offset), (start, length) in zip(plan.places, ranges, strict=True):
            if length:
                begin, size = plan.spans[span]
                assert begin + offset == start
                assert offset + length <= size
        longest = max((length for _, length in ranges), default=0)
        for start, length in plan.spans:
            inside = [at in wanted for at in range(start, start + length)]
            assert inside[0]
            assert inside[-1]
            assert "0" * (gap + 1) not in "".join("01"[one] for one in inside)
            assert length <= max(most, longest)
        assert list(plan.spans) == sorted(plan.spans)

    @given(length=st.integers(1, 10_000), most=st.integers(1, 3_000))
    def test_parts_follow_each_other_and_are_equal(self, length, most):
        parts = cut(5, length, most)
        assert parts[0][0] == 5
        assert [start + size for start, size in parts] == [start for start, _ in parts[1:]] + [5 + length]
        sizes = [size for _, size in parts]
        assert max(sizes) <= most
        assert max(sizes) - min(sizes) <= 1
        assert len(parts) == -(-length // most)

    @pytest.mark.parametrize("bad", [(-1, 5), (0, -1), (4_999, 2), (10**15, 1), (0, 10**15)])
    @pytest.mark.parametrize("known", [True, False])
    def test_what_lies_outside_is_a_format_error_and_takes_no_memory(self, bad, known, store):
        store.put("a", DATA)
        file = StoreFile(store, "a", store.stat("a") if known else None)
        with pytest.raises(FormatError):
            file.read(*bad)
        with pytest.raises(FormatError):
            file.read_many([(0, 1), bad])
        with pytest.raises(FormatError):
            LocalBuffer(DATA).read(*bad)

    def test_nothing_asks_nothing(self, store):
        store.put("a", DATA)
        file = StoreFile(store, "a", store.stat("a"))
        store.calls.clear()
        assert bytes(file.read(5_000, 0)) == b""
        assert file.read_many([]) == []
        assert [view.nbytes for view in file.read_many([(1, 0), (2, 0)])] == [0, 0]
        assert store.calls == []

    def test_an_empty_file(self, store):
        store.put("a", b"")
        file = StoreFile(store, "a")
        assert file.size == 0
        assert bytes(file.read(0, 0)) == b""
        with pytest.raises(FormatError):
            file.read(0, 1)

    def test_answers_are_the_callers(self, store):
        store.put("a", DATA)
        file = StoreFile(store, "a")
        one = file.read(0, 100)
        file.read(0, 100)[:] = bytes(100)
        assert bytes(one) == DATA[:100]

    def test_read_into_fills_in_parts(self, store):
        store.put("a", DATA)
        file = StoreFile(store, "a", part_size=1_000)
        room = bytearray(2_500)
        file.read_into(100, memoryview(room))
        assert room == DATA[100:2_600]
        assert len(gets(store)) == 3
        with pytest.raises(FormatError):
            file.read_into(2_501, memoryview(room))

    @pytest.mark.parametrize("wrong", [{"merge_gap": -1}, {"part_size": 0}, {"in_flight": 0}])
    def test_sizes_that_make_no_sense(self, wrong, store):
        with pytest.raises(UsageError, match="at least"):
            StoreFile(store, "a", **wrong)


class TestRequests:
    def test_the_first_range_tells_the_size(self, store):
        store.put("a", DATA)
        file = StoreFile(store, "a")
        assert bytes(file.read(10, 20)) == DATA[10:30]
        assert file.size == 5_000
        assert store.calls == [(10, 20, None)]
        file.read(0, 1)
        assert store.calls[1:] == [(0, 1, file.info.etag)]

    def test_the_size_is_asked_for_once(self, store):
        store.put("a", DATA)
        file = StoreFile(store, "a")
        assert file.size == file.size == 5_000
        assert store.calls == ["stat"]

    def test_several_are_under_way_at_once_and_not_more(self, store):
        store.put("a", DATA)
        file = StoreFile(store, "a", store.stat("a"), merge_gap=0, in_flight=3)
        store.gate = threading.Barrier(3)
        asked = [(number * 100, 50) for number in range(12)]
        assert [bytes(view) for view in file.read_many(asked)] == [DATA[a : a + n] for a, n in asked]
        assert store.most_at_once == 3

    def test_the_bound_holds_for_all_threads_together(self, store):
        store.put("a", DATA)
        file = StoreFile(store, "a", store.stat("a"), merge_gap=0, in_flight=2)
        asked = [(number * 100, 50) for number in range(10)]
        together(lambda number: file.read_many(asked) and None, 6, 6)
        assert store.most_at_once <= 2
        assert len(gets(store)) == 60

    def test_threads_end_with_the_call(self, store):
        store.put("a", DATA)
        before = set(threading.enumerate())
        StoreFile(store, "a", merge_gap=0).read_many([(number * 10, 5) for number in range(50)])
        assert set(threading.enumerate()) == before

    def test_the_first_failure_ends_the_call(self, store):
        store.put("a", DATA)
        info = store.stat("a")
        plain = store.get

        def failing(key, sink, /, *, start=0, length=None, if_match=None):
            if start == 300:
                raise StoreConnectionError("lost", uri=key, operation="get")
            return plain(key, sink, start=start, length=length, if_match=if_match)

        store.get = failing
        before = set(threading.enumerate())
        with pytest.raises(StoreConnectionError, match="lost"):
            StoreFile(store, "a", info, merge_gap=0, in_flight=2).read_many([(n * 100, 50) for n in range(50)])
        assert set(threading.enumerate()) == before
        assert len(gets(store)) < 49, "nothing new is begun after a failure"

    def test_together_raises_the_failure_of_the_lowest_number(self):
        gate = threading.Barrier(3)

        def fail(number):
            gate.wait(60)
            raise ValueError(number)

        with pytest.raises(ValueError, match=r"^0$"):
            together(fail, 3, 3)

    def test_without_threads_to_be_had_one_does_it_all(self, store, monkeypatch):
        def refuse(thread):
            raise RuntimeError("can't start new thread")

        store.put("a", DATA)
        monkeypatch.setattr(threading.Thread, "start", refuse)
        file = StoreFile(store, "a", merge_gap=0)
        assert [bytes(view) for view in file.read_many([(0, 5), (100, 5)])] == [DATA[:5], DATA[100:105]]


class TestOneVersion:
    @pytest.mark.parametrize("known", [True, False])
    @pytest.mark.parametrize("size", [5_000, 4_000])
    def test_a_file_that_is_replaced_is_an_error(self, any_store, known, size):
        any_store.put("a", DATA)
        file = StoreFile(any_store, "a", any_store.stat("a") if known else None)
        assert bytes(file.read(0, 10)) == DATA[:10]
        any_store.put("a", bytes(size))
        with pytest.raises(PreconditionFailedError):
            file.read(0, 10)
        with pytest.raises(PreconditionFailedError):
            file.read_many([(0, 10), (3_000, 10)])

    def test_a_listing_without_etag_is_enough(self, store):
        """The first answer's etag holds for the rest, also between two sizes that are equal."""
        store.put("a", DATA)
        (page,) = store.list_pages("a")
        file = StoreFile(store, "a", attrs.evolve(page.objects[0], etag=None, modified_ns=None))
        assert bytes(file.read(0, 10)) == DATA[:10]
        store.put("a", bytes(5_000))
        with pytest.raises(PreconditionFailedError):
            file.read(0, 10)

    def test_a_listing_that_is_older_than_the_file_is_an_error(self, any_store):
        any_store.put("a", DATA)
        info = any_store.stat("a")
        any_store.put("a", bytes(4_999))
        with pytest.raises(PreconditionFailedError):
            StoreFile(any_store, "a", info).read(0, 10)

    def test_replaced_between_two_requests_of_one_call(self, any_store):
        any_store.put("a", DATA)
        file = StoreFile(any_store, "a", any_store.stat("a"), merge_gap=0, in_flight=1)
        plain, turns = any_store.get, []

        def get(key, sink, /, *, start=0, length=None, if_match=None):
            if len(turns) == 2:
                any_store.put("a", bytes(5_000))
            turns.append(start)
            return plain(key, sink, start=start, length=length, if_match=if_match)

        any_store.get = get
        with pytest.raises(PreconditionFailedError):
            file.read_many([(0, 10), (1_000, 10), (2_000, 10), (3_000, 10)])

    def test_a_file_that_is_deleted_is_an_error(self, store):
        store.put("a", DATA)
        file = StoreFile(store, "a")
        file.read(0, 10)
        store.delete(["a"])
        with pytest.raises(ObjectNotFoundError):
            file.read(0, 10)

    def test_a_short_answer_is_an_error(self, store):
        store.put("a", DATA)
        info = store.stat("a")
        plain = store.get

        def short(key, sink, /, *, start=0, length=None, if_match=None):
            return plain(key, sink, start=start, length=length - 1, if_match=if_match)

        store.get = short
        for known in (info, None):
            with pytest.raises(LengthMismatchError, match=r"mem://a/a.*delivered 9 of 10 bytes"):
                StoreFile(store, "a", known, uri="mem://a/a").read(0, 10)
