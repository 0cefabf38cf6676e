"""Credentials from boto3's providers, their renewal, and what is said when there are none."""

from __future__ import annotations

import json
import os
import stat
import sys
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import attrs
import pytest
from boto3.session import Session

from penstock.errors import CredentialsError, UsageError
from penstock.http import Origin
from penstock_s3 import credentials as module
from penstock_s3.credentials import ExpressKeys, Keys, SessionKeys, credentials_failure
from penstock_s3.plugin import S3Options
from penstock_s3.resolving import Place, make_keys, make_session
from penstock_s3.signing import Signer

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYMARKER12345"
TOKEN = "IQoJb3JpZ2luX2VjEJr9MARKERtokenTOKEN0123456789"
#: Never set; waiting for it keeps a loop from taking a whole processor.
PACE = threading.Event()
PLACE = Place(origin=Origin.parse("http://h"), host=b"h", prefix=b"/b/", region="us-east-1")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """No credentials from anywhere but what a test sets."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return tmp_path


def source(**options):
    return SessionKeys(make_session(S3Options(bucket="b", **options)))


def in_threads(count, work):
    failures = []

    def guarded():
        try:
            work()
        except Exception as error:  # noqa: BLE001 - it is what the test looks at
            failures.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    return failures


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("AWS_ACCESS_KEY_ID", "KEY\r\nx-evil: 1", "access key"),
        ("AWS_ACCESS_KEY_ID", "KEY ", "access key"),
        ("AWS_ACCESS_KEY_ID", "\u201cKEY\u201d", "access key"),
        ("AWS_SESSION_TOKEN", f"{TOKEN}\n", "session token"),
    ],
)
def test_keys_that_no_header_can_hold_are_refused(monkeypatch, variable, value, says):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "KEY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv(variable, value)
    with pytest.raises(CredentialsError, match=f"the {says} from env") as caught:
        source().keys()
    assert "MARKER" not in str(caught.value)


class Process:
    """A credential process: each run counts itself, and gives keys named after the run."""

    def __init__(self, home):
        self.runs_file, self.plan = home / "runs", home / "plan"
        script = home / "process"
        script.write_text(
            f"#!{sys.executable}\n"
            "import datetime, json, sys\n"
            f"with open({str(self.runs_file)!r}, 'a+') as runs:\n"
            "    runs.write('x')\n"
            "    runs.flush()\n"
            "    runs.seek(0)\n"
            "    run = len(runs.read())\n"
            f"plan = json.load(open({str(self.plan)!r}))\n"
            "if plan.get('fails_from') is not None and run >= plan['fails_from']:\n"
            "    sys.exit(plan['says'])\n"
            "end = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=plan['life'])\n"
            f"print(json.dumps(dict(Version=1, AccessKeyId=f'RUN{{run}}', SecretAccessKey={SECRET!r}, "
            f"SessionToken={TOKEN!r}, Expiration=end.isoformat())))\n"
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        (home / "config").write_text(f"[default]\ncredential_process = {script}\n[profile other]\nregion = x\n")

    def will(self, **plan):
        self.plan.write_text(json.dumps(plan))

    @property
    def runs(self):
        return len(self.runs_file.read_text()) if self.runs_file.exists() else 0


@pytest.fixture
def process(home):
    return Process(home)


def test_explicit_keys_come_first(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "e")
    found = source(access_key_id="AKIAIOSFODNN7EXAMPLE", secret_access_key=SECRET, session_token=TOKEN)
    assert found.keys() == Keys("AKIAIOSFODNN7EXAMPLE", SECRET, TOKEN)
    assert found.keys() is found.keys()
    assert found.describe() == "AKIA…MPLE from options"
    assert SECRET not in repr(found.keys())
    assert TOKEN not in repr(found.keys())


def test_the_environment_and_the_shared_files(home, monkeypatch):
    (home / "credentials").write_text(
        "[default]\naws_access_key_id = FILEDEFAULT1\naws_secret_access_key = s\n"
        "[work]\naws_access_key_id = WORK\naws_secret_access_key = w\naws_session_token = t\n"
    )
    assert source().keys() == Keys("FILEDEFAULT1", "s")
    assert source().describe() == "FILE…ULT1 from shared-credentials-file"
    assert source(profile="work").keys() == Keys("WORK", "w", "t")
    assert source(profile="work").describe() == "WO… from shared-credentials-file"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "e")
    assert source().keys() == Keys("ENV", "e")
    assert source(profile="work").keys() == Keys("WORK", "w", "t")


def test_a_profile_of_the_environment_gives_way_to_its_keys(home, monkeypatch):
    # As boto3 has it: AWS_PROFILE selects a profile, the variables still come before its keys.
    (home / "credentials").write_text("[work]\naws_access_key_id = WORK\naws_secret_access_key = w\n")
    monkeypatch.setenv("AWS_PROFILE", "work")
    assert source(profile="work").keys() == Keys("WORK", "w")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "e")
    assert source(profile="work").keys() == Keys("ENV", "e")


def test_an_unknown_profile_is_named():
    with pytest.raises(UsageError, match="nope"):
        make_session(S3Options(bucket="b", profile="nope"))


def test_no_credentials_name_the_remedies_and_are_not_sought_anew_at_once(monkeypatch):
    looked = []
    monkeypatch.setattr(Session, "get_credentials", lambda self: looked.append(1))
    found = source()
    for _ in range(3):
        with pytest.raises(CredentialsError) as caught:
            found.keys()
        for remedy in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "aws sso login", "anonymous=true"):
            assert remedy in str(caught.value)
    assert len(looked) == 1


def test_a_credential_process_runs_once_for_all_threads(process):
    process.will(life=3600)
    found, seen = source(), []
    assert in_threads(8, lambda: seen.extend(found.keys() for _ in range(50))) == []
    assert (process.runs, len(seen), len({id(keys) for keys in seen})) == (1, 400, 1)
    assert found.keys() == Keys("RUN1", SECRET, TOKEN)
    assert found.describe() == "RU… from custom-process"


def test_short_lives_are_renewed_by_one_thread_for_all(process):
    process.will(life=5)
    found = source()
    taken = set()

    def work():
        mine = set()
        while len(mine) < 3:
            mine.add(found.keys().access_key_id)
            PACE.wait(0.01)
        taken.update(mine)

    assert in_threads(8, work) == []
    # The first answer, so close to its end, boto3 itself asks for again.
    assert process.runs == len(taken) + 1
    assert taken == {f"RUN{run}" for run in range(2, process.runs + 1)}


def test_a_signer_goes_on_over_the_end_of_its_keys(process):
    process.will(life=5)
    signer = Signer(PLACE, source(), sign_payloads=False)
    seen = set()
    while len(seen) < 3:
        head = signer.head(b"GET", b"k")
        PACE.wait(0.01)
        seen.add(head.partition(b"Credential=")[2].partition(b"/")[0])
    assert len(seen) == 3


def test_a_process_that_fails_says_why_without_a_secret(process):
    process.will(life=3600, fails_from=1, says=f"vault is sealed, secret_key={SECRET} {TOKEN}")
    found = source()
    errors = in_threads(8, found.keys)
    assert len(errors) == 8
    assert process.runs == 1
    for error in errors:
        assert isinstance(error, CredentialsError)
        assert "vault is sealed" in str(error)
        assert "MARKER" not in str(error)


class Leases:
    """Fetches keys of a settable clock, as told."""

    def __init__(self, monkeypatch, life):
        self.now, self.life, self.fetched, self.fails = 1000.0, life, 0, None
        self.gate = None
        monkeypatch.setattr(module, "now_s", lambda: int(self.now))
        self.source = module._Renewed(self.fetch)

    def fetch(self):
        self.fetched += 1
        if self.gate is not None:
            entered, go_on = self.gate
            entered.set()
            assert go_on.wait(60)
        if self.fails is not None:
            raise self.fails
        end = self.now + self.life
        return module._Lease(Keys(f"K{self.fetched}", "s"), lambda seconds: end - self.now <= seconds)


@pytest.mark.parametrize(("life", "margin"), [(7200, 900), (901, 900), (600, 150), (60, 15), (4, 2), (2, 1)])
def test_keys_are_renewed_ahead_of_their_end(monkeypatch, life, margin):
    leases = Leases(monkeypatch, life)
    assert leases.source.keys().access_key_id == "K1"
    leases.now += life - margin - 0.6
    assert leases.source.keys().access_key_id == "K1"
    leases.now += 1.2
    assert leases.source.keys().access_key_id == "K2"
    assert leases.source.keys().access_key_id == "K2"
    assert leases.fetched == 2


def test_others_go_on_while_one_thread_renews(monkeypatch):
    leases = Leases(monkeypatch, 3600)
    leases.source.keys()
    leases.now += 3000
    entered, go_on = leases.gate = threading.Event(), threading.Event()
    renewed = []
    one = threading.Thread(target=lambda: renewed.append(leases.source.keys()))
    one.start()
    assert entered.wait(60)
    assert [leases.source.keys().access_key_id for _ in range(3)] == ["K1"] * 3
    go_on.set()
    one.join(60)
    assert renewed[0].access_key_id == leases.source.keys().access_key_id == "K2"
    assert leases.fetched == 2


def test_everybody_waits_for_the_first_keys_after_the_end(monkeypatch):
    leases = Leases(monkeypatch, 3600)
    leases.source.keys()
    leases.now += 3601
    entered, go_on = leases.gate = threading.Event(), threading.Event()
    seen = []
    threads = [threading.Thread(target=lambda: seen.append(leases.source.keys())) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert entered.wait(60)
    assert seen == []
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert [keys.access_key_id for keys in seen] == ["K2"] * 4
    assert leases.fetched == 2


def test_a_renewal_that_fails_is_an_error_only_after_the_end(monkeypatch):
    leases = Leases(monkeypatch, 3600)
    leases.source.keys()
    leases.fails = OSError("the metadata service is away")
    leases.now += 3000
    assert [leases.source.keys().access_key_id for _ in range(3)] == ["K1"] * 3
    assert leases.fetched == 2  # not at every call
    leases.now += 5
    assert leases.source.keys().access_key_id == "K1"
    assert leases.fetched == 3
    leases.now += 600
    for _ in range(2):
        with pytest.raises(CredentialsError, match="metadata service is away") as caught:
            leases.source.keys()
        assert isinstance(caught.value.__cause__, OSError)
    assert leases.fetched == 4
    leases.fails = None
    leases.now += 5
    assert leases.source.keys().access_key_id == "K5"


def test_keys_that_did_not_change_stay_the_same_object(monkeypatch):
    leases = Leases(monkeypatch, 60)
    first = leases.source.keys()
    leases.now += 58
    monkeypatch.setattr(leases, "fetched", 0)
    assert leases.source.keys() is first


class Fake(BaseHTTPRequestHandler):
    """Metadata, container and token services by path."""

    answers: dict

    def do_GET(self):
        length = int(self.headers.get("content-length") or 0)
        body = self.rfile.read(length).decode()
        status, text = self.answers.get((self.command, self.path), (404, ""))
        self.server.asked.append((self.command, self.path, body))
        self.send_response(status)
        self.send_header("content-length", str(len(text)))
        self.send_header("x-aws-ec2-metadata-token-ttl-seconds", "21600")
        self.end_headers()
        self.wfile.write(text.encode())

    do_PUT = do_POST = do_GET  # noqa: N815 - the base class's names

    def log_message(self, *args):
        pass


@pytest.fixture
def service():
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Fake,), {"answers": {}}))
    server.asked = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    server.url = f"http://127.0.0.1:{server.server_port}"
    server.answers = server.RequestHandlerClass.answers
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def role(**more):
    end = (datetime.now(UTC) + timedelta(hours=6)).strftime("%Y-%m-%dT%H:%M:%SZ")
    keys = {"AccessKeyId": "ROLEROLEROLE", "SecretAccessKey": SECRET, "Token": TOKEN, "Expiration": end}
    return json.dumps(keys | more)


def test_an_instances_role(service, monkeypatch):
    base = "/latest/meta-data/iam/security-credentials/"
    service.answers |= {
        ("PUT", "/latest/api/token"): (200, "imds"),
        ("GET", base): (200, "role"),
        ("GET", f"{base}role"): (200, role(Code="Success")),
    }
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.url)
    found = source()
    assert found.keys() == Keys("ROLEROLEROLE", SECRET, TOKEN)
    assert found.describe() == "ROLE…ROLE from iam-role"
    asked = len(service.asked)
    assert in_threads(8, found.keys) == []
    assert len(service.asked) == asked


def test_a_containers_role(service, monkeypatch):
    service.answers["GET", "/creds"] = (200, role())
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{service.url}/creds")
    found = source()
    assert found.keys() == Keys("ROLEROLEROLE", SECRET, TOKEN)
    assert found.describe() == "ROLE…ROLE from container-role"
    assert [path for _, path, _ in service.asked] == ["/creds"]


def test_a_container_without_its_service_says_so(service, monkeypatch):
    service.answers["GET", "/creds"] = (400, "no such role")
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{service.url}/creds")
    with pytest.raises(CredentialsError, match="could not be fetched") as caught:
        source().keys()
    assert "no such role" in str(caught.value)


def sts(action):
    end = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return (
        f'<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result><Credentials>'
        f"<AccessKeyId>ASSUMEDASSUMED</AccessKeyId><SecretAccessKey>{SECRET}</SecretAccessKey>"
        f"<SessionToken>{TOKEN}</SessionToken><Expiration>{end}</Expiration></Credentials></{action}Result>"
        f"</{action}Response>"
    )


def test_a_role_that_a_profile_assumes(service, home, monkeypatch):
    service.answers["POST", "/"] = (200, sts("AssumeRole"))
    (home / "config").write_text(
        "[profile role]\nrole_arn = arn:aws:iam::123456789012:role/r\nsource_profile = base\nregion = us-east-1\n"
        "[profile base]\naws_access_key_id = BASE\naws_secret_access_key = b\n"
    )
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", service.url)
    found = source(profile="role")
    assert found.keys() == Keys("ASSUMEDASSUMED", SECRET, TOKEN)
    assert found.describe() == "ASSU…UMED from assume-role"
    assert len(service.asked) == 1


def test_a_web_identity(service, home, monkeypatch):
    service.answers["POST", "/"] = (200, sts("AssumeRoleWithWebIdentity"))
    (home / "jwt").write_text("header.claims.signature")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(home / "jwt"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/r")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", service.url)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    assert source().keys() == Keys("ASSUMEDASSUMED", SECRET, TOKEN)


def test_a_login_that_ran_out_says_how_to_log_in(home):
    (home / "config").write_text(
        "[profile sso]\nsso_session = s\nsso_account_id = 123456789012\nsso_role_name = r\nregion = us-east-1\n"
        "[sso-session s]\nsso_start_url = https://example.awsapps.com/start\nsso_region = us-east-1\n"
    )
    with pytest.raises(CredentialsError, match="SSO"):
        source(profile="sso").keys()


class Express:
    """The part of boto3's client that makes sessions."""

    def __init__(self, life):
        self.life, self.asked = life, []

    def create_session(self, *, Bucket):  # noqa: N803 - boto3's name
        self.asked.append(Bucket)
        end = datetime.fromtimestamp(module.now_s(), UTC) + timedelta(seconds=self.life)
        return {
            "Credentials": {
                "AccessKeyId": f"SESSION{len(self.asked)}",
                "SecretAccessKey": SECRET,
                "SessionToken": TOKEN,
                "Expiration": end,
            }
        }


