"""What a host must have for its part of a run: room where it writes, memory, and open files."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator
from typing import Final

import attrs
import numpy as np

from penstock.engine.build import PART_SIZE, SINGLE
from penstock.engine.findings import Finding
from penstock.engine.places import Places
from penstock.engine.sets import PreparedSet, prepared_sets
from penstock.errors import ObjectNotFoundError, PenstockError
from penstock.payloads.zero import ZeroPayload
from penstock.quantities import format_bytes
from penstock.urls import strip_scheme
from penstock.workload import sizes
from penstock.workload.config import Config
from penstock.workload.formatting import object_size
from penstock.workload.operations import Put

__all__ = ["look_at_machine", "needed_files", "needed_memory"]

#: Below this a host can't keep what its workers print, and their parts of a log soon.
_LEAST_SCRATCH: Final = 64 << 20
_GOOD_SCRATCH: Final = 1 << 30
#: What a worker process needs before it does anything.
_PROCESS_BYTES: Final = 80 << 20
#: Files that a process has open beside those of its lanes.
_OTHER_FILES: Final = 32
#: Objects of a set that are looked for, to tell how much of it is there.
_SAMPLES: Final = 32


@attrs.frozen
class _Volume:
    """A file system by its device, with a path that is to be on it, and what a run writes there in bytes."""

    device: int
    path: str
    need: int


def look_at_machine(config: Config, *, hosts: int, scratch: str) -> list[Finding]:
    """What this host, one of so many ``hosts``, lacks. A configuration that can't be resolved says nothing here."""
    found = list(_look_at_scratch(config, scratch))
    # Whoever opens the stores tells what is wrong with them.
    with contextlib.suppress(PenstockError, OSError):
        found += _look_at_space(config, hosts)
    return [*found, *_look_at_memory(config), *_look_at_files(config)]


def _free(path: str) -> int:
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def _look_at_scratch(config: Config, scratch: str) -> Iterator[Finding]:
    subject, remedy = f"scratch {scratch}", "make room there, or let the host work in another directory (TMPDIR)"
    try:
        free = _free(scratch)
    except OSError as error:
        yield Finding(level="error", subject=subject, cause=f"can't be used: {error.strerror}", remedy=remedy)
        return
    if free < _LEAST_SCRATCH:
        yield Finding(level="error", subject=subject, cause=f"{format_bytes(free)} are free", remedy=remedy)
    elif config.op_log and free < _GOOD_SCRATCH:
        text = f"{format_bytes(free)} are free, and the log of operations is kept there"
        yield Finding(level="warning", subject=subject, cause=text, remedy=remedy)


def _look_at_space(config: Config, hosts: int) -> Iterator[Finding]:
    places = Places(config)
    sets = prepared_sets(config, places, lambda recipe: ZeroPayload(0))
    for volume in _volumes(config, places, sets, hosts):
        at = _there_now(volume.path)
        free = _free(at)
        if volume.need > free:
            need = volume.need - _there(config, places, sets, volume)
            if need > free:
                text = f"{format_bytes(free)} are free, and prepare is to write {format_bytes(need)}"
                remedy = "make room, prepare less, or name another target"
                yield Finding(level="error", subject=f"space at {at}", cause=text, remedy=remedy)


def _volumes(config: Config, places: Places, sets: list[PreparedSet], hosts: int) -> list[_Volume]:
    """Each file system that prepare writes to, with all that comes there, from whichever host."""
    if config.prepare.skip_verification:
        return []
    needs: dict[int, tuple[str, int]] = {}
    for prepared in sets:
        path = _local_path(places, prepared)
        if path is not None:
            device = _device(path)
            before = needs.get(device, (path, 0))
            needs[device] = before[0], before[1] + _nbytes(config, prepared) * _times(config, hosts)
    return [_Volume(device, path, need) for device, (path, need) in needs.items()]


def _times(config: Config, hosts: int) -> int:
    """How often a set is made on a file system that this host sees."""
    distributed = config.distributed
    return hosts if distributed.shared_filesystem and distributed.tree_creation_mode == "isolated" else 1


def _local_path(places: Places, prepared: PreparedSet) -> str | None:
    """Where it lies, on a store that has real directories."""
    (target, *_) = places.targets(prepared.store)
    if prepared.payload is None or not target.kind.capabilities.directories:
        return None
    base = target.address.base + target.address.key + prepared.objects.names.base
    return os.path.abspath(strip_scheme(base))


