"""Rows of operations: what goes in comes out, and buffers that go round lose nothing unsaid."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.records import WARMUP, BufferPool, Op, RecordBuffer, Recorder, record_dtype

natural = st.integers(0, 2**62)


def recorder(pool: BufferPool, thread: int = 0) -> Recorder:
    return Recorder(thread, pool.handover)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(Op),
            st.text(),
            natural,
            natural,
            natural,
            natural,
            st.integers(0, 2**32 - 1),
            st.text(max_size=5),
            st.integers(0, 2**16 - 1),
            natural,
            st.sampled_from([0, WARMUP]),
        ),
        max_size=20,
    )
)
def test_rows_come_out_as_they_went_in(calls):
    buffer = RecordBuffer(64)
    one = Recorder(5, lambda filled: buffer)
    for call in calls:
        one.add(*call)
    assert buffer.thread == 5
    assert buffer.names == [call[1] for call in calls]
    for row, (op, _, start, first, end, nbytes, count, error, endpoint, due, flags) in zip(
        buffer.rows, calls, strict=True
    ):
        assert (row["op"], row["start"], row["first"], row["end"], row["due"]) == (op, start, first, end, due)
        assert (row["nbytes"], row["n_objects"], row["endpoint"], row["flags"]) == (nbytes, count, endpoint, flags)
        assert (buffer.errors[row["error"] - 1] if row["error"] else "") == error
        assert row["attempts"] == 1


def test_a_row_takes_56_bytes():
    assert record_dtype().itemsize == 56


def test_rows_are_a_view_that_grows():
    buffer = RecordBuffer(4)
    one = Recorder(0, lambda filled: buffer)
    assert len(buffer.rows) == 0
    one.add(Op.GET, "a", 1, 2, 3, 4)
    assert len(buffer.rows) == 1
    assert buffer.rows.base is not None


def test_clear_forgets():
    buffer = RecordBuffer(4)
    Recorder(0, lambda filled: buffer).add(Op.GET, "a", 1, 2, 3, 4, error="E")
    names, buffer.seen = buffer.names, 1
    buffer.clear()
    assert (buffer.count, buffer.seen, buffer.names, buffer.errors, len(buffer.rows)) == (0, 0, [], [], 0)
    assert names == ["a"]


def test_retries_go_into_the_next_row_alone():
    buffer = RecordBuffer(4)
    one = Recorder(0, lambda filled: buffer)
    one.retried()
    one.retried()
    one.add(Op.GET, "a", 1, 2, 3, 4)
    one.add(Op.GET, "b", 1, 2, 3, 4)
    assert buffer.rows["attempts"].tolist() == [3, 1]


def test_a_full_buffer_is_handed_over_at_once():
    pool = BufferPool(2, 3)
    one = recorder(pool, thread=7)
    for number in range(4):
        one.add(Op.PUT, str(number), 0, 0, 0, 0)
    filled = pool.full.get_nowait()
    assert (filled.names, filled.thread) == (["0", "1", "2"], 7)
    assert (one.active.names, one.active.thread) == (["3"], 7)


def test_flush_hands_over_what_there_is_and_nothing_when_there_is_none():
    pool = BufferPool(2, 3)
    one = recorder(pool)
    one.flush()
    assert pool.full.empty()
    one.add(Op.PUT, "a", 0, 0, 0, 0)
    one.flush()
    assert pool.full.get_nowait().names == ["a"]


def test_a_slow_consumer_holds_back_the_thread_and_loses_nothing():
    pool, rows = BufferPool(2, 5), 1000
    taken: list[str] = []

    def produce() -> None:
        one = recorder(pool)
        for number in range(rows):
            one.add(Op.PUT, str(number), 0, 0, 0, 0)
        one.flush()
        pool.full.put(None)

    thread = threading.Thread(target=produce)
    thread.start()
    while (buffer := pool.full.get()) is not None:
        taken += buffer.names
        pool.recycle(buffer)
    thread.join()
    assert taken == [str(number) for number in range(rows)]
    assert pool.dropped == 0


def test_without_losslessness_what_is_lost_is_counted():
    pool = BufferPool(2, 5, lossless=False)
    one = recorder(pool)
    for number in range(18):
        one.add(Op.PUT, str(number), 0, 0, 0, 0)
    assert pool.full.get_nowait().names == ["0", "1", "2", "3", "4"]
    assert pool.full.empty()
    assert pool.dropped == 10
    assert one.active.names == ["15", "16", "17"]


def test_rows_that_the_consumer_saw_are_not_lost():
    pool = BufferPool(1, 3, lossless=False)
    one = recorder(pool)
    for number in range(2):
        one.add(Op.PUT, str(number), 0, 0, 0, 0)
    one.active.seen = 2
    one.add(Op.PUT, "2", 0, 0, 0, 0)
    assert pool.dropped == 1


@pytest.mark.parametrize("name", [op.name for op in Op])
def test_operations_have_distinct_small_numbers(name):
    assert 0 < Op[name] < 256
    assert len({int(op) for op in Op}) == len(Op)


def test_a_new_recorder_takes_no_buffer_that_another_waits_for():
    pool = BufferPool(1, 1)
    first = Recorder(0, pool.handover)
    first.add(Op.GET, "a", 1, 0, 2, 0)
    full = pool.full.get(timeout=60)
    pool.take(full)
    pool.recycle(full)
    free = pool._free

    class Overtaken:
        """The queue of free buffers, when somebody comes between the look whether there is one and the taking."""

        def get(self):
            Recorder(1, pool.handover)
            return free.get(timeout=20)

        def __getattr__(self, name):
            return getattr(free, name)

    pool._free = Overtaken()
    first.add(Op.GET, "b", 1, 0, 2, 0)
    assert first.active.count == 0
