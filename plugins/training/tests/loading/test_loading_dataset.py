"""Datasets: finding files, numbering samples, reading them by number, moving to other processes."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import penstock
from penstock.errors import ObjectNotFoundError, UnknownOptionError, UsageError
from penstock_training.loading import Dataset


@pytest.fixture
def tree(make_files):
    """A tree in memory: its URI."""
    base, _ = make_files([])
    for name in ("b/2.bin", "b/1.txt", "a/3.bin", "bb/4.bin", "a/é.bin", "top.bin"):
        penstock.put(base + name, name.encode())
    return base


def keys(dataset, base):
    return [name.removeprefix(base) for name in dataset.names()]


def test_a_directory_is_everything_below_it_in_order(tree):
    assert keys(Dataset(tree), tree) == ["a/3.bin", "a/é.bin", "b/1.txt", "b/2.bin", "bb/4.bin", "top.bin"]
    assert keys(Dataset(f"{tree}b"), tree) == ["b/1.txt", "b/2.bin"]
    assert keys(Dataset(f"{tree}b/"), tree) == ["b/1.txt", "b/2.bin"]


def test_patterns_and_globs_select(tree):
    assert keys(Dataset(tree, pattern="**/*.bin"), tree) == ["a/3.bin", "a/é.bin", "b/2.bin", "bb/4.bin", "top.bin"]
    assert keys(Dataset(f"{tree}b*/*.bin"), tree) == ["b/2.bin", "bb/4.bin"]
    with pytest.raises(UsageError, match="leave the pattern out"):
        Dataset(f"{tree}b*/*.bin", pattern="*")


def test_a_list_keeps_its_order_and_may_mix(tree):
    found = Dataset([f"{tree}top.bin", f"{tree}b/", f"{tree}a/*.bin", f"{tree}top.bin"])
    assert keys(found, tree) == ["top.bin", "b/1.txt", "b/2.bin", "a/3.bin", "a/é.bin", "top.bin"]
    assert [bytes(item.data) for item in found.__getitems__([5, 0, 3])] == [b"top.bin", b"top.bin", b"a/3.bin"]
    found.close()


@pytest.mark.parametrize("uri", ["absent", "absent/", "b/*.zip", "b/2"])
def test_what_names_nothing_is_named(tree, uri):
    with pytest.raises(ObjectNotFoundError) as caught:
        Dataset([tree, tree + uri])
    assert caught.value.uri == tree + uri


def test_several_stores_make_one_dataset(tree, tmp_path):
    (tmp_path / "local.bin").write_bytes(b"local")
    found = Dataset([f"file://{tmp_path}", f"{tree}a/"])
    assert [bytes(found[number].data) for number in range(3)] == [b"local", b"a/3.bin", "a/é.bin".encode()]
    assert found[0].uri == f"file://{tmp_path}/local.bin"


def test_samples_have_numbers_names_and_sizes(make_files):
    base, contents = make_files([5, 0, 70_000])
    found = Dataset(base)
    assert len(found) == 3
    for number in (0, 1, 2, -1):
        item = found[number]
        assert bytes(item.data) == contents[number]
        assert item.data.dtype == np.uint8
        assert item.number == number % 3
        assert item.index is None
        assert item.name == item.uri == found.name(number) == f"{base}{number % 3:05d}.bin"
        assert found.nbytes(number) == len(contents[number])
    assert found.place(-1) == (2, None)
    for number in (3, -4):
        for ask in (found.__getitem__, found.name, found.nbytes, lambda number: found.__getitems__([number])):
            with pytest.raises(IndexError, match="3 samples"):
                ask(number)


def test_listings_without_an_order_are_put_in_order(make_files, monkeypatch):
    base, _ = make_files([1] * 20)
    plain = penstock.Store.list

    def shuffled(self, *args, **options):
        return iter(sorted(plain(self, *args, **options), key=lambda info: hash((info.key, 1))))

    class Unordered:
        ordered = directories = False

    monkeypatch.setattr(penstock.Store, "list", shuffled)
    monkeypatch.setattr(penstock.Store, "capabilities", Unordered())
    assert keys(Dataset(base), base) == [f"{number:05d}.bin" for number in range(20)]


def test_reading_by_number_leaves_no_thread_after_close(make_files, no_threads_left):
    base, contents = make_files([3000, 0, 9_000_000, 12, 12])
    found = Dataset(base, threads=3)
    for order in ([2, 0, 1, 3, 4, 2], [], [4]):
        assert [bytes(item.data) for item in found.__getitems__(order)] == [contents[number] for number in order]
    found.close()
    found.close()
    assert bytes(found.__getitems__([3])[0].data) == contents[3]
    found.close()


def test_dropping_a_dataset_ends_its_threads(make_files, no_threads_left):
    import gc

    base, _ = make_files([3000] * 5)
    found = Dataset(base, threads=3)
    found.__getitems__(range(5))
    del found
    gc.collect()


def test_a_file_that_changed_since_the_listing_is_named(make_files):
    base, _ = make_files([100, 100, 0])
    found = Dataset(base)
    for number, data in enumerate((b"shorter", bytes(101), b"x")):
        penstock.put(f"{base}{number:05d}.bin", data)
        with pytest.raises(penstock.errors.LengthMismatchError, match="listed") as caught:
            found[number]
        assert caught.value.uri == f"{base}{number:05d}.bin"
    penstock.delete(f"{base}00000.bin")
    with pytest.raises(ObjectNotFoundError, match="00000"):
        found[0]


def contents_of(dataset):
    found = [bytes(item.data) for item in (dataset[0], *dataset.__getitems__([1, 2]))]
    dataset.close()
    return found


@pytest.fixture
def local(tmp_path):
    """A dataset of three local files that was used already, and whose directory has one more since."""
    for number in range(3):
        (tmp_path / str(number)).write_bytes(b"%d" % number)
    dataset = Dataset(f"file://{tmp_path}")
    assert contents_of(dataset) == [b"0", b"1", b"2"]
    dataset.__getitems__([1, 2])
    (tmp_path / "later").write_bytes(b"")
    yield dataset
    assert contents_of(dataset) == [b"0", b"1", b"2"]


def test_a_spawned_process_reads_it_without_listing(local):
    script = (
        "import pickle, sys\n"
        "found = pickle.loads(sys.stdin.buffer.read())\n"
        "print(len(found), found.fingerprint, *(bytes(item.data).decode() for item in found.__getitems__([2, 0, 1])))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], input=pickle.dumps(local), capture_output=True, check=True, timeout=120
    )
    assert done.stdout.decode().split() == ["3", local.fingerprint, "2", "0", "1"]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_reads_it_by_stores_of_its_own(local):
    here, there = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(there, b" ".join(contents_of(local)))
        finally:
            os._exit(0)
    os.close(there)
    with os.fdopen(here, "rb") as answer:
        assert answer.read() == b"0 1 2"
    assert os.waitpid(child, 0)[1] == 0


def test_the_fingerprint_tells_datasets_apart(make_files):
    base, _ = make_files([5, 6])
    prints = [
        Dataset(base).fingerprint,
        Dataset([f"{base}00000.bin"]).fingerprint,
        Dataset([f"{base}00001.bin", f"{base}00000.bin"]).fingerprint,
        Dataset(base, format="raw").fingerprint,
        Dataset(make_files([5, 6])[0]).fingerprint,
    ]
    assert len(set(prints)) == len(prints)
    assert Dataset(base).fingerprint == prints[0]
    penstock.put(f"{base}00001.bin", bytes(7))
    assert Dataset(base).fingerprint != prints[0]


def test_options_are_the_stores(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    assert bytes(Dataset(f"file://{tmp_path}", options={"page_cache": "dontneed"})[0].data) == b"1"
    with pytest.raises(UnknownOptionError, match="pagecache"):
        Dataset(f"file://{tmp_path}", options={"pagecache": "dontneed"})


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"uri": []}, "empty"),
        ({"uri": None}, "a URI is text, or a list of such, not NoneType"),
        ({"uri": Path("data")}, "a URI is text, or a list of such, not PosixPath: write str\\(path"),
        ({"uri": ["data", b"more"]}, "a URI is text, or a list of such, not bytes"),
        ({"format_options": {"a": 1}}, "format_options"),
        ({"samples_per_file": 2}, "samples_per_file"),
        ({"samples_per_file": 0, "format": "raw"}, "samples_per_file"),
        ({"threads": 0}, "threads"),
        ({"max_open": 0}, "max_open"),
    ],
)
def test_what_can_not_be_is_named(tree, options, named):
    with pytest.raises(UsageError, match=named):
        Dataset(**{"uri": tree, **options})


def test_a_table_of_many_files_is_compact():
    from penstock_training.loading.table import FileTable

    table = FileTable()
    for number in range(20_000):
        table.add("mem://x/", f"dir/{number:08d}", number)
    assert len(pickle.dumps(table)) < 20_000 * (20 + 12) + 1000
    assert table.uri(12_345) == "mem://x/dir/00012345"
    assert table.sizes().tolist() == list(range(20_000))
