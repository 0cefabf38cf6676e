"""Which format a file has: by the name that the user gives, or by the file's ending."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import Any

import attrs

from penstock.errors import PluginError, UsageError
from penstock.formats import DataFormat, FormatType
from penstock.options import resolve
from penstock.plugins import PluginHost, default_host

__all__ = ["SampleFormat", "choose_format", "format_named", "format_names", "format_of"]

_GROUP = "penstock.formats"


@attrs.frozen(slots=True)
class SampleFormat:
    """A format as its plugin offers it, opened with options. Threads share it."""

    kind: FormatType
    codec: DataFormat


def format_names(*, host: PluginHost | None = None) -> tuple[str, ...]:
    """The names of the formats that are installed, sorted. Loads nothing."""
    return (host or default_host()).names(_GROUP)


def format_named(name: str, options: Mapping[str, Any] | None = None, *, host: PluginHost | None = None) -> DataFormat:
    """Open a format by name; the case does not matter.

    Raises PluginError where it is not installed, UnknownOptionError or UsageError for options that it can't have.
    """
    return _opened((host or default_host()).format_type(name.lower()), options).codec


def format_of(key: str, *, host: PluginHost | None = None) -> FormatType | None:
    """The format whose ending a key or a URI has, the longest ending first; None where no installed one has it.

    The case does not matter. A plugin that can't be loaded has no endings. Raises UsageError where two formats have
    the same ending.
    """
    name = key.lower()
    found = [(ending, kind) for ending, kind in _endings(host or default_host()) if name.endswith(ending)]
    if not found:
        return None
    longest = max(len(ending) for ending, _ in found)
    kinds = {kind.name: kind for ending, kind in found if len(ending) == longest}
    if len(kinds) > 1:
        raise UsageError(f"{key}: {' and '.join(sorted(kinds))} have this ending; name the format")
    return next(iter(kinds.values()))


def choose_format(
    key: str,
    format: str | SampleFormat | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    host: PluginHost | None = None,
) -> SampleFormat:
    """Open the format that is named, or else the one of the file's ending; one that is open is taken as it is.

    Raises UsageError where the ending is no format's, and what :func:`format_named` raises.
    """
    if isinstance(format, SampleFormat):
        if options is not None:
            raise UsageError("options are for a format that is named; this one was opened with its own")
        return format
    host = host or default_host()
    if format is not None:
        return _opened(host.format_type(format.lower()), options)
    kind = format_of(key, host=host)
    if kind is None:
        known = ", ".join(sorted(ending for ending, _ in _endings(host)))
        raise UsageError(f"{key}: no installed format has this ending; name the format, or use one of {known}")
    return _opened(kind, options)


def _opened(kind: FormatType, options: Mapping[str, Any] | None) -> SampleFormat:
    resolved = resolve(kind.options, explicit=options, environ=os.environ, scheme=kind.name)
    return SampleFormat(kind, kind.open(resolved.options))


@functools.lru_cache(maxsize=8)
def _endings(host: PluginHost) -> tuple[tuple[str, FormatType], ...]:
    found = []
    for name in host.names(_GROUP):
        try:
            kind = host.format_type(name)
        except PluginError:
            continue
        found += [(ending.lower(), kind) for ending in kind.extensions]
    return tuple(found)
