"""What a run puts on its stores, as it stands in the configuration; see :mod:`penstock.layers`."""
# ruff: noqa: RUF009 -- key() makes an attrs field, no value

from __future__ import annotations

from typing import Any

import attrs

from penstock import errors
from penstock.errors import StoreError, UsageError
from penstock.layers import faults as effects
from penstock.layers.compression import Compression
from penstock.layers.endpoints import POLICIES, Endpoints, expand, read_endpoints
from penstock.layers.ranges import Ranges
from penstock.layers.sizes import Sizes
from penstock.layers.stack import Layers
from penstock.layers.verify import VerifyWrites
from penstock.workload.fields import Record, key
from penstock.workload.shapes import (
    Either,
    Flag,
    InputFile,
    InvalidFieldError,
    ListOf,
    Optional,
    Quantity,
    Text,
    Word,
)

__all__ = [
    "COMPRESSION",
    "FAULTS",
    "MULTI_ENDPOINT",
    "RANGE_ENGINE",
    "SIZE_CACHE",
    "VERIFY_WRITES",
    "AtKeys",
    "CompressionKeys",
    "CorruptKeys",
    "DelayKeys",
    "FailKeys",
    "FaultKeys",
    "FaultRule",
    "MultiEndpoint",
    "RangeEngine",
    "ServiceKeys",
    "SizeCache",
    "StallKeys",
    "WriteVerification",
    "layers_of",
]

_COUNT = Quantity("count")
_ONE_OR_MORE = Quantity("count", minimum=1)
_SECONDS = Quantity("duration")
_SOME_TIME = Quantity("duration", above=True)
_SIZE = Quantity("size", minimum=1)
_OFFSET = Quantity("size")
_SHAPE = Word(("fixed", "uniform", "exponential", "lognormal"))
_MIB = 1024 * 1024
_ERRORS = tuple(
    sorted(
        name
        for name in errors.__all__
        if isinstance(kind := getattr(errors, name), type) and issubclass(kind, StoreError)
    )
)


@attrs.frozen
class RangeEngine:
    """Reads that are longer than the threshold go as several ranges at once, all of one version of the object.

    A read is one operation all the same.
    """

    threshold: int = key(_SIZE, 16 * _MIB, help="reads of at most this are one request")
    part_size: int = key(_SIZE, 64 * _MIB, help="longest range after the first")
    concurrency: int | None = key(
        Optional(Quantity("count", minimum=1, maximum=1024)),
        None,
        help="ranges of one read at once; none: 16 on file systems, 32 elsewhere",
    )
    memory: int = key(
        Quantity("size", minimum=_MIB), 256 * _MIB, help="most that one read holds in memory, where it has no buffer"
    )
    resumes: int = key(
        Quantity("count", maximum=1000), 0, help="how often a range that breaks off goes on where it stopped"
    )

    def layer(self) -> Ranges:
        """As the layer has it."""
        return Ranges(**attrs.asdict(self))


@attrs.frozen
class SizeCache:
    """What stat says of an object is remembered; reads are never cut by it."""

    limit: int = key(_ONE_OR_MORE, 100_000, help="most objects that are remembered")
    ttl: float = key(_SOME_TIME, 60.0, help="how long")

    def layer(self) -> Sizes:
        """As the layer has it."""
        return Sizes(**attrs.asdict(self))


@attrs.frozen
class WriteVerification:
    """Each write is looked at once more; one that is found wrong is an error."""

    by: str = key(
        Word(("stat", "read")), "stat", help="stat: size, etag and the service's checksum; read: every byte, read back"
    )
    attempts: int = key(_ONE_OR_MORE, 1, help="how many times a put is attempted in all")

    def layer(self) -> VerifyWrites:
        """As the layer has it."""
        return VerifyWrites(**attrs.asdict(self))


@attrs.frozen
class CompressionKeys:
    """Objects are kept compressed by zstd, under names that end in .zst."""

    level: int = key(Quantity("count", minimum=1, maximum=22), 3, help="1 is quick, 22 small")
    frame_size: int = key(
        Quantity("size", minimum=1024, maximum=1024**3), 4 * _MIB, help="bytes of an object in one frame"
    )
    list_sizes: str = key(
        Word(("exact", "stored")), "exact", help="whose sizes a listing gives; exact costs a request for each object"
    )

    def layer(self) -> Compression:
        """As the layer has it."""
        return Compression(**attrs.asdict(self))


