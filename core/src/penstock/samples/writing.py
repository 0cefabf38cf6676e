"""Writing samples, and indexes of files of samples, by URI."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from penstock.client.functions import Options
from penstock.client.stores import Found, default_cache
from penstock.errors import UsageError
from penstock.formats import FormatType, Sample
from penstock.options import nearest
from penstock.samples.choosing import SampleFormat, choose_format
from penstock.samples.files import StoreFile
from penstock.samples.local import naming_file
from penstock.store import ObjectInfo

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["index_ending", "index_found", "write_index", "write_samples"]

_PART = 8 * 1024 * 1024


def write_samples(
    uri: str,
    samples: Iterable[Sample],
    format: str | SampleFormat | None = None,
    *,
    format_options: Mapping[str, Any] | None = None,
    part_size: int = _PART,
    if_absent: bool = False,
    metadata: Mapping[str, str] | None = None,
    content_type: str | None = None,
    options: Options = None,
) -> ObjectInfo:
    """Write samples as one file, which appears when it is whole; after any error there is none.

    Samples are taken as the format asks for them, and sent in parts of ``part_size`` bytes. ``format`` is that of the
    file's ending unless it is named; the rest is as in :func:`penstock.put`. The key of what is returned is the whole
    URI. Raises FormatError for a sample that the format can't hold.
    """
    chosen = choose_format(uri, format, format_options)
    found = default_cache().find(uri, options)
    pieces = chosen.codec.encode(samples)
    return _write(found, pieces, part_size, if_absent, metadata, content_type)


def write_index(
    uri: str,
    format: str | SampleFormat | None = None,
    *,
    form: str = "",
    target: str | None = None,
    format_options: Mapping[str, Any] | None = None,
    options: Options = None,
) -> ObjectInfo:
    """Write the index of a file beside it, with the form's ending added to its name, or to ``target``.

    ``form`` is one of those that the format names; empty is the first. Raises UsageError where the format has no
    index, or not this form.
    """
    chosen = choose_format(uri, format, format_options)
    ending = index_ending(chosen.kind, form)
    found = default_cache().find(uri, options)
    place = default_cache().find(target, options) if target is not None else Found(found.store, found.key + ending)
    return index_found(found, place, chosen, form)


def index_found(found: Found, place: Found, chosen: SampleFormat, form: str) -> ObjectInfo:
    """Write the index of a file at another place, both of stores that are open."""
    file = StoreFile(found.store.raw, found.key, uri=found.uri)
    return _write(place, chosen.codec.index(file, form=form), _PART, False, None, None)


def index_ending(kind: FormatType, form: str) -> str:
    """What a form of index adds to a file's name. Raises UsageError for a form that the format does not name."""
    if not kind.index_forms:
        raise UsageError(f"{kind.name} has no index: samples are found without one, or can't be read by number")
    if not form:
        return next(iter(kind.index_forms.values()))
    if form not in kind.index_forms:
        raise UsageError(f"{kind.name} has no form of index named {form}; {nearest(form, kind.index_forms)}")
    return kind.index_forms[form]


def _write(
    found: Found,
    pieces: Iterable[Buffer],
    part_size: int,
    if_absent: bool,
    metadata: Mapping[str, str] | None,
    content_type: str | None,
) -> ObjectInfo:
    writer = found.store.open_writer(
        found.key, part_size=part_size, if_absent=if_absent, metadata=metadata, content_type=content_type
    )
    with writer, naming_file(found.uri):
        for piece in pieces:
            writer.write(piece)
    assert writer.info is not None
    return attrs.evolve(writer.info, key=found.uri)
