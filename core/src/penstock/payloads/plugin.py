"""The payloads that core brings."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.hookspecs import hookimpl
from penstock.payload import Payload, PayloadType

__all__: list[str] = []


def _pooled(seed: int) -> Payload:
    from penstock.payloads.pooled import PooledPayload

    return PooledPayload(seed)


def _random(seed: int) -> Payload:
    from penstock.payloads.random import RandomPayload

    return RandomPayload(seed)


def _zero(seed: int) -> Payload:
    from penstock.payloads.zero import ZeroPayload

    return ZeroPayload(seed)


@hookimpl
def penstock_payload_types() -> Sequence[PayloadType]:
    return (
        PayloadType(name="pooled", summary="unique, incompressible bytes at the speed of memory", open=_pooled),
        PayloadType(name="random", summary="statistically random bytes (AES in counter mode)", open=_random),
        PayloadType(name="zero", summary="zero bytes", open=_zero, unique=False),
    )
