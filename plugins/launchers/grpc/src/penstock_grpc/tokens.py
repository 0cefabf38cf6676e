"""The secret that an agent and its controllers share: where it comes from, and how it is compared.

It is read from the environment or a file, never from a command line or a workload, where others could see it, and
travels as ``authorization: Bearer …``.
"""

from __future__ import annotations

import hmac
import os
import stat
from collections.abc import Iterable, MutableMapping

from penstock.errors import UsageError

__all__ = ["HEADER", "VARIABLE", "Token", "read_token"]

VARIABLE = "PENSTOCK_AGENT_TOKEN"
HEADER = "authorization"
#: Shortest that is no invitation to try them all.
_SHORTEST = 16
_REMEDY = "make one by: openssl rand -hex 32"


class Token:
    """A token that does not show itself."""

    __slots__ = ("_secret",)

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def __repr__(self) -> str:
        return "Token(…)"

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What a controller sends with each call."""
        return ((HEADER, f"Bearer {self._secret}"),)

    def fits(self, metadata: Iterable[tuple[str, str | bytes]]) -> bool:
        """Whether the metadata of a call carry this token, compared in constant time."""
        expected = f"Bearer {self._secret}".encode()
        given = b""
        for name, value in metadata:
            if name == HEADER:
                given = value.encode() if isinstance(value, str) else value
        return hmac.compare_digest(expected, given)


def read_token(path: str | None, environ: MutableMapping[str, str], *, take: bool = False) -> Token | None:
    """The token of a file, else of the environment variable, else None.

    ``take`` removes the variable, so that no child inherits it. Raises UsageError for a file that can't be read, and
    for a token that is no token.
    """
    inherited = environ.pop(VARIABLE, None) if take else environ.get(VARIABLE)
    if path is None:
        return None if not inherited else _checked(inherited.strip(), VARIABLE)
    try:
        with open(path, encoding="utf-8") as file:
            others = stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o007
            text = file.read(65536).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UsageError(f"token_file {path}: {reason}; {_REMEDY} > {path}") from None
    if others:
        raise UsageError(f"token_file {path}: everybody on this host may read it; do: chmod o= {path}")
    return _checked(text, f"token_file {path}")


def _checked(secret: str, source: str) -> Token:
    if len(secret) < _SHORTEST:
        raise UsageError(f"{source}: a token of {len(secret)} characters; take {_SHORTEST} or more: {_REMEDY}")
    if not all(33 <= ord(letter) <= 126 for letter in secret):
        raise UsageError(f"{source}: a token is one word of visible ASCII; {_REMEDY}")
    return Token(secret)
