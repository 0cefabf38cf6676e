"""What the tests do in processes of their own; a spawned child finds it here."""

from __future__ import annotations

import os
import signal
from contextlib import closing

from penstock.opening import open_store
from penstock.sinks import Discard
from penstock_s3.checksums import Running

__all__ = ["MIB", "PART", "stream", "vanish"]

MIB = 1024 * 1024
PART = 5 * MIB


def resident(which):
    """Resident bytes of this process: ``VmRSS`` now, ``VmHWM`` at the most."""
    with open("/proc/self/status") as status:
        (line,) = (line for line in status if line.startswith(which))
    return int(line.split()[1]) * 1024


def forget_peak():
    """Begin to measure the peak anew; what is resident now."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    return resident("VmRSS")


def vanish(uri, options, started):
    """Begin an upload in another process, and wait there to be killed."""
    store = open_store(uri, options=options)
    writer = store.open_writer("dir/left", part_size=PART)
    writer.write(bytes(2 * PART + 1))
    writer.write(b"")
    started.set()
    signal.pause()


def stream(uri, options, nbytes, part_concurrency, pipe):
    """Up and down in a process of its own, whose memory is watched."""
    with closing(open_store(uri, options=options | {"part_concurrency": part_concurrency})) as store:
        piece = os.urandom(MIB)
        small = store.open_writer("warm", part_size=PART)
        small.write(piece)
        small.commit()
        store.get("warm", Discard())
        before = forget_peak()
        written, read = Running("crc32c"), Running("crc32c")
        writer = store.open_writer("large", part_size=PART if nbytes < 1024 * MIB else 16 * MIB)
        for _ in range(nbytes // MIB):
            written.update(piece)
            writer.write(piece)
        writer.commit()

        class Sink:
            """Sees every byte once, in one piece of memory."""

            room = memoryview(bytearray(MIB))

            def write(self, data):
                read.update(data)

            def reserve(self, nbytes):
                return self.room

            def commit(self, nbytes):
                read.update(self.room[:nbytes])

        info = store.get("large", Sink())
        after = resident("VmHWM")
        store.delete(["large", "warm"])
        pipe.send((info.size, written.value() == read.value(), after - before))
