"""Finding what each operation of a configuration chooses from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from penstock.engine.grid import ALONE, Grid, shares_of
from penstock.engine.marks import Marks
from penstock.engine.objects import ListedObjects, Member, NamedObjects, Pool, select
from penstock.engine.places import Place, Places
from penstock.engine.sets import PreparedSet
from penstock.engine.sharing import found_between
from penstock.errors import RunError
from penstock.globs import Glob, compile_glob, has_wildcard
from penstock.store import ObjectStore
from penstock.workload import operations
from penstock.workload.config import Config
from penstock.workload.selection import EachOnce

__all__ = ["resolve_pools"]


def resolve_pools(
    config: Config, places: Places, sets: Sequence[PreparedSet], *, thinned: bool = False, grid: Grid = ALONE
) -> dict[int, Pool]:
    """The pool of each operation that reads, by its number: prepared objects that its glob matches, or else what a
    listing finds; of several hosts, by ``path_selection``, those that this one chooses from. Operations of one glob
    share a pool. Raises RunError for one that finds nothing.

    ``thinned`` says that prepared objects may have been deleted, so that a listing has to tell which are left.
    """
    pools: dict[int, Pool] = {}
    known: dict[tuple[Place, bool], Pool] = {}
    mine: dict[tuple[Place, bool], Pool] = {}
    left: dict[int, Marks] | None = {} if thinned else None
    for number, item in enumerate(config.workload):
        if isinstance(item, operations.Put | operations.Mkdir | operations.Rmdir):
            continue
        place, listing = places.locate(item.path), isinstance(item, operations.List)
        if (place, listing) not in known:
            known[place, listing] = _prefixes(place, sets) if listing else _objects(place, places, sets, left)
        whole = known[place, listing]
        if not whole.count and item.weight and not _fed(config, item):
            raise RunError(_nothing(number, item, places.uri(place)))
        pools[number] = whole
        if not listing or has_wildcard(place.key):
            if (place, listing) not in mine:
                mine[place, listing] = _of_host(whole, config, grid)
            pools[number] = mine[place, listing]
            if not pools[number].count and whole.count and item.weight and not _may_idle(config, item):
                raise RunError(_nothing_own(number, item, places.uri(place), whole.count, grid))
    return pools


def _of_host(whole: Pool, config: Config, grid: Grid) -> Pool:
    """What this host chooses from."""
    hosts = shares_of(config.distributed, grid)
    if hosts == 1:
        return whole
    own, others = whole.split(grid.host, hosts)
    match config.distributed.path_selection:
        case "weighted":
            return Pool([*own.members, *others.members], own=own.count)
        case "partitioned" if not own.count and not _splits(config):
            return whole
        case _:
            return own


def _splits(config: Config) -> bool:
    """Whether each object belongs to one lane, so that it can't be lent to others: somebody deletes it, or takes it
    once.
    """
    deletes = any(isinstance(item, operations.Delete) and item.weight for item in config.workload)
    policies = [config.selection, *(getattr(item, "selection", None) for item in config.workload)]
    return deletes or any(isinstance(policy, EachOnce) for policy in policies)


def _may_idle(config: Config, item: operations.Operation) -> bool:
    """Whether an operation may have nothing on a host: others take its objects, or puts make some."""
    lent = config.distributed.path_selection == "partitioned" and _splits(config)
    return lent or _fed(config, item)


def _nothing_own(number: int, item: operations.Operation, uri: str, count: int, grid: Grid) -> str:
    return (
        f"workload[{number}]: {item.op}: none of the {count} objects of {uri} is in the share of host {grid.host} of "
        f"{grid.hosts}; prepare more, or write path_selection: partitioned, which lends it those of others"
    )


def _objects(place: Place, places: Places, sets: Sequence[PreparedSet], left: dict[int, Marks] | None) -> Pool:
    glob = compile_glob(place.key)
    prepared = [each.objects for each in sets if each.store == place.store and each.payload is not None]
    pool = select(prepared, glob)
    if left is not None:
        pool = _thin(pool, places.stores[place.store], left)
    return pool if pool.count else _listed(places.stores[place.store], glob)


def _thin(pool: Pool, store: ObjectStore, left: dict[int, Marks]) -> Pool:
    """Of a pool of prepared objects those that are there; ``left`` keeps what was found of each set."""
    members = []
    for member in pool.members:
        objects = member.objects
        assert isinstance(objects, NamedObjects)
        if id(objects) not in left:
            left[id(objects)] = _find(objects, store)
        chosen = np.asarray(member.chosen, dtype=np.int64)
        members.append(Member(objects, chosen[left[id(objects)].has(chosen)]))
    return Pool(members)


def _find(objects: NamedObjects, store: ObjectStore) -> Marks:
    """Which objects of a set a listing finds."""
    marks = Marks(objects.count)
    for indices, _ in found_between(store, objects.names, 0, objects.count):
        marks.mark_all(indices)
    return marks


def _prefixes(place: Place, sets: Sequence[PreparedSet]) -> Pool:
    """Prefixes to list: the one that is written, or prepared directories that a glob matches."""
    if not has_wildcard(place.key):
        return Pool([Member(ListedObjects([place.key], [0]), range(1))])
    glob = compile_glob(place.key.removesuffix("/"))
    directories = [each.objects for each in sets if each.store == place.store and each.payload is None]
    return select(directories, glob)


def _listed(store: ObjectStore, glob: Glob) -> Pool:
    keys: list[str] = []
    sizes: list[int] = []
    for page in store.list_pages(glob.prefix):
        for info in page.objects:
            if glob.matches(info.key):
                keys.append(info.key)
                sizes.append(info.size)
    objects = ListedObjects(keys, np.array(sizes, dtype=np.int64).tolist())
    return Pool([Member(objects, range(len(keys)))])


def _fed(config: Config, item: operations.Operation) -> bool:
    """Whether puts of the run itself can make what an operation is to choose from."""
    puts = any(isinstance(each, operations.Put) and each.weight for each in config.workload)
    return config.reuse_puts and puts and not isinstance(item, operations.List)


def _nothing(number: int, item: operations.Operation, uri: str) -> str:
    remedy = "prepare some (prepare.ensure_objects), or correct the path"
    if isinstance(item, operations.List):
        remedy = "give it a prefix without wildcards, or prepare a directory_structure"
    return f"workload[{number}]: {item.op}: nothing matches {uri}; {remedy}"
