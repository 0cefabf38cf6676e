"""AES-128 in counter mode: from the package ``cryptography``, or from the OpenSSL library that Python itself uses.

Both give the same bytes, write into the caller's buffer and leave Python's lock alone while they work. Core does
not require the package: most Pythons have loaded the library anyway for ``hashlib``, and it is called through
``ctypes`` then. Where neither is to be had the caller is told what to install.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any, Protocol

from penstock.errors import UsageError

__all__ = ["KeyStream", "open_key_stream"]

_ZEROS = bytes(1024 * 1024)
_NEEDS = (
    "fill: random needs AES, and this Python has none to call: install the package cryptography "
    "(pip install 'penstock[random]'), or write fill: pooled"
)


class KeyStream(Protocol):
    """A key stream that one thread uses."""

    def fill(self, buffer: memoryview, counter: bytes, skip: int) -> None:
        """Overwrite ``buffer`` from the 16-byte ``counter`` on, ``skip`` (0 to 15) bytes into its first block."""


def open_key_stream(key: bytes) -> KeyStream:
    """The fastest there is. Raises UsageError when there is none."""
    return _maker()(key)


@functools.cache
def _maker() -> Callable[[bytes], KeyStream]:
    try:
        _Cryptography(bytes(16))
    except ImportError:
        library = _library()
        if library is None:
            raise UsageError(_NEEDS) from None
        return functools.partial(_OpenSSL, library)
    return _Cryptography


class _Cryptography:
    def __init__(self, key: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        self._context: Any = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()

    def fill(self, buffer: memoryview, counter: bytes, skip: int) -> None:
        context = self._context
        context.reset_nonce(counter)
        if skip:
            context.update(_ZEROS[:skip])
        for begin in range(0, buffer.nbytes, len(_ZEROS)):
            room = buffer[begin : begin + len(_ZEROS)]
            # Slicing all of a bytes object makes no copy.
            context.update_into(_ZEROS[: room.nbytes] if room.nbytes < len(_ZEROS) else _ZEROS, room)


class _OpenSSL:
    """The EVP interface, whose functions are the same in every OpenSSL since 1.1."""

    def __init__(self, library: ctypes.CDLL, key: bytes) -> None:
        self._library = library
        self._key = key
        self._context = ctypes.c_void_p(library.EVP_CIPHER_CTX_new())
        cipher = ctypes.c_void_p(library.EVP_aes_128_ctr())
        self._check(library.EVP_EncryptInit_ex(self._context, cipher, None, key, bytes(16)))

    def __del__(self) -> None:
        context = getattr(self, "_context", None)
        if context:
            self._library.EVP_CIPHER_CTX_free(context)

    def fill(self, buffer: memoryview, counter: bytes, skip: int) -> None:
        library, context, made = self._library, self._context, ctypes.c_int()
        self._check(library.EVP_EncryptInit_ex(context, None, None, None, counter))
        if skip:
            head = ctypes.create_string_buffer(16)
            self._check(library.EVP_EncryptUpdate(context, head, ctypes.byref(made), _ZEROS, skip))
        address = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
        for begin in range(0, buffer.nbytes, len(_ZEROS)):
            nbytes = min(len(_ZEROS), buffer.nbytes - begin)
            room = ctypes.c_void_p(address + begin)
            self._check(library.EVP_EncryptUpdate(context, room, ctypes.byref(made), _ZEROS, nbytes))

    @staticmethod
    def _check(done: int) -> None:
        if done != 1:
            raise RuntimeError("OpenSSL refused to encrypt")


def _library() -> ctypes.CDLL | None:
    """The library that Python's own hashes come from, if they come from a shared one."""
    try:
        import _hashlib  # noqa: F401 - loads it

        with open("/proc/self/maps") as maps:
            paths = {line.split()[-1] for line in maps if "/libcrypto" in line}
        library = ctypes.CDLL(min(paths, default=""))
        for name in ("EVP_CIPHER_CTX_new", "EVP_aes_128_ctr"):
            getattr(library, name).restype = ctypes.c_void_p
    except (ImportError, OSError, AttributeError):
        return None
    return library
