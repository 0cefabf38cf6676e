"""The batches of one rank: penstock's loader over its share of a dataset, each sample as the workload wants it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import numpy as np

from penstock.errors import ObjectNotFoundError, UsageError
from penstock.layers.timing import REAL, Timing
from penstock_training.datasets.writing import open_recipe
from penstock_training.loading import Dataset, Item, Loader
from penstock_training.train.content import content_of, only_sample, resized
from penstock_training.train.plan import Part, Plan

__all__ = ["Batch", "batches", "open_dataset"]

_LEAST = 256 * 1024 * 1024


@attrs.frozen
class Batch:
    """What a step computes on: how many samples it has, and what they are."""

    samples: int
    data: Any


def open_dataset(plan: Plan, part: Part) -> Dataset:
    """The files of a part, listed once. Raises UsageError where there are not as many as the workload says.

    A file of one sample is read whole, in one request, and decoded when it is there; of others the index that lies
    beside each is read here, or made, so that ranks read nothing but samples.
    """
    recipe, single = plan.recipe, part.samples_per_file == 1
    try:
        dataset = Dataset(
            part.uri,
            format=None if single else recipe.codec,
            # Indexes lie beside their files.
            pattern=f"**/{recipe.prefix}_*{recipe.ending}{'' if single else '*'}",
            format_options=None if single else recipe.format_options or None,
            options=plan.options or None,
        )
    except ObjectNotFoundError as error:
        remedy = "make the files by --set workflow.generate_data=true, or say where they are: dataset.data_folder"
        raise UsageError(f"{error}; {remedy}") from error
    if len(dataset) != part.samples:
        name = "num_files_train" if part.kind == "train" else "num_files_eval"
        raise UsageError(
            f"{part.uri} holds {len(dataset):,} samples; dataset.{name} {part.files} and num_samples_per_file "
            f"{part.samples_per_file} make {part.samples:,}: give the true numbers by --set, or make the files by "
            "--set workflow.generate_data=true"
        )
    return dataset


def batches(
    plan: Plan, part: Part, dataset: Dataset | None, *, rank: int, epoch: int, timing: Timing = REAL
) -> Iterator[Batch]:
    """The batches of a rank in an epoch, counted from 1; the same number for every rank, and no sample twice.

    Without a dataset they are synthetic: nothing is read. Close the iterator to end reading.
    """
    if dataset is None:
        return _synthetic(plan, part)
    return _read(plan, part, dataset, rank, epoch, timing)


def _read(plan: Plan, part: Part, dataset: Dataset, rank: int, epoch: int, timing: Timing) -> Iterator[Batch]:
    reading, shaped = plan.reading, _Shaping(plan, part, epoch, timing)
    loader = Loader(
        dataset,
        batch_size=part.batch_size,
        shuffle=part.shuffle,
        seed=part.seed,
        epoch=epoch if part.seed_change_epoch else 0,
        drop_last=True,
        num_workers=reading.threads,
        prefetch=reading.prefetch,
        max_bytes_in_flight=_room(plan, part),
        shard_rank=rank,
        shard_world_size=plan.ranks,
        reader="range" if reading.request_bytes else "whole",
        part_size=reading.request_bytes or 8 * 1024 * 1024,
        transform=shaped.one,
        collate=shaped.together,
    )
    with loader:
        yield from loader


def _room(plan: Plan, part: Part) -> int:
    """Bytes for the batches that are read ahead, the one that is computed on, and one more."""
    sample = plan.recipe.record_bytes + 2 * plan.recipe.record_stdev
    return max(_LEAST, int((plan.reading.prefetch + 2) * part.batch_size * (sample + 4096)))


def _synthetic(plan: Plan, part: Part) -> Iterator[Batch]:
    shape = plan.recipe.shape(0)
    data = np.zeros((part.batch_size, *shape), dtype=plan.recipe.dtype)
    for _ in range(part.steps(plan.ranks)):
        yield Batch(part.batch_size, data)


class _Shaping:
    """Makes of each sample what the batch is to have of it; called by the threads that read."""

    def __init__(self, plan: Plan, part: Part, epoch: int, timing: Timing) -> None:
        reading = plan.reading
        whole = part.samples_per_file == 1 and plan.recipe.codec != "raw"
        self._codec = open_recipe(plan.recipe).codec if whole else None
        self._seed = (plan.seed, epoch)
        self._preprocess = reading.preprocess
        self._shape = reading.resize_shape or ((reading.resize_bytes,) if reading.resize_bytes else None)
        self._sleep = timing.sleep

    def one(self, item: Item) -> Any:
        if not self._preprocess.never:
            self._sleep(self._preprocess.draw(np.random.default_rng([*self._seed, item.number])))
        data = item.data if self._codec is None else only_sample(self._codec.decode(item.data), item.uri)
        return data if self._shape is None else resized(content_of(data), self._shape)

    def together(self, samples: list[Any]) -> Batch:
        return Batch(len(samples), np.stack(samples) if self._shape is not None else samples)
