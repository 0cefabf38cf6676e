"""Logs that can be given away: names become pseudonyms, and all that matters for performance stays."""

from __future__ import annotations

import base64
import functools
import hashlib
import os
import re
from collections.abc import Iterator
from typing import Final

import attrs

from penstock.errors import OpLogError
from penstock.oplog.columns import parse_time
from penstock.oplog.converting import columns_of, write_rows
from penstock.oplog.formatter import WARMING
from penstock.oplog.reader import read
from penstock.oplog.rows import Row
from penstock.oplog.sorting import Changed

__all__ = ["Pseudonyms", "anonymize_log"]

#: 80 bits: among a billion names two have the same pseudonym with a chance of one in a million.
_DIGEST: Final = 10
_CACHED: Final = 65_536
_LEAST_KEY: Final = 8
_PORT: Final = re.compile(r"(?s)(.*?)(:\d{1,5})?")
_SUFFIX: Final = re.compile(r"(?:\.[A-Za-z][A-Za-z0-9]{0,7}){1,2}\Z")
#: Names in errors beside those of the row itself: URIs, addresses, and what has a slash in it.
_NAMES: Final = re.compile(
    r"(?P<uri>[A-Za-z][A-Za-z0-9+.-]*://)(?P<rest>[^\s'\"<>]*)"
    r"|(?P<path>[^\s'\"<>=(),;]*/[^\s'\"<>(),;]*)"
    r"|(?P<address>\b\d{1,3}(?:\.\d{1,3}){3}\b|\b[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}(?::\d{1,5})?\b)"
)
_MARK: Final = "\x00%d\x00"
_MARKS: Final = re.compile("\x00(\\d+)\x00")


def anonymize_log(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    key: bytes | None = None,
    keep_suffixes: bool = False,
    level: int = 1,
    skip_bad_rows: bool = False,
) -> Changed:
    """Write ``source`` to ``target`` with pseudonyms for clients, endpoints' hosts and all parts of names.

    The same name gets the same pseudonym wherever the same ``key`` is given; without one it is random, and nobody
    can tell later which name a pseudonym stood for. Names in the texts of errors are replaced as far as they can be
    told from other words: read these before giving a log away. Memory doesn't grow with the number of names.
    Times, sizes and order stay. Raises OpLogError.
    """
    names = Pseudonyms(key, keep_suffixes=keep_suffixes)
    with read(source, skip_bad_rows=skip_bad_rows) as reader:
        rows = write_rows(map(names.row, reader), reader, target, columns_of(reader), level=level)
    return Changed(rows, reader.bad_rows, (reader.name,) if reader.truncated else ())


#: Columns that hold the name of another object, which replay reads.
_SOURCES: Final = ("source", "copy_source")


