"""``penstock health``: every step fails here once, on real sockets and certificates, and says what to do."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
import trustme

import penstock
from penstock.client import remedies
from penstock.client.health import check
from penstock.errors import (
    AccessDeniedError,
    CredentialsError,
    InvalidURIError,
    StorageFullError,
    StoreError,
    ThrottledError,
)
from penstock.testing.servers import free_port

KEY = remedies.KEY.replace("{plugins}", "penstock plugins show cloud")
BUCKET_OF = remedies.BUCKET.replace("{mb}", "penstock mb {}")
ALL = ["uri", "resolve", "connect", "tls", "authenticate", "list", "write"]


class Handler(BaseHTTPRequestHandler):
    """Answers HEAD with nothing but a date; opens tunnels, as a proxy does."""

    def do_HEAD(self):
        self.server.seen.append(self.requestline)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_CONNECT(self):
        self.server.seen.append(self.requestline)
        if self.server.password and self.headers["Proxy-Authorization"] != self.server.password:
            self.send_error(407)
            return
        # The test's hosts have no names, so every tunnel leads to the one server there is.
        with socket.create_connection(self.server.behind) as far:
            self.send_response(200)
            self.end_headers()
            _relay(self.connection, far)
        self.close_connection = True

    def date_time_string(self, timestamp=None):
        return formatdate(datetime.now(UTC).timestamp() + self.server.ahead, usegmt=True)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = False
    ahead = 0
    password = ""
    behind = None

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen = []
        self.context = None

    def finish_request(self, request, client_address):
        if self.context is None:
            super().finish_request(request, client_address)
            return
        with contextlib.suppress(OSError), self.context.wrap_socket(request, server_side=True) as wrapped:
            super().finish_request(wrapped, client_address)

    def handle_error(self, request, client_address):
        """A client that leaves is none of the tests' business."""


def _relay(near, far):
    while True:
        readable, _, _ = select.select([near, far], [], [], 30)
        for sock in readable:
            data = sock.recv(65536)
            if not data:
                return
            (far if sock is near else near).sendall(data)


@pytest.fixture
def server():
    with running() as server:
        yield server


@contextlib.contextmanager
def running():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


def secure(cloud, server, leaf):
    cloud.tls = True
    server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(server.context)


@pytest.fixture
def trusted(authority, tmp_path):
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return {"ca_bundle": str(path)}


def uri_of(server, host="127.0.0.1"):
    return f"cloud://{host}:{server.server_port}/b/"


def steps_of(uri, **options):
    return list(check(uri, options=options or None))


def failing(steps, name, words):
    """The step of that name, which must be the only one that failed, the rest not being tried."""
    names = [step.name for step in steps]
    assert names == ALL
    at = names.index(name)
    assert all(step.state in ("ok", "left out") for step in steps[:at]), steps
    assert steps[at].state == "failed"
    assert [step.state for step in steps[at + 1 :]] == ["not tried"] * (len(ALL) - at - 1)
    assert steps[at].remedy == words
    return steps[at]


def test_all_is_well(cloud, server):
    penstock.put(uri_of(server) + "a", b"1")
    steps = steps_of(uri_of(server) + "sub/dir")
    assert [step.name for step in steps] == ALL
    assert [step.state for step in steps] == ["ok", "ok", "ok", "left out", "ok", "ok", "ok"]
    facts = {step.name: step.facts for step in steps}
    assert facts["uri"]["place"] == uri_of(server) + "sub/dir"
    assert facts["uri"]["endpoint"] == f"http://127.0.0.1:{server.server_port}"
    assert facts["uri"]["option access_key"] == "me (from $TEST_CLOUD_KEY)"
    assert "option bucket" not in facts["uri"]
    assert facts["uri"]["option secret_key"] == "set (from $TEST_CLOUD_SECRET)"
    assert facts["resolve"] == {"host": "127.0.0.1", "addresses": "127.0.0.1"}
    assert facts["connect"]["127.0.0.1"].startswith("connected in ")
    assert facts["authenticate"] == {
        "clock": "agrees with the server's to the second",
        "caller": "me of the environment",
    }
    assert facts["list"] == {"first page": "0 objects"}
    assert set(facts["write"]) == {"put", "get", "delete"}
    assert all(step.seconds is not None for step in steps if step.state == "ok")
    assert [info.key for info in penstock.list(uri_of(server))] == [uri_of(server) + "a"]
    assert cloud.calls.count("put") == 2


