"""What the commands that generate objects, or check them, share: names, content, and the writing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import click

from penstock.buffers import aligned_buffer
from penstock.cli.formatted import Formatted, Refill
from penstock.cli.progress import Bar
from penstock.client import Found, Store
from penstock.client.crew import each
from penstock.errors import UsageError
from penstock.globs import has_wildcard
from penstock.options import nearest
from penstock.payload import Payload
from penstock.writers import GuardedWriter

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "DEFAULT_TEMPLATE",
    "Content",
    "Headers",
    "Maker",
    "Template",
    "below",
    "content_options",
    "open_writer",
    "refuse_glob",
    "write_objects",
]

DEFAULT_TEMPLATE = "object_{}_of_{}.dat"

_F = TypeVar("_F", bound=Callable[..., Any])
_HOLE = re.compile(r"\{(?::0([0-9]{1,2})d)?\}")
_MIB = 1024 * 1024
#: Generated objects up to this size are made in one piece; larger ones are written in parts.
_WHOLE = 64 * _MIB
_PART = 8 * _MIB


@attrs.frozen(slots=True)
class Headers:
    """What goes with one object."""

    if_absent: bool = False
    metadata: Mapping[str, str] = attrs.field(factory=dict)
    content_type: str | None = None

    def any(self) -> bool:
        return bool(self.if_absent or self.metadata or self.content_type)


@attrs.frozen(slots=True)
class Template:
    """Names of generated objects. The first hole is the object's number from 0, the second how many there are."""

    text: str
    _parts: tuple[str, ...]
    _widths: tuple[int, ...]

    @classmethod
    def compile(cls, text: str) -> Template:
        """Raises UsageError for more than two holes."""
        pieces = _HOLE.split(text)
        parts, widths = tuple(pieces[::2]), tuple(int(width or 0) for width in pieces[1::2])
        if len(widths) > 2:
            raise UsageError(f"{text!r}: at most two {{}}, for the object's number and for how many there are")
        return cls(text, parts, widths)

    def namer(self, count: int) -> Callable[[int], str]:
        """The name of each object of ``count``. Raises UsageError where several would have the same."""
        if count > 1 and not self._widths:
            raise UsageError(f"{self.text!r}: {count} objects need different names; put {{}} where the number goes")
        return lambda obj: self._name((obj, count))

    def parse(self, name: str) -> tuple[int, int | None] | None:
        """The number of an object, and how many there are where the name says so; None for another name."""
        pattern = "([0-9]{1,19})".join(re.escape(part) for part in self._parts)
        match = re.fullmatch(pattern, name)
        if match is None:
            return None
        numbers = tuple(int(group) for group in match.groups())
        if self._name(numbers) != name:
            return None
        return numbers[0] if numbers else 0, numbers[1] if len(numbers) > 1 else None

    def _name(self, numbers: tuple[int, ...]) -> str:
        filled = (f"{number:0{width}d}" for number, width in zip(numbers, self._widths, strict=False))
        return "".join(part + hole for part, hole in zip(self._parts, (*filled, ""), strict=True))


