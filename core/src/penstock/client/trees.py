"""Copying trees from one store to another: upload, download and everything between."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Literal

import attrs

from penstock.client.crew import each
from penstock.client.listing import entries
from penstock.client.transfer import Place, copy_object, move_object
from penstock.client.values import Transfer, TreeReport
from penstock.errors import ObjectNotFoundError, PenstockError, StoreError, UsageError
from penstock.globs import compile_glob, has_wildcard, unescape
from penstock.keys import sort_key
from penstock.store import ObjectInfo, ObjectStore

__all__ = [
    "Existing",
    "Root",
    "Selection",
    "TreeJob",
    "is_current",
    "is_directory",
    "plan",
    "report_of",
    "select",
    "transfers",
]

Existing = Literal["replace", "sync", "resume"]


@attrs.frozen(slots=True)
class Root:
    """A tree: a store, the prefix of its keys (empty, or ending with ``/``), and the store's URI for messages."""

    store: ObjectStore
    prefix: str
    base: str

    def place(self, name: str) -> Place:
        key = self.prefix + name
        return Place(self.store, key, self.base + key)


@attrs.frozen(slots=True, kw_only=True)
class TreeJob:
    """How to copy a tree.

    ``pattern`` is a glob on the names below the source; ``single`` is one object instead, as the name of
    the source and that of the target. ``existing`` says what to do with objects that are at the
    target: ``replace`` them; ``sync`` leaves those that are current (:func:`is_current`); ``resume`` leaves those
    of the same size, which is enough after an interruption because every object appears whole. ``move`` deletes
    each source once its target is whole. ``watch`` gets the bytes of each step.
    """

    source: Root
    target: Root
    pattern: str | None = None
    single: tuple[str, str] | None = None
    existing: Existing = "replace"
    move: bool = False
    dry_run: bool = False
    metadata: bool = True
    threads: int = 16
    watch: Callable[[int], None] | None = None


def transfers(job: TreeJob) -> Iterator[Transfer]:
    """Carry out a job: one value for each object as it is done, in no order; failures are among them.

    A listing that fails raises, after what was under way. Closing the iterator stops the transfers: no target is
    left in part.
    """
    one_store = job.source.store is job.target.store
    if one_store and job.single is None and job.target.prefix.startswith(job.source.prefix):
        raise UsageError(f"{job.target.base}{job.target.prefix}: the target lies within the source")
    stopped = threading.Event()

    def step(nbytes: int) -> None:
        if stopped.is_set():
            raise StoreError("the transfer was stopped", operation="copy")
        if job.watch is not None:
            job.watch(nbytes)

    running = attrs.evolve(job, watch=step)
    yield from each(lambda pair: _transfer(running, pair), _pairs(job), job.threads, on_stop=stopped.set)


@attrs.frozen(slots=True)
class Selection:
    """What a key with an optional glob names: a tree with a pattern, or one object, ``name`` below the root."""

    root: Root
    pattern: str | None = None
    name: str | None = None


def select(store: ObjectStore, base: str, key: str, *, trees: bool) -> Selection:
    """Read a key as the source of a copy.

    With a star it is a glob; the tree begins at the last ``/`` before the star. With ``trees``, a key that is empty
    or ends in ``/``, and one that is a directory or not an object, is a tree of everything below it. Otherwise it
    is exactly one object.
    """
    if has_wildcard(key):
        cut = key.rfind("/", 0, compile_glob(key).start) + 1
        return Selection(Root(store, unescape(key[:cut]), base), pattern=key[cut:])
    key = unescape(key)
    if trees and _is_tree(store, key):
        return Selection(Root(store, f"{key.rstrip('/')}/" if key else "", base))
    cut = key.rfind("/", 0, len(key) - 1) + 1
    return Selection(Root(store, key[:cut], base), name=key[cut:])


def is_directory(store: ObjectStore, key: str) -> bool:
    """Whether the backend has directories and this is one."""
    if not store.capabilities.directories:
        return False
    if not key.strip("/"):
        return True
    try:
        store.stat(f"{key.rstrip('/')}/")
    except ObjectNotFoundError:
        return False
    return True


def plan(
    selection: Selection,
    store: ObjectStore,
    base: str,
    target: str,
    *,
    existing: Existing = "replace",
    move: bool = False,
    dry_run: bool = False,
    metadata: bool = True,
    threads: int = 16,
    watch: Callable[[int], None] | None = None,
) -> TreeJob:
    """The job that copies a selection to a key of a store.

    A tree goes below the target. One object goes below it when it is empty, ends in ``/`` or is a directory, and
    otherwise becomes it. Raises ObjectNotFoundError when the selection is empty.
    """
    below = not target or target.endswith("/") or selection.name is None or is_directory(store, target)
    single = None
    if selection.name is not None:
        cut = len(target) if below else target.rfind("/") + 1
        single = (selection.name, selection.name if below else target[cut:])
        target = target[:cut]
    else:
        _require_any(selection)
    prefix = f"{target.rstrip('/')}/" if target.strip("/") else target if single else ""
    return TreeJob(
        source=selection.root,
        target=Root(store, prefix, base),
        pattern=selection.pattern,
        single=single,
        existing=existing,
        move=move,
        dry_run=dry_run,
        metadata=metadata,
        threads=1 if single else threads,
        watch=watch,
    )


