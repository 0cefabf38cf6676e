"""Files of samples in stores: the glue between a store, which knows bytes, and a format, which knows samples.

::

    with penstock.open_samples("mem://data/train.npz") as samples:
        print(len(samples), samples.summary().fields, samples[0])

:func:`open_samples` reads samples by number and fetches only the ranges that they take, neighbours as one and several
at once; :func:`read_samples` yields all of them, :func:`write_samples` makes a file that nobody sees before it is
whole. The format is named, or found by the file's ending (:func:`choose_format`).

Beneath them is :class:`StoreFile`, which makes an object a :class:`~penstock.formats.RangeReader`.
"""

from __future__ import annotations

from penstock.formats import LocalBuffer
from penstock.samples.choosing import (
    SampleFormat,
    choose_format,
    format_named,
    format_names,
    format_of,
)
from penstock.samples.files import StoreFile
from penstock.samples.reading import SampleFile, find_index, open_samples, read_samples
from penstock.samples.writing import write_index, write_samples

__all__ = [
    "LocalBuffer",
    "SampleFile",
    "SampleFormat",
    "StoreFile",
    "choose_format",
    "find_index",
    "format_named",
    "format_names",
    "format_of",
    "open_samples",
    "read_samples",
    "write_index",
    "write_samples",
]
