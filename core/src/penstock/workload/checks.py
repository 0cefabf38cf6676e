"""What no single key can show to be wrong: checks across the keys of a configuration, and of names and plugins.

A check that needs a key which could not be read is left out, for a default stands there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import attrs

from penstock.errors import PenstockError, UsageError
from penstock.globs import has_wildcard
from penstock.opening import require_bucket
from penstock.options import check_value, describe
from penstock.plugins import default_host
from penstock.store import StoreType
from penstock.urls import parse_object, parse_store
from penstock.workload.content import check_content, check_verify
from penstock.workload.hosting import check_hosts
from penstock.workload.names import Mask, Tree, count_numbers, new_names
from penstock.workload.operations import Copy, Delete, Get, List, Mkdir, Operation, Put, Rmdir, Stat
from penstock.workload.prepare import EnsureObjects, Prepare
from penstock.workload.selection import EachOnce, Sequential
from penstock.workload.shapes import FAILED, Reader
from penstock.workload.stable import FEWEST

if TYPE_CHECKING:
    from penstock.workload.config import Config
    from penstock.workload.stages import Stage

__all__ = ["check"]


def check(config: Config, reader: Reader) -> None:
    """Note every contradiction in ``config``."""
    if not _check_target(config, reader):
        config = attrs.evolve(config, target=None)
        reader.failed.add("target")
    if not _check_what_to_do(config, reader):
        return
    for one in (
        *_ON_WORKLOADS,
        _check_relative,
        _check_objects,
        _check_tree,
        _check_prepare,
        _check_local_paths,
        _check_backend,
        _check_page_cache,
        _check_endpoints,
        check_hosts,
    ):
        one(config, reader)
    check_verify(config.verify, reader)
    for number, stage in enumerate(config.stages):
        if stage is not FAILED:
            _check_stage(config, stage, number, reader)


def _check_what_to_do(config: Config, reader: Reader) -> bool:
    """Whether there is an operation anywhere."""
    known = {"workload", "stages"} & {path.partition("[")[0] for path in reader.failed}
    need = [stage for stage in config.stages if stage is not FAILED and not stage.workload]
    if config.workload or known or (config.stages and not need):
        return True
    if "workload" in reader.marks and not config.stages:
        reader.note("workload", "the list is empty")
        return False
    names = f" (the stage {need[0].name} has none of its own)" if need else ""
    reader.note("", f"workload is missing: the operations, each with its weight{names}")
    return False


@attrs.define
class _Within(Reader):
    """Notes under a stage what checks say of a workload."""

    prefix: str = ""

    @classmethod
    def stage(cls, reader: Reader, prefix: str) -> _Within:
        own = {path.removeprefix(prefix) for path in reader.failed if path.startswith(prefix)}
        shared = {path for path in reader.failed if not path.startswith(("workload", "stages"))}
        return cls(reader.problems, reader.marks, own | shared, prefix)

    def note(self, path: str, text: str) -> None:
        Reader.note(self, f"{self.prefix}{path}", text)


def _check_stage(config: Config, stage: Stage, number: int, reader: Reader) -> None:
    path = f"stages[{number}]"
    if not stage.name.strip("./") or "/" in stage.name or not stage.name.isprintable():
        reader.note(f"{path}.name", f"{stage.name!r} can't be part of a file's name")
    if stage.name in [other.name for other in config.stages[:number] if other is not FAILED]:
        reader.note(f"{path}.name", f"a stage before it is named {stage.name} too; give each its own name")
    whole, within = config.of_stage(stage), _Within.stage(reader, f"{path}.")
    for one in _ON_WORKLOADS if stage.workload else (_check_end, _check_stable, _check_processes):
        one(whole, within)


def _operations(config: Config) -> Iterator[tuple[str, Operation]]:
    for number, operation in enumerate(config.workload):
        if operation is not FAILED:
            yield f"workload[{number}]", operation


def _objects(config: Config) -> Iterator[tuple[str, EnsureObjects]]:
    for number, objects in enumerate(config.prepare.ensure_objects):
        if objects is not FAILED:
            yield f"prepare.ensure_objects[{number}]", objects


def _places(config: Config) -> Iterator[tuple[str, str]]:
    """Every path of the file, with its key."""
    for path, operation in _operations(config):
        yield f"{path}.path", operation.path
        if isinstance(operation, Copy):
            yield f"{path}.to", operation.to
    for path, objects in _objects(config):
        yield f"{path}.path", objects.path
    for number, stage in enumerate(config.stages):
        if stage is not FAILED:
            for place, text in _places(attrs.evolve(config, workload=stage.workload, stages=(), prepare=Prepare())):
                yield f"stages[{number}].{place}", text
    if config.prepare.directory_structure is not None:
        yield "prepare.directory_structure.path", config.prepare.directory_structure.path


def _check_weights(config: Config, reader: Reader) -> None:
    failed = any(path.startswith("workload[") for path in reader.failed)
    if config.workload and not failed and not sum(operation.weight for _, operation in _operations(config)) > 0:
        reader.note("workload", "the weights sum to 0; give at least one operation a weight above 0")


def _check_end(config: Config, reader: Reader) -> None:
    if config.duration is not None or config.total_operations is not None or "total_operations" in reader.failed:
        return
    endless = [
        operation.op for _, operation in _operations(config) if operation.weight and not _ends(operation, config)
    ]
    if endless:
        text = f"{endless[0]} has no end by itself; give a duration, total_operations, or selection: each_once"
        reader.note("duration", text)


def _check_stable(config: Config, reader: Reader) -> None:
    stable, path = config.stop_when_stable, "stop_when_stable"
    if stable is None or {path, "live_interval", "duration"} & reader.failed:
        return
    if stable.window < FEWEST * config.live_interval:
        text = f"{stable.window:g} s has fewer than {FEWEST} intervals of {config.live_interval:g} s; make it longer"
        reader.note(f"{path}.window", f"{text}, or live_interval shorter")
    if stable.at_most is not None and stable.at_most != config.duration:
        reader.note(f"{path}.at_most", "stands for duration; leave one of the two out")
    elif config.duration is not None and config.duration < stable.window:
        text = f"the duration, {config.duration:g} s, is over before a window of {stable.window:g} s is"
        reader.note(f"{path}.window", f"{text}; write a shorter window, or measure longer")
    if config.rate is not None and config.rate.phases:
        reader.note(path, "a rate in phases is not meant to be stable; leave one of the two out")


def _ends(operation: Operation, config: Config) -> bool:
    if isinstance(operation, Delete | Rmdir):
        return True
    if isinstance(operation, Put | Mkdir) or (isinstance(operation, List) and not has_wildcard(operation.path)):
        return False
    return isinstance(operation.selection or config.selection, EachOnce)


def _check_processes(config: Config, reader: Reader) -> None:
    if {"concurrency", "processes"} & reader.failed:
        return
    if isinstance(config.processes, int) and config.processes > config.concurrency:
        text = f"{config.processes} processes can't share {config.concurrency} operations in flight"
        reader.note("processes", f"{text}; raise concurrency, or write processes: auto")


def _check_target(config: Config, reader: Reader) -> bool:
    return config.target is None or _try(reader, "target", partial(_check_uri, config.target, store=True))


def _check_relative(config: Config, reader: Reader) -> None:
    if config.target is None and "target" not in reader.failed:
        for path, text in _places(config):
            if "://" not in text and not text.startswith("/"):
                reader.note(path, f"{text!r} is relative, and there is no target; write target, or a whole URI here")


def _check_uri(uri: str, *, store: bool = False) -> None:
    url = parse_store(uri) if store else parse_object(uri)
    kind = default_host().store_type(url.scheme, url.authority)
    require_bucket(kind, kind.parse(url))


def _check_operations(config: Config, reader: Reader) -> None:
    for path, operation in _operations(config):
        _check_path(f"{path}.path", operation, reader)
        if isinstance(operation, Copy):
            _check_copy(f"{path}.to", operation, config, reader)
        elif isinstance(operation, Put):
            check_content(path, operation, reader)
            _check_parts(f"{path}.multipart.concurrency", operation, config, reader)
        elif isinstance(operation, List):
            _check_list(path, operation, config, reader)
        elif isinstance(operation, Rmdir) and not _makes_directories(config):
            reader.note(path, "rmdir removes what mkdir has made, and no mkdir with a weight is in this workload")


def _check_path(path: str, operation: Operation, reader: Reader) -> None:
    text = operation.path
    _check_place(path, text, reader)
    if isinstance(operation, Put | Mkdir):
        _check_new(path, text, reader, directory=isinstance(operation, Mkdir))
    elif isinstance(operation, Get | Stat | Delete | Copy):
        if not text:
            reader.note(path, "is empty; write ** for every object")
        elif text.endswith("/"):
            reader.note(path, f"{text!r} names no object; write {text}* or {text}**")


def _check_place(path: str, text: str, reader: Reader) -> None:
    if text.startswith("/"):
        reader.note(path, f"{text!r} begins with a slash; write it relative to target, or as a URI: file://{text}")
    elif "://" in text:
        _try(reader, path, lambda: _check_uri(text))


def _check_new(path: str, text: str, reader: Reader, *, directory: bool = False) -> None:
    if has_wildcard(text):
        reader.note(path, f"{text!r} names what will be made, and a name has no *; write a prefix or a mask")
    else:
        _try(reader, path, lambda: new_names(text, directory=directory))


def _check_masks(config: Config, reader: Reader) -> None:
    """Names from a prefix differ from entry to entry; those from a mask are the mask's."""
    seen: dict[str, str] = {}
    for path, operation in _operations(config):
        texts = [operation.path] if isinstance(operation, Put | Mkdir) else []
        key = f"{path}.path"
        if isinstance(operation, Copy):
            texts, key = [operation.to], f"{path}.to"
        for name in map(config.locate, texts):
            if name in seen and _is_mask(name):
                reader.note(key, f"makes the same names as {seen[name]}; give each a mask of its own, or a prefix")
            seen.setdefault(name, key)


