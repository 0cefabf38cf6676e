"""DLIO's storage interface over any storage that penstock reads; :func:`penstock_dlio.install` makes DLIO use it."""

from __future__ import annotations

from typing import Any

from dlio_benchmark.common.enumerations import MetadataType, NamespaceType
from dlio_benchmark.storage.storage_handler import DataStorage, Namespace

import penstock
from penstock.errors import ObjectNotFoundError, UsageError
from penstock_dlio.places import Place

__all__ = ["PenstockStorage"]


class PenstockStorage(DataStorage):  # type: ignore[misc]
    """Nodes are objects and the prefixes above them. ``id`` is a path below the namespace, or a URI."""

    def __init__(self, namespace: str, framework: Any = None) -> None:
        super().__init__(framework)
        self._place = Place.of(self._args, namespace)
        local = self.islocalfs()
        self.namespace = Namespace(namespace, NamespaceType.HIERARCHICAL if local else NamespaceType.FLAT)

    def get_uri(self, id: str) -> str:
        """What DLIO opens a node by: its path in a file system, else its URI."""
        return self._place.name(id)

    def create_namespace(self, exist_ok: bool = False) -> bool:
        """Make the directory, where the store has directories; a bucket must be there."""
        if self.islocalfs():
            penstock.make_directory(f"{self._place.base}/", exist_ok=exist_ok, options=self._place.options)
        return True

    def get_namespace(self) -> str:
        """Its name, as DLIO gave it."""
        return str(self.namespace.name)

    def create_node(self, id: str, exist_ok: bool = False) -> bool:
        """Make a directory, where the store has directories; prefixes need no making."""
        if self.islocalfs():
            penstock.make_directory(
                f"{self._place.uri(id).rstrip('/')}/", exist_ok=exist_ok, options=self._place.options
            )
        return True

    def get_node(self, id: str = "") -> Any:
        """DLIO's word for a file or a directory; None where there is nothing."""
        uri = self._place.uri(id)
        if self._is_object(uri):
            return MetadataType.FILE
        below = penstock.list(f"{uri.rstrip('/')}/", options=self._place.options)
        return MetadataType.DIRECTORY if next(iter(below), None) is not None else None

    def walk_node(self, id: str, use_pattern: bool = False) -> list[str]:
        """Names of what is directly below a node, sorted; with ``use_pattern`` those that a glob matches, as
        :meth:`get_uri` names them.
        """
        uri = self._place.uri(id)
        if use_pattern:
            cut = uri.rfind("/", 0, uri.find("*") if "*" in uri else len(uri)) + 1
            matching = penstock.list(uri[:cut], pattern=uri[cut:], options=self._place.options)
            return sorted(self._place.name(info.key) for info in matching)
        folder = f"{uri.rstrip('/')}/"
        found = penstock.list(folder, recursive=False, options=self._place.options)
        return sorted({each.key.rstrip("/").rpartition("/")[2] for each in found} - {""})

    def list_objects(self, prefix: str = "") -> list[str]:
        """Every object below a prefix, as :meth:`get_uri` names it."""
        found = penstock.list(f"{self._place.uri(prefix).rstrip('/')}/", options=self._place.options)
        return [self._place.name(info.key) for info in found]

    def delete_node(self, id: str) -> bool:
        """Delete an object, or everything below a prefix; False where there was nothing. Raises StoreError."""
        uri = self._place.uri(id)
        if self._is_object(uri):
            penstock.delete(uri, options=self._place.options)
            return True
        removal = penstock.delete_prefix(f"{uri.rstrip('/')}/", options=self._place.options)
        removal.check()
        return removal.objects > 0

    def put_data(self, id: str, data: Any, offset: int | None = None, length: int | None = None) -> bool:
        """Write a whole object: bytes, text, or a file in memory. Raises UsageError for a part of one."""
        if offset is not None or length is not None:
            raise UsageError(f"{id}: objects are written whole; leave offset and length out")
        content = data.getvalue() if hasattr(data, "getvalue") else data
        penstock.put(
            self._place.uri(id),
            content.encode() if isinstance(content, str) else content,
            options=self._place.options,
        )
        return True

    def get_data(self, id: str, data: Any, offset: int | None = None, length: int | None = None) -> bytes:
        """An object, or ``length`` bytes of it from ``offset`` on. ``data`` is of DLIO's interface, and not used."""
        uri = self._place.uri(id)
        if offset is None and length is None:
            return bytes(penstock.get(uri, options=self._place.options))
        return bytes(penstock.get_range(uri, offset or 0, length, options=self._place.options))

    def isfile(self, id: str) -> bool:
        """Whether there is an object of that name."""
        return self._is_object(self._place.uri(id))

    def islocalfs(self) -> bool:
        """Whether paths are those of the operating system."""
        return self._place.local

    def get_basename(self, id: str) -> str:
        """The last part of a name."""
        return id.rstrip("/").rpartition("/")[2]

    def _is_object(self, uri: str) -> bool:
        if uri.endswith("/"):
            return False
        try:
            penstock.stat(uri, options=self._place.options)
        except ObjectNotFoundError:
            return False
        return True
