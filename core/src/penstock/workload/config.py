"""The configuration of a run: attrs classes, and :func:`load`, which reads them from a file.

Times are in seconds and sizes in bytes. Keys of later releases are refused, never ignored.
"""
# ruff: noqa: RUF009 -- key() makes an attrs field, no value

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from penstock.errors import ConfigError
from penstock.urls import join, parse_store
from penstock.workload import checks
from penstock.workload.composing import INCLUDE, compose
from penstock.workload.distributed import DISTRIBUTED, LAUNCHER, Distributed, LauncherChoice
from penstock.workload.documents import Mark, Node, Problems, from_plain, override, read_text
from penstock.workload.fields import Record, fields_of, key
from penstock.workload.hiding import masked
from penstock.workload.hosting import for_host
from penstock.workload.layering import (
    COMPRESSION,
    FAULTS,
    MULTI_ENDPOINT,
    RANGE_ENGINE,
    SIZE_CACHE,
    VERIFY_WRITES,
    CompressionKeys,
    FaultKeys,
    MultiEndpoint,
    RangeEngine,
    SizeCache,
    WriteVerification,
)
from penstock.workload.older.convert import convert as rewrite
from penstock.workload.older.convert import is_older, older_keys
from penstock.workload.operations import OPERATION, Operation
from penstock.workload.prepare import PREPARE, DirectoryStructure, EnsureObjects, Prepare
from penstock.workload.rates import RATE, Rate
from penstock.workload.selection import SELECTION, Selection, Uniform
from penstock.workload.shapes import (
    FAILED,
    Either,
    Flag,
    InvalidFieldError,
    ListOf,
    Optional,
    Quantity,
    Reader,
    Table,
    Text,
    Word,
)
from penstock.workload.stable import STABLE, StopWhenStable
from penstock.workload.stages import STAGE, Stage
from penstock.workload.writing import write_yaml

__all__ = [
    "CONFIG",
    "Config",
    "Converted",
    "DirectoryStructure",
    "Distributed",
    "EnsureObjects",
    "ErrorRate",
    "LauncherChoice",
    "Loaded",
    "OnError",
    "Prepare",
    "Rate",
    "Retries",
    "Stage",
    "StopWhenStable",
    "convert",
    "dump",
    "load",
    "loads",
    "restore",
]

_COUNT = Quantity("count")
_ONE_OR_MORE = Quantity("count", minimum=1)
_SECONDS = Quantity("duration")
_SOME_TIME = Quantity("duration", above=True)


def _is(*kinds: type[Any]) -> Any:
    return lambda value: type(value) in kinds


@attrs.frozen
class ErrorRate:
    """More errors than this within a window count as too many."""

    errors_per_second: float = key(Quantity("number", above=True), 5.0, help="errors per second, over a window")
    window: float = key(_SOME_TIME, 1.0, help="length of the window")


@attrs.frozen
class Retries:
    """Repeat a call that failed with an error that may pass; all attempts are one operation in the results."""

    attempts: int = key(_ONE_OR_MORE, 5, help="attempts in all, the first one included")
    base_delay: float = key(_SECONDS, 0.1, help="longest wait before the first repeat; it doubles with each")
    max_delay: float = key(_SECONDS, 10.0, help="longest wait before any repeat")
    deadline: float | None = key(Optional(_SECONDS), 60.0, help="no repeat begins later than this; none: no limit")

    def __attrs_post_init__(self) -> None:
        if self.base_delay > self.max_delay:
            raise InvalidFieldError("base_delay", f"{self.base_delay:g} is more than max_delay, {self.max_delay:g}")


@attrs.frozen
class OnError:
    """What happens when operations fail. Each failure is counted and reported in any case."""

    max_total_errors: int | None = key(Optional(_COUNT), 100, help="more errors than this are too many; none: no limit")
    error_rate: ErrorRate | None = key(
        Optional(Record(ErrorRate)), None, help="more errors per second than this are too many; none: no limit"
    )
    action: str = key(
        Word(("stop", "continue")),
        "stop",
        help="when there are too many: stop and report what was measured, or go on; the exit code is 3 either way",
    )
    retries: Retries | None = key(
        Optional(Record(Retries)), None, help="repeat calls whose error may pass; none: every failure counts at once"
    )


