"""Content for the objects that a benchmark writes."""

from __future__ import annotations

from penstock.payloads.pooled import PooledPayload
from penstock.payloads.zero import ZeroPayload

__all__ = ["PooledPayload", "ZeroPayload"]
