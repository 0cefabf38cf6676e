"""Grain over a dataset."""

from __future__ import annotations

import pickle

import grain.python as grain
import numpy as np
import pytest
from penstock_jax import GrainSource

import penstock
from penstock_training.loading import Dataset


def first_byte(item):
    return int(item.data[0])


@pytest.fixture
def source(data):
    return GrainSource(Dataset(data), transform=first_byte)


def test_samples_by_number(source):
    assert isinstance(source, grain.RandomAccessDataSource)
    assert len(source) == 20
    assert [source[number] for number in (0, np.int64(7), -1)] == [0, 7, 19]
    assert source.__getitems__([3, 1, 19, 3]) == source._getitems([3, 1, 19, 3]) == [3, 1, 19, 3]
    with pytest.raises(IndexError):
        source[20]
    again = pickle.loads(pickle.dumps(source))
    assert (repr(again), again[5]) == (repr(source), 5)


def test_its_repr_tells_datasets_apart_and_is_the_same_in_every_process(data):
    plain, other = GrainSource(Dataset(data)), GrainSource(Dataset(data, pattern="0*"))
    assert repr(plain) == repr(GrainSource(Dataset(data)))
    assert repr(plain) != repr(other)
    assert "first_byte" in repr(GrainSource(Dataset(data), transform=first_byte))
    assert "0x" not in repr(GrainSource(Dataset(data), transform=lambda item: 1)).replace("<locals>", "")


def test_a_map_dataset_resumes_exactly(source):
    def pipeline():
        return iter(grain.MapDataset.source(source).seed(3).shuffle().batch(4).to_iter_dataset())

    whole = [batch.tolist() for batch in pipeline()]
    assert sorted(number for batch in whole for number in batch) == list(range(20))
    first = pipeline()
    assert [next(first).tolist() for _ in range(2)] == whole[:2]
    again = pipeline()
    again.set_state(first.get_state())
    assert [batch.tolist() for batch in again] == whole[2:]


def test_a_data_loader_shards_and_resumes(source):
    def loader(shard):
        sampler = grain.IndexSampler(
            num_records=len(source),
            shard_options=grain.ShardOptions(shard, 2, drop_remainder=True),
            shuffle=True,
            num_epochs=1,
            seed=5,
        )
        return grain.DataLoader(data_source=source, sampler=sampler, worker_count=0)

    parts = [[int(x) for x in loader(shard)] for shard in range(2)]
    assert sorted(parts[0] + parts[1]) == list(range(20))
    iterator = iter(loader(0))
    begun = [int(next(iterator)) for _ in range(3)]
    again = iter(loader(0))
    again.set_state(iterator.get_state())
    assert begun + [int(x) for x in again] == parts[0]


def test_a_batch_is_read_at_once(requests):
    uri = "mem://test-jax-batched/"
    for number in range(16):
        penstock.put(f"{uri}{number:02}", bytes([number]))
    source = GrainSource(Dataset(uri))
    del requests[:]
    assert [int(element[0]) for element in source._getitems(list(range(16)))] == list(range(16))
    assert len(requests) == 16
