"""Objects kept compressed, by zstd.

The object ``key`` is stored as ``key.zst``: frames of zstd, each of ``frame_size`` bytes of the object and with a
checksum of its own, and a table of their sizes at the end, in the seekable format of the zstd project. A frame before
the table, which other readers skip, holds its checksum. So ``zstd -d`` reads what is written here, and what it writes
can be read here.

Keys, sizes, ranges and etags are those of the object as its user sees it; other objects of the store, whose names don't
end in ``.zst``, are not seen. What that costs:

- ``get`` of a whole object, ``put`` and ``delete`` are one request, as ever. A put holds its compressed bytes.
- ``stat`` and ``copy`` ask for the table too: two requests.
- A range takes three: what the store has, the table, and the frames that hold it.
- A listing asks for the table of each object, unless ``list_sizes`` is ``stored``: then it gives the sizes of what is
  stored. It comes in no order, as ``a.zst`` stands behind ``a-b.zst``.
- An object without a table, by the zstd command, is read from end to end for its size or a range.
- Keys are four bytes shorter than the store could hold.

A writer sends each frame when it is full and so holds no more than one, beside what the store's own writer holds.
Bytes that can't be decompressed raise ChecksumMismatchError, after those before them were delivered.
"""

from __future__ import annotations

from penstock.layers.compression.store import Compressed, Compression

__all__ = ["Compressed", "Compression"]
