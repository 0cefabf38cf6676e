"""Reading: get, ranges, sinks and stat."""

from __future__ import annotations

import pytest

from penstock.errors import LengthMismatchError, ObjectNotFoundError, PreconditionFailedError
from penstock.sinks import Collect, Into
from penstock.store import ObjectStore
from penstock.testing.sinks import LEAST_ROOM, CheckedSink, Room, SinkError
from penstock.testing.tools import broken, noise, raises, read, same_object

__all__ = ["ReadingLaws"]

_RANGE = "law 2 (get delivers [start, start+length) cut at the end)"
_MATCH = "get(if_match=…)"
_SIZE = 1_000

#: start, length, and the bytes of a 1000-byte object that they name.
_RANGES: tuple[tuple[int, int | None, int, int], ...] = (
    (0, None, 0, 1000),
    (0, 1000, 0, 1000),
    (0, 1, 0, 1),
    (0, 999, 0, 999),
    (1, None, 1, 1000),
    (1, 1, 1, 2),
    (137, 411, 137, 548),
    (999, 1, 999, 1000),
    (999, None, 999, 1000),
    (990, 10, 990, 1000),
    (990, 11, 990, 1000),
    (500, 10**12, 500, 1000),
    (0, 10**12, 0, 1000),
)


#: Ranges of that object to read under a condition; the last two deliver nothing.
_conditional = pytest.mark.parametrize(
    ("start", "length"), [(0, None), (137, 411), (990, 50), (500, None), (0, 0), (1_000, 1)]
)


