"""Reading a workload file: overrides in penstock's and in Hydra's form, and files that Hydra would compose."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

import attrs

from penstock.errors import ConfigError, redact
from penstock.options import nearest
from penstock.workload.documents import Mark, Node, Problems, override, parse, read_text
from penstock.workload.shapes import FAILED, Reader
from penstock_training.train.schema import WORKLOAD, Workload

__all__ = ["Loaded", "load", "loads"]

_SECTION = "workload"
_DEFAULTS = "defaults"
_HYDRA = "hydra"


@attrs.frozen
class Loaded:
    """A workload, the text it was read from, and where each value that it gives stands, by path."""

    workload: Workload
    text: str
    name: str
    marks: Mapping[str, Mark] = attrs.field(factory=dict)


def load(path: str, *, overrides: Iterable[str] = (), environ: Mapping[str, str]) -> Loaded:
    """Read a workload file; ``-`` is standard input.

    ``overrides`` are ``reader.batch_size=4``; ``workload.`` or Hydra's ``++workload.`` may stand before. Raises
    ConfigError with every problem that was found.
    """
    label = "standard input" if path == "-" else path
    stem = "train" if path == "-" else os.path.splitext(os.path.basename(path))[0]
    return loads(read_text(path), label=label, name=stem, overrides=overrides, environ=environ)


def loads(
    text: str, *, label: str, name: str = "train", overrides: Iterable[str] = (), environ: Mapping[str, str]
) -> Loaded:
    """Read a workload from text; ``label`` is what problems are reported under."""
    problems = Problems()
    root = _tree(text, label, environ, problems)
    if root is None:
        _raise_any(problems)
        raise AssertionError("a file without a tree has a problem")
    for assignment in overrides:
        root = _overridden(root, assignment, problems)
    reader = Reader(problems)
    workload = reader.read(WORKLOAD, root, "")
    _raise_any(problems)
    assert isinstance(workload, Workload)
    assert workload is not FAILED
    return Loaded(workload, text, name, reader.marks)


def _raise_any(problems: Problems) -> None:
    # An override is quoted as its own place, and may have a key in it.
    if problems:
        raise ConfigError([redact(text) for text in problems.texts()])


def _tree(text: str, label: str, environ: Mapping[str, str], problems: Problems) -> Node | None:
    """The tree of a file, with the one that its ``defaults`` names below it."""
    # What Hydra interpolates is no variable of the environment; such a file is refused before that is noticed.
    plain = parse(text, label, problems, None)
    if plain is None:
        return None
    if plain.kind != "mapping":
        problems.add(plain.mark, "", f"write a mapping of keys, not {plain.describe()}")
        return None
    if _HYDRA in plain.entries:
        what = "refused: it says where DLIO logs; leave it out, results go where --results says"
        problems.add(plain.keys[_HYDRA], _HYDRA, what)
        return None
    root = parse(text, label, problems, environ)
    assert root is not None
    under = None
    if _DEFAULTS in root.entries:
        under = _default(root.entries[_DEFAULTS], environ, problems)
        root = _without(root, _DEFAULTS)
    inner = root.entries.get(_SECTION)
    if inner is not None and inner.kind == "mapping":
        # As it stands in DLIO's whole configuration.
        for other in set(root.entries) - {_SECTION}:
            problems.add(root.keys[other], other, f"stands beside {_SECTION}; write it in that section")
        root = inner
    return root if under is None else _merged(under, root)


def _default(defaults: Node, environ: Mapping[str, str], problems: Problems) -> Node | None:
    """The tree that a list of defaults names: of the group ``workload``, a file in the directory of that name."""
    under = None
    for item in defaults.items if defaults.kind == "sequence" else (defaults,):
        if item.kind == "scalar" and item.text == "_self_":
            continue
        group = next(iter(item.entries), "") if item.kind == "mapping" and len(item.entries) == 1 else ""
        value = item.entries.get(group)
        if group.removeprefix("override ") != _SECTION or value is None or value.kind != "scalar":
            what = f"refused: {group or item.text or item.describe()} is no workload; write workload: NAME, or nothing"
            problems.add(item.mark, _DEFAULTS, what)
            continue
        path = value.mark.beside(os.path.join(_SECTION, f"{value.text}.yaml"))
        try:
            text = read_text(path)
        except ConfigError as error:
            problems.add(value.mark, _DEFAULTS, error.problems[0])
            continue
        under = _tree(text, path, environ, problems)
    return under


def _without(root: Node, name: str) -> Node:
    entries = {key: value for key, value in root.entries.items() if key != name}
    return attrs.evolve(root, entries=entries, keys={key: root.keys[key] for key in entries})


def _merged(under: Node, over: Node) -> Node:
    """Mappings are put together key by key; anything else is replaced."""
    if under.kind != "mapping" or over.kind != "mapping":
        return over
    entries = dict(under.entries)
    for name, value in over.entries.items():
        entries[name] = _merged(entries[name], value) if name in entries else value
    return attrs.evolve(over, entries=entries, keys={**under.keys, **over.keys})


def _overridden(root: Node, assignment: str, problems: Problems) -> Node:
    text = assignment.strip()
    mark = Mark(f"--set {text}")
    if text.startswith("~"):
        problems.add(mark, "", "refused: a key can't be deleted here; write the value that it is to have")
        return root
    name, equals, value = text.lstrip("+").partition("=")
    parts = name.strip().removeprefix(f"{_SECTION}.")
    if parts == _SECTION and equals:
        problems.add(mark, "", "refused: another workload is another file; name that one")
        return root
    section = parts.partition(".")[0]
    if section == _HYDRA:
        problems.add(mark, "", "refused: it says where DLIO logs; results go where --results says")
        return root
    if not equals:
        problems.add(mark, "", "write key=value, such as reader.batch_size=4")
        return root
    known = {field.name for field in attrs.fields(Workload)}
    if section not in known:
        problems.add(mark, parts, f"unknown key, {nearest(section, known)}")
        return root
    return override(root, f"{parts}={value}", problems)