@attrs.frozen
class Config:
    """A whole run.

    It ends when ``duration`` is over, when ``total_operations`` have been started, or when every operation has
    nothing left to take (``each_once``), whichever comes first. What runs during ``warmup`` counts neither for the
    results nor for ``total_operations``; ``duration`` begins after it.
    """

    target: str | None = key(
        Optional(Text("a URI or a directory", ("file:///mnt/bench/", "./bench/"))),
        None,
        help="where the run works: paths are relative to it; options may follow, as in file:///mnt/?name=value",
    )
    name: str | None = key(
        Optional(Text("a name without /")), None, help="name of the run in its results; none: the file's name"
    )
    duration: float | None = key(
        Optional(_SOME_TIME), 60.0, help="how long to measure; none: no limit; default with phases of a rate: their sum"
    )
    total_operations: int | None = key(Optional(_ONE_OR_MORE), None, help="how many to measure; none: no limit")
    warmup: float = key(_SECONDS, 0.0, help="run this long first and keep it out of the results")
    cooldown: float = key(
        _SECONDS, 0.0, help="go on this long at the end, so that what is measured last has company, and keep it out"
    )
    stop_when_stable: StopWhenStable | None = key(
        STABLE, None, help="end before duration when throughput and latency have been stable: on, or how; off"
    )
    repeat: int = key(
        Quantity("count", minimum=1, maximum=1000),
        1,
        help="how often everything that is measured is done, with the spread over the repeats in the results; "
        "prepared objects that a repeat has deleted are made again before the next",
    )
    concurrency: int = key(
        Quantity("count", minimum=1, maximum=100_000), 16, help="operations in flight, over all processes of the host"
    )
    processes: int | str = key(
        Either((Word(("auto",)), Quantity("count", minimum=1, maximum=4096)), (_is(str), _is(int))),
        "auto",
        help="worker processes; auto: one per core, never more than concurrency",
    )
    cpu_binding: str = key(
        Word(("auto", "off")),
        "auto",
        help="auto: with a worker process for each processor, each is bound to one, because Python's threads cost "
        "several times the CPU when they wake each other across processors; off: the kernel places them",
    )
    rate: Rate | None = key(
        RATE,
        None,
        help="max: each thread starts its next operation when the last has ended; or planned arrivals, at one rate or "
        "in phases: [{for: 30s, ops_per_second: 1000}, {for: 1m, ops_per_second: {from: 1000, to: 5000}}]",
    )
    seed: int = key(_COUNT, 0, help="every random choice derives from it: same seed, same plan")
    selection: Selection = key(SELECTION, Uniform(), help="how operations choose objects, unless they say so")
    reuse_puts: bool = key(
        Flag(),
        False,
        help="gets, stats, copies and deletes may also choose what puts of this run, or of the same stage, have made, "
        "where its name matches; "
        "each lane chooses among its own, so that none needs to know of the others",
    )
    verify: str = key(
        Word(("off", "size", "checksum", "content")),
        "off",
        help="what reads check against what was written, which is made again from the seed. size: how many bytes; "
        "checksum: the CRC-32C of each 64 KiB; content: every byte. A read that is wrong is an error; one of an object "
        "that the run knows nothing of is counted as not checked. Latencies include the check",
    )
    workload: tuple[Operation, ...] = key(
        ListOf(OPERATION, partial=True),
        (),
        help="the operations, each with its weight; needed unless every stage has its own",
    )
    stages: tuple[Stage, ...] = key(
        ListOf(STAGE, partial=True), (), help="parts of the run that follow each other; empty: the run is one"
    )
    prepare: Prepare = key(
        PREPARE,
        Prepare(),
        help="what must exist before the run",
    )
    cleanup: bool = key(Flag(), False, help="delete, at the end, what this run created, and nothing else")
    on_error: OnError = key(Record(OnError), OnError(), help="what happens when operations fail")
    op_log: str | bool = key(
        Either((Flag(), Text("a file")), (_is(bool), _is(str))),
        False,
        help="log every operation: true for a file in the result directory, or a path; false: no log",
    )
    live_interval: float = key(
        Quantity("duration", minimum=0.1), 1.0, help="time between two lines of the live view and of the time series"
    )
    results_dir: str = key(Text("a directory"), ".", help="where the result directory is made")
    page_cache_mode: str | None = key(
        Optional(Word(("auto", "sequential", "random", "dontneed", "normal"))),
        None,
        help="what the kernel is told of the page cache, on every backend of this file: its option page_cache; an "
        "error where a backend has no such option; none: as backend says",
    )
    backend: Mapping[str, Mapping[str, str | None]] = key(
        Table(), attrs.Factory(dict), help="options of backends by scheme, as penstock plugins show lists them"
    )
    multi_endpoint: MultiEndpoint | None = key(
        MULTI_ENDPOINT, None, help="other URIs that show what target shows; its calls are spread over all; none: target"
    )
    range_engine: RangeEngine | None = key(
        RANGE_ENGINE, None, help="read long objects as ranges at the same time: on, or how; off: in one request"
    )
    size_cache: SizeCache | None = key(
        SIZE_CACHE, None, help="remember what stat says: on, or how much and how long; off: ask each time"
    )
    verify_writes: WriteVerification | None = key(
        VERIFY_WRITES, None, help="look at each write once more: by stat, or read it back; off: trust the answer"
    )
    compression: CompressionKeys | None = key(
        COMPRESSION, None, help="keep objects compressed: zstd, or how; off: as they are"
    )
    faults: FaultKeys | None = key(FAULTS, None, help="what goes wrong on purpose; none: nothing")
    launcher: LauncherChoice = key(
        LAUNCHER,
        LauncherChoice(),
        help="where worker processes start: local, this host; or a launcher of a plugin, with its options, as penstock "
        "plugins show lists them",
    )
    distributed: Distributed = key(DISTRIBUTED, Distributed(), help="what is to be said of several hosts")

    def of_stage(self, stage: Stage) -> Config:
        """The configuration of one stage as that of a run without stages."""
        own, stable = stage.stop_when_stable, self.stop_when_stable
        if isinstance(own, StopWhenStable):
            stable = own
        most = own.at_most if isinstance(own, StopWhenStable) else None
        ends = (stage.duration or most, stage.total_operations)
        duration, total = (self.duration, self.total_operations) if ends == (None, None) else ends
        if stable is self.stop_when_stable and stable is not None and ends != (None, None):
            # What the run says of its duration is not about a stage that has its own.
            stable = attrs.evolve(stable, at_most=None)
        return attrs.evolve(
            self,
            name=stage.name,
            stages=(),
            workload=stage.workload or self.workload,
            duration=duration,
            total_operations=total,
            warmup=stage.warmup,
            cooldown=stage.cooldown,
            stop_when_stable=None if own == "off" else stable,
            repeat=1,
            concurrency=stage.concurrency or self.concurrency,
            rate=stage.rate or self.rate,
        )

    def parts(self) -> tuple[Config, ...]:
        """The configuration of each stage; itself where there are none."""
        return tuple(self.of_stage(stage) for stage in self.stages) or (self,)

    def for_host(self, rank: int, agent: int | None = None) -> Config:
        """The configuration as one of several hosts has it: :func:`penstock.workload.hosting.for_host`."""
        return for_host(self, rank, agent)

    def options(self, scheme: str) -> dict[str, str | None]:
        """The options of a scheme's stores that this configuration gives."""
        mode = {} if self.page_cache_mode is None else {"page_cache": self.page_cache_mode}
        return mode | dict(self.backend.get(scheme, {}))

    def locate(self, path: str) -> str:
        """The whole URI of an operation's path: itself, or below the target (without the target's options)."""
        if "://" in path or self.target is None:
            return path
        return join(str(parse_store(self.target)), path)


