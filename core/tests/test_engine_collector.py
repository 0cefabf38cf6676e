"""The consumer of a worker's records."""

from __future__ import annotations

import itertools
import threading

import pytest

from penstock.clocks import monotonic_ns
from penstock.engine.collector import Collector
from penstock.errors import OpLogError
from penstock.records import Op
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
