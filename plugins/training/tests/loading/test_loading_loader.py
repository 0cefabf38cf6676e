"""Loaders: what batches hold, resuming, epochs, transforms, and the options that change how they are read."""

from __future__ import annotations

import json
import pickle
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import UnknownOptionError, UsageError
from penstock_training.loading import Dataset, Loader, Plan

pytestmark = pytest.mark.usefixtures("no_threads_left")

shapes = st.fixed_dictionaries(
    {
        "batch_size": st.integers(1, 9),
        "shuffle": st.booleans(),
        "seed": st.integers(0, 2**32),
        "epoch": st.integers(0, 5),
        "drop_last": st.booleans(),
    }
)
orders = st.sampled_from(["sequential", "completion"])
ways = st.fixed_dictionaries(
    {
        "num_workers": st.sampled_from([0, 1, 3]),
        "prefetch": st.integers(0, 4),
        "max_bytes_in_flight": st.sampled_from([1, 20_000, 2**20]),
        "reader": st.sampled_from(["whole", "range"]),
        "part_size": st.sampled_from([1, 3, 8]),
        "parts_in_flight": st.integers(1, 3),
    }
)
counts = st.integers(1, 30)


def numbers(batch):
    """The samples of a batch of a small set."""
    return batch.view("<u4").ravel().tolist()


def read(batches):
    return [numbers(batch) for batch in batches]


@settings(max_examples=60, deadline=None)
@given(counts, shapes, ways, orders, st.integers(1, 4))
def test_every_rank_reads_just_its_plan(small_set, count, shape, way, order, ranks):
    found = []
    for rank in range(ranks):
        shard = {"shard_rank": rank, "shard_world_size": ranks}
        loader = Loader(small_set(count), **shape, **way, **shard, order=order)
        plan = Plan(count=count, **shape, **shard)
        assert len(loader) == len(plan)
        due = [batch.tolist() for batch in plan.batches()]
        batches = read(loader)
        assert (batches if order == "sequential" else sorted(batches)) == (
            due if order == "sequential" else sorted(due)
        )
        found += [number for batch in batches for number in batch]
    assert len(found) == len(set(found))
    assert shape["drop_last"] or sorted(found) == list(range(count))


@settings(max_examples=60, deadline=None)
@given(counts, shapes, ways, ways, orders, st.data())
def test_after_any_batch_a_state_brings_exactly_the_rest(small_set, count, shape, way, other, order, data):
    loader = Loader(small_set(count), **shape, **way, order=order)
    whole = read(Loader(small_set(count), **shape))
    stop = data.draw(st.integers(0, len(whole)))
    batches = iter(loader)
    before = [numbers(next(batches)) for _ in range(stop)]
    state = json.loads(json.dumps(loader.state_dict()))
    loader.close()

    resumed = Loader(small_set(count), **{**shape, "epoch": 77}, **other)
    resumed.load_state_dict(state)
    resumed.set_epoch(shape["epoch"])
    after = read(resumed)
    assert sorted(before + after) == sorted(whole)
    assert order == "completion" or before + after == whole
    assert read(resumed) == whole


def test_a_state_of_a_state_goes_on_too(small_set):
    whole = read(Loader(small_set(20), batch_size=3, shuffle=True))
    found, state = [], None
    for _ in range(len(whole)):
        loader = Loader(small_set(20), batch_size=3, shuffle=True)
        if state is not None:
            loader.load_state_dict(state)
            assert loader.state_dict() == state
        found.append(numbers(next(iter(loader))))
        state = loader.state_dict()
    assert found == whole
    loader = Loader(small_set(20), batch_size=3, shuffle=True)
    loader.load_state_dict(state)
    assert read(loader) == []
    assert read(loader) == whole


def test_completion_order_hands_out_what_is_there_and_resumes_what_is_not(small_set, watch):
    dataset, gate = small_set(12), threading.Event()
    watch.before = lambda key, start, length: gate.wait(60) if key.endswith("00001.bin") else None
    loader = Loader(dataset, batch_size=2, order="completion", num_workers=2, prefetch=3)
    batches = iter(loader)
    early = [numbers(next(batches)) for _ in range(5)]
    assert early == [[2, 3], [4, 5], [6, 7], [8, 9], [10, 11]]
    state = loader.state_dict()
    resumed = Loader(dataset, batch_size=2)
    gate.set()
    resumed.load_state_dict(state)
    assert read(resumed) == [[0, 1]]
    assert read(batches) == [[0, 1]]