@pytest.mark.parametrize(("prefix", "under"), [("", ""), ("p/", "p/"), ("p", "p/")])
def test_the_object_is_written_below_the_uri(cloud, server, monkeypatch, prefix, under):
    seen = []
    inner = cloud.play
    monkeypatch.setattr(
        cloud, "play", lambda name: (seen.extend(known_keys(cloud)) if name == "get" else None, inner(name))
    )
    assert all(step.state != "failed" for step in steps_of(uri_of(server) + prefix))
    assert len(seen) == 1
    assert seen[0].startswith(f"{under}.penstock-health-")
    assert known_keys(cloud) == []


def known_keys(cloud):
    return [info.key for page in cloud.objects("b").list_pages() for info in page.objects]


def test_read_only_writes_nothing(cloud, server):
    *_, last = check(uri_of(server), read_only=True)
    assert (last.name, last.state) == ("write", "left out")
    assert "put" not in cloud.calls


def test_a_service_is_no_bucket(cloud):
    with pytest.raises(InvalidURIError, match="names no bucket"):
        list(check("cloud://127.0.0.1:1/"))


def test_what_the_uri_says_wrongly(cloud):
    step = failing(steps_of("cloud://h:1/b/", nonsense="1"), "uri", None)
    assert "nonsense" in str(step.error)
    cloud.failures["service"] = [CredentialsError("no profile of that name")]
    failing(steps_of("cloud://h:1/b/"), "uri", KEY)


def test_a_name_that_nobody_knows(cloud, monkeypatch):
    def lookup(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    step = failing(steps_of("cloud://nosuch.invalid:1/b/"), "resolve", remedies.NAME)
    assert "nosuch.invalid" in str(step.error)


def test_nobody_listens(cloud):
    port = free_port()
    step = failing(steps_of(f"cloud://127.0.0.1:{port}/b/"), "connect", remedies.REFUSED)
    assert str(step.error) == f"no connection to 127.0.0.1:{port}: 127.0.0.1: Connection refused"
    assert step.facts == {"127.0.0.1": "no: Connection refused"}


def test_nobody_answers(cloud):
    # A queue that is full takes no further connection, and does not refuse it.
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for waiting in (first, second):
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        port = listener.getsockname()[1]
        step = failing(steps_of(f"cloud://127.0.0.1:{port}/b/", connect_timeout="200ms"), "connect", remedies.TIMEOUT)
    assert "timed out" in str(step.error)


def test_every_address_is_tried(cloud, server, monkeypatch):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, server.server_port)) for ip in ("127.0.0.2", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: found)
    steps = steps_of(uri_of(server, "storage.test"))
    assert steps[1].facts == {"host": "storage.test", "addresses": "127.0.0.2, 127.0.0.1"}
    assert steps[2].state == "ok"
    assert list(steps[2].facts) == ["127.0.0.2", "127.0.0.1"]
    assert steps[2].facts["127.0.0.2"] == "no: Connection refused"
    assert steps[2].facts["127.0.0.1"].startswith("connected")
    assert steps[-1].state == "ok"


def test_tls_and_its_certificate(cloud, server, authority, trusted):
    secure(cloud, server, authority.issue_cert("127.0.0.1", common_name="storage"))
    steps = steps_of(uri_of(server), **trusted)
    assert [step.state for step in steps] == ["ok"] * 7
    facts = steps[3].facts
    assert facts["version"] == "TLSv1.3"
    assert "commonName=storage" in facts["subject"]
    assert facts["names"] == "127.0.0.1"
    assert "trustme" in facts["issuer"]
    assert "UTC, in " in facts["expires"]
    assert steps[4].facts["clock"].startswith("agrees")
    assert steps[0].facts["trusted certificates"] == trusted["ca_bundle"]


YESTERDAY = datetime.now(UTC) - timedelta(days=1)


