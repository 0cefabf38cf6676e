"""Types of tensors as safetensors names them, and arrays and tensors as bytes and back.

Little-endian, C order. Nothing imports torch or ml_dtypes unless the caller hands their tensors or asks for them: what
NumPy lacks (bfloat16 and the floats of 8 bits) goes by the name that ml_dtypes and torch share.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal

import attrs
import numpy as np

from penstock.errors import UsageError

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["ITEM_SIZES", "Framework", "Tensor", "as_tensor", "is_tensor", "to_array", "to_torch", "view_of"]

Framework = Literal["numpy", "torch"]

#: The name of a type in safetensors -> its name in NumPy (with ml_dtypes) and torch, and bytes per item.
_TYPES: Final[dict[str, tuple[str, int]]] = {
    "BOOL": ("bool", 1),
    "U8": ("uint8", 1),
    "I8": ("int8", 1),
    "F8_E5M2": ("float8_e5m2", 1),
    "F8_E4M3": ("float8_e4m3fn", 1),
    "F8_E8M0": ("float8_e8m0fnu", 1),
    "U16": ("uint16", 2),
    "I16": ("int16", 2),
    "F16": ("float16", 2),
    "BF16": ("bfloat16", 2),
    "U32": ("uint32", 4),
    "I32": ("int32", 4),
    "F32": ("float32", 4),
    "U64": ("uint64", 8),
    "I64": ("int64", 8),
    "F64": ("float64", 8),
    "C64": ("complex64", 8),
}
_NAMES: Final = {name: kind for kind, (name, _) in _TYPES.items()}
_NOT_NUMPYS: Final = ("bfloat16", "float8_e5m2", "float8_e4m3fn", "float8_e8m0fnu")
#: Bytes per item, by safetensors' name of the type.
ITEM_SIZES: Final = {kind: size for kind, (_, size) in _TYPES.items()}


@attrs.frozen(slots=True)
class Tensor:
    """A tensor to be written: its description, and ``view()``, which makes its bytes when they are needed."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    view: Callable[[], memoryview] = attrs.field(eq=False, repr=False)

    @property
    def nbytes(self) -> int:
        """The length of its bytes."""
        return int(np.prod(self.shape, dtype=object)) * ITEM_SIZES[self.dtype]


def is_tensor(value: object) -> bool:
    """Whether this is an array, a NumPy scalar or a tensor of some framework."""
    return isinstance(value, np.ndarray | np.generic) or hasattr(value, "__dlpack__")


def as_tensor(name: str, value: Any) -> Tensor:
    """A tensor of that name. Raises UsageError, naming it, for what safetensors can't hold."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        return _from_torch(name, value, torch)
    array = _array(name, value)
    kind = _NAMES.get(array.dtype.name)
    if kind is None:
        raise UsageError(f"tensor {name!r}: {array.dtype} can't be stored; {_remedy(array.dtype)}")
    return Tensor(name, kind, array.shape, lambda: _bytes_of(array))


def view_of(data: Buffer) -> memoryview:
    """The bytes of a buffer in C order, without a copy where they lie so."""
    view = memoryview(data)
    if not view.nbytes:
        return memoryview(b"")
    return view.cast("B") if view.c_contiguous else memoryview(view.tobytes())


def to_array(dtype: str, shape: tuple[int, ...], data: memoryview) -> np.ndarray[Any, Any]:
    """A NumPy array over these bytes, without a copy; the types that NumPy lacks need ml_dtypes."""
    name = _TYPES[dtype][0]
    kind = np.dtype(getattr(_ml_dtypes(name), name)) if name in _NOT_NUMPYS else np.dtype(name).newbyteorder("<")
    if not data.nbytes:
        return np.empty(shape, dtype=kind)
    return np.frombuffer(data, dtype=kind).reshape(shape)


def to_torch(dtype: str, shape: tuple[int, ...], data: memoryview) -> Any:
    """A torch tensor over these bytes, without a copy where they are writable."""
    import torch

    kind = getattr(torch, _TYPES[dtype][0])
    if not data.nbytes:
        return torch.empty(shape, dtype=kind)
    return torch.frombuffer(data if not data.readonly else bytearray(data), dtype=kind).reshape(shape)


def _array(name: str, value: Any) -> np.ndarray[Any, Any]:
    try:
        if isinstance(value, np.ndarray | np.generic) or hasattr(value, "__array__"):
            return np.asarray(value)
        return np.from_dlpack(value)
    except (TypeError, ValueError, RuntimeError, BufferError) as error:
        raise UsageError(f"tensor {name!r}: {type(value).__name__} gives no array: {error}") from error


def _bytes_of(array: np.ndarray[Any, Any]) -> memoryview:
    if not array.size:
        return memoryview(b"")
    if array.dtype.byteorder == ">" or (array.dtype.byteorder == "=" and sys.byteorder == "big"):
        array = array.astype(array.dtype.newbyteorder("<"))
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _remedy(dtype: np.dtype[Any]) -> str:
    if dtype.kind in "SU":
        return "put text and bytes beside the tensors as plain values"
    if dtype.kind in "mM":
        return "store its int64 view"
    if dtype.kind == "c":
        return "store its real and imaginary parts"
    if dtype.kind == "V":
        return "store each field by itself"
    return f"convert it to one of {', '.join(sorted(_NAMES))}"


def _from_torch(name: str, value: Any, torch: Any) -> Tensor:
    kind = _NAMES.get(str(value.dtype).removeprefix("torch."))
    if kind is None:
        raise UsageError(f"tensor {name!r}: {value.dtype} can't be stored; convert it to another type")
    if hasattr(value, "to_local"):
        raise UsageError(f"tensor {name!r} is distributed; store value.to_local() of each rank, or use penstock-torch")
    if value.layout is not torch.strided or value.is_meta:
        what = "has no data" if value.is_meta else f"has the layout {value.layout}"
        raise UsageError(f"tensor {name!r} {what}; store a dense tensor")

    def view() -> memoryview:
        flat = value.detach().resolve_conj().resolve_neg().cpu().contiguous().reshape(-1)
        return memoryview(flat.view(torch.uint8).numpy()) if flat.numel() else memoryview(b"")

    return Tensor(name, kind, tuple(value.shape), view)


def _ml_dtypes(name: str) -> Any:
    try:
        return importlib.import_module("ml_dtypes")
    except ImportError:
        raise UsageError(
            f"NumPy has no {name}: pip install 'penstock-training[bfloat16]', or load with framework='torch'"
        ) from None