def _is_mask(text: str) -> bool:
    try:
        return count_numbers(text) > 0
    except ValueError:
        return False


def _check_copy(path: str, operation: Copy, config: Config, reader: Reader) -> None:
    _check_place(path, operation.to, reader)
    _check_new(path, operation.to, reader)
    source, target = (config.locate(text).partition("://")[0] for text in (operation.path, operation.to))
    if source != target and "://" in config.locate(operation.path) and "://" in config.locate(operation.to):
        reader.note(path, f"copies stay in one store; {source}:// and {target}:// are two")


def _check_list(path: str, operation: List, config: Config, reader: Reader) -> None:
    if not has_wildcard(operation.path):
        if operation.selection is not None:
            reader.note(f"{path}.selection", "there is one prefix and nothing to choose; a path with * has a choice")
    elif config.prepare.directory_structure is None and "prepare.directory_structure" not in reader.failed:
        reader.note(f"{path}.path", "a list with * chooses among prepared directories; there is no directory_structure")


def _makes_directories(config: Config) -> bool:
    return any(isinstance(operation, Mkdir) and operation.weight for _, operation in _operations(config))


def _check_objects(config: Config, reader: Reader) -> None:
    seen: dict[tuple[str, str], str] = {}
    for path, objects in _objects(config):
        _check_prefix(f"{path}.path", objects.path, reader)
        check_content(path, objects, reader)
        _try(reader, f"{path}.name", partial(Mask.compile, objects.name, 1))
        names = (config.locate(objects.path).rstrip("/"), objects.name)
        if names in seen:
            reader.note(path, f"makes the same names as {seen[names]}; give one another path or name")
        seen.setdefault(names, path)