@pytest.mark.parametrize(
    ("names", "dates", "said", "words"),
    [
        (["127.0.0.1"], {"not_before": YESTERDAY - timedelta(days=9), "not_after": YESTERDAY}, "expired", "EXPIRED"),
        (["127.0.0.1"], {"not_before": YESTERDAY + timedelta(days=9)}, "not yet valid", "NOT_YET"),
        (["other.test"], {}, "127.0.0.1", "WRONG_HOST"),
    ],
    ids=["expired", "early", "host"],
)
def test_a_certificate_that_is_wrong(cloud, server, authority, trusted, names, dates, said, words):
    secure(cloud, server, authority.issue_cert(*names, **dates))
    step = failing(steps_of(uri_of(server), **trusted), "tls", getattr(remedies, words))
    assert said in str(step.error)


def test_an_authority_that_is_unknown_here(cloud, server, trusted):
    secure(cloud, server, trustme.CA().issue_cert("127.0.0.1"))
    step = failing(steps_of(uri_of(server), **trusted), "tls", remedies.AUTHORITY)
    assert "ca_bundle" in step.remedy


def test_a_server_without_tls(cloud, server):
    cloud.tls = True
    failing(steps_of(uri_of(server)), "tls", remedies.NOT_TLS)


def test_a_server_that_never_shakes_hands(cloud):
    cloud.tls = True
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(5)
        port = listener.getsockname()[1]
        failing(steps_of(f"cloud://127.0.0.1:{port}/b/", connect_timeout="200ms"), "tls", remedies.TIMEOUT)


def test_a_ca_bundle_that_is_none(cloud, server, tmp_path):
    cloud.tls = True
    step = failing(steps_of(uri_of(server), ca_bundle=str(tmp_path / "none.pem")), "tls", None)
    assert "none.pem" in str(step.error)


def test_credentials_are_refused(cloud, server):
    cloud.failures["authenticate"] = [CredentialsError("the key is unknown", status=403, code="InvalidAccessKeyId")]
    step = failing(steps_of(uri_of(server)), "authenticate", KEY)
    assert "InvalidAccessKeyId" in str(step.error)


@pytest.mark.parametrize(("ahead", "said"), [(1200, "behind"), (-1200, "ahead of")])
def test_the_clock_is_off(cloud, server, ahead, said):
    server.ahead = ahead
    assert said in {step.name: step for step in steps_of(uri_of(server))}["authenticate"].facts["clock"]
    cloud.failures["authenticate"] = [AccessDeniedError("a signature that does not fit")]
    step = failing(steps_of(uri_of(server)), "authenticate", remedies.CLOCK)
    assert step.facts["clock"].startswith("19m59s" if ahead < 0 else ("19m59s", "20m00s"))
    cloud.failures["authenticate"] = [StoreError("no", code="RequestTimeTooSkewed")]
    failing(steps_of(uri_of(server)), "authenticate", remedies.CLOCK)


def test_the_bucket_is_missing(cloud, server):
    failing(
        steps_of(uri_of(server).replace("/b/", "/c/")), "list", BUCKET_OF.format(uri_of(server).replace("/b/", "/c/"))
    )


@pytest.mark.parametrize(
    ("call", "error", "step", "words"),
    [
        ("list_pages", AccessDeniedError("no"), "list", remedies.RIGHT),
        ("list_pages", ThrottledError("slow down"), "list", remedies.THROTTLED),
        ("put", StorageFullError("full"), "write", remedies.FULL),
        (
            "put",
            AccessDeniedError("no"),
            "write",
            f"{remedies.RIGHT}; if they are meant for reading alone, check with --read-only",
        ),
        ("delete", AccessDeniedError("no"), "write", None),
    ],
)
def test_what_the_credentials_may_not_do(cloud, server, call, error, step, words):
    cloud.failures[call] = [error]
    steps = steps_of(uri_of(server))
    failing(steps, step, words if words is not None else steps[-1].remedy)
    assert cloud.calls.count(call) <= 2, "nothing is repeated"


def test_bytes_that_change_are_noticed_and_deleted(cloud, server):
    cloud.corrupt = True
    failing(steps_of(uri_of(server)), "write", remedies.CORRUPT)
    assert known_keys(cloud) == []


def test_a_read_that_fails_leaves_no_object(cloud, server):
    cloud.failures["get"] = [AccessDeniedError("no")]
    assert steps_of(uri_of(server))[-1].state == "failed"
    assert known_keys(cloud) == []


