"""What S3's error codes mean here, and the two ways in which errors arrive: as answers, and from botocore."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from penstock.errors import (
    AccessDeniedError,
    AlreadyExistsError,
    ChecksumMismatchError,
    CredentialsError,
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
from penstock_s3.markup import Refusal, read_refusal

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

__all__ = ["Condition", "failure", "named", "refused", "translating"]

#: Why a write was conditional: it was to create, or to replace the object of an etag.
Condition = Literal["create", "replace"]

_Rule = tuple[type[StoreError], bool, str]

_CLOCK = "the request's time is too far from the service's; set this machine's clock (NTP), the limit is 15 minutes"
_REGION = "the requests are signed for another region than the bucket's; write region=REGION"
_SLOW = "the service asks its clients to slow down"
_FULL = "the storage is full, or a quota is used up"
_DAMAGED = "the bytes that arrived are not the ones that were sent"
_NEW_KEYS = "the temporary credentials have expired; get new ones (aws sso login, a new session token)"
_TAKEN = "the bucket's name is taken"
_LOST = "the upload is gone: it was finished, aborted, or removed by a lifecycle rule"

#: Class, whether the same call may succeed when it is repeated, and what to say. An empty text: what the service says.
_RULES: dict[str, _Rule] = {
    "NoSuchKey": (ObjectNotFoundError, False, "no such object"),
    "NoSuchVersion": (ObjectNotFoundError, False, "no such version of the object"),
    "NoSuchBucket": (ObjectNotFoundError, False, "the bucket does not exist"),
    "NoSuchUpload": (StoreError, False, _LOST),
    "AccessDenied": (
        AccessDeniedError,
        False,
        "access denied: these credentials lack the right to do this; see the bucket's policy and the user's",
    ),
    "AllAccessDisabled": (AccessDeniedError, False, "all access to this bucket is disabled"),
    "AccountProblem": (AccessDeniedError, False, ""),
    "InvalidObjectState": (AccessDeniedError, False, "the object is archived; restore it first"),
    "InvalidAccessKeyId": (
        CredentialsError,
        False,
        "the service does not know this access key; check the credentials, and that they belong to this endpoint",
    ),
    "SignatureDoesNotMatch": (
        CredentialsError,
        False,
        "the service computes another signature: the secret key is wrong, or a proxy changes requests",
    ),
    "ExpiredToken": (CredentialsError, False, _NEW_KEYS),
    "ExpiredTokenException": (CredentialsError, False, _NEW_KEYS),
    "TokenRefreshRequired": (CredentialsError, False, _NEW_KEYS),
    "InvalidToken": (
        CredentialsError,
        False,
        "the session token is not one of this service, or does not belong to the access key",
    ),
    "InvalidClientTokenId": (CredentialsError, False, "the service does not know this access key"),
    "UnrecognizedClientException": (CredentialsError, False, "the service does not know this access key"),
    "CredentialsNotSupported": (CredentialsError, False, ""),
    "InvalidSecurity": (CredentialsError, False, "the service does not accept these credentials"),
    "NotSignedUp": (CredentialsError, False, "the account is not signed up for this service"),
    "MissingSecurityHeader": (CredentialsError, False, ""),
    "AuthorizationHeaderMalformed": (CredentialsError, False, _REGION),
    "RequestTimeTooSkewed": (CredentialsError, False, _CLOCK),
    "RequestExpired": (CredentialsError, False, _CLOCK),
    "PermanentRedirect": (StoreError, False, "the bucket is in another region, or at another endpoint"),
    "TemporaryRedirect": (StoreError, True, "the service moves the bucket; repeat the call later"),
    "IllegalLocationConstraintException": (StoreError, False, _REGION),
    "SlowDown": (ThrottledError, True, _SLOW),
    "Throttling": (ThrottledError, True, _SLOW),
    "ThrottlingException": (ThrottledError, True, _SLOW),
    "RequestLimitExceeded": (ThrottledError, True, _SLOW),
    "RequestThrottled": (ThrottledError, True, _SLOW),
    "TooManyRequests": (ThrottledError, True, _SLOW),
    "BandwidthLimitExceeded": (ThrottledError, True, _SLOW),
    "ServiceUnavailable": (ThrottledError, True, "the service is unavailable at the moment"),
    "Busy": (ThrottledError, True, _SLOW),
    "InternalError": (StoreError, True, "the service failed inside; repeat the call"),
    "OperationAborted": (StoreError, True, "another operation on the same resource is under way; repeat the call"),
    "ConditionalRequestConflict": (StoreError, True, "another write of this key is under way; repeat the call"),
    "RequestTimeout": (StoreTimeoutError, True, "the service waited for the request's body in vain"),
    "IncompleteBody": (StoreConnectionError, True, "fewer bytes arrived than were announced"),
    "PreconditionFailed": (PreconditionFailedError, False, "the object is another one than the condition names"),
    "BucketAlreadyOwnedByYou": (AlreadyExistsError, False, "the bucket exists already and is yours"),
    "BucketAlreadyExists": (AlreadyExistsError, False, _TAKEN),
    "BucketNotEmpty": (StoreError, False, "the bucket is not empty; remove its objects and unfinished uploads first"),
    "InvalidBucketName": (StoreError, False, "the service accepts no bucket of this name"),
    "TooManyBuckets": (StoreError, False, "the account has as many buckets as it may have"),
    "EntityTooLarge": (
        StoreError,
        False,
        "the object is too large for one request (5 GiB on AWS); stream it through a writer",
    ),
    "EntityTooSmall": (StoreError, False, "a part is smaller than the service takes (5 MiB on AWS); raise part_size"),
    "MaxMessageLengthExceeded": (StoreError, False, "the request is too large"),
    "KeyTooLongError": (StoreError, False, "the key is longer than the service takes"),
    "MetadataTooLarge": (StoreError, False, "the metadata is larger than the service takes (2 KiB on AWS)"),
    "InvalidPart": (StoreError, False, "the service lost a part of the upload, or it changed"),
    "InvalidPartOrder": (StoreError, False, "the parts of the upload are out of order"),
    "InvalidRange": (StoreError, False, "the range does not lie within the object"),
    "BadDigest": (ChecksumMismatchError, True, _DAMAGED),
    "InvalidDigest": (ChecksumMismatchError, False, "the service can't read the checksum"),
    "XAmzContentChecksumMismatch": (ChecksumMismatchError, True, _DAMAGED),
    "XAmzContentSHA256Mismatch": (ChecksumMismatchError, True, _DAMAGED),
    "QuotaExceeded": (StorageFullError, False, _FULL),
    "StorageFull": (StorageFullError, False, _FULL),
    "XMinioStorageFull": (StorageFullError, False, _FULL),
    "InsufficientCapacity": (StorageFullError, False, _FULL),
    "NotImplemented": (UnsupportedOperationError, False, ""),
    "MethodNotAllowed": (UnsupportedOperationError, False, "the service does not allow this operation here"),
}

#: What a status means when no code comes with it, as in the answer to a HEAD.
_BY_STATUS: dict[int, _Rule] = {
    301: _RULES["PermanentRedirect"],
    307: _RULES["TemporaryRedirect"],
    400: (StoreError, False, "the service refuses the request without a reason; penstock health finds it"),
    403: (
        AccessDeniedError,
        False,
        "access denied without a reason: a wrong key, no right to it, or a wrong clock; penstock health tells",
    ),
    404: (ObjectNotFoundError, False, "no such object, or no such bucket"),
    412: _RULES["PreconditionFailed"],
    416: _RULES["InvalidRange"],
}


def failure(answer: Answer, *, uri: str, operation: str, condition: Condition | None = None) -> StoreError:
    """The error that an answer stands for; reads its body to the end."""
    try:
        body = answer.read()
    except StoreError:
        body = b""
    return refused(read_refusal(body), answer, uri=uri, operation=operation, condition=condition)


def refused(
    refusal: Refusal | None, answer: Answer, *, uri: str, operation: str, condition: Condition | None = None
) -> StoreError:
    """The same for an answer whose body was read; also for an error within a success."""
    status = answer.status
    code = refusal.code if refusal else ""
    message = refusal.message if refusal else ""
    region = answer.header("x-amz-bucket-region") or (refusal.region if refusal else None)
    kind, retryable, text = _rule(code, status, message, region)
    kind, text = _conditional(kind, text, code or str(status), condition)
    return kind(
        text,
        uri=uri,
        operation=operation,
        status=status,
        code=code or None,
        request_id=answer.header("x-amz-request-id") or (refusal.request_id if refusal else None),
        retryable=retryable,
        retry_after=answer.retry_after,
    )


def named(refusal: Refusal, *, uri: str, operation: str) -> StoreError:
    """The error of one key among many, which has no status of its own."""
    kind, retryable, text = _rule(refusal.code, 0, refusal.message, None)
    return kind(text, uri=uri, operation=operation, code=refusal.code or None, retryable=retryable)


@contextmanager
def translating(uri: str, operation: str) -> Iterator[None]:
    """Raise what botocore raises as ours, chained from it."""
    from botocore import exceptions as boto

    try:
        yield
    except boto.ClientError as error:
        raise _from_client_error(error, uri, operation) from error
    except (boto.BotoCoreError, boto.HTTPClientError) as error:
        kind, retryable, text = _of_botocore(error)
        raise kind(text, uri=uri, operation=operation, retryable=retryable) from error
    except StoreError as error:
        error.uri = error.uri or uri
        error.operation = error.operation or operation
        raise


def _rule(code: str, status: int, message: str, region: str | None) -> _Rule:
    known = _RULES.get(code) if code else _BY_STATUS.get(status)
    kind, retryable, text = known or (*status_class(status), "")
    if known is None and kind is AlreadyExistsError:
        # S3 answers 409 to conflicts of many kinds, and has codes of its own for what exists.
        kind = StoreError
    text = text or _quoted(message) or f"the service answered {status}" + (f" {code}" if code else "")
    if text is _REGION and region:
        text = _REGION.replace("REGION", region)
    elif code == "PermanentRedirect" and region:
        text = f"{text}: write region={region}"
    elif kind is AccessDeniedError and code == "AccessDenied" and message and len(message) > len("Access Denied."):
        text = f"{text} ({_quoted(message)})"
    return kind, retryable, text


def _conditional(
    kind: type[StoreError], text: str, reason: str, condition: Condition | None
) -> tuple[type[StoreError], str]:
    if condition == "create" and reason in ("PreconditionFailed", "ConditionalRequestConflict", "412"):
        return AlreadyExistsError, "the key is taken" if reason != "ConditionalRequestConflict" else text
    if condition == "replace" and reason in ("ConditionalRequestConflict", "NoSuchKey"):
        return PreconditionFailedError, "there is no object" if reason == "NoSuchKey" else text
    return kind, text


def _quoted(message: str) -> str:
    """What a service says, as one line of bounded length."""
    return " ".join(message.split())[:300]


def _from_client_error(error: ClientError, uri: str, operation: str) -> StoreError:
    response: dict[str, Any] = dict(error.response)
    said, meta = response.get("Error", {}), response.get("ResponseMetadata", {})
    status = meta.get("HTTPStatusCode")
    # Where an answer has no body botocore puts the status in the code's place.
    code = "" if str(said.get("Code", "")).isdecimal() else str(said.get("Code", ""))
    headers = meta.get("HTTPHeaders", {})
    region = headers.get("x-amz-bucket-region") or said.get("Region")
    kind, retryable, text = _rule(code, status or 0, str(said.get("Message", "")), region)
    return kind(
        text,
        uri=uri,
        operation=operation,
        status=status,
        code=code or None,
        request_id=meta.get("RequestId"),
        retryable=retryable,
    )


def _of_botocore(error: Exception) -> _Rule:
    """Class, retryability and text of an error that is no answer."""
    from botocore import exceptions as boto

    if isinstance(error, boto.ReadTimeoutError | boto.ConnectTimeoutError):
        return StoreTimeoutError, True, "no answer in time"
    if isinstance(error, boto.SSLError):
        text = "the server's certificate is not trusted; ca_bundle=FILE names the authorities to trust"
        return StoreConnectionError, False, f"{text} ({_reason(error)})"
    if isinstance(error, boto.EndpointConnectionError | boto.ConnectionError | boto.HTTPClientError):
        return StoreConnectionError, True, f"the service can't be reached ({_reason(error)})"
    if isinstance(error, boto.NoCredentialsError):
        text = "no credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile; anonymous=true "
        return CredentialsError, False, text + "for public buckets"
    if type(error).__name__ in _CREDENTIALS.split():
        return CredentialsError, False, f"no usable credentials ({_reason(error)})"
    if isinstance(error, boto.NoRegionError):
        return StoreError, False, "no region is known; write region=REGION or set AWS_REGION"
    return StoreError, False, _reason(error)


#: botocore's errors of credential providers, which share no base class.
_CREDENTIALS = (
    "PartialCredentialsError CredentialRetrievalError RefreshWithMFAUnsupportedError MetadataRetrievalError "
    "InfiniteLoopConfigError InvalidConfigError UnknownCredentialError ConfigNotFound ProfileNotFound "
    "TokenRetrievalError SSOError SSOTokenLoadError UnauthorizedSSOTokenError PendingAuthorizationExpiredError "
    "LoginError LoginRefreshRequired LoginInsufficientPermissions LoginTokenLoadError LoginAuthorizationCodeError"
)


def _reason(error: Exception) -> str:
    """What botocore says, from the innermost cause that urllib3 wraps."""
    cause = getattr(error, "kwargs", {}).get("error")
    reason = getattr(cause, "reason", None) or cause
    text = str(reason or error)
    return _quoted(text.rpartition(": ")[2] if reason and ": [" in text else text)
