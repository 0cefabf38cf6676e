"""Checkpoints that another library writes to a local directory, such as Orbax, in any storage.

Orbax writes arrays through TensorStore, which has drivers of its own for storage and takes no others. So it writes to
a local directory, and that goes to the storage as a whole: first its files, then an index that makes them complete.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import penstock
from penstock.errors import AlreadyExistsError, ChecksumMismatchError, FormatError, ObjectNotFoundError, UsageError
from penstock.samples.spans import together
from penstock_training.checkpoint.sums import crc32c, hex_of

__all__ = ["INDEX_NAME", "download_directory", "upload_directory"]

#: The name of the index, beside the directory's own files.
INDEX_NAME = "penstock-directory.json"
_VERSION = 1
_CHUNK = 8 * 1024 * 1024
_AT_ONCE = 16


def upload_directory(path: str, uri: str, *, options: Mapping[str, Any] | None = None) -> int:
    """Copy a directory with all its files below ``uri``, and make it complete by an index that is written last.

    Returns the number of bytes. What is below ``uri`` already and complete is not replaced: AlreadyExistsError. What
    an upload that broke off left there is written over. Empty directories are kept in the index.
    """
    base = uri.rstrip("/")
    if not os.path.isdir(path):
        raise UsageError(f"{path} is no directory")
    if penstock.exists(f"{base}/{INDEX_NAME}", options=options):
        raise AlreadyExistsError("a directory was uploaded here before", uri=base, operation="upload_directory")
    names = sorted(_files(path))
    if INDEX_NAME in names:
        raise UsageError(f"{path} holds a file named {INDEX_NAME}, which is the index's own name")
    entries: dict[str, dict[str, Any]] = {}

    def send(number: int) -> None:
        name = names[number]
        entries[name] = _send(os.path.join(path, name), f"{base}/{name}", options)

    together(send, len(names), _AT_ONCE)
    empty = sorted(os.path.relpath(at, path) for at, dirs, files in os.walk(path) if not dirs and not files)
    index = {"version": _VERSION, "files": {name: entries[name] for name in names}, "empty_directories": empty}
    penstock.put(f"{base}/{INDEX_NAME}", json.dumps(index, indent=1).encode(), options=options)
    return sum(entry["size"] for entry in entries.values())


def download_directory(uri: str, path: str, *, options: Mapping[str, Any] | None = None) -> int:
    """Copy an uploaded directory to ``path``, which appears when all of it has arrived and its checksums are right.

    Returns the number of bytes. Raises ObjectNotFoundError where nothing complete is there, AlreadyExistsError where
    ``path`` is taken, ChecksumMismatchError.
    """
    base = uri.rstrip("/")
    if os.path.lexists(path):
        raise AlreadyExistsError("the path is taken", uri=path, operation="download_directory")
    index = _read_index(base, options)
    hidden = f"{os.path.abspath(path)}.{uuid.uuid4().hex}.part"
    try:
        for name in ("", *index["empty_directories"], *(os.path.dirname(each) for each in index["files"])):
            os.makedirs(os.path.join(hidden, _safe(name, base)), exist_ok=True)
        files = list(index["files"].items())

        def fetch(number: int) -> None:
            name, entry = files[number]
            _fetch(f"{base}/{name}", os.path.join(hidden, _safe(name, base)), entry, options)

        together(fetch, len(files), _AT_ONCE)
        os.rename(hidden, path)
    except BaseException:
        shutil.rmtree(hidden, ignore_errors=True)
        raise
    return sum(int(entry["size"]) for entry in index["files"].values())


def _files(path: str) -> Iterator[str]:
    for at, _, files in os.walk(path):
        for name in files:
            yield os.path.relpath(os.path.join(at, name), path)


def _send(path: str, uri: str, options: Mapping[str, Any] | None) -> dict[str, Any]:
    size = checksum = 0
    with open(path, "rb") as file, penstock.open_writer(uri, options=options) as writer:
        while chunk := file.read(_CHUNK):
            size += len(chunk)
            checksum = crc32c(chunk, checksum)
            writer.write(chunk)
    return {"size": size, "crc32c": hex_of(checksum)}


def _fetch(uri: str, path: str, entry: Mapping[str, Any], options: Mapping[str, Any] | None) -> None:
    size = checksum = 0
    with open(path, "xb") as file, penstock.open_read(uri, chunk_size=_CHUNK, options=options) as chunks:
        for chunk in chunks:
            size += len(chunk)
            checksum = crc32c(chunk, checksum)
            file.write(chunk)
    if (size, hex_of(checksum)) != (entry["size"], entry["crc32c"]):
        raise ChecksumMismatchError(
            f"{size} bytes with the CRC-32C {hex_of(checksum)}, and {entry['size']} with {entry['crc32c']} were stored",
            uri=uri,
            operation="download_directory",
        )


def _read_index(base: str, options: Mapping[str, Any] | None) -> dict[str, Any]:
    uri = f"{base}/{INDEX_NAME}"
    try:
        index: dict[str, Any] = json.loads(bytes(penstock.get(uri, options=options)))
    except ObjectNotFoundError as error:
        raise ObjectNotFoundError(
            "there is no complete upload here", uri=base, operation="download_directory"
        ) from error
    except ValueError as error:
        raise FormatError(f"{uri} is no index: {error}") from error
    if index.get("version") != _VERSION:
        raise FormatError(f"{uri} has version {index.get('version')!r}; update penstock-jax")
    return index


def _safe(name: str, base: str) -> str:
    if os.path.isabs(name) or ".." in name.split("/"):
        raise FormatError(f"the index of {base} names {name!r}, which lies outside the directory")
    return name
