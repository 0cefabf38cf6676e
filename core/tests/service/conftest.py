"""``cloud://host:port/bucket/key``: a backend with a service, in memory, that fails as it is told."""

from __future__ import annotations

import uuid

import attrs
import pytest
from click.testing import CliRunner

from penstock.cli import main
from penstock.errors import AlreadyExistsError, CredentialsError, ObjectNotFoundError, StoreError
from penstock.memory import MemoryOptions, MemoryStore
from penstock.options import option
from penstock.plugins import default_host
from penstock.service import BucketInfo, Endpoint, UploadInfo
from penstock.store import Address, StoreType

SECRET = "planted-secret-4711"


@attrs.frozen(kw_only=True)
class CloudOptions:
    endpoint: str = option("", help="where", query=False)
    bucket: str = option("", help="which", query=False)
    access_key: str | None = option(None, help="who", env="TEST_CLOUD_KEY")
    secret_key: str | None = option(None, help="what only they know", env="TEST_CLOUD_SECRET", secret=True)
    ca_bundle: str | None = option(None, help="trusted certificates")
    connect_timeout: float = option(10.0, help="patience", unit="seconds")
    read_timeout: float = option(60.0, help="patience", unit="seconds")
    proxy: str | None = option(None, help="where requests go through")


class Cloud:
    """All that the backend of one test holds. ``failures`` maps a call's name to what it raises, in order."""

    def __init__(self) -> None:
        self.name = uuid.uuid4().hex
        self.secret = SECRET
        self.buckets: dict[str, int | None] = {}
        self.uploads: list[UploadInfo] = []
        self.failures: dict[str, list[BaseException]] = {}
        self.calls: list[str] = []
        self.open_services = 0
        self.tls = False
        self.corrupt = False
        self.careless = False

    def play(self, name: str) -> None:
        self.calls.append(name)
        pending = self.failures.get(name)
        if pending:
            raise pending.pop(0) if len(pending) > 1 else pending[0]

    def objects(self, bucket: str) -> MemoryStore:
        return MemoryStore(MemoryOptions(name=f"{self.name}-{bucket}"))

    def kind(self) -> StoreType:
        return StoreType(
            schemes=("cloud",),
            summary="a cloud of the tests",
            options=CloudOptions,
            parse=_parse,
            open=lambda options, threads: CloudStore(self, options),
            service=lambda options: CloudService(self, options),
            form="cloud://host:port/bucket/key",
        )


def _parse(url):
    bucket, _, key = url.path.removeprefix("/").partition("/")
    base = f"cloud://{url.authority}/{bucket}/" if bucket else f"cloud://{url.authority}/"
    return Address(base, key, {"endpoint": url.authority, "bucket": bucket}, bucket=bucket)


class CloudStore:
    """The memory's store, for a bucket that has to exist; every call may be told to fail."""

    def __init__(self, cloud, options):
        assert options.bucket
        self._cloud, self._bucket = cloud, options.bucket
        self._inner = cloud.objects(options.bucket)
        self.capabilities = self._inner.capabilities
        self._base = f"cloud://{options.endpoint}/{options.bucket}/"

    def __getattr__(self, name):
        inner = getattr(self._inner, name)

        def call(*args, **kwargs):
            try:
                self._cloud.play(name)
                if self._bucket not in self._cloud.buckets and name != "close":
                    raise ObjectNotFoundError("no such bucket", status=404, code="NoSuchBucket")
                result = inner(*args, **kwargs)
            except StoreError as error:
                key = args[0] if args and isinstance(args[0], str) else ""
                error.uri, error.operation = error.uri or self._base + key, error.operation or name
                raise
            if name == "get" and self._cloud.corrupt:
                args[1].write(b"!")
            return result

        return call


class CloudService:
    def __init__(self, cloud, options):
        self._cloud, self._options, self._closed = cloud, options, False
        cloud.play("service")
        cloud.open_services += 1

    def endpoint(self):
        host, _, port = self._options.endpoint.rpartition(":")
        proxy = self._options.proxy or None
        return Endpoint(
            host=host.strip("[]"), port=int(port), tls=self._cloud.tls, proxy=proxy, ca_bundle=self._options.ca_bundle
        )

    def authenticate(self):
        self._cloud.play("authenticate")
        if self._options.secret_key is None:
            raise CredentialsError("no secret key; set TEST_CLOUD_SECRET", operation="authenticate")
        return f"{self._options.access_key} of the environment"

    def list_buckets(self):
        self._cloud.play("list_buckets")
        for name, created in self._cloud.buckets.items():
            uri = f"cloud://{self._options.endpoint}/{name}/"
            yield BucketInfo(name=name, uri=uri, created_ns=created, region="here" if created else None)

    def create_bucket(self):
        self._cloud.play("create_bucket")
        if self._options.bucket in self._cloud.buckets:
            raise AlreadyExistsError("it is there already", operation="create_bucket", uri=self._options.bucket)
        self._cloud.buckets[self._options.bucket] = None

    def delete_bucket(self):
        self._cloud.play("delete_bucket")
        if self._options.bucket not in self._cloud.buckets:
            raise ObjectNotFoundError("no such bucket", operation="delete_bucket", code="NoSuchBucket")
        if self._cloud.careless:
            self._cloud.calls.append("wiped")
            return
        if self._cloud.uploads or next(self._cloud.objects(self._options.bucket).list_pages(), None):
            raise StoreError("not empty", operation="delete_bucket", status=409, code="BucketNotEmpty")
        del self._cloud.buckets[self._options.bucket]

    def list_uploads(self, prefix="", /):
        self._cloud.play("list_uploads")
        yield from [upload for upload in self._cloud.uploads if upload.key.startswith(prefix)]

    def abort_upload(self, upload, /):
        self._cloud.play("abort_upload")
        self._cloud.uploads = [known for known in self._cloud.uploads if known != upload]

    def close(self):
        self._cloud.open_services -= not self._closed
        self._closed = True


@pytest.fixture
def cloud(monkeypatch):
    """The backend ``cloud://`` with one bucket, ``b``, and credentials."""
    cloud = Cloud()
    cloud.buckets["b"] = 1_700_000_000 * 10**9
    monkeypatch.setitem(default_host()._kinds, ("penstock.stores", "cloud"), cloud.kind())
    monkeypatch.setenv("TEST_CLOUD_KEY", "me")
    monkeypatch.setenv("TEST_CLOUD_SECRET", SECRET)
    monkeypatch.setattr("penstock.layers.retry.random.random", lambda: 0.0)
    yield cloud
    import penstock

    penstock.close_stores()
    assert cloud.open_services == 0


@pytest.fixture
def run():
    """Run a command line, and see that it exits with ``code`` and never shows the secret or a traceback."""

    def run(*args, code=0, **options):
        done = CliRunner().invoke(main, args, **options)
        assert done.exit_code == code, done.output
        assert SECRET not in done.output
        assert "Traceback" not in done.output
        return done

    return run
