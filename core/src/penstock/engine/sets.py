"""What a configuration's ``prepare`` describes: sets of objects and directories, as functions of the index."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import numpy as np
from numpy.typing import NDArray

from penstock.engine.contents import Recipe, prepared_number, prepared_recipe
from penstock.engine.objects import NamedObjects
from penstock.engine.places import Places
from penstock.payload import Payload
from penstock.payloads.zero import ZeroPayload
from penstock.workload import hashing, sizes
from penstock.workload.config import Config, DirectoryStructure
from penstock.workload.formatting import object_size
from penstock.workload.names import Sharded, Tree, directory, numbered
from penstock.workload.sizes import SizeSpec

__all__ = ["PreparedSet", "count_prepared", "prepared_sets"]


@attrs.frozen
class PreparedSet:
    """One set on one store. ``number(index)`` is which object of the payload it is; directories have no payload."""

    store: int
    objects: NamedObjects
    payload: Payload | None
    number: Callable[[int], int]

    def prefixes(self) -> list[str]:
        """What lies before the names of its objects, directories that making them brings along included."""
        names = self.objects.names
        shards = names.shards.all() if isinstance(names, Sharded) else [""]
        return [names.base + shard for shard in shards]


def prepared_sets(config: Config, places: Places, payload: Callable[[Recipe], Payload]) -> list[PreparedSet]:
    """Every set of the configuration; directories before the files in them. ``payload`` opens a recipe."""
    sets = []
    for position, spec in enumerate(config.prepare.ensure_objects):
        place = places.locate(spec.path)
        names = numbered(place.key, spec.name, spec.count, config.prepare.key_prefix_shards)
        objects = NamedObjects(names, _sizes(object_size(spec), config.seed, position))
        content = payload(prepared_recipe(spec, position))
        sets.append(PreparedSet(place.store, objects, content, prepared_number(spec, position)))
    if config.prepare.directory_structure is not None:
        sets.extend(_tree_sets(config, config.prepare.directory_structure, places, payload))
    return sets


def count_prepared(config: Config) -> int:
    """How many objects and directories the preparation is about."""
    return sum(each.objects.count for each in prepared_sets(config, Places(config), lambda fill: ZeroPayload(0)))


def _tree_sets(
    config: Config, spec: DirectoryStructure, places: Places, payload: Callable[[Recipe], Payload]
) -> list[PreparedSet]:
    place = places.locate(spec.path)
    tree = Tree.plan(
        directory(place.key),
        spec.width,
        spec.depth,
        spec.files_per_dir,
        bottom=spec.distribution == "bottom",
        dir_mask=spec.dir_mask,
        file_mask=spec.file_mask,
    )
    directories = NamedObjects(tree.directories, _no_bytes, suffix="/")
    files = NamedObjects(tree, _sizes(object_size(spec), config.seed, "tree"))
    return [
        PreparedSet(place.store, directories, None, lambda index: index),
        PreparedSet(place.store, files, payload(prepared_recipe(spec, -1)), prepared_number(spec, -1)),
    ]


def _sizes(spec: SizeSpec, seed: int, purpose: int | str) -> Callable[[NDArray[np.int64]], NDArray[np.int64]]:
    key = hashing.derive(seed, "prepared sizes", purpose)
    return lambda indices: sizes.draw(spec, key, indices)


def _no_bytes(indices: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.zeros(len(indices), dtype=np.int64)
