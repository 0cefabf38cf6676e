"""NPY, versions 1.0 to 3.0: a header that describes an array, and the array's own memory.

After https://github.com/numpy/numpy, ``doc/neps/nep-0001-npy-format.rst``: the magic ``\\x93NUMPY``, two bytes of
version, the header's length in two (1.0) or four bytes, and the header: a Python literal, a dictionary of ``descr``,
``fortran_order`` and ``shape``, padded so that the data begins at a multiple of 64. It is Latin-1, in 3.0 UTF-8.
"""

from __future__ import annotations

import ast
import functools
import math
import struct
from typing import Any

import attrs
import numpy as np
from numpy.lib import format as numpy_format

from penstock.errors import FormatError

__all__ = ["ALIGNMENT", "LONGEST_HEADER", "Layout", "array_of", "header_of", "memory_of", "parse", "view"]

ALIGNMENT = 64
#: A header that is longer is not read: the literal in it would take very much memory.
LONGEST_HEADER = 1024 * 1024

_MAGIC = b"\x93NUMPY"
_KEYS = {"descr", "fortran_order", "shape"}
_CACHED = 1024

Array = np.ndarray[Any, Any]


@attrs.frozen(slots=True)
class Layout:
    """What a header says. ``start`` is where the data begins; it takes ``nbytes``."""

    dtype: np.dtype[Any]
    fortran: bool
    shape: tuple[int, ...]
    start: int
    nbytes: int


def array_of(value: Any, name: str) -> Array:
    """An array of this value, in C or Fortran order: itself, where it is one. Raises FormatError.

    Numbers become arrays of no dimensions. An array with gaps is copied.
    """
    if isinstance(value, np.ma.MaskedArray):
        raise FormatError(f"{name!r} is a masked array, whose mask NPY can't hold; store data and mask apart")
    if isinstance(value, bool | int | float | complex | np.generic):
        value = np.asarray(value)
    if not isinstance(value, np.ndarray):
        raise FormatError(f"{name!r} is a {type(value).__name__}, not an array or a number")
    array: Array = np.asarray(value)
    _describe(array.dtype, name)
    if not (array.flags.c_contiguous or array.flags.f_contiguous):
        return array.copy(order="C")
    return array


def header_of(array: Array) -> bytes:
    """The header of an array, as the lowest version that can hold it."""
    return _header(array.dtype, array.flags.f_contiguous and not array.flags.c_contiguous, array.shape)


