"""The files of a host's worker: what it was sent, and what it keeps to be fetched. Names are plain, never paths."""

from __future__ import annotations

import base64
import binascii
import os
import re
import shutil
from collections.abc import Iterable
from typing import Any, Final

from penstock.errors import RunError, UsageError
from penstock.launchers import Body
from penstock.launching.hosting import RECORD

__all__ = ["MAX_PIECE", "HostFiles"]

#: The most bytes that travel in one message: a frame must not hold up others for long.
MAX_PIECE: Final = 4 << 20
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", re.ASCII)


class HostFiles:
    """The directory of one host's worker. Nobody but its user may look into it."""

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self._received: dict[str, int] = {}

    def path(self, name: str) -> str:
        """Where the file of that name is, or will be. Raises UsageError for what is no plain name."""
        if not _NAME.fullmatch(name) or name.startswith(RECORD):
            raise UsageError(f"{name!r} is no name of a file in a host's directory")
        return os.path.join(self.directory, name)

    def receive(self, body: Body) -> Body:
        """The next piece of a file, in base64, at its ``offset``; with ``end`` it is whole.

        Raises RunError for a piece that does not follow the one before, or if the host has no room for it.
        """
        name, offset = str(body["name"]), int(body["offset"])
        path = self.path(name)
        try:
            data = base64.b64decode(str(body["data"]), validate=True)
        except binascii.Error as error:
            raise UsageError(f"{name}: a piece that is not base64") from error
        expected = self._received.get(name, 0) if offset else 0
        if offset != expected:
            raise RunError(
                f"{name}: a piece at {offset}, but {expected} bytes were received; send it from the beginning"
            )
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | (0 if offset else os.O_TRUNC)
        try:
            with open(os.open(path, flags, 0o600), "r+b" if offset else "wb") as file:
                file.seek(offset)
                file.write(data)
        except OSError as error:
            raise RunError(f"{name} could not be kept in {self.directory}: {error.strerror}") from error
        self._received[name] = offset + len(data)
        return {"path": path} if body.get("end") else {}

    def files(self) -> list[dict[str, Any]]:
        """What it keeps that was not sent to it and is not empty, by name."""
        found = []
        for name in self._names():
            path = os.path.join(self.directory, name)
            nbytes = os.path.getsize(path)
            if nbytes and name not in self._received:
                found.append({"name": name, "bytes": nbytes, "path": path})
        return found

    def fetch(self, body: Body) -> Body:
        """A piece of a file: of ``length`` bytes from ``offset`` on, fewer at its end.

        At most MAX_PIECE come at once. Raises RunError where it can't be read.
        """
        path, length = self.path(str(body["name"])), min(int(body["length"]), MAX_PIECE)
        if length <= 0 or int(body["offset"]) < 0:
            raise UsageError(f"{body['name']}: a piece of {length} bytes at {body['offset']}")
        try:
            with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
                file.seek(int(body["offset"]))
                data = file.read(length)
                end = file.tell() >= os.fstat(file.fileno()).st_size
        except OSError as error:
            raise RunError(f"{body['name']} can't be read in {self.directory}: {error.strerror}") from error
        return {"data": base64.b64encode(data).decode("ascii"), "end": end}

    def release(self, keep: Iterable[str]) -> None:
        """All was fetched: everything goes but ``keep``, with the record of it; with nothing to keep the directory."""
        kept = {os.path.basename(self.path(str(name))) for name in keep}
        if not kept:
            shutil.rmtree(self.directory, ignore_errors=True)
            return
        for name in self._names():
            if name not in kept:
                os.unlink(os.path.join(self.directory, name))

    def _names(self) -> list[str]:
        with os.scandir(self.directory) as entries:
            names = [entry.name for entry in entries if entry.is_file(follow_symlinks=False)]
        return sorted(name for name in names if _NAME.fullmatch(name) and not name.startswith(RECORD))
