"""Paths of universal_pathlib: ``UPath("penstock+s3://bucket/key")``."""

from __future__ import annotations

from upath import UPath

__all__ = ["PenstockPath"]


class PenstockPath(UPath):  # type: ignore[misc, unused-ignore]
    """A path below a ``penstock+…`` scheme."""

    __slots__ = ()
