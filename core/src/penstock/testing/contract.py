"""The contract of a store, as a test class to inherit from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from penstock.opening import open_store
from penstock.store import ObjectStore
from penstock.testing.laws.deleting import CopyingLaws, DeletingLaws
from penstock.testing.laws.directories import DirectoryLaws
from penstock.testing.laws.listing import ListingLaws
from penstock.testing.laws.naming import NamingLaws
from penstock.testing.laws.reading import ReadingLaws
from penstock.testing.laws.streaming import StreamingLaws
from penstock.testing.laws.writing import WritingLaws

__all__ = ["StoreContract"]


class StoreContract(
    ReadingLaws, WritingLaws, StreamingLaws, ListingLaws, DeletingLaws, CopyingLaws, NamingLaws, DirectoryLaws
):
    """Everything that a store promises. Inherit, and say where the store is; see :mod:`penstock.testing`."""

    @pytest.fixture
    def uri(self) -> str:
        """Where a fresh, empty store is. Empty: the store is the one that the fixture ``store`` opens."""
        return ""

    @pytest.fixture
    def store(self, uri: str) -> Iterator[ObjectStore]:
        """A fresh, empty store."""
        if not uri:
            pytest.fail("override the fixture uri, or store: the kit needs a fresh, empty store for each test")
        with closing(open_store(uri, threads=8)) as store:
            yield store
