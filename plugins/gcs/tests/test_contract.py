"""The conformance kit over ``gs://``: on our server, or in the bucket that PENSTOCK_TEST_URL_GCS names."""

from __future__ import annotations

import os
import uuid
from contextlib import closing

import pytest

from penstock.opening import open_store
from penstock.testing import StoreContract
from penstock.testing.laws.naming import AWKWARD_KEYS

REAL = os.environ.get("PENSTOCK_TEST_URL_GCS", "")


class TestGCS(StoreContract):
    # A call takes milliseconds here, not microseconds.
    histories = 60
    #: Cloud Storage refuses line ends in names.
    awkward_keys = tuple(key for key in AWKWARD_KEYS if "\n" not in key)

    @pytest.fixture
    def uri(self, request):
        """An empty place: the whole bucket of our server, or a new prefix in the real one, emptied afterwards."""
        if not REAL:
            request.getfixturevalue("server")
            yield "gs://penstock-test"
            return
        place = f"{REAL.rstrip('/')}/{uuid.uuid4().hex}"
        yield place
        with closing(open_store(place)) as store:
            for page in store.list_pages():
                assert store.delete([info.key for info in page.objects]) == []
