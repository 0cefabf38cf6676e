"""Tables and values as the storage commands print them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from penstock.quantities import format_bytes
from penstock.store import ObjectInfo

__all__ = ["count_text", "described", "size_text", "table", "time_text"]


def table(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> list[str]:
    """Lines with aligned columns; ``right`` are the columns that align at the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def size_text(nbytes: int, *, exact: bool = False) -> str:
    """A size for people, or with ``exact`` in bytes."""
    return str(nbytes) if exact else format_bytes(nbytes)


def count_text(objects: int, nbytes: int) -> str:
    """``1 object, 20.0 MiB``."""
    noun = "object" if objects == 1 else "objects"
    return f"{objects:,} {noun}, {format_bytes(nbytes)}"


def time_text(info: ObjectInfo) -> str:
    """The time of the last change in UTC, to the second, or a dash."""
    return f"{info.modified:%Y-%m-%d %H:%M:%S}" if info.modified is not None else "-"


def described(uri: str, info: ObjectInfo) -> dict[str, Any]:
    """An object for JSON; what the store did not say is left out."""
    facts = {
        "uri": uri,
        "size": info.size,
        "modified": info.modified.isoformat() if info.modified is not None else None,
        "etag": info.etag,
        "content_type": info.content_type,
        "metadata": dict(info.metadata) if info.metadata else None,
        "version": info.version,
        "storage_class": info.storage_class,
        "checksum": info.checksum,
    }
    return {name: value for name, value in facts.items() if value is not None}
