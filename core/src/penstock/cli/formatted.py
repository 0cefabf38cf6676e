"""Generated objects of a data format: the options that name it, the bytes of each object, and their check."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import click

from penstock.buffers import aligned_buffer, equal, first_difference
from penstock.cli.common import key_values
from penstock.errors import ChecksumMismatchError, UsageError

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from penstock.samples import SampleFormat

__all__ = [
    "ExpectPieces",
    "Formatted",
    "Refill",
    "format_options",
    "object_type_options",
    "refuse_without_size",
]

_F = TypeVar("_F", bound=Callable[..., Any])
_ROOM = 1024 * 1024

#: Fills a part of object number ``obj`` from an offset on.
Refill = Callable[[memoryview, int, int], None]


def format_options(command: _F) -> _F:
    """``--format-option``, passed as a dictionary."""
    return click.option(
        "--format-option",
        "format_options",
        multiple=True,
        metavar="NAME=VALUE",
        callback=key_values,
        help="An option of the format; `penstock plugins show FORMAT` lists them.",
    )(command)


def object_type_options(command: _F) -> _F:
    """``-o`` and ``--format-option``."""
    return format_options(
        click.option(
            "-o",
            "--object-type",
            default="RAW",
            show_default=True,
            metavar="FORMAT",
            help="RAW, or a data format such as NPZ or TFRECORD; `penstock format list` has them. The size is then "
            "that of the content in each object.",
        )(command)
    )


@attrs.frozen
class Formatted:
    """A format that objects are generated in, as the command line names it."""

    chosen: SampleFormat
    options: Mapping[str, str]

    @classmethod
    def of(cls, object_type: str, options: Mapping[str, str]) -> Formatted | None:
        """None for RAW: the bytes as they are. Raises PluginError or UsageError."""
        from penstock.samples import choose_format

        if object_type.upper() == "RAW" and not options:
            return None
        return cls(choose_format("", object_type, options), options)

    def template(self, default: str) -> str:
        """The template of names, with the format's usual ending."""
        stem, _, _ = default.rpartition(".")
        return f"{stem}{self.chosen.kind.extensions[0]}"

    def pieces(self, refill: Refill, size: int, obj: int) -> Iterator[Buffer]:
        """The bytes of object number ``obj``, which holds ``size`` bytes of content."""
        offset = 0

        def fill(room: memoryview) -> None:
            nonlocal offset
            refill(room, obj, offset)
            offset += room.nbytes

        codec = self.chosen.codec
        return codec.encode(codec.synthesize(size, fill))

    def arguments(self) -> str:
        """The options that give this format again."""
        said = [f"-o {self.chosen.kind.name.upper()}"]
        said += [f"--format-option {shlex.quote(f'{name}={value}')}" for name, value in self.options.items()]
        return " ".join(said)


class ExpectPieces:
    """A sink that compares what arrives with pieces of bytes; as :class:`penstock.sinks.Verify` does."""

    def __init__(self, pieces: Iterator[Buffer]) -> None:
        self._pieces = pieces
        self._piece = memoryview(b"")
        self._room = aligned_buffer(_ROOM)
        self.nbytes = 0
        self.difference: int | None = None

    def write(self, data: Buffer, /) -> None:
        got = memoryview(data)
        got = got.cast("B") if got.nbytes else memoryview(b"")
        while got.nbytes:
            self._next()
            count = min(got.nbytes, self._piece.nbytes)
            if not count:
                self._differ(self.nbytes)
            if not equal(got[:count], self._piece[:count]):
                self._differ(self.nbytes + (first_difference(got[:count], self._piece[:count]) or 0))
            got, self._piece = got[count:], self._piece[count:]
            self.nbytes += count

    def reserve(self, nbytes: int, /) -> memoryview:
        return self._room

    def commit(self, nbytes: int, /) -> None:
        self.write(self._room[:nbytes])

    def missing(self) -> int:
        """How many bytes should have come after the last one."""
        self._next()
        return self._piece.nbytes + sum(memoryview(piece).nbytes for piece in self._pieces)

    def _next(self) -> None:
        while not self._piece.nbytes:
            piece = next(self._pieces, None)
            if piece is None:
                return
            view = memoryview(piece)
            self._piece = view.cast("B") if view.nbytes else memoryview(b"")

    def _differ(self, offset: int) -> None:
        self.difference = offset
        raise ChecksumMismatchError(f"the object differs from what was written at byte {offset}")


def refuse_without_size(formatted: Formatted | None, size: int | None) -> None:
    """Raise UsageError where the size of the content is needed and can't be learned from the objects."""
    if formatted is not None and size is None:
        raise UsageError("with -o give -s too: the size of the content, as it was given to `penstock generate`")
