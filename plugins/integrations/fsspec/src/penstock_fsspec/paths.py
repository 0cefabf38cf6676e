"""Paths of universal_pathlib: ``UPath("penstock+s3://bucket/key")``."""

from __future__ import annotations

from typing import Any

from upath import UPath

__all__ = ["PenstockPath"]


class PenstockPath(UPath):  # type: ignore[misc, unused-ignore]
    """A path below a ``penstock+…`` scheme."""

    __slots__ = ()

    @classmethod
    def _transform_init_args(cls, args: Any, protocol: str, storage_options: dict[str, Any]) -> Any:
        # What universal_pathlib compares is the part before a plus, which is nobody's protocol here. What has the
        # protocol of this path is therefore handed over without it; all else is compared, and refused.
        plain: list[Any] = []
        for arg in args:
            if isinstance(arg, UPath) and arg.protocol == protocol and arg.is_absolute():
                storage_options = storage_options if plain else {**arg.storage_options, **storage_options}
                arg = arg.path
            plain.append(arg.removeprefix(f"{protocol}://") if isinstance(arg, str) else arg)
        return super()._transform_init_args(tuple(plain), protocol, storage_options)
