"""What goes wrong, what is broken off, and how much memory it takes."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading

import anyio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import ObjectNotFoundError, StoreConnectionError, StoreTimeoutError, UsageError
from penstock_training.loading import Dataset, Loader
from penstock_training.loading.arenas import Arenas

pytestmark = pytest.mark.usefixtures("no_threads_left")


class BrokenError(Exception):
    """What is injected."""


class Through:
    """A sink that hands on to another one."""

    def __init__(self, sink):
        self.sink = sink
        self.reserve = sink.reserve
        self.commit = sink.commit


def numbers(batch):
    return batch.view("<u4").ravel().tolist()


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "penstock-loader"]


def until(there):
    """Wait for what other threads bring about."""
    waiting = threading.Event()
    for _ in range(6000):
        if there():
            return
        waiting.wait(0.01)
    raise AssertionError("it did not come about in a minute")


class TestErrors:
    @settings(max_examples=40, deadline=None)
    @given(st.data())
    def test_an_error_at_any_sample_comes_at_its_place_with_its_uri(self, small_set, data):
        count, size = 17, data.draw(st.integers(1, 6))
        bad = data.draw(st.sets(st.integers(0, count - 1), min_size=1, max_size=3))
        way = data.draw(
            st.fixed_dictionaries(
                {
                    "num_workers": st.sampled_from([0, 1, 3]),
                    "prefetch": st.integers(0, 3),
                    "shuffle": st.booleans(),
                    "reader": st.sampled_from(["whole", "range"]),
                    "part_size": st.sampled_from([3, 9]),
                }
            )
        )
        dataset = small_set(count)

        def transform(item):
            if item.number in bad:
                raise StoreConnectionError("gone")
            return item.number

        loader = Loader(dataset, batch_size=size, transform=transform, **way)
        plan = [batch.tolist() for batch in loader.plan.batches()]
        before, first = [], next(number for batch in plan for number in batch if number in bad)
        with pytest.raises(StoreConnectionError, match="gone") as caught:
            before.extend(batch.tolist() for batch in loader)
        assert caught.value.uri == dataset.name(first)
        assert before == plan[: next(at for at, batch in enumerate(plan) if first in batch)]
        assert loader.state_dict()["batches"] == len(before)
        assert not threads()

    @pytest.mark.parametrize("order", ["sequential", "completion"])
    @pytest.mark.parametrize("reader", ["whole", "range"])
    def test_an_error_of_the_store_names_its_object(self, small_set, watch, order, reader):
        def before(key, start, length):
            if key.endswith("00007.bin"):
                raise StoreConnectionError("gone", operation="get")

        watch.before = before
        loader = Loader(small_set(20), batch_size=2, order=order, reader=reader, part_size=3, num_workers=2)
        with pytest.raises(StoreConnectionError) as caught:
            list(loader)
        assert caught.value.uri == small_set(20).name(7)
        assert "sample 7" in caught.value.__notes__[0]
        watch.before = lambda key, start, length: None
        state = loader.state_dict()
        resumed = Loader(small_set(20), batch_size=2)
        resumed.load_state_dict(state)
        assert [n for batch in resumed for n in numbers(batch) if n == 7] == [7]

    def test_errors_that_are_not_ours_carry_the_name_in_a_note(self, small_set):
        def transform(item):
            if item.number == 4:
                raise BrokenError("no image")
            return item.number

        with pytest.raises(BrokenError) as caught:
            list(Loader(small_set(9), transform=transform))
        assert small_set(9).name(4) in "".join(caught.value.__notes__)

    def test_errors_of_collate_name_the_batch(self, small_set):
        def collate(samples):
            if len(samples) < 3:
                raise BrokenError("too few")
            return samples

        found = []
        with pytest.raises(BrokenError) as caught:
            found.extend(Loader(small_set(8), batch_size=3, collate=collate))
        assert len(found) == 2
        note = "".join(caught.value.__notes__)
        assert small_set(8).name(6) in note
        assert small_set(8).name(7) in note

    def test_a_transform_may_end_its_thread_and_the_consumer_hears_of_it(self, small_set):
        def transform(item):
            raise SystemExit(3)

        with pytest.raises(SystemExit):
            list(Loader(small_set(4), transform=transform, num_workers=1))

    def test_a_missing_file_is_named(self, make_files):
        import penstock

        base, _ = make_files([4] * 5)
        dataset = Dataset(base)
        penstock.delete(f"{base}00003.bin")
        with pytest.raises(ObjectNotFoundError) as caught:
            list(Loader(dataset))
        assert caught.value.uri == f"{base}00003.bin"

    @pytest.mark.parametrize("failures", [2, 3])
    def test_a_body_that_breaks_off_is_read_again_but_not_for_ever(self, make_files, watch, failures):
        base, contents = make_files([100])
        left = [failures]

        class Breaking(Through):
            def write(self, data):
                self.sink.write(data[:60])
                left[0] -= 1
                raise StoreConnectionError("broke off")

        watch.body = lambda key, sink: Breaking(sink) if left[0] else sink
        loader = Loader(Dataset(base))
        if failures < 3:
            assert bytes(next(iter(loader))[0]) == contents[0]
        else:
            with pytest.raises(StoreConnectionError, match="broke off"):
                list(loader)
        assert len(watch.gets) == min(failures + 1, 3)


class TestEnding:
    @pytest.mark.parametrize("end", ["close", "loader", "drop", "exception", "with", "exhaust"])
    @pytest.mark.parametrize("taken", [0, 1, 3])
    def test_nothing_is_left(self, small_set, watch, end, taken):
        loader = Loader(small_set(30), batch_size=3, num_workers=3, prefetch=4)
        batches = iter(loader)
        for _ in range(taken):
            next(batches)
        if end == "close":
            batches.close()
        elif end == "loader":
            loader.close()
        elif end == "with":
            with batches:
                pass
        elif end == "exhaust":
            for _ in range(10 - taken):
                next(batches)
        elif end == "exception":
            with pytest.raises(BrokenError):
                raising(batches)
        del batches
        gc.collect()
        until(lambda: not threads())
        assert watch.under_way == 0
        assert len(watch.gets) <= (30 if end == "exhaust" else 3 * (taken + 5))

    def test_closing_waits_for_what_is_under_way_and_begins_nothing_more(self, small_set, watch):
        gate, entered = threading.Event(), threading.Event()

        def before(key, start, length):
            entered.set()
            gate.wait(60)

        watch.before = before
        batches = iter(Loader(small_set(30), batch_size=10, num_workers=2))
        taker = threading.Thread(target=lambda: next(batches, None))
        taker.start()
        assert entered.wait(60)
        closer = threading.Thread(target=batches.close)
        closer.start()
        until(lambda: batches.over)
        assert closer.is_alive()
        gate.set()
        closer.join(60)
        taker.join(60)
        assert watch.under_way == 0
        assert len(watch.gets) <= 2
        assert not threads()

    def test_closing_breaks_off_a_long_body(self, make_files, watch):
        base, _ = make_files([100])
        gate, entered, written = threading.Event(), threading.Event(), []

        class Slow(Through):
            def write(self, data):
                for at in range(0, 100, 10):
                    if at == 50:
                        entered.set()
                        assert gate.wait(60)
                    self.sink.write(data[at : at + 10])
                    written.append(10)

        watch.body = lambda key, sink: Slow(sink)
        batches = iter(Loader(Dataset(base), num_workers=1))
        taker = threading.Thread(target=lambda: next(batches, None))
        taker.start()
        assert entered.wait(60)
        closer = threading.Thread(target=batches.close)
        closer.start()
        until(lambda: batches.over)
        gate.set()
        closer.join(60)
        taker.join(60)
        assert sum(written) == 50

    @pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
    def test_a_forked_child_does_not_use_its_parents_iteration(self, tmp_path):
        for number in range(6):
            (tmp_path / str(number)).write_bytes(b"%04d" % number)
        loader = Loader(Dataset(f"file://{tmp_path}"), num_workers=1)
        batches = iter(loader)
        assert bytes(next(batches)[0]) == b"0000"
        child = os.fork()
        if not child:
            code = 1
            try:
                try:
                    next(batches)
                except UsageError:
                    code = 0 if [bytes(batch[0]) for batch in loader][-1] == b"0005" else 2
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        assert [bytes(batch[0]) for batch in batches][-1] == b"0005"


def raising(batches):
    for _ in batches:
        raise BrokenError


class TestTimeout:
    def test_it_names_what_is_waited_for_and_asking_again_goes_on(self, small_set, watch):
        gate = threading.Event()
        watch.before = lambda key, start, length: gate.wait(60) if key.endswith("00002.bin") else None
        batches = iter(Loader(small_set(6), batch_size=2, num_workers=2, timeout=0.05))
        assert numbers(next(batches)) == [0, 1]
        for _ in range(2):
            with pytest.raises(StoreTimeoutError, match=r"batch 1 .* 0.05 s.*00002.bin to .*00003.bin"):
                next(batches)
        gate.set()
        found: list[int] = []
        while len(found) < 4:
            try:
                found += numbers(next(batches))
            except StoreTimeoutError:
                continue
        assert found == [2, 3, 4, 5]

    def test_asynchronously_too(self, small_set, watch):
        gate = threading.Event()
        watch.before = lambda key, start, length: gate.wait(60)

        async def ask():
            async with aiter(Loader(small_set(6), num_workers=1, timeout=0.05)) as batches:
                with pytest.raises(StoreTimeoutError):
                    await anext(batches)
                gate.set()

        anyio.run(ask)


class TestAsync:
    @pytest.mark.parametrize("num_workers", [0, 1, 3])
    @pytest.mark.parametrize("order", ["sequential", "completion"])
    def test_it_gives_what_the_other_gives(self, small_set, num_workers, order):
        loader = Loader(small_set(23), batch_size=4, shuffle=True, num_workers=num_workers, order=order)

        async def read():
            return [numbers(batch) async for batch in loader]

        due = [batch.tolist() for batch in loader.plan.batches()]
        found = anyio.run(read)
        assert found == due if order == "sequential" else sorted(found) == sorted(due)
        assert loader.state_dict()["batches"] == 6

    def test_the_loop_runs_while_it_waits(self, small_set, watch):
        gate = threading.Event()
        watch.before = lambda key, start, length: gate.wait(60)

        async def read():
            found = []

            async def consume():
                async for batch in Loader(small_set(4), num_workers=1):
                    found.append(numbers(batch))

            async with anyio.create_task_group() as group:
                group.start_soon(consume)
                await anyio.wait_all_tasks_blocked()
                gate.set()
            return found

        assert anyio.run(read) == [[0], [1], [2], [3]]

    def test_a_cancelled_wait_takes_nothing(self, small_set, watch):
        gate = threading.Event()
        watch.before = lambda key, start, length: gate.wait(60)

        async def read():
            loader = Loader(small_set(4), num_workers=1)
            batches = aiter(loader)
            with anyio.move_on_after(0.02):
                await anext(batches)
            assert loader.state_dict()["batches"] == 0
            gate.set()
            return [numbers(batch) async for batch in batches]

        assert anyio.run(read) == [[0], [1], [2], [3]]

    def test_errors_and_closing(self, small_set, watch):
        async def read():
            batches = aiter(Loader(small_set(9), num_workers=2))
            assert numbers(await anext(batches)) == [0]
            await batches.aclose()
            with pytest.raises(StopAsyncIteration):
                await anext(batches)

        anyio.run(read)
        assert not threads()
        assert watch.under_way == 0


class TestMemory:
    @pytest.mark.parametrize("order", ["sequential", "completion"])
    @pytest.mark.parametrize("size", [1, 3])
    def test_what_is_lent_stays_within_the_budget(self, make_files, monkeypatch, order, size):
        base, _ = make_files([100_000] * 36)
        dataset = Dataset(base)
        most = lending(monkeypatch)
        budget = 1_000_000
        for _ in Loader(dataset, batch_size=size, num_workers=3, prefetch=50, max_bytes_in_flight=budget, order=order):
            pass
        assert budget // 2 < most[0] <= budget

    def test_a_batch_beyond_the_budget_is_read_alone(self, make_files, monkeypatch):
        base, contents = make_files([1000, 1000, 500_000, 1000, 1000])
        dataset = Dataset(base)
        most = lending(monkeypatch)
        found = [bytes(batch[0]) for batch in Loader(dataset, num_workers=2, prefetch=4, max_bytes_in_flight=100_000)]
        assert found == contents
        assert 500_000 <= most[0] <= 500_000 + 70_000

    def test_what_the_consumer_keeps_is_not_waited_for(self, make_files):
        base, contents = make_files([100_000] * 12)
        loader = Loader(Dataset(base), num_workers=2, prefetch=4, max_bytes_in_flight=250_000)
        assert [bytes(batch[0]) for batch in list(loader)] == contents

    def test_the_process_stays_small(self, tmp_path):
        for number in range(40):
            with open(tmp_path / f"{number:03d}", "wb") as file:
                file.truncate(4 << 20)
        script = (
            "import resource, sys\n"
            "from penstock_training.loading import Dataset, Loader\n"
            "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
            "dataset = Dataset(sys.argv[1])\n"
            "for warm in (True, False):\n"
            "    options = {'num_workers': 1, 'prefetch': 0} if warm else {'num_workers': 4, 'prefetch': 40}\n"
            "    before = peak()\n"
            "    for batch in Loader(dataset, batch_size=1, max_bytes_in_flight=24 << 20, **options):\n"
            "        if warm: break\n"
            "print(peak() - before)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, f"file://{tmp_path}"],
            capture_output=True,
            check=True,
            timeout=120,
            text=True,
        )
        # 24 MiB of batches, some of which were there before, and a few MiB of threads; the files are 160 MiB.
        assert int(done.stdout) < 24 + 8

    def test_memory_comes_back_when_the_last_view_goes(self):
        arenas = Arenas(10**6)
        one = arenas.lend(100_000)
        address = one.__array_interface__["data"][0]
        assert address % 4096 == 0
        view = memoryview(one[5:10])
        del one
        other = arenas.lend(100_000)
        assert other.__array_interface__["data"][0] != address
        del view
        assert arenas.lend(99_000).__array_interface__["data"][0] == address
        assert arenas.lend(0).nbytes == 4096

    def test_memory_that_does_not_fit_is_not_kept(self):
        arenas = Arenas(300_000)
        lent = [arenas.lend(100_000) for _ in range(5)]
        assert arenas.nbytes > 500_000
        del lent
        kept = arenas.lend(50_000)
        assert 200_000 < arenas.nbytes <= 300_000
        arenas.clear()
        assert arenas.nbytes == kept.nbytes

    def test_what_is_kept_counts_too_where_sizes_differ(self, make_files, monkeypatch):
        sizes = np.random.default_rng(1).integers(1, 300_000, 80).tolist()
        base, contents = make_files(sizes)
        most, plain = [0], Arenas.lend

        def lend(self, nbytes):
            root = plain(self, nbytes)
            most[0] = max(most[0], self.nbytes)
            return root

        monkeypatch.setattr(Arenas, "lend", lend)
        budget = 1_500_000
        found = []
        for batch in Loader(Dataset(base), batch_size=2, num_workers=3, prefetch=9, max_bytes_in_flight=budget):
            found += [bytes(sample) for sample in batch]
            del batch
        assert found == contents
        assert budget // 2 < most[0] <= budget


def lending(monkeypatch):
    """A list that holds the most bytes that were lent at once."""
    most, now, lock = [0], [0], threading.Lock()
    plain = Arenas.lend

    def lend(self, nbytes):
        root = plain(self, nbytes)
        import weakref

        def back(reference, size=root.nbytes):
            now[0] -= size
            kept.remove(reference)

        with lock:
            kept.append(weakref.ref(root, back))
            now[0] += root.nbytes
            most[0] = max(most[0], now[0])
        return root

    kept: list[object] = []
    monkeypatch.setattr(Arenas, "lend", lend)
    return most
