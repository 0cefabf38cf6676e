"""Parts of files: what comes back, and how many requests it takes."""

from __future__ import annotations

import threading

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import ObjectNotFoundError, PreconditionFailedError, UsageError

DATA = bytes(range(256)) * 40
bounds = st.none() | st.integers(-len(DATA) - 10, len(DATA) + 10)


@pytest.fixture(scope="module")
def shared():
    fs = fsspec.filesystem("penstock+mem", read_part_size=256, merge_gap=16)
    fs.pipe({f"test-ranges/{name}": DATA[number:] for number, name in enumerate("abc")})
    return fs


@given(start=bounds, end=bounds)
@settings(max_examples=60, deadline=None)
def test_a_part_is_the_slice_of_that_name(shared, start, end):
    assert shared.cat_file("test-ranges/a", start, end) == DATA[start:end]


@given(
    wanted=st.lists(st.tuples(st.sampled_from("abc"), bounds, bounds), max_size=20), gap=st.none() | st.integers(0, 99)
)
@settings(max_examples=60, deadline=None)
def test_many_parts_are_the_slices_in_the_order_asked(shared, wanted, gap):
    paths = [f"test-ranges/{name}" for name, _, _ in wanted]
    found = shared.cat_ranges(paths, [each[1] for each in wanted], [each[2] for each in wanted], max_gap=gap)
    assert found == [DATA["abc".index(name) :][start:end] for name, start, end in wanted]


def test_neighbours_are_one_request_and_strangers_are_not(mem, requests):
    path = f"{mem.path}/x"
    mem.fs.pipe_file(path, DATA * 100)
    starts = [0, 100, 1000, 500_000, 500_010, 900_000]
    found = mem.fs.cat_ranges([path] * 6, starts, [start + 50 for start in starts])
    assert found == [(DATA * 100)[start : start + 50] for start in starts]
    assert sorted(request[1:] for request in requests) == [(0, 1050), (500_000, 60), (900_000, 50)]
    del requests[:]
    mem.fs.cat_ranges([path] * 6, starts, [start + 50 for start in starts], max_gap=0)
    # Those at 500_000 and 500_010 overlap.
    assert len(requests) == 5


def test_requests_of_many_files_are_under_way_at_once(mem, monkeypatch):
    from penstock.memory import MemoryStore

    paths = [f"{mem.path}/{number}" for number in range(8)]
    mem.fs.pipe(dict.fromkeys(paths, DATA))
    together = threading.Barrier(8, timeout=60)
    plain = MemoryStore.get

    def get(*args, **options):
        together.wait()
        return plain(*args, **options)

    monkeypatch.setattr(MemoryStore, "get", get)
    assert mem.fs.cat_ranges(paths, 3, 5) == [DATA[3:5]] * 8
    assert mem.fs.cat(paths) == dict.fromkeys(paths, DATA)


def test_a_whole_short_file_is_one_request_and_a_long_one_goes_on_in_parts(mem, requests):
    fs = fsspec.filesystem("penstock+mem", read_part_size=1000)
    fs.pipe({f"{mem.path}/short": DATA[:2000], f"{mem.path}/long": DATA})
    assert fs.cat_file(f"{mem.path}/short") == DATA[:2000]
    assert len(requests) == 1
    del requests[:]
    assert fs.cat_file(f"{mem.path}/long") == DATA
    assert len(requests) == 1 + 9
    assert {length for _, _, length in requests[1:]} <= {915, 916}


def test_what_can_not_be_read_has_its_error_in_the_answer(mem):
    mem.fs.pipe_file(f"{mem.path}/a", b"0123")
    paths = [f"{mem.path}/a", f"{mem.path}/none", f"{mem.path}/none"]
    good, missing, from_the_end = mem.fs.cat_ranges(paths, [1, 1, -2], [3, 3, None])
    assert good == b"12"
    assert isinstance(missing, FileNotFoundError)
    assert isinstance(from_the_end, ObjectNotFoundError)
    assert f"{mem.path}/none".partition("/")[2] in str(missing)
    with pytest.raises(FileNotFoundError):
        mem.fs.cat_ranges(paths, 0, 1, on_error="raise")
    with pytest.raises(FileNotFoundError):
        mem.fs.cat_file(f"{mem.path}/none", 5, 5)


def test_ranges_of_two_versions_are_never_mixed(mem, monkeypatch):
    from penstock.memory import MemoryStore

    path = f"{mem.path}/x"
    mem.fs.pipe_file(path, b"old" * 100_000)
    plain = MemoryStore.get

    def get(self, key, sink, /, *, start=0, length=None, if_match=None):
        info = plain(self, key, sink, start=start, length=length, if_match=if_match)
        monkeypatch.setattr(MemoryStore, "get", plain)
        self.put(key, b"new" * 100_000)
        return info

    monkeypatch.setattr(MemoryStore, "get", get)
    fs = fsspec.filesystem("penstock+mem", read_concurrency=1)
    found = fs.cat_ranges([path] * 2, [0, 200_000], [3, 200_003])
    assert [type(each) for each in found] == [PreconditionFailedError] * 2


@pytest.mark.parametrize("wrong", [{"paths": "x"}, {"starts": [1, 2]}, {"ends": [1, 2]}])
def test_wrong_arguments_are_refused(mem, wrong):
    with pytest.raises((TypeError, ValueError)):
        mem.fs.cat_ranges(**({"paths": ["x"], "starts": [0], "ends": [1]} | wrong))


@pytest.mark.parametrize("wrong", [{"read_part_size": 0}, {"read_concurrency": 0}, {"merge_gap": -1}])
def test_wrong_settings_are_refused_by_name(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        fsspec.filesystem("penstock+mem", **wrong)
