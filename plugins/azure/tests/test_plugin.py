"""URIs, options, and the credentials that they come to."""

from __future__ import annotations

import base64
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.errors import CredentialsError, InvalidURIError, StoreError, UsageError
from penstock.http import Origin
from penstock.opening import open_store, resolve_object, resolve_store
from penstock.options import describe
from penstock_azure.account import EMULATOR_ACCOUNT, EMULATOR_KEY, Account
from penstock_azure.errors import CODES
from penstock_azure.plugin import AzureOptions

MARKER = "bWFya2VyLW9mLWEtc2VjcmV0"
VARIABLES = ("ENDPOINT", "CONNECTION_STRING", "KEY", "ACCOUNT_KEY", "SAS_TOKEN")


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    """An environment without Azure in it."""
    monkeypatch.delenv("AZURE_BLOB_ENDPOINT_URL", raising=False)
    for name in VARIABLES:
        monkeypatch.delenv(f"AZURE_STORAGE_{name}", raising=False)


def account(**options):
    return Account.of(AzureOptions(**{"account": "acme", "container": "box", **options}))


@pytest.mark.parametrize(
    ("uri", "base", "key", "bucket"),
    [
        ("az://acme/box/dir/k?a=1#b", "az://acme/box/", "dir/k?a=1#b", "box"),
        ("az://acme/box/", "az://acme/box/", "", "box"),
        ("az://acme/box", "az://acme/box/", "", "box"),
        ("az://acme/box//k%20", "az://acme/box/", "/k%20", "box"),
        ("az://acme/$web/index.html", "az://acme/$web/", "index.html", "$web"),
        ("az://acme/2024-data/k", "az://acme/2024-data/", "k", "2024-data"),
        ("az://acme", "az://acme/", "", ""),
        ("https://acme.blob.core.windows.net/box/k%20", "https://acme.blob.core.windows.net/box/", "k%20", "box"),
        ("https://acme.blob.core.windows.net", "https://acme.blob.core.windows.net/", "", ""),
        ("https://acme.z07.blob.storage.azure.net/box/k", "https://acme.z07.blob.storage.azure.net/box/", "k", "box"),
        ("https://acme.blob.core.chinacloudapi.cn/box/k", "https://acme.blob.core.chinacloudapi.cn/box/", "k", "box"),
    ],
)
def test_addresses(uri, base, key, bucket):
    target = resolve_object(uri)
    address = target.address
    assert (address.base, address.key, address.bucket) == (base, key, bucket)
    assert (target.resolved.options.account, target.resolved.options.container) == ("acme", bucket)
    assert resolve_object(address.base).resolved.options == target.resolved.options


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("az://", "write az://account/container/key"),
        ("az:///box/k", "write az://account/container/key"),
        ("az://Acme/box/k", "lower-case letters and digits"),
        ("az://my-account/box/k", "lower-case letters and digits"),
        ("az://acme/Box/k", "'Box' is no container"),
        ("az://acme/a/k", "'a' is no container"),
        ("az://acme/two--hyphens/k", "is no container"),
        ("az://acme//k", "an empty container"),
        ("https://example.com/box/k", "only https://ACCOUNT.blob.core.windows.net"),
        ("https://acme.blob.core.windows.net.evil.com/box/k", "only https://ACCOUNT.blob.core.windows.net"),
        ("https://acme.blob.core.windows.net:8443/box/k", "only https://ACCOUNT.blob.core.windows.net"),
        ("https://acme.dfs.core.windows.net/box/k", "only https://ACCOUNT.blob.core.windows.net"),
        ("https://acme.blob.core.windows.net/box/k?sv=1&sig=MARKER", "AZURE_STORAGE_SAS_TOKEN"),
        ("https://user:MARKER@acme.blob.core.windows.net/box/k", "only https://ACCOUNT"),
    ],
)
def test_uris_that_are_none(uri, says):
    for resolve in (resolve_object, resolve_store):
        with pytest.raises(InvalidURIError) as caught:
            resolve(uri)
        assert says in str(caught.value)
        assert ":MARKER@" not in str(caught.value)
        assert "sig=MARKER" not in str(caught.value)


def test_a_store_needs_a_container():
    with pytest.raises(InvalidURIError, match="names no bucket; write az://account/container/key"):
        open_store("az://acme", options={"account_key": MARKER})