def test_sequential_order_waits_for_the_first(small_set, watch):
    ahead = threading.Event()

    def before(key, start, length):
        if key.endswith("00001.bin"):
            assert ahead.wait(60)
        if key.endswith("00007.bin"):
            ahead.set()

    watch.before = before
    assert read(Loader(small_set(8), batch_size=2, num_workers=2, prefetch=3)) == [[0, 1], [2, 3], [4, 5], [6, 7]]


def test_epochs_are_repeated_until_another_one_is_set(small_set):
    loader = Loader(small_set(25), batch_size=25, shuffle=True, seed=4)
    first = read(loader)
    assert read(loader) == first
    assert loader.state_dict()["batches"] == 1
    loader.set_epoch(1)
    assert loader.epoch == 1
    assert loader.state_dict()["batches"] == 0
    assert read(loader) != first
    loader.set_epoch(0)
    assert read(loader) == first


def test_an_epoch_that_is_set_while_iterating_is_the_next_one(small_set):
    loader = Loader(small_set(25), batch_size=5, shuffle=True)
    whole = read(loader)
    batches = iter(loader)
    found = [numbers(next(batches))]
    loader.set_epoch(1)
    assert loader.state_dict()["epoch"] == 0
    assert found + read(batches) == whole
    assert read(loader) == read(Loader(small_set(25), batch_size=5, shuffle=True, epoch=1))


def test_another_epoch_forgets_the_place_of_a_state(small_set):
    loader = Loader(small_set(25), batch_size=5, shuffle=True)
    next(iter(loader))
    state = loader.state_dict()
    other = Loader(small_set(25), batch_size=5, shuffle=True)
    other.load_state_dict(state)
    other.set_epoch(3)
    assert len(read(other)) == 5


def test_a_new_iteration_ends_the_one_before(small_set):
    loader = Loader(small_set(9), batch_size=2)
    one = iter(loader)
    next(one)
    two = iter(loader)
    assert read(one) == []
    assert len(read(two)) == 5


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"batch_size": 3}, "batch_size"),
        ({"shuffle": True}, "shuffle"),
        ({"seed": 1}, "seed"),
        ({"drop_last": True}, "drop_last"),
        ({"shard_world_size": 2}, "shard_world_size"),
        ({"shard_rank": 1, "shard_world_size": 3}, "shard_rank"),
        ({"shard_workers": 2}, "shard_workers"),
    ],
)
def test_states_of_other_options_are_refused(small_set, change, named):
    state = Loader(small_set(9), batch_size=2).state_dict()
    with pytest.raises(UsageError, match=named):
        Loader(small_set(9), **{"batch_size": 2, **change}).load_state_dict(state)


@pytest.mark.parametrize("state", [{}, {"version": 9, "epoch": 0, "batches": 0, "ahead": [], "of": {}}, {"version": 1}])
def test_what_is_no_state_is_refused(small_set, state):
    with pytest.raises(UsageError, match="state"):
        Loader(small_set(9)).load_state_dict(state)


def test_states_of_another_dataset_are_refused(small_set, make_files):
    state = Loader(small_set(9)).state_dict()
    other = Dataset(make_files([4] * 9)[0])
    with pytest.raises(UsageError, match="another dataset"):
        Loader(other).load_state_dict(state)


def test_samples_of_one_size_are_one_array_and_others_a_list(make_files):
    base, contents = make_files([70, 70, 70, 5, 0])
    batches = list(Loader(Dataset(base), batch_size=3))
    assert batches[0].shape == (3, 70)
    assert [bytes(row) for row in batches[0]] == contents[:3]
    assert [bytes(sample) for sample in batches[1]] == contents[3:]
    assert isinstance(batches[1], list)


def test_batches_that_are_kept_stay_what_they_were(make_files):
    base, contents = make_files([5000] * 40)
    batches = list(Loader(Dataset(base), batch_size=4, num_workers=2))
    views = [row for batch in batches for row in batch]
    del batches
    assert [bytes(row) for row in views] == contents


def test_memory_is_used_again(make_files, monkeypatch):
    from penstock_training.loading import arenas

    base, _ = make_files([300_000] * 40)
    made = []
    plain = arenas.aligned_buffer
    monkeypatch.setattr(arenas, "aligned_buffer", lambda nbytes: made.append(nbytes) or plain(nbytes))
    for _ in Loader(Dataset(base), batch_size=2, num_workers=2, prefetch=2):
        pass
    assert 3 <= len(made) <= 5


