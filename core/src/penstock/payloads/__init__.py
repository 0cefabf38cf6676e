"""Content for the objects that a benchmark writes, and its check; plugins offer more by ``penstock_payload_types``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock.payloads.generator import Generator

__all__ = ["Generator"]


def __getattr__(name: str) -> Any:
    # Its imports are heavy, and the package's plugin module must stay light.
    if name == "Generator":
        from penstock.payloads.generator import Generator

        return Generator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
