"""Which account, where it is, and by what requests to it are authorized: what options and environment come to."""

from __future__ import annotations

import base64
import binascii
import ipaddress
from collections.abc import Callable, Mapping
from typing import Literal

import attrs

from penstock.errors import CredentialsError, UsageError
from penstock.http import Origin
from penstock_azure.plugin import AzureOptions

__all__ = ["EMULATOR_ACCOUNT", "EMULATOR_KEY", "Account", "parse_connection_string"]

#: The account that every installation of Azurite has, and its published key: no secret.
EMULATOR_ACCOUNT = "devstoreaccount1"
EMULATOR_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

_EMULATOR_PROXY = "http://127.0.0.1"
_REMEDY = (
    "give account_key (AZURE_STORAGE_KEY), sas_token (AZURE_STORAGE_SAS_TOKEN) or connection_string "
    "(AZURE_STORAGE_CONNECTION_STRING)"
)


@attrs.frozen(slots=True, kw_only=True)
class Account:
    """A storage account as requests need it.

    ``prefix`` is what paths begin with: empty, or ``/account`` for emulators. ``secret`` is the key (base64) or the
    signature; ``origin_of`` names the option it came from.
    """

    name: str
    origin: Origin
    prefix: str
    kind: Literal["key", "sas", "default", "anonymous"]
    secret: str = attrs.field(default="", repr=False)
    source: str = ""

    @property
    def url(self) -> str:
        """Where its containers are."""
        return f"{self.origin}{self.prefix}"

    @property
    def key(self) -> bytes:
        """The account's key. Raises CredentialsError for one that is no key."""
        try:
            key = base64.b64decode(self.secret, validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if not key:
            raise CredentialsError(f"the account key ({self.source}) is not base64; copy it from the account's keys")
        return key

    @classmethod
    def of(cls, options: AzureOptions) -> Account:
        """What these options come to. Raises UsageError or CredentialsError, and makes no request."""
        name = options.account
        kind = options.credential
        text = options.connection_string if kind in ("auto", "connection_string") else None
        if kind == "connection_string" and text is None:
            raise CredentialsError(
                "the option credential is connection_string, but there is none: set AZURE_STORAGE_CONNECTION_STRING"
            )
        parts = parse_connection_string(text) if text is not None else {}
        _require_same_account(name, parts)
        origin, prefix = _place(options.endpoint or _blob_endpoint(parts, name), name)
        chosen, secret, source = _CHOICES[kind](options, parts)
        if chosen == "default" and not origin.tls:
            raise CredentialsError(
                f"tokens of azure-identity are not sent over plain http ({origin}); {_REMEDY}, or use https"
            )
        return cls(name=name, origin=origin, prefix=prefix, kind=chosen, secret=secret, source=source)


def parse_connection_string(text: str) -> Mapping[str, str]:
    """The settings of a connection string by lower-case name. Raises UsageError, which shows none of them."""
    settings: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.strip().split(";"))):
        name, equals, value = part.partition("=")
        if not equals or not name.strip():
            raise UsageError("az: a connection string is Name=value;Name=value; copy it from the account's access keys")
        settings[name.strip().lower()] = value.strip()
    if settings.get("usedevelopmentstorage", "").lower() == "true":
        host = settings.get("developmentstorageproxyuri", _EMULATOR_PROXY).rstrip("/")
        settings.setdefault("accountname", EMULATOR_ACCOUNT)
        settings.setdefault("accountkey", EMULATOR_KEY)
        settings.setdefault("blobendpoint", f"{host}:10000/{EMULATOR_ACCOUNT}")
    return settings


def _require_same_account(name: str, parts: Mapping[str, str]) -> None:
    theirs = parts.get("accountname") or _account_in(parts.get("blobendpoint", ""))
    if theirs and theirs != name:
        raise UsageError(
            f"az: the connection string is of the account {theirs}, the URI of {name}: write az://{theirs}/…, set "
            f"AZURE_STORAGE_CONNECTION_STRING to that of {name}, or choose other credentials with the option credential"
        )


def _account_in(endpoint: str) -> str:
    host, _, path = endpoint.rpartition("://")[2].partition("/")
    return path.strip("/") if _is_emulator(host.partition(":")[0]) else host.partition(".")[0]


def _blob_endpoint(parts: Mapping[str, str], name: str) -> str:
    if endpoint := parts.get("blobendpoint"):
        return endpoint
    scheme = parts.get("defaultendpointsprotocol", "https")
    return f"{scheme}://{name}.blob.{parts.get('endpointsuffix', 'core.windows.net')}"


def _place(endpoint: str, name: str) -> tuple[Origin, str]:
    """Origin and path of an account. Emulators have the account in the path, Azure in the host's name."""
    origin = Origin.parse(endpoint)
    path = endpoint.partition("://")[2].partition("/")[2].strip("/")
    in_path = path.rpartition("/")[2] == name
    in_host = origin.host.partition(".")[0] in (name, f"{name}-secondary")
    if _is_emulator(origin.host) and not in_path and not in_host:
        path = f"{path}/{name}" if path else name
    return origin, f"/{path}" if path else ""


def _is_emulator(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return "." not in host
    return True


_Kind = Literal["key", "sas", "default", "anonymous"]
_Chosen = tuple[_Kind, str, str]


def _by_key(options: AzureOptions, parts: Mapping[str, str]) -> _Chosen:
    if options.account_key is None:
        raise CredentialsError(
            "the option credential is key, but there is none: give account_key, or set AZURE_STORAGE_KEY"
        )
    return "key", options.account_key.strip(), "account_key"


def _by_sas(options: AzureOptions, parts: Mapping[str, str]) -> _Chosen:
    if options.sas_token is None:
        raise CredentialsError(
            "the option credential is sas, but there is none: give sas_token, or set AZURE_STORAGE_SAS_TOKEN"
        )
    return "sas", _signature(options.sas_token), "sas_token"


def _by_connection_string(options: AzureOptions, parts: Mapping[str, str]) -> _Chosen:
    if key := parts.get("accountkey"):
        return "key", key, "connection_string"
    if signature := parts.get("sharedaccesssignature"):
        return "sas", _signature(signature), "connection_string"
    raise CredentialsError("the connection string has neither AccountKey nor SharedAccessSignature")


def _by_chain(options: AzureOptions, parts: Mapping[str, str]) -> _Chosen:
    return "default", "", "azure-identity"


def _by_nothing(options: AzureOptions, parts: Mapping[str, str]) -> _Chosen:
    return "anonymous", "", ""


def _by_what_there_is(options: AzureOptions, parts: Mapping[str, str]) -> _Chosen:
    if parts:
        return _by_connection_string(options, parts)
    if options.account_key is not None:
        return _by_key(options, parts)
    return _by_sas(options, parts) if options.sas_token is not None else _by_chain(options, parts)


_CHOICES: Mapping[str, Callable[[AzureOptions, Mapping[str, str]], _Chosen]] = {
    "auto": _by_what_there_is,
    "key": _by_key,
    "sas": _by_sas,
    "connection_string": _by_connection_string,
    "default": _by_chain,
    "anonymous": _by_nothing,
}


def _signature(token: str) -> str:
    token = token.strip().removeprefix("?")
    good = token.isascii() and token.isprintable() and " " not in token and "#" not in token
    if not good or "sig=" not in token:
        raise CredentialsError("the shared access signature has no sig=…, or a character that no URL has; copy it anew")
    return token
