"""What Azure's error codes mean, in a table; and the two ways in: an answer of the service, an error of its SDK."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import attrs

from penstock.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    ChecksumMismatchError,
    CredentialsError,
    LengthMismatchError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StorageFullError,
    StoreConnectionError,
    StoreError,
    StoreTimeoutError,
    ThrottledError,
    UnsupportedOperationError,
)
from penstock.http import Answer, status_class

__all__ = ["CODES", "Meaning", "error_of", "error_of_part", "located", "translating"]


@attrs.frozen(slots=True)
class Meaning:
    """What a code comes to. ``remedy``, if there is one, follows the service's own words."""

    error: type[StoreError]
    remedy: str = ""
    retryable: bool | None = None


_KEY = "is the account key right, and is it this account's?"
_ROLE = "grant the role Storage Blob Data Contributor (to read: Storage Blob Data Reader) on the account or container"
_LEASE = "the object is leased by another client; break the lease, or wait until it ends"
_POLICY = "an immutability policy or legal hold protects the object"

#: The service's error codes (its REST reference: "Blob service error codes" and "Common REST API error codes").
CODES: Mapping[str, Meaning] = {
    "AccountBeingCreated": Meaning(StoreError, "wait until the account is made", True),
    "AccountIsDisabled": Meaning(AccessDeniedError, "the account is disabled; look at its state in the portal"),
    "AppendPositionConditionNotMet": Meaning(PreconditionFailedError),
    "AuthenticationFailed": Meaning(CredentialsError, f"{_KEY} is this machine's clock right?"),
    "AuthorizationFailure": Meaning(
        AccessDeniedError,
        f"{_KEY} does the signature (SAS) allow this? do the account's network rules allow this address?",
    ),
    "AuthorizationPermissionMismatch": Meaning(AccessDeniedError, f"{_ROLE}, or use a signature that allows this"),
    "AuthorizationProtocolMismatch": Meaning(AccessDeniedError, "the signature is for https alone; use https"),
    "AuthorizationResourceTypeMismatch": Meaning(AccessDeniedError, "the signature is for another kind of resource"),
    "AuthorizationServiceMismatch": Meaning(AccessDeniedError, "the signature is not for the blob service (ss=b)"),
    "AuthorizationSourceIPMismatch": Meaning(AccessDeniedError, "the signature is for other addresses (sip=…)"),
    "BlobAlreadyExists": Meaning(AlreadyExistsError),
    "BlobArchived": Meaning(StoreError, "the object is archived; rehydrate it (set its tier to hot or cool) first"),
    "BlobBeingRehydrated": Meaning(StoreError, "the object is being rehydrated, which takes hours"),
    "BlobImmutableDueToPolicy": Meaning(AccessDeniedError, _POLICY),
    "BlobNotFound": Meaning(ObjectNotFoundError),
    "BlockCountExceedsLimit": Meaning(StoreError, "an object has at most 50,000 parts; write larger ones"),
    "CannotVerifyCopySource": Meaning(AccessDeniedError, "the source can't be read with these credentials"),
    "ConditionNotMet": Meaning(PreconditionFailedError),
    "ContainerAlreadyExists": Meaning(AlreadyExistsError),
    "ContainerBeingDeleted": Meaning(StoreError, "the container is being deleted; wait about a minute", True),
    "ContainerDisabled": Meaning(AccessDeniedError, "the container was disabled by its administrator"),
    "ContainerNotFound": Meaning(ObjectNotFoundError),
    "Crc64Mismatch": Meaning(ChecksumMismatchError, "the bytes changed on their way; send them again", True),
    "CopyAcrossAccountsNotSupported": Meaning(UnsupportedOperationError),
    "FeatureNotSupportedForAccount": Meaning(UnsupportedOperationError),
    "InsufficientAccountPermissions": Meaning(AccessDeniedError, "the account, or the signature, may not do this"),
    "InternalError": Meaning(StoreError, "", True),
    "InvalidAuthenticationInfo": Meaning(
        CredentialsError, "the token or the Authorization header is not accepted; is the token of this tenant?"
    ),
    "InvalidBlobOrBlock": Meaning(
        StoreError,
        "another client has left unfinished blocks at this key, whose ids have another length; "
        "penstock rm --incomplete removes them",
    ),
    "InvalidBlobType": Meaning(StoreError, "the object is an append or page blob; only block blobs are written"),
    "InvalidBlockId": Meaning(StoreError),
    "InvalidBlockList": Meaning(
        StoreError,
        "another write of this key ended while this one was open, and Azure then drops what is not finished; "
        "write the object again",
    ),
    "InvalidRange": Meaning(StoreError),
    "InvalidResourceName": Meaning(StoreError, "the service can't hold an object or container of this name"),
    "InvalidUri": Meaning(StoreError, "the service can't hold an object of this name"),
    "KeyBasedAuthenticationNotPermitted": Meaning(
        CredentialsError, "the account accepts no keys; sign in (az login), and set the option credential to default"
    ),
    "LeaseAlreadyPresent": Meaning(StoreError, _LEASE),
    "LeaseIdMismatchWithBlobOperation": Meaning(AccessDeniedError, _LEASE),
    "LeaseIdMismatchWithContainerOperation": Meaning(AccessDeniedError, _LEASE),
    "LeaseIdMissing": Meaning(AccessDeniedError, _LEASE),
    "LeaseLost": Meaning(AccessDeniedError, _LEASE),
    "Md5Mismatch": Meaning(ChecksumMismatchError, "the bytes changed on their way; send them again", True),
    "MetadataTooLarge": Meaning(StoreError, "metadata is at most 8 KiB, names and values together"),
    "NoAuthenticationInformation": Meaning(
        CredentialsError, "the container is not public; give account_key, sas_token or connection_string"
    ),
    "NoPendingCopyOperation": Meaning(StoreError),
    "OperationTimedOut": Meaning(StoreTimeoutError),
    "PendingCopyOperation": Meaning(StoreError, "a copy onto this object is under way", True),
    "PublicAccessNotPermitted": Meaning(
        CredentialsError, "the account forbids anonymous access; give account_key, sas_token or connection_string"
    ),
    "RequestBodyTooLarge": Meaning(LengthMismatchError, "put at most 5000 MiB at once; write larger objects in parts"),
    "ResourceNotFound": Meaning(ObjectNotFoundError),
    "ResourceTypeMismatch": Meaning(StoreError),
    "ServerBusy": Meaning(ThrottledError),
    "SnapshotsPresent": Meaning(StoreError, "the object has snapshots; the option delete_snapshots deletes them too"),
    "SourceConditionNotMet": Meaning(PreconditionFailedError, "the source changed while it was being copied", True),
    "StorageQuotaExceeded": Meaning(StorageFullError),
    "TargetConditionNotMet": Meaning(PreconditionFailedError),
    "UnauthorizedBlobOverwrite": Meaning(AccessDeniedError, "the signature allows to create, not to overwrite"),
    "UnsupportedHttpVerb": Meaning(UnsupportedOperationError),
}

