"""What the names in a log stand for: scheme, endpoint, bucket and key."""

from __future__ import annotations

import re
from typing import Final

import attrs

from penstock.errors import InvalidURIError, UnknownSchemeError
from penstock.plugins import PluginHost, default_host
from penstock.urls import parse_object

__all__ = ["Base", "Names"]

_URI: Final = re.compile(r"[a-z][a-z0-9+.\-]*://")
_MOST: Final = 10_000


@attrs.frozen(slots=True)
class Base:
    """What the names of one bucket have in common. ``uri`` plus a key is the whole name.

    ``endpoint`` is what the log says, or the scheme. Names of a ``relative`` one need a target: they have no place.
    """

    scheme: str
    endpoint: str
    bucket: str
    uri: str
    relative: bool = False
    #: It names a service, no bucket in it.
    service: bool = False


class Names:
    """Splits names. It remembers bases, so that most rows cost two look-ups."""

    def __init__(self, host: PluginHost | None = None) -> None:
        self._host = host or default_host()
        self._bases: dict[tuple[str, str], Base] = {}
        #: Places whose bases take two segments of the path, such as an account and a container.
        self._deeper: set[tuple[str, str]] = set()
        #: Schemes that no installed plugin serves; the first segment of their names is taken for the bucket.
        self.guessed: set[str] = set()

    def split(self, endpoint: str, file: str) -> tuple[Base, str]:
        """The base of a row's name, and its key, which may be empty."""
        if "://" in file and (match := _URI.match(file)) is not None:
            endpoint, file = match[0], file[match.end() :]
        said = endpoint
        if not endpoint.endswith("://"):
            endpoint = _before(endpoint, file)
        first, _, rest = file.partition("/")
        place = said, first
        if place in self._deeper:
            place = said, f"{first}/{rest.partition('/')[0]}"
        base = self._bases.get(place)
        if base is None:
            base = self._find(endpoint, file, place)
        if base.relative:
            return base, file.lstrip("/")
        return base, _whole(endpoint, file)[len(base.uri) :]

    def _find(self, endpoint: str, file: str, place: tuple[str, str]) -> Base:
        if len(self._bases) >= _MOST:
            self._bases.clear()
        base = self._parse(endpoint, file)
        if not base.relative:
            base = attrs.evolve(base, endpoint=place[0])
        if base.service:
            return base
        prefix = _whole(endpoint, "x")[:-1]
        if base.uri.removeprefix(prefix).rstrip("/").count("/") == 1 and place not in self._deeper:
            self._deeper.add(place)
            place = place[0], "/".join(file.split("/", 2)[:2])
        self._bases[place] = base
        return base

    def _parse(self, endpoint: str, file: str) -> Base:
        whole = _whole(endpoint, file)
        match = _URI.match(whole)
        if match is None:
            return Base("", endpoint, "", "", relative=True)
        scheme = match[0].removesuffix("://")
        try:
            url = parse_object(whole)
            address = self._host.store_type(url.scheme, url.authority).parse(url)
        except UnknownSchemeError:
            return self._guess(scheme, endpoint, whole)
        except InvalidURIError:
            return Base(scheme, endpoint, "", endpoint, relative=True)
        # Where a backend knows no buckets, what stands in their place serves as one, but for the working directory.
        bucket = url.authority.removeprefix(".") if address.bucket is None else address.bucket
        return Base(scheme, endpoint, bucket, address.base, service=address.bucket == "")

    def _guess(self, scheme: str, endpoint: str, whole: str) -> Base:
        rest = endpoint.partition("://")[2]
        if scheme in ("http", "https") and rest:
            # A server's address, as other tools write it: what follows is the key, or begins with a bucket.
            return Base(scheme, endpoint, "", endpoint, relative=True)
        self.guessed.add(scheme)
        bucket = whole.partition("://")[2].partition("/")[0]
        return Base(scheme, endpoint, bucket, f"{scheme}://{bucket}/")


def _whole(endpoint: str, file: str) -> str:
    if not endpoint or _URI.match(file):
        return file
    return endpoint + file if endpoint.endswith("://") else f"{endpoint.rstrip('/')}/{file.lstrip('/')}"


def _before(endpoint: str, file: str) -> str:
    """The endpoint without its authority, where the name has that too, as names in our own logs do."""
    scheme, mark, authority = endpoint.partition("://")
    return f"{scheme}{mark}" if authority and file.startswith(f"{authority}/") else endpoint
