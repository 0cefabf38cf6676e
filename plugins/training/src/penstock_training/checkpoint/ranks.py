"""Whether the shards of several ranks make one checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from penstock.errors import ChecksumMismatchError, ObjectNotFoundError, UsageError
from penstock.samples.spans import together
from penstock_training.checkpoint.manifest import Shard

if TYPE_CHECKING:
    from penstock import Store

__all__ = ["check_ranks", "check_shards", "check_world"]

#: Ranks are written with five digits.
_MOST: Final = 100_000


def check_ranks(rank: int, world_size: int) -> None:
    """Raise UsageError unless ``0 <= rank < world_size <= 100,000``."""
    if not (1 <= world_size <= _MOST and 0 <= rank < world_size):
        raise UsageError(f"rank {rank} of {world_size}: ranks go from 0 to world_size - 1, of at most {_MOST}")


def check_world(step: int, shards: Iterable[Shard]) -> Sequence[Shard]:
    """The shards by rank. Raises UsageError unless each rank of one world has one, of this step."""
    ranked = sorted(shards, key=lambda shard: shard.rank)
    if not ranked:
        raise UsageError("a checkpoint has at least one shard")
    for shard in ranked:
        if shard.step != step:
            raise UsageError(f"the shard of rank {shard.rank} is of step {shard.step}, not {step}")
    worlds = {shard.world_size for shard in ranked}
    if len(worlds) != 1:
        raise UsageError(
            f"the shards are of worlds of {', '.join(map(str, sorted(worlds)))} ranks; commit those of one"
        )
    (world_size,) = worlds
    ranks = [shard.rank for shard in ranked]
    if ranks != list(range(world_size)):
        missing = sorted(set(range(world_size)) - set(ranks))
        twice = sorted({rank for rank in ranks if ranks.count(rank) > 1})
        what = [f"missing: {_some(missing)}" for _ in missing[:1]] + [f"there twice: {_some(twice)}" for _ in twice[:1]]
        raise UsageError(f"a checkpoint has one shard of each of its {world_size} ranks; {'; '.join(what)}")
    return ranked


def check_shards(store: Store, shards: Sequence[Shard]) -> None:
    """Raise unless every shard is there in its size: whoever commits vouches for what others have written."""

    def look(number: int) -> None:
        shard = shards[number]
        try:
            info = store.stat(shard.key)
        except ObjectNotFoundError as error:
            raise ObjectNotFoundError(
                f"the shard of rank {shard.rank} is not there; save it again",
                uri=store.uri + shard.key,
                operation="commit",
            ) from error
        if info.size != shard.size:
            raise ChecksumMismatchError(
                f"the shard of rank {shard.rank} has {info.size} bytes, and {shard.size} were written",
                uri=store.uri + shard.key,
                operation="commit",
            )

    together(look, len(shards), store.threads)


def _some(ranks: Sequence[int]) -> str:
    return ", ".join(map(str, ranks[:10])) + (", …" if len(ranks) > 10 else "")