class ReadingLaws:
    """Laws of ``get`` and ``stat``."""

    def test_get_delivers_the_whole_object(self, store: ObjectStore) -> None:
        data = noise(100_003)
        store.put("whole", data)
        if read(store, "whole") != data:
            raise broken("law 2 (get)", "what came is not what was put", "deliver every byte, in order, once")

    def test_get_of_an_empty_object_delivers_nothing(self, store: ObjectStore) -> None:
        store.put("empty", b"")
        sink = CheckedSink(limit=0)
        try:
            info = store.get("empty", sink)
        except LengthMismatchError as error:
            raise broken(
                "law 2 (get)",
                "an empty object was delivered to a sink without room, and the sink was asked for some",
                "don't call the sink when there is nothing to deliver",
            ) from error
        assert (info.size, sink.view()) == (0, b""), "law 2: an empty object has size 0 and no bytes"

    @pytest.mark.parametrize(("start", "length", "begin", "end"), _RANGES)
    def test_get_range(self, store: ObjectStore, start: int, length: int | None, begin: int, end: int) -> None:
        data = noise(_SIZE)
        store.put("range", data)
        got = read(store, "range", start=start, length=length)
        if got != data[begin:end]:
            raise broken(
                _RANGE,
                f"start={start} length={length} of {_SIZE} bytes gave {len(got)} bytes, not bytes {begin} to {end}",
                "the end is start+length, exclusive, and never beyond the object",
            )

    @pytest.mark.parametrize(("start", "length"), [(1000, None), (1000, 1), (1001, 5), (10**12, None), (0, 0), (7, 0)])
    def test_range_without_bytes_succeeds(self, store: ObjectStore, start: int, length: int | None) -> None:
        store.put("range", noise(_SIZE))
        sink = CheckedSink(limit=0)
        try:
            info = store.get("range", sink, start=start, length=length)
        except Exception as error:
            raise broken(
                _RANGE,
                f"start={start} length={length} of {_SIZE} bytes raised {type(error).__name__}: {error}",
                "at or beyond the end, and with length 0, deliver nothing and succeed; don't ask the sink for room",
            ) from error
        sink.check()
        assert info.size == _SIZE, f"{_RANGE}: size is the whole object's, also when nothing was delivered"

    @pytest.mark.parametrize(("start", "length"), [(0, None), (10, 20), (990, 50), (500, None)])
    def test_size_is_that_of_the_whole_object(self, store: ObjectStore, start: int, length: int | None) -> None:
        store.put("range", noise(_SIZE))
        info = store.get("range", CheckedSink(), start=start, length=length)
        if info.size != _SIZE:
            raise broken(
                "the law of ObjectInfo.size",
                f"a range read of a {_SIZE}-byte object says size={info.size}",
                "take the size from the whole object (Content-Range, fstat), not from the range",
            )
        assert info.key == "range", "the answer carries the key that was asked for"

    @pytest.mark.parametrize(("start", "length"), [(0, None), (5, 10), (0, 0)])
    def test_get_of_a_missing_object_raises_before_any_byte(
        self, store: ObjectStore, start: int, length: int | None
    ) -> None:
        sink = CheckedSink()
        with raises(ObjectNotFoundError, "not/there", "get", "law 2 (a missing object raises)"):
            store.get("not/there", sink, start=start, length=length)
        assert sink.view() == b"", "law 2: a missing object raises before any byte reaches the sink"

    @pytest.mark.parametrize("room", Room)
    @pytest.mark.parametrize("unaligned", [False, True], ids=["aligned", "unaligned"])
    def test_get_fits_the_room_it_is_given(self, store: ObjectStore, room: Room, unaligned: bool) -> None:
        data = noise(5 * LEAST_ROOM + 17)
        store.put("rooms", data)
        for start, length in ((0, None), (3, 3 * LEAST_ROOM + 5), (4097, 10), (2 * LEAST_ROOM, 10**9)):
            end = None if length is None else start + length
            got = read(store, "rooms", start=start, length=length, sink=CheckedSink(room, unaligned=unaligned))
            if got != data[start:end]:
                raise broken(
                    "the law of Sink.reserve",
                    f"with rooms {room.value}, start={start} length={length} delivered {len(got)} wrong bytes",
                    "fill the room that reserve returned from its start, never more than the range needs",
                )

    @pytest.mark.parametrize(("start", "length"), [(0, None), (1, None), (4096, 9000), (70_000, 10**9)])
    def test_get_fills_a_sink_of_exactly_the_right_length(
        self, store: ObjectStore, start: int, length: int | None
    ) -> None:
        data = noise(2 * LEAST_ROOM + 4096)
        store.put("exact", data)
        expected = data[start:] if length is None else data[start : start + length]
        sink = CheckedSink(Room.LONG, limit=len(expected))
        try:
            got = read(store, "exact", start=start, length=length, sink=sink)
        except LengthMismatchError as error:
            raise broken(
                "the law of Sink.reserve",
                "the sink had exactly the room that the read needs, and the store asked for more",
                "stop when the range is delivered; never reserve room to look for the end",
            ) from error
        assert got == expected, "law 2: an exactly fitting sink holds the range"

    def test_get_into_a_buffer_that_is_too_small_raises(self, store: ObjectStore) -> None:
        data = noise(10_000)
        store.put("big", data)
        memory = bytearray(b"\xee" * 10_000)
        with raises(LengthMismatchError, None, None, "the law of Sink (a full sink raises)"):
            store.get("big", Into(memoryview(memory)[:9_999]))
        assert memory[9_999:] == b"\xee", "nothing may be written past the end of the sink's room"

    @pytest.mark.parametrize("fail_at", [0, 1, LEAST_ROOM, 2 * LEAST_ROOM])
    def test_a_failing_sink_fails_the_get_and_nothing_else(self, store: ObjectStore, fail_at: int) -> None:
        data = noise(4 * LEAST_ROOM)
        store.put("victim", data)
        with raises(SinkError, None, None, "the law of Sink (what a sink raises leaves get)"):
            store.get("victim", CheckedSink(Room.SHORT, fail_at=fail_at))
        assert read(store, "victim") == data, "a read after a failed read delivers the object from its start"

    def test_get_delivers_to_the_library_sinks(self, store: ObjectStore) -> None:
        data = noise(300_001)
        store.put("sinks", data)
        collect, buffer = Collect(), bytearray(len(data))
        store.get("sinks", collect)
        into = Into(buffer)
        store.get("sinks", into)
        assert bytes(collect.view()) == data, "penstock.sinks.Collect holds what get delivered"
        assert buffer == data, "penstock.sinks.Into holds what get delivered"
        assert into.nbytes == len(data), "penstock.sinks.Into counts what get delivered"

    @_conditional
    def test_if_match_reads_the_object_of_that_etag(self, store: ObjectStore, start: int, length: int | None) -> None:
        store.put("known", noise(_SIZE))
        etag = store.stat("known").etag
        if etag is None:
            with raises(PreconditionFailedError, "known", "get", f"{_MATCH} of an object without an etag"):
                store.get("known", CheckedSink(), start=start, length=length, if_match="any")
            return
        sink = CheckedSink()
        info = store.get("known", sink, start=start, length=length, if_match=etag)
        sink.check()
        if sink.view() != noise(_SIZE)[start : None if length is None else start + length]:
            raise broken(
                _MATCH,
                f"with the etag that stat gave, start={start} length={length} delivered {sink.nbytes} wrong bytes",
                "compare with the etag as stat gives it; the right one changes nothing",
            )
        assert (info.key, info.size) == ("known", _SIZE), f"{_MATCH}: the answer is that of a read without it"

    @_conditional
    def test_if_match_reads_no_other_object(self, store: ObjectStore, start: int, length: int | None) -> None:
        store.put("changed", noise(_SIZE, "old"))
        old = store.stat("changed").etag or "any"
        store.put("changed", noise(_SIZE, "new"))
        for etag in (old, f"{store.stat('changed').etag}0"):
            sink = CheckedSink()
            with raises(PreconditionFailedError, "changed", "get", _MATCH):
                store.get("changed", sink, start=start, length=length, if_match=etag)
            if sink.nbytes:
                raise broken(
                    _MATCH, f"{sink.nbytes} bytes of another object were delivered", "compare before the first byte"
                )
        assert read(store, "changed") == noise(_SIZE, "new"), "a refused read changes nothing"

    @_conditional
    def test_if_match_of_a_missing_object_says_that_it_is_missing(
        self, store: ObjectStore, start: int, length: int | None
    ) -> None:
        etag = store.put("gone", noise(_SIZE)).etag or "any"
        store.delete(["gone"])
        for key in ("gone", "never/there"):
            sink = CheckedSink()
            with raises(ObjectNotFoundError, key, "get", f"{_MATCH} of a missing object"):
                store.get(key, sink, start=start, length=length, if_match=etag)
            assert not sink.nbytes, "law 2: a missing object raises before any byte reaches the sink"

    def test_stat_says_what_get_and_put_say(self, store: ObjectStore) -> None:
        put = store.put("facts", noise(321))
        stat = store.stat("facts")
        assert (stat.key, stat.size) == ("facts", 321), "stat says key and size"
        same_object(put, stat)
        same_object(stat, store.get("facts", CheckedSink()))

    def test_stat_of_a_missing_object_raises(self, store: ObjectStore) -> None:
        store.put("there", b"x")
        for key in ("not-there", "ther", "there2", "deep/er/not"):
            with raises(ObjectNotFoundError, key, "stat", "law 5 (a missing key's stat raises with the key)"):
                store.stat(key)

    def test_nothing_is_cached(self, store: ObjectStore) -> None:
        for data in (noise(50_000, 1), noise(90_000, 2), b"", noise(10, 3)):
            store.put("changing", data)
            assert store.stat("changing").size == len(data), "law 1 (no cache): stat sees the last put"
            assert read(store, "changing") == data, "law 1 (no cache): get sees the last put, at its size"
        store.delete(["changing"])
        with raises(ObjectNotFoundError, "changing", "get", "law 1 (no cache)"):
            store.get("changing", CheckedSink())
