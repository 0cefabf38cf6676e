"""URIs: one grammar, no guessing.

A URI is ``scheme://authority/path`` or, for ``file`` alone, a bare path. Schemes are lower case; ``+`` names a
variant of one (``s3+https``). What follows the authority is opaque text: nothing is percent-decoded, and ``?``
and ``#`` belong to the key. Only where a whole store is named (``open_store``, a workload's ``target``) does
text after the first ``?`` hold options, ``name=value`` joined by ``&``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

import attrs

from penstock.errors import InvalidURIError

__all__ = ["StoreURL", "join", "parse_object", "parse_store", "strip_scheme"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*)://")
_LEGAL_SCHEME = re.compile(r"[a-z][a-z0-9]*(\+[a-z0-9]+)*\Z")


@attrs.frozen(slots=True)
class StoreURL:
    """A URI in its parts; ``str()`` gives it back without its query.

    ``path`` starts with ``/`` or is empty. ``query`` is filled only by :func:`parse_store`.
    """

    scheme: str
    authority: str
    path: str
    query: Mapping[str, str] = attrs.field(factory=dict)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


def parse_object(uri: str) -> StoreURL:
    """Read a URI, or a bare path, as the name of an object or a prefix.

    Raises InvalidURIError, which says what to write instead.
    """
    match = _SCHEME.match(uri)
    if match is None:
        return _bare_path(uri)
    scheme = match[1]
    if not _LEGAL_SCHEME.match(scheme):
        remedy = re.sub(r"[^a-z0-9]+", "+", scheme.lower()).rstrip("+")
        raise InvalidURIError(f"{uri!r}: a scheme is lower case, with + before a variant, such as {remedy}://")
    rest = uri[match.end() :]
    if _SCHEME.match(rest):
        raise InvalidURIError(f"{uri!r}: two schemes; a URI has exactly one")
    if "\0" in rest:
        raise InvalidURIError(f"{uri!r}: a URI holds no NUL character")
    authority, slash, path = rest.partition("/")
    return StoreURL(scheme, authority, slash + path)


def parse_store(uri: str) -> StoreURL:
    """Read a URI that names a store or a place in one; text after the first ``?`` holds options."""
    text, mark, query = uri.partition("?")
    url = parse_object(text)
    return attrs.evolve(url, query=_parse_query(text, query)) if mark else url


def join(base: str, name: str) -> str:
    """``name`` below ``base``, with exactly one slash between them."""
    if not name:
        return base
    return f"{base}{name}" if base.endswith("/") else f"{base}/{name}"


def strip_scheme(uri: str) -> str:
    """The URI from its authority on."""
    _, mark, rest = uri.partition("://")
    return rest if mark else uri


def _bare_path(text: str) -> StoreURL:
    if not text:
        raise InvalidURIError("an empty URI; write scheme://… or a path")
    if "\0" in text:
        raise InvalidURIError(f"{text!r}: a path holds no NUL character")
    # A shell's path may hold "." and "..", which keys can't; "../x" leaves the working directory.
    path = os.path.normpath(text)
    if path.startswith(".."):
        path = os.path.abspath(text)
    slash = "/" if os.path.basename(text) in ("", ".", "..") else ""
    if path.startswith("/"):
        path = path.strip("/")
        return StoreURL("file", "", f"/{path}{slash}" if path else "/")
    return StoreURL("file", ".", f"/{path}{slash}" if path != "." else "/")


def _name_only(part: str) -> str:
    # A value may be a secret, so none is shown.
    name, equals, _ = part.partition("=")
    return f"{name}{equals}…" if equals else part


def _parse_query(uri: str, query: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for part in query.split("&"):
        name, equals, value = part.partition("=")
        if not (name and equals):
            raise InvalidURIError(f"{uri!r}: options are written ?name=value&name=value, not {_name_only(part)!r}")
        if name in options:
            raise InvalidURIError(f"{uri!r}: the option {name} is given twice")
        options[name] = value
    return options
