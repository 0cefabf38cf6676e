"""Places for checkpoints, and stores on which things go wrong."""

from __future__ import annotations

import contextlib
import uuid

import attrs
import pytest

import penstock
from penstock.client import Store
from penstock.errors import UnsupportedOperationError
from penstock.layers.faults import Fail, Faults, Rule
from penstock.layers.forwarding import Forwarding
from penstock.layers.stack import Layers
from penstock.memory import MemoryOptions, MemoryStore


class PlainStore(Forwarding):
    """A store without conditional writes: the contract's least."""

    def __init__(self, store):
        super().__init__(store)
        self.capabilities = attrs.evolve(store.capabilities, create=False, if_match=False, ordered=False)

    def put(self, key, data, /, *, create=False, if_match=None, metadata=None, content_type=None):
        if create or if_match is not None:
            raise UnsupportedOperationError("no conditions here")
        return self._store.put(key, data, metadata=metadata, content_type=content_type)


@pytest.fixture(params=["mem", "file"])
def root(request, tmp_path):
    """A URI below which nothing is yet."""
    if request.param == "file":
        return f"{(tmp_path / 'checkpoints').as_uri()}"
    return f"mem://{uuid.uuid4().hex}/checkpoints"


@pytest.fixture
def memory():
    """The URI of a place in memory."""
    return f"mem://{uuid.uuid4().hex}/checkpoints"


@pytest.fixture(params=["conditional", "file", "plain"])
def place(request, tmp_path):
    """A maker of stores that share their objects: with conditions, on files, and without any condition."""
    name = uuid.uuid4().hex

    def make():
        if request.param == "file":
            return penstock.connect((tmp_path / "checkpoints").as_uri())
        if request.param == "conditional":
            return penstock.connect(f"mem://{name}/")
        return Store(PlainStore(MemoryStore(MemoryOptions(name=name))), f"mem://{name}/")

    return make


@pytest.fixture
def failing():
    """A store over a URI of which call number ``nth`` fails, before it does its work or after it, when its answer is
    lost; ``failing(...).faults()`` is how often.
    """

    @contextlib.contextmanager
    def connect(uri, nth, *, when="before"):
        rule = Rule(effect=Fail(error="AccessDeniedError", when=when), nth=nth)
        with penstock.connect(uri, retries=None, layers=Layers(faults=Faults(rules=[rule]))) as store:
            store.faults = lambda: store.stack.faulty[0].counts()[0].injected
            yield store

    return connect


@pytest.fixture
def objects():
    """The keys below a URI that begin in some way."""

    def keys(uri, prefix=""):
        with penstock.connect(uri) as store:
            return [info.key for info in store.list(prefix)]

    return keys
