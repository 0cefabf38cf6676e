"""A whole Ceph cluster with its S3 gateway in one directory: a monitor, an OSD in memory, and the gateway.

Needs Debian's packages ceph-mon, ceph-osd and radosgw.
"""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from penstock.testing.servers import accepts, free_port, serving

__all__ = ["cluster"]

_CONFIG = """\
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon},v1:127.0.0.1:{mon1}]
run dir = {dir}
log file = {dir}/$name.log
admin socket = {dir}/$name.asok
pid file =
keyring = {dir}/keyring
mon data = {dir}/mon
osd data = {dir}/osd
public addr = 127.0.0.1
cluster addr = 127.0.0.1
osd objectstore = memstore
memstore device bytes = 4294967296
osd pool default size = 1
osd pool default min size = 1
mon allow pool size one = true
osd pool default pg num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon warn on pool no redundancy = false
mon osd full ratio = .99
mon osd nearfull ratio = .98
auth allow insecure global id reclaim = false
osd max object name len = 2048
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw dns name = localhost
rgw data = {dir}/rgw
rgw thread pool size = 64
rgw enable usage log = false
"""


@contextmanager
def cluster(directory: Path, program: Callable[[str], str], access_key: str, secret_key: str) -> Iterator[int]:
    """Run it and give the gateway's port, where the user of these keys is known. ``program`` finds a program."""
    port, mon = free_port(), free_port()
    fsid = str(uuid.uuid4())
    for name in ("mon", "osd", "rgw"):
        (directory / name).mkdir()
    config = directory / "ceph.conf"
    config.write_text(_CONFIG.format(fsid=fsid, mon=mon, mon1=free_port(), dir=directory, port=port))

    def run(*command: str, answer: str | None = None) -> str:
        name, *rest = command
        done = subprocess.run(
            [program(name), *rest], cwd=directory, input=answer, capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
        return done.stdout

    _make_keys(directory, run)
    monmap = str(directory / "monmap")
    run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v2:127.0.0.1:{mon}]", monmap)
    run("ceph-mon", "-c", str(config), "--mkfs", "-i", "a", "--monmap", monmap, "--keyring", str(directory / "keyring"))
    with ExitStack() as stack:

        def serve(name: str, *arguments: str, ready: Callable[[], bool]) -> None:
            command = [program(name), "-f", "-c", str(config), *arguments]
            stack.enter_context(serving(command, ready, timeout=90.0, cwd=directory))

        admin = ("-c", str(config), "-k", str(directory / "keyring"), "--connect-timeout", "20")
        serve("ceph-mon", "-i", "a", ready=lambda: accepts(mon))
        osd = str(uuid.uuid4())
        run("ceph", *admin, "osd", "new", osd, "0")
        run("ceph-osd", "-c", str(config), "-i", "0", "--mkfs", "--osd-uuid", osd)
        serve("ceph-osd", "-i", "0", ready=lambda: "1 up" in run("ceph", *admin, "osd", "stat"))
        rgw = ("-c", str(config), "-n", "client.rgw", "-k", str(directory / "keyring"))
        keys = ("--access-key", access_key, "--secret-key", secret_key)
        run("radosgw-admin", *rgw, "user", "create", "--uid", "test", "--display-name", "test", *keys)
        serve("radosgw", "-n", "client.rgw", "-k", str(directory / "keyring"), ready=lambda: accepts(port))
        yield port


def _make_keys(directory: Path, run: Callable[..., str]) -> None:
    """One keyring for everybody."""
    keyring = str(directory / "keyring")
    rights = {
        "mon.": ("mon", "allow *"),
        "client.admin": ("mon", "allow *", "osd", "allow *", "mds", "allow *", "mgr", "allow *"),
        "client.rgw": ("mon", "allow rw", "osd", "allow rwx"),
        "osd.0": ("mon", "allow profile osd", "osd", "allow *"),
    }
    for number, (name, caps) in enumerate(rights.items()):
        words = [word for kind, text in zip(caps[::2], caps[1::2], strict=True) for word in ("--cap", kind, text)]
        create = ["--create-keyring"] if not number else []
        run("ceph-authtool", *create, keyring, "--gen-key", "-n", name, *words)
