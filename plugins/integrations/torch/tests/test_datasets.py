"""Datasets: what a DataLoader gets of them, in how many processes it may run, and where it goes on."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings
from hypothesis import strategies as st
from penstock_torch import IterableDataset, MapDataset, Node, to_tensors
from torch.utils.data import DataLoader
from torchdata.nodes import Batcher
from torchdata.nodes import Loader as NodeLoader
from torchdata.stateful_dataloader import StatefulDataLoader

from penstock.errors import ObjectNotFoundError, UsageError
from penstock_training.loading import Dataset

COUNT = 53

# torchdata's own call of something that torch has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated, please do not call:UserWarning")


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """Files of 4 bytes, each of its number."""
    where = tmp_path_factory.mktemp("samples")
    for number in range(COUNT):
        (where / f"{number:03d}.bin").write_bytes(bytes([number] * 4))
    return where


def numbers(batches):
    return [batch[:, 0].tolist() for batch in batches]


def flat(lists):
    return [number for some in lists for number in some]


def test_a_sample_is_a_tensor_of_its_own_bytes(directory):
    dataset = MapDataset(str(directory))
    assert len(dataset) == COUNT
    assert dataset[7].tolist() == [7] * 4
    one, two, again = dataset.__getitems__([50, 2, 50])
    assert (one.tolist(), two.tolist(), again.tolist()) == ([50] * 4, [2] * 4, [50] * 4)
    one.fill_(99)
    assert again.tolist() == [50] * 4, "who writes into a sample changes no other"
    with pytest.raises(IndexError):
        dataset[COUNT]


def test_a_transform_gets_the_sample_with_its_name(directory):
    dataset = MapDataset(
        Dataset(str(directory)), transform=lambda item: (item.number, item.uri, item.data.sum().item())
    )
    number, uri, total = dataset[3]
    assert (number, total) == (3, 12)
    assert uri.endswith("/003.bin")
    with pytest.raises(UsageError, match="a Dataset has its own"):
        MapDataset(Dataset(str(directory)), pattern="*.bin")


@pytest.mark.parametrize("start", ["fork", "forkserver", "spawn"])
def test_workers_start_in_each_way(directory, start):
    mapped = MapDataset(str(directory))
    # What the parent has open already, threads too, must not disturb the children.
    assert len(mapped.__getitems__(list(range(10)))) == 10
    loader = DataLoader(mapped, batch_size=9, num_workers=1, multiprocessing_context=start)
    assert flat(numbers(loader)) == list(range(COUNT))


def test_batches_do_not_depend_on_the_number_of_workers(directory):
    dataset = IterableDataset(str(directory), batch_size=8, shuffle=True, seed=3)
    assert flat(numbers(dataset)) != list(range(COUNT))
    runs = [
        numbers(
            DataLoader(
                dataset, batch_size=None, num_workers=workers, multiprocessing_context="fork" if workers else None
            )
        )
        for workers in (0, 2)
    ]
    assert runs[0] == runs[1] == numbers(dataset)
    assert len(DataLoader(dataset, batch_size=None, num_workers=2)) == len(dataset) == len(runs[0]) == 7
    assert sorted(flat(runs[0])) == list(range(COUNT))


def test_samples_come_one_by_one_too(directory):
    dataset = IterableDataset(str(directory), shuffle=True, seed=3)
    with pytest.raises(TypeError, match="has no length"):
        len(dataset)
    assert sorted(sample[0].item() for sample in dataset) == list(range(COUNT))
    loaded = DataLoader(dataset, batch_size=5, num_workers=2, multiprocessing_context="fork")
    assert sorted(flat(numbers(loaded))) == list(range(COUNT))
    iteration = iter(dataset)
    assert len(list(iteration)) == COUNT
    assert list(iteration) == [], "what is over stays over"


def test_an_epoch_reaches_workers_that_outlive_the_one_before(directory):
    dataset = IterableDataset(str(directory), batch_size=8, shuffle=True, seed=3)
    alone = []
    for epoch in (0, 1):
        dataset.set_epoch(epoch)
        alone.append(numbers(dataset))
    assert alone[0] != alone[1]
    loader = DataLoader(
        dataset, batch_size=None, num_workers=2, persistent_workers=True, multiprocessing_context="fork"
    )
    for epoch in (0, 1, 0):
        dataset.set_epoch(epoch)
        assert numbers(loader) == alone[epoch]


@given(
    ranks=st.integers(1, 4),
    batch_size=st.none() | st.integers(1, 9),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=20)
def test_ranks_share_the_samples_out(directory, ranks, batch_size, shuffle, drop_last, seed):
    source = Dataset(str(directory))
    shares = []
    for rank in range(ranks):
        dataset = IterableDataset(
            source,
            batch_size=batch_size,
            shuffle=shuffle,
            seed=seed,
            drop_last=drop_last,
            shard_rank=rank,
            shard_world_size=ranks,
            threads=0,
        )
        shares.append([int(number) for some in dataset for number in (some[:, 0] if batch_size else some[:1])])
    given = flat(shares)
    assert len(set(given)) == len(given)
    if drop_last:
        assert len({len(share) for share in shares}) == 1
    else:
        assert sorted(given) == list(range(COUNT))


def test_the_rank_is_that_of_the_group_and_travels_to_workers(directory, monkeypatch):
    dataset = IterableDataset(str(directory), batch_size=4)
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_rank", lambda: 1)
    monkeypatch.setattr(dist, "get_world_size", lambda: 3)
    mine = flat(numbers(dataset))
    assert len(mine) == 18
    sent = pickle.dumps(dataset)
    monkeypatch.undo()
    assert flat(numbers(pickle.loads(sent))) == mine, "a spawned worker knows no group"
    assert len(flat(numbers(dataset))) == COUNT


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batch_size", [7, None])
def test_a_stateful_loader_goes_on_with_just_the_rest(directory, workers, batch_size):
    def loader():
        dataset = IterableDataset(str(directory), batch_size=batch_size, shuffle=True, seed=5)
        context = "fork" if workers else None
        return StatefulDataLoader(
            dataset, batch_size=None if batch_size else 3, num_workers=workers, multiprocessing_context=context
        )

    whole = numbers(loader())
    begun = loader()
    iteration = iter(begun)
    first = numbers(next(iteration) for _ in range(4))
    state = pickle.loads(pickle.dumps(begun.state_dict()))
    del iteration
    going_on = loader()
    going_on.load_state_dict(state)
    assert first + numbers(going_on) == whole


@pytest.mark.parametrize("batch_size", [7, None])
def test_an_iteration_goes_on_anywhere(directory, batch_size):
    dataset = IterableDataset(str(directory), batch_size=batch_size, shuffle=True, seed=5, threads=0)
    whole = [value.tolist() for value in dataset]
    for count in range(len(whole) + 1):
        iteration = iter(dataset)
        for _ in range(count):
            next(iteration)
        state = json.loads(json.dumps(iteration.state_dict()))
        dataset.set_epoch(9)  # the state knows its own
        rest = iter(dataset)
        dataset.set_epoch(0)
        rest.load_state_dict(state)
        assert rest.state_dict() == state
        assert [value.tolist() for value in rest] == whole[count:]


def test_a_state_of_something_else_is_refused(directory):
    state = iter(IterableDataset(str(directory), batch_size=4)).state_dict()
    with pytest.raises(UsageError, match="batch_size"):
        iter(IterableDataset(str(directory), batch_size=5)).load_state_dict(state)
    with pytest.raises(UsageError, match="no state of a penstock dataset"):
        iter(IterableDataset(str(directory))).load_state_dict({"a": 1})


def test_nodes_take_it_as_their_source(directory):
    def loader():
        return NodeLoader(
            Batcher(Node(IterableDataset(str(directory), shuffle=True, seed=1)), batch_size=6, drop_last=False)
        )

    def run(batches):
        return [[int(sample[0]) for sample in batch] for batch in batches]

    whole = run(loader())
    assert sorted(flat(whole)) == list(range(COUNT))
    begun = loader()
    iteration = iter(begun)
    first = run(next(iteration) for _ in range(3))
    state = begun.state_dict()
    going_on = loader()
    going_on.load_state_dict(state)
    assert first + run(going_on) == whole
    again = Node(IterableDataset(str(directory), batch_size=10))
    assert flat(numbers(again)) == list(range(COUNT))
    again.reset()
    assert flat(numbers(again)) == list(range(COUNT))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("kind", [MapDataset, IterableDataset])
def test_an_error_names_the_object(tmp_path, kind, workers):
    for number in range(6):
        (tmp_path / f"{number}.bin").write_bytes(b"1234")
    dataset = kind(str(tmp_path))
    (tmp_path / "4.bin").unlink()
    loader = DataLoader(dataset, batch_size=2, num_workers=workers, multiprocessing_context="fork" if workers else None)
    iterator = iter(loader)
    with pytest.raises(ObjectNotFoundError, match=r"/4\.bin"):
        list(iterator)
    if workers:
        # The error keeps its frames, they keep the iterator, and that keeps its worker.
        iterator._shutdown_workers()


@pytest.mark.parametrize(
    "options",
    [
        {"shard_rank": 1},
        {"shard_rank": 2, "shard_world_size": 2},
        {"batch_size": 0},
        {"collate": list},
        {"prefetch": -1},
    ],
)
def test_impossible_options_are_refused_at_once(directory, options):
    with pytest.raises(UsageError):
        IterableDataset(str(directory), **options)


def test_batches_may_be_made_by_anybody(directory):
    tupled = IterableDataset(str(directory), batch_size=4, collate=tuple)
    assert isinstance(next(iter(tupled)), tuple)
    stacked = IterableDataset(str(directory), batch_size=4, transform=lambda item: {"x": item.data, "n": item.number})
    first = next(iter(stacked))
    assert first["n"].tolist() == [0, 1, 2, 3]
    assert first["x"].shape == (4, 4)


@pytest.mark.parametrize("dtype", ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"])
def test_arrays_share_their_memory_with_tensors(dtype):
    array = np.zeros((2, 3), dtype=dtype)
    tensor = to_tensors(array)
    assert tensor.numpy().dtype == array.dtype
    tensor[1, 2] = 1
    assert array[1, 2] == 1


def test_what_torch_cannot_share_is_copied_or_left():
    array = np.arange(6, dtype="<f4").reshape(2, 3)
    fixed = array.copy()
    fixed.flags.writeable = False
    for odd in (fixed, array.astype(">f4"), array[:, ::-1][:, ::-1], array[::-1][::-1]):
        assert torch.equal(to_tensors(odd), torch.from_numpy(array))
    turned = to_tensors(array[::-1])
    assert turned.tolist() == array[::-1].tolist()
    text = np.array(["a", "b"])
    value = to_tensors({"text": text, "pair": (array, b"bytes"), "list": [array, 3]})
    assert value["text"] is text
    assert isinstance(value["pair"][0], torch.Tensor)
    assert value["pair"][1] == b"bytes"
    assert value["list"][1] == 3
