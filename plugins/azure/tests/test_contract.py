"""The conformance kit over ``az://``: Azurite, or the container that PENSTOCK_TEST_URL_AZURE names.

Two of the kit's laws are Azure's own to break, not the emulator's: keys that it can't hold, and writers of one key
that are open at the same time. A key has one set of unfinished blocks, and whoever commits or puts the key drops
those of all others; their commits then fail. What must hold instead is tested here: the failure is clear, and
nothing of the loser is ever seen.
"""

from __future__ import annotations

import os
import uuid
from contextlib import closing, suppress

import pytest
from hypothesis.stateful import run_state_machine_as_test

from penstock.errors import StoreError
from penstock.opening import open_store
from penstock.testing import StoreContract
from penstock.testing.laws.naming import AWKWARD_KEYS
from penstock.testing.model import OPAQUE_KEYS, PATH_KEYS, StoreMachine
from penstock.testing.tools import check_error, contend, listed, noise, part_size, read, write

#: Keys that Azure can't hold and penstock refuses; test_naming.py has the reasons.
IMPOSSIBLE = ("back\\slash", "tab\tand\nnewline", "trailing.dot.")


class SurpassedWriters(StoreMachine):
    """The kit's histories, in which a writer may lose to another write of its key since it was opened."""

    def __init__(self, store, keys, data):
        super().__init__(store, keys, data)
        self.surpassed = []

    def _write(self, key, body, call):
        super()._write(key, body, call)
        self.surpassed += [opened.writer for opened in self.writers if opened.key == key]

    def _commit(self, opened):
        try:
            super()._commit(opened)
        except AssertionError as error:
            lost = error.__cause__
            mine = any(opened.writer is writer for writer in self.surpassed)
            if not mine or not isinstance(lost, StoreError) or lost.code != "InvalidBlockList":
                raise
            opened.writer.abort()


class TestAzure(StoreContract):
    # A call takes milliseconds here, not microseconds.
    histories = 60
    awkward_keys = tuple(key for key in AWKWARD_KEYS if key not in IMPOSSIBLE)

    @pytest.fixture
    def store(self, request):
        if real := os.environ.get("PENSTOCK_TEST_URL_AZURE"):
            with closing(open_store(f"{real.rstrip('/')}/penstock-{uuid.uuid4()}/", threads=8)) as store:
                yield store
                store.delete(listed(store))
            return
        with closing(open_store(request.getfixturevalue("container"), threads=8)) as store:
            yield store

    def test_writers_do_not_disturb_each_other(self, store):
        part = part_size(store)
        one = store.open_writer("pair/one", part_size=part)
        two = store.open_writer("pair/two", part_size=part)
        same = store.open_writer("pair/one", part_size=part)
        for turn in range(3):
            one.write(noise(part, ("one", turn)))
            two.write(noise(part - 1, ("two", turn)))
            same.write(noise(part + 1, ("same", turn)))
        one.commit()
        two.abort()
        whole = b"".join(noise(part, ("one", turn)) for turn in range(3))
        assert read(store, "pair/one") == whole
        with pytest.raises(StoreError, match="another write of this key ended") as lost:
            same.commit()
        check_error(lost.value, "pair/one", "commit")
        assert (lost.value.code, lost.value.retryable) == ("InvalidBlockList", False)
        same.abort()
        assert read(store, "pair/one") == whole
        assert listed(store) == ["pair/one"]

    def test_any_history(self, store):
        keys = PATH_KEYS | OPAQUE_KEYS
        run_state_machine_as_test(lambda: SurpassedWriters(store, keys, self.data), settings=self.history_settings())

    def test_readers_see_whole_versions(self, store):
        def version(number):
            return bytes([number]) * (100_000 + number)

        def stream(turn):
            data = version(100 + turn % 50)
            with suppress(StoreError):
                write(store, "atomic", (data[:60_000], data[60_000:]))

        def look(turn):
            data = read(store, "atomic")
            assert data == version(data[0])

        def look_around(turn):
            assert 100_000 < store.stat("atomic").size < 100_256
            assert listed(store) == ["atomic"]

        store.put("atomic", version(1))
        contend(lambda turn: store.put("atomic", version(2 + turn % 50)), stream, look, look_around)
        look(0)