def _check_prefix(path: str, text: str, reader: Reader) -> None:
    _check_place(path, text, reader)
    if has_wildcard(text):
        reader.note(path, f"{text!r} is where objects will be made; write it without *")


def _check_tree(config: Config, reader: Reader) -> None:
    tree, path = config.prepare.directory_structure, "prepare.directory_structure"
    if tree is None:
        return
    _check_prefix(f"{path}.path", tree.path, reader)
    check_content(path, tree, reader)
    _try(reader, path, partial(Tree.of, tree, ""))


def _check_prepare(config: Config, reader: Reader) -> None:
    if config.prepare.force_overwrite and config.prepare.skip_verification:
        text = "make everything anew, and trust that it is there: both can't be; leave one out"
        reader.note("prepare.skip_verification", text)


def _check_local_paths(config: Config, reader: Reader) -> None:
    for path, value in (("results_dir", config.results_dir), ("op_log", config.op_log)):
        if isinstance(value, str) and ("://" in value or not value):
            reader.note(path, f"{value!r} is not a path on this machine")
    if config.name is not None and (not config.name.strip("./") or "/" in config.name or not config.name.isprintable()):
        reader.note("name", f"{config.name!r} can't be part of a file's name")


def _check_backend(config: Config, reader: Reader) -> None:
    used = {config.locate(text).partition("://")[0] for _, text in _places(config)}
    for scheme, options in config.backend.items():
        path = f"backend.{scheme}"
        try:
            kind = default_host().store_type(scheme)
        except PenstockError as error:
            reader.note(path, str(error))
            continue
        if scheme not in used and not reader.failed:
            reader.note(path, f"nothing in this file is on {scheme}://, so the options would do nothing")
        for name, value in options.items():
            check_one = partial(check_value, kind.options, name, value, scheme=scheme, origin="this file")
            _try(reader, f"{path}.{name}", check_one)