@attrs.frozen
class MultiEndpoint:
    """Other URIs of what target names, which show the same objects; calls are spread over target and all of them."""

    endpoints: tuple[str, ...] = key(
        ListOf(Text("a URI", ("/mnt/nfs{2...8}/bench/",))),
        (),
        help="the others; {2...8} in one stands for each number, {02...12} keeps its zeros",
    )
    file: str | None = key(Optional(InputFile()), None, help="a file with one of them in each line")
    policy: str = key(Word(POLICIES), "round_robin", help="which of them is asked next", aliases=("strategy",))
    writes: str = key(
        Word(("balanced", "first")), "balanced", help="where writes go: as all calls, or to the first that is well"
    )
    eject_after: int = key(_ONE_OR_MORE, 3, help="failures in a row after which an endpoint is left out")
    base_delay: float = key(_SOME_TIME, 1.0, help="how long, the first time; it doubles with each")
    max_delay: float = key(_SOME_TIME, 60.0, help="how long at most")

    def __attrs_post_init__(self) -> None:
        if not self.endpoints and self.file is None:
            raise ValueError("name the other endpoints: endpoints, a list of URIs, or file")
        if self.base_delay > self.max_delay:
            raise InvalidFieldError("base_delay", f"{self.base_delay:g} is more than max_delay, {self.max_delay:g}")
        try:
            for template in self.endpoints:
                expand(template)
        except UsageError as error:
            raise InvalidFieldError("endpoints", str(error)) from None

    def uris(self) -> list[str]:
        """Each of the others. Raises UsageError where their file can't be read."""
        uris = [uri for template in self.endpoints for uri in expand(template)]
        return uris + (read_endpoints(self.file) if self.file is not None else [])

    def layer(self, seed: int) -> Endpoints:
        """As the layer has it; ``seed`` is that of the policy ``random``."""
        return Endpoints(
            policy=self.policy,  # type: ignore[arg-type]
            writes=self.writes,  # type: ignore[arg-type]
            eject_after=self.eject_after,
            base_delay=self.base_delay,
            max_delay=self.max_delay,
            seed=seed,
        )


@attrs.frozen
class FailKeys:
    """Raise an error."""

    error: str = key(Word(_ERRORS), "StoreConnectionError", help="its class")
    when: str = key(
        Word(("before", "within", "after")),
        "before",
        help="before the call; within the body of a get, or on single keys of a delete; after it, its answer lost",
    )
    at: int = key(_OFFSET, 0, help="bytes of a get that are delivered first, with when: within")
    message: str = key(Text("a text"), "an injected fault", help="what the error says")
    status: int | None = key(Optional(_COUNT), None, help="its status code")
    code: str | None = key(Optional(Text("a word")), None, help="the service's code for it")
    retryable: bool | None = key(Optional(Flag()), None, help="whether it may pass; none: as its class")
    retry_after: float | None = key(Optional(_SECONDS), None, help="how long the service asks to wait")


@attrs.frozen
class DelayKeys:
    """Wait before the call."""

    seconds: float = key(_SECONDS, help="how long, on average where it is drawn", aliases=("time",))
    distribution: str = key(_SHAPE, "fixed", help="how it is drawn")
    sigma: float = key(Quantity("number"), 1.0, help="that of lognormal")


@attrs.frozen
class StallKeys:
    """Serve nothing for a while."""

    seconds: float = key(_SOME_TIME, help="how long", aliases=("time",))
    at: float = key(_SECONDS, 0.0, help="after the first call that the rule covers")
    every: float | None = key(
        Optional(_SOME_TIME), None, help="again each time so long after the last began; none: once"
    )


@attrs.frozen
class ServiceKeys:
    """Serve so many calls at a time, each in a known time; of each process."""

    concurrency: int = key(_ONE_OR_MORE, help="calls at a time")
    seconds: float = key(_SOME_TIME, help="how long each takes, on average where it is drawn", aliases=("time",))
    distribution: str = key(_SHAPE, "fixed", help="how it is drawn")
    sigma: float = key(Quantity("number"), 1.0, help="that of lognormal")


@attrs.frozen
class AtKeys:
    """Where in the object."""

    at: int = key(_OFFSET, 0, help="the first byte that is concerned")


@attrs.frozen
class CorruptKeys:
    """Flip bits."""

    offset: int | None = key(Optional(_OFFSET), None, help="of the byte; none: drawn")
    bits: int = key(Quantity("count", minimum=1, maximum=8), 1, help="how many of its bits")


#: What makes an effect of the value of each key.
_EFFECTS: dict[str, Any] = {
    "fail": lambda keys: effects.Fail(**attrs.asdict(keys)),
    "delay": lambda keys: effects.Delay(**attrs.asdict(keys)),
    "stall": lambda keys: effects.Stall(**attrs.asdict(keys)),
    "service": lambda keys: effects.Service(**attrs.asdict(keys)),
    "truncate": lambda keys: effects.Truncate(at=keys.at),
    "corrupt": lambda keys: effects.Corrupt(**attrs.asdict(keys)),
    "stale": lambda flag: effects.Stale(),
    "torn": lambda keys: effects.Torn(at=keys.at),
    "lose": lambda flag: effects.Lose(),
}


