"""``penstock new-plugin``: the skeleton of a backend or of a data format, complete and passing the conformance kit.

The templates are whole distributions: one serves ``acme://`` over a directory, the other has the format ``acme``;
making a plugin of one means putting another name in the place of ``acme``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import click

from penstock.errors import UsageError
from penstock.plugins import FORMAT_PACKAGES, PACKAGES

__all__ = ["check_name", "new_plugin", "write_plugin"]

_LEGAL = re.compile(r"[a-z][a-z0-9]*\Z")
_LONGEST = 40
#: Files of the template end in this, so that no tool takes them for code of penstock.
_SUFFIX = ".in"
_NAME = "acme"


@click.command("new-plugin")
@click.argument("name")
@click.option("--format", "as_format", is_flag=True, help="Of a data format, not of a backend.")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to write it.  [default: ./penstock-NAME]",
)
def new_plugin(name: str, as_format: bool, directory: Path | None) -> None:
    """Write the skeleton of a backend that serves NAME:// URIs, or with --format of the data format NAME.

    NAME is the scheme, or the format's name and ending: lower-case letters and digits. The skeleton keeps objects in a
    directory, or samples in records, and passes the conformance kit as it is; replace what its methods do, and let the
    kit say when a law is broken.
    """
    place = directory if directory is not None else Path(f"penstock-{name}")
    written = write_plugin(name, place, as_format=as_format)
    click.echo(f"{place}: {len(written)} files. Next:\n")
    click.echo(f"  cd {place}\n  pip install -e '.[testing]'\n  pytest\n  penstock plugins show {name}")


def write_plugin(name: str, directory: Path, *, as_format: bool = False) -> list[Path]:
    """Write the distribution ``penstock-NAME`` into ``directory`` and return its files.

    Raises UsageError for a name that can't be that of a plugin, or is a first-party one, and for a directory that is
    not empty.
    """
    check_name(name, as_format=as_format)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UsageError(f"{directory} exists and is not an empty directory; choose another with --directory")
    written = []
    for parts, source in _walk(files("penstock").joinpath("templates", "format" if as_format else "plugin")):
        path = directory.joinpath(*(_renamed(part, name) for part in parts)).with_suffix("")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_renamed(source.read_text(encoding="utf-8"), name), encoding="utf-8")
        written.append(path)
    return written


def check_name(name: str, *, as_format: bool = False) -> None:
    """Raise UsageError unless a new backend, or a new format, can have that name."""
    what = "a format's name" if as_format else "a scheme"
    if not _LEGAL.match(name):
        near = re.sub(r"[^a-z0-9]", "", name.lower()).lstrip("0123456789")
        hint = f", such as {near}" if near else ""
        raise UsageError(f"{name!r} can't be {what}: use lower-case letters and digits, a letter first{hint}")
    if len(name) > _LONGEST:
        raise UsageError(f"{name!r} is too long for {what}: at most {_LONGEST} characters")
    taken = FORMAT_PACKAGES if as_format else PACKAGES
    if name in taken or name == ("raw" if as_format else "mem"):
        owner = taken.get(name, "penstock itself")
        served = f"the format {name} is that of" if as_format else f"{name}:// is served by"
        raise UsageError(f"{served} {owner}; choose another name")


def _walk(folder: Traversable, *above: str) -> Iterator[tuple[tuple[str, ...], Traversable]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        parts = (*above, entry.name)
        if entry.is_dir():
            yield from _walk(entry, *parts)
        elif entry.name.endswith(_SUFFIX):
            yield parts, entry


def _renamed(text: str, name: str) -> str:
    return text.replace(_NAME, name).replace(_NAME.capitalize(), name.capitalize()).replace(_NAME.upper(), name.upper())
