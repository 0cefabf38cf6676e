"""A store on a server whose listings are not quite S3's, with what is wrong made up for. See ``s3_faults``."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from penstock.store import ObjectStore, Page

__all__ = ["Mended", "Opener", "Unconditional"]


@attrs.frozen
class Opener:
    """Opens another one; it pickles."""

    plain: Callable[[], ObjectStore]

    def __call__(self) -> ObjectStore:
        return Mended(self.plain())


class Mended:
    """A store whose server gets the order of listings and start-after wrong; see ``faults``.

    ``files_only``: no object's key ends in a slash, so what is listed so is a directory that was left.
    """

    def __init__(self, store: ObjectStore, *, files_only: bool = False) -> None:
        self._store = store
        self._files_only = files_only
        self.capabilities = attrs.evolve(store.capabilities, ordered=False)
        for name in ("get", "put", "open_writer", "stat", "delete", "copy", "close"):
            setattr(self, name, getattr(store, name))

    def list_pages(self, prefix="", /, *, delimiter="", start_after="", page_size=1000):
        after = start_after.encode()
        for page in self._store.list_pages(prefix, delimiter=delimiter, page_size=page_size):
            objects = [info for info in page.objects if info.key.encode() > after]
            prefixes = [name for name in page.prefixes if name.encode() > after]
            if self._files_only:
                objects = [info for info in objects if self._is_file(info)]
                prefixes = [name for name in prefixes if self._holds_files(name)]
            while objects or prefixes:
                yield Page(objects[:page_size], prefixes[: page_size - len(objects[:page_size])])
                objects, prefixes = objects[page_size:], prefixes[max(0, page_size - len(objects)) :]

    def _is_file(self, info):
        return bool(info.key) and not info.key.endswith("/")

    def _holds_files(self, prefix):
        return any(self._is_file(info) for page in self._store.list_pages(prefix) for info in page.objects)


class Unconditional:
    """A store whose server gets conditional puts wrong, so that it does not claim them."""

    def __init__(self, store: ObjectStore) -> None:
        self.capabilities = attrs.evolve(store.capabilities, if_match=False)
        for name in ("get", "put", "open_writer", "stat", "list_pages", "delete", "copy", "close"):
            setattr(self, name, getattr(store, name))
