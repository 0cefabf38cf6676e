"""Names of what a checkpoint consists of: ids, the keys of shards and manifests, and how shards are spread."""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Callable
from typing import Final, Literal

import attrs

from penstock.clocks import wall_ns
from penstock.errors import UsageError
from penstock_training.checkpoint.sums import crc32c

__all__ = [
    "LATEST",
    "MANIFESTS",
    "MAX_STEP",
    "SHARDS",
    "STRATEGIES",
    "ManifestName",
    "Placement",
    "ShardName",
    "Strategy",
    "check_step",
    "new_id",
    "parse_manifest_key",
    "parse_shard_key",
    "place",
]

LATEST: Final = "latest.json"
MANIFESTS: Final = "manifests/"
SHARDS: Final = "shards/"
#: Steps are written with 15 digits, so that keys sort as steps do.
MAX_STEP: Final = 10**15 - 1

Strategy = Literal["flat", "round_robin", "hashed"]
STRATEGIES: Final = ("flat", "round_robin", "hashed")

_ID = r"(?P<id>(?P<time>[0-9a-f]{16})-[0-9a-f]{16})"
_MANIFEST = re.compile(rf"manifests/(?P<step>\d{{15}})-{_ID}\.json\Z")
_SHARD = re.compile(
    rf"shards/(?:[0-9a-f]{{2}}/)?(?P<step>\d{{15}})-{_ID}-r(?P<rank>\d{{5}})\.(?:bin|safetensors)(?:\.zst)?\Z"
)


@attrs.frozen(slots=True, order=True)
class ManifestName:
    """A manifest's name. Later saves of one step are greater, those of a later step greater still."""

    step: int
    id: str

    @property
    def key(self) -> str:
        """The key of the manifest. Keys sort as names do."""
        return f"{MANIFESTS}{self.step:015d}-{self.id}.json"

    @property
    def time_ns(self) -> int:
        """When the id was made, in nanoseconds since 1970."""
        return int(self.id[:16], 16)


@attrs.frozen(slots=True)
class ShardName:
    """What the key of a shard tells: ``time_ns`` is when its writing began, in nanoseconds since 1970."""

    step: int
    id: str
    rank: int
    time_ns: int


class _Ids:
    """Times that rise within this process, also when the clock is set back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def next(self) -> str:
        with self._lock:
            self._last = max(self._last + 1, wall_ns())
            return f"{self._last:016x}-{secrets.token_hex(8)}"


_ids = _Ids()


def new_id() -> str:
    """A name that nobody else has: the time in nanoseconds, in 16 hexadecimal digits, and 64 random bits."""
    return _ids.next()


def check_step(step: int) -> int:
    """``step`` itself, or UsageError where it is none."""
    if isinstance(step, bool) or not isinstance(step, int) or not 0 <= step <= MAX_STEP:
        raise UsageError(f"step {step!r}: a step is a whole number from 0 to {MAX_STEP}")
    return step


def parse_manifest_key(key: str) -> ManifestName | None:
    """What a manifest's key tells; None for any other key."""
    match = _MANIFEST.match(key)
    return ManifestName(int(match["step"]), match["id"]) if match else None


def parse_shard_key(key: str) -> ShardName | None:
    """What a shard's key tells; None for any other key."""
    match = _SHARD.match(key)
    return ShardName(int(match["step"]), match["id"], int(match["rank"]), int(match["time"], 16)) if match else None


def _flat(rank: int, name: str) -> str:
    return ""


def _round_robin(rank: int, name: str) -> str:
    return f"{rank % 16:02x}/"


def _hashed(rank: int, name: str) -> str:
    return f"{crc32c(name.encode()) & 0xFF:02x}/"


#: From a shard's rank and name to the directory below ``shards/`` that it goes to, empty or with a slash at its end.
Placement = Callable[[int, str], str]
_PLACEMENTS: Final[dict[str, Placement]] = {"flat": _flat, "round_robin": _round_robin, "hashed": _hashed}


def place(strategy: str, *, step: int, rank: int, ending: str) -> str:
    """The key of a new shard. ``ending`` has no dot at its start.

    ``flat`` puts all in one directory, ``round_robin`` deals ranks to 16 of them, ``hashed`` spreads over 256 by the
    CRC-32C of the name: for stores that split their load by prefix.
    """
    name = f"{step:015d}-{new_id()}-r{rank:05d}.{ending}"
    return f"{SHARDS}{_PLACEMENTS[strategy](rank, name)}{name}"
