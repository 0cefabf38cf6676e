"""What ``reader.data_loader_classname: penstock_dlio.loader.PenstockDataLoader`` names: penstock's own loader."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from dlio_benchmark.data_loader.base_data_loader import BaseDataLoader

from penstock.errors import UsageError
from penstock.formats import DataFormat
from penstock.samples import choose_format, format_of
from penstock_dlio.places import Place, word
from penstock_training.loading import Dataset, Item, Loader
from penstock_training.train.content import content_of, only_sample, resized

__all__ = ["PenstockDataLoader"]

_MIB = 1024 * 1024


class PenstockDataLoader(BaseDataLoader):  # type: ignore[misc]
    """Reads ahead with ``read_threads`` threads; ranks share each step, and no sample is read twice.

    Samples are shuffled over the whole set where ``file_shuffle`` or ``sample_shuffle`` says so, anew in each epoch.

    A batch is an array of the bytes of its samples, cut or filled up to the size of DLIO's ``resized_image``.
    """

    def __init__(self, format_type: Any, dataset_type: Any, epoch_number: int = 1) -> None:
        super().__init__(format_type, dataset_type, epoch_number, None)
        self._place = Place.of(self._args)
        self._loader: Loader | None = None
        #: That of the next batches; DLIO makes a loader once for all epochs.
        self._epoch = int(epoch_number)
        self._codec: DataFormat | None = None
        self._shape: tuple[int, ...] = (1,)

    def read(self, pre_batch: bool = False) -> None:
        """List the files, and make the loader. Raises UsageError where there are not as many samples as DLIO counts."""
        arguments = self._args
        files = arguments.file_list_train if word(self.dataset_type) == "train" else arguments.file_list_eval
        each = int(arguments.num_samples_per_file)
        uris = [self._place.uri(name) for name in files]
        kind = format_of(uris[0]) if uris else None
        self._codec = choose_format(uris[0]).codec if kind is not None and each == 1 else None
        dataset = self._dataset(uris, each, kind.name if kind is not None and each > 1 else None)
        if len(dataset) < self.num_samples:
            raise UsageError(
                f"{len(dataset)} samples were found, and DLIO counts {self.num_samples}; are files missing?"
            )
        shuffles = {word(getattr(arguments, f"{what}_shuffle", "off")) for what in ("file", "sample")}
        self._shape = np.shape(arguments.resized_image) or (1,)
        self._loader = Loader(
            dataset,
            batch_size=self.batch_size,
            shuffle=shuffles != {"off"},
            seed=int(getattr(arguments, "seed", 0)),
            drop_last=True,
            num_workers=int(arguments.read_threads),
            prefetch=max(1, int(arguments.prefetch_size)),
            max_bytes_in_flight=max(256 * _MIB, self._room(dataset)),
            shard_rank=int(arguments.my_rank),
            shard_world_size=int(arguments.comm_size),
            transform=self._content,
            collate=np.stack,
        )

    def next(self) -> Iterator[Any]:
        """The batches of this rank in an epoch; asked again, without :meth:`read`, those of the next one."""
        super().next()
        if self._loader is None:
            raise UsageError("read() makes the loader; DLIO calls it before next()")
        # Before the batches: DLIO leaves an epoch by the number of its steps, and what follows the last may never run.
        self._loader.set_epoch(self._epoch if getattr(self._args, "seed_change_epoch", True) else 0)
        self._epoch += 1
        with self._loader as loader:
            yield from loader

    def finalize(self) -> None:
        """End reading."""
        if self._loader is not None:
            self._loader.close()

    def _dataset(self, uris: list[str], each: int, form: str | None) -> Dataset:
        """The files; listed together where nothing else lies with them, else each looked for by its name."""
        first, last = min(uris), max(uris)
        same = next((at for at, pair in enumerate(zip(first, last, strict=False)) if len(set(pair)) > 1), len(first))
        folder = first[:same].rpartition("/")[0] + "/"
        dataset = Dataset(folder, format=form, options=self._place.options)
        if len(dataset) == len(uris) * each:
            return dataset
        return Dataset(uris, format=form, options=self._place.options)

    def _room(self, dataset: Dataset) -> int:
        """Bytes for the batches that are read ahead and two more, by the largest of the first samples."""
        largest = max((dataset.nbytes(number) for number in range(min(64, len(dataset)))), default=0)
        return (max(1, int(self._args.prefetch_size)) + 2) * int(self.batch_size) * largest

    def _content(self, item: Item) -> Any:
        data = item.data if self._codec is None else only_sample(self._codec.decode(item.data), item.uri)
        return resized(content_of(data), self._shape)
