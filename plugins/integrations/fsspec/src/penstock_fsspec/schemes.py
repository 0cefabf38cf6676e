"""One class of file system for each scheme, and their registration with fsspec."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Any

import fsspec

from penstock.errors import UnknownSchemeError
from penstock_fsspec.filesystem import PenstockFileSystem

__all__ = [
    "AzFileSystem",
    "DirectFileSystem",
    "FileFileSystem",
    "GcsFileSystem",
    "GsFileSystem",
    "MemFileSystem",
    "S3FileSystem",
    "S3HttpFileSystem",
    "S3HttpsFileSystem",
    "filesystem_class",
    "register",
]

#: What comes before each scheme, so that none of them is somebody else's.
PREFIX = "penstock+"

#: Schemes whose paths are those of a file system.
_LOCAL = frozenset({"file", "direct"})
#: The plain schemes that may be taken over.
_PLAIN = ("s3", "gs", "az")

_classes: dict[str, type[PenstockFileSystem]] = {}


def filesystem_class(scheme: str) -> type[PenstockFileSystem]:
    """The class of a scheme, the same each time; it does not matter whether anybody serves the scheme."""
    found = _classes.get(scheme)
    if found is None:
        found = _classes[scheme] = _make(scheme)
    return found


def register(*schemes: str, clobber: bool = False) -> tuple[str, ...]:
    """Have fsspec use penstock for more URIs, in this process. Returns the names that it knows since then.

    Without schemes: ``penstock+…`` for every scheme that an installed plugin serves, others' plugins too, and with
    ``clobber`` the plain ``s3``, ``gs`` and ``az`` as well, taken from s3fs, gcsfs and adlfs. With schemes: the plain
    ones that are named, which takes ``clobber`` where fsspec has somebody for them already, else ValueError.
    """
    installed = {entry.name.replace(".", "+") for entry in entry_points(group="penstock.stores")}
    if unknown := sorted(set(schemes) - installed):
        served = ", ".join(sorted(installed)) or "none"
        raise UnknownSchemeError(f"nobody serves {', '.join(unknown)}; installed schemes: {served}")
    done = []
    for scheme in sorted(schemes or installed):
        done.append(_register(PREFIX + scheme, scheme, clobber=True))
        if schemes or (clobber and scheme in _PLAIN):
            done.append(_register(scheme, scheme, clobber=clobber))
    return tuple(done)


def _register(name: str, scheme: str, *, clobber: bool) -> str:
    cls = filesystem_class(scheme)
    if not clobber and name in fsspec.available_protocols() and fsspec.registry.get(name) is not cls:
        raise ValueError(f"fsspec has a file system for {name}://; take its place with clobber=True")
    fsspec.register_implementation(name, cls, clobber=clobber)
    return name


def _make(scheme: str) -> type[PenstockFileSystem]:
    facts = {
        "__doc__": f"Files by ``{PREFIX}{scheme}://``.",
        "__module__": __name__,
        "protocol": (PREFIX + scheme, scheme),
        "scheme": scheme,
        "local": scheme in _LOCAL,
        "root_marker": "/" if scheme in _LOCAL else "",
        "__reduce__": _reduce,
    }
    return type(_class_name(scheme), (PenstockFileSystem,), facts)


def _class_name(scheme: str) -> str:
    return "".join(part.capitalize() for part in scheme.split("+")) + "FileSystem"


def _reduce(self: PenstockFileSystem) -> tuple[Any, ...]:
    # By its scheme, which another process can always make a class of.
    return _remake, (self.scheme, self.storage_args, self.storage_options)


def _remake(scheme: str, args: Sequence[Any], options: dict[str, Any]) -> PenstockFileSystem:
    return filesystem_class(scheme)(*args, **options)


def __getattr__(name: str) -> Any:
    # Others' schemes, so that their packages can name a class here in an entry point of fsspec.specs.
    stem = name.removesuffix("FileSystem")
    if stem == name or not re.fullmatch(r"(?:[A-Z][a-z0-9]*)+", stem):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return filesystem_class("+".join(part.lower() for part in re.findall(r"[A-Z][a-z0-9]*", stem)))


AzFileSystem = filesystem_class("az")
DirectFileSystem = filesystem_class("direct")
FileFileSystem = filesystem_class("file")
GcsFileSystem = filesystem_class("gcs")
GsFileSystem = filesystem_class("gs")
MemFileSystem = filesystem_class("mem")
S3FileSystem = filesystem_class("s3")
S3HttpFileSystem = filesystem_class("s3+http")
S3HttpsFileSystem = filesystem_class("s3+https")
