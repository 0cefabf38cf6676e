"""Checkpoints of the shape that a model has: one rank's share, written and read as streams, held nowhere whole."""

from __future__ import annotations

import penstock
from penstock.buffers import aligned_buffer
from penstock.errors import LengthMismatchError
from penstock.payloads import Generator
from penstock_training.train.plan import Checkpoints

__all__ = ["folder", "read_share", "write_share"]

_MIB = 1024 * 1024
_PIECE = 8 * _MIB


def folder(plan: Checkpoints, epoch: int, step: int) -> str:
    """Where a checkpoint is, as DLIO names it."""
    return f"{plan.uri}global_epoch{epoch}_step{step}/"


def write_share(plan: Checkpoints, place: str, *, rank: int, seed: int) -> int:
    """Write what a rank has of a checkpoint below ``place`` and return the bytes. Each object appears when whole."""
    total = 0
    for number, (name, nbytes) in enumerate(plan.shape.files[rank]):
        # No two objects, and no two checkpoints, have a block in common.
        stream = Generator(nbytes, seed=seed, obj=rank * 100_000 + number, threads=1) if plan.random else None
        room = aligned_buffer(min(_PIECE, nbytes))
        with penstock.open_writer(place + name, part_size=_PIECE, options=plan.options or None) as writer:
            for offset in range(0, nbytes, _PIECE):
                piece = room[: min(_PIECE, nbytes - offset)]
                if stream is not None:
                    stream.fill(piece)
                writer.write(piece)
        total += nbytes
    return total


def read_share(plan: Checkpoints, place: str, *, rank: int) -> int:
    """Read what a rank wrote of a checkpoint, and return the bytes. Raises LengthMismatchError where some miss."""
    total = 0
    for name, nbytes in plan.shape.files[rank]:
        found = 0
        with penstock.open_read(place + name, chunk_size=_PIECE, options=plan.options or None) as stream:
            for chunk in stream:
                found += len(chunk)
        if found != nbytes:
            raise LengthMismatchError(f"holds {found} bytes, not {nbytes}", uri=place + name, operation="get")
        total += found
    return total
