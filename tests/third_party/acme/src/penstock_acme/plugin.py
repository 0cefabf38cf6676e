"""What penstock is told of ``acme://``: its options, its URIs and its capabilities. Nothing is opened here."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from penstock.errors import InvalidURIError
from penstock.hookspecs import hookimpl
from penstock.options import option
from penstock.store import Address, Capabilities, ObjectStore, StoreType
from penstock.urls import StoreURL

#: Claim only what the storage itself does. What is not claimed has to be refused.
CAPABILITIES = Capabilities(create=True, ordered=True, directories=True)


@attrs.frozen(kw_only=True)
class AcmeOptions:
    """Options of ``acme://``: arguments, text after ``?`` in a URI, and environment variables end up here."""

    root: str = option("/", help="absolute path of the directory that holds the objects", query=False)
    fsync: bool = option(False, help="write through to the disk before a put returns", env="ACME_FSYNC")


def parse(url: StoreURL) -> Address:
    """Split ``acme:///a/b/key``: without knowing better, the store is at ``/`` and the rest is the key."""
    if url.authority:
        raise InvalidURIError(f"{url}: write acme:///absolute/path, with three slashes")
    return Address("acme:///", url.path.removeprefix("/"), {"root": "/"})


def descend(address: Address) -> Address:
    """The store whose root is that key: ``open_store("acme:///a/b")`` has its root at ``/a/b``."""
    return Address(f"acme:///{address.key}", "", {"root": f"/{address.key}"})


def open_acme(options: AcmeOptions, threads: int) -> ObjectStore:
    """Open a store. Slow imports, such as an SDK, belong into this function."""
    from penstock_acme.store import AcmeStore

    return AcmeStore(options)


@hookimpl
def penstock_store_types() -> Sequence[StoreType]:
    """Offer the backend."""
    return (
        StoreType(
            schemes=("acme",),
            summary="objects in a directory, the acme way",
            options=AcmeOptions,
            parse=parse,
            open=open_acme,
            descend=descend,
            capabilities=CAPABILITIES,
            form="acme:///directory/key",
        ),
    )
