"""The kit over the payloads that core brings."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from penstock.payload import Payload
from penstock.plugins import PluginHost
from penstock.testing import PayloadContract


class TestRandom(PayloadContract):
    @pytest.fixture
    def opened(self) -> Callable[[int], Payload]:
        return PluginHost().payload_type("random").open


class TestZero(PayloadContract):
    distinct = False

    @pytest.fixture
    def opened(self) -> Callable[[int], Payload]:
        return PluginHost().payload_type("zero").open
