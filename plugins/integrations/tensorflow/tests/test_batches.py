"""A loader as a tf.data.Dataset."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf
from penstock_tensorflow import TensorBatches, distributed_dataset, worker_shard

from penstock.errors import UsageError
from penstock_training.loading import Dataset, Loader


def sample(item):
    return {
        "x": item.data.astype(np.float32),
        "name": item.uri,
        "ragged": np.arange(item.number % 3, dtype=np.int64),
        "pair": (np.int32(item.number), np.float16(0.5)),
    }


def made(data, **how):
    return Loader(Dataset(data), **{"batch_size": 4, "shuffle": True, "seed": 1, "transform": sample, **how})


def firsts(dataset):
    return [batch["pair"][0].numpy().tolist() for batch in dataset]


def test_batches_are_the_loaders_with_a_signature_derived(data):
    with made(data) as loader:
        plain = list(loader)
        batches = TensorBatches(loader)
        dataset = batches.dataset()
        assert dataset.element_spec == batches.output_signature
        spec = dataset.element_spec
        assert spec["x"] == tf.TensorSpec((None, 4), tf.float32)
        assert spec["name"] == tf.TensorSpec((None,), tf.string)
        assert spec["ragged"] == tf.RaggedTensorSpec((None, None), tf.int64, ragged_rank=1)
        assert spec["pair"] == (tf.TensorSpec((None,), tf.int32), tf.TensorSpec((None,), tf.float16))
        found = list(dataset)
        assert len(found) == len(plain) == 5
        for ours, theirs in zip(found, plain, strict=True):
            assert np.array_equal(ours["x"], theirs["x"])
            assert [name.decode() for name in ours["name"].numpy()] == theirs["name"]
            assert ours["ragged"].to_list() == [row.tolist() for row in theirs["ragged"]]
            assert np.array_equal(ours["pair"][0], theirs["pair"][0])
        # Each iteration is an epoch, the one that set_epoch names.
        assert firsts(dataset) == [batch["pair"][0].tolist() for batch in plain]
        loader.set_epoch(1)
        other = firsts(dataset)
        assert other != [batch["pair"][0].tolist() for batch in plain]
        assert sorted(np.concatenate(other)) == list(range(20))


def test_an_epoch_named_after_the_signature_was_taken_counts(data):
    with made(data) as loader:
        loader.set_epoch(1)
        expected = [batch["pair"][0].tolist() for batch in loader]
        loader.set_epoch(0)
        batches = TensorBatches(loader)
        loader.set_epoch(1)
        assert firsts(batches.dataset()) == expected


@pytest.mark.parametrize("taken", range(6))
@pytest.mark.parametrize("derived", [True, False])
def test_resuming_gives_exactly_the_rest(data, taken, derived):
    with made(data) as loader:
        signature = TensorBatches(loader).output_signature
        whole = firsts(TensorBatches(loader).dataset())
        loader.set_epoch(0)
        batches = TensorBatches(loader, output_signature=None if derived else signature)
        # tf.data reads ahead of who counts.
        iterator = iter(batches.dataset().prefetch(3))
        begun = [next(iterator)["pair"][0].numpy().tolist() for _ in range(taken)]
        state = batches.state_dict(taken)
        del iterator
    with made(data) as loader:
        again = TensorBatches(loader, output_signature=signature)
        again.load_state_dict(state)
        dataset = again.dataset()
        assert begun + firsts(dataset) == whole
        # And the iteration after it is a whole epoch.
        assert firsts(dataset) == whole


def test_a_loader_that_was_resumed_goes_on_also_where_the_signature_is_derived(data):
    with made(data) as loader:
        whole = [batch["pair"][0].tolist() for batch in loader]
        iterator = iter(loader)
        next(iterator)
        state = loader.state_dict()
        loader.load_state_dict(state)
        assert firsts(TensorBatches(loader).dataset()) == whole[1:]


def test_places_that_were_not_reached_are_refused(data):
    with made(data) as loader:
        batches = TensorBatches(loader)
        assert batches.state_dict(0)["batches"] == 0
        with pytest.raises(UsageError, match="asked for 0"):
            batches.state_dict(1)
        firsts(batches.dataset())
        assert batches.state_dict(5)["batches"] == 5
        with pytest.raises(UsageError, match="asked for 5"):
            batches.state_dict(6)


def test_an_error_arrives_with_the_name_of_its_file(data):
    def fail(item):
        if item.number == 7:
            raise ValueError("planned")
        return item.data

    with made(data, shuffle=False, transform=fail) as loader:
        iterator = iter(TensorBatches(loader).dataset())
        next(iterator)
        with pytest.raises(tf.errors.OpError, match=r"(?s)planned.*07\.bin"):
            next(iterator)


def test_what_is_no_loader_is_refused(data):
    with made(data) as loader, pytest.raises(UsageError, match=r"takes a loader, not Dataset; write Loader\(dataset"):
        TensorBatches(loader.dataset)


def test_what_makes_no_tensor_is_refused_by_name(data):
    with pytest.raises(UsageError, match=r"batch\['a'\] is a list of object.*transform"):
        TensorBatches(made(data, transform=lambda item: {"a": object()}))
    with pytest.raises(UsageError, match=r"float64\[2, 1\], float64\[2, 2\]"):
        TensorBatches(made(data, shuffle=False, transform=lambda item: np.zeros((2, 1 + item.number % 2))))
    growing = TensorBatches(made(data, shuffle=False, transform=lambda item: np.zeros(2 + item.number // 4)))
    with pytest.raises(tf.errors.OpError, match=r"float64\[4, 3\], and float64\[None, 2\] was promised"):
        list(growing.dataset())
    with made(data) as loader:
        list(loader)
        state = loader.state_dict()
        loader.load_state_dict(state)
        with pytest.raises(UsageError, match="pass output_signature"):
            TensorBatches(loader)


def test_leaving_early_leaves_no_thread(data):
    before = set(threading.enumerate())
    with made(data) as loader:
        batches = TensorBatches(loader)
        for _ in batches.dataset().take(2):
            pass
        batches.close()
    assert [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("penstock")] == []


def test_workers_read_what_no_other_does(data):
    seen = []
    for rank in range(3):
        context = tf.distribute.InputContext(num_input_pipelines=3, input_pipeline_id=rank, num_replicas_in_sync=3)
        assert worker_shard(context) == (rank, 3)
        shard_rank, shard_world_size = worker_shard(context)
        with made(data, shard_rank=shard_rank, shard_world_size=shard_world_size) as loader:
            seen.append({int(number) for batch in firsts(TensorBatches(loader).dataset()) for number in batch})
    assert set.union(*seen) == set(range(20))
    assert sum(map(len, seen)) == 20


def test_a_strategy_takes_it(data):
    made_for = []

    def make(shard_rank, shard_world_size):
        made_for.append((shard_rank, shard_world_size))
        return made(data, shard_rank=shard_rank, shard_world_size=shard_world_size, transform=None)

    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    dataset = distributed_dataset(strategy, make)
    numbers = [int(number) for batch in dataset for number in batch.numpy()[:, 0]]
    assert sorted(numbers) == list(range(20))
    assert made_for == [(0, 1)]


def test_a_model_is_fitted_on_it(data):
    def pair(item):
        return item.data.astype(np.float32) / 20, np.float32(item.number / 20)

    model = tf.keras.Sequential([tf.keras.Input((4,)), tf.keras.layers.Dense(1)])
    model.compile(optimizer=tf.keras.optimizers.Adam(0.05), loss="mse")
    with made(data, transform=pair) as loader:
        history = model.fit(TensorBatches(loader).dataset(sized=True), epochs=15, shuffle=False, verbose=0).history[
            "loss"
        ]
    assert history[-1] < history[0]


def test_importing_the_package_imports_no_tensorflow():
    code = "import sys, penstock_tensorflow; print([name for name in ('tensorflow', 'numpy') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
