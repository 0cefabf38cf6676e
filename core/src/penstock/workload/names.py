"""Names as functions of a number, and back: a billion objects need no list.

A mask holds a place for a number: ``{}`` or ``%d``, with zeros before it ``{:08d}`` or ``%08d``. ``{{``, ``}}`` and
``%%`` are the plain characters.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import attrs
import numpy as np
from numpy.typing import NDArray

from penstock.globs import Glob

if TYPE_CHECKING:
    from penstock.workload.config import DirectoryStructure

__all__ = [
    "Directories",
    "Mask",
    "Names",
    "Numbered",
    "Sharded",
    "Shards",
    "Tree",
    "count_numbers",
    "directory",
    "matching",
    "new_names",
    "numbered",
    "spans_of",
]

_FIELD = re.compile(r"%%|\{\{|\}\}|%(\d*)d|\{(?::(\d*)d?)?\}|[{}]")
#: Stands for any number in a symbolic name; a private character, which only a wildcard can match.
_ANY = "\ue000"
_LARGEST = 2**53


@attrs.frozen
class Mask:
    """A mask with a fixed number of numbers in it. Make one with :meth:`compile`."""

    text: str
    #: The plain texts around the numbers, one more than there are numbers.
    plain: tuple[str, ...]
    #: The least digits of each number.
    widths: tuple[int, ...]
    _template: str
    _pattern: re.Pattern[str]

    @classmethod
    def compile(cls, text: str, numbers: int) -> Mask:
        """Raises ValueError unless the mask has that many numbers, and a name tells them apart."""
        plain, widths = _split(text)
        if len(widths) != numbers:
            wanted = "one number, such as {:08d}" if numbers == 1 else f"{numbers} numbers, such as %d"
            raise ValueError(f"{text!r} has {len(widths)} numbers in it; write {wanted}")
        if any(between.isdigit() or not between for between in plain[1:-1]):
            raise ValueError(f"{text!r}: put something other than a digit between two numbers")
        fields = [f"%0{width}d" for width in widths]
        escaped = [part.replace("%", "%%") for part in plain]
        template = escaped[0] + "".join(field + part for field, part in zip(fields, escaped[1:], strict=True))
        expression = r"([0-9]{1,19})".join(re.escape(part) for part in plain)
        return cls(text, tuple(plain), tuple(widths), template, re.compile(expression))

    def name(self, *numbers: int) -> str:
        """The name for these numbers."""
        return self._template % numbers

    def parse(self, name: str) -> tuple[int, ...] | None:
        """The numbers that make this name; None when none do."""
        match = self._pattern.fullmatch(name)
        if match is None:
            return None
        numbers = tuple(int(group) for group in match.groups())
        return numbers if self.name(*numbers) == name else None

    def namer(self) -> Callable[[int], str]:
        """The fastest function from one number to its name."""
        return self._template.__mod__

    @property
    def symbolic(self) -> str:
        """The name with a character for each number that only wildcards match."""
        return _ANY.join(self.plain)


def count_numbers(text: str) -> int:
    """How many numbers a mask has. Raises ValueError when it is none."""
    return len(_split(text)[1])


class Names(Protocol):
    """A family of names, numbered from 0. ``base`` comes before each of them."""

    @property
    def base(self) -> str: ...

    @property
    def count(self) -> int: ...

    def name(self, index: int) -> str:
        """The name below ``base``."""

    def index(self, name: str) -> int | None:
        """The number of a name; None when it is not of this family."""

    def symbolic(self) -> list[str]:
        """The forms that names have, with each number replaced by a character that only wildcards match."""


@attrs.frozen
class Numbered:
    """Objects of one mask: ``base`` and the mask's name of 0, 1, … up to ``count``."""

    base: str
    mask: Mask
    count: int

    def name(self, index: int) -> str:
        return self.mask.name(index)

    def index(self, name: str) -> int | None:
        numbers = self.mask.parse(name)
        return numbers[0] if numbers and numbers[0] < self.count else None

    def symbolic(self) -> list[str]:
        return [self.mask.symbolic]


def spans_of(names: Names, begin: int, end: int) -> list[tuple[str, str, str]] | None:
    """Where the names of ``begin`` up to, not including, ``end`` lie in a listing by name: ``(prefix, after, last)``
    for each prefix, all below ``base``. They come after ``after`` (empty: from the start on), and none beyond ``last``.

    None where the order of the names is not that of the numbers.
    """
    if not isinstance(names, Numbered | Sharded) or begin >= end:
        return None
    # Names of one length are in the order of their numbers; those with more digits come in between.
    if names.count > 10 ** max(names.mask.widths[0], 1):
        return None
    prefixes = names.shards.all() if isinstance(names, Sharded) else [""]
    before = names.mask.name(begin - 1) if begin else ""
    last = names.mask.name(end - 1)
    return [(prefix, prefix + before if before else "", prefix + last) for prefix in prefixes]


