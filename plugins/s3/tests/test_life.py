"""Buckets, uploads that were left, keys that expire, large objects in little memory, whole runs."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager

import pytest
from s3_children import MIB, PART, stream, vanish
from s3_recorder import Reply, answering, error

from penstock.errors import AlreadyExistsError, ObjectNotFoundError, StoreError
from penstock.opening import open_store, resolve_store
from penstock.sinks import Discard

PATIENCE_S = 60.0


@contextmanager
def service_of(uri, options):
    target = resolve_store(uri, options=options)
    with closing(target.kind.service(target.resolved.options)) as service:
        yield service


class TestBuckets:
    def test_made_listed_and_removed(self, server, options):
        base = f"s3+{server.endpoint}/"
        uri = f"{base}made-here/"
        with service_of(uri, options) as service:
            service.create_bucket()
            with pytest.raises(AlreadyExistsError):
                service.create_bucket()
            assert "testk" not in service.authenticate()
            with closing(open_store(uri, options=options)) as store:
                store.put("key", b"x")
                with pytest.raises(StoreError, match="not empty"):
                    service.delete_bucket()
                store.delete(["key"])
            with service_of(base, options) as all_of_it:
                found = {bucket.name: bucket for bucket in all_of_it.list_buckets()}
                assert all_of_it.authenticate()
            assert found["made-here"].uri == uri
            assert found["made-here"].created_ns is None or found["made-here"].created_ns > 10**18
            service.delete_bucket()
            with pytest.raises(ObjectNotFoundError, match="does not exist"):
                service.delete_bucket()
            with pytest.raises(ObjectNotFoundError):
                service.authenticate()

    def test_where_requests_go(self, options):
        with service_of(
            "s3+http://127.0.0.1:9/bucket/", options | {"proxy": "http://me:planted@127.0.0.1:10"}
        ) as service:
            found = service.endpoint()
        assert (found.host, found.port, found.tls) == ("127.0.0.1", 9, False)
        assert found.proxy == "http://127.0.0.1:10"


class TestUploads:
    def test_a_killed_writer_leaves_an_upload_that_is_found_and_removed(self, server, place, options):
        context = multiprocessing.get_context("spawn")
        started = context.Event()
        child = context.Process(target=vanish, args=(place, options, started), daemon=True)
        child.start()
        assert started.wait(PATIENCE_S)
        bucket, prefix = place.rsplit("/", 2)[0] + "/", place.rsplit("/", 2)[1] + "/"
        with service_of(bucket, options) as service:
            # The first part's request is on its way when the writer returns.
            limit = time.monotonic() + PATIENCE_S
            while not (found := list(service.list_uploads(prefix))) and time.monotonic() < limit:
                pass
            child.kill()
            child.join(PATIENCE_S)
            (upload,) = found
            assert upload.key == f"{prefix}dir/left"
            assert upload.started_ns is None or upload.started_ns > 10**18
            with closing(open_store(place, options=options)) as store:
                assert list(store.list_pages()) == [], "no object is visible"
            assert list(service.list_uploads(f"{prefix}dir/other")) == []
            command = [sys.executable, "-m", "penstock", "rm", "--incomplete", "--older-than", "0"]
            for more, left in ((["--dry-run"], [upload]), ([], [])):
                done = subprocess.run(
                    [*command, *more, place],
                    env=os.environ | server.environment, capture_output=True, text=True, timeout=60, check=False,
                )  # fmt: skip
                assert done.returncode == 0, done.stderr
                assert ("dir/left" in done.stdout) if more else ("removed 1 " in done.stderr)
                assert list(service.list_uploads(prefix)) == left
            service.abort_upload(upload)

    @pytest.mark.parametrize("end", ["abort", "drop", "commit"])
    def test_no_other_end_leaves_one(self, place, options, end):
        bucket, prefix = place.rsplit("/", 2)[0] + "/", place.rsplit("/", 2)[1] + "/"
        with service_of(bucket, options) as service, closing(open_store(place, options=options)) as store:
            writer = store.open_writer("key", part_size=PART)
            writer.write(bytes(2 * PART + 1))
            if end == "drop":
                del writer
                gc.collect()
            else:
                getattr(writer, end)()
            assert list(service.list_uploads(prefix)) == []
            assert bool(list(store.list_pages())) is (end == "commit")


_PROCESS = """
import datetime, json, os, sys
life, log = float(sys.argv[1]), sys.argv[2]
end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=life)
name = f"K{end.timestamp():.3f}"
with open(log, "a") as file:
    file.write(name + "\\n")
