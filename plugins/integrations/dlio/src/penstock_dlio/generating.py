"""Data for versions of DLIO whose generators write files only: 2.0 and older, with a place that is no file system."""

from __future__ import annotations

from typing import Any

from dlio_benchmark.data_generator.data_generator import DataGenerator

from penstock.errors import UsageError
from penstock_dlio.places import Place, word
from penstock_training.datasets import Recipe, write_file
from penstock_training.datasets.recipes import ENDINGS

__all__ = ["PenstockGenerator"]


class PenstockGenerator(DataGenerator):  # type: ignore[misc]
    """Writes the files that DLIO lists, under its names, each when it is whole; their content is unique."""

    def __init__(self) -> None:
        super().__init__()
        self._place = Place.of(self._args)

    def recipe(self) -> Recipe:
        """How the files are made. Raises UsageError for a format, or a number of samples, that none is written of."""
        arguments: Any = self._args
        form = word(arguments.format)
        try:
            if form not in ENDINGS:
                raise ValueError(f"no files of it are made here; known: {', '.join(ENDINGS)}")
            return Recipe(
                format=form,
                prefix=str(arguments.file_prefix),
                record_bytes=float(arguments.record_length),
                record_stdev=float(arguments.record_length_stdev),
                samples_per_file=int(arguments.num_samples_per_file),
                seed=int(arguments.seed),
            )
        except ValueError as error:
            raise UsageError(f"dataset.format {form}: {error}") from None

    def generate(self) -> None:
        """Write this rank's files."""
        super().generate()
        recipe, files = self.recipe(), list(self._file_list)
        for number in range(int(self.my_rank), len(files), int(self.comm_size)):
            write_file(self._place.uri(files[number]), recipe, number, options=self._place.options)