#: How a configuration stands in a file.
CONFIG = Record(
    Config,
    {
        INCLUDE: "include stands at the top of a file, and nowhere else",
        "hot_set": "unknown key; write selection: {hot_set: {fraction: …, probability: …}}",
        "io_rate": "unknown key; write rate: {ops_per_second: …, arrivals: poisson}",
        "warmup_period": "unknown key; write warmup",
        "error_handling": "unknown key; write on_error",
        "op_log_path": "unknown key; write op_log",
        "repeats": "unknown key; write repeat",
        "cool_down": "unknown key; write cooldown",
        "steady_state": "unknown key; write stop_when_stable",
        "perf_log": "unknown key; the time series is always written, every live_interval",
    },
)


#: Every key at the top of a file.
_OWN = frozenset(fields_of(Config))


@attrs.frozen
class Converted:
    """A file of the older tools as one of penstock's, and what became of its keys.

    Without ``older`` there was nothing to rewrite, and the text is as it was.
    """

    text: str
    notes: tuple[str, ...]
    older: bool


@attrs.frozen
class Loaded:
    """A configuration, the text it was read from, and the name of the run.

    ``files`` are all files it was read from, the first one first. ``notes`` say how keys of older tools were read.
    """

    config: Config
    text: str
    name: str
    files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def load(
    path: str,
    *,
    overrides: Iterable[str] = (),
    environ: Mapping[str, str],
    edit: Callable[[Node], Node] | None = None,
) -> Loaded:
    """Read a workload file; ``-`` is standard input.

    ``overrides`` are ``a.b[0].c=value``, applied in order, and ``edit`` makes the tree that is read of the one that
    this comes to. Raises ConfigError with every problem that was found.
    """
    text = read_text(path)
    label = "standard input" if path == "-" else path
    problems, notes = Problems(), Problems()
    config = _loads(text, label, overrides, environ, problems, notes, edit)
    stem = "run" if path == "-" else os.path.splitext(os.path.basename(path))[0]
    return Loaded(config, text, config.name or stem, tuple(problems.labels), notes.texts())


