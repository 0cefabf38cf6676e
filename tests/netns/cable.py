"""A cable between two network namespaces whose interfaces say how fast it is, and that is no faster.

The interfaces are TAP devices: unlike a pair of virtual ones, which always claim 10 Gbit/s, they take the speed that
they are told. Frames are carried from one to the other by this process.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

_TUNSETIFF = 0x400454CA
_TAP_WITHOUT_HEADER = 0x0002 | 0x1000
_FRAME = 65536
#: Makes an interface say its speed (``ETHTOOL_SSET``), within its namespace.
_SAY_SPEED = """
import array, fcntl, socket, struct, sys
name, mbits = sys.argv[1].encode(), int(sys.argv[2])
command = array.array("B", struct.pack("IIIHBBBBBBIIHBBIII", 2, 0, 0, mbits, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0))
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plug:
    fcntl.ioctl(plug, 0x8946, struct.pack("16sP16x", name, command.buffer_info()[0]))
"""


def _tap(name: str) -> int:
    descriptor = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH14x", name.encode(), _TAP_WITHOUT_HEADER))
    return descriptor


def _in(namespace: str, *command: str) -> str:
    done = subprocess.run(["ip", "netns", "exec", namespace, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def _carry(ends: tuple[int, int], over: int) -> None:
    """Until something comes at ``over``."""
    other = {ends[0]: ends[1], ends[1]: ends[0]}
    while True:
        ready, _, _ = select.select([*ends, over], [], [])
        if over in ready:
            return
        for end in ready:
            # An interface that is down takes nothing.
            with contextlib.suppress(OSError):
                os.write(other[end], os.read(end, _FRAME))


@contextlib.contextmanager
def laid(first: tuple[str, str], second: tuple[str, str], mbits: int) -> Iterator[tuple[str, str]]:
    """Between two namespaces, each with an address of one subnet of 24 bits; the names of the interfaces."""
    names = (f"ps{os.getpid()}a", f"ps{os.getpid()}b")
    ends = (_tap(names[0]), _tap(names[1]))
    over, stop = os.pipe()
    carrier = threading.Thread(target=_carry, args=(ends, over), daemon=True)
    try:
        for name, (namespace, address) in zip(names, (first, second), strict=True):
            subprocess.run(["ip", "link", "set", name, "netns", namespace], check=True)
            _in(namespace, "ip", "addr", "add", f"{address}/24", "dev", name)
            _in(namespace, "ip", "link", "set", name, "mtu", "9000", "up")
            _in(namespace, sys.executable, "-c", _SAY_SPEED, name, str(mbits))
            assert _in(namespace, "cat", f"/sys/class/net/{name}/speed").strip() == str(mbits)
            rate = ("rate", f"{mbits}mbit", "burst", "64kb", "latency", "50ms")
            _in(namespace, "tc", "qdisc", "add", "dev", name, "root", "tbf", *rate)
        carrier.start()
        yield names
    finally:
        os.write(stop, b".")
        if carrier.ident is not None:
            carrier.join()
        for descriptor in (*ends, over, stop):
            os.close(descriptor)


def main() -> None:
    """Serve every GET with as many bytes as its name ends in: ``python cable.py ADDRESS PORT``."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = bytes(int(Path(self.path).name.rpartition("-")[2]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", '"1"')
            self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Handler)
    sys.stdout.write("listening\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main()
