"""What a replay is asked to do, as plain values that travel to every worker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from penstock.analysis.values import Moment
from penstock.errors import UsageError
from penstock.oplog import OPERATIONS
from penstock.options import nearest
from penstock.replay.rules import Rule, dump_rules, restore_rules

__all__ = ["Backpressure", "Settings", "Window", "parse_operations"]

_MOMENTS: Final = ("begin", "end")


@attrs.frozen(kw_only=True)
class Backpressure:
    """What happens when the schedule can't be kept. Times are in seconds.

    An operation's lag is from when it was due to when it started. Above ``lag_threshold`` the replay is behind:
    from then on operations start as soon as a lane is free, until the lag is below ``recovery_threshold`` and they
    are paced again. Each such change is a flap; more than ``max_flaps_per_minute`` of them within a minute end the
    replay, because it measures its own swinging (0: it never ends for that). At most ``max_in_flight`` operations are
    under way in the whole replay; those that are due wait, and none is dropped. After an interrupt or a stop the
    operations under way have ``drain_timeout`` to end; those that do not are given up and counted.
    """

    lag_threshold: float = 5.0
    recovery_threshold: float = 1.0
    max_flaps_per_minute: int = 3
    drain_timeout: float = 10.0
    max_in_flight: int = 1000

    def __attrs_post_init__(self) -> None:
        if self.recovery_threshold > self.lag_threshold:
            raise UsageError(
                f"the recovery threshold, {self.recovery_threshold:g} s, is above the lag threshold, "
                f"{self.lag_threshold:g} s; write a smaller one"
            )


@attrs.frozen(kw_only=True)
class Window:
    """How far out of order a log may be: a row is moved before at most ``rows`` others, and over ``seconds``."""

    rows: int = 100_000
    seconds: float = 600.0


@attrs.frozen(kw_only=True)
class Settings:
    """One replay.

    ``speed`` is None for as fast as possible. ``operations`` that are replayed, empty: all. ``begin`` (inclusive) and
    ``end`` (exclusive) bound the recorded starts, ``limit`` the rows that these leave. ``in_place`` allows names
    that no rule and no target moves, ``options`` go to the stores. ``fill`` is a payload, to which the
    factors are applied within each object. Puts above ``multipart_above`` bytes are sent in
    parts of ``part_size``. More than ``max_errors`` failures end it; None: none do. ``processes`` is None for as many
    as needed. ``op_log_due`` adds a column to the op-log: when each call was due.
    ``range_offsets`` is for ranges of which the log holds no offset: ``spread`` over the object, or at its ``start``.
    """

    log: str
    speed: float | None = 1.0
    target: str | None = None
    rules: tuple[Rule, ...] = ()
    in_place: bool = False
    options: Mapping[str, str] = attrs.Factory(dict)
    operations: frozenset[str] = frozenset()
    limit: int | None = None
    begin: Moment | None = None
    end: Moment | None = None
    window: Window = Window()
    skip_bad_rows: bool = False
    prepare: bool = False
    cleanup: bool = False
    fill: str = "random"
    dedup_factor: float = 1.0
    compress_factor: float = 1.0
    multipart_above: int = 32 << 20
    part_size: int = 16 << 20
    backpressure: Backpressure = Backpressure()
    max_errors: int | None = None
    processes: int | None = None
    seed: int = 0
    live_interval: float = 1.0
    range_offsets: str = "spread"
    op_log: str | bool = False
    op_log_due: bool = False
    results_dir: str = "."

    def to_message(self) -> dict[str, Any]:
        """What JSON can hold."""
        message = attrs.asdict(self, filter=lambda field, _: field.name != "rules")
        return message | {"operations": sorted(self.operations), "rules": dump_rules(self.rules)}

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> Settings:
        """What :meth:`to_message` was called on."""
        values = dict(message)
        for name in _MOMENTS:
            if values[name] is not None:
                values[name] = Moment(**values[name])
        return cls(
            **values
            | {
                "operations": frozenset(values["operations"]),
                "rules": restore_rules(values["rules"]),
                "window": Window(**values["window"]),
                "backpressure": Backpressure(**values["backpressure"]),
            }
        )


def parse_operations(text: str) -> frozenset[str]:
    """``GET,PUT`` as a set; HEAD is STAT. Raises UsageError for what is no operation."""
    names = {name.strip().upper() for name in text.split(",") if name.strip()}
    for name in names:
        if name not in OPERATIONS:
            raise UsageError(f"--ops: no operation is called {name}; {nearest(name, OPERATIONS)}")
    if not names:
        raise UsageError("--ops: write operations with commas between them, such as GET,PUT")
    return frozenset("STAT" if name == "HEAD" else name for name in names)
