"""The conformance kit over ``file://``."""

from __future__ import annotations

from contextlib import closing

import pytest

from penstock.opening import open_store
from penstock.testing import StoreContract
from penstock.testing.children import Reopen
from penstock_file.plugin import FileOptions


class TestFile(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        with closing(open_store(f"file://{tmp_path}")) as store:
            yield store


class TestFileBelowAPrefix(StoreContract):
    """As core opens a store that can't put its root there: every key has the prefix before it."""

    histories = 50

    @pytest.fixture
    def opener(self, tmp_path):
        return Reopen("file", FileOptions(root=str(tmp_path)), "runs of ü/one/")

    @pytest.fixture
    def store(self, opener, tmp_path):
        (tmp_path / "runs of ü").mkdir()
        (tmp_path / "runs of ü" / "one-beside").write_bytes(b"not ours")
        with closing(opener()) as store:
            yield store
