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

    A batch is an array of the bytes of its samples, cut or filled up to the size of DLIO's ``resized_image``.
    """

    def __init__(self, format_type: Any, dataset_type: Any, epoch_number: int = 1) -> None:
        super().__init__(format_type, dataset_type, epoch_number, None)
        self._place = Place.of(self._args)
        self._loader: Loader | None = None
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
        shuffle = word(getattr(arguments, "sample_shuffle", "off")) != "off"
        self._shape = np.shape(arguments.resized_image) or (1,)
        self._loader = Loader(
            dataset,
            batch_size=self.batch_size,
            shuffle=shuffle,
            seed=int(getattr(arguments, "seed", 0)),
            epoch=self.epoch_number,
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
        """The batches of this rank."""
        super().next()
        if self._loader is None:
            raise UsageError("read() makes the loader; DLIO calls it before next()")
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
