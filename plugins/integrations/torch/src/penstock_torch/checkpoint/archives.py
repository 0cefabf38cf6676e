"""One tensor as the archive that ``torch.save`` makes of it, around the tensor's own memory.

The archive is a ZIP file (APPNOTE.TXT, 4.3) of stored records: ``data.pkl``, the pickled tensor whose storage is named
``0``; ``byteorder``; ``data/0``, the storage, aligned to 64 bytes; and ``version``. Here only what surrounds the bytes
is made, so a tensor of any size is written without a copy, and where its bytes lie is known before they are written.
As with ``torch.serialization.set_crc32_options(False)``, the checksum of ``data/0`` is left 0: torch does not look
at it.
"""

from __future__ import annotations

import io
import pickle
import struct
import sys
import zlib
from typing import Any

import attrs
import torch

__all__ = ["Archive", "archive_of", "bytes_of", "is_plain"]

_ROOT = b"archive/"
_ALIGNMENT = 64
_LIMIT = 0xFFFFFFFF
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_END_64 = struct.Struct("<4sQ2H2I4Q")
_LOCATOR = struct.Struct("<4sIQI")
#: Version 4.5, which knows sizes of 64 bits; no flags; stored; no time; 1980-01-01.
_COMMON = (45, 0, 0, 0, 0x21)
#: The extra field by which torch pads.
_PADDING = b"FB"


@attrs.frozen(slots=True)
class Archive:
    """``head``, then the tensor's bytes, then ``tail``."""

    head: bytes
    data: memoryview
    tail: bytes

    @property
    def nbytes(self) -> int:
        return len(self.head) + self.data.nbytes + len(self.tail)


def is_plain(tensor: torch.Tensor) -> bool:
    """Whether a tensor is nothing but its elements, one after the other, so that its bytes say all."""
    return (
        type(tensor) in (torch.Tensor, torch.nn.Parameter)
        and tensor.layout == torch.strided
        and not tensor.is_quantized
        and tensor.device.type != "meta"
    )


def bytes_of(tensor: torch.Tensor) -> memoryview:
    """The bytes of a plain, contiguous tensor in this computer's memory, without a copy."""
    # Only one dimension, and no sign or conjugation that is still to be applied, can be seen as bytes.
    return memoryview(tensor.detach().reshape(-1).view(torch.uint8).numpy())


def archive_of(tensor: torch.Tensor) -> Archive:
    """What ``torch.load`` reads as this tensor, which is plain and is moved to this computer's memory if need be."""
    here = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    data = bytes_of(here)
    head = _Zip()
    head.add(b"data.pkl", _pickled(here))
    head.add(b"byteorder", sys.byteorder.encode())
    head.begin(b"data/0", data.nbytes)
    tail = _Zip(head, data.nbytes)
    tail.add(b"version", b"3\n")
    tail.finish()
    return Archive(bytes(head.out), data, bytes(tail.out))


class _Pickler(pickle.Pickler):
    """Pickles a tensor as ``torch.save`` does: storages are named, not held."""

    def persistent_id(self, obj: Any) -> Any:
        if isinstance(obj, torch.storage.TypedStorage):
            return "storage", getattr(torch, obj._pickle_storage_type()), "0", "cpu", obj._size()
        if isinstance(obj, torch.UntypedStorage):
            return "storage", torch.UntypedStorage, "0", "cpu", obj.nbytes()
        return None


def _pickled(tensor: torch.Tensor) -> bytes:
    # Over exactly its own bytes, for a view would be pickled with the place and the size of what it is a view of.
    if tensor.numel():
        alone = torch.from_numpy(tensor.reshape(-1).view(torch.uint8).numpy()).view(tensor.dtype).reshape(tensor.shape)
    else:
        alone = torch.empty(tensor.shape, dtype=tensor.dtype)
    out = io.BytesIO()
    _Pickler(out, protocol=2).dump(alone)
    return out.getvalue()


class _Zip:
    """Records of an archive: all of it, or what follows ``before`` and its last record of ``skipped`` bytes."""

    def __init__(self, before: _Zip | None = None, skipped: int = 0) -> None:
        self.out = bytearray()
        self._base: int = before._base + len(before.out) + skipped if before is not None else 0
        self._directory: list[tuple[bytes, int, int, int]] = before._directory if before is not None else []

    def add(self, name: bytes, content: bytes) -> None:
        """A whole record."""
        self.begin(name, len(content), zlib.crc32(content), aligned=False)
        self.out += content

    def begin(self, name: bytes, size: int, crc: int = 0, *, aligned: bool = True) -> None:
        """What stands before a record's content."""
        name, start = _ROOT + name, self._base + len(self.out)
        small = size < _LIMIT
        extra = b"" if small else struct.pack("<2H2Q", 1, 16, size, size)
        if aligned:
            filled = start + _LOCAL.size + len(name) + len(extra) + 4
            padding = -filled % _ALIGNMENT
            extra += _PADDING + struct.pack("<H", padding) + b"Z" * padding
        sizes = (size, size) if small else (_LIMIT, _LIMIT)
        self.out += _LOCAL.pack(b"PK\3\4", *_COMMON, crc, *sizes, len(name), len(extra)) + name + extra
        self._directory.append((name, start, size, crc))

    def finish(self) -> None:
        """The directory of all records, and the end of the archive."""
        start = self._base + len(self.out)
        for name, place, size, crc in self._directory:
            wide = size >= _LIMIT or place >= _LIMIT
            extra = struct.pack("<2H3Q", 1, 24, size, size, place) if wide else b""
            sizes = (_LIMIT, _LIMIT) if wide else (size, size)
            self.out += _CENTRAL.pack(
                b"PK\1\2", 45, *_COMMON, crc, *sizes, len(name), len(extra), 0, 0, 0, 0, _LIMIT if wide else place
            )
            self.out += name + extra
        end = self._base + len(self.out)
        count, length = len(self._directory), end - start
        if start >= _LIMIT:
            self.out += _END_64.pack(b"PK\6\6", 44, 45, 45, 0, 0, count, count, length, start)
            self.out += _LOCATOR.pack(b"PK\6\7", 0, end, 1)
        self.out += _END.pack(b"PK\5\6", 0, 0, count, count, length, min(start, _LIMIT), 0)
