"""Small files of a directory: read in bulk, by one thread as long as that keeps up."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import oplog
from penstock.errors import LengthMismatchError, ObjectNotFoundError
from penstock_file.store import FileStore
from penstock_training.loading import Dataset, Loader, collate

pytestmark = pytest.mark.usefixtures("no_threads_left")


def contents(count, size=5):
    return [np.random.default_rng(number).bytes(size) for number in range(count)]


@pytest.fixture
def local(tmp_path):
    """A dataset of 40 files of one size."""
    for number, data in enumerate(contents(40)):
        (tmp_path / f"{number:05d}.bin").write_bytes(data)
    return Dataset(f"file://{tmp_path}")


@pytest.fixture
def bulk(monkeypatch):
    """The keys of each read in bulk; ``before`` is called with them."""

    class Seen:
        def __init__(self):
            self.keys = []
            self.before = lambda keys: None

    seen, plain = Seen(), FileStore.fill_many

    def fill_many(self, keys, rooms):
        seen.keys.append(list(keys))
        seen.before(keys)
        return plain(self, keys, rooms)

    monkeypatch.setattr(FileStore, "fill_many", fill_many)
    return seen


def reading():
    return [thread for thread in threading.enumerate() if thread.name == "penstock-loader"]


class TestInBulk:
    @settings(max_examples=30)
    @given(data=st.data())
    def test_whatever_the_sizes_each_sample_is_its_file_and_the_first_error_has_its_name(self, tmp_path_factory, data):
        sizes = data.draw(st.lists(st.sampled_from([0, 1, 64, 65]), min_size=1, max_size=24))
        if data.draw(st.booleans()):
            sizes = [7] * len(sizes)
        place = tmp_path_factory.mktemp("samples")
        due = []
        for number, size in enumerate(sizes):
            due.append(np.random.default_rng([number, size]).bytes(size))
            (place / f"{number:05d}.bin").write_bytes(due[-1])
        loader = Loader(
            Dataset(f"file://{place}"),
            batch_size=data.draw(st.integers(1, 9)),
            shuffle=data.draw(st.booleans()),
            num_workers=data.draw(st.sampled_from([None, 0, 1, 3])),
            collate=data.draw(st.sampled_from([list, collate])),
        )
        order = [number for batch in loader.plan.batches() for number in batch.tolist()]
        assert [bytes(sample) for batch in loader for sample in batch] == [due[number] for number in order]
        bad = data.draw(st.sampled_from(range(len(sizes))))
        (place / f"{bad:05d}.bin").write_bytes(b"x" * (sizes[bad] + data.draw(st.sampled_from([1, 100]))))
        before = []
        with pytest.raises(LengthMismatchError) as caught:
            before.extend(bytes(sample) for batch in loader for sample in batch)
        assert caught.value.uri == f"file://{place}/{bad:05d}.bin"
        assert before == [due[number] for number in order[: len(before)]]
        assert len(before) // loader.plan.batch_size == order.index(bad) // loader.plan.batch_size

    def test_a_file_that_went_is_named_and_the_batches_before_it_come(self, local, tmp_path):
        (tmp_path / "00017.bin").unlink()
        found = []
        with pytest.raises(ObjectNotFoundError) as caught:
            found.extend(Loader(local, batch_size=4))
        assert caught.value.uri == f"file://{tmp_path}/00017.bin"
        assert len(found) == 4

    def test_it_is_not_while_reads_are_recorded_each_of_which_is_a_row(self, local, bulk, tmp_path):
        assert len(list(Loader(local, batch_size=8))) == 5
        assert sorted(key for keys in bulk.keys for key in keys) == [local.files.key(n) for n in range(40)]
        bulk.keys.clear()
        with oplog.start(tmp_path / "log.tsv"):
            assert len(list(Loader(local, batch_size=8))) == 5
        assert not bulk.keys
        assert (tmp_path / "log.tsv").read_text().count("\tGET\t") == 40

    def test_page_cache_modes_are_told_for_each_file(self, local, monkeypatch):
        seen = []
        monkeypatch.setattr("penstock_file.cache.os.posix_fadvise", lambda *advice: seen.append(advice))
        list(Loader(local, page_cache_mode="dontneed"))
        assert len(seen) == 40

    def test_large_files_are_read_one_by_one(self, tmp_path, bulk):
        for number in range(3):
            (tmp_path / str(number)).write_bytes(b"x" * (128 * 1024 + 1))
        assert len(list(Loader(Dataset(f"file://{tmp_path}")))) == 3
        assert not bulk.keys


class TestThreads:
    def test_one_begins(self, local):
        batches = iter(Loader(local, batch_size=4, num_workers=3))
        assert len(reading()) == 1
        assert len(list(batches)) == 10

    @pytest.mark.parametrize("way", ["loop", "items"])
    def test_all_of_them_read_where_one_has_to_wait(self, local, bulk, way):
        # The first two reads wait for each other.
        both = threading.Barrier(2)
        left = iter([True, True])

        def before(keys):
            if next(left, False):
                both.wait(60)

        bulk.before = before
        if way == "loop":
            assert sum(map(len, Loader(local, batch_size=8, num_workers=2))) == 40
        else:
            assert [item.number for item in local.__getitems__(range(40))] == list(range(40))
            local.close()

    def test_all_of_them_transform_where_that_takes_long(self, local):
        both = threading.Barrier(2)
        left = iter([True, True])

        def transform(item):
            if next(left, False):
                both.wait(60)
            return item.number

        loader = Loader(local, batch_size=8, num_workers=2, transform=transform)
        assert [n for batch in loader for n in batch.tolist()] == list(range(40))

    def test_closing_before_the_others_came_leaves_none(self, local, bulk):
        batches = iter(Loader(local, batch_size=4, num_workers=4))
        next(batches)
        batches.close()
        assert not reading()
