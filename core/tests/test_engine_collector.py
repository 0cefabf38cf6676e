"""The consumer of a worker's records."""

from __future__ import annotations

import itertools
import threading
from collections import Counter

import pytest

from penstock.clocks import monotonic_ns
from penstock.engine.collector import Collector
from penstock.engine.watch import Watched
from penstock.errors import OpLogError
from penstock.records import Endpoint, Op
from penstock.stats.tally import Tally


class SlowLog:
    """Slower than the lanes, so that they always have full buffers waiting."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, str]] = []

    def write(self, buffer, begin, end):
        self.rows += [(buffer.thread, name) for name in buffer.names[begin:end]]
        sum(range(200_000))


def drive(collector, stop):
    """Lanes that record as fast as they can; how many rows each made."""
    made = [0] * len(collector.recorders)

    def lane(index, recorder):
        for number in itertools.count():
            if stop.is_set():
                break
            now = monotonic_ns()
            recorder.add(Op.STAT, str(number), now, 0, now + 10, 0)
            made[index] += 1
        recorder.flush()
        collector.ended()

    threads = [
        threading.Thread(target=lane, args=(index, recorder), daemon=True)
        for index, recorder in enumerate(collector.recorders)
    ]
    for thread in threads:
        thread.start()
    return made, threads


def test_snapshots_come_also_while_the_lanes_are_faster_than_the_log():
    log, stop = SlowLog(), threading.Event()
    collector = Collector(10, 4, log)
    made, threads = drive(collector, stop)
    total, numbers = Tally(), []
    for snapshot in collector.collect(monotonic_ns(), 20_000_000):
        total.merge(Tally.from_message(snapshot["tally"]))
        numbers.append(snapshot["number"])
        if len(numbers) == 4:
            stop.set()
    for thread in threads:
        thread.join()
    assert numbers[0] == -1
    assert numbers[1:] == sorted(set(numbers[1:]))
    assert total.count == sum(made) == len(log.rows)
    for lane in range(4):
        assert [name for thread, name in log.rows if thread == 10 + lane] == [str(n) for n in range(made[lane])]


def test_lanes_go_on_when_the_log_fails():
    class Full:
        def write(self, buffer, begin, end):
            raise OpLogError("no space left")

    stop = threading.Event()
    collector = Collector(0, 3, Full())
    made, threads = drive(collector, stop)
    with pytest.raises(OpLogError):
        list(collector.collect(monotonic_ns(), 10_000_000))
    collector.give_up()
    before = sum(made)
    while sum(made) < before + 50_000:
        pass
    stop.set()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)


def test_lanes_can_join_while_others_work():
    collector = Collector(5, 1, None, most_lanes=3)
    first = collector.recorders[0]
    first.add(Op.GET, "a", 1, 2, 3, 10)
    late = collector.recruit()
    assert late.thread == 6
    late.add(Op.PUT, "b", 1, 0, 3, 20)
    for recorder in (first, late):
        recorder.flush()
        collector.ended()
    tally = Tally()
    for snapshot in collector.collect(monotonic_ns(), 10**9):
        tally.merge(Tally.from_message(snapshot["tally"]))
    assert (tally.count, tally.nbytes) == (2, 30)


def test_it_leaves_lanes_that_do_not_end():
    collector = Collector(0, 2, None)
    collector.recorders[0].add(Op.GET, "a", 1, 2, 3, 10)
    collector.recorders[0].flush()
    collector.ended()
    collector.leave(monotonic_ns())
    snapshots = list(collector.collect(monotonic_ns(), 10**9))
    assert sum(Tally.from_message(snapshot["tally"]).count for snapshot in snapshots) == 1
    # The other one is not held up by buffers that nobody empties.
    for number in range(10_000):
        collector.recorders[1].add(Op.GET, "b", number, 0, number, 0)


@pytest.mark.parametrize("numbers", [[0, 0, 0], [0, 1, 2], [1, 1, 0, 2]])
def test_calls_are_counted_by_the_name_of_their_endpoint(numbers):
    names = ["mem://", "mem://", "file://"]
    collector = Collector(0, 1, None, endpoints=[Endpoint(f"base-{place}", name) for place, name in enumerate(names)])
    seen = Watched(None, 1)
    snapshots = collector.collect(monotonic_ns(), 10**9)
    for place, number in enumerate(numbers):
        collector.recorders[0].add(Op.GET, "a", place, 0, place + 1, 10, endpoint=number)
        collector.recorders[0].flush()
        if place == 1:
            seen.take({**next(snapshots), "start_s": 0, "end_s": 0})
    collector.ended()
    for snapshot in snapshots:
        seen.take({**snapshot, "start_s": 0, "end_s": 0})
    expected = Counter(names[number] for number in numbers)
    assert {name: tally.count for name, tally in seen.endpoints.items()} == expected