class Pseudonyms:
    """Pseudonyms under a key. Names that begin with the same parts have pseudonyms that do."""

    def __init__(self, key: bytes | None = None, *, keep_suffixes: bool = False) -> None:
        """``keep_suffixes`` keeps what ends a name, such as ``.npz`` or ``.tar.gz``. Raises OpLogError."""
        if key is not None and len(key) < _LEAST_KEY:
            raise OpLogError(f"a key of {len(key)} bytes can be guessed; give {_LEAST_KEY} or more")
        # BLAKE2 takes 64 bytes as its key; a longer one is hashed first, as HMAC does.
        self._key = hashlib.blake2b(key).digest() if key is not None else os.urandom(64)
        self._keep = keep_suffixes
        self._hash = functools.lru_cache(_CACHED)(self._digest)

    def row(self, row: Row) -> Row:
        """The row with pseudonyms."""
        return attrs.evolve(
            row,
            client_id=self.client(row.client_id),
            endpoint=self.endpoint(row.endpoint),
            file=self.path(row.file),
            error=self._error(row) if row.error else "",
            extra=tuple((name, self._other(name, text)) for name, text in row.extra),
        )

    def client(self, name: str) -> str:
        """The pseudonym of a client's identity. That a row is of the warm-up stays."""
        measured = name.removesuffix(f"/{WARMING}")
        if measured in ("", WARMING):
            return name
        return self._hash("client", measured) + name[len(measured) :]

    def endpoint(self, name: str) -> str:
        """Scheme and port stay."""
        scheme, mark, rest = name.rpartition("://")
        return f"{scheme}{mark}{self.path(rest)}"

    def path(self, name: str) -> str:
        """As many parts as before, each replaced by a pseudonym for the name up to its end."""
        if "/" not in name:
            return self._part("", name, is_first=True, is_last=True)
        parts = name.split("/")
        above = ""
        found = []
        for place, part in enumerate(parts):
            last = place == len(parts) - 1
            found.append(self._part(above, part, is_first=place == 0, is_last=last))
            above = f"{above}{part}/"
        return "/".join(found)

    def _part(self, above: str, part: str, *, is_first: bool, is_last: bool) -> str:
        if part in ("", ".", ".."):
            return part
        kept = ""
        if is_first and (match := _PORT.fullmatch(part)) and match[1]:
            part, kept = match[1], match[2] or ""
        if is_last and self._keep and (found := _SUFFIX.search(part)) and found.start():
            kept = found[0] + kept
        return self._hash("path", above + part) + kept

    def _other(self, name: str, text: str) -> str:
        """A column that only the log's author knows: numbers and times stay, sources of copies are names."""
        if not text or text.isdecimal() or _is_time(text):
            return text
        return self.path(text) if name in _SOURCES else self._hash("other", text)

    def _error(self, row: Row) -> str:
        """Names are marked first and filled in last, so that no pseudonym is taken for a name."""
        found: list[str] = []

        def mark(pseudonym: str) -> str:
            found.append(pseudonym)
            return _MARK % (len(found) - 1)

        kind, colon, text = row.error.replace("\x00", " ").partition(":")
        if not colon:
            kind, text = "", kind
        for name, pseudonym in self._names_of(row):
            if name in text:
                whole = rf"(?<![A-Za-z0-9_]){re.escape(name)}(?![A-Za-z0-9_])"
                text = re.sub(whole, lambda _, to=pseudonym: mark(to), text)  # type: ignore[misc]
        text = _NAMES.sub(lambda match: mark(self._name_in_error(match)), text)
        while _MARKS.search(text):
            text = _MARKS.sub(lambda match: found[int(match[1])], text)
        return f"{kind}{colon}{text}"

    def _name_in_error(self, match: re.Match[str]) -> str:
        if "\x00" in match[0]:
            return match[0]
        if match["uri"]:
            return match["uri"] + self.path(match["rest"])
        return self.path(match[0])

    def _names_of(self, row: Row) -> Iterator[tuple[str, str]]:
        """The row's names and parts of names, the longest first."""
        pairs = {row.endpoint: self.endpoint(row.endpoint), row.client_id: self.client(row.client_id)}
        file = self.path(row.file)
        pairs[row.file] = file
        parts, made = row.file.split("/"), file.split("/")
        for place, (part, pseudonym) in enumerate(zip(parts, made, strict=True)):
            pairs.setdefault(part, pseudonym)
            pairs.setdefault("/".join(parts[place:]), "/".join(made[place:]))
            pairs.setdefault("/".join(parts[:place]), "/".join(made[:place]))
        # A scheme alone, such as in an endpoint without a host, gives nothing away.
        names = [name for name in pairs if name.strip("./") and not name.endswith("://")]
        for name in sorted(names, key=len, reverse=True):
            yield name, pairs[name]

    def _digest(self, kind: str, name: str) -> str:
        hashed = hashlib.blake2b(
            name.encode(errors="surrogatepass"), key=self._key, person=kind.encode(), digest_size=_DIGEST
        )
        return base64.b32encode(hashed.digest()).decode().lower()


def _is_time(text: str) -> bool:
    try:
        parse_time(text)
    except ValueError:
        return False
    return True