def loads(text: str, *, label: str, overrides: Iterable[str] = (), environ: Mapping[str, str]) -> Config:
    """Read a workload from text; ``label`` is what problems are reported under, and what includes lie beside."""
    return _loads(text, label, overrides, environ, Problems(), Problems())


def convert(path: str, *, environ: Mapping[str, str]) -> Converted:
    """Rewrite a file of the older tools in penstock's keys, with everything that it includes; ``-`` is standard input.

    Variables are kept. Raises ConfigError for what can't be taken over, and for a file that would not load.
    """
    text = read_text(path)
    label = "standard input" if path == "-" else path
    problems = Problems()
    root = compose(text, label, CONFIG, problems, None)
    if root is None or root.kind != "mapping":
        problems.raise_any()
        raise ConfigError([f"{label}: write a mapping of keys"])
    if not older_keys(root):
        return Converted(text, (), older=False)
    new, notes = rewrite(root, _OWN, problems)
    problems.raise_any()
    told = notes.texts()
    if "${" not in text:
        _read(new, Problems())
    heading = [f"Rewritten by penstock config convert from {os.path.basename(label)}. What became of its keys:", *told]
    return Converted(write_yaml(new, comments=heading), told, older=True)


def _loads(
    text: str,
    label: str,
    overrides: Iterable[str],
    environ: Mapping[str, str],
    problems: Problems,
    notes: Problems,
    edit: Callable[[Node], Node] | None = None,
) -> Config:
    root = compose(text, label, CONFIG, problems, environ)
    if root is not None and root.kind == "mapping" and is_older(root, _OWN):
        root, told = rewrite(root, _OWN, problems)
        notes.extend(told)
        problems.raise_any()
    if root is None:
        problems.raise_any()
        raise AssertionError("a file without a tree has a problem")
    for assignment in overrides:
        root = override(root, assignment, problems)
    if root.kind != "mapping":
        problems.add(root.mark, "", f"write a mapping of keys, not {root.describe()}")
        problems.raise_any()
    return _read(root if edit is None else edit(root), problems)


def dump(config: Config, *, secrets: bool = True) -> dict[str, Any]:
    """Plain data with every default written out: what a program can read, and :func:`restore` takes.

    Without ``secrets`` the values of secret options, and of variables that agents are given, are ``***``: for people
    to see.
    """
    return CONFIG.dump(config if secrets else masked(config))


def restore(plain: Mapping[str, Any], *, label: str = "plan") -> Config:
    """The configuration that :func:`dump` was called on, checked again. Nothing is substituted."""
    return _read(from_plain(plain, Mark(label)), Problems())


def _usual_duration(config: Config) -> float | None:
    """Where the file gives none."""
    stable = config.stop_when_stable
    if stable is not None and stable.at_most is not None:
        return stable.at_most
    return (config.rate.seconds if config.rate is not None else None) or config.duration


def _read(root: Node, problems: Problems) -> Config:
    reader = Reader(problems)
    config = reader.read(CONFIG, root, "")
    if config is not FAILED and "duration" not in reader.marks:
        config = attrs.evolve(config, duration=_usual_duration(config))
    if config is not FAILED:
        checks.check(config, reader)
    problems.raise_any()
    assert isinstance(config, Config)
    return config