def test_transform_gets_items_and_collate_gets_samples(small_set):
    dataset = small_set(7)
    seen = []

    def transform(item):
        assert item.name == dataset.name(item.number)
        return item.number, item.data.sum()

    def collate(samples):
        seen.append([number for number, _ in samples])
        return sum(int(total) for _, total in samples)

    loader = Loader(dataset, batch_size=3, transform=transform, collate=collate)
    assert list(loader) == [3, 12, 6]
    assert sorted(seen) == [[0, 1, 2], [3, 4, 5], [6]]
    assert [type(batch) for batch in Loader(dataset, batch_size=7, collate=list)] == [list]
    (columns,) = Loader(dataset, batch_size=7, transform=transform)
    assert columns[0].tolist() == list(range(7))


def test_a_copy_goes_on_where_the_loader_is(small_set):
    loader = Loader(small_set(9), batch_size=2, shuffle=True)
    whole = read(loader)
    assert read(pickle.loads(pickle.dumps(loader))) == whole
    batches = iter(loader)
    next(batches)
    copy = pickle.loads(pickle.dumps(loader))
    assert copy.state_dict() == loader.state_dict()
    assert read(copy) == whole[1:] == read(batches)
    assert read(copy) == whole


def test_more_ranks_than_samples_leave_some_with_none(small_set):
    sizes = [len(read(Loader(small_set(2), shard_rank=rank, shard_world_size=3))) for rank in range(3)]
    assert sizes == [1, 1, 0]


def test_without_workers_no_thread_is_started(small_set):
    before = set(threading.enumerate())
    for _ in Loader(small_set(9), num_workers=0):
        assert set(threading.enumerate()) <= before


def test_the_number_of_workers_is_that_of_threads_and_of_requests(small_set, watch):
    meeting = threading.Barrier(5)
    watch.before = lambda key, start, length: meeting.wait(60)
    batches = iter(Loader(small_set(20), batch_size=2, num_workers=5, prefetch=9))
    next(batches)
    assert len([thread for thread in threading.enumerate() if thread.name == "penstock-loader"]) == 5
    assert len(list(batches)) == 9
    assert watch.most == 5


def test_prefetch_is_how_many_batches_are_read_ahead(small_set, watch):
    for prefetch in (0, 1, 3):
        watch.gets.clear()
        batches = iter(Loader(small_set(20), batch_size=2, num_workers=2, prefetch=prefetch))
        next(batches)
        batches.close()
        assert 2 <= len(watch.gets) <= 2 * (1 + prefetch)
        batches = iter(Loader(small_set(20), batch_size=2, num_workers=2, prefetch=prefetch))
        watch.gets.clear()
        next(batches)
        until(lambda due=2 * (1 + prefetch): len(watch.gets) == due)
        batches.close()


def until(there):
    """Wait for what other threads bring about."""
    waiting = threading.Event()
    for _ in range(6000):
        if there():
            return
        waiting.wait(0.01)
    raise AssertionError("it did not come about in a minute")


class TestParts:
    def test_large_files_are_read_in_parts_side_by_side(self, make_files, watch):
        base, contents = make_files([100, 1000, 250, 0])
        meeting = threading.Barrier(2)
        watch.before = lambda key, start, length: meeting.wait(60) if length == 100 else None
        loader = Loader(
            Dataset(base), batch_size=4, reader="range", part_size=100, parts_in_flight=2, num_workers=1, collate=list
        )
        (batch,) = loader
        assert [bytes(sample) for sample in batch] == contents
        asked = sorted(get for get in watch.gets if get[0].endswith("1.bin"))
        assert [(start, length) for _, start, length in asked] == [(at, 100) for at in range(0, 1000, 100)]
        assert [get[1:] for get in sorted(watch.gets) if get[0].endswith("0.bin")] == [(0, None)]
        assert watch.most == 2

    def test_no_more_parts_of_a_file_are_under_way_than_asked_for(self, make_files, watch):
        base, contents = make_files([1000, 1000])
        under_way, most = {}, {}

        def before(key, start, length):
            under_way[key] = under_way.get(key, 0) + 1
            most[key] = max(most.get(key, 0), under_way[key])
            hold.wait(0.002)
            under_way[key] -= 1

        hold, watch.before = threading.Event(), before
        loader = Loader(
            Dataset(base), batch_size=2, reader="range", part_size=50, parts_in_flight=3, num_workers=4, collate=list
        )
        assert [bytes(sample) for sample in next(iter(loader))] == contents
        assert max(most.values()) <= 3

    @pytest.mark.parametrize("etag", [None, "changing"])
    def test_parts_of_no_known_version_are_read_in_one_piece(self, make_files, watch, etag):
        import itertools

        import attrs

        base, contents = make_files([1000])
        tags = itertools.count()
        watch.answer = lambda info: attrs.evolve(info, etag=etag and f"{next(tags)}")
        (batch,) = Loader(Dataset(base), reader="range", part_size=300, num_workers=1, parts_in_flight=2)
        assert bytes(batch[0]) == contents[0]
        assert watch.gets[-1][1:] == (0, None)

    def test_a_file_that_grew_is_named(self, make_files):
        import penstock

        base, _ = make_files([1000])
        dataset = Dataset(base)
        penstock.put(f"{base}00000.bin", bytes(1001))
        with pytest.raises(penstock.errors.LengthMismatchError, match="listed") as caught:
            list(Loader(dataset, reader="range", part_size=300))
        assert caught.value.uri == f"{base}00000.bin"

    def test_whole_files_take_one_request_each(self, make_files, watch):
        base, _ = make_files([1000, 2000])
        list(Loader(Dataset(base), part_size=10))
        assert sorted(get[1:] for get in watch.gets) == [(0, None), (0, None)]


