"""Resumable uploads that are interrupted at every phase: the right bytes in the end, or a clear error."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import pytest
from gcs_server import Answer, Fault
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import errors
from penstock.opening import open_store
from penstock.sinks import Collect
from penstock.testing.proxy import FaultProxy, Plan, Way

KIB = 1024
MIB = 1024 * KIB
PART = 512 * KIB
BUCKET = "penstock-test"
BUSY = Answer(503, b'{"error":{"code":503,"errors":[{"reason":"backendError"}],"message":"Busy"}}')


def read(store, key):
    sink = Collect()
    store.get(key, sink)
    return bytes(sink.view())


def patiently(call, attempts=20):
    """As the retrying layer does with a writer: the write is taken, what failed is sent again."""
    again = call
    for _ in range(attempts):
        try:
            return again()
        except errors.StoreError as error:
            if not error.retryable:
                raise
            failed = error
            again = call if getattr(call, "__name__", "") == "commit" else lambda: call.__self__.write(b"")
    raise failed


class Write:
    """A bound call that can be repeated with nothing."""

    def __init__(self, writer, data):
        self.__self__, self._data = writer, data

    def __call__(self):
        self.__self__.write(self._data)


def stream(store, data, cuts, part=PART, **how):
    """Write ``data`` in pieces of these sizes, the rest as the last, and repeat what fails retryably."""
    writer = store.open_writer("k", part_size=part, **how)
    at = 0
    for size in (*cuts, len(data)):
        patiently(Write(writer, data[at : at + size]))
        at += size
    return patiently(writer.commit)


def in_range(first):
    return lambda request: request.headers.get("content-range", "").startswith(f"bytes {first}-")


def begins(request):
    return "uploadType=resumable" in request.target and "upload_id" not in request.target


def asks(request):
    return request.headers.get("content-range", "").startswith("bytes */")


#: The transport sends a request again by itself when a kept connection ends before any answer, so twice is what the
#: writer hears of.
TWICE = 2
PHASES = {
    "begin dropped": [Fault(begins, "drop", TWICE)],
    "begin lost": [Fault(begins, "lose", TWICE)],
    "begin lost once": [Fault(begins, "lose")],
    "begin refused": [Fault(begins, "answer", answer=BUSY)],
    "first part dropped": [Fault(in_range(0), "drop", TWICE)],
    "first part lost": [Fault(in_range(0), "lose", TWICE)],
    "first part lost once": [Fault(in_range(0), "lose")],
    "first part half kept": [Fault(in_range(0), "keep", TWICE, nbytes=256 * KIB)],
    "first part half taken": [Fault(in_range(0), "short", nbytes=256 * KIB)],
    "first part not taken": [Fault(in_range(0), "short", nbytes=0)],
    "a part refused": [Fault(in_range(PART), "answer", answer=BUSY)],
    "a part lost": [Fault(in_range(PART), "lose", TWICE)],
    "a part half kept": [Fault(in_range(PART), "keep", TWICE, nbytes=256 * KIB)],
    "a part half kept once": [Fault(in_range(PART), "keep", nbytes=256 * KIB)],
    "a part lost and the question dropped": [Fault(in_range(PART), "lose", TWICE), Fault(asks, "drop", TWICE)],
    "a part lost and the question refused": [Fault(in_range(PART), "lose", TWICE), Fault(asks, "answer", answer=BUSY)],
    "a part dropped often": [Fault(in_range(PART), "drop", 5)],
    "the last part dropped": [Fault(in_range(3 * PART), "drop", TWICE)],
    "the last part lost": [Fault(in_range(3 * PART), "lose", TWICE)],
    "the last part lost once": [Fault(in_range(3 * PART), "lose")],
    "the last part refused": [Fault(in_range(3 * PART), "answer", answer=BUSY)],
    "the last part lost and the question lost": [Fault(in_range(3 * PART), "lose", TWICE), Fault(asks, "lose", TWICE)],
}


@pytest.mark.parametrize("cuts", [(), (PART, PART, PART), (100, 3 * PART), (700 * KIB,)], ids=str)
@pytest.mark.parametrize("phase", PHASES)
def test_interrupted_at(store, server, phase, cuts):
    data = os.urandom(3 * PART + 12_345)
    server.faults = [Fault(f.match, f.do, f.times, f.nbytes, f.answer) for f in PHASES[phase]]
    info = stream(store, data, cuts, create=True, metadata={"a": "b"})
    assert all(fault.times == 0 for fault in server.faults)
    assert (info.size, info.metadata) == (len(data), {"a": "b"})
    assert read(store, "k") == data
    assert server.state.violations == []
    assert len(list(store.list_pages())) == 1


@settings(max_examples=60)
@given(st.data())
def test_any_interruptions(data):
    from gcs_server import GCSServer

    size = data.draw(st.integers(PART, 5 * PART), label="size")
    body = os.urandom(size)
    cuts = data.draw(st.lists(st.integers(0, 2 * PART), max_size=6), label="cuts")
    kinds = data.draw(st.lists(st.sampled_from(["ok", "drop", "lose", "keep", "answer"]), max_size=12), label="kinds")
    kept = data.draw(st.sampled_from([0, 256 * KIB]), label="kept")
    plan = iter(kinds)
    with GCSServer() as server:
        server.state.create_bucket(BUCKET)
        for kind in plan:
            # One fault after the other: each matches the first upload request that comes.
            server.faults.append(
                Fault(lambda r: "/upload/" in r.path and r.method in ("POST", "PUT"), "none", nbytes=kept, answer=BUSY)
                if kind == "ok"
                else Fault(lambda r: "upload_id" in r.target and r.method == "PUT", kind, nbytes=kept, answer=BUSY)
            )
        store = open_store(f"gs://{BUCKET}?endpoint={server.endpoint}")
        try:
            info = stream(store, body, cuts)
            assert info.size == size
            assert read(store, "k") == body
            assert server.state.violations == []
        finally:
            store.close()


@pytest.mark.parametrize("cut", [0, 300, 300_000, 600_000, 1_200_000])
def test_connections_that_break_on_the_way_up(server, environment, cut):
    data = os.urandom(3 * PART + 99)
    port = int(server.endpoint.rpartition(":")[2])
    with FaultProxy(port) as proxy:
        environment.setenv("GCS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
        store = open_store(f"gs://{BUCKET}")
        proxy.then(Plan(up=Way(cut=cut)))
        info = stream(store, data, (), create=True)
        assert (info.size, read(store, "k") == data) == (len(data), True)
        store.close()


@pytest.mark.parametrize("cut", [0, 40, 500, 900, 1_300])
def test_connections_that_break_on_the_way_down(server, environment, cut):
    data = os.urandom(3 * PART + 99)
    port = int(server.endpoint.rpartition(":")[2])
    with FaultProxy(port) as proxy:
        environment.setenv("GCS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
        store = open_store(f"gs://{BUCKET}")
        proxy.then(Plan(down=Way(cut=cut)))
        info = stream(store, data, (), create=True)
        assert (info.size, read(store, "k") == data) == (len(data), True)
        store.close()


@pytest.mark.parametrize("status", [404, 410])
def test_a_session_that_is_gone_ends_the_writer(store, server, status):
    server.faults = [Fault(in_range(PART), "answer", answer=Answer(status, b"gone"))]
    writer = store.open_writer("k", part_size=PART)
    with pytest.raises(errors.StoreError, match="no such upload any more") as caught:
        writer.write(bytes(4 * PART))
    assert (caught.value.retryable, caught.value.uri) == (False, f"gs://{BUCKET}/k")
    with pytest.raises(errors.StoreError, match="already"):
        writer.write(b"more")
    with pytest.raises(errors.StoreError, match="already"):
        writer.commit()
    writer.abort()
    assert server.state.open_sessions() == []
    assert list(store.list_pages()) == []


def test_no_error_names_the_session(store, server):
    for status in (400, 401, 403, 404, 500, 503):
        server.faults = [
            Fault(in_range(0), "answer", answer=Answer(status, b"no", {"x-guploader-uploadid": "SESSION-secret"}))
        ]
        writer = store.open_writer("k", part_size=PART)
        with pytest.raises(errors.StoreError) as caught:
            writer.write(bytes(2 * PART))
        assert "SESSION" not in f"{caught.value} {caught.value!r} {caught.value.__cause__!r}"
        assert caught.value.request_id is None
        writer.abort()


def test_a_service_that_loses_bytes_is_found_out(store, server):
    writer = store.open_writer("k", part_size=PART)
    writer.write(bytes(2 * PART + 1))
    (name,) = server.state.open_sessions()
    del server.state.sessions[name].body[256 * KIB :]
    with pytest.raises(errors.StoreError) as caught:
        writer.commit()
    assert caught.value.retryable
    with pytest.raises(errors.StoreError, match="not what was sent") as caught:
        writer.commit()
    assert not caught.value.retryable
    writer.abort()


@pytest.mark.parametrize("cuts", [(), (PART, 5)], ids=str)
def test_a_service_that_takes_an_odd_number_of_bytes(store, server, cuts):
    """What is sent after them is a multiple of 256 KiB all the same."""
    data = os.urandom(4 * PART + 7)

    def odd(request):
        if not in_range(0)(request):
            return False
        (name,) = server.state.open_sessions()
        server.state.sessions[name].body = bytearray(request.body[:100_000])
        return True

    server.faults = [Fault(odd, "answer", answer=Answer(308, b"", {"range": "bytes=0-99999"}))]
    assert stream(store, data, cuts).size == len(data)
    assert read(store, "k") == data
    assert server.state.violations == []


@pytest.mark.parametrize(
    "faults",
    [
        [Fault(in_range(0), "answer", answer=BUSY)],
        [Fault(in_range(0), "short", nbytes=256 * KIB), Fault(in_range(256 * KIB), "drop", TWICE)],
    ],
    ids=["refused", "half taken, then lost"],
)
def test_writing_nothing_sends_again_what_failed(store, server, faults):
    writer = store.open_writer("k", part_size=PART)
    writer.write(bytes(PART))
    server.faults = [Fault(f.match, f.do, f.times, f.nbytes, f.answer) for f in faults]
    with pytest.raises(errors.StoreError):
        writer.write(b"more")
    (name,) = server.state.open_sessions()
    assert len(server.state.sessions[name].body) < PART
    writer.write(b"")
    assert len(server.state.sessions[name].body) == PART
    assert writer.commit().size == PART + 4


def test_abort_and_drop_leave_no_session(store, server):
    for _ in range(3):
        writer = store.open_writer("k", part_size=PART)
        writer.write(bytes(3 * PART))
        assert len(server.state.open_sessions()) == 1
        writer.abort()
        assert server.state.open_sessions() == []
    writer = store.open_writer("k", part_size=PART)
    writer.write(bytes(3 * PART))
    del writer
    gc.collect()
    # The session of a dropped writer goes with the next writer that is opened, or with the store.
    store.open_writer("other", part_size=PART)
    assert server.state.open_sessions() == []
    writer = store.open_writer("k", part_size=PART)
    writer.write(bytes(3 * PART))
    del writer
    gc.collect()
    store.close()
    assert server.state.open_sessions() == []


def test_an_abort_that_fails_is_harmless(store, server):
    writer = store.open_writer("k", part_size=PART)
    writer.write(bytes(3 * PART))
    server.faults = [Fault(lambda r: r.method == "DELETE", "drop", times=5)]
    writer.abort()
    assert list(store.list_pages()) == []


def test_parts_are_rounded_up_to_what_the_service_takes(store, server):
    writer = store.open_writer("k", part_size=300_000)
    writer.write(bytes(3 * PART))
    writer.commit()
    sizes = [len(request.body) for request in server.log if request.method == "PUT"]
    assert sizes == [PART, PART, PART]


def test_a_writer_that_is_refused_at_once_says_so_at_the_commit(store, server):
    store.put("k", b"there")
    writer = store.open_writer("k", part_size=PART, create=True)
    for _ in range(8):
        writer.write(bytes(PART))
    assert len(server.requests("upload_id")) == 0
    with pytest.raises(errors.AlreadyExistsError) as caught:
        writer.commit()
    assert (caught.value.operation, read(store, "k")) == ("commit", b"there")


SCRIPT = """
import os, sys
from penstock.opening import open_store
writer = open_store(sys.argv[1]).open_writer("killed", part_size=512 * 1024)
writer.write(bytes(3 * 1024 * 1024))
print("written", flush=True)
sys.stdin.read()
"""


def test_kill_9_leaves_nothing_visible(store, server):
    command = [sys.executable, "-c", SCRIPT, f"gs://{BUCKET}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"written\n"
        child.kill()
    assert len(server.state.open_sessions()) == 1
    assert list(store.list_pages()) == []
    with pytest.raises(errors.ObjectNotFoundError):
        store.stat("killed")


STREAMING = """
import resource, sys
from penstock.opening import open_store
from penstock.sinks import Discard
store = open_store(sys.argv[1])
block = memoryview(bytearray(1024 * 1024))
store.put("warm", block)
store.get("warm", Discard())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
writer = store.open_writer("big", part_size=8 * 1024 * 1024)
for number in range(64):
    block[:8] = number.to_bytes(8, "big")
    writer.write(block)
info = writer.commit()
store.get("big", Discard())
print(info.size, info.checksum, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


def test_a_streamed_object_is_held_in_one_part(store, server):
    done = subprocess.run(
        [sys.executable, "-c", STREAMING, f"gs://{BUCKET}"], capture_output=True, text=True, check=True, timeout=60
    )
    size, checksum, grown = done.stdout.split()
    assert int(size) == 64 * MIB
    assert checksum == store.stat("big").checksum
    # One part, the sink's room, and some for the allocator; the object itself is four times as large.
    assert int(grown) < 16 * MIB
