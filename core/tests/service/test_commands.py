"""The commands on buckets, uploads and metadata, and what a failure says, as a user types and reads them."""

from __future__ import annotations

import json
import socket
import ssl
import time

import pytest
from click.testing import CliRunner

import penstock
from penstock.cli import main
from penstock.client import remedies
from penstock.errors import (
    AccessDeniedError,
    CredentialsError,
    ObjectNotFoundError,
    StoreConnectionError,
    StoreError,
    UnsupportedOperationError,
)
from penstock.service import UploadInfo

TOP = "cloud://h:1/"
BUCKET = TOP + "b/"
HOUR = 3600 * 10**9


def upload(key, age_ns=None):
    return UploadInfo(key=key, id=f"id-{key}", started_ns=None if age_ns is None else time.time_ns() - age_ns)


def test_mb_and_rb(cloud, run):
    run("mb", TOP + "c", TOP + "d")
    assert list(cloud.buckets) == ["b", "c", "d"]
    assert "already" in run("mb", TOP + "c", code=1).stderr
    run("rb", TOP + "c")
    assert list(cloud.buckets) == ["b", "d"]
    assert "no such bucket" in run("rb", TOP + "c", code=1).stderr


def test_rb_leaves_a_full_bucket_and_names_the_way(cloud, run):
    penstock.put(BUCKET + "a", b"1")
    said = run("rb", BUCKET, code=1).stderr
    assert "not empty" in said
    assert f"`penstock rb --force {BUCKET}`" in said
    assert penstock.get(BUCKET + "a") == b"1"


def test_rb_names_it_for_unfinished_uploads_too_and_only_then(cloud, run):
    cloud.uploads = [upload("a")]
    assert "rb --force" in run("rb", BUCKET, code=1).stderr
    cloud.uploads = []
    cloud.failures["delete_bucket"] = [AccessDeniedError("you may not", operation="delete_bucket")]
    assert "rb --force" not in run("rb", BUCKET, code=1).stderr


@pytest.mark.parametrize("option", [["--yes"], ["-j", "4"]])
def test_rb_without_force_takes_nothing_that_is_for_it(cloud, run, option):
    assert "--force" in run("rb", *option, BUCKET, code=2).stderr
    assert list(cloud.buckets) == ["b"]


@pytest.mark.parametrize("args", [["ls", TOP], ["rm", "--incomplete", BUCKET]])
def test_an_op_log_of_nothing_is_refused(cloud, run, args, tmp_path):
    assert "--op-log" in run(*args, "--op-log", str(tmp_path / "log.tsv"), code=2).stderr


def test_rb_force_wants_to_be_meant(cloud, run):
    penstock.put(BUCKET + "a/b", b"1")
    penstock.put(BUCKET + "c", b"22")
    cloud.uploads = [upload("a"), upload("b", 0)]
    assert "--yes" in run("rb", "--force", BUCKET, code=2).stderr
    assert list(cloud.buckets) == ["b"]
    assert "removed 2 objects, 3 B and 2 unfinished uploads" in run("rb", "--force", "--yes", BUCKET).stderr
    assert (cloud.buckets, cloud.uploads) == ({}, [])


def test_rb_force_where_uploads_can_not_be_listed(cloud, run):
    penstock.put(BUCKET + "a", b"1")
    cloud.failures["list_uploads"] = [UnsupportedOperationError("no listing of uploads here")]
    run("rb", "--force", "--yes", BUCKET)
    assert cloud.buckets == {}


def test_rb_force_keeps_the_bucket_of_what_stays(cloud, run):
    penstock.put(BUCKET + "a", b"1")
    cloud.uploads = [upload("u")]
    cloud.failures["abort_upload"] = [AccessDeniedError("held")]
    said = run("rb", "--force", "--yes", BUCKET, code=1).stderr
    assert f"{BUCKET}u: held" in said
    assert "1 could not be removed" in said
    assert list(cloud.buckets) == ["b"]
    assert "delete_bucket" not in cloud.calls


