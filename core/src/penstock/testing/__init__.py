"""The conformance kit."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("penstock.testing.laws", "penstock.testing.life", "penstock.testing.model")

from penstock.testing.contract import StoreContract  # noqa: E402  (rewriting comes before the import)

__all__ = ["StoreContract"]
