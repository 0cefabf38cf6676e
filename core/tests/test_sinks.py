"""The laws of sinks, on each of them, and what only one of them does."""

from __future__ import annotations

import array
import ctypes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import ChecksumMismatchError, LengthMismatchError
from penstock.sinks import Collect, Discard, Into, Verify
from penstock.store import Sink

ROOM = 64 * 1024
END = 300_000


class Counting:
    """A payload whose byte at ``offset`` of object ``obj`` is known without the rest."""

    def fill(self, buffer: memoryview, /, *, obj: int, offset: int = 0) -> None:
        buffer[:] = expected(obj, offset, buffer.nbytes)


def expected(obj: int, offset: int, nbytes: int) -> bytes:
    return bytes((obj * 7 + i * 31 + (i >> 8)) & 255 for i in range(offset, offset + nbytes))


CONTENT = expected(1, 0, END)
SINKS = {
    "discard": lambda: Discard(),
    "small discard": lambda: Discard(ROOM),
    "collect": lambda: Collect(),
    "into": lambda: Into(bytearray(END)),
    "verify": lambda: Verify(Counting(), 1),
    "small verify": lambda: Verify(Counting(), 1, room=ROOM),
}
every_sink = pytest.mark.parametrize("make", SINKS.values(), ids=SINKS)


@every_sink
def test_it_is_a_sink(make):
    assert isinstance(make(), Sink)


@every_sink
@pytest.mark.parametrize("ask", [1, 4096, ROOM, ROOM + 1, 200_000])
def test_a_reservation_has_the_least_room(make, ask):
    room = make().reserve(ask)
    assert room.nbytes >= min(ask, ROOM)
    assert (room.format, room.readonly, room.ndim) == ("B", False, 1)


@every_sink
def test_the_least_room_is_given_anew_each_time_unless_the_end_is_near(make):
    sink = make()
    while sink.nbytes < END:
        ask = min(ROOM, END - sink.nbytes)
        room = sink.reserve(ask)
        assert room.nbytes >= ask
        room[:ask] = CONTENT[sink.nbytes : sink.nbytes + ask]
        sink.commit(ask)
    assert sink.nbytes == END


@every_sink
def test_memory_of_its_own_is_page_aligned(make):
    sink = make()
    if not isinstance(sink, Into):
        assert ctypes.addressof(ctypes.c_char.from_buffer(sink.reserve(8192))) % 4096 == 0


@every_sink
def test_a_new_reservation_forgets_the_old(make):
    sink = make()
    sink.reserve(10)[:10] = b"x" * 10
    sink.reserve(5)[:5] = CONTENT[:5]
    sink.commit(5)
    assert sink.nbytes == 5


@every_sink
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda data: array.array("B", data)])
def test_any_buffer_can_be_written(make, kind):
    sink = make()
    sink.write(kind(CONTENT[:1000]))
    sink.write(kind(b""))
    assert sink.nbytes == 1000


@every_sink
def test_nothing_at_all_can_be_written(make):
    sink = make()
    sink.write(b"")
    sink.write(array.array("d"))
    assert sink.nbytes == 0


@every_sink
def test_bytes_are_counted_not_items(make):
    sink = make()
    sink.write(memoryview(CONTENT[:800]).cast("Q"))
    assert sink.nbytes == 800


@every_sink
def test_the_writers_memory_may_be_reused(make):
    sink, memory = make(), bytearray(CONTENT[:10])
    sink.write(memory)
    memory[:] = CONTENT[10:20]
    sink.write(memory)
    assert sink.nbytes == 20
    if isinstance(sink, Collect):
        assert bytes(sink.view()) == CONTENT[:20]


steps = st.lists(st.tuples(st.booleans(), st.integers(0, 40_000), st.integers(0, 40_000)), max_size=12)


@given(steps)
def test_collect_keeps_every_byte_in_order(steps):
    sink, want = Collect(), bytearray()
    for write, nbytes, spare in steps:
        data = CONTENT[len(want) % 1000 :][:nbytes]
        if write:
            sink.write(data)
        else:
            room = sink.reserve(nbytes + spare)
            room[:nbytes] = data
            sink.commit(nbytes)
        want += data
        assert sink.nbytes == len(want)
    assert sink.view() == want


