"""Which keys are legal.

Keys are opaque text. Object stores take any that UTF-8 can write in at most 1024 bytes; stores with real
directories also need each segment to be a file name.
"""

from __future__ import annotations

from penstock.errors import InvalidKeyError

__all__ = ["MAX_KEY_BYTES", "MAX_SEGMENT_BYTES", "check_key", "check_path_key", "is_plain_path", "sort_key"]

MAX_KEY_BYTES = 1024
MAX_SEGMENT_BYTES = 255


def check_key(key: str) -> str:
    """Return ``key`` when every store could hold it, else raise InvalidKeyError."""
    if not key:
        raise InvalidKeyError("the key is empty; name an object, such as dir/name.bin")
    if "\0" in key:
        raise InvalidKeyError(f"{key!r}: a key holds no NUL character")
    if len(key) * 4 > MAX_KEY_BYTES or not key.isascii():
        _check_encoded(key)
    return key


def check_path_key(key: str) -> str:
    """Return ``key`` when a file system can hold it too: no empty, ``.`` or ``..`` segment, none too long.

    One trailing slash is legal and names a directory.
    """
    check_key(key)
    for segment in key.removesuffix("/").split("/"):
        if segment in ("", ".", ".."):
            raise InvalidKeyError(
                f"{key!r}: a key here is a relative path; the segment {segment!r} can't be a file's name"
            )
        if len(segment) * 4 > MAX_SEGMENT_BYTES and len(segment.encode()) > MAX_SEGMENT_BYTES:
            raise InvalidKeyError(f"{key!r}: a segment is longer than {MAX_SEGMENT_BYTES} bytes")
    return key


def is_plain_path(key: str) -> bool:
    """Whether ``key`` is at a glance one that :func:`check_path_key` takes, of a file and not hidden: short ASCII.

    False says nothing. It costs a tenth of a check.
    """
    return (
        0 < len(key) <= MAX_SEGMENT_BYTES
        and key.isascii()
        and "\0" not in key
        and "//" not in key
        and "/." not in key
        and key[0] not in "./"
        and key[-1] != "/"
    )


def sort_key(key: str) -> bytes:
    """What to sort keys by to get the order of ordered listings: the bytes of their UTF-8."""
    return key.encode()


def _check_encoded(key: str) -> None:
    try:
        nbytes = len(key.encode())
    except UnicodeEncodeError as error:
        raise InvalidKeyError(f"{key!r}: a key is text that UTF-8 can write (surrogate at {error.start})") from None
    if nbytes > MAX_KEY_BYTES:
        raise InvalidKeyError(f"a key of {nbytes} bytes ({key[:40]!r}…); the limit is {MAX_KEY_BYTES}")
