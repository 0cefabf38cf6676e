"""The layers that a store is opened with, and the one order in which they are put on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs

from penstock.errors import UsageError
from penstock.layers.checksums import Checksummed, Checksums
from penstock.layers.compression import Compressed, Compression
from penstock.layers.endpoints import Balanced, Endpoints
from penstock.layers.faults import Faults, Faulty
from penstock.layers.ranges import Ranged, Ranges
from penstock.layers.sizes import Sized, Sizes
from penstock.layers.timing import REAL, Timing
from penstock.layers.verify import Verified, VerifyWrites
from penstock.store import ObjectStore

__all__ = ["Layers", "Stack", "apply"]

Wrap = Callable[[ObjectStore], ObjectStore]


@attrs.frozen(kw_only=True)
class Layers:
    """What is put on a store; None leaves a layer out. It pickles, so a plan may carry it."""

    faults: Faults | None = None
    endpoints: Endpoints | None = None
    sizes: Sizes | None = None
    ranges: Ranges | None = None
    verify: VerifyWrites | None = None
    compression: Compression | None = None
    checksums: Checksums | None = None


@attrs.frozen(kw_only=True)
class Stack:
    """A store with its layers, and those of them that have something to tell: counts, statistics, sizes.

    ``faulty`` has one for each endpoint. Closing ``store`` closes everything below it.
    """

    store: ObjectStore
    faulty: tuple[Faulty, ...] = ()
    balanced: Balanced | None = None
    sized: Sized | None = None
    ranged: Ranged | None = None
    verified: Verified | None = None
    compressed: Compressed | None = None
    checksummed: Checksummed | None = None


def apply(
    members: Sequence[tuple[str, ObjectStore]],
    layers: Layers,
    *,
    wrap: Wrap | None = None,
    timing: Timing = REAL,
) -> Stack:
    """Put the layers on one store, or on several that are endpoints of one namespace, each with the URI of its root.

    ``wrap`` is put between what makes requests and what splits and checks calls: there retries belong, which then
    repeat a range, not a whole read. Raises UsageError where a layer does not suit the stores; they are the caller's
    to close then.
    """
    if not members:
        raise UsageError("layers are put on at least one store")
    base = members[0][0]
    faulty: tuple[Faulty, ...] = ()
    if layers.faults is not None:
        faulty = tuple(
            Faulty(store, attrs.evolve(layers.faults, seed=layers.faults.seed + place), base_uri=uri, timing=timing)
            for place, (uri, store) in enumerate(members)
        )
        members = [(uri, layer) for (uri, _), layer in zip(members, faulty, strict=True)]
    balanced = None
    if layers.endpoints is not None or len(members) > 1:
        balanced = Balanced(members, layers.endpoints or Endpoints(), timing=timing)
    store: ObjectStore = balanced if balanced is not None else members[0][1]
    if wrap is not None:
        store = wrap(store)
    return _checking(store, layers, base, Stack(store=store, faulty=faulty, balanced=balanced), timing)


def _checking(store: ObjectStore, layers: Layers, base: str, stack: Stack, timing: Timing) -> Stack:
    sized = ranged = verified = compressed = checksummed = None
    if layers.sizes is not None:
        store = sized = Sized(store, layers.sizes, timing=timing)
    if layers.ranges is not None:
        store = ranged = Ranged(store, layers.ranges, base_uri=base, known=sized.known if sized is not None else None)
    if layers.verify is not None:
        store = verified = Verified(store, layers.verify, base_uri=base)
    if layers.compression is not None:
        store = compressed = Compressed(store, layers.compression, base_uri=base)
    if layers.checksums is not None:
        store = checksummed = Checksummed(store, layers.checksums, base_uri=base)
    return attrs.evolve(
        stack,
        store=store,
        sized=sized,
        ranged=ranged,
        verified=verified,
        compressed=compressed,
        checksummed=checksummed,
    )
