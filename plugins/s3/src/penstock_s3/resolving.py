"""Where a bucket is: host, path, region and service, as boto3 resolves them from options and configuration files."""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs

from penstock.errors import UnsupportedOperationError, UsageError
from penstock.http import Origin, Settings
from penstock_s3.credentials import ExpressKeys, SessionKeys
from penstock_s3.plugin import S3Options

if TYPE_CHECKING:
    from boto3.session import Session
    from botocore.awsrequest import AWSPreparedRequest, AWSRequest, AWSResponse
    from botocore.client import BaseClient
    from botocore.config import Config
    from botocore.loaders import Loader

__all__ = ["Place", "make_client", "make_keys", "make_session", "make_settings", "resolve", "signs_payloads"]

_DEFAULT_REGION = "us-east-1"
_PROBE = "probe"
_NO_BUCKETS = b"<ListAllMyBucketsResult/>"


@attrs.frozen(slots=True, kw_only=True)
class Place:
    """Where a bucket is and what requests to it are signed for.

    ``prefix`` begins and ends with a slash; behind it stands the encoded key: ``/`` or ``/bucket/``. ``express``
    says that it is a directory bucket, whose requests are signed with the keys of a session.
    """

    origin: Origin
    host: bytes
    prefix: bytes
    region: str
    service: str = "s3"
    bucket: str = ""
    express: bool = False


def make_session(options: S3Options) -> Session:
    """The boto3 session of these options, a new one. Not for several threads at once before its first client exists.

    Raises UsageError for a profile or a configuration file that can't be used.
    """
    from boto3.session import Session
    from botocore.session import get_session

    profile = _profile(options)
    with _usage():
        core = get_session()
        if profile is not None:
            core.set_config_variable("profile", profile)
        loader = _loader(core.get_config_variable("data_path"))
        core.register_component("data_loader", loader)
        session = Session(
            aws_access_key_id=options.access_key_id,
            aws_secret_access_key=options.secret_access_key,
            aws_session_token=options.session_token,
            botocore_session=core,
            profile_name=profile,
        )
    # Each session of boto3 adds its directory once more.
    paths = loader.search_paths
    if paths.count(paths[-1]) > 1:
        paths.pop()
    return session


@functools.cache
def _loader(data_path: str | None) -> Loader:
    """Reads botocore's models, which take 100 ms, once for all sessions of a process."""
    from botocore.loaders import create_loader

    return create_loader(data_path)


def make_client(options: S3Options, session: Session, *, region: str | None = None) -> BaseClient:
    """The client of the control plane: one attempt, our time-outs, proxy and certificates; threads share it.

    It asks the session for its credentials. ``region`` replaces the options', after a redirect. Raises UsageError
    for what boto3 refuses, and what a provider of credentials raises.
    """
    from botocore import UNSIGNED

    config = _config(options, session, region)
    if options.anonymous:
        from botocore.config import Config

        config = config.merge(Config(signature_version=UNSIGNED))
    with _usage():
        client = session.client("s3", endpoint_url=_endpoint(options), config=config, verify=options.ca_bundle)
    if options.request_payer:
        client.meta.events.register("before-sign.s3", _pay)
    return client


def make_settings(options: S3Options, session: Session) -> Settings:
    """The transport's settings, with the configuration file's certificates where the options name none."""
    return Settings(
        connect_timeout=options.connect_timeout,
        read_timeout=options.read_timeout,
        operation_timeout=options.operation_timeout,
        ca_bundle=options.ca_bundle or _configured_ca_bundle(session),
        proxy=options.proxy,
    )


def resolve(options: S3Options, session: Session, *, region: str | None = None) -> Place:
    """Where boto3 would send a request for an object of the bucket, or without one for the service.

    It lets boto3 build a request, takes it before it is sent, and asks for no credentials. ``region`` replaces
    the options', after a redirect. Raises UsageError for what boto3 refuses, UnsupportedOperationError for a
    multi-region access point.
    """
    from botocore.config import Config

    config = _config(options, session, region)
    if ":s3-outposts:" in options.bucket:
        # Outposts take two kinds of signatures, and boto3 prefers the one that is not ours.
        config = config.merge(Config(auth_scheme_preference="sigv4"))
    probe = _Probe()
    with _usage():
        client = session.client(
            "s3",
            endpoint_url=_endpoint(options),
            config=config,
            aws_access_key_id=_PROBE,
            aws_secret_access_key=_PROBE,
        )
        client.meta.events.register_first("choose-signer.s3", probe.choose_signer)
        client.meta.events.register_first("before-send.s3", probe.answer)
        if options.bucket:
            client.head_object(Bucket=options.bucket, Key=_PROBE)
        else:
            client.list_buckets()
        client.close()
    return probe.place(options)


