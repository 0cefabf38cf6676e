# /// script
# requires-python = ">=3.11"
# dependencies = ["attrs", "trustme", "torch", "s3dlio", "s3torchconnector", "grain"]
# ///
"""Loaders: shuffled batches of whole samples, from files and from S3: ``nox -s bench -- loader [--quick]``.

The samples are files in memory; nginx on the loopback serves the same files as S3. An epoch has as many samples as
there are files, in batches of 64, of 8 MiB samples 4, and each loader gets the same number of workers: threads,
processes or requests at once, whatever it has. What is measured are whole epochs after a first one that warms up, with
the CPU of the process and of its children. Batches end as arrays or tensors of bytes, or as what the loader gives.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
from remote import KIB, MIB, Case, Place, Row, Sample, fill, main
from rows import Floor
from s3 import BUCKET, environ, head
from servers import nginx

#: Runs one epoch and returns the bytes that its batches held.
Epoch = Callable[[], int]

SIZES = (4 * KIB, 64 * KIB, 100 * KIB, 8 * MIB)
#: Workers, by where the samples are: 2 CPUs keep 2 readers of files busy; a service has latency to hide.
WORKERS = {"file": 2, "get": 8}


class Samples(Case):
    """A column; ``lanes`` is the number of workers."""

    @property
    def group(self) -> str:
        return f"{'Files' if self.kind == 'file' else 'S3'}, {self.lanes} workers"

    @property
    def names(self) -> list[str]:
        """Files and S3 share them."""
        count = max(32, min(4000, 256 * MIB // self.size))
        return [f"samples-{self.size}/object-{number:06d}" for number in range(count)]


#: From files also the size that the goal is set for.
GOAL = 64 * KIB
EVERY = [Samples(kind, size, lanes) for kind, lanes in WORKERS.items() for size in SIZES]
CASES = [case for case in EVERY if case.kind == "file" or case.size != GOAL]
QUICK = [case for case in EVERY if case.size in (4 * KIB, GOAL, 8 * MIB)]


def batch_of(case: Case) -> int:
    return 4 if case.size >= MIB else 64


class S3Floor(Floor):
    """The floor is for HTTP."""

    def able(self, case: Case) -> bool:
        return case.kind == "get"


@attrs.frozen(kw_only=True)
class Loading:
    """A loader as a row of the table, measured in a process of its own. ``module`` is what has to be importable."""

    name: str
    prepare: Callable[[Case, Place], Epoch]
    module: str = ""
    kinds: tuple[str, ...] = ("file", "get")

    def missing(self) -> str:
        import importlib.util

        return "" if not self.module or importlib.util.find_spec(self.module) else self.module

    def able(self, case: Case) -> bool:
        return case.kind in self.kinds

    def sample(self, case: Case, place: Place, seconds: float) -> Sample:
        plan = json.dumps([self.name, attrs.asdict(case), attrs.asdict(place), seconds])
        done = subprocess.run(
            [sys.executable, __file__, "--epochs", plan], capture_output=True, text=True, check=False, timeout=600
        )
        if done.returncode:
            raise RuntimeError(done.stderr.strip())
        return Sample(*json.loads(done.stdout.splitlines()[-1]))


def penstock(case: Case, place: Place) -> Epoch:
    return _penstock(case, place)


def penstock_ranges(case: Case, place: Place) -> Epoch:
    return _penstock(case, place, reader="range", part_size=MIB, num_workers=max(1, case.lanes // 4))


def _penstock(case: Case, place: Place, **options: Any) -> Epoch:
    from penstock_training.loading import Dataset, Loader

    base = f"file://{place.root}" if case.kind == "file" else place.uri
    store = {} if case.kind == "file" else place.options
    dataset = Dataset([f"{base}/{name}" for name in case.names], options=store)
    loader = Loader(dataset, **{"batch_size": batch_of(case), "shuffle": True, "num_workers": case.lanes, **options})
    numbers = iter(range(1 << 30))

    def epoch() -> int:
        loader.set_epoch(next(numbers))
        return sum(batch.nbytes for batch in loader)

    return epoch


def bare(case: Case, place: Place) -> Epoch:
    """The limit: one thread for each worker, which reads into memory that is used again and again."""
    import numpy as np

    size, batch = case.size, batch_of(case)
    paths = [os.path.join(place.root, name) for name in case.names]
    arenas = [memoryview(np.zeros(batch * size, dtype=np.uint8)) for _ in range(case.lanes)]
    shares = [paths[lane :: case.lanes] for lane in range(case.lanes)]

    def read(lane: int) -> None:
        arena = arenas[lane]
        for number, path in enumerate(shares[lane]):
            at = number % batch * size
            file = os.open(path, os.O_RDONLY)
            os.preadv(file, [arena[at : at + size]], 0)
            os.close(file)

    def epoch() -> int:
        threads = [threading.Thread(target=read, args=(lane,)) for lane in range(case.lanes)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return len(paths) * size

    return epoch


def torch(case: Case, place: Place) -> Epoch:
    """Plain files; a batch is a tensor. The workers stay from epoch to epoch."""
    return _torch(case, place, case.lanes)


def torch_alone(case: Case, place: Place) -> Epoch:
    return _torch(case, place, 0)


def _torch(case: Case, place: Place, workers: int) -> Epoch:
    import numpy as np
    import torch.utils.data

    paths = [os.path.join(place.root, name) for name in case.names]

    class Files(torch.utils.data.Dataset[Any]):
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, number: int) -> Any:
            return torch.from_numpy(np.fromfile(paths[number], dtype=np.uint8))

    loader = torch.utils.data.DataLoader(
        Files(), batch_size=batch_of(case), shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )
    return lambda: sum(batch.nbytes for batch in loader)


def s3torchconnector(case: Case, place: Place) -> Epoch:
    import torch.utils.data
    from s3torchconnector import S3ClientConfig, S3MapDataset

    def tensor(reader: Any) -> Any:
        return torch.frombuffer(bytearray(reader.read()), dtype=torch.uint8)

    dataset = S3MapDataset.from_objects(
        [f"s3://{BUCKET}/{name}" for name in case.names],
        region=os.environ["AWS_REGION"],
        endpoint=place.url,
        transform=tensor,
        s3client_config=S3ClientConfig(force_path_style=True),
    )
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=batch_of(case), shuffle=True, num_workers=2, persistent_workers=True
    )
    return lambda: sum(batch.nbytes for batch in loader)


def _uris(case: Case, place: Place) -> list[str]:
    base = f"file://{place.root}" if case.kind == "file" else f"s3://{BUCKET}"
    return [f"{base}/{name}" for name in case.names]


def s3dlio(case: Case, place: Place) -> Epoch:
    """Its loader, iterated with ``async for``, the way in which it has batches; it does not shuffle."""
    import s3dlio

    dataset = s3dlio.PyDataset.from_uris(_uris(case, place))
    options = {"batch_size": batch_of(case), "num_workers": case.lanes, "prefetch": 2}

    async def run() -> int:
        total = 0
        async for batch in s3dlio.PyBytesAsyncDataLoader(dataset, options):
            total += sum(len(sample) for sample in (batch if isinstance(batch, list) else [batch]))
        return total

    return lambda: asyncio.run(run())


def s3dlio_many(case: Case, place: Place) -> Epoch:
    """A loop over batches of its ``get_many``, which nothing reads ahead."""
    import s3dlio

    uris, size = _uris(case, place), batch_of(case)

    def epoch() -> int:
        total = 0
        for first in range(0, len(uris), size):
            total += sum(len(data) for _, data in s3dlio.get_many(uris[first : first + size], max_in_flight=case.lanes))
        return total

    return epoch


def grain(case: Case, place: Place) -> Epoch:
    """Threads read ahead of a batch; plain files."""
    import grain.python as pygrain
    import numpy as np

    paths = [os.path.join(place.root, name) for name in case.names]

    class Files:
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, number: int) -> Any:
            return np.fromfile(paths[number], dtype=np.uint8)

    reading = pygrain.ReadOptions(num_threads=case.lanes, prefetch_buffer_size=4 * batch_of(case))
    numbers = iter(range(1 << 30))

    def epoch() -> int:
        shuffled = pygrain.MapDataset.source(Files()).shuffle(seed=next(numbers))
        batches = shuffled.to_iter_dataset(reading).batch(batch_of(case), drop_remainder=False)
        return sum(batch.nbytes for batch in batches)

    return epoch


ROWS: Sequence[Row] = (
    Loading(name="bare preadv into an arena", prepare=bare, kinds=("file",)),
    S3Floor(head=head),
    Loading(name="penstock", prepare=penstock),
    Loading(name="penstock, ranges of 1 MiB", prepare=penstock_ranges),
    Loading(name="s3dlio loader", prepare=s3dlio, module="s3dlio"),
    Loading(name="s3dlio get_many", prepare=s3dlio_many, module="s3dlio"),
    Loading(name="grain", prepare=grain, module="grain", kinds=("file",)),
    Loading(name="torch DataLoader", prepare=torch, module="torch", kinds=("file",)),
    Loading(name="torch DataLoader, no workers", prepare=torch_alone, module="torch", kinds=("file",)),
    Loading(name="s3torchconnector", prepare=s3torchconnector, module="s3torchconnector", kinds=("get",)),
)


def _measure(plan: str) -> None:
    name, fields, where, seconds = json.loads(plan)
    case, place = Samples(**fields), Place(**where)
    # Beside this script lie others with the names of packages.
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != Path(__file__).parent.resolve()]
    (row,) = (row for row in ROWS if row.name == name and isinstance(row, Loading))
    epoch = row.prepare(case, place)
    due = len(case.names) * case.size
    if (moved := epoch()) != due:
        raise RuntimeError(f"an epoch of {due} bytes gave {moved}")
    epochs, cpu, begin = 0, _cpu(), time.perf_counter()
    while time.perf_counter() - begin < seconds or not epochs:
        epoch()
        epochs += 1
    wall, used = time.perf_counter() - begin, _cpu() - cpu
    print(json.dumps([used, wall, epochs * len(case.names), _peak()]), flush=True)
    for child in _children(os.getpid()):
        os.kill(child, 9)
    os._exit(0)


def _cpu() -> float:
    """Seconds that this process and its children, which may still run, have used."""
    ticks = 0
    for process in (os.getpid(), *_children(os.getpid())):
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        # User and system time; of this process also those of children that have ended.
        ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _children(process: int) -> Iterator[int]:
    for thread in Path(f"/proc/{process}/task").iterdir():
        # A thread may end meanwhile.
        with suppress(FileNotFoundError):
            for child in (thread / "children").read_text().split():
                yield int(child)
                yield from _children(int(child))


def _peak() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


@contextmanager
def server() -> Iterator[Callable[[Sequence[Case], bool], Place]]:
    with nginx() as web:

        def place(cases: Sequence[Case], tls: bool) -> Place:
            fill(web.root / BUCKET, cases)
            options: Mapping[str, str] = {"payload_signing": "unsigned"}
            root = str(web.root / BUCKET)
            return Place(url=web.url, uri=f"s3+{web.url}/{BUCKET}", ca=str(web.ca), options=options, root=root)

        yield place


if __name__ == "__main__":
    if sys.argv[1:2] == ["--epochs"]:
        _measure(sys.argv[2])
    else:
        goal = "Loaders of samples; the goal: ahead of every peer, and at most 18 µs for 64 KiB from files"
        main(goal, CASES, ROWS, quick=QUICK, server=server, environ=environ)