@attrs.frozen
class Shards:
    """Prefixes that spread keys: which of ``count`` a number has is a function of the number alone.

    They are the numbers below ``count`` in hexadecimal, two digits or more, and a slash: ``0f/``.
    """

    count: int

    def prefix(self, index: int) -> str:
        """The prefix of a number. Numbers that follow each other are far apart, and all prefixes equally frequent."""
        # Fibonacci hashing: the fractional parts of multiples of the golden ratio fill the interval evenly.
        return self._text(((index * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF) >> 32) * self.count >> 32)

    def all(self) -> list[str]:
        """Every prefix, ascending."""
        return [self._text(number) for number in range(self.count)]

    def _text(self, number: int) -> str:
        return f"{number:0{max(len(f'{self.count - 1:x}'), 2)}x}/"


@attrs.frozen
class Sharded:
    """Objects of one mask below hash prefixes: ``base``, the prefix of the number, and the mask's name."""

    base: str
    mask: Mask
    count: int
    shards: Shards

    def name(self, index: int) -> str:
        return f"{self.shards.prefix(index)}{self.mask.name(index)}"

    def index(self, name: str) -> int | None:
        numbers = self.mask.parse(name.partition("/")[2])
        return numbers[0] if numbers and numbers[0] < self.count and self.name(numbers[0]) == name else None

    def symbolic(self) -> list[str]:
        return [f"{_ANY}/{self.mask.symbolic}"]


@attrs.frozen
class Directories:
    """The directories of a tree, level by level; within a level in the order of their paths' numbers.

    Names have no slash at their end.
    """

    base: str
    width: int
    depth: int
    mask: Mask

    @property
    def count(self) -> int:
        return self.above(self.depth + 1)

    def above(self, level: int) -> int:
        """How many directories lie above a level (from 1)."""
        return sum(self.width**upper for upper in range(1, level))

    def name(self, index: int) -> str:
        level = 1
        while index >= self.width**level:
            index -= self.width**level
            level += 1
        numbers = []
        for _ in range(level):
            index, number = divmod(index, self.width)
            numbers.append(number + 1)
        return "/".join(self._segment(depth, number) for depth, number in enumerate(reversed(numbers), start=1))

    def index(self, name: str) -> int | None:
        segments = name.split("/")
        if len(segments) > self.depth:
            return None
        index = 0
        for level, segment in enumerate(segments, start=1):
            numbers = self.mask.parse(segment)
            if numbers is None or not 1 <= numbers[-1] <= self.width or numbers[:-1] not in ((), (level,)):
                return None
            index = index * self.width + numbers[-1] - 1
        return self.above(len(segments)) + index

    def symbolic(self) -> list[str]:
        levels = [self._symbol(level) for level in range(1, self.depth + 1)]
        return ["/".join(levels[:depth]) for depth in range(1, self.depth + 1)]

    def _segment(self, level: int, number: int) -> str:
        return self.mask.name(level, number) if len(self.mask.widths) == 2 else self.mask.name(number)

    def _symbol(self, level: int) -> str:
        if len(self.mask.widths) == 1:
            return self.mask.symbolic
        # The level is known, only the sibling's number is open.
        shown = self.mask.name(level, 0)
        tail = f"{0:0{self.mask.widths[1]}d}{self.mask.plain[2]}"
        return f"{shown.removesuffix(tail)}{_ANY}{self.mask.plain[2]}"


@attrs.frozen
class Tree:
    """The files of a directory tree, numbered through: first those of the first directory that has files."""

    directories: Directories
    files_per_dir: int
    bottom: bool
    file_mask: Mask

    @classmethod
    def of(cls, structure: DirectoryStructure, base: str) -> Tree:
        """The tree that a configuration describes, below ``base``. Raises as :meth:`plan` does."""
        return cls.plan(
            directory(base),
            structure.width,
            structure.depth,
            structure.files_per_dir,
            bottom=structure.distribution == "bottom",
            dir_mask=structure.dir_mask,
            file_mask=structure.file_mask,
        )

    @classmethod
    def plan(
        cls, base: str, width: int, depth: int, files_per_dir: int, *, bottom: bool, dir_mask: str, file_mask: str
    ) -> Tree:
        """Raises ValueError for masks that are none and for trees too large to number."""
        if width**depth * max(files_per_dir, 1) > _LARGEST:
            raise ValueError(f"a tree {depth} levels deep with {width} directories in each is too large")
        if "/" in dir_mask or "/" in file_mask:
            raise ValueError("the mask of a directory or file in a tree has no /")
        directories = Directories(base, width, depth, Mask.compile(dir_mask, 1 if count_numbers(dir_mask) == 1 else 2))
        return cls(directories, files_per_dir, bottom, Mask.compile(file_mask, 1))

    @property
    def base(self) -> str:
        return self.directories.base

    @property
    def first(self) -> int:
        """The number of the first directory that has files."""
        return self.directories.above(self.directories.depth) if self.bottom else 0

    @property
    def count(self) -> int:
        return (self.directories.count - self.first) * self.files_per_dir

    def name(self, index: int) -> str:
        return f"{self.directories.name(self.first + index // self.files_per_dir)}/{self.file_mask.name(index)}"

    def index(self, name: str) -> int | None:
        numbers = self.file_mask.parse(name.rpartition("/")[2])
        return numbers[0] if numbers and numbers[0] < self.count and self.name(numbers[0]) == name else None

    def symbolic(self) -> list[str]:
        if not self.files_per_dir:
            return []
        levels = self.directories.symbolic()
        return [f"{level}/{self.file_mask.symbolic}" for level in (levels[-1:] if self.bottom else levels)]