@pytest.mark.parametrize(
    ("endpoint", "origin", "prefix"),
    [
        (None, "https://acme.blob.core.windows.net", ""),
        ("http://127.0.0.1:10000", "http://127.0.0.1:10000", "/acme"),
        ("http://127.0.0.1:10000/", "http://127.0.0.1:10000", "/acme"),
        ("http://127.0.0.1:10000/acme", "http://127.0.0.1:10000", "/acme"),
        ("http://127.0.0.1:10000/acme/", "http://127.0.0.1:10000", "/acme"),
        ("http://[::1]:10000", "http://[::1]:10000", "/acme"),
        ("http://localhost:10000", "http://localhost:10000", "/acme"),
        ("http://azurite:10000", "http://azurite:10000", "/acme"),
        ("http://acme.localhost:10000", "http://acme.localhost:10000", ""),
        ("https://acme.blob.local", "https://acme.blob.local", ""),
        ("https://acme-secondary.blob.core.windows.net", "https://acme-secondary.blob.core.windows.net", ""),
        ("https://blobs.example.com", "https://blobs.example.com", ""),
        ("http://127.0.0.1:10000/gateway", "http://127.0.0.1:10000", "/gateway/acme"),
    ],
)
def test_where_an_account_is(endpoint, origin, prefix):
    found = account(endpoint=endpoint, account_key=MARKER)
    assert (found.origin, found.prefix) == (Origin.parse(origin), prefix)
    assert found.url == origin + prefix


@pytest.mark.parametrize("name", ["AZURE_STORAGE_ENDPOINT", "AZURE_BLOB_ENDPOINT_URL"])
def test_the_endpoint_of_an_emulator_comes_from_the_environment(name, monkeypatch):
    monkeypatch.setenv(name, "http://127.0.0.1:10000")
    resolved = resolve_store("az://acme/box/").resolved
    assert resolved.origins["endpoint"] == f"${name}"
    assert resolved.options.endpoint == "http://127.0.0.1:10000"


def test_the_url_names_its_host_whatever_the_environment_says(monkeypatch):
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", "http://127.0.0.1:10000")
    options = resolve_store("https://acme.blob.core.windows.net/box/").resolved.options
    assert options.endpoint == "https://acme.blob.core.windows.net"


def test_what_authorizes_by_itself():
    string = f"DefaultEndpointsProtocol=https;AccountName=acme;AccountKey={MARKER};EndpointSuffix=core.windows.net"
    both = {"account_key": "a2V5", "sas_token": "?sv=1&sig=x"}
    chosen = [
        account(connection_string=string, **both),
        account(**both),
        account(sas_token="?sv=1&sig=x"),
        account(),
        account(credential="sas", **both),
        account(credential="key", connection_string=string, **both),
        account(credential="default", **both),
        account(credential="anonymous", **both),
    ]
    assert [(found.kind, found.secret) for found in chosen] == [
        ("key", MARKER),
        ("key", "a2V5"),
        ("sas", "sv=1&sig=x"),
        ("default", ""),
        ("sas", "sv=1&sig=x"),
        ("key", "a2V5"),
        ("default", ""),
        ("anonymous", ""),
    ]


def test_connection_strings():
    emulator = account(account=EMULATOR_ACCOUNT, connection_string="UseDevelopmentStorage=true")
    assert (emulator.url, emulator.secret) == (f"http://127.0.0.1:10000/{EMULATOR_ACCOUNT}", EMULATOR_KEY)
    signed = account(
        connection_string="BlobEndpoint=https://acme.blob.core.windows.net/;SharedAccessSignature=sv=1&sig=x="
    )
    assert (signed.kind, signed.secret) == ("sas", "sv=1&sig=x=")
    china = account(connection_string=f"AccountName=acme;AccountKey={MARKER};EndpointSuffix=core.chinacloudapi.cn")
    assert china.url == "https://acme.blob.core.chinacloudapi.cn"
    local = f"BlobEndpoint=http://127.0.0.1:9/acme;AccountName=acme;AccountKey={MARKER}"
    assert account(connection_string=local).url == "http://127.0.0.1:9/acme"
    elsewhere = account(connection_string=local, endpoint="http://127.0.0.1:8")
    assert elsewhere.url == "http://127.0.0.1:8/acme"