def _kinds(config: Config) -> dict[str, StoreType]:
    """The backends that paths of this file are on, by scheme; what is no place at all is told elsewhere."""
    kinds = {}
    for _, text in _places(config):
        uri = config.locate(text)
        with contextlib.suppress(PenstockError):
            url = parse_store(uri)
            kinds[url.scheme] = default_host().store_type(url.scheme, url.authority)
    return kinds


def _has_option(kind: StoreType, name: str) -> bool:
    return any(field.name == name for field in describe(kind.options))


def _check_page_cache(config: Config, reader: Reader) -> None:
    mode, path = config.page_cache_mode, "page_cache_mode"
    if mode is None:
        return
    for scheme, kind in sorted(_kinds(config).items()):
        if not _has_option(kind, "page_cache"):
            reader.note(path, f"{scheme}:// has no page cache to set; leave it out")
        elif "page_cache" in config.backend.get(scheme, {}):
            reader.note(path, f"backend.{scheme}.page_cache says it too; write one of them")
        else:
            _try(reader, path, partial(check_value, kind.options, "page_cache", mode, scheme=scheme, origin=path))


def _check_parts(path: str, operation: Put, config: Config, reader: Reader) -> None:
    if operation.multipart is None or operation.multipart.concurrency is None:
        return
    scheme = config.locate(operation.path).partition("://")[0]
    kind = _kinds(config).get(scheme)
    if kind is not None and not _has_option(kind, "part_concurrency"):
        reader.note(path, f"{scheme}:// sends the parts of an object one after the other; leave it out")


def _check_reuse(config: Config, reader: Reader) -> None:
    if not config.reuse_puts or not config.workload:
        return
    puts = any(isinstance(operation, Put) and operation.weight for _, operation in _operations(config))
    if not puts and not any(path.startswith("workload[") for path in reader.failed):
        reader.note("reuse_puts", "no put with a weight is in this workload, so there is nothing to reuse")
    for path, operation in _operations(config):
        if isinstance(operation, Get | Stat | Copy):
            policy = operation.selection or config.selection
            if isinstance(policy, EachOnce | Sequential):
                key = f"{path}.selection" if operation.selection else "selection"
                text = "goes in turn over what was there before; with reuse_puts write uniform, zipf or hot_set"
                reader.note(key, f"{'each_once' if isinstance(policy, EachOnce) else 'sequential'} {text}")


#: What has to be right of each workload, the run's and each stage's.
_ON_WORKLOADS = (
    _check_weights,
    _check_end,
    _check_stable,
    _check_processes,
    _check_operations,
    _check_masks,
    _check_reuse,
)


def _check_endpoints(config: Config, reader: Reader) -> None:
    several, path = config.multi_endpoint, "multi_endpoint"
    if several is None:
        return
    if config.target is None:
        if "target" not in reader.failed:
            reader.note(path, "these are other URIs of what target names, and there is no target; write it")
        return
    try:
        uris = several.uris()
    except UsageError as error:
        reader.note(f"{path}.file", str(error))
        return
    wrong = [uri for uri in uris if not _try(reader, path, partial(_check_uri, uri, store=True))]
    if wrong:
        return
    kinds, seen = set(), set[str]()
    for uri in (config.target, *uris):
        url = parse_store(uri)
        kinds.add(default_host().store_type(url.scheme, url.authority).schemes[0])
        if (place := str(url).rstrip("/")) in seen:
            reader.note(path, f"{uri} is named more than once; target is one of the endpoints, and named there alone")
        seen.add(place)
    if len(kinds) > 1:
        reader.note(path, f"endpoints of one namespace are of one backend, not of {' and '.join(sorted(kinds))}")


def _try(reader: Reader, path: str, action: Callable[[], object]) -> bool:
    try:
        action()
    except (ValueError, PenstockError) as error:
        reader.note(path, str(error))
        return False
    return True
