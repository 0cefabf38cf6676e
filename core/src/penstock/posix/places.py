"""URIs of places in a file system."""

from __future__ import annotations

import os

from penstock.errors import InvalidURIError
from penstock.keys import check_path_key
from penstock.store import Address
from penstock.urls import StoreURL

__all__ = ["descend", "parse"]


def parse(url: StoreURL) -> Address:
    """``scheme:///abs/path`` below the root ``/``, ``scheme://./rel`` below the working directory.

    Raises InvalidURIError for an authority, which files do not have.
    """
    key = url.path.removeprefix("/")
    if url.authority == "":
        return Address(f"{url.scheme}:///", key, {"root": "/"})
    if url.authority != ".":
        raise InvalidURIError(
            f"{url}: files have no host; write {url.scheme}:///{url.authority}{url.path} (three slashes) for an "
            f"absolute path or {url.scheme}://./{url.authority}{url.path} for a relative one"
        )
    return Address(f"{url.scheme}://./", key, {"root": "."})


def descend(address: Address) -> Address:
    """The place itself as the root. Raises InvalidKeyError for a path that no key could have."""
    key = check_path_key(address.key)
    return Address(address.base + key, "", {"root": os.path.join(address.options["root"], key.removesuffix("/"))})
