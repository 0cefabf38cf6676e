"""The guarded writer: the with rule, dropping, failures, and the finished states."""

from __future__ import annotations

import gc

import pytest

from penstock.errors import StoreConnectionError, StoreError
from penstock.store import ObjectInfo
from penstock.writers import GuardedWriter


class Inner:
    """Notes its calls, and fails where it is told to."""

    def __init__(self, log: list[str], fails: str = "") -> None:
        self.log = log
        self.fails = fails

    def _call(self, name: str) -> None:
        self.log.append(name)
        if name == self.fails:
            raise StoreConnectionError("lost")

    def write(self, data, /) -> None:
        self._call("write")

    def commit(self) -> ObjectInfo:
        self._call("commit")
        return ObjectInfo("k", 3)

    def abort(self) -> None:
        self._call("abort")


@pytest.fixture
def log():
    return []


def guarded(log, fails="") -> GuardedWriter:
    return GuardedWriter(Inner(log, fails), "k")


def test_leaving_the_block_commits(log):
    with guarded(log) as writer:
        writer.write(b"abc")
        assert writer.info is None
    assert log == ["write", "commit"]
    assert writer.info == ObjectInfo("k", 3)


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt, GeneratorExit])
def test_leaving_the_block_by_an_exception_aborts(log, error):
    def work() -> None:
        with guarded(log) as writer:
            writer.write(b"abc")
            raise error

    with pytest.raises(error):
        work()
    assert log == ["write", "abort"]


def test_dropping_it_aborts(log):
    writer = guarded(log)
    writer.write(b"abc")
    del writer
    gc.collect()
    assert log == ["write", "abort"]


def test_dropping_it_after_the_commit_does_nothing(log):
    writer = guarded(log)
    writer.commit()
    del writer
    gc.collect()
    assert log == ["commit"]


def test_a_commit_within_the_block_is_not_repeated_at_its_end(log):
    with guarded(log) as writer:
        assert writer.commit().size == 3
    assert log == ["commit"]


def test_an_abort_within_the_block_holds_at_its_end(log):
    with guarded(log) as writer:
        writer.abort()
    assert log == ["abort"]
    assert writer.info is None


@pytest.mark.parametrize("fails", ["write", "commit"])
def test_a_failure_aborts_and_is_raised(log, fails):
    writer = guarded(log, fails)
    with pytest.raises(StoreConnectionError):
        getattr(writer, fails)(*[b"abc"] if fails == "write" else [])
    assert log == [fails, "abort"]
    with pytest.raises(StoreError, match="aborted already"):
        writer.commit()


def test_a_failed_write_that_was_swallowed_still_commits_nothing(log):
    with guarded(log, "write") as writer, pytest.raises(StoreConnectionError):
        writer.write(b"abc")
    assert log == ["write", "abort"]
    assert writer.info is None


@pytest.mark.parametrize(("finish", "state"), [("commit", "committed"), ("abort", "aborted")])
@pytest.mark.parametrize("call", [lambda writer: writer.write(b""), lambda writer: writer.commit()])
def test_a_finished_writer_refuses(log, finish, state, call):
    writer = guarded(log)
    getattr(writer, finish)()
    with pytest.raises(StoreError, match=f"{state} already") as caught:
        call(writer)
    assert caught.value.uri == "k"
    assert log == [finish]


def test_aborting_is_harmless_on_a_finished_writer(log):
    writer = guarded(log)
    writer.commit()
    writer.abort()
    assert log == ["commit"]
    assert writer.info


def test_close_commits_once(log):
    writer = guarded(log)
    assert writer.close() is writer.close()
    assert log == ["commit"]


def test_close_after_an_abort_refuses(log):
    writer = guarded(log)
    writer.abort()
    with pytest.raises(StoreError, match="aborted already"):
        writer.close()


def test_tell_counts_what_was_written(log):
    writer = guarded(log)
    writer.write(b"abc")
    writer.write(memoryview(b"12345678").cast("Q"))
    assert writer.tell() == 11
    failing = guarded([], "write")
    with pytest.raises(StoreConnectionError):
        failing.write(b"abc")
    assert failing.tell() == 0