@functools.lru_cache(maxsize=256)
def _header(dtype: np.dtype[Any], fortran: bool, shape: tuple[int, ...]) -> bytes:
    descr = _describe(dtype, "the array")
    text = f"{{'descr': {descr!r}, 'fortran_order': {fortran}, 'shape': {shape!r}, }}"
    try:
        raw, version = text.encode("latin1"), 1
    except UnicodeEncodeError:
        raw, version = text.encode("utf-8"), 3
    if version == 1 and len(raw) + ALIGNMENT > 0xFFFF:
        version = 2
    prefix = 10 if version == 1 else 12
    length = -(-(prefix + len(raw) + 1) // ALIGNMENT) * ALIGNMENT - prefix
    if length > LONGEST_HEADER:
        raise FormatError(f"the array's type takes {length} bytes to describe, more than NPY is read with")
    size = struct.pack("<H" if version == 1 else "<I", length)
    return _MAGIC + bytes([version, 0]) + size + raw.ljust(length - 1) + b"\n"


def memory_of(array: Array) -> memoryview:
    """The array's own memory, in the order that its header says."""
    if not array.nbytes:
        return memoryview(b"")
    flat: Any = (array if array.flags.c_contiguous else array.T).reshape(-1)
    return memoryview(flat.view(np.uint8))


def parse(data: memoryview) -> Layout:
    """Read the header that bytes begin with. Raises FormatError."""
    if data[:6] != _MAGIC or data.nbytes < 12:
        raise FormatError("this is no NPY file: it does not begin with the magic of one, and a header")
    version = (data[6], data[7])
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise FormatError(f"version {version[0]}.{version[1]} of NPY is not known")
    prefix = 10 if version == (1, 0) else 12
    (length,) = struct.unpack_from("<H" if prefix == 10 else "<I", data, 8)
    if length > min(LONGEST_HEADER, data.nbytes - prefix):
        raise FormatError(f"the file ends within its header, or the header is not read: it has {length} bytes")
    raw = bytes(data[prefix : prefix + length])
    dtype, fortran, shape = (_literal if length <= _CACHED else _literal.__wrapped__)(raw, version == (3, 0))
    return Layout(dtype, fortran, shape, prefix + length, math.prod(shape) * dtype.itemsize)


def view(data: memoryview, *, exact: bool) -> Array:
    """The array in these bytes, as a view of them where its memory is aligned in there, else as a copy.

    Raises FormatError where bytes are missing, and with ``exact`` where some are left.
    """
    layout = parse(data)
    left = data.nbytes - layout.start - layout.nbytes
    if left < 0:
        raise FormatError(f"the file ends within its array: {-left} bytes are missing")
    if left and exact:
        raise FormatError(f"{left} bytes follow the array")
    memory = data[layout.start : layout.start + layout.nbytes]
    try:
        array: Array = np.ndarray(
            layout.shape, layout.dtype, buffer=memory or bytes(1), order="F" if layout.fortran else "C"
        )
    except ValueError as error:
        raise FormatError(f"an array of the shape {layout.shape} can't be: {error}") from error
    return array if array.flags.aligned else array.copy(order="K")


def _describe(dtype: np.dtype[Any], name: str) -> Any:
    descr = _descr(dtype)
    if descr is None:
        raise FormatError(f"{name!r} has the type {dtype}, which NPY can't hold but as pickled objects")
    return descr


@functools.lru_cache(maxsize=256)
def _descr(dtype: np.dtype[Any]) -> Any:
    """NPY's description of a type; None where it has none from which the type could be made again."""
    if dtype.hasobject or dtype.kind not in "biufcmMSUV":
        return None
    if dtype.kind == "V" and dtype.names is None and dtype.type is not np.void:
        return None  # a type that NumPy itself does not know, such as bfloat16
    bare = dtype if dtype.metadata is None else _without_metadata(dtype)
    try:
        descr = numpy_format.dtype_to_descr(bare)
        same = numpy_format.descr_to_dtype(ast.literal_eval(repr(descr))) == bare
    except (ValueError, TypeError, SyntaxError):
        return None
    return descr if same else None


def _without_metadata(dtype: np.dtype[Any]) -> np.dtype[Any]:
    plain: np.dtype[Any] = np.dtype(dtype.str) if dtype.names is None else np.dtype(dtype.descr)
    return plain


@functools.lru_cache(maxsize=256)
def _literal(raw: bytes, utf8: bool) -> tuple[np.dtype[Any], bool, tuple[int, ...]]:
    """Type, Fortran order and shape of a header."""
    try:
        fields = ast.literal_eval(raw.decode("utf-8" if utf8 else "latin1").strip())
        if not isinstance(fields, dict) or set(fields) != _KEYS:
            raise FormatError("it does not hold descr, fortran_order and shape, and nothing else")
        shape, fortran = fields["shape"], fields["fortran_order"]
        if not isinstance(shape, tuple) or not all(type(size) is int and size >= 0 for size in shape):
            raise FormatError(f"the shape is {shape!r:.80}")
        if not isinstance(fortran, bool):
            raise FormatError(f"fortran_order is {fortran!r:.80}")
        dtype: np.dtype[Any] = numpy_format.descr_to_dtype(fields["descr"])
    except Exception as error:
        raise FormatError(f"the NPY header can't be read: {error}") from error
    if dtype.hasobject:
        raise FormatError("the array holds Python objects, which would have to be unpickled; that is never done")
    return dtype, fortran, shape