def test_the_page_cache_mode_is_the_stores_option(tmp_path, monkeypatch):
    import penstock_file.store

    (tmp_path / "a").write_bytes(b"1234")
    seen = []
    plain = penstock_file.store.FileStore.__init__
    monkeypatch.setattr(
        penstock_file.store.FileStore,
        "__init__",
        lambda self, options: seen.append(options.page_cache) or plain(self, options),
    )
    dataset = Dataset(f"file://{tmp_path}")
    seen.clear()
    for mode in ("dontneed", "random", None):
        assert [bytes(batch[0]) for batch in Loader(dataset, page_cache_mode=mode)] == [b"1234"]
    assert seen == ["dontneed", "random", "auto"]


def test_stores_without_a_page_cache_refuse_its_mode(small_set):
    with pytest.raises(UnknownOptionError, match="page_cache"):
        next(iter(Loader(small_set(3), page_cache_mode="dontneed")))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"num_workers": -1}, "num_workers"),
        ({"prefetch": -1}, "prefetch"),
        ({"max_bytes_in_flight": 0}, "max_bytes_in_flight"),
        ({"order": "random"}, "order"),
        ({"reader": "ranges"}, "reader"),
        ({"part_size": 0}, "part_size"),
        ({"parts_in_flight": 0}, "parts_in_flight"),
        ({"timeout": -1}, "timeout"),
        ({"timeout": 5, "num_workers": 0}, "timeout"),
        ({"page_cache_mode": "never"}, "page_cache_mode"),
        ({"shard_rank": 1}, "shard_rank"),
        ({"batch_size": 2.5}, "batch_size is 2.5"),
        ({"batch_size": "2"}, "batch_size is '2'"),
        ({"seed": "x"}, "seed"),
        ({"epoch": 1.0}, "epoch"),
        ({"shuffle": "no"}, "shuffle"),
        ({"drop_last": 0.5}, "drop_last"),
        ({"num_workers": 1.5}, "num_workers"),
        ({"timeout": "5"}, "timeout"),
    ],
)
def test_what_can_not_be_is_named(small_set, options, named):
    with pytest.raises(UsageError, match=named):
        Loader(small_set(3), **options)


def test_numbers_of_numpy_are_numbers(small_set):
    loader = Loader(small_set(9), batch_size=np.int64(2), seed=np.uint8(3), epoch=np.int32(1), shuffle=np.True_)
    assert read(loader) == read(Loader(small_set(9), batch_size=2, seed=3, epoch=1, shuffle=True))
    assert json.loads(json.dumps(loader.state_dict())) == loader.state_dict()


def test_what_is_no_dataset_is_refused():
    with pytest.raises(UsageError, match=r"Dataset\("):
        Loader("mem://somewhere/")


def test_what_is_not_known_is_no_option(small_set):
    with pytest.raises(TypeError, match="num_worker"):
        Loader(small_set(3), num_worker=3)


def test_iterations_are_context_managers(small_set):
    with Loader(small_set(9)) as loader, iter(loader) as batches:
        next(batches)
    assert list(batches) == []
    assert isinstance(next(iter(loader)), np.ndarray)
    loader.close()
    loader.close()