@attrs.frozen(slots=True)
class Content:
    """What the bytes of generated objects are."""

    fill: str = "pooled"
    dedup_factor: float = 1.0
    across: bool = False
    compress_factor: float = 1.0

    def open(self, seed: int, size: int) -> Payload:
        """The payload of objects of that size. Raises UsageError for factors that can't be."""
        from penstock.payloads.shaping import BLOCK, shaped
        from penstock.plugins import default_host

        known = default_host().names("penstock.payloads")
        if self.fill not in known:
            raise UsageError(f"--fill {self.fill}: no such fill; {nearest(self.fill, known)}")
        kind = default_host().payload_type(self.fill)
        if not kind.unique and (self.dedup_factor != 1 or self.compress_factor != 1):
            raise UsageError(f"--fill {self.fill} repeats and compresses as it is; leave the factors out")
        if self.across and self.dedup_factor == 1:
            raise UsageError("--dedup-across says how --dedup-factor counts; give a factor above 1")
        try:
            return shaped(
                kind.open(seed),
                seed,
                dedup_factor=self.dedup_factor,
                compress_factor=self.compress_factor,
                across=max(-(-size // BLOCK), 1) if self.across else 0,
            )
        except ValueError as error:
            raise UsageError(str(error)) from None

    def limits(self) -> str:
        """Where compressors don't come as near to the factor as they should; empty: nowhere."""
        from penstock.payloads.shaping import limits_of

        return limits_of(self.compress_factor)

    def arguments(self) -> str:
        """The options that give this content again."""
        said = [f"--fill {self.fill}"] if self.fill != "pooled" else []
        said += [f"--dedup-factor {self.dedup_factor:g}"] if self.dedup_factor != 1 else []
        said += ["--dedup-across"] if self.across else []
        said += [f"--compress-factor {self.compress_factor:g}"] if self.compress_factor != 1 else []
        return " ".join(said)


def content_options(command: _F) -> _F:
    """``--fill``, ``--dedup-factor``, ``--dedup-across`` and ``--compress-factor``."""
    for option in (
        click.option(
            "--compress-factor",
            type=float,
            default=1.0,
            show_default=True,
            help="The bytes compress so many to one, by zstd level 1 and LZ4, from 4 KiB on; above 12 nearly so.",
        ),
        click.option(
            "--dedup-across", is_flag=True, help="Count the blocks through all objects, so that they repeat each other."
        ),
        click.option(
            "--dedup-factor",
            type=float,
            default=1.0,
            show_default=True,
            help="One block of 1 MiB in so many is new, the others repeat it.",
        ),
        click.option(
            "--fill",
            default="pooled",
            show_default=True,
            metavar="NAME",
            help="pooled (unique, at the speed of memory), random (AES), zero, or a plugin's.",
        ),
    ):
        command = option(command)
    return command


@attrs.frozen(slots=True)
class Maker:
    """How one object is made: ``fill`` gives parts of ``size`` bytes in all, which a format may wrap."""

    size: int
    fill: Refill
    formatted: Formatted | None = None

    @classmethod
    def of(cls, payload: Payload, size: int, count: int, formatted: Formatted | None = None) -> Maker:
        """Objects of a payload. ``count`` of them are made, several at a time; one by several threads."""
        from penstock.payloads import parallel

        threads = None if count == 1 else 1

        def fill(buffer: memoryview, obj: int, offset: int) -> None:
            parallel.fill(payload, buffer, obj=obj, offset=offset, threads=threads)

        return cls(size, fill, formatted)

    def pieces(self, obj: int) -> Iterator[Buffer]:
        """The bytes of an object in a format."""
        assert self.formatted is not None
        return self.formatted.pieces(self.fill, self.size, obj)


def below(key: str) -> str:
    """The prefix of what lies below a key."""
    return f"{key.rstrip('/')}/" if key.strip("/") else ""


def write_objects(found: Found, count: int, name: Callable[[int], str], make: Maker, headers: Headers) -> None:
    """Write objects 0 to ``count - 1`` below a URI, several at a time, and say how it went."""
    prefix = below(found.key)
    # How long a format's objects are is known when they are made.
    with Bar("writing", nbytes=None if make.formatted else count * make.size) as bar:

        def one(obj: int) -> None:
            _write_one(found.store, prefix + name(obj), obj, make, headers, bar)

        for _ in each(one, range(count), min(count, found.store.threads)):
            bar.object_done()
    click.echo(f"wrote {bar.summary()}", err=True)


def _write_one(store: Store, key: str, obj: int, make: Maker, headers: Headers, bar: Bar) -> None:
    if make.formatted is not None:
        with open_writer(store, key, headers) as writer:
            for piece in make.pieces(obj):
                writer.write(piece)
                bar.advance(memoryview(piece).nbytes)
        return
    limit = store.capabilities.max_put
    if make.size <= (_WHOLE if limit is None else min(_WHOLE, limit)):
        data = aligned_buffer(make.size)
        make.fill(data, obj, 0)
        info = store.put(
            key,
            data,
            if_absent=headers.if_absent,
            metadata=headers.metadata or None,
            content_type=headers.content_type,
        )
        bar.advance(info.size)
        return
    with open_writer(store, key, headers) as writer:
        _write_parts(writer, obj, make, bar)


def open_writer(store: Store, key: str, headers: Headers) -> GuardedWriter:
    """A writer of an object with these headers."""
    return store.open_writer(
        key,
        if_absent=headers.if_absent,
        metadata=headers.metadata or None,
        content_type=headers.content_type,
    )


def _write_parts(writer: GuardedWriter, obj: int, make: Maker, bar: Bar) -> None:
    part = aligned_buffer(_PART)
    for offset in range(0, make.size, _PART):
        piece = part[: min(_PART, make.size - offset)]
        make.fill(piece, obj, offset)
        writer.write(piece)
        bar.advance(piece.nbytes)


def refuse_glob(found: Found) -> None:
    """Raise UsageError for a place that is a pattern."""
    if has_wildcard(found.key):
        raise UsageError(f"{found.uri}: a glob can't be written to; write [*] for a star in the name")