def test_sessions_with_a_directory_bucket(monkeypatch):
    now = [1000]
    monkeypatch.setattr(module, "now_s", lambda: now[0])
    client = Express(300)
    found = ExpressKeys(lambda: client, "b--use1-az4--x-s3")
    assert found.keys() == Keys("SESSION1", SECRET, TOKEN)
    assert found.describe() == "SE… from a session with b--use1-az4--x-s3"
    now[0] += 200
    assert found.keys().access_key_id == "SESSION1"
    now[0] += 30
    assert found.keys().access_key_id == "SESSION2"
    assert client.asked == ["b--use1-az4--x-s3"] * 2


def test_the_keys_fit_the_place():
    options, session = S3Options(bucket="b"), make_session(S3Options(bucket="b"))
    express = attrs.evolve(PLACE, express=True)
    assert isinstance(make_keys(options, session, PLACE, dict), SessionKeys)
    assert isinstance(make_keys(options, session, express, dict), ExpressKeys)
    anonymous = S3Options(bucket="b", anonymous=True)
    assert make_keys(anonymous, session, express, dict) is None


def test_what_looks_like_a_secret_is_left_out_of_reasons():
    error = credentials_failure(RuntimeError(f"bad answer {SECRET} and token {TOKEN} in /etc/aws/Some/Path2/file"))
    assert "MARKER" not in str(error)
    assert "/etc/aws/Some/Path2/file" in str(error)
