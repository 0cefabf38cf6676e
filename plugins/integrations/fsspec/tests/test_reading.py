"""Files that are read."""

from __future__ import annotations

import gzip
import io
import pickle

import fsspec
import pytest

from penstock.errors import PreconditionFailedError, UnsupportedOperationError, UsageError

DATA = b"".join(b"line %06d\n" % number for number in range(20_000))


@pytest.fixture
def path(every_base):
    every_base.fs.pipe_file(f"{every_base.path}/text.txt", DATA)
    return f"{every_base.path}/text.txt"


def test_a_file_reads_as_a_file_does(every_base, path):
    with every_base.fs.open(path, block_size=10_000) as file, io.BytesIO(DATA) as plain:
        for step in (10, 5000, 0, 30_000, 7, 100_000):
            assert file.read(step) == plain.read(step)
            assert file.tell() == plain.tell()
        for offset, whence in ((5, 0), (70, 1), (-40, 2), (-7, 1)):
            assert file.seek(offset, whence) == plain.seek(offset, whence)
            assert file.readline() == plain.readline()
        for size in (100, 50_000, 1_000_000, 10):
            file.seek(77)
            plain.seek(77)
            ours, theirs = bytearray(size), bytearray(size)
            assert file.readinto(ours) == plain.readinto(theirs)
            assert ours == theirs
        file.seek(0)
        assert list(file) == DATA.splitlines(keepends=True)
        assert file.read() == b""


# The one on a mapped file leaves that file to the collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("cache", ["none", "readahead", "bytes", "blockcache", "mmap", "all", "first", "background"])
def test_every_cache_of_fsspec_gives_the_same_bytes(mem, cache):
    mem.fs.pipe_file(f"{mem.path}/x", DATA)
    with mem.fs.open(f"{mem.path}/x", block_size=4096, cache_type=cache) as file:
        for start in (0, 100_000, 50, len(DATA) - 10, 99_990):
            file.seek(start)
            assert file.read(20) == DATA[start : start + 20]


def test_small_reads_of_a_block_are_one_request(mem, requests):
    mem.fs.pipe_file(f"{mem.path}/x", DATA)
    with mem.fs.open(f"{mem.path}/x", block_size=64 * 1024) as file:
        for _ in range(100):
            file.read(100)
    assert len(requests) == 1
    assert requests[0][2] < 66_000


def test_the_file_system_says_how_files_are_read_where_the_call_does_not(mem):
    fs = fsspec.filesystem("penstock+mem", default_block_size=1234, default_cache_type="bytes")
    fs.pipe_file(f"{mem.path}/x", DATA)
    with fs.open(f"{mem.path}/x") as file:
        assert (file.blocksize, file.cache.name) == (1234, "bytes")


def test_a_file_is_of_the_version_that_was_opened(mem):
    path = f"{mem.path}/x"
    mem.fs.pipe_file(path, DATA)
    with mem.fs.open(path, block_size=100) as file:
        assert file.read(10) == DATA[:10]
        mem.fs.pipe_file(path, DATA[::-1])
        file.seek(100_000)
        with pytest.raises(PreconditionFailedError):
            file.read(10)
    with mem.fs.open(path) as file:
        assert file.read() == DATA[::-1]


def test_a_file_pickles_with_its_place_and_its_version(every_base, path):
    file = every_base.fs.open(path, block_size=1000)
    file.seek(500)
    with pickle.loads(pickle.dumps(file)) as copy:
        assert copy.read(30) == DATA[500:530]
    file.close()
    assert pickle.loads(pickle.dumps(file)).closed
    with pytest.raises(ValueError, match="closed"):
        file.readinto(bytearray(10))


def test_text_and_compression(every_base, path):
    fs = every_base.fs
    with fs.open(path, "r", encoding="ascii") as file:
        assert file.readline() == "line 000000\n"
        assert sum(1 for _ in file) == 19_999
    fs.pipe_file(f"{every_base.path}/x.gz", gzip.compress(DATA))
    with fs.open(f"{every_base.path}/x.gz", compression="infer") as file:
        assert file.read() == DATA
    with fs.open(f"{every_base.path}/x.gz", "rt", compression="gzip") as file:
        assert sum(1 for _ in file) == 20_000


def test_what_is_not_there_raises_when_it_is_opened(every_base):
    with pytest.raises(FileNotFoundError):
        every_base.fs.open(f"{every_base.path}/none")
    every_base.fs.pipe_file(f"{every_base.path}/dir/x", b"1")
    with pytest.raises(FileNotFoundError):
        every_base.fs.open(f"{every_base.path}/dir")


@pytest.mark.parametrize("mode", ["ab", "a", "r+b", "wb+"])
def test_modes_that_objects_can_not_have_are_refused(mem, mode):
    with pytest.raises(UnsupportedOperationError, match="read, or written whole"):
        mem.fs.open(f"{mem.path}/x", mode)


def test_arguments_of_the_other_direction_are_refused(mem):
    with pytest.raises(UsageError, match="read"):
        mem.fs.open(f"{mem.path}/x", "wb", cache_type="bytes")
    with pytest.raises(UsageError, match="written"):
        mem.fs.open(f"{mem.path}/x", "rb", content_type="text/plain")
