"""Checked by mypy, never run: what core offers satisfies the Protocols of its contract, and users get types."""

from __future__ import annotations

from typing import assert_type

from penstock.errors import ObjectNotFoundError, StoreError
from penstock.layers.prefix import Prefixed
from penstock.layers.retry import Retrying, RetryPolicy
from penstock.memory import MemoryStore
from penstock.metering import Metered, OneRecorder, RecorderSource, ThreadRecorders
from penstock.opening import open_store
from penstock.plugins import PluginHost
from penstock.sinks import Collect, Discard, Into, Verify
from penstock.store import ObjectInfo, ObjectStore, ObjectWriter, Sink, StoreType
from penstock.writers import GuardedWriter


def stores(memory: MemoryStore, metered: Metered, prefixed: Prefixed, retrying: Retrying) -> list[ObjectStore]:
    return [memory, metered, prefixed, retrying]


def sinks(discard: Discard, collect: Collect, into: Into, verify: Verify) -> list[Sink]:
    return [discard, collect, into, verify]


def writers(guarded: GuardedWriter) -> ObjectWriter:
    return guarded


def sources(one: OneRecorder, many: ThreadRecorders) -> list[RecorderSource]:
    return [one, many]


def use(host: PluginHost) -> None:
    store = open_store("mem://name")
    assert_type(store, ObjectStore)
    assert_type(host.store_type("mem"), StoreType)
    sink = Collect()
    assert_type(store.get("key", sink), ObjectInfo)
    assert_type(sink.view(), memoryview)
    assert_type([info.key for page in store.list_pages() for info in page.objects], list[str])
    how = store.open_writer("key", part_size=8 << 20, create=True, metadata={"a": "b"}, content_type="text/plain")
    assert_type(how, ObjectWriter)
    with GuardedWriter(store.open_writer("key", part_size=8 << 20), "key") as writer:
        assert_type(writer, GuardedWriter)
        writer.write(bytearray(b"any buffer"))
    assert_type(store.put("key", memoryview(b"any buffer"), create=True), ObjectInfo)
    Retrying(store, RetryPolicy(attempts=3), on_retry=lambda error, attempt, delay: print(error.uri, attempt, delay))


def handle(error: StoreError) -> FileNotFoundError | None:
    return error if isinstance(error, ObjectNotFoundError) else None


def wrong(store: ObjectStore) -> None:
    store.get(b"key", Collect())  # type: ignore[arg-type]
    store.get("key", bytearray())  # type: ignore[arg-type]
    store.put("key", "text")  # type: ignore[arg-type]
    store.put("key", b"", overwrite=True)  # type: ignore[call-arg]
    RetryPolicy(3)  # type: ignore[call-arg]
