"""The functions that DLIO calls on a storage library (``storage_library: s3dlio``), on any storage that penstock reads.

:func:`penstock_dlio.install` makes them importable under the library's name. URIs are whole, answers are bytes-like.
"""

from __future__ import annotations

import builtins
from collections.abc import Awaitable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import penstock
from penstock.errors import ObjectNotFoundError
from penstock.samples import format_named

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "MultiEndpointStore",
    "create_multi_endpoint_store",
    "delete",
    "exists",
    "generate_npz_bytes",
    "get",
    "get_many",
    "get_range",
    "list",
    "mkdir",
    "put_bytes",
    "put_bytes_async",
    "put_many",
    "stat",
]


def put_bytes(uri: str, data: Buffer) -> None:
    """Write an object."""
    penstock.put(uri, data)


def put_bytes_async(uri: str, data: Buffer) -> Awaitable[None]:
    """The same, to be awaited."""

    async def put() -> None:
        await penstock.aio.put(uri, data)

    return put()


def put_many(items: Sequence[tuple[str, Buffer]], max_in_flight: int = 64) -> None:
    """Write objects, several at once. The first failure is raised."""
    with ThreadPoolExecutor(max(1, min(max_in_flight, len(items)))) as pool:
        builtins.list(pool.map(lambda item: put_bytes(*item), items))


def get(uri: str) -> memoryview:
    """An object."""
    return penstock.get(uri)


def get_range(uri: str, offset: int, length: int | None = None) -> memoryview:
    """A part of an object, cut at its end."""
    return penstock.get_range(uri, offset, length)


def get_many(uris: Sequence[str], max_in_flight: int = 64) -> builtins.list[tuple[str, memoryview]]:
    """Objects with their URIs, in the order asked, so many at once. The first failure is raised."""
    with ThreadPoolExecutor(max(1, min(max_in_flight, len(uris)))) as pool:
        return builtins.list(zip(uris, pool.map(get, uris), strict=True))


def list(uri: str, recursive: bool = False, pattern: str | None = None) -> builtins.list[str]:  # noqa: A001
    """URIs below a prefix: of objects, and unless ``recursive`` of the prefixes directly below. ``pattern`` is an
    expression that is found somewhere in the URI.
    """
    found = penstock.list(uri, recursive=recursive)
    names = (each.key for each in found)
    if pattern is None:
        return builtins.list(names)
    import re

    wanted = re.compile(pattern)
    return [name for name in names if wanted.search(name)]


def exists(uri: str) -> bool:
    """Whether there is such an object; other failures are raised."""
    return penstock.exists(uri)


def mkdir(uri: str) -> None:
    """Make a directory, or its marker."""
    penstock.make_directory(uri if uri.endswith("/") else f"{uri}/")


def delete(uri: str, recursive: bool = False) -> None:
    """Delete exactly this object, or with ``recursive`` all below it."""
    if recursive:
        penstock.delete_prefix(uri if uri.endswith("/") else f"{uri}/").check()
    else:
        penstock.delete(uri)


def stat(uri: str) -> dict[str, Any]:
    """What the store knows of an object. Raises ObjectNotFoundError."""
    info = penstock.stat(uri)
    modified = info.modified
    return {
        "size": info.size,
        "etag": info.etag,
        "last_modified": None if modified is None else modified.isoformat(),
        "content_type": info.content_type,
        "metadata": dict(info.metadata or {}),
    }


def generate_npz_bytes(shape: Sequence[int], dtype: str = "<f4", num_samples: int = 1) -> bytes:
    """An archive with ``x`` of this shape and the labels ``y``; unlike that of the other library, new in each call.

    Raises PluginError where penstock-npz is not installed.
    """
    import numpy as np

    from penstock_training.datasets import Recipe

    recipe = Recipe(format="npz", record_shape=tuple(shape), dtype=np.dtype(dtype).str, seed=_new_seed())
    (sample,) = recipe.samples(0)
    content = {"x": sample["x"], "y": np.zeros(num_samples, dtype=np.int64)}
    return b"".join(bytes(piece) for piece in format_named("npz").encode([content]))


def _new_seed() -> int:
    import secrets

    return secrets.randbits(31)


class MultiEndpointStore:
    """Several URIs that show the same objects: calls are spread over them, and go on when one fails."""

    def __init__(self, uris: Sequence[str], strategy: str = "round_robin") -> None:
        """``strategy`` round_robin or least_connections; keys of the methods are below the URIs."""
        from penstock.errors import UsageError

        if strategy not in ("round_robin", "least_connections"):
            raise UsageError(f"strategy {strategy}: it is round_robin or least_connections")
        self._store = penstock.connect(builtins.list(uris))

    def get(self, key: str) -> memoryview:
        """An object."""
        return self._store.get(key)

    def get_range(self, key: str, offset: int, length: int | None = None) -> memoryview:
        """A part of an object."""
        return self._store.get_range(key, offset, length)

    def put(self, key: str, data: Buffer) -> None:
        """Write an object."""
        self._store.put(key, data)

    def list(self, prefix: str = "") -> builtins.list[str]:
        """Keys below a prefix."""
        return [info.key for info in self._store.list(prefix)]

    def delete(self, key: str) -> None:
        """Delete an object."""
        self._store.delete(key)

    def exists(self, key: str) -> bool:
        """Whether there is such an object."""
        try:
            self._store.stat(key)
        except ObjectNotFoundError:
            return False
        return True

    def close(self) -> None:
        """Close the store."""
        self._store.close()


def create_multi_endpoint_store(uris: Sequence[str], strategy: str = "round_robin") -> MultiEndpointStore:
    """A :class:`MultiEndpointStore`."""
    return MultiEndpointStore(uris, strategy)
