"""Threads that pull from one iterator."""

import itertools
import threading

import pytest

from penstock.client.crew import each


def crew_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("penstock-crew")]


@pytest.mark.parametrize("threads", [1, 3, 16])
def test_every_item_is_worked_once(threads):
    assert sorted(each(lambda number: number * 2, range(500), threads)) == [number * 2 for number in range(500)]
    assert not crew_threads()


def test_no_more_than_so_many_at_once():
    lock, running, most = threading.Lock(), 0, 0

    def work(item):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        threading.Event().wait(0.001)
        with lock:
            running -= 1

    list(each(work, range(60), 4))
    assert 1 <= most <= 4


def test_items_are_pulled_no_further_than_needed():
    pulled = []

    def items():
        for number in itertools.count():
            pulled.append(number)
            yield number

    results = each(lambda number: number, items(), 4)
    for _ in range(10):
        next(results)
    results.close()
    assert len(pulled) <= 10 + 2 * 4 + 4
    assert not crew_threads()


def test_a_failure_ends_the_crew_after_what_was_under_way():
    def work(number):
        if number == 5:
            raise RuntimeError("five")
        return number

    done = []
    with pytest.raises(RuntimeError, match="five"):
        drain(done, each(work, range(1000), 2))
    assert {0, 1, 2, 3, 4} <= set(done)
    assert not crew_threads()


def drain(done, results):
    for result in results:
        done.append(result)


def test_a_failing_source_loses_no_outcome():
    def items():
        yield from range(20)
        raise OSError("listing broke off")

    done = []
    with pytest.raises(OSError, match="broke off"):
        drain(done, each(lambda number: number, items(), 3))
    assert sorted(done) == list(range(20))


def test_closing_early_tells_the_work_to_stop():
    stopped = threading.Event()

    def work(number):
        if number:
            assert stopped.wait(30)
        return number

    results = each(work, range(100), 4, on_stop=stopped.set)
    next(results)
    results.close()
    assert stopped.is_set()
    assert not crew_threads()
