"""Streams: bounded, in order, and gone when closed."""

import gc
import threading

import pytest

from penstock.client.streams import ReadStream
from penstock.errors import ObjectNotFoundError, StoreConnectionError
from penstock.store import ObjectInfo


def reader_threads():
    return [thread for thread in threading.enumerate() if thread.name == "penstock-read"]


def wait_for_none():
    for thread in reader_threads():
        thread.join(30)
    assert not reader_threads()


def writes(*chunks):
    def read(sink):
        for chunk in chunks:
            sink.write(chunk)
        return ObjectInfo("a", sum(map(len, chunks)))

    return read


def test_chunks_come_in_order_and_of_bounded_size():
    with ReadStream(writes(b"abc", b"defgh", b"i"), chunk_size=2, max_bytes=4) as stream:
        chunks = [bytes(chunk) for chunk in stream]
    assert b"".join(chunks) == b"abcdefghi"
    assert max(map(len, chunks)) <= 2
    assert stream.info.size == 9
    assert stream.first_byte_ns > 0


def test_chunks_stay_valid_when_room_is_reserved():
    def read(sink):
        for number in range(50):
            room = sink.reserve(70_000)
            assert room.nbytes >= 65536
            room[:100] = bytes([number]) * 100
            sink.commit(100)
        return ObjectInfo("a", 5000)

    with ReadStream(read, chunk_size=1 << 20, max_bytes=1 << 20) as stream:
        chunks = list(stream)
    assert [bytes(chunk) for chunk in chunks] == [bytes([number]) * 100 for number in range(50)]


def test_no_more_than_the_limit_waits():
    passed = []
    stopped = threading.Event()

    def read(sink):
        try:
            for number in range(1000):
                sink.write(b"x" * 10)
                passed.append(number)
        finally:
            stopped.set()
        return ObjectInfo("a", 10_000)

    stream = ReadStream(read, chunk_size=10, max_bytes=40)
    next(stream)
    stream.close()
    assert stopped.is_set(), "close returns when the thread is gone"
    # Four chunks wait, one was taken, and one more may have been let in by that.
    assert len(passed) <= 6
    assert not reader_threads()


def test_a_dropped_stream_leaks_no_thread():
    stream = ReadStream(writes(*[b"x" * 10] * 1000), chunk_size=10, max_bytes=20)
    next(stream)
    del stream
    gc.collect()
    wait_for_none()


def test_a_missing_object_raises_at_the_first_chunk():
    def read(sink):
        raise ObjectNotFoundError("no such object", uri="x://a")

    with ReadStream(read, chunk_size=1, max_bytes=1) as stream, pytest.raises(ObjectNotFoundError):
        next(stream)


def test_a_failure_within_the_body_raises_after_what_came():
    def read(sink):
        sink.write(b"half")
        raise StoreConnectionError("cut off")

    with ReadStream(read, chunk_size=10, max_bytes=10) as stream:
        assert bytes(next(stream)) == b"half"
        with pytest.raises(StoreConnectionError):
            next(stream)
        assert stream.info is None


def test_an_empty_object_is_an_empty_stream():
    with ReadStream(writes(), chunk_size=10, max_bytes=10) as stream:
        assert list(stream) == []
    assert stream.first_byte_ns is None