@attrs.frozen
class FaultRule:
    """One effect, of fail, delay, stall, service, truncate, corrupt, stale, torn and lose, and the calls it happens to.

    Of the calls that it covers the first ``after`` are spared, and of the others those taken that the rest says.
    """

    fail: FailKeys | None = key(Optional(Record(FailKeys)), None, help="raise an error")
    delay: DelayKeys | None = key(Optional(Record(DelayKeys)), None, help="wait before the call")
    stall: StallKeys | None = key(Optional(Record(StallKeys)), None, help="serve nothing for a while")
    service: ServiceKeys | None = key(
        Optional(Record(ServiceKeys)), None, help="serve so many calls at a time, each in a known time"
    )
    truncate: AtKeys | None = key(
        Optional(Record(AtKeys)), None, help="leave the rest of a get or put away, in silence"
    )
    corrupt: CorruptKeys | None = key(Optional(Record(CorruptKeys)), None, help="flip bits of a get or put")
    stale: bool = key(Flag(), False, help="answer get and stat with the version before")
    torn: AtKeys | None = key(Optional(Record(AtKeys)), None, help="mix a version with the one before")
    lose: bool = key(Flag(), False, help="answer put and delete as if they were done")
    operations: tuple[str, ...] = key(
        ListOf(Word(effects.OPERATIONS)), (), help="the calls; empty: all that the effect acts on"
    )
    keys: str = key(Text("a glob", ("**/part-*",)), "**", help="the keys, from the root of the store")
    probability: float = key(Quantity("number", maximum=1), 1.0, help="share of them that is taken")
    nth: int | None = key(Optional(_ONE_OR_MORE), None, help="only this one, counted from 1")
    every: int = key(_ONE_OR_MORE, 1, help="each so many")
    after: int = key(_COUNT, 0, help="so many are spared first")
    limit: int | None = key(Optional(_COUNT), None, help="no more than this are taken")

    def __attrs_post_init__(self) -> None:
        self.rule()

    def rule(self) -> effects.Rule:
        """As the layer has it. Raises ValueError for what can't be."""
        given = [name for name in _EFFECTS if getattr(self, name)]
        if len(given) != 1:
            said = f"not {' and '.join(given)}" if given else "and nothing else"
            raise ValueError(f"write one of {', '.join(_EFFECTS)}, {said}")
        return effects.Rule(
            effect=_EFFECTS[given[0]](getattr(self, given[0])),
            operations=self.operations,
            keys=self.keys,
            probability=self.probability,
            nth=self.nth,
            every=self.every,
            after=self.after,
            limit=self.limit,
        )


@attrs.frozen
class FaultKeys:
    """What goes wrong on purpose, on every store of the run and in each process by itself; preparing is not spared."""

    rules: tuple[FaultRule, ...] = key(ListOf(Record(FaultRule), minimum=1), help="each with one effect")
    seed: int = key(_COUNT, 0, help="with it the same calls are taken in every run")
    history: int = key(_OFFSET, 64 * _MIB, help="bytes of previous versions that are kept for stale and torn reads")

    def layer(self) -> effects.Faults:
        """As the layer has it."""
        return effects.Faults(rules=[rule.rule() for rule in self.rules], seed=self.seed, history=self.history)


def _is_one(kind: type[Any]) -> Any:
    return lambda value: type(value) is kind


def _switch(words: dict[str, Any], record: type[Any]) -> Either:
    """A mapping, or a word that stands for one of these values."""
    return Either((Word(tuple(words)), Record(record)), (lambda value: False, _is_one(record)), means=words)


RANGE_ENGINE = _switch({"off": None, "on": RangeEngine()}, RangeEngine)
SIZE_CACHE = _switch({"off": None, "on": SizeCache()}, SizeCache)
VERIFY_WRITES = _switch(
    {"off": None, "stat": WriteVerification(), "read": WriteVerification(by="read")}, WriteVerification
)
COMPRESSION = _switch({"off": None, "zstd": CompressionKeys()}, CompressionKeys)
FAULTS = Optional(Record(FaultKeys))
MULTI_ENDPOINT = Optional(Record(MultiEndpoint))


def layers_of(config: Any) -> Layers:
    """What lies on each store of a run, but for the endpoints, which are those of its target alone."""

    def layer(name: str) -> Any:
        keys = getattr(config, name)
        return None if keys is None else keys.layer()

    return Layers(
        faults=layer("faults"),
        sizes=layer("size_cache"),
        ranges=layer("range_engine"),
        verify=layer("verify_writes"),
        compression=layer("compression"),
    )
