"""Keys as files under a root: what backends over a file system have in common.

A backend moves the bytes; this package does the rest: :class:`Namespace` maps keys to paths, stats, lists,
copies and deletes, :class:`Replacement` makes a new object appear whole or not at all, and
:func:`store_error` turns what the operating system says into penstock's errors.

Only regular files are objects. Symbolic links are followed as the operating system does; a put replaces a link
itself, not what it points to. Names that are not UTF-8 are no keys, so listings leave them out.
"""

from __future__ import annotations

from penstock.posix.errors import Translating, store_error
from penstock.posix.namespace import CAPABILITIES, Namespace
from penstock.posix.places import descend, parse
from penstock.posix.replace import TEMPORARY, Replacement, write_all

__all__ = [
    "CAPABILITIES",
    "TEMPORARY",
    "Namespace",
    "Replacement",
    "Translating",
    "descend",
    "parse",
    "store_error",
    "write_all",
]
