"""Tokens: from each kind of credentials, cached, renewed in mid-run; and what goes wrong, one clear message each."""

from __future__ import annotations

import os
import pickle
import ssl
import subprocess
import sys
import threading
import traceback
from contextlib import closing

import certifi
import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import rsa
from gcs_identity import EMAIL, Identity
from gcs_server import GCSServer

from penstock import errors
from penstock.opening import open_store, resolve_store
from penstock.sinks import Collect, Discard
from penstock_gcs import tokens
from penstock_gcs.plugin import GCSOptions

BUCKET = "penstock-test"


def opened(path=None, bucket=BUCKET, **options):
    found = {"anonymous": False, **options}
    if path is not None:
        found["credentials_file"] = path
    return closing(open_store(f"gs://{bucket}", options=found))


def service(path=None, bucket=BUCKET, **options):
    target = resolve_store(f"gs://{bucket}", options={"anonymous": False, "credentials_file": path, **options})
    return closing(target.kind.service(target.resolved.options))


@pytest.mark.parametrize("kind", ["service_account", "user", "impersonated"])
def test_each_kind_of_credentials(guarded, credentials, kind):
    found = getattr(guarded.identity, kind)(guarded.endpoint)
    with opened(credentials(found)) as store:
        for number in range(5):
            store.put(f"k{number}", b"data")
        assert store.stat("k0").size == 4
        store.get("k0", Discard())
        assert store.delete(["k0", "k1"]) == []
    issued = guarded.identity.issued
    assert len(issued) == (2 if kind == "impersonated" else 1)
    assert all(r.headers["authorization"] == f"Bearer {issued[-1]}" for r in guarded.log if "/b/" in r.path)
    quota = {r.headers.get("x-goog-user-project") for r in guarded.log if "/b/" in r.path}
    assert quota == {"quota-project" if kind == "user" else None}


def test_the_chain_of_google_auth(guarded, credentials, environment):
    environment.setenv("GOOGLE_APPLICATION_CREDENTIALS", credentials(guarded.identity.user(guarded.endpoint)))
    with opened() as store:
        store.put("k", b"data")


METADATA = """
import sys
from penstock.opening import resolve_store
target = resolve_store(sys.argv[1], options={"anonymous": False})
store = target.open()
store.put("k", b"data")
service = target.kind.service(target.resolved.options)
print(store.stat("k").size, service.authenticate())
service.close()
store.close()
"""