print(json.dumps({"Version": 1, "AccessKeyId": name, "SecretAccessKey": "plantedSecret", "SessionToken": "t",
                  "Expiration": end.isoformat()}))
"""


def test_keys_that_expire_in_the_middle_are_fetched_anew_without_an_error(tmp_path, monkeypatch):
    """Their process gives them four seconds, and the server refuses them afterwards."""
    script, log, config = tmp_path / "keys.py", tmp_path / "log", tmp_path / "config"
    script.write_text(_PROCESS)
    config.write_text(f"[default]\ncredential_process = {sys.executable} {script} 4 {log}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))

    def answer(request):
        name = request.headers["authorization"].partition("Credential=K")[2].partition("/")[0]
        return Reply(200, b"body") if time.time() < float(name) else error(400, "ExpiredToken")

    failures: list[StoreError] = []
    limit = time.monotonic() + PATIENCE_S
    with answering(answer) as server:
        options = {"endpoint": server.endpoint, "region": "us-east-1"}
        with closing(open_store("s3://bucket/", options=options)) as store:

            def lane():
                while time.monotonic() < limit and len(log.read_text().split() if log.exists() else ()) < 4:
                    try:
                        store.get("key", Discard())
                    except StoreError as failed:
                        failures.append(failed)
                        return

            lanes = [threading.Thread(target=lane) for _ in range(8)]
            for thread in lanes:
                thread.start()
            for thread in lanes:
                thread.join(2 * PATIENCE_S)
        seen = {request.headers["authorization"].partition("Credential=")[2][:15] for request in server.requests}
    assert failures == []
    assert len(seen) >= 3, "keys of three lives were used"
    assert len(log.read_text().split()) <= 6, "one thread fetches, and not at every request"


def streamed(place, options, nbytes, part_concurrency):
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=stream, args=(place, options, nbytes, part_concurrency, there), daemon=True)
    child.start()
    there.close()
    try:
        size, same, grown = here.recv()
    finally:
        child.kill()
        child.join()
    assert size == nbytes
    assert same, "the CRC-32C of what was read is that of what was written"
    assert grown > PART / 2, "the measure sees at least the part that is sent"
    print(f"{nbytes / MIB:.0f} MiB streamed up and down, memory grew by {grown / MIB:.1f} MiB")
    return grown


def test_a_large_object_needs_little_memory(place, options):
    assert streamed(place, options, 64 * MIB, 1) <= 2 * PART + 16 * MIB


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_gib_need_as_little(place, options):
    assert streamed(place, options, 10 * 1024 * MIB, 4) <= 5 * 16 * MIB + 64 * MIB


WORKLOAD = """
target: {target}
duration: 5s
concurrency: 64
processes: 2
workload:
  - {{op: get, path: small/*, weight: 60}}
  - {{op: get, path: large/*, weight: 5, range: {{size: 64KiB, offset: random}}}}
  - {{op: stat, path: small/*, weight: 10}}
  - {{op: put, path: new/, weight: 15, size: 8KiB}}
  - {{op: put, path: parts/, weight: 1, size: 6MiB, multipart: {{part_size: 5MiB}}}}
  - {{op: delete, path: doomed/*, weight: 8}}
  - {{op: list, path: large/, weight: 1}}
prepare:
  ensure_objects:
    - {{path: small, count: 300, size: 16KiB}}
    - {{path: large, count: 8, size: 1MiB}}
    - {{path: doomed, count: 2000, size: 1KiB}}
cleanup: true
"""


@pytest.mark.timeout(300)
def test_a_run_of_64_lanes_in_two_processes_has_no_error(server, place, tmp_path):
    workload = tmp_path / "run.yaml"
    workload.write_text(WORKLOAD.format(target=place))
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "run", str(workload), "--json", "--results-dir", str(tmp_path / "results")],
        env=os.environ | server.environment, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    result = json.loads(done.stdout)
    assert result["totals"]["ALL"]["errors"] == 0, json.dumps({**result, "totals": None})[:3000]
    assert result["totals"]["ALL"]["count"] > 100
