"""Files that are written: visible when they are closed, whole, and not otherwise."""

from __future__ import annotations

import gc
import pickle
import warnings

import fsspec
import pytest

from penstock.errors import StoreError, UnsupportedOperationError

DATA = bytes(range(256)) * 3000


@pytest.mark.parametrize("step", [1000, 300_000, len(DATA)])
def test_nothing_is_there_before_the_file_is_closed(every_base, step):
    fs, path = every_base.fs, f"{every_base.path}/x"
    file = fs.open(path, "wb")
    for start in range(0, len(DATA), step):
        assert file.write(DATA[start : start + step]) == len(DATA[start : start + step])
    file.flush()
    assert (file.tell(), fs.exists(path)) == (len(DATA), False)
    file.close()
    file.close()
    assert fs.cat_file(path) == DATA
    with pytest.raises(ValueError, match="closed"):
        file.write(b"more")


class PlannedError(Exception): ...


@pytest.mark.parametrize("options", [{}, {"mode": "w"}, {"compression": "gzip"}, {"mode": "w", "compression": "gzip"}])
@pytest.mark.parametrize("opened_by", ["the file system", "fsspec"])
@pytest.mark.parametrize("kept", [True, False], ids=["closed", "failed"])
def test_a_block_that_raises_stores_nothing(base, options, opened_by, kept):
    options = {"mode": "wb"} | options
    text = "b" not in options["mode"]
    path = f"{base.path}/x"
    base.fs.pipe_file(path, b"before")
    opened = (
        base.fs.open(path, **options) if opened_by == "the file system" else fsspec.open(base.uri + "/x", **options)
    )
    written = "text" * 100_000 if text else DATA
    if kept:
        with opened as file:
            file.write(written)
    else:
        with pytest.raises(PlannedError), opened as file:  # noqa: PT012
            file.write(written)
            raise PlannedError
        assert base.fs.cat_file(path) == b"before"
        return
    with base.fs.open(path, options["mode"].replace("w", "r"), compression=options.get("compression")) as file:
        assert file.read() == written


def test_an_exception_that_is_merely_being_handled_discards_nothing(mem):
    try:
        raise PlannedError
    except PlannedError:
        with fsspec.open(f"{mem.uri}/a", "wb") as file:
            file.write(b"1")
    opened = fsspec.open(f"{mem.uri}/b", "wb")
    file = opened.open()
    try:
        raise PlannedError
    except PlannedError:
        file.write(b"2")
        opened.close()
    assert mem.fs.cat([f"{mem.path}/a", f"{mem.path}/b"]) == {f"{mem.path}/a": b"1", f"{mem.path}/b": b"2"}


def test_a_file_that_is_dropped_stores_nothing_and_says_so(base):
    file = base.fs.open(f"{base.path}/x", "wb")
    file.write(DATA)
    with pytest.warns(RuntimeWarning, match=r"x was dropped before it was closed, so nothing was stored"):
        del file
    assert not base.fs.exists(f"{base.path}/x")


def test_a_name_that_is_taken_is_refused_also_when_it_was_taken_meanwhile(every_base):
    fs, path = every_base.fs, f"{every_base.path}/x"
    with fs.open(path, "xb") as file:
        file.write(b"1")
    with pytest.raises(FileExistsError):
        fs.open(path, "xb")
    first = fs.open(f"{path}2", "xb")
    first.write(b"late")
    fs.pipe_file(f"{path}2", b"early")
    with pytest.raises(FileExistsError):
        first.close()
    assert fs.cat_file(f"{path}2") == b"early"
    with pytest.raises(FileExistsError):
        fs.pipe_file(path, b"2", mode="create")
    assert fs.cat_file(path) == b"1"


def test_after_a_failed_write_the_object_can_not_appear(mem, monkeypatch):
    from penstock.memory import _MemoryWriter

    file = mem.fs.open(f"{mem.path}/x", "wb")
    file.write(DATA)

    def fail(self, data):
        raise StoreError("planned")

    monkeypatch.setattr(_MemoryWriter, "write", fail)
    with pytest.raises(StoreError, match="planned"):
        file.write(DATA)
    monkeypatch.undo()
    with pytest.raises(StoreError, match="aborted"):
        file.close()
    assert not mem.fs.exists(f"{mem.path}/x")


def test_a_transaction_stores_all_or_nothing(every_base):
    fs, path = every_base.fs, every_base.path
    with fs.transaction:
        with fs.open(f"{path}/a", "wb") as file:
            file.write(DATA)
        fs.pipe_file(f"{path}/b", b"2")
        fs.pipe({f"{path}/c": b"3", f"{path}/d": b"4"})
        assert not fs.exists(f"{path}/a")
        assert not fs.exists(f"{path}/c")
    assert fs.cat_file(f"{path}/a") == DATA
    assert fs.find(path) == [f"{path}/{name}" for name in "abcd"]
    with pytest.raises(PlannedError), fs.transaction:  # noqa: PT012
        fs.pipe_file(f"{path}/e", b"5")
        raise PlannedError
    assert not fs.exists(f"{path}/e")
    fs.pipe_file(f"{path}/e", b"6")
    assert fs.cat_file(f"{path}/e") == b"6"


def test_metadata_and_content_type_go_along(s3, files):
    with s3.fs.open(f"{s3.path}/x", "wb", metadata={"run": "7"}, content_type="text/plain") as file:
        file.write(b"1")
    info = s3.fs.info(f"{s3.path}/x")
    assert (info["metadata"], info["content_type"]) == ({"run": "7"}, "text/plain")
    with pytest.raises(UnsupportedOperationError):
        files.fs.open(f"{files.path}/x", "wb", metadata={"run": "7"})


def test_a_file_that_is_being_written_does_not_pickle(mem):
    with mem.fs.open(f"{mem.path}/x", "wb") as file, pytest.raises(TypeError, match="does not pickle"):
        pickle.dumps(file)


def test_a_large_file_goes_in_parts(s3):
    data = DATA * 16
    with s3.fs.open(f"{s3.path}/x", "wb", block_size=5 * 1024 * 1024) as file:
        file.write(data)
    assert s3.fs.cat_file(f"{s3.path}/x") == data
    assert "-" in s3.fs.info(f"{s3.path}/x")["etag"]


def test_no_warning_comes_of_files_that_ended_well(mem):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with mem.fs.open(f"{mem.path}/x", "wb") as file:
            file.write(b"1")
        del file
        gc.collect()
