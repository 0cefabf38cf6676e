"""A small format with an index, and stores that note what they are asked for."""

from __future__ import annotations

import itertools
import struct
import threading

import attrs
import pytest

from penstock.errors import FormatError, PreconditionFailedError
from penstock.formats import FileSummary, FormatType
from penstock.memory import MemoryOptions, MemoryStore
from penstock.samples import SampleFormat


class Lengths:
    """Each sample is one value, ``data``, after its length in four bytes. The index holds the offsets."""

    def encode(self, samples):
        for sample in samples:
            if set(sample) != {"data"}:
                raise FormatError("a sample has one value, data")
            yield struct.pack("<I", len(sample["data"]))
            yield sample["data"]

    def decode(self, data):
        view = memoryview(data)
        while view.nbytes:
            if view.nbytes < 4 or view.nbytes < 4 + struct.unpack_from("<I", view)[0]:
                raise FormatError("the file ends within a sample")
            end = 4 + struct.unpack_from("<I", view)[0]
            yield {"data": view[4:end]}
            view = view[end:]

    def offsets(self, file):
        at = 0
        while at < file.size:
            yield at
            at += 4 + struct.unpack("<I", file.read(at, 4))[0]

    def open(self, file, *, index=None):
        offsets = self.offsets(file) if index is None else struct.unpack(f"<{len(index) // 8}Q", index)
        return LengthsReader(file, [*offsets, file.size])

    def index(self, file, *, form=""):
        for at in self.offsets(file):
            yield struct.pack("<Q", at)

    def synthesize(self, nbytes, fill):
        room = bytearray(nbytes)
        fill(memoryview(room))
        yield {"data": room}


class LengthsReader:
    def __init__(self, file, bounds):
        self.file = file
        self.bounds = bounds
        self.closed = 0

    def __len__(self):
        return len(self.bounds) - 1

    def summary(self):
        return FileSummary(samples=len(self))

    def nbytes(self, number):
        return self.bounds[number + 1] - self.bounds[number]

    def read(self, numbers):
        parts = self.file.read_many([(self.bounds[number], self.nbytes(number)) for number in numbers])
        return [{"data": next(Lengths().decode(part))["data"]} for part in parts]

    def close(self):
        self.closed += 1


@attrs.frozen(kw_only=True)
class NoOptions:
    """None."""


def kind_of(**changes):
    plain = {
        "name": "lengths",
        "summary": "lengths and bytes",
        "extensions": (".lengths",),
        "options": NoOptions,
        "open": lambda options: Lengths(),
        "splittable": True,
        "index_forms": {"binary": ".idx", "other": ".idx", "third": ".third"},
    }
    return FormatType(**plain | changes)


@pytest.fixture
def lengths():
    return SampleFormat(kind_of(), Lengths())


@pytest.fixture
def whole_lengths():
    """The same format, but one that does not say that it can be split."""
    return SampleFormat(kind_of(splittable=False, index_forms={}), Lengths())


_names = itertools.count()


class Noting(MemoryStore):
    """Notes every call, and how many reads were under way at once."""

    def __init__(self):
        super().__init__(MemoryOptions(name=f"samples-{next(_names)}"))
        self.calls = []
        self.at_once = 0
        self.most_at_once = 0
        self.gate = None
        self.lock = threading.Lock()

    def get(self, key, sink, /, *, start=0, length=None, if_match=None):
        with self.lock:
            self.calls.append((start, length, if_match))
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.gate is not None:
                self.gate.wait(60)
            return super().get(key, sink, start=start, length=length, if_match=if_match)
        finally:
            with self.lock:
                self.at_once -= 1

    def stat(self, key, /):
        self.calls.append("stat")
        return super().stat(key)


class WithoutEtags(Noting):
    def get(self, key, sink, /, *, start=0, length=None, if_match=None):
        assert if_match is None
        return attrs.evolve(super().get(key, sink, start=start, length=length), etag=None)

    def stat(self, key, /):
        return attrs.evolve(super().stat(key), etag=None)


class Careless(Noting):
    """Has etags, but does not look at ``if_match``."""

    def get(self, key, sink, /, *, start=0, length=None, if_match=None):
        try:
            return super().get(key, sink, start=start, length=length, if_match=if_match)
        except PreconditionFailedError:
            return super().get(key, sink, start=start, length=length)


@pytest.fixture
def store():
    return Noting()


@pytest.fixture(params=[Noting, WithoutEtags, Careless])
def any_store(request):
    return request.param()