@pytest.mark.parametrize(
    "string",
    [
        f"AccountName=other;AccountKey={MARKER}",
        "BlobEndpoint=https://other.blob.core.windows.net;SharedAccessSignature=sv=1&sig=x",
        "BlobEndpoint=http://127.0.0.1:10000/other;SharedAccessSignature=sv=1&sig=x",
    ],
)
def test_a_connection_string_of_another_account_is_refused(string):
    with pytest.raises(UsageError, match="is of the account other, the URI of acme: write az://other/") as caught:
        account(connection_string=string)
    assert MARKER not in str(caught.value)
    assert account(connection_string=string, credential="anonymous").kind == "anonymous"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"credential": "key"}, "AZURE_STORAGE_KEY"),
        ({"credential": "sas"}, "AZURE_STORAGE_SAS_TOKEN"),
        ({"credential": "connection_string"}, "AZURE_STORAGE_CONNECTION_STRING"),
        ({"connection_string": "AccountName=acme"}, "neither AccountKey nor SharedAccessSignature"),
        ({"connection_string": MARKER}, "Name=value;Name=value"),
        ({"sas_token": f"sv=1&se={MARKER}"}, "has no sig="),
        ({"sas_token": f"sig={MARKER}\r\nx: y"}, "a character that no URL has"),
        ({"endpoint": "http://127.0.0.1:1"}, "not sent over plain http"),
        ({"endpoint": f"https://{MARKER}@host"}, "an endpoint is http://host:port"),
        ({"endpoint": "ftp://host"}, "an endpoint is http://host:port"),
        ({"part_concurrency": 0}, "part_concurrency is at least 1"),
        ({"read_timeout": 0.0}, "read_timeout is more than 0 seconds"),
    ],
)
def test_credentials_that_are_none(options, says):
    with pytest.raises((UsageError, CredentialsError)) as caught:
        account(**options)
    assert says in str(caught.value)
    assert MARKER not in str(caught.value)


@pytest.mark.parametrize("key", [f"{MARKER}*", "", "\u00e9"])
def test_a_key_that_is_none_is_told_before_any_request(key):
    with pytest.raises(CredentialsError, match="is not base64") as caught:
        open_store("az://acme/box/", options={"account_key": key})
    assert MARKER not in str(caught.value)


def test_no_secret_is_shown():
    options = AzureOptions(
        account="acme",
        account_key=MARKER,
        sas_token=f"sig={MARKER}",
        connection_string=f"AccountName=acme;AccountKey={MARKER}",
        proxy=f"http://user:{MARKER}@proxy:1",
    )
    assert pickle.loads(pickle.dumps(options)) == options
    for text in (repr(options), repr(Account.of(options)), str(options)):
        assert MARKER not in text
    with pytest.raises(UsageError, match="can't stand in a URI"):
        resolve_store(f"az://acme/box/?account_key={MARKER}")


def test_options_after_the_question_mark():
    options = resolve_store(
        "az://acme/box/?checksum=md5&part_concurrency=2&read_timeout=5s&credential=anonymous"
    ).resolved
    assert options.options.checksum == "md5"
    assert (options.options.part_concurrency, options.options.read_timeout) == (2, 5.0)


def test_the_readme_names_every_option_and_code():
    text = (Path(__file__).parent.parent / "README.md").read_text()
    for field in describe(AzureOptions):
        if field.name not in ("account", "container"):
            assert f"`{field.name}`" in text
        for variable in field.env:
            assert f"`{variable}`" in text
    told = set(re.findall(r"`(?:code )?([A-Z][a-z]+[A-Z]\w+)`", text))
    assert told
    assert told <= set(CODES)


def test_listing_plugins_imports_no_sdk():
    script = (
        "import sys; from penstock.plugins import PluginHost; "
        "print(*(r.kind.schemes for r in PluginHost().records() if r.distribution == 'penstock-azure')); "
        "print(*(name for name in sys.modules if name.split('.')[0] in ('azure', 'requests', 'awscrt', 'msal')))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    schemes, loaded = done.stdout.split("\n")[:2]
    assert schemes == "('az',) ('https',)"
    assert loaded == ""


def test_opening_a_store_imports_no_sdk():
    script = (
        "import sys; from penstock.opening import open_store; "
        f"open_store('az://acme/box/', options={{'account_key': {base64.b64encode(b'k').decode()!r}}}).close(); "
        "print(*(name for name in sys.modules if name.split('.')[0] in ('azure', 'requests', 'awscrt', 'msal')))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "\n"


def test_crc64_without_its_package_names_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "awscrt", None)
    monkeypatch.delitem(sys.modules, "awscrt.checksums", raising=False)
    with pytest.raises(UsageError, match="penstock-azure\\[crc64\\]"):
        open_store("az://acme/box/?checksum=crc64", options={"account_key": MARKER})


def test_errors_of_the_class_pickle():
    with pytest.raises(CredentialsError) as caught:
        account(credential="key")
    assert isinstance(pickle.loads(pickle.dumps(caught.value)), StoreError)