def _is_tree(store: ObjectStore, key: str) -> bool:
    if not key or key.endswith("/") or is_directory(store, key):
        return True
    try:
        store.stat(key)
    except ObjectNotFoundError:
        return True
    return False


def _require_any(selection: Selection) -> None:
    root = selection.root
    if next(_named(root, selection.pattern), None) is None and not is_directory(root.store, root.prefix):
        asked = f"{root.base}{root.prefix}{selection.pattern or ''}"
        raise ObjectNotFoundError("no object matches", uri=asked, operation="list")


def report_of(done: Iterator[Transfer]) -> TreeReport:
    """Add up what became of a tree."""
    counts = {"copied": 0, "skipped": 0, "planned": 0, "failed": 0}
    nbytes, failures = 0, []
    for transfer in done:
        counts[transfer.state] += 1
        if transfer.state in ("copied", "planned"):
            nbytes += transfer.nbytes
        if transfer.state == "failed":
            failures.append(transfer)
    return TreeReport(counts["copied"] + counts["planned"], counts["skipped"], nbytes, failures)


def is_current(source: ObjectInfo, target: ObjectInfo) -> bool:
    """Whether a target need not be copied again.

    The sizes must be equal. Checksums of one algorithm (``name:value``) decide where both sides have them.
    Otherwise the target must not be older than the source, so a target whose store keeps whole seconds may be copied
    once too often but never too seldom; a side that tells no time is copied again. Etags of two stores are never
    compared, for each service makes its own.
    """
    if source.size != target.size:
        return False
    if source.checksum and target.checksum and _algorithm(source) == _algorithm(target):
        return source.checksum == target.checksum
    if source.modified_ns is None or target.modified_ns is None:
        return False
    return target.modified_ns >= source.modified_ns


def _algorithm(info: ObjectInfo) -> str:
    return (info.checksum or "").partition(":")[0]


@attrs.frozen(slots=True)
class _Pair:
    """An object to transfer; ``there`` is what the target holds, where the listings told."""

    info: ObjectInfo
    source: Place
    target: Place
    there: ObjectInfo | None = None


def _merged(job: TreeJob) -> bool:
    """Whether two ordered listings tell what is there, so that no object needs a stat."""
    ordered = job.source.store.capabilities.ordered and job.target.store.capabilities.ordered
    return job.existing != "replace" and job.single is None and ordered


def _pairs(job: TreeJob) -> Iterator[_Pair]:
    if job.single is not None:
        place = job.source.place(job.single[0])
        yield _Pair(place.store.stat(place.key), place, job.target.place(job.single[1]))
        return
    there = _named(job.target, job.pattern) if _merged(job) else iter(())
    held: tuple[ObjectInfo, str] | None = next(there, None)
    for info, name in _named(job.source, job.pattern):
        while held is not None and sort_key(held[1]) < sort_key(name):
            held = next(there, None)
        same = held[0] if held is not None and held[1] == name else None
        yield _Pair(info, job.source.place(name), job.target.place(name), same)


def _named(root: Root, pattern: str | None) -> Iterator[tuple[ObjectInfo, str]]:
    cut = len(root.prefix)
    for info in entries(root.store, root.prefix, pattern=pattern):
        # The marker object of the root itself has no name below it.
        if isinstance(info, ObjectInfo) and len(info.key) > cut:
            yield info, info.key[cut:]


def _transfer(job: TreeJob, pair: _Pair) -> Transfer:
    source, target = pair.source.key, pair.target.key
    try:
        if job.existing != "replace" and _keep(job, pair):
            return Transfer(source, target, pair.info.size, "skipped")
        if job.dry_run:
            return Transfer(source, target, pair.info.size, "planned")
        return Transfer(source, target, _carry(job, pair), "copied")
    except (PenstockError, OSError) as error:
        failure = error if isinstance(error, PenstockError) else StoreError(str(error), uri=pair.target.uri)
        return Transfer(source, target, 0, "failed", failure)


def _carry(job: TreeJob, pair: _Pair) -> int:
    source, target = pair.source, pair.target
    if _marks_directory(pair.info) and target.store.capabilities.directories:
        target.store.put(target.key, b"")
        if job.move:
            for error in source.store.delete([source.key]):
                raise error
        return 0
    if job.move:
        return move_object(source, target, metadata=job.metadata, watch=job.watch).size
    return copy_object(source, target, metadata=job.metadata, watch=job.watch).target.size


def _marks_directory(info: ObjectInfo) -> bool:
    """Whether this is the marker object by which stores without directories show an empty one."""
    return info.key.endswith("/") and info.size == 0


def _keep(job: TreeJob, pair: _Pair) -> bool:
    there = pair.there
    if there is None and not _merged(job):
        try:
            there = pair.target.store.stat(pair.target.key)
        except ObjectNotFoundError:
            return False
    if there is None:
        return False
    return there.size == pair.info.size if job.existing == "resume" else is_current(pair.info, there)
