"""The conformance kit over ``s3://``: on SeaweedFS and moto, on Ceph or a real bucket when they are asked for."""

from __future__ import annotations

import os
from contextlib import closing

import pytest

from penstock.opening import open_store
from penstock.testing import StoreContract

URL = os.environ.get("PENSTOCK_TEST_URL_S3", "")
CHOSEN = os.environ.get("PENSTOCK_TEST_S3_SERVER", "")


class OnServer(StoreContract):
    """The kit on a server of this machine."""

    server_name = ""

    @pytest.fixture
    def store(self, place, options):
        with closing(open_store(place, options=options, threads=8)) as store:
            yield store


if not URL and CHOSEN in ("", "seaweedfs"):

    class TestSeaweedFS(OnServer):
        server_name = "seaweedfs"


if not URL and CHOSEN in ("", "moto"):

    class TestMoto(OnServer):
        server_name = "moto"
