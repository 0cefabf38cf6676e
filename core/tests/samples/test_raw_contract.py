"""The format raw keeps the contract of formats."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st

from penstock.samples import choose_format
from penstock.testing import FormatContract


class TestRaw(FormatContract):
    files = st.builds(lambda data: [{"data": data}], st.binary(max_size=100))
    refused = ([], [{"data": b""}] * 2, [{"x": b""}], [{"data": "text"}], [{"data": 5}], [{}])

    def whole_prefixes(self, data):
        return range(len(data))

    @pytest.fixture
    def format(self):
        return choose_format("", "raw")
