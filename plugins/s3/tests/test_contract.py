"""The conformance kit over ``s3://``: on SeaweedFS and moto, on Ceph or a real bucket when they are asked for."""

from __future__ import annotations

import os
import uuid
from contextlib import closing

import pytest
import s3_mended as mended

from penstock.opening import open_store, resolve_place
from penstock.testing import StoreContract
from penstock.testing.laws.naming import AWKWARD_KEYS, OPAQUE_KEYS
from penstock.testing.model import PATH_KEYS

URL = os.environ.get("PENSTOCK_TEST_URL_S3", "")
CHOSEN = os.environ.get("PENSTOCK_TEST_S3_SERVER", "")


@pytest.mark.timeout(600)
class OnServer(StoreContract):
    """The kit on a server of this machine."""

    server_name = ""
    # A call takes milliseconds here, not microseconds.
    histories = 20
    calls = 25

    @pytest.fixture
    def store(self, place, options):
        with closing(open_store(place, options=options, threads=8)) as store:
            yield store


if not URL and CHOSEN in ("", "seaweedfs"):

    class TestSeaweedFS(OnServer):
        server_name = "seaweedfs"
        awkward_keys = tuple(key for key in AWKWARD_KEYS if "\\" not in key)
        opaque_keys = tuple(key for key in OPAQUE_KEYS if "//" not in key and key.strip("/") == key and len(key) <= 255)
        keys = PATH_KEYS.map("{}.o".format)

        @pytest.fixture
        def store(self, place, options):
            with closing(open_store(place, options=options, threads=8)) as store:
                yield mended.Mended(store)

        @pytest.fixture
        def opener(self, uri, store, openings):
            return mended.Opener(super().opener.__wrapped__(self, uri, store, openings))

        def test_any_history(self, store):
            super().test_any_history(mended.Mended(store, files_only=True))


if not URL and CHOSEN in ("", "moto"):

    class TestMoto(OnServer):
        server_name = "moto"
        awkward_keys = tuple(key for key in AWKWARD_KEYS if "\n" not in key)


if not URL and CHOSEN == "ceph":

    @pytest.mark.slow
    class TestCeph(OnServer):
        server_name = "ceph"

        def test_any_history(self, store):
            super().test_any_history(mended.Unconditional(store))


if URL:

    class TestRealBucket(OnServer):
        @pytest.fixture
        def store(self):
            """A prefix of the test's own in the bucket, emptied afterwards."""
            place = f"{URL.rstrip('/')}/penstock-{uuid.uuid4().hex}"
            with closing(open_store(place, threads=8)) as store:
                yield store
            with closing(open_store(place, threads=8)) as store:
                for page in store.list_pages():
                    assert list(store.delete([info.key for info in page.objects])) == []
            # Tests of sudden death leave parts, as it does.
            target = resolve_place(place)
            with closing(target.kind.service(target.resolved.options)) as service:
                for upload in list(service.list_uploads(target.address.key)):
                    service.abort_upload(upload)
