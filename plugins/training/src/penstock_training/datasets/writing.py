"""Writing the files of a generated dataset."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

import attrs

import penstock
from penstock.samples import LocalBuffer, write_index
from penstock.samples.choosing import SampleFormat, choose_format
from penstock.urls import join
from penstock_training.datasets.recipes import Recipe

__all__ = ["Written", "file_name", "index_endings", "open_recipe", "write_dataset", "write_file"]

_KEPT = 256 * 1024 * 1024


@attrs.frozen
class Written:
    """What was written: files with their samples, and bytes of the files, without those of indexes."""

    files: int = 0
    samples: int = 0
    nbytes: int = 0

    def __add__(self, other: Written) -> Written:
        return Written(self.files + other.files, self.samples + other.samples, self.nbytes + other.nbytes)


def file_name(recipe: Recipe, number: int, files: int, subfolders: int = 0) -> str:
    """The name of a file below the directory of the dataset, as DLIO gives them: ``img_07_of_12.npz``.

    Numbers are padded to the digits of ``files``. With ``subfolders`` files are dealt to directories in turn.
    """
    name = f"{recipe.prefix}_{number:0{len(str(files))}d}_of_{files}{recipe.ending}"
    return f"{number % subfolders:0{len(str(subfolders))}d}/{name}" if subfolders else name


def write_file(
    uri: str,
    recipe: Recipe,
    number: int,
    *,
    format: SampleFormat | None = None,
    options: Mapping[str, Any] | None = None,
) -> Written:
    """Write file ``number`` of a dataset at ``uri``, and its index beside it where the format has one.

    ``format`` is the recipe's, opened. ``options`` are those of the store. A file whose content is at most 256 MiB is
    indexed from memory; the index of a larger one is made by reading it.
    """
    chosen = format or open_recipe(recipe)
    indexed = index_endings(recipe)
    keep = bool(indexed) and recipe.sample_bytes(number) * recipe.samples_per_file <= _KEPT
    kept, nbytes = bytearray(), 0
    with penstock.open_writer(uri, options=options) as writer:
        for piece in chosen.codec.encode(recipe.samples(number)):
            writer.write(piece)
            nbytes += memoryview(piece).nbytes
            if keep:
                kept += piece
    if keep:
        penstock.put(uri + indexed[0], b"".join(chosen.codec.index(LocalBuffer(kept))), options=options)
    elif indexed:
        write_index(uri, chosen, options=options)
    return Written(1, recipe.samples_per_file, nbytes)


def index_endings(recipe: Recipe) -> tuple[str, ...]:
    """What is added to the name of a file for that of its index; empty where none is written."""
    return () if recipe.compressed else tuple(open_recipe(recipe).kind.index_forms.values())[:1]


def open_recipe(recipe: Recipe) -> SampleFormat:
    """The recipe's format. Raises PluginError where it is not installed, UnknownOptionError, UsageError."""
    return choose_format("", recipe.codec, dict(recipe.format_options) or None)


def write_dataset(
    uri: str,
    recipe: Recipe,
    files: int,
    *,
    numbers: Iterable[int] | None = None,
    subfolders: int = 0,
    threads: int = 4,
    options: Mapping[str, Any] | None = None,
    done: Callable[[Written], None] | None = None,
) -> Written:
    """Write the files of a dataset of ``files`` below ``uri``, ``threads`` at once; of them ``numbers``, None: all.

    Each appears when it is whole. The first failure ends it and is raised. ``done`` is called for each file, by the
    calling thread.
    """
    chosen = open_recipe(recipe)
    wanted = iter(range(files) if numbers is None else numbers)
    total = Written()

    def begin(number: int) -> Future[Written]:
        place = join(uri, file_name(recipe, number, files, subfolders))
        return pool.submit(write_file, place, recipe, number, format=chosen, options=options)

    with ThreadPoolExecutor(threads, thread_name_prefix="penstock-dataset") as pool:
        running = {begin(number) for number in itertools.islice(wanted, 2 * threads)}
        try:
            while running:
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                for each in ended:
                    total += each.result()
                    if done is not None:
                        done(each.result())
                    running |= {begin(number) for number in itertools.islice(wanted, 1)}
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return total
