"""The contract of a store, as a test class to inherit from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from penstock.opening import Target, open_store, resolve_store
from penstock.store import ObjectStore
from penstock.testing.children import Opener, Reopen
from penstock.testing.laws.deleting import CopyingLaws, DeletingLaws
from penstock.testing.laws.directories import DirectoryLaws
from penstock.testing.laws.listing import ListingLaws
from penstock.testing.laws.naming import NamingLaws
from penstock.testing.laws.reading import ReadingLaws
from penstock.testing.laws.streaming import StreamingLaws
from penstock.testing.laws.writing import WritingLaws
from penstock.testing.life import ProcessLaws, ThreadLaws
from penstock.testing.model import HistoryLaws

__all__ = ["StoreContract"]


# pytest takes the tests of the last base first: reading before writing, and processes, the slowest, at the end.
class StoreContract(
    ProcessLaws,
    ThreadLaws,
    HistoryLaws,
    DirectoryLaws,
    NamingLaws,
    CopyingLaws,
    DeletingLaws,
    ListingLaws,
    StreamingLaws,
    WritingLaws,
    ReadingLaws,
):
    """Everything that a store promises. Inherit, and say where the store is; see :mod:`penstock.testing`."""

    @pytest.fixture
    def uri(self) -> str:
        """Where a fresh, empty store is. Empty: wherever the fixture ``store`` opens one."""
        return ""

    @pytest.fixture
    def store(self, uri: str) -> Iterator[ObjectStore]:
        """A fresh, empty store."""
        if not uri:
            pytest.fail("override the fixture store, or uri: the kit needs a fresh, empty store for each test")
        with closing(open_store(uri, threads=8)) as store:
            yield store

    @pytest.fixture(autouse=True)
    def openings(self) -> Iterator[list[Target]]:
        """What open_store has opened in this test, the latest last."""
        opened: list[Target] = []
        plain = Target.open

        def note(target: Target, threads: int = 1) -> ObjectStore:
            store = plain(target, threads)
            opened.append(target)
            return store

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Target, "open", note)
            yield opened

    @pytest.fixture
    def opener(self, uri: str, store: ObjectStore, openings: list[Target]) -> Opener:
        """A call that opens the fixture ``store``'s place once more, in another process too; it must pickle."""
        if not (uri or openings):
            pytest.fail("the store was not made by open_store: override the fixture uri (or opener) to say where it is")
        target = resolve_store(uri) if uri else openings[-1]
        return Reopen(target.kind.schemes[0], target.resolved.options, target.address.key)
