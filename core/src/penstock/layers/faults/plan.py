"""What is to go wrong, and when: values that pickle and travel with a plan."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, ClassVar, Final, Literal, get_args

import attrs

from penstock import errors
from penstock.globs import compile_glob

__all__ = [
    "OPERATIONS",
    "Corrupt",
    "Delay",
    "Effect",
    "Fail",
    "Faults",
    "Lose",
    "Rule",
    "Service",
    "Stale",
    "Stall",
    "Torn",
    "Truncate",
]

#: The calls that faults can happen to. ``write`` and ``commit`` are a writer's.
OPERATIONS: Final = ("get", "put", "open_writer", "write", "commit", "stat", "list_pages", "delete", "copy")

_When = Literal["before", "within", "after"]
_Shape = Literal["fixed", "uniform", "exponential", "lognormal"]


def _at_least(least: float) -> Any:
    def check(_: object, field: attrs.Attribute[Any], value: float | None) -> None:
        if value is not None and not least <= value < math.inf:
            raise ValueError(f"{field.name} can't be {value}; write {least} or more")

    return check


def _words(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(words)


def _above_zero(_: object, field: attrs.Attribute[Any], value: float | None) -> None:
    if value is not None and not 0 < value < math.inf:
        raise ValueError(f"{field.name} can't be {value}; write seconds, more than 0")


def _one_of(kind: Any) -> Any:
    return attrs.validators.in_(get_args(kind))


def _error_name(error: str | type[errors.StoreError]) -> str:
    return error if isinstance(error, str) else error.__name__


def _check_error(_: object, __: object, name: str) -> None:
    if name not in _ERRORS:
        raise ValueError(f"error can't be {name!r}; known: {', '.join(sorted(_ERRORS))}")


#: The names of every error that a store raises.
_ERRORS: Final = frozenset(
    name
    for name in errors.__all__
    if isinstance(kind := getattr(errors, name), type)
    if issubclass(kind, errors.StoreError)
)


@attrs.frozen(kw_only=True)
class Fail:
    """Raise an error of :mod:`penstock.errors`, named by its class.

    ``before``: the store is not asked. ``after``: it is, and its answer is lost. ``within``: of a read ``at`` bytes
    are delivered first, of a batch of deletes the keys that the rule covers fail and the others are deleted; other
    calls don't have it. A writer takes the bytes of a ``write`` that fails, as the contract wants of a retryable
    failure. ``retryable`` None means what the class says, ``retry_after`` is in seconds.
    """

    operations: ClassVar[tuple[str, ...]] = OPERATIONS

    error: str = attrs.field(default="StoreConnectionError", converter=_error_name, validator=_check_error)
    when: _When = attrs.field(default="before", validator=_one_of(_When))
    at: int = attrs.field(default=0, validator=_at_least(0))
    message: str = "an injected fault"
    status: int | None = None
    code: str | None = None
    retryable: bool | None = None
    retry_after: float | None = attrs.field(default=None, validator=_at_least(0))


@attrs.frozen(kw_only=True)
class Delay:
    """Wait before the call is carried out: ``seconds`` exactly, or on average.

    ``uniform`` draws from 0 to twice that, ``lognormal`` with the sigma of ``sigma`` (1: a long tail).
    """

    operations: ClassVar[tuple[str, ...]] = OPERATIONS

    seconds: float = attrs.field(validator=_at_least(0))
    distribution: _Shape = attrs.field(default="fixed", validator=_one_of(_Shape))
    sigma: float = attrs.field(default=1.0, validator=_at_least(0))


@attrs.frozen(kw_only=True)
class Stall:
    """Serve nothing for ``seconds``: the calls that come then wait for the end of it.

    It begins ``at`` seconds after the first call that the rule covers, and again ``every`` so many seconds (None:
    once).
    """

    operations: ClassVar[tuple[str, ...]] = OPERATIONS

    seconds: float = attrs.field(validator=_above_zero)
    at: float = attrs.field(default=0.0, validator=_at_least(0))
    every: float | None = attrs.field(default=None, validator=_above_zero)

    def __attrs_post_init__(self) -> None:
        if self.every is not None and self.every <= self.seconds:
            raise ValueError(f"a stall of {self.seconds} s every {self.every} s never ends; write a longer every")


@attrs.frozen(kw_only=True)
class Service:
    """Serve ``concurrency`` calls at a time, each in ``seconds`` (exactly, or drawn as :class:`Delay` draws).

    Others wait in the order in which they came, so ``concurrency / seconds`` calls per second is the most that the
    store of this process can do, however exactly the computer sleeps.
    """

    operations: ClassVar[tuple[str, ...]] = OPERATIONS

    concurrency: int = attrs.field(validator=attrs.validators.ge(1))
    seconds: float = attrs.field(validator=_above_zero)
    distribution: _Shape = attrs.field(default="fixed", validator=_one_of(_Shape))
    sigma: float = attrs.field(default=1.0, validator=_at_least(0))


@attrs.frozen(kw_only=True)
class Truncate:
    """Leave away what follows the first ``at`` bytes of a read or a put, and answer as if all had been moved.

    A listing ends before the page that the rule covers.
    """

    operations: ClassVar[tuple[str, ...]] = ("get", "put", "list_pages")

    at: int = attrs.field(default=0, validator=_at_least(0))


@attrs.frozen(kw_only=True)
class Corrupt:
    """Flip ``bits`` bits of the byte at ``offset`` of the object, the lowest ones.

    None: one byte, drawn from the first piece that is moved. A range that does not hold the offset comes as it is.
    """

    operations: ClassVar[tuple[str, ...]] = ("get", "put", "write")

    offset: int | None = attrs.field(default=None, validator=_at_least(0))
    bits: int = attrs.field(default=1, validator=[attrs.validators.ge(1), attrs.validators.le(8)])


@attrs.frozen(kw_only=True)
class Stale:
    """Answer with the version that the object had before this store last changed it.

    For that each write reads what it replaces first, where a rule covers the key; at most ``Faults.history`` bytes
    are kept. An object without an older version is answered as it is.
    """

    operations: ClassVar[tuple[str, ...]] = ("get", "stat")


@attrs.frozen(kw_only=True)
class Torn:
    """Give the new version up to byte ``at`` and the previous one from there on, in the new one's length.

    Of a put that is what is stored. Where the previous version is shorter, its bytes end earlier; without one nothing
    is torn.
    """

    operations: ClassVar[tuple[str, ...]] = ("get", "put")

    at: int = attrs.field(default=0, validator=_at_least(0))


@attrs.frozen(kw_only=True)
class Lose:
    """Answer a put, a commit or a delete as if it were done, and do nothing."""

    operations: ClassVar[tuple[str, ...]] = ("put", "commit", "delete")


Effect = Fail | Delay | Stall | Service | Truncate | Corrupt | Stale | Torn | Lose


@attrs.frozen(kw_only=True)
class Rule:
    """One effect and the calls that it happens to: ``operations`` (none: all that the effect acts on) on keys that
    match the glob ``keys``.

    Of these calls, counted from 1 (a batch of deletes is one call; for effects on single keys each key is one), the
    first ``after`` are spared; of the others each ``every``-th is taken, or only the ``nth`` of all; of those each with
    ``probability``; and no more than ``limit`` of them.
    """

    effect: Effect
    operations: tuple[str, ...] = attrs.field(default=(), converter=_words)
    keys: str = "**"
    probability: float = attrs.field(default=1.0, validator=[attrs.validators.ge(0.0), attrs.validators.le(1.0)])
    nth: int | None = attrs.field(default=None, validator=_at_least(1))
    every: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    after: int = attrs.field(default=0, validator=_at_least(0))
    limit: int | None = attrs.field(default=None, validator=_at_least(0))

    def __attrs_post_init__(self) -> None:
        for operation in self.operations:
            if operation not in OPERATIONS:
                raise ValueError(f"operations can't hold {operation!r}; known: {', '.join(OPERATIONS)}")
            if operation not in self._possible():
                name = type(self.effect).__name__
                raise ValueError(f"{name} does not act on {operation}; it acts on {', '.join(self._possible())}")

    def covers(self, operation: str, key: str) -> bool:
        """Whether such a call is among those that the rule counts."""
        return operation in (self.operations or self._possible()) and compile_glob(self.keys).matches(key)

    def _possible(self) -> tuple[str, ...]:
        within = isinstance(self.effect, Fail) and self.effect.when == "within"
        return ("get", "delete") if within else self.effect.operations


def _rules(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    return tuple(rules)


@attrs.frozen(kw_only=True)
class Faults:
    """Everything that is to go wrong on a store. ``history`` is how many bytes of previous versions are kept."""

    rules: tuple[Rule, ...] = attrs.field(default=(), converter=_rules)
    seed: int = attrs.field(default=0, validator=_at_least(0))
    history: int = attrs.field(default=64 * 1024 * 1024, validator=_at_least(0))