def matching(glob: Glob, names: Names) -> range | NDArray[np.int64]:
    """The numbers of the names whose ``base + name`` the glob matches, ascending.

    All or none is answered without looking at single names, as is a glob without wildcard; only a glob that spells
    out digits of a number makes this go through the family.
    """
    if glob.literal:
        name = glob.prefix.removeprefix(names.base)
        found = names.index(name) if glob.prefix.startswith(names.base) else None
        return range(0) if found is None else range(found, found + 1)
    if not (glob.prefix.startswith(names.base) or names.base.startswith(glob.prefix)):
        return range(0)
    forms = [names.base + form for form in names.symbolic()]
    if _ANY not in glob.pattern and all(glob.matches(form) for form in forms):
        return range(names.count)
    if not any(_may_begin(glob.prefix, form) for form in forms):
        return range(0)
    hits = (index for index in range(names.count) if glob.matches(names.base + names.name(index)))
    return np.fromiter(hits, dtype=np.int64)


def new_names(path: str, *, directory: bool = False) -> tuple[str, Mask]:
    """What a put, a copy or a mkdir calls what it makes: ``(base, mask)``, ``base`` ending with a slash or empty.

    ``path`` is a mask with one number; or a prefix, to which a number is appended, after ``object-`` (or ``dir-``)
    when it is empty or ends with a slash. Raises ValueError when it is neither.
    """
    if count_numbers(path) == 0:
        noun = "dir" if directory else "object"
        stem = f"{noun}-" if not path or path.endswith("/") else ""
        path = f"{path}{stem}{{:08d}}{'' if directory or not stem else '.dat'}"
    base, slash, last = path.rpartition("/")
    if slash and count_numbers(base) == 0:
        return _unescape(base) + slash, Mask.compile(last, 1)
    return "", Mask.compile(path, 1)


def numbered(base: str, mask: str, count: int, shards: int = 0) -> Numbered | Sharded:
    """Objects below ``base``, which is joined with one slash; with ``shards`` below so many hash prefixes there.

    Raises ValueError for a mask that is none.
    """
    compiled = Mask.compile(mask, 1)
    return (
        Sharded(directory(base), compiled, count, Shards(shards))
        if shards
        else Numbered(directory(base), compiled, count)
    )


def directory(base: str) -> str:
    """``base`` with a slash at its end, unless it is empty."""
    return base if not base or base.endswith("/") else f"{base}/"


def _split(text: str) -> tuple[list[str], list[int]]:
    plain, widths, position = [""], [], 0
    for match in _FIELD.finditer(text):
        plain[-1] += text[position : match.start()]
        position = match.end()
        found = match[0]
        if found in ("%%", "{{", "}}"):
            plain[-1] += found[0]
        elif found in ("{", "}"):
            raise ValueError(f"{text!r}: write {{}} or {{:08d}} for a number, and {found * 2} for a plain {found}")
        else:
            widths.append(_width(text, found, match[1] or match[2] or ""))
            plain.append("")
    plain[-1] += text[position:]
    return plain, widths


def _width(text: str, found: str, digits: str) -> int:
    if digits and not digits.startswith("0"):
        plain = " (a plain % is %%)" if found[0] == "%" else ""
        raise ValueError(f"{text!r}: {found} would pad with spaces; write a 0 before the {digits}{plain}")
    if digits and int(digits) > 200:
        raise ValueError(f"{text!r}: {found} asks for more digits than a name can hold")
    return int(digits or 0)


def _unescape(text: str) -> str:
    return "".join(_split(text)[0])


def _may_begin(prefix: str, form: str) -> bool:
    # Up to the first number both are plain text and can be compared.
    known = form.partition(_ANY)[0]
    return prefix.startswith(known) or known.startswith(prefix)