def test_an_object_that_stays_is_named(cloud, server):
    cloud.failures["delete"] = [AccessDeniedError("no")]
    last = steps_of(uri_of(server))[-1]
    (key,) = known_keys(cloud)
    assert last.facts["left behind"] == uri_of(server) + key


@pytest.fixture
def proxy(server, monkeypatch):
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with running() as proxy:
        proxy.behind = ("127.0.0.1", server.server_port)
        yield proxy


def test_through_a_proxy(cloud, server, proxy, authority, trusted):
    secure(cloud, server, authority.issue_cert("storage.test"))
    url = f"http://127.0.0.1:{proxy.server_port}"
    steps = steps_of("cloud://storage.test:443/b/", proxy=url, **trusted)
    assert [step.state for step in steps] == ["ok"] * 7
    assert steps[0].facts["proxy"] == url
    assert steps[1].facts == {"proxy": "127.0.0.1", "addresses": "127.0.0.1"}
    assert steps[3].facts["names"] == "storage.test"
    assert proxy.seen == ["CONNECT storage.test:443 HTTP/1.1"] * 2


def test_a_proxy_without_tls_is_told_the_whole_uri(cloud, server, proxy):
    url = f"http://127.0.0.1:{proxy.server_port}"
    steps = steps_of("cloud://storage.test:80/b/", proxy=url)
    assert steps[4].facts["clock"].startswith("agrees")
    assert urlsplit(proxy.seen[0].split()[1]).hostname == "storage.test"


def test_a_proxy_s_password_is_used_and_not_shown(cloud, server, proxy, authority, trusted, run):
    secure(cloud, server, authority.issue_cert("storage.test"))
    proxy.password = "Basic bWU6cGxhbnRlZC1zZWNyZXQtNDcxMQ=="
    options = ["-O", f"ca_bundle={trusted['ca_bundle']}", "-O"]
    place = f"127.0.0.1:{proxy.server_port}"
    assert (
        "ok" in run("health", *options, f"proxy=http://me:{cloud.secret}@{place}", "cloud://storage.test:443/b").stdout
    )
    wrong = run("health", *options, f"proxy=http://{place}", "cloud://storage.test:443/b", code=1).stdout
    assert remedies.PROXY in wrong


def test_a_proxy_that_is_not_there(cloud):
    place = f"127.0.0.1:{free_port()}"
    step = failing(steps_of("cloud://storage.test:80/b/", proxy=f"http://{place}"), "connect", remedies.REFUSED)
    assert f"the proxy {place}" in str(step.error)


@pytest.mark.parametrize("uri", ["mem://test-health/", "mem://test-health/a/b"])
def test_a_store_without_a_service(uri):
    assert [(step.name, step.state) for step in check(uri)] == [("uri", "ok"), ("list", "ok"), ("write", "ok")]
    assert penstock.count("mem://test-health/").objects == 0


def test_directories(tmp_path, run):
    run("health", str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    done = run("health", str(tmp_path / "none"), code=1)
    assert f"remedy: make it: penstock mkdir {tmp_path}/none" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_what_the_command_prints(cloud, server, run):
    lines = run("health", uri_of(server)).stdout.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == ALL
    cloud.failures["authenticate"] = [CredentialsError("wrong key")]
    text = run("health", uri_of(server), code=1).stdout
    assert "authenticate  FAILED" in text
    assert "    wrong key\n    remedy: check these credentials" in text
    assert "write         not tried\n" in text
    assert "write         left out" in run("health", "--read-only", "mem://x/").stdout


def test_what_the_command_prints_for_machines(cloud, server, run):
    facts = json.loads(run("health", "--json", uri_of(server)).stdout)
    assert (facts["ok"], facts["uri"]) == (True, uri_of(server))
    assert [step["step"] for step in facts["steps"]] == ALL
    cloud.failures["list_pages"] = [AccessDeniedError("no")]
    facts = json.loads(run("health", "--json", uri_of(server), code=1).stdout)
    assert facts["ok"] is False
    assert facts["steps"][5]["error"].endswith("no")
    assert facts["steps"][5]["remedy"] == remedies.RIGHT
    assert facts["steps"][6] == {"step": "write", "state": "not tried"}


def test_a_uri_that_is_not_understood_is_a_usage_error(run):
    text = run("health", "nosuch://x/", code=2).stdout
    assert "unknown scheme" in text
    assert "uri           FAILED" in text