_LIMIT = 64 * 1024
_MESSAGE = re.compile(r"<Message>(.*?)</Message>", re.DOTALL)
_CODE = re.compile(r"<Code>([A-Za-z0-9]+)</Code>")
_DETAIL = re.compile(r"<AuthenticationErrorDetail>(.*?)</AuthenticationErrorDetail>", re.DOTALL)
# Of the details those that show no signature and no string that was signed.
_HARMLESS = re.compile(
    r"(?:Request date header too old|The Date header in the request is incorrect"
    r"|Signature not valid in the specified time frame|Signature not valid in the specified key time frame"
    r"|Issuer validation failed|Audience validation failed|Lifetime validation failed)[^\r\n]{0,200}"
)
_SPACE = re.compile(r"\s+")


def error_of(answer: Answer, operation: str, uri: str, *, create: bool = False) -> StoreError:
    """The error that an answer comes to; its body is read. ``create``: the request was to replace nothing."""
    text = _body(answer)
    code = answer.header("x-ms-error-code") or _first(_CODE, text)
    status = answer.status
    error = _make(code, status, _story(text), operation, uri, create=create)
    error.request_id = answer.header("x-ms-request-id")
    error.retry_after = answer.retry_after
    return error


def error_of_part(status: int, headers: Mapping[str, str], text: str, operation: str, uri: str) -> StoreError:
    """The same for an answer within the answer to a batch."""
    code = headers.get("x-ms-error-code") or _first(_CODE, text)
    error = _make(code, status, _story(text), operation, uri, create=False)
    error.request_id = headers.get("x-ms-request-id")
    return error


