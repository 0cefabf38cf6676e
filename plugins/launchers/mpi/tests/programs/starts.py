"""Starts of the launcher on rank 0, good and bad ones; what came of each is printed as JSON.

The arguments are ``name=JSON`` of the options of each start; ``workers`` is its number of hosts. On ranks that
``PENSTOCK_TEST_OTHERS`` names (``2:old``) something is wrong: ``old`` has another version of penstock-mpi, ``mute``
runs something else.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import Any

import anyio

from penstock.errors import RunError
from penstock.launchers import PROBE, LaunchSpec
from penstock.options import resolve
from penstock.plugins import default_host

KIND = default_host().launcher_type("mpi")


async def start(options: dict[str, Any]) -> dict[str, Any]:
    workers = options.pop("workers", None)
    launcher = KIND.open(resolve(KIND.options, explicit=options, scheme="mpi").options)
    began = time.monotonic()
    try:
        handles = await launcher.start(workers, LaunchSpec(worker=PROBE))
    except RunError as error:
        return {"error": str(error), "seconds": time.monotonic() - began}
    told = {"hosts": [handle.host for handle in handles], "ranks": [handle.rank for handle in handles]}
    told["echo"] = [(await handle.call("echo", {"said": handle.rank}))["said"] for handle in handles]
    told["channel"] = launcher.channel
    told["cpus"] = [list(handle.greeting.cpus) for handle in handles]
    await launcher.stop()
    return told


def misbehave(how: str) -> None:
    if how == "old":
        from penstock_mpi import serving

        serving.version = lambda name: "0.0.9"
    else:
        from mpi4py import MPI

        assert MPI.COMM_WORLD.Get_rank()
        threading.Event().wait()


def main() -> None:
    rank, _, how = os.environ.get("PENSTOCK_TEST_OTHERS", ":").partition(":")
    if os.environ["OMPI_COMM_WORLD_RANK"] == rank:
        misbehave(how)
    code = KIND.serve()
    if code is not None:
        sys.exit(code)
    told = [anyio.run(start, json.loads(options)) for options in sys.argv[1:]]
    sys.stdout.write(json.dumps(told))
    sys.stdout.flush()
    if how == "mute":
        os._exit(0)


main()
