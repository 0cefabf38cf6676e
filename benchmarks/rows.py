"""The rows that every benchmark of object stores has: the floor in C, penstock's store, a whole `penstock run`, and
obstore, the one peer that has them all.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import attrs
from remote import MIB, AsyncCall, Call, Case, Peer, Place, Row, Sample

__all__ = ["Floor", "PenstockRun", "obstore_options", "obstore_rows", "penstock_rows", "run_rows"]


@attrs.frozen(kw_only=True)
class Floor:
    """A loop in C around epoll that sends the bytes of ``head`` and reads the answers: what nobody can go below."""

    head: Callable[[Case, Place], bytes]
    name: str = "C floor"

    def missing(self) -> str:
        return "" if shutil.which("cc") else "a C compiler, cc; Debian: apt install gcc libc6-dev"

    def able(self, case: Case) -> bool:
        return not case.tls

    def sample(self, case: Case, place: Place, seconds: float) -> Sample:
        port = place.url.rpartition(":")[2].partition("/")[0]
        with tempfile.NamedTemporaryFile() as file:
            file.write(self.head(case, place))
            file.flush()
            words = [case.kind, port, case.lanes, seconds, case.size, len(case.names), file.name]
            done = subprocess.run([_compiled(), *map(str, words)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr.strip())
        return Sample(*json.loads(done.stdout))


@functools.cache
def _compiled() -> str:
    directory = tempfile.TemporaryDirectory(prefix="penstock-bench-")
    _compiled.directory = directory  # type: ignore[attr-defined]  (lives as long as this process)
    program = str(Path(directory.name) / "floor")
    subprocess.run(["cc", "-O2", "-o", program, str(Path(__file__).with_name("floor.c"))], check=True)
    return program


def penstock_rows(defaults: str = "", *, kinds: tuple[str, ...] = ("put",), tls: bool = False) -> list[Row]:
    """The store itself, by its contract: with the place's options, and without them where ``defaults`` names that row
    and the kinds and transports in which it differs.
    """
    rows: list[Row] = [
        Peer(name="penstock", prepare=_into),
        Peer(name="penstock in batch threads", prepare=_batch),
        Peer(name="penstock bound to one CPU", prepare=_bound),
        Peer(name="penstock discarded", prepare=_discarded, kinds=("get",)),
    ]
    if defaults:
        rows.append(Peer(name=f"penstock {defaults}", prepare=_defaults, kinds=kinds, tls=tls))
    return rows


def _into(case: Case, place: Place) -> Callable[[], Call]:
    """Into a buffer that each lane has, which is reused."""
    from penstock.buffers import aligned_buffer
    from penstock.opening import open_store
    from penstock.sinks import Into

    store = open_store(place.uri, options=place.options, threads=case.lanes)
    names, data = case.names, os.urandom(case.size)

    def make() -> Call:

        def put(number: int) -> int:
            store.put(names[number], data)
            return case.size

        if case.kind == "put":
            return put
        buffer = aligned_buffer(case.size)

        def get(number: int) -> int:
            sink = Into(buffer)
            store.get(names[number], sink)
            return sink.nbytes

        return get

    return make


def _batch(case: Case, place: Place) -> Callable[[], Call]:
    """As a program's own pool can be told to: ``ThreadPoolExecutor(8, initializer=penstock.as_batch)``."""
    from penstock.scheduling import as_batch

    make_call = _into(case, place)

    def make() -> Call:
        as_batch()
        return make_call()

    return make


