"""A loader's batches on devices."""

from __future__ import annotations

import threading

import jax
import numpy as np
import pytest
from jax.sharding import NamedSharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P
from penstock_jax import DeviceBatches

from penstock.errors import UsageError
from penstock_training.loading import Dataset, Loader


def sample(item):
    return {"x": item.data.astype(np.float32), "name": item.uri, "pair": (item.number, np.int32(1))}


@pytest.fixture
def loader(data):
    with Loader(Dataset(data), batch_size=4, shuffle=True, seed=1, transform=sample) as loader:
        yield loader


def test_arrays_are_on_devices_and_the_rest_is_as_it_was(loader):
    plain = list(loader)
    found = list(DeviceBatches(loader))
    assert len(found) == len(plain) == len(DeviceBatches(loader)) == 5
    for ours, theirs in zip(found, plain, strict=True):
        assert isinstance(ours["x"], jax.Array)
        assert np.array_equal(ours["x"], theirs["x"])
        assert np.array_equal(ours["pair"][0], theirs["pair"][0])
        assert ours["name"] == theirs["name"]
        assert ours["x"].sharding == SingleDeviceSharding(jax.devices()[0])


@pytest.mark.parametrize("ahead", [0, 1, 3, 100])
def test_rows_go_to_the_devices_of_a_mesh(loader, ahead):
    sharding = NamedSharding(jax.sharding.Mesh(np.array(jax.devices()), ("data",)), P("data"))
    seen = []
    for batch in DeviceBatches(loader, sharding=sharding, ahead=ahead):
        assert batch["x"].sharding == sharding
        assert [shard.data.shape for shard in batch["x"].addressable_shards] == [(1, 4)] * 4
        seen += np.asarray(batch["x"])[:, 0].astype(int).tolist()
    assert sorted(seen) == list(range(20))


@pytest.mark.parametrize("ahead", [0, 2, 100])
@pytest.mark.parametrize("taken", range(6))
def test_a_state_is_that_of_what_was_handed_out(loader, ahead, taken):
    whole = [np.asarray(batch["x"])[:, 0].tolist() for batch in DeviceBatches(loader, ahead=ahead)]
    batches = DeviceBatches(loader, ahead=ahead)
    iterator = iter(batches)
    begun = [np.asarray(next(iterator)["x"])[:, 0].tolist() for _ in range(taken)]
    state = batches.state_dict()
    iterator.close()
    again = DeviceBatches(loader, ahead=ahead)
    again.load_state_dict(state)
    assert begun + [np.asarray(batch["x"])[:, 0].tolist() for batch in again] == whole


def test_batches_that_are_held_do_not_change(data):
    # The bytes of files lie in memory that the loader uses again.
    with Loader(Dataset(data), batch_size=2, prefetch=1, max_bytes_in_flight=16) as loader:
        held = list(DeviceBatches(loader))
    assert [np.asarray(batch)[:, 0].tolist() for batch in held] == [[n, n + 1] for n in range(0, 20, 2)]


def test_ending_early_leaves_no_thread(loader):
    before = set(threading.enumerate())
    iterator = iter(DeviceBatches(loader, ahead=2))
    next(iterator)
    iterator.close()
    assert [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("penstock")] == []


@pytest.mark.parametrize("ahead", [0, 3])
def test_an_error_comes_after_the_batches_before_it_and_names_its_file(data, ahead):
    uri = f"{data}07.bin"

    def fail(item):
        if item.uri == uri:
            raise ValueError("planned")
        return item.data

    seen = []
    with Loader(Dataset(data), transform=fail) as loader:
        batches = DeviceBatches(loader, ahead=ahead)
        with pytest.raises(ValueError, match="planned") as caught:
            seen.extend(int(batch[0, 0]) for batch in batches)
        assert seen == list(range(7))
        again = DeviceBatches(loader)
        again.load_state_dict(batches.state_dict())
        with pytest.raises(ValueError, match="planned"):
            next(iter(again))
    assert any(uri in note for note in caught.value.__notes__)


def test_wrong_settings_are_refused(loader):
    with pytest.raises(UsageError, match="ahead"):
        DeviceBatches(loader, ahead=-1)
    with pytest.raises(UsageError, match=r"takes a loader, not Dataset; write Loader\(dataset"):
        DeviceBatches(loader.dataset)


def test_importing_the_package_imports_no_jax():
    import subprocess
    import sys

    code = "import sys, penstock_jax; print([name for name in ('jax', 'grain', 'numpy') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