def test_ls_of_a_service_lists_its_buckets(cloud, run):
    cloud.buckets["new"] = None
    assert run("ls", TOP).stdout.split() == [BUCKET, TOP + "new/"]
    assert run("ls", "cloud://h:1").stdout.split() == [BUCKET, TOP + "new/"]
    dated, undated = run("ls", "-l", TOP).stdout.splitlines()
    assert dated.split() == ["here", "2023-11-14", "22:13:20", BUCKET]
    assert undated.split() == ["-", "-", TOP + "new/"]
    first, second = map(json.loads, run("ls", "--json", TOP).stdout.splitlines())
    assert first == {"name": "b", "uri": BUCKET, "region": "here", "created": "2023-11-14T22:13:20+00:00"}
    assert second == {"name": "new", "uri": TOP + "new/"}
    assert run("ls", "-c", TOP).stdout == "2 buckets\n"
    assert json.loads(run("ls", "-c", "--json", TOP).stdout) == {"uri": TOP, "buckets": 2}
    for options in (["-r"], ["--regex", "b"], ["--bytes"]):
        assert "name a bucket" in run("ls", *options, TOP, code=2).stderr


@pytest.mark.parametrize(
    "args",
    [
        ["mb", TOP],
        ["rb", TOP],
        ["rb", "--force", "--yes", TOP],
        ["stat", TOP],
        ["count", TOP],
        ["du", TOP],
        ["cat", TOP],
        ["get", TOP],
        ["put", "-s", "1KiB", TOP],
        ["cp", "-r", TOP, "out"],
        ["cp", "-r", ".", TOP],
        ["mv", "-r", "--yes", TOP, "out"],
        ["upload", ".", TOP],
        ["download", TOP, "out"],
        ["rm", TOP],
        ["rm", "-r", "--yes", TOP],
        ["rm", "--incomplete", TOP],
        ["mkdir", TOP],
        ["rmdir", TOP],
        ["set-metadata", TOP, "a=b"],
        ["health", TOP],
    ],
    ids=" ".join,
)
def test_a_service_is_no_bucket(cloud, run, args, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").write_bytes(b"1")
    said = run(*args, code=2).stderr
    assert said == (
        f"penstock: {TOP} names no bucket; write cloud://host:port/bucket/key, or list the buckets: penstock ls {TOP}\n"
    )
    assert list(cloud.buckets) == ["b"]


@pytest.mark.parametrize("args", [["mb"], ["rb"], ["rm", "--incomplete"]])
def test_what_has_no_service_says_so(run, args, tmp_path):
    assert "file:// has no buckets" in run(*args, f"file://{tmp_path}/x", code=1).stderr


def test_mb_of_more_than_a_bucket(cloud, run):
    assert f"write {BUCKET}" in run("mb", BUCKET + "a", code=2).stderr
    assert f"write {BUCKET}" in run("rb", "--force", "--yes", BUCKET + "a", code=2).stderr


def test_incomplete_lists_and_removes_what_is_old(cloud, run):
    cloud.uploads = [upload("old", 25 * HOUR), upload("young", 23 * HOUR), upload("undated")]
    done = run("rm", "--incomplete", "--dry-run", BUCKET)
    assert done.stdout.split()[2:] == [BUCKET + "old"]
    assert done.stderr == (
        "would remove 1 unfinished upload; 1 begun within 24h00m left alone; "
        "1 of unknown age left alone (--older-than 0 takes them)\n"
    )
    assert len(cloud.uploads) == 3
    assert run("rm", "--incomplete", BUCKET).stderr.startswith("removed 1 unfinished upload; ")
    assert [left.key for left in cloud.uploads] == ["young", "undated"]
    assert run("rm", "--incomplete", "--older-than", "22h", BUCKET).stderr.startswith("removed 1 unfinished upload; ")
    assert run("rm", "--incomplete", "--older-than", "0", BUCKET).stderr == "removed 1 unfinished upload\n"
    assert run("rm", "--incomplete", BUCKET).stderr == "removed 0 unfinished uploads\n"


def test_incomplete_in_json(cloud, run):
    cloud.uploads = [upload("old", 25 * HOUR), upload("young", 1), upload("undated")]
    facts = json.loads(run("rm", "--incomplete", "--dry-run", "--json", BUCKET).stdout)
    assert facts["planned"][0].pop("started").endswith("+00:00")
    assert facts == {
        "uploads": 1,
        "young": 1,
        "undated": 1,
        "dry_run": True,
        "planned": [{"uri": BUCKET + "old", "id": "id-old"}],
        "failures": [],
    }
    cloud.failures["abort_upload"] = [StoreError("odd")]
    facts = json.loads(run("rm", "--incomplete", "--json", BUCKET, code=1).stdout)
    assert (facts["uploads"], facts["failures"]) == (0, [{"uri": BUCKET + "old", "error": "odd"}])


def test_incomplete_stays_within_its_prefix(cloud, run):
    names = ["logs", "logs/a", "logs/b/c", "logs-old/a", "my-logs/a"]
    cloud.uploads = [upload(name, 99 * HOUR) for name in names]
    run("rm", "--incomplete", BUCKET + "logs/b/")
    assert [left.key for left in cloud.uploads] == ["logs", "logs/a", "logs-old/a", "my-logs/a"]
    run("rm", "--incomplete", BUCKET + "logs")
    assert [left.key for left in cloud.uploads] == ["logs-old/a", "my-logs/a"]


def test_incomplete_refuses_what_it_does_not_do(cloud, run):
    cloud.uploads = [upload("a", 99 * HOUR)]
    for option in (["-r"], ["-f"], ["--yes"], ["-j", "4"]):
        assert "leave out" in run("rm", *option, "--incomplete", BUCKET, code=2).stderr
    assert "glob" in run("rm", "--incomplete", BUCKET + "*", code=2).stderr
    assert "--incomplete" in run("rm", "--older-than", "1h", BUCKET + "a", code=2).stderr
    assert "duration" in run("rm", "--incomplete", "--older-than", "soon", BUCKET, code=2).stderr
    assert "delete" not in cloud.calls
    assert len(cloud.uploads) == 1


def test_incomplete_reports_what_stays(cloud, run):
    cloud.uploads = [upload("a", 99 * HOUR), upload("b", 99 * HOUR)]
    cloud.failures["abort_upload"] = [AccessDeniedError("held"), StoreError("odd")]
    said = run("rm", "--incomplete", BUCKET, code=1).stderr.splitlines()
    assert said[0] == "removed 0 unfinished uploads"
    assert said[1:] == [f"penstock: {BUCKET}a: held", f"penstock: {BUCKET}b: odd", "penstock: 2 could not be removed"]


def test_set_metadata_replaces_it_all(cloud, run):
    penstock.put(BUCKET + "a", b"1", metadata={"old": "1"}, content_type="text/plain")
    run("set-metadata", BUCKET + "a", "who=me", "why=x=y")
    info = penstock.stat(BUCKET + "a")
    assert (info.metadata, info.content_type, info.size) == ({"who": "me", "why": "x=y"}, "text/plain", 1)
    run("set-metadata", "--clear", BUCKET + "a")
    assert not penstock.stat(BUCKET + "a").metadata


def test_set_metadata_refuses(cloud, run, tmp_path):
    penstock.put(BUCKET + "a", b"1", metadata={"old": "1"})
    run("set-metadata", BUCKET + "a", code=2)
    run("set-metadata", "--clear", BUCKET + "a", "b=c", code=2)
    run("set-metadata", BUCKET + "a", "b", code=2)
    run("set-metadata", BUCKET + "*", "b=c", code=2)
    assert penstock.stat(BUCKET + "a").metadata == {"old": "1"}
    assert "no such object" in run("set-metadata", BUCKET + "none", "b=c", code=1).stderr
    (tmp_path / "f").write_bytes(b"1")
    assert "metadata" in run("set-metadata", str(tmp_path / "f"), "b=c", code=1).stderr


REFUSED = StoreConnectionError("no connection to h:1: Connection refused", retryable=False)
REFUSED.__cause__ = ConnectionRefusedError(111, "Connection refused")
UNKNOWN = StoreConnectionError("the host name 'h' can't be resolved", retryable=False)
UNKNOWN.__cause__ = socket.gaierror(-2, "Name or service not known")
EXPIRED = StoreConnectionError("the certificate of h is not trusted: certificate has expired", retryable=False)
EXPIRED.__cause__ = ssl.SSLCertVerificationError("certificate has expired")

COMMANDS = [
    ["ls", BUCKET],
    ["ls", "-r", BUCKET],
    ["stat", BUCKET + "a"],
    ["count", BUCKET],
    ["du", BUCKET],
    ["cat", BUCKET + "a"],
    ["get", BUCKET + "a", "out"],
    ["put", "here", BUCKET + "a"],
    ["cp", BUCKET + "a", "out"],
    ["cp", BUCKET + "a", BUCKET + "c"],
    ["mv", BUCKET + "a", "out"],
    ["rm", BUCKET + "a"],
    ["mkdir", BUCKET + "a"],
    ["rmdir", BUCKET + "a"],
    ["set-metadata", BUCKET + "a", "b=c"],
]
CALLS = ["get", "put", "open_writer", "stat", "list_pages", "delete", "copy"]


@pytest.mark.parametrize("args", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    ("make", "message", "then"),
    [
        (lambda: CredentialsError("wrong key", status=403), "wrong key", "try: penstock health cloud://h:1/b/"),
        (lambda: _copy(REFUSED), "Connection refused", "try: penstock health cloud://h:1/b/"),
        (lambda: _copy(UNKNOWN), "can't be resolved", "try: penstock health cloud://h:1/b/"),
        (
            lambda: _copy(EXPIRED),
            "certificate has expired",
            "try: penstock health cloud://h:1/b/",
        ),
        (lambda: AccessDeniedError("no reason", status=403), "no reason", "try: penstock health cloud://h:1/b/"),
        (
            lambda: AccessDeniedError("you may not", status=403, code="AccessDenied"),
            "you may not",
            "these credentials may not do this",
        ),
        (
            lambda: ObjectNotFoundError("no such bucket", code="NoSuchBucket"),
            "no such bucket",
            "check the bucket's name",
        ),
        (lambda: CredentialsError("late", code="RequestTimeTooSkewed"), "late", "set this machine's clock"),
    ],
    ids=["key", "refused", "name", "certificate", "no reason", "right", "bucket", "clock"],
)
def test_a_failure_is_one_message_and_what_to_do(cloud, run, args, make, message, then, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").write_bytes(b"1")
    for call in CALLS:
        cloud.failures[call] = [make()]
    said = run(*args, code=1).stderr.splitlines()
    assert len(said) == 2, said
    assert message in said[0]
    assert said[1].startswith(f"penstock: {then}")


@pytest.mark.parametrize(
    ("args", "call"), [(["get", "{}x", "-"], "get"), (["get", "{}x", "here"], "stat"), (["stat", "{}x"], "stat")]
)
def test_of_a_missing_bucket_the_call_that_was_asked_for_is_reported(cloud, run, args, call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = run(*(arg.format(f"{TOP}gone/") for arg in args), code=1).stderr.splitlines()
    assert said[0].startswith(f"penstock: {call} {TOP}gone/x: no such bucket")
    assert said[1:] == [f"penstock: {remedies.BUCKET.replace('{mb}', f'penstock mb {TOP}gone/')}"]


def test_options_in_a_uri_are_pointed_out(run):
    said = run("ls", "mem://test-asked/demo/?adressing=path", code=1).stderr.splitlines()
    assert "no such object" in said[0]
    assert said[1] == f"penstock: {remedies.OPTIONS}"


@pytest.mark.parametrize("uri", [TOP, BUCKET])
def test_no_command_is_named_that_would_not_run(cloud, run, uri):
    cloud.failures["service"] = [CredentialsError("no key", uri=uri)]
    cloud.failures["list_pages"] = [CredentialsError("no key", uri=uri)]
    words = run("ls", uri, code=1).stderr
    assert ("plugins show cloud" in words, f"health {BUCKET}" in words) == (uri == TOP, uri == BUCKET)


def _copy(error):
    fresh = type(error)(error.message, retryable=error.retryable)
    fresh.__cause__ = error.__cause__
    return fresh


def test_no_secret_is_shown(cloud, run):
    text = f"denied for https://me:{cloud.secret}@h/?X-Amz-Signature={cloud.secret}&secret_key={cloud.secret}"
    failure = CredentialsError(text)
    failure.__cause__ = ValueError(text)
    cloud.failures["stat"] = [failure]
    assert "***" in run("stat", BUCKET + "a", code=1).stderr


def test_no_secret_is_shown_in_a_traceback_either(cloud):
    text = f"denied for https://me:{cloud.secret}@h/?X-Amz-Signature={cloud.secret}&secret_key={cloud.secret}"
    failure = CredentialsError("denied")
    failure.__cause__ = ValueError(text)
    cloud.failures["stat"] = [failure]
    said = CliRunner().invoke(main, ["-vv", "stat", BUCKET + "a"]).stderr
    assert "Traceback" in said
    assert "ValueError: denied for" in said
    assert cloud.secret not in said


def test_health_is_logged_like_every_command(run, tmp_path):
    log = tmp_path / "log.tsv"
    assert "4 of 4 rows written" in run("health", "mem://test-logged/", "--op-log", str(log)).stderr