def make_keys(
    options: S3Options, session: Session, place: Place, client: Callable[[], BaseClient]
) -> SessionKeys | ExpressKeys | None:
    """The keys to sign with at that place; None for anonymous requests.

    ``client`` gives the control plane's client, wanted only for the sessions of a directory bucket.
    """
    if options.anonymous:
        return None
    if place.express:
        return ExpressKeys(client, place.bucket)
    return SessionKeys(session)


def signs_payloads(options: S3Options, place: Place) -> bool:
    """Whether the SHA-256 of a body goes into its signature."""
    if options.payload_signing == "auto":
        return not place.origin.tls
    return options.payload_signing == "signed"


def _pay(request: AWSRequest, **_: Any) -> None:
    request.headers["x-amz-request-payer"] = "requester"


class _Probe:
    """Takes what boto3 resolved out of a request, and answers it."""

    def __init__(self) -> None:
        self._url = ""
        self._region = self._service = self._version = ""

    def choose_signer(self, signing_name: str, region_name: str, signature_version: Any, **_: Any) -> str:
        self._region, self._service, self._version = region_name, signing_name, str(signature_version)
        # With any other a directory bucket would be asked for a session.
        return "s3v4"

    def answer(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        from botocore.awsrequest import AWSResponse

        self._url = request.url
        return AWSResponse(request.url, 200, {}, _Body(b"" if request.method == "HEAD" else _NO_BUCKETS))

    def place(self, options: S3Options) -> Place:
        if self._version.startswith("v4a"):
            raise UnsupportedOperationError(
                f"{options.bucket} is a multi-region access point, whose signatures (SigV4A) are not supported; "
                "open one of its buckets"
            )
        url = urlsplit(self._url)
        origin = Origin.parse(f"{url.scheme}://{url.netloc}")
        path = url.path.removesuffix(_PROBE) if options.bucket else url.path
        return Place(
            origin=origin,
            host=origin.authority.encode(),
            prefix=(path or "/").encode(),
            region=self._region,
            service=self._service,
            bucket=options.bucket,
            express=self._version.startswith("v4-s3express"),
        )


class _Body(io.BytesIO):
    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        yield self.read()


def _config(options: S3Options, session: Session, region: str | None) -> Config:
    from botocore.config import Config

    proxies = None
    if options.proxy is not None:
        proxies = {"http": options.proxy, "https": options.proxy} if options.proxy else {}
    return Config(
        region_name=region or options.region or session.region_name or _DEFAULT_REGION,
        connect_timeout=options.connect_timeout,
        read_timeout=options.read_timeout,
        proxies=proxies,
        retries={"total_max_attempts": 1, "mode": "standard"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3=None if options.addressing == "auto" else {"addressing_style": options.addressing},
    )


def _profile(options: S3Options) -> str | None:
    # Of a profile that boto3 finds by itself the keys give way to those of the environment; a named one is used as
    # it stands. So what came from the variable is left to boto3.
    found = os.environ.get("AWS_DEFAULT_PROFILE") or os.environ.get("AWS_PROFILE")
    return None if options.profile == found else options.profile


def _endpoint(options: S3Options) -> str | None:
    ignored = os.environ.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "").lower() == "true"
    if ignored and options.endpoint in (os.environ.get(f"AWS_ENDPOINT_URL{end}") for end in ("_S3", "")):
        return None
    return options.endpoint


def _configured_ca_bundle(session: Session) -> str | None:
    # boto3 has no accessor of its own for its configuration; botocore's session is public.
    found: str | None = session._session.get_config_variable("ca_bundle")
    return found


@contextmanager
def _usage() -> Iterator[None]:
    from botocore import exceptions as sdk

    try:
        yield
    except (
        sdk.ConfigParseError,
        sdk.EndpointProviderError,
        sdk.EndpointVariantError,
        sdk.InvalidConfigError,
        sdk.InvalidRegionError,
        sdk.InvalidS3AddressingStyleError,
        sdk.ParamValidationError,
        sdk.ProfileNotFound,
        sdk.UnsupportedS3AccesspointConfigurationError,
        sdk.UnsupportedS3ArnError,
        sdk.UnsupportedS3ConfigurationError,
        ValueError,
    ) as error:
        raise UsageError(f"s3: {' '.join(str(error).split())}") from error