def _bound(case: Case, place: Place) -> Callable[[], Call]:
    """As a worker of `penstock run` is: threads that hand the interpreter's lock from one CPU to another pay for it."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    return _into(case, place)


def _defaults(case: Case, place: Place) -> Callable[[], Call]:
    return _into(case, attrs.evolve(place, options={}))


def _discarded(case: Case, place: Place) -> Callable[[], Call]:
    from penstock.opening import open_store
    from penstock.sinks import Discard

    store, names = open_store(place.uri, options=place.options, threads=case.lanes), case.names

    def make() -> Call:
        sink = Discard()

        def get(number: int) -> int:
            sink.reset()
            store.get(names[number], sink)
            return sink.nbytes

        return get

    return make


def run_rows() -> list[Row]:
    """`penstock run` as it comes, with a process bound to each CPU, and by a single process that is bound to none."""
    return [
        PenstockRun(processes="auto", name="penstock run"),
        PenstockRun(processes=1, name="penstock run in 1 process"),
    ]


@attrs.frozen
class PenstockRun:
    """`penstock run` with op-log and histograms: the CPU of its workers after the warm-up, per operation. Puts send
    zeros, since making random bytes is no client's work here.

    ``processes`` as in a workload.
    """

    processes: int | str
    name: str

    def missing(self) -> str:
        return ""

    def able(self, case: Case) -> bool:
        return case.size < 256 * MIB

    def sample(self, case: Case, place: Place, seconds: float) -> Sample:
        with tempfile.TemporaryDirectory(prefix="penstock-bench-") as directory:
            path = Path(directory) / "workload.yaml"
            path.write_text(json.dumps(self._workload(case, place, seconds, directory)))
            command = [sys.executable, "-m", "penstock", "run", str(path), "--json"]
            done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=directory)
        if place.root:
            shutil.rmtree(Path(place.root) / _prefix(case), ignore_errors=True)
        if done.returncode:
            raise RuntimeError(f"{done.stdout}\n{done.stderr}".strip())
        result = json.loads(done.stdout)
        totals = result["totals"]["ALL"]
        if totals["errors"]:
            raise RuntimeError(f"{totals['errors']} of {totals['count']} operations failed")
        cpu = sum(worker["cpu_seconds"] for worker in result["workers"])
        return Sample(cpu, result["window"]["seconds"], totals["count"], 0)

    def _workload(self, case: Case, place: Place, seconds: float, directory: str) -> dict[str, object]:
        item: dict[str, object] = {"op": "get", "path": "*"}
        if case.kind == "put":
            item = {"op": "put", "path": "new/", "size": case.size, "fill": "zero"}
        query = f"?{urlencode(place.options)}" if place.options else ""
        count = len(case.names) if case.kind == "get" else 1
        return {
            "target": f"{place.uri}/{_prefix(case)}/{query}",
            # CPU counts from the end of the warm-up on.
            "warmup": f"{seconds:g}s",
            "duration": f"{max(4 * seconds, 2):g}s",
            "concurrency": case.lanes,
            "processes": self.processes,
            "op_log": True,
            "results_dir": directory,
            "prepare": {"ensure_objects": [{"path": "", "count": count, "size": case.size}]},
            "workload": [item],
            "cleanup": not place.root,
        }


def _prefix(case: Case) -> str:
    return f"run-{case.kind}-{case.size}"


def obstore_options(place: Place) -> dict[str, Any]:
    """What each of obstore's stores takes as ``client_options`` here."""
    with open(place.ca, "rb") as file:
        return {"allow_http": True, "root_certificate": file.read()}


def obstore_rows(open_store: Callable[[Place], Any]) -> list[Row]:
    """obstore by its synchronous calls in threads, and by tasks; ``open_store`` makes the store of a place."""

    def prepare(case: Case, place: Place) -> Callable[[], Call]:
        import obstore

        store, names, data = open_store(place), case.names, os.urandom(case.size)

        def put(number: int) -> int:
            obstore.put(store, names[number], data, use_multipart=False)
            return case.size

        return lambda: put if case.kind == "put" else lambda number: len(obstore.get(store, names[number]).bytes())

    def prepare_async(case: Case, place: Place) -> Callable[[], AsyncCall]:
        import obstore

        store, names, data = open_store(place), case.names, os.urandom(case.size)

        async def get(number: int) -> int:
            return len(await (await obstore.get_async(store, names[number])).bytes_async())

        async def put(number: int) -> int:
            await obstore.put_async(store, names[number], data, use_multipart=False)
            return case.size

        return lambda: put if case.kind == "put" else get

    return [
        Peer(name="obstore", prepare=prepare, module="obstore"),
        Peer(name="obstore async", prepare=prepare_async, module="obstore", asynchronous=True),
    ]
