"""What threads note that help one call is noted by the thread whose call it is."""

from __future__ import annotations

import threading
import uuid

import penstock
from penstock.layers.behalf import Helpers, note
from penstock.layers.faults import Fail, Faults, Rule
from penstock.layers.ranges import Ranges
from penstock.layers.retry import RetryPolicy
from penstock.layers.stack import Layers
from penstock.layers.switch import install, uninstall


def in_thread(action):
    thread = threading.Thread(target=action)
    thread.start()
    thread.join()


def noted_in(threads):
    return lambda: threads.append(threading.get_ident())


def test_without_helpers_it_is_noted_at_once_where_it_happens():
    threads = []
    note(noted_in(threads))
    assert threads == [threading.get_ident()]


def test_what_helpers_note_waits_for_the_caller_also_where_that_helps_another_call():
    threads, outer = [], Helpers()

    def helper():
        with outer.helping():
            inner = Helpers()

            def help_the_helper():
                with inner.helping():
                    note(noted_in(threads))

            in_thread(help_the_helper)
            inner.settle()
            note(noted_in(threads))

    in_thread(helper)
    assert threads == []
    outer.settle()
    outer.settle()
    assert threads == [threading.get_ident()] * 2
    in_thread(lambda: note(noted_in(threads)))
    assert threads[2] != threading.get_ident()


class Capture:
    """Knows in which threads calls were repeated."""

    def __init__(self):
        self.threads = []

    def meter(self, store, base_uri, endpoint_name, /):
        return store

    def retried(self):
        self.threads.append(threading.get_ident())


def test_repeats_of_ranges_are_told_by_the_thread_that_reads():
    faults = Faults(rules=(Rule(effect=Fail(error="ThrottledError"), operations=("get",), every=4),))
    layers = Layers(ranges=Ranges(threshold=1000, part_size=1000, concurrency=4), faults=faults)
    policy = RetryPolicy(attempts=20, base_delay=0, max_delay=0)
    with penstock.connect(f"mem://{uuid.uuid4().hex}/", layers=layers, retries=policy) as store:
        store.put("k", bytes(20_000))
        capture = Capture()
        install(capture)
        try:
            assert bytes(store.get("k")) == bytes(20_000)
        finally:
            uninstall(capture)
        ((count,),) = (faulty.counts() for faulty in store.stack.faulty)
    assert count.covered == 20 + count.injected
    assert capture.threads == [threading.get_ident()] * count.injected
    assert count.injected > 4
