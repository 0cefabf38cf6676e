"""Whole commands on Azurite: runs, and what goes wrong with a clear message, exit code 1 and no secret in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from azure.storage.blob import generate_container_sas
from azure_fakes import KEY, FakeAnswer, fake_store, parsed

from penstock import errors
from penstock.opening import open_store
from penstock.sinks import Discard
from penstock.testing.proxy import Plan, Way
from penstock.testing.servers import free_port
from penstock_azure import signing

MARKER = "bWFya2VyLW9mLWEtc2VjcmV0"

RUN = """
target: ${TARGET}
duration: 3s
concurrency: 64
processes: 2
workload:
  - {op: get, path: small/*, weight: 60, selection: {zipf: {theta: 0.9}}}
  - {op: get, path: large/*, range: {size: 64KiB, offset: random}, weight: 10}
  - {op: stat, path: small/*, weight: 10}
  - {op: put, path: new/, size: {lognormal: {mean: 8KiB, std_dev: 16KiB, min: 512, max: 256KiB}}, weight: 9}
  - {op: delete, path: doomed/*, weight: 2}
  - {op: list, path: large/, weight: 1}
prepare:
  ensure_objects:
    - {path: small, count: 200, size: {lognormal: {mean: 16KiB, std_dev: 32KiB, min: 512, max: 1MiB}}}
    - {path: large, count: 4, size: 4MiB}
    - {path: doomed, count: 100, size: 4KiB}
cleanup: true
"""


def penstock(*arguments, timeout=100, **environment):
    return subprocess.run(
        [sys.executable, "-m", "penstock", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, **environment},
    )


def refused(uri, *secrets, command="stat", code=1, **environment):
    """The message of a command that fails: an exit code, and a text without any of the secrets."""
    done = penstock(command, f"{uri}k", **environment)
    told = done.stdout + done.stderr
    assert done.returncode == code, told
    assert "Traceback" not in told
    for secret in (MARKER, *secrets):
        assert secret not in told
    return told


@pytest.mark.timeout(300)
def test_a_run_of_64_lanes_in_2_processes(container, tmp_path):
    (tmp_path / "run.yaml").write_text(RUN)
    file, out = str(tmp_path / "run.yaml"), f"--results-dir={tmp_path}"
    done = penstock("run", file, out, "--json", timeout=280, TARGET=container)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)
    assert result["errors"] == []
    assert result["totals"]["ALL"]["errors"] == 0
    assert set(result["operations"]) == {"GET", "GET_RANGE", "PUT", "STAT", "LIST", "DELETE"}
    with closing(open_store(container)) as store:
        assert [info.key for page in store.list_pages() for info in page.objects] == []


def test_a_wrong_key(container):
    told = refused(container, AZURE_STORAGE_KEY=MARKER)
    assert "is the account key right" in told
    assert f"try: penstock health {container}\n" in told
    done = penstock("health", container, AZURE_STORAGE_KEY=MARKER)
    assert done.returncode == 1
    assert "by its key (from account_key) was refused" in done.stdout
    assert "remedy: check these credentials" in done.stdout


def test_without_credentials_what_gives_some_is_named(server):
    done = penstock("ls", f"az://{server.account}", "-O", "credential=key", AZURE_STORAGE_KEY="")
    assert done.returncode == 1
    assert f"penstock: az://{server.account}/: the option credential is key" in done.stderr
    assert "`penstock plugins show az`" in done.stderr


def test_another_account(container, server):
    told = refused(container.replace(server.account, "another"))
    assert "another" in told


def test_a_connection_string_of_another_account(container):
    string = f"AccountName=another;AccountKey={MARKER}"
    told = refused(container, code=2, AZURE_STORAGE_CONNECTION_STRING=string)
    assert "the connection string is of the account another" in told


def test_a_missing_container(server, on_azurite):
    told = refused(f"az://{server.account}/not-there/", command="ls")
    assert "container does not exist" in told


def sas(server, container, **times):
    name = container.rstrip("/").rpartition("/")[2]
    return generate_container_sas(server.account, name, server.key, permission="rl", **times)


def test_an_expired_signature(container, server):
    token = sas(server, container, expiry=datetime.now(UTC) - timedelta(hours=1))
    signature = token.partition("sig=")[2]
    told = refused(container, signature, AZURE_STORAGE_KEY="", AZURE_STORAGE_SAS_TOKEN=token)
    assert "403" in told


def test_a_signature_that_forbids(store, container, server):
    store.put("k", b"x")
    token = sas(server, container, expiry=datetime.now(UTC) + timedelta(hours=1))
    told = refused(container, command="rm", AZURE_STORAGE_KEY="", AZURE_STORAGE_SAS_TOKEN=token)
    assert "does the signature (SAS) allow this" in told or "use a signature that allows this" in told
    assert store.stat("k").size == 1


def test_nobody_listens(container):
    told = refused(container, AZURE_STORAGE_ENDPOINT=f"http://127.0.0.1:{free_port()}")
    assert "refused" in told.lower()


def test_a_host_that_is_unknown(container):
    told = refused(container, AZURE_STORAGE_ENDPOINT="http://account.invalid:1")
    assert "account.invalid" in told


def test_no_credentials_at_all(container):
    told = refused(container, AZURE_STORAGE_KEY="")
    assert "AZURE_STORAGE_KEY" in told


def test_a_clock_that_is_wrong(monkeypatch):
    late = "Request date header too old: 'Sun, 09 Sep 2001 01:46:40 GMT'"
    body = f"<Error><Message>Make sure.</Message><AuthenticationErrorDetail>{late}</AuthenticationErrorDetail></Error>"
    store, client = fake_store(FakeAnswer(403, {"x-ms-error-code": "AuthenticationFailed"}, body.encode()))
    monkeypatch.setattr(signing, "now_s", lambda: 1_000_000_000)
    with pytest.raises(errors.CredentialsError) as caught:
        store.get("k", Discard())
    assert parsed(client.sent[0])[2]["x-ms-date"] == "Sun, 09 Sep 2001 01:46:40 GMT"
    assert late in str(caught.value)
    assert "is this machine's clock right?" in str(caught.value)
    assert KEY not in str(caught.value)


def test_an_answer_that_is_cut_is_an_error_and_a_retry_succeeds(container, proxy):
    with closing(open_store(container, options={"endpoint": f"http://127.0.0.1:{proxy.port}"})) as store:
        store.put("k", bytes(100_000))
        proxy.drop()
        proxy.then(Plan(down=Way(cut=50_000)))
        with pytest.raises(errors.StoreConnectionError) as caught:
            store.get("k", Discard())
        assert (caught.value.uri, caught.value.operation, caught.value.retryable) == (f"{container}k", "get", True)
        assert store.get("k", Discard()).size == 100_000


def test_a_part_that_fails_is_sent_again(container, proxy):
    with closing(open_store(container, options={"endpoint": f"http://127.0.0.1:{proxy.port}"})) as store:
        writer = store.open_writer("k", part_size=50_000)
        # Held for a while, so that the write has returned before its part fails.
        proxy.then(Plan(up=Way(cut=10_000, delay=0.5)))
        writer.write(bytes(100_001))
        with pytest.raises(errors.StoreConnectionError) as caught:
            writer.commit()
        assert (caught.value.retryable, caught.value.operation) == (True, "commit")
        with pytest.raises(errors.ObjectNotFoundError):
            store.stat("k")
        assert writer.commit().size == 100_001
        assert store.stat("k").size == 100_001


def test_abandoned_uploads_are_removed_by_the_command(store, container, server):
    writer = store.open_writer("left", part_size=1_000)
    writer.write(bytes(3_000))
    writer._parts.finish()
    done = penstock("rm", "--incomplete", "--older-than=0", container)
    assert done.returncode == 0, done.stderr
    assert "removed 1 unfinished upload" in done.stdout + done.stderr
    sdk = server.sdk().get_container_client(container.rstrip("/").rpartition("/")[2])
    assert list(sdk.list_blobs(include=["uncommittedblobs"])) == []


def test_health(container):
    done = penstock("health", container)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "by its key" in done.stdout + done.stderr
