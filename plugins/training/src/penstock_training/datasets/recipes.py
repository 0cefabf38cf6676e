"""What is in the files of a generated dataset: a pure function of the recipe and a file's number."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import attrs
import numpy as np

from penstock.buffers import aligned_buffer
from penstock.formats import Sample
from penstock.payloads import Generator

__all__ = ["ENDINGS", "SHAPES", "Recipe", "shape_of"]

#: Formats that files can be generated in, and the endings of their names, which are DLIO's.
ENDINGS: Mapping[str, str] = MappingProxyType(
    {name: f".{name}" for name in ("npz", "npy", "tfrecord", "hdf5", "raw", "jpeg", "png")}
)
#: Formats whose files are bytes that nobody decodes here.
_PLAIN = ("raw", "jpeg", "png")
_SINGLE = (*_PLAIN, "npz", "npy")


@attrs.frozen(kw_only=True)
class Recipe:
    """How a dataset is made. Sizes are bytes of a sample's own content, before a format wraps it.

    A sample is a square of its bytes, as DLIO makes them: each of its sides is drawn, for every file, from a normal
    distribution around the root of ``record_bytes``, with the deviation that gives the length one of ``record_stdev``;
    or it has ``record_shape``, the same in all files. Content is unique and can't be compressed; it depends on
    ``seed``, the file's number and the place in the file alone.
    """

    format: str
    prefix: str = "img"
    record_bytes: float = 65536.0
    record_stdev: float = 0.0
    record_shape: tuple[int, ...] = ()
    dtype: str = "uint8"
    samples_per_file: int = 1
    format_options: Mapping[str, Any] = attrs.field(factory=dict)
    #: Largest value of a label, exclusive.
    classes: int = 1000
    seed: int = 0

    def __attrs_post_init__(self) -> None:
        try:
            kind = np.dtype(self.dtype)
        except TypeError:
            raise ValueError(f"{self.dtype!r} is no type of NumPy's; write uint8 or float32, for example") from None
        if kind.hasobject or not kind.itemsize:
            raise ValueError(f"{self.dtype} has no bytes of its own; write uint8 or float32, for example")
        if self.format in _SINGLE and self.samples_per_file > 1:
            raise ValueError(f"a file of {self.format} is one sample; choose tfrecord or hdf5 for several")
        if self.record_stdev > self.record_bytes:
            raise ValueError("the standard deviation of a sample's length is more than the length; write less")

    @property
    def ending(self) -> str:
        """How the names of files end."""
        return ENDINGS.get(self.format, f".{self.format}")

    @property
    def codec(self) -> str:
        """The name of the format that encodes a file."""
        return "raw" if self.format in _PLAIN else self.format

    @property
    def compressed(self) -> bool:
        """Whether whole files are compressed, so that no part of one can be read alone."""
        return self.format == "tfrecord" and self.format_options.get("compression", "none") != "none"

    def shape(self, file: int) -> tuple[int, ...]:
        """The shape of the samples of a file, in values of ``dtype``."""
        if self.record_shape:
            return self.record_shape
        values = self.record_bytes / np.dtype(self.dtype).itemsize
        side = math.sqrt(values)
        if not self.record_stdev:
            return (max(1, math.isqrt(int(values))),) * 2
        spread = self.record_stdev / np.dtype(self.dtype).itemsize / (math.sqrt(2) * side)
        random = np.random.default_rng([self.seed, file])
        return tuple(_at_least_one(random, side, spread) for _ in range(2))

    def sample_bytes(self, file: int) -> int:
        """Bytes of each sample of a file."""
        return math.prod(self.shape(file)) * np.dtype(self.dtype).itemsize

    def samples(self, file: int) -> Iterator[Sample]:
        """The samples of a file, one at a time; each has memory of its own."""
        shape, nbytes = self.shape(file), self.sample_bytes(file)
        stream = Generator(nbytes * self.samples_per_file, seed=self.seed, obj=file, threads=1)
        labels = np.random.default_rng([self.seed, file, 1]).integers(0, self.classes, self.samples_per_file)
        for label in labels:
            room = aligned_buffer(nbytes)
            stream.fill(room)
            yield self._named(room, shape, int(label))

    def _named(self, room: memoryview, shape: tuple[int, ...], label: int) -> Sample:
        """The values of a sample as DLIO's readers know them."""
        if self.codec == "raw":
            return {"data": room}
        if self.codec == "tfrecord":
            return {"image": bytes(room), "size": room.nbytes, "label": label}
        array = np.frombuffer(room, dtype=np.uint8).view(self.dtype).reshape(shape)
        if self.codec == "hdf5":
            return {"records": array, "labels": np.int64(label)}
        if not self.record_shape:
            # DLIO's files have their samples along the last axis; here it is one.
            array = array[..., np.newaxis]
        return {"x": array} if self.codec == "npy" else {"x": array, "y": np.array([label], dtype=np.int64)}


def _at_least_one(random: np.random.Generator, mean: float, spread: float) -> int:
    """A draw that is at least 1; nothing piles up at 1, for what is below is drawn again."""
    while True:
        value = round(float(random.normal(mean, spread)))
        if value >= 1:
            return value


#: Datasets of MLPerf's and DLIO's workloads, in the sizes of one sample and one file that these have.
SHAPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "unet3d": Recipe(format="npz", record_bytes=146_600_628, record_stdev=68_341_808, classes=3),
        "resnet50": Recipe(format="tfrecord", record_bytes=114_660.07, samples_per_file=1251),
        "cosmoflow": Recipe(format="tfrecord", record_bytes=2_828_486, record_stdev=71_311, classes=4),
    }
)


def shape_of(
    name: str, *, format: str | None = None, samples: int | None = None, scale: float = 1.0, seed: int = 0
) -> Recipe:
    """A known dataset, in another format or size: ``scale`` multiplies the bytes of a sample, ``samples`` are those of
    a file. Raises ValueError.
    """
    if name not in SHAPES:
        raise ValueError(f"no dataset is known as {name}; known: {', '.join(SHAPES)}")
    if not 0 < scale <= 1000:
        raise ValueError(f"a scale of {scale:g}; write more than 0 and at most 1000")
    known = SHAPES[name]
    chosen = format or known.format
    if chosen not in ENDINGS:
        raise ValueError(f"no files are made in {chosen}; known: {', '.join(ENDINGS)}")
    each = samples if samples is not None else (1 if chosen in _SINGLE else known.samples_per_file)
    return attrs.evolve(
        known,
        format=chosen,
        record_bytes=known.record_bytes * scale,
        record_stdev=known.record_stdev * scale,
        samples_per_file=each,
        seed=seed,
    )
