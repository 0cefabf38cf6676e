"""The conformance kit over ``acme://``."""

from contextlib import closing

import pytest

from penstock import open_store
from penstock.testing import StoreContract


class TestAcme(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        with closing(open_store(f"acme://{tmp_path}")) as store:
            yield store
