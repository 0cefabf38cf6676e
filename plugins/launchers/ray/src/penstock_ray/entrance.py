"""What Ray reads of this process's environment before it is imported: the token above all."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile

from penstock.errors import RunError
from penstock_ray.plugin import RayOptions

__all__ = ["HOW_TO_GET_IN", "Entrance"]

HOW_TO_GET_IN = (
    "give the cluster's token by the option token_file, by RAY_AUTH_TOKEN_PATH, RAY_AUTH_TOKEN or ~/.ray/auth_token "
    "(ray get-auth-token prints it on a node that has it)"
)

#: Unless the user says otherwise: no report to Ray's makers.
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0"}
#: How often it is tried, each for a second, to get into a cluster that listens.
_TRIES = {"RAY_gcs_server_port_wait_time_s": "3"}


class Entrance:
    """The environment for one connection; as it was before once that is over."""

    def __init__(self, options: RayOptions) -> None:
        self._options = options
        self._before: dict[str, str | None] = {}
        self._directory: str | None = None

    def open(self) -> None:
        """Set what is needed. Raises RunError where there is no token."""
        local = self._options.address == "local"
        for name, value in (_QUIET if local else _QUIET | _TRIES).items():
            if name not in os.environ:
                self._set(name, value)
        # Ray sets it itself, for breakpoints in its actors.
        self._set("PYTHONBREAKPOINT", os.environ.get("PYTHONBREAKPOINT"))
        if not self._options.insecure:
            self._set("RAY_AUTH_MODE", "token")
            self._find_token()

    def close(self) -> None:
        """Harmless twice."""
        while self._before:
            _put(*self._before.popitem())
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def _find_token(self) -> None:
        options = self._options
        if options.token_file:
            self._set("RAY_AUTH_TOKEN", None)
            self._set("RAY_AUTH_TOKEN_PATH", _readable(options.token_file))
        elif not _token_is_there():
            if options.address != "local":
                raise RunError(f"there is no token for the Ray cluster at {options.address}; {HOW_TO_GET_IN}")
            self._set("RAY_AUTH_TOKEN_PATH", self._make_token())

    def _make_token(self) -> str:
        """The path of a new one, for a cluster of our own."""
        self._directory = tempfile.mkdtemp(prefix="penstock-ray-")
        path = os.path.join(self._directory, "token")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
        return path

    def _set(self, name: str, value: str | None) -> None:
        self._before.setdefault(name, os.environ.get(name))
        _put(name, value)


def _put(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def _readable(path: str) -> str:
    whole = os.path.abspath(os.path.expanduser(path))
    try:
        with open(whole, encoding="ascii") as file:
            empty = not file.read().strip()
    except (OSError, ValueError) as error:
        raise RunError(f"token_file {path} can't be read: {error}") from error
    if empty:
        raise RunError(f"token_file {path} is empty; {HOW_TO_GET_IN}")
    return whole


def _token_is_there() -> bool:
    if os.environ.get("RAY_AUTH_TOKEN"):
        return True
    path = os.environ.get("RAY_AUTH_TOKEN_PATH")
    if path:
        _readable(path)
        return True
    return os.path.exists(os.path.expanduser("~/.ray/auth_token"))
