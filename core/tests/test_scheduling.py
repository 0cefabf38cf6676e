"""Batch threads: what becomes one, what stays as it is, and that our own threads are."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import penstock
from penstock.client.crew import each
from penstock.parts import Parts
from penstock.scheduling import as_batch

T = TypeVar("T")


def _in_thread(work: Callable[[], T]) -> T:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work).result()


def _policy() -> int:
    return os.sched_getscheduler(0)


def test_a_thread_and_what_it_starts_become_batch_threads_and_no_other() -> None:
    def work() -> tuple[bool, int, int]:
        return as_batch(), _policy(), _in_thread(_policy)

    assert _in_thread(work) == (True, os.SCHED_BATCH, os.SCHED_BATCH)
    assert _policy() == os.SCHED_OTHER


def test_a_thread_is_named_by_its_native_id() -> None:
    native, told = threading.Event(), threading.Event()
    found: list[int] = []

    def work() -> None:
        found.append(threading.get_native_id())
        native.set()
        told.wait(60)
        found.append(_policy())

    thread = threading.Thread(target=work)
    thread.start()
    assert native.wait(60)
    assert as_batch(found[0])
    told.set()
    thread.join()
    assert found[1] == os.SCHED_BATCH


def test_another_policy_stays() -> None:
    def work() -> tuple[bool, int]:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        return as_batch(), _policy()

    assert _in_thread(work) == (False, os.SCHED_IDLE)


def test_a_thread_that_is_none_becomes_none() -> None:
    assert not as_batch(2**22 + 1)


def test_the_public_face_names_it() -> None:
    with ThreadPoolExecutor(1, initializer=penstock.as_batch) as pool:
        assert pool.submit(_policy).result() == os.SCHED_BATCH


def test_the_threads_of_trees_and_batches_are_batch_threads() -> None:
    assert set(each(lambda _: _policy(), range(4), 2)) == {os.SCHED_BATCH}
    assert _policy() == os.SCHED_OTHER


def test_the_threads_that_send_parts_are_batch_threads() -> None:
    parts = Parts(4, lambda number, data: _policy(), in_flight=2)
    parts.write(b"12345678")
    assert set(parts.finish()) == {os.SCHED_BATCH}