def _there_now(path: str) -> str:
    """The path itself, or the nearest directory above it that is there."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def _device(path: str) -> int:
    while True:
        # Another host may take away a directory that it has tried to write in.
        with contextlib.suppress(FileNotFoundError):
            return os.stat(_there_now(path)).st_dev


def _nbytes(config: Config, prepared: PreparedSet) -> int:
    """The sum of its objects' sizes, of large sets from a sample."""
    count = prepared.objects.count
    if not count:
        return 0
    sample = np.unique(np.linspace(0, count - 1, num=min(count, 4096)).astype(np.int64))
    return int(prepared.objects.sizes(sample).mean() * count)


def _there(config: Config, places: Places, sets: list[PreparedSet], volume: _Volume) -> int:
    """About how many bytes of what prepare is to write are there already."""
    places.open(1)
    try:
        found = 0.0
        for prepared in sets:
            path = _local_path(places, prepared)
            if path is not None and _device(path) == volume.device:
                found += _share_there(places, prepared) * _nbytes(config, prepared)
        return int(found)
    finally:
        places.close()


def _share_there(places: Places, prepared: PreparedSet) -> float:
    store, objects = places.stores[prepared.store], prepared.objects
    sample = np.unique(np.linspace(0, objects.count - 1, num=min(objects.count, _SAMPLES)).astype(np.int64)).tolist()

    def there(index: int) -> bool:
        try:
            return store.stat(objects.key(index)).size == objects.size(index)
        except ObjectNotFoundError:
            return False

    return sum(map(there, sample)) / max(len(sample), 1)


def _processes(config: Config) -> int:
    if isinstance(config.processes, int):
        return config.processes
    return max(1, min(len(os.sched_getaffinity(0)), _lanes(config)))


def _lanes(config: Config) -> int:
    return max(part.concurrency for part in config.parts())


def needed_memory(config: Config) -> int:
    """About how many bytes the workers of a host take: the processes, and the buffers of what they write."""
    entries = [item for part in config.parts() for item in part.workload if isinstance(item, Put) and item.weight]
    room = max((_room(sizes.largest(object_size(item)), _part(item)) for item in entries), default=0)
    prepare = config.prepare
    making = [] if prepare.skip_verification else [*prepare.ensure_objects]
    made = max((_room(sizes.largest(object_size(entry)), PART_SIZE) for entry in making), default=0)
    threads = prepare.concurrency or config.concurrency
    return _processes(config) * _PROCESS_BYTES + max(_lanes(config) * room, threads * made)


def _part(item: Put) -> int:
    return item.multipart.part_size if item.multipart else PART_SIZE


def _room(largest: int | None, part_size: int) -> int:
    most = max(SINGLE, part_size)
    return most if largest is None else min(largest, most)


def _available() -> int | None:
    """Memory that can be had without swapping, in bytes; None where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError, IndexError):
        return None


def _look_at_memory(config: Config) -> Iterator[Finding]:
    need, free = needed_memory(config), _available()
    if free is not None and need > free:
        text = f"{format_bytes(free)} can be had, and the workers take about {format_bytes(need)}"
        remedy = "lower concurrency or processes, or write objects in smaller parts (multipart: {part_size: …})"
        yield Finding(level="warning", subject="memory", cause=text, remedy=remedy)


def needed_files(config: Config) -> int:
    """About how many files and connections one process has open at most."""
    places = Places(config)
    for part in config.parts():
        for item in part.workload:
            if not isinstance(item, Put):
                places.locate(item.path)
    stores = max(1, len(places.endpoints()))
    each = (config.range_engine.concurrency if config.range_engine is not None else None) or 1
    return -(-_lanes(config) // _processes(config)) * each * stores + _OTHER_FILES


def _look_at_files(config: Config) -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        need = needed_files(config)
    except PenstockError:
        return
    lanes = -(-_lanes(config) // _processes(config)) + _OTHER_FILES
    if soft == resource.RLIM_INFINITY or need <= soft:
        return
    remedy = f"raise the limit for penstock on that host: ulimit -n {need}"
    if hard != resource.RLIM_INFINITY and need > hard:
        remedy = f"raise the hard limit, {hard}, of that host to {need}, use more processes, or lower concurrency"
    text = f"a process may have {soft} files open, and needs about {need}"
    # With a file for each lane it can't even begin; more than that is a guess.
    yield Finding(level="error" if lanes > soft else "warning", subject="open files", cause=text, remedy=remedy)