def test_collect_gives_the_first_reservation_just_its_size():
    sink = Collect()
    assert sink.reserve(1000).nbytes == 1000


def test_collect_grows_by_doubling():
    sink = Collect()
    sink.write(bytes(1000))
    sink.write(b"x")
    assert sink.reserve(1).nbytes >= 900


def test_an_old_view_of_collect_stays_what_it_was():
    sink = Collect()
    sink.write(b"abc")
    view = sink.view()
    sink.write(bytes(100_000))
    assert view == b"abc"


class TestInto:
    @given(st.integers(0, 5000), steps)
    def test_nothing_is_written_past_the_end(self, size, steps):
        memory = bytearray(b"\xee" * (size + 5000))
        sink = Into(memoryview(memory)[:size])
        try:
            for write, nbytes, _ in steps:
                if write:
                    sink.write(CONTENT[:nbytes])
                else:
                    room = sink.reserve(nbytes)
                    filled = min(nbytes, room.nbytes)
                    room[:filled] = CONTENT[:filled]
                    sink.commit(filled)
        except LengthMismatchError:
            pass
        assert sink.nbytes <= size
        assert memory[size:] == b"\xee" * 5000

    def test_a_write_that_does_not_fit_writes_nothing(self):
        memory = bytearray(10)
        sink = Into(memory)
        sink.write(b"12345")
        with pytest.raises(LengthMismatchError, match="holds 10 bytes and 5 are in it; 6 more do not fit"):
            sink.write(b"abcdef")
        assert memory == b"12345\0\0\0\0\0"
        assert sink.nbytes == 5

    def test_a_full_one_has_no_room(self):
        sink = Into(bytearray(3))
        sink.write(b"123")
        sink.write(b"")
        with pytest.raises(LengthMismatchError):
            sink.reserve(1)

    def test_an_empty_object_fits_an_empty_buffer(self):
        sink = Into(bytearray())
        sink.write(b"")
        assert sink.nbytes == 0

    def test_any_writable_buffer_serves(self):
        Into(array.array("d")).write(b"")
        numbers = array.array("i", [0, 0])
        Into(numbers).write(b"\1\0\0\0\2\0\0\0")
        assert numbers.tolist() == [1, 2]

    def test_memory_that_can_not_be_written_is_refused(self):
        with pytest.raises(TypeError, match="read-only"):
            Into(b"fixed")


class TestVerify:
    @given(st.integers(0, 9999), st.integers(1, 255), st.integers(1, 4000), st.integers(0, 5000), st.booleans())
    def test_a_flipped_byte_is_found_where_it_is(self, at, flip, step, offset, write):
        data = bytearray(expected(3, offset, 10_000))
        data[at] ^= flip
        sink = Verify(Counting(), 3, offset=offset, room=2048)
        with pytest.raises(ChecksumMismatchError, match=f"object 3 .* at byte {offset + at}$"):
            deliver(sink, data, step, write)
        assert sink.nbytes <= at

    @given(st.integers(0, 9999), st.integers(1, 5000), st.integers(0, 5000), st.booleans())
    def test_right_bytes_pass(self, nbytes, step, offset, write):
        sink = Verify(Counting(), 3, offset=offset, room=2048)
        deliver(sink, expected(3, offset, nbytes), step, write)
        assert sink.nbytes == nbytes

    def test_another_objects_bytes_are_found(self):
        with pytest.raises(ChecksumMismatchError):
            Verify(Counting(), 2).write(expected(1, 0, 100))


def deliver(sink: Verify, data: bytes, step: int, write: bool) -> None:
    view = memoryview(data)
    for begin in range(0, len(data), step):
        part = view[begin : begin + step]
        while part.nbytes and not write:
            room = sink.reserve(part.nbytes)
            filled = min(room.nbytes, part.nbytes)
            room[:filled] = part[:filled]
            sink.commit(filled)
            part = part[filled:]
        sink.write(part)


def test_discard_counts_from_its_reset():
    sink = Discard(4096)
    sink.write(b"123")
    sink.reset()
    sink.write(b"12")
    assert sink.nbytes == 2
