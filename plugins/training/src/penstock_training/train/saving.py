"""Checkpoints of the shape that a model has: one rank's share, written and read as streams, held nowhere whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import penstock
from penstock.buffers import aligned_buffer
from penstock.errors import LengthMismatchError
from penstock.payloads import Generator
from penstock_training.train.plan import Checkpoints

__all__ = ["folder", "read_object", "read_share", "write_object", "write_share"]

_MIB = 1024 * 1024
_PIECE = 8 * _MIB


def folder(plan: Checkpoints, epoch: int, step: int) -> str:
    """Where a checkpoint is, as DLIO names it."""
    return f"{plan.uri}global_epoch{epoch}_step{step}/"


def write_share(plan: Checkpoints, place: str, *, rank: int, seed: int) -> int:
    """Write what a rank has of a checkpoint below ``place`` and return the bytes. Each object appears when whole."""
    for number, (name, nbytes) in enumerate(plan.shape.files[rank]):
        # No two objects, and no two checkpoints, have a block in common.
        write_object(
            place + name,
            nbytes,
            seed=seed if plan.random else None,
            obj=rank * 100_000 + number,
            options=plan.options,
        )
    return sum(nbytes for _, nbytes in plan.shape.files[rank])


def read_share(plan: Checkpoints, place: str, *, rank: int) -> int:
    """Read what a rank wrote of a checkpoint, and return the bytes. Raises LengthMismatchError where some miss."""
    for name, nbytes in plan.shape.files[rank]:
        read_object(place + name, nbytes, options=plan.options)
    return sum(nbytes for _, nbytes in plan.shape.files[rank])


def write_object(
    uri: str, nbytes: int, *, seed: int | None, obj: int = 0, options: Mapping[str, Any] | None = None
) -> None:
    """Write so many unique bytes, those of ``seed`` and ``obj``, or zeros where ``seed`` is None, in parts of 8 MiB."""
    stream = Generator(nbytes, seed=seed, obj=obj, threads=1) if seed is not None else None
    room = aligned_buffer(min(_PIECE, nbytes))
    with penstock.open_writer(uri, part_size=_PIECE, options=options or None) as writer:
        for offset in range(0, nbytes, _PIECE):
            piece = room[: min(_PIECE, nbytes - offset)]
            if stream is not None:
                stream.fill(piece)
            writer.write(piece)


def read_object(uri: str, nbytes: int, *, options: Mapping[str, Any] | None = None) -> None:
    """Read an object to its end. Raises LengthMismatchError unless it has so many bytes."""
    found = 0
    with penstock.open_read(uri, chunk_size=_PIECE, options=options or None) as stream:
        for chunk in stream:
            found += len(chunk)
    if found != nbytes:
        raise LengthMismatchError(f"holds {found} bytes, not {nbytes}", uri=uri, operation="get")
