"""Where DLIO's paths lie, and how its arguments say it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import attrs

from penstock.urls import join, strip_scheme

__all__ = ["Place", "word"]

#: DLIO's names of what a store is told, and penstock's. The others of its options are for its own clients.
_OPTIONS = {
    "endpoint_url": "endpoint",
    "region": "region",
    "access_key_id": "access_key_id",
    "secret_access_key": "secret_access_key",
    "s3_force_path_style": "addressing",
}
_OWN = ("storage_library", "uri_scheme", "use_full_object_uri", "s3_max_attempts")


def word(value: Any) -> str:
    """The word of one of DLIO's enumerations, or of a plain text."""
    return str(getattr(value, "value", value)).lower()


@attrs.frozen
class Place:
    """What DLIO's paths are relative to, as a URI, and the options of its store.

    With DLIO's ``storage_type: s3`` it is the bucket, with the others a directory. A path that is a URI stands by
    itself.
    """

    base: str
    options: Mapping[str, str] | None = None

    @classmethod
    def of(cls, arguments: Any, namespace: str | None = None) -> Place:
        """The place of DLIO's arguments; ``namespace`` is what it gives a storage, None: its storage root."""
        given = dict(getattr(arguments, "storage_options", None) or {})
        root = str(namespace if namespace is not None else getattr(arguments, "storage_root", ""))
        scheme = str(given.get("uri_scheme") or "s3").rstrip(":/")
        if "://" in root:
            base = root
        elif word(getattr(arguments, "storage_type", "local_fs")) == "s3":
            base = f"{scheme}://{root.strip('./')}"
        else:
            direct = word(getattr(arguments, "storage_type", "")) == "direct_fs" or getattr(arguments, "odirect", False)
            base = f"{'direct' if direct else 'file'}://{os.path.abspath(root)}"
        return cls(base.rstrip("/"), _options(given, base) or None)

    @property
    def local(self) -> bool:
        """Whether paths are those of the operating system."""
        return self.base.startswith(("file://", "direct://"))

    def name(self, path: str) -> str:
        """What DLIO's own code opens: a path where the place is :attr:`local`, else the URI."""
        uri = self.uri(path)
        return strip_scheme(uri) if self.local and uri.startswith(("file://", "direct://")) else uri

    def uri(self, path: str) -> str:
        """The URI of one of DLIO's paths: below the place, unless it is a URI, or begins with what the place is."""
        if "://" in path:
            return path
        scheme = self.base.partition("://")[0]
        if self.local and path.startswith("/"):
            return f"{scheme}://{path}"
        if not self.local and (began := f"/{path}".find(f"/{scheme}:/")) >= 0:
            # DLIO made an absolute path of a URI: /where/it/runs/s3:/bucket/name.
            return f"{scheme}://{path[began:].partition(':/')[2]}"
        return join(self.base, path.removeprefix("./").lstrip("/")) if path.strip("./") else self.base


def _options(given: Mapping[str, Any], base: str) -> dict[str, str]:
    if base.startswith(("file://", "direct://", "mem://")):
        return {}
    options: dict[str, str] = {}
    for name, value in given.items():
        if value is None or name in _OWN:
            continue
        if name == "s3_force_path_style":
            value = "path" if str(value).lower() in ("true", "1", "yes") else "auto"
        options[_OPTIONS.get(name, name)] = str(value)
    return options
