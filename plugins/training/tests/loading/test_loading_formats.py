"""Files that a format splits into samples."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import penstock
from penstock.errors import FormatError, UsageError
from penstock.samples import write_index
from penstock_training.loading import Dataset, Loader

_NAMES = itertools.count()

pytestmark = pytest.mark.usefixtures("no_threads_left")


def write(base, file, first, count, extra=()):
    samples = (
        {"n": np.array([number], dtype=np.int64), "text": b"x" * (number % 7)} for number in range(first, first + count)
    )
    penstock.write_samples(f"{base}{file}.tfrecord", [*samples, *extra])


@pytest.fixture(scope="module")
def records():
    """Four files of TFRecords that hold the numbers 0 to 39, one of them with an index beside it."""
    base = f"mem://records-{next(_NAMES)}/"
    first = 0
    for file, count in enumerate((7, 0, 23, 10)):
        write(base, file, first, count)
        first += count
    write_index(f"{base}2.tfrecord")
    return base


@pytest.fixture(scope="module")
def split(records):
    return Dataset(records, format="tfrecord")


def numbers(batch):
    return [int(sample["n"][0]) for sample in batch]


def test_samples_are_numbered_over_all_files(split, records):
    assert len(split) == 40
    assert [item.data["n"].tolist() for item in split.__getitems__([0, 39, 7, 29])] == [[0], [39], [7], [29]]
    item = split[8]
    assert (item.uri, item.index, item.name) == (f"{records}2.tfrecord", 1, f"{records}2.tfrecord#1")
    assert split.place(8) == (2, 1)
    assert list(split.names())[6:8] == [f"{records}0.tfrecord#6", f"{records}2.tfrecord#0"]
    assert split.nbytes(3) >= 8
    split.close()


@settings(max_examples=30, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "batch_size": st.integers(1, 12),
            "shuffle": st.booleans(),
            "num_workers": st.sampled_from([0, 2]),
            "reader": st.sampled_from(["whole", "range"]),
            "part_size": st.sampled_from([1, 300, 2**20]),
            "max_bytes_in_flight": st.sampled_from([1, 2000, 2**20]),
            "order": st.sampled_from(["sequential", "completion"]),
        }
    )
)
def test_loaders_read_every_sample_once(split, options):
    loader = Loader(split, collate=list, **options)
    due = [batch.tolist() for batch in loader.plan.batches()]
    found = [numbers(batch) for batch in loader]
    assert sorted(found) == sorted(due)
    assert options["order"] == "completion" or found == due


def test_neighbours_take_one_request(split, watch):
    loader = Loader(
        Dataset(pickle.loads(pickle.dumps(split)).files.bases[0], format="tfrecord"), batch_size=40, num_workers=4
    )
    watch.gets.clear()
    (batch,) = loader
    assert batch["n"].ravel().tolist() == list(range(40))
    assert len([key for key, _, _ in watch.gets if key.endswith(".tfrecord")]) <= 3 + 4


def test_indexes_are_read_once_and_travel_with_the_dataset(records, watch):
    dataset = Dataset(records, format="tfrecord")
    assert [key for key, _, _ in watch.gets if key.endswith(".idx")] == []
    assert set(dataset.split.indexes) == {0, 1, 2, 3}
    copy = pickle.loads(pickle.dumps(dataset))
    watch.gets.clear()
    assert copy[12].data["n"].tolist() == [12]
    assert len(watch.gets) == 1
    assert watch.gets[0][2] < 200


def test_random_access_reads_a_record_and_no_byte_beside_it(records, watch):
    dataset = Dataset(records, format="tfrecord")
    for number in (7, 12, 29, 39):
        file, index = dataset.place(number)
        ends = [int(line.split()[0]) + int(line.split()[1]) for line in dataset.split.indexes[file].splitlines()]
        start = ends[index - 1] if index else 0
        watch.gets.clear()
        assert dataset[number].data["n"].tolist() == [number]
        assert watch.gets == [(dataset.files.key(file), start, ends[index] - start)]
    dataset.close()


def test_a_file_that_is_named_alone_finds_its_index(records, watch):
    dataset = Dataset([f"{records}2.tfrecord", f"{records}0.tfrecord"], format="tfrecord")
    assert [item.data["n"].tolist() for item in dataset.__getitems__([0, 23])] == [[7], [0]]
    dataset.close()


def test_every_file_has_the_format_of_its_ending(records, make_files):
    base, _ = make_files([5, 6])
    dataset = Dataset([base, records], format="auto")
    assert len(dataset) == 42
    assert bytes(dataset[1].data["data"]) == penstock.get(f"{base}00001.bin")
    assert dataset[2].data["n"].tolist() == [0]
    penstock.put(f"{base}unknown", b"1")
    with pytest.raises(UsageError, match="unknown"):
        Dataset(base, format="auto")


def test_a_number_of_samples_that_is_told_is_not_looked_up_but_checked(make_files, watch):
    base = f"mem://records-{next(_NAMES)}/"
    for file in range(3):
        write(base, file, 10 * file, 10 if file < 2 else 9)
    dataset = Dataset(base, format="tfrecord", samples_per_file=10)
    assert not watch.gets
    assert len(dataset) == 30
    assert dataset[11].data["n"].tolist() == [11]
    with pytest.raises(FormatError, match=r"2.tfrecord has 9 samples where 10 were expected"):
        dataset[20]


@pytest.mark.parametrize("bad", range(6))
def test_a_damaged_sample_is_the_one_that_is_named(bad):
    base = f"mem://records-{next(_NAMES)}/"
    write(base, 0, 0, 6)
    dataset = Dataset(base, format="tfrecord")
    data = bytearray(penstock.get(f"{base}0.tfrecord"))
    at = data.index(b"n\x12")
    for _ in range(bad):
        at = data.index(b"n\x12", at + 1)
    data[at] ^= 1
    penstock.put(f"{base}0.tfrecord", data)
    loader = Loader(dataset, batch_size=4, collate=list)
    found = []
    with pytest.raises(FormatError, match=r"0\.tfrecord") as caught:
        found.extend(loader)
    assert f"0.tfrecord#{bad}" in "".join(caught.value.__notes__)
    assert [numbers(batch) for batch in found] == [[0, 1, 2, 3]][: bad // 4]


def test_files_of_one_sample_take_one_request_each(make_files, watch):
    base = f"mem://records-{next(_NAMES)}/"
    for file in range(4):
        write(base, file, file, 1)
    dataset = Dataset(base, format="tfrecord", samples_per_file=1)
    assert [numbers(batch) for batch in Loader(dataset, batch_size=2, collate=list)] == [[0, 1], [2, 3]]


def test_few_files_stay_open(records, monkeypatch):
    from penstock.samples import SampleFile

    now, most = [0], [0]
    plain_init, plain_close = SampleFile.__init__, SampleFile.close

    def init(self, *args):
        plain_init(self, *args)
        now[0] += 1
        most[0] = max(most[0], now[0])

    def close(self):
        plain_close(self)
        now[0] -= 1

    monkeypatch.setattr(SampleFile, "__init__", init)
    monkeypatch.setattr(SampleFile, "close", close)
    dataset = Dataset(records, format="tfrecord", max_open=1, threads=1)
    most[0] = 0
    assert sorted(numbers(batch)[0] for batch in Loader(dataset, shuffle=True, collate=list, num_workers=1)) == list(
        range(40)
    )
    assert most[0] == 2
    dataset.close()
    assert now[0] == 0


def test_memory_is_counted_by_samples(split, monkeypatch):
    from penstock_training.loading.fetching import Fetcher

    begun = []
    plain = Fetcher.begin
    monkeypatch.setattr(Fetcher, "begin", lambda self, batch: begun.append(batch.number) or plain(self, batch))
    budget = split.nbytes(0) * 3
    batches = iter(Loader(split, prefetch=30, max_bytes_in_flight=budget))
    next(batches)
    assert 2 <= len(begun) <= 4
    batches.close()
    split.close()


@pytest.mark.parametrize("named", ["directory", "alone", "auto"])
def test_a_file_that_is_not_of_the_format_is_named(make_files, named):
    base, _ = make_files([])
    write(base, 0, 0, 3)
    penstock.put(f"{base}1.tfrecord", b"this is no record of anything, however long it may be")
    with pytest.raises(FormatError) as caught:
        Dataset([f"{base}1.tfrecord"] if named == "alone" else base, format="auto" if named == "auto" else "tfrecord")
    assert str(caught.value).startswith(f"{base}1.tfrecord: ")
