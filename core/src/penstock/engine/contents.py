"""From what a configuration says of content to payloads, and to the number that each object has in its payload."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from penstock.engine.formatting import FormattedPayload
from penstock.payload import Payload
from penstock.payloads.hashing import mix
from penstock.payloads.shaping import BLOCK, limits_of, shaped
from penstock.plugins import default_host
from penstock.workload import sizes
from penstock.workload.config import Config
from penstock.workload.content import Content
from penstock.workload.formatting import codec_of
from penstock.workload.operations import Put

__all__ = [
    "Contents",
    "Recipe",
    "content_limits",
    "prepared_number",
    "prepared_recipe",
    "put_number",
    "put_recipe",
]


@attrs.frozen
class Recipe:
    """Which payload: the same recipe and seed give the same bytes.

    ``across`` is how many blocks each object has where they are counted through all objects of a ``family``, 0 where
    within each; then objects of all families are told apart by their numbers.
    """

    fill: str
    dedup_factor: float = 1.0
    compress_factor: float = 1.0
    across: int = 0
    family: int = 0
    #: The format that objects are files of, as the configuration names it, and the bytes of content in each.
    format: str = ""
    content: int = 0


class Contents:
    """The payloads of a run, each opened once. Any thread may use what it gives, one at a time may ask."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._plain: dict[tuple[str, int], Payload] = {}
        self._shaped: dict[Recipe, Payload] = {}

    def open(self, recipe: Recipe) -> Payload:
        """The payload of a recipe. Raises what its plugin raises."""
        if recipe not in self._shaped and recipe.format:
            plain = self.open(attrs.evolve(recipe, format="", content=0))
            self._shaped[recipe] = FormattedPayload(plain, codec_of(recipe.format), recipe.content)
        if recipe not in self._shaped:
            seed = mix(self._seed, recipe.family) if recipe.across else self._seed
            if (recipe.fill, seed) not in self._plain:
                self._plain[recipe.fill, seed] = default_host().payload_type(recipe.fill).open(seed)
            self._shaped[recipe] = shaped(
                self._plain[recipe.fill, seed],
                seed,
                dedup_factor=recipe.dedup_factor,
                compress_factor=recipe.compress_factor,
                across=recipe.across,
            )
        return self._shaped[recipe]


def content_limits(config: Config) -> list[str]:
    """Where compressors don't come as near to a factor of the configuration as they should, for people."""
    tree = config.prepare.directory_structure
    entries: list[Content] = [*config.prepare.ensure_objects, *([tree] if tree is not None else [])]
    entries += [item for part in config.parts() for item in part.workload if isinstance(item, Put)]
    return [text for factor in sorted({entry.compress_factor for entry in entries}) if (text := limits_of(factor))]


def prepared_recipe(entry: Content, position: int) -> Recipe:
    """The content of a prepared set; ``position`` is its place in the configuration."""
    return _recipe(entry, mix(position))


def prepared_number(entry: Content, position: int) -> Callable[[int], int]:
    """Which object of the payload a prepared object is, by its index."""
    return (lambda index: index) if entry.dedup_across_objects else (lambda index: mix(position, index))


def put_recipe(entry: Content, run_id: str, operation: int) -> Recipe:
    """The content of what an operation puts. Runs differ in it, also those of one seed."""
    return _recipe(entry, _family(run_id, operation))


def put_number(entry: Content, run_id: str, operation: int) -> Callable[[int], int]:
    """Which object of the payload a put makes, by the number in its name."""
    family = _family(run_id, operation)
    return (lambda index: index) if entry.dedup_across_objects else (lambda index: mix(family, index))


def _recipe(entry: Content, family: int) -> Recipe:
    recipe = Recipe(entry.fill, entry.dedup_factor, entry.compress_factor)
    longest = sizes.largest(entry.size)
    if entry.format is not None:
        assert longest is not None, "the configuration was checked"
        recipe = attrs.evolve(recipe, format=entry.format, content=longest)
    if not entry.dedup_across_objects:
        return recipe
    assert longest is not None, "the configuration was checked"
    return attrs.evolve(recipe, across=max(-(-longest // BLOCK), 1), family=family)


def _family(run_id: str, operation: int) -> int:
    text = run_id.encode()
    return mix(*(int.from_bytes(text[at : at + 8], "big") for at in range(0, len(text), 8)), operation)