def test_the_metadata_server(guarded, environment):
    host = guarded.endpoint.removeprefix("http://")
    environment.delenv("NO_GCE_CHECK")
    environment.setenv("GCE_METADATA_HOST", host)
    environment.setenv("GCE_METADATA_IP", host)
    command = [sys.executable, "-W", "error", "-c", METADATA, f"gs://{BUCKET}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == (f"4 {EMAIL}, from the application default credentials\n", 0), done.stderr


def test_over_tls_with_a_certificate_of_ones_own(environment, credentials, tmp_path):
    """As in production: credentials are sent without being asked for, and the token service is reached alike."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    environment.setenv("CURL_CA_BUNDLE", certifi.where())
    data = os.urandom(700_000)
    with GCSServer(identity=Identity(), tls=context) as server:
        server.state.create_bucket(BUCKET)
        path = credentials(server.identity.service_account(server.endpoint))
        place = {"endpoint": server.endpoint, "credentials_file": path, "project": "my-project"}
        with closing(open_store(f"gs://{BUCKET}", options={**place, "ca_bundle": str(tmp_path / "ca.pem")})) as store:
            store.put("k", data)
            sink = Collect()
            store.get("k", sink)
            assert sink.view() == data
            writer = store.open_writer("w", part_size=256 * 1024)
            writer.write(data)
            assert writer.commit().checksum == store.stat("k").checksum
        target = resolve_store("gs://", options={**place, "ca_bundle": str(tmp_path / "ca.pem")})
        with closing(target.kind.service(target.resolved.options)) as found:
            assert [bucket.name for bucket in found.list_buckets()] == [BUCKET]
            assert found.authenticate() == f"{EMAIL}, from {path}"
        with (
            closing(open_store(f"gs://{BUCKET}", options=place)) as store,
            pytest.raises(errors.StoreConnectionError, match=r"(?i)certificate") as caught,
        ):
            store.stat("k")
        assert (caught.value.uri, caught.value.retryable) == (f"gs://{BUCKET}/k", False)


def test_an_emulator_gets_no_credentials(guarded, credentials, environment):
    environment.setenv("GOOGLE_APPLICATION_CREDENTIALS", credentials(guarded.identity.user(guarded.endpoint)))
    with closing(open_store(f"gs://{BUCKET}")) as store, pytest.raises(errors.CredentialsError, match="Anonymous"):
        store.stat("k")
    assert all("authorization" not in request.headers for request in guarded.log)


def test_tokens_that_expire_are_renewed_without_an_error(guarded, credentials):
    identity = guarded.identity
    identity.lifetime = 4
    done = threading.Event()
    failures = []

    def work(lane):
        while not done.is_set():
            try:
                store.put(f"k{lane}", b"data")
                store.get(f"k{lane}", Discard())
                writer = store.open_writer(f"w{lane}", part_size=256 * 1024)
                writer.write(bytes(600 * 1024))
                writer.commit()
            except errors.StoreError as error:
                failures.append(error)
                return

    with opened(credentials(identity.service_account(guarded.endpoint))) as store:
        threads = [threading.Thread(target=work, args=(lane,)) for lane in range(8)]
        for thread in threads:
            thread.start()
        # The third token has been asked for when two have come to their ends.
        waited = threading.Event()
        for _ in range(600):
            if len(identity.issued) >= 3 or failures:
                break
            waited.wait(0.1)
        done.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert len(identity.issued) >= 3
    used = [r.headers["authorization"] for r in guarded.log if "/b/" in r.path]
    assert {f"Bearer {token}" for token in identity.issued[:3]} <= set(used)


class TestRenewal:
    """One thread asks for a token, the others go on."""

    @pytest.fixture
    def clock(self, monkeypatch):
        now = [1_000_000]
        monkeypatch.setattr(tokens, "now_s", lambda: now[0])
        return now

    @pytest.fixture
    def made(self, monkeypatch, clock):
        """Tokens whose answers are counted, may wait for an event, and may fail."""
        found = tokens.Tokens(GCSOptions(bucket="bucket"))
        found.asked, found.gate, found.fail = 0, None, None

        def ask():
            found.asked += 1
            if found.gate is not None:
                found.gate.wait(30)
            if found.fail is not None:
                raise found.fail
            return tokens._Token(b"token %d" % found.asked, clock[0] + 75, clock[0] + 100)

        monkeypatch.setattr(found, "_ask", ask)
        return found

    def test_cached_until_it_is_near_its_end(self, made, clock):
        assert {made.header() for _ in range(10)} == {b"token 1"}
        clock[0] += 74
        assert made.header() == b"token 1"
        clock[0] += 1
        assert made.header() == b"token 2"
        assert made.asked == 2

    def test_others_go_on_while_one_renews(self, made, clock):
        made.header()
        clock[0] += 80
        made.gate = threading.Event()
        got = []
        thread = threading.Thread(target=lambda: got.append(made.header()))
        thread.start()
        while made.asked < 2:
            threading.Event().wait(0.001)
        assert [made.header() for _ in range(10)] == [b"token 1"] * 10
        made.gate.set()
        thread.join()
        assert (got, made.header(), made.asked) == ([b"token 2"], b"token 2", 2)

    def test_many_who_find_none_ask_once(self, made):
        made.gate = threading.Event()
        got = []
        threads = [threading.Thread(target=lambda: got.append(made.header())) for _ in range(16)]
        for thread in threads:
            thread.start()
        while not made.asked:
            threading.Event().wait(0.001)
        made.gate.set()
        for thread in threads:
            thread.join()
        assert (set(got), len(got), made.asked) == ({b"token 1"}, 16, 1)

    def test_a_renewal_that_fails_is_tried_again_while_the_old_token_works(self, made, clock):
        made.header()
        clock[0] += 80
        made.fail = errors.StoreConnectionError("down")
        assert made.header() == b"token 1"
        assert made.header() == b"token 1"
        assert made.asked == 2
        clock[0] += 10
        assert made.header() == b"token 1"
        assert made.asked == 3
        clock[0] += 10
        with pytest.raises(errors.StoreConnectionError, match="down"):
            made.header()
        made.fail = None
        assert made.header() == b"token 5"

    def test_many_who_wait_for_a_token_that_fails_do_not_ask_one_after_the_other(self, made):
        made.gate, made.fail = threading.Event(), errors.StoreConnectionError("down")
        failed = []

        def ask():
            try:
                made.header()
            except errors.StoreConnectionError as error:
                failed.append(error)

        threads = [threading.Thread(target=ask) for _ in range(16)]
        for thread in threads:
            thread.start()
        while not made.asked:
            threading.Event().wait(0.001)
        made.gate.set()
        for thread in threads:
            thread.join()
        assert len(failed) == len({id(error) for error in failed}) == 16
        assert made.asked < 8


def test_a_token_that_is_revoked_is_not_used_again(guarded, credentials):
    with opened(credentials(guarded.identity.user(guarded.endpoint))) as store:
        store.put("k", b"data")
        guarded.identity.revoke()
        with pytest.raises(errors.CredentialsError, match="Invalid Credentials"):
            store.stat("k")
        assert store.stat("k").size == 4


def broken_file(content):
    def make(guarded, credentials, tmp_path):
        path = tmp_path / "broken.json"
        path.write_text(content)
        return str(path)

    return make


def absent_file(guarded, credentials, tmp_path):
    return str(tmp_path / "no-such-file.json")


def a_directory(guarded, credentials, tmp_path):
    return str(tmp_path)


def no_text(guarded, credentials, tmp_path):
    path = tmp_path / "binary.json"
    path.write_bytes(b"\xff\xfe PLANTED-MARKER")
    return str(path)


def no_key(guarded, credentials, tmp_path):
    found = guarded.identity.service_account(guarded.endpoint)
    return credentials({**found, "private_key": "PLANTED-MARKER"})


def other_key(guarded, credentials, tmp_path):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return credentials(guarded.identity.service_account(guarded.endpoint, key))


def wrong_clock(guarded, credentials, tmp_path):
    guarded.identity.skew = 1200
    return credentials(guarded.identity.service_account(guarded.endpoint))


def revoked_login(guarded, credentials, tmp_path):
    found = guarded.identity.user(guarded.endpoint)
    guarded.identity.refresh_token = "another"
    return credentials({**found, "refresh_token": "PLANTED-MARKER-refresh"})


def gone_account(guarded, credentials, tmp_path):
    refusal = {"error": "invalid_grant", "error_description": "Invalid grant: account not found"}
    guarded.identity.refusal = (400, refusal)
    return credentials(guarded.identity.service_account(guarded.endpoint))


def nobody_there(guarded, credentials, tmp_path):
    with GCSServer() as other:
        endpoint = other.endpoint
    return credentials(guarded.identity.service_account(endpoint))


def no_permission(guarded, credentials, tmp_path):
    guarded.identity.denied = {"storage.objects.create", "storage.objects.get", "storage.objects.list"}
    return credentials(guarded.identity.service_account(guarded.endpoint))


SCENARIOS = {
    absent_file: (errors.CredentialsError, r"no usable Google credentials.*was not found.*application-default login"),
    broken_file("{"): (errors.CredentialsError, r"no usable Google credentials"),
    broken_file('{"type": "of no kind"}'): (errors.CredentialsError, r"no usable Google credentials"),
    a_directory: (errors.CredentialsError, r"Is a directory"),
    no_text: (errors.CredentialsError, r"no usable Google credentials: File .* is not a valid json file"),
    no_key: (errors.CredentialsError, r"no usable Google credentials"),
    other_key: (errors.CredentialsError, r"Invalid JWT Signature; .*make a new one \(code invalid_grant\)"),
    wrong_clock: (errors.CredentialsError, r"short-lived token.*clock is off; set it"),
    revoked_login: (errors.CredentialsError, r"expired or revoked; .*gcloud auth application-default login"),
    gone_account: (errors.CredentialsError, r"account not found; the service account does not exist"),
    nobody_there: (errors.StoreConnectionError, r"token service can't be reached: 127.0.0.1: Connection refused"),
    no_permission: (errors.AccessDeniedError, r"does not have storage.objects.\w+ access.*roles/storage.objectUser"),
}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.__qualname__)
def test_what_goes_wrong_is_said_in_one_message(guarded, credentials, tmp_path, scenario, monkeypatch):
    # google-auth waits between its own attempts to reach the token service.
    monkeypatch.setattr("google.auth._exponential_backoff.time.sleep", lambda seconds: None)
    kind, message = SCENARIOS[scenario]
    path = scenario(guarded, credentials, tmp_path)
    with opened(path) as store:
        for call, operation in (
            (lambda: store.put("k", b"x"), "put"),
            (lambda: store.get("k", Discard()), "get"),
            (lambda: list(store.list_pages()), "list_pages"),
            (lambda: store.open_writer("k", part_size=1).commit(), "commit"),
        ):
            with pytest.raises(kind, match=message) as caught:
                call()
            error = caught.value
            assert (type(error), error.operation) == (kind, operation)
            assert error.uri.startswith(f"gs://{BUCKET}/")
            assert "\n" not in str(error)
            without_secrets(guarded, error)
    with service(path) as found, pytest.raises(kind, match=message) as caught:
        found.authenticate()
    # Where there was an answer there was somebody whom it was for.
    named = f"the request of {EMAIL}, from {path} was refused: " in str(caught.value)
    assert named == (caught.value.status is not None)


def without_secrets(guarded, error):
    shown = f"{error!r} {pickle.dumps(error)!r} {''.join(traceback.format_exception(error))}"
    for secret in ("PLANTED-MARKER", "PRIVATE KEY", "client-secret", guarded.identity.refresh_token, "ya29."):
        assert secret not in shown


def test_no_secret_is_shown_by_what_holds_one(guarded, credentials):
    path = credentials(guarded.identity.user(guarded.endpoint))
    with opened(path, proxy="") as store:
        store.put("k", b"x")
        for thing in (store, store._wire, store._wire.tokens, store._wire.tokens._current):
            assert "ya29." not in repr(thing) or thing is store._wire.tokens._current
    options = GCSOptions(bucket=BUCKET, proxy="http://user:PLANTED-MARKER@proxy:1")
    assert "PLANTED-MARKER" not in repr(options)


def test_who_the_caller_is(guarded, credentials, server):
    path = credentials(guarded.identity.service_account(guarded.endpoint))
    with service(path) as found:
        assert found.authenticate() == f"{EMAIL}, from {path}"
    with (
        service(path, bucket="no-such-bucket") as found,
        pytest.raises(errors.ObjectNotFoundError, match="bucket does not exist"),
    ):
        found.authenticate()
    with service(None, anonymous=True, endpoint=server.endpoint) as found:
        assert found.authenticate() == "anonymous"


def test_no_credentials_at_all(guarded):
    with opened() as store, pytest.raises(errors.CredentialsError, match="application-default login"):
        store.stat("k")
    assert os.environ.get("GOOGLE_APPLICATION_CREDENTIALS") is None
