"""What is worth varying in a workload when nobody says it: concurrency, processes, and of large objects the sizes of
parts and ranges.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from penstock.globs import compile_glob
from penstock.tuning.sweep import Vary
from penstock.workload.config import Config
from penstock.workload.names import Mask
from penstock.workload.operations import Get, Put
from penstock.workload.sizes import mean

__all__ = ["LARGE", "usual_sweep"]

#: Objects of so many bytes, on average, are worth being sent and read in parts.
LARGE: Final = 32 << 20
_CONCURRENCY: Final = (1, 2, 4, 8, 16, 32, 64)
_PARTS: Final = ("8MiB", "16MiB", "32MiB", "64MiB")
_RANGES: Final[tuple[Any, ...]] = ("off", *({"threshold": size, "part_size": size} for size in _PARTS))


def usual_sweep(config: Config, *, processors: int, stage: int | None = None) -> list[Vary]:
    """The keys and values, the cheapest first. ``stage`` is the number of the stage whose configuration it is."""
    own = f"stages[{stage}]." if stage is not None else ""
    usual = [Vary(f"{own}concurrency", _CONCURRENCY)]
    if processors > 1 and config.processes == "auto":
        usual.append(Vary("processes", ("auto", 1)))
    for number, item in enumerate(config.workload):
        if isinstance(item, Put) and item.weight and mean(item.size) >= LARGE:
            usual.append(Vary(f"{own}workload[{number}].multipart.part_size", _PARTS))
    if any(_large_reads(config)):
        usual.append(Vary("range_engine", _RANGES))
    return usual


def _large_reads(config: Config) -> Iterator[bool]:
    """Of each get of whole objects whether it reads large ones, as far as the preparation tells."""
    for item in config.workload:
        if not isinstance(item, Get) or item.range is not None or not item.weight:
            continue
        glob = compile_glob(config.locate(item.path))
        for objects in config.prepare.ensure_objects:
            name = Mask.compile(objects.name, 1).namer()(0)
            key = f"{objects.path.rstrip('/')}/{name}" if objects.path else name
            yield mean(objects.size) >= LARGE and glob.matches(config.locate(key))