def located(error: StoreError, operation: str, uri: str) -> StoreError:
    """Fill in where a failure of the transport happened."""
    if error.operation is None:
        error.operation = operation
    if error.uri is None:
        error.uri = uri
    return error


@contextmanager
def translating(operation: str, uri: str | None) -> Iterator[None]:
    """Turn what azure-core and azure-identity raise into errors of penstock, chained."""
    from azure.core import exceptions as azure

    try:
        yield
    except azure.ClientAuthenticationError as error:
        code, status = _code_of(error), error.status_code
        if code is not None or status is not None:
            raise _of_sdk(error, operation, uri) from error
        raise CredentialsError(_identity(error), uri=uri, operation=operation) from error
    except azure.HttpResponseError as error:
        raise _of_sdk(error, operation, uri) from error
    except (azure.ServiceRequestTimeoutError, azure.ServiceResponseTimeoutError) as error:
        raise StoreTimeoutError("no answer came in time", uri=uri, operation=operation) from error
    except (azure.ServiceRequestError, azure.ServiceResponseError) as error:
        raise StoreConnectionError(f"the service can't be reached: {error}", uri=uri, operation=operation) from error
    except azure.AzureError as error:
        raise StoreError(str(error), uri=uri, operation=operation) from error


def _of_sdk(error: object, operation: str, uri: str | None) -> StoreError:
    status = getattr(error, "status_code", None) or 0
    message = str(getattr(error, "message", "") or "").partition("\n")[0]
    made = _make(_code_of(error), status, message, operation, uri, create=False)
    headers = getattr(getattr(error, "response", None), "headers", None) or {}
    made.request_id = headers.get("x-ms-request-id")
    return made


def _code_of(error: object) -> str | None:
    code = getattr(error, "error_code", None)
    return getattr(code, "value", code) or None


def _identity(error: Exception) -> str:
    # The chain tells of every credential that it tried, in many lines; the first says what to do.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (
        f"azure-identity found no credentials ({lines[0] if lines else type(error).__name__}); sign in (az login), "
        "or give account_key, sas_token or connection_string"
    )


def _make(code: str | None, status: int, story: str, operation: str, uri: str | None, *, create: bool) -> StoreError:
    meaning = CODES.get(code or "")
    if meaning is None:
        kind, retryable = status_class(status)
        meaning = Meaning(kind, "", retryable)
    if create and (meaning.error is PreconditionFailedError or code == "UnauthorizedBlobOverwrite"):
        meaning = Meaning(AlreadyExistsError)
    message = story or _PLAIN.get(code or "") or _PLAIN.get(status, "the service refused the request")
    if meaning.remedy:
        message = f"{message.rstrip('.')}: {meaning.remedy}"
    return meaning.error(
        message, uri=uri, operation=operation, status=status or None, code=code, retryable=meaning.retryable
    )


#: What to say of answers without a body, such as those to HEAD.
_PLAIN: Mapping[int | str, str] = {
    "ContainerNotFound": "the container does not exist",
    401: "the credentials are not accepted",
    403: "the service refuses access",
    404: "no such object",
    409: "the request conflicts with what is there",
    412: "the object is another one than the condition says",
    429: "the service asks to slow down",
    500: "the service failed",
    503: "the service is busy",
}


def _body(answer: Answer) -> str:
    try:
        return answer.read(_LIMIT).decode("utf-8", "replace")
    except StoreError:
        # The status is known; an error in its explanation must not hide it.
        return ""


def _story(text: str) -> str:
    message = _unescape(_first(_MESSAGE, text) or "").strip().partition("\n")[0].strip()
    detail = _HARMLESS.search(_unescape(_first(_DETAIL, text) or ""))
    if detail is not None:
        # The general text asks whether the header is formed well, which leads astray.
        message = _SPACE.sub(" ", detail[0]).strip()
    return message


def _first(pattern: re.Pattern[str], text: str) -> str | None:
    match = pattern.search(text)
    return match[1] if match else None


def _unescape(text: str) -> str:
    return (
        text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", '"')
        .replace("&apos;", "'")
        .replace("&amp;", "&")
    )
