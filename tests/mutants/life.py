"""Stores that break among threads and processes. The shared ones keep their objects in a directory."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
import time

import attrs
from penstock_acme.errors import translated
from penstock_acme.plugin import CAPABILITIES, AcmeOptions
from penstock_acme.store import AcmeStore

from mutants.plain import Plain, Tree


class SharedScratch(Plain):
    """All reads go through one buffer."""

    def __init__(self):
        super().__init__()
        self.scratch = bytearray(8 * 1024 * 1024)

    def deliver(self, data, sink):
        for at in range(0, len(data), 65_536):
            part = data[at : at + 65_536]
            self.scratch[: len(part)] = part
            time.sleep(0)
            room = sink.reserve(len(part))
            count = min(room.nbytes, len(part))
            room[:count] = self.scratch[:count]
            sink.commit(count)


class SharedPosition(Plain):
    """All reads share one position, as seek and read on one descriptor do."""

    position = 0

    def get(self, key, sink, /, *, start=0, length=None, if_match=None):
        item = self.find(key, "get")
        self.match(key, item, if_match)
        self.position = start
        time.sleep(0)
        self.deliver(self.cut(item.body, self.position, length), sink)
        return self.info(key, item)


class OneWriterAtATime(Plain):
    """The parts of all writers are in one list, which is emptied at each commit."""

    def __init__(self):
        super().__init__()
        self.parts = []

    def writer(self, key, part_size):
        writer = super().writer(key, part_size)
        self.parts.clear()
        writer.parts = self.parts
        return writer


class DeadlocksWhileListing(Plain):
    """Keeps its lock while the caller looks at a page; it gives up at last, so that the run ends."""

    def __init__(self):
        super().__init__()
        self.lock = _Impatient()

    def pages(self, entries, page_size):
        with self.lock:
            yield from super().pages(entries, page_size)


class _Impatient:
    def __init__(self):
        self.lock = threading.Lock()

    def __enter__(self):
        if not self.lock.acquire(timeout=0.2):
            raise RuntimeError("deadlock")

    def __exit__(self, *_):
        self.lock.release()


class LeaksThreads(Tree):
    def put(self, key, data, /, *, create=False, if_match=None, metadata=None, content_type=None):
        if key.startswith("touched/0"):
            threading.Thread(target=threading.Event().wait, args=(8,), daemon=True).start()
        return super().put(key, data, create=create, if_match=if_match, metadata=metadata)


class LeaksDescriptors(Plain):
    held = []  # noqa: RUF012  (leaked on purpose)

    def stat(self, key, /):
        self.held.append(os.open(os.devnull, os.O_RDONLY))
        return super().stat(key)


class ClaimsToBeShared(Plain):
    capabilities = attrs.evolve(Plain.capabilities, shared=True)


class Shared(AcmeStore):
    """Healthy, over a directory: the base of what follows."""

    def __init__(self, root):
        super().__init__(AcmeOptions(root=root))


class HidesThatItIsShared(Shared):
    capabilities = attrs.evolve(CAPABILITIES, shared=False)


class PutsInPlace(Shared):
    def put(self, key, data, /, *, create=False, if_match=None, metadata=None, content_type=None):
        if create or if_match or metadata or key.endswith("/"):
            return super().put(key, data, create=create, if_match=if_match, metadata=metadata)
        path, view = self._path(key), memoryview(data).cast("B")
        with translated("put", self._uri(key)):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            try:
                while view:
                    view = view[os.write(descriptor, view) :]
            finally:
                os.close(descriptor)
        return self.stat(key)


class PutsInPlaceAndCleansUp(PutsInPlace):
    """As a writer in place does that deletes the object when it fails: the old one is gone."""

    def put(self, key, data, /, *, create=False, if_match=None, metadata=None, content_type=None):
        try:
            return super().put(key, data, create=create, if_match=if_match, metadata=metadata)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(self._path(key))
            raise


class ListsTemporaryFiles(Shared):
    def _scan(self, directory):
        try:
            with os.scandir(self._path(directory) if directory else self._root) as entries:
                return list(entries)
        except (OSError, ValueError):
            return []


class WriterKilledInPlace(Shared):
    """Writes in place where the kit can't look: in the process that is going to be killed."""

    def open_writer(self, key, /, *, part_size, **how):
        return _InPlace(self._path(key)) if _is_child() else super().open_writer(key, part_size=part_size, **how)


class _InPlace:
    def __init__(self, path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self.path = path

    def write(self, data, /):
        with open(self.path, "ab") as file:
            file.write(data)


def _is_child():
    return multiprocessing.parent_process() is not None
