"""What ``reader.reader_classname: penstock_dlio.reader.PenstockReader`` names: samples of any format, in any store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from dlio_benchmark.reader.reader_handler import FormatReader

import penstock
from penstock.errors import FormatError
from penstock.samples import SampleFile, choose_format, format_of
from penstock_dlio.places import Place
from penstock_training.train.content import content_of

__all__ = ["PenstockReader"]


class PenstockReader(FormatReader):  # type: ignore[misc]
    """Reads and decodes each sample that DLIO asks for; what it hands to the loader is DLIO's own constant array.

    The format is that of the file's ending; files without one of ours, such as JPEG, are bytes. A file whose samples
    lie along the last axis of its arrays, as DLIO's NPZ files have them, is fetched and decoded whole.
    """

    def __init__(self, dataset_type: Any, thread_index: int, epoch: int = 1) -> None:
        super().__init__(dataset_type, thread_index)
        self.epoch = epoch
        self._place = Place.of(self._args)
        #: Bytes of the samples that were read.
        self.nbytes = 0

    def open(self, filename: str) -> SampleFile:
        """Open a file; reading it is left to :meth:`get_sample`."""
        super().open(filename)
        uri = self._place.uri(filename)
        chosen = choose_format(uri, None if format_of(uri) else "raw")
        return penstock.open_samples(uri, chosen, options=self._place.options)

    def close(self, filename: str) -> None:
        """Close a file."""
        opened = self.open_file_map.get(filename)
        if opened is not None:
            opened.close()
        super().close(filename)

    def get_sample(self, filename: str, sample_index: int) -> None:
        """Read one sample. Raises FormatError where the file has fewer."""
        super().get_sample(filename, sample_index)
        opened = self.open_file_map[filename]
        count = len(opened)
        if sample_index < count:
            self.nbytes += len(content_of(opened.read([sample_index])[0]))
            return
        if count != 1:
            raise FormatError(f"{opened.uri} has {count} samples, there is no number {sample_index}")
        self.nbytes += len(_along_the_last_axis(opened.uri, opened.read([0])[0], sample_index))

    def next(self) -> Iterator[Any]:
        """Batches, for DLIO's iterative loaders."""
        yield from super().next()

    def read_index(self, image_idx: int, step: int) -> Any:
        """One sample by its number, for DLIO's loaders by index."""
        return super().read_index(image_idx, step)

    def finalize(self) -> None:
        """Close what is open."""
        for filename, opened in list(self.open_file_map.items()):
            if opened is not None:
                opened.close()
                self.open_file_map[filename] = None

    def is_index_based(self) -> bool:
        return True

    def is_iterator_based(self) -> bool:
        return True


def _along_the_last_axis(uri: str, sample: Any, number: int) -> Any:
    arrays = [value for value in sample.values() if isinstance(value, np.ndarray) and value.ndim > 2]
    if not arrays or number >= arrays[0].shape[-1]:
        raise FormatError(f"{uri} has no sample number {number}; look at dataset.num_samples_per_file")
    return content_of({"x": arrays[0][..., number]})
