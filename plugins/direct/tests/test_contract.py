"""The conformance kit over ``direct://``."""

from __future__ import annotations

from contextlib import closing

import pytest

from penstock.opening import open_store
from penstock.testing import StoreContract


class TestDirect(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        with closing(open_store(f"direct://{tmp_path}")) as store:
            yield store
