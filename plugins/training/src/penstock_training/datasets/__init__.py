"""Datasets of generated samples: files of unique bytes in any format, the same for the same seed, in any store.

::

    write_dataset("mem://data/train/", unet3d(files=4, format="npz", seed=7))

A :class:`Recipe` says what is in each file; :func:`write_dataset` makes all of them, several at once.
"""

from __future__ import annotations

from penstock_training.datasets.recipes import SHAPES, Recipe, shape_of
from penstock_training.datasets.writing import Written, file_name, write_dataset, write_file

__all__ = ["SHAPES", "Recipe", "Written", "file_name", "shape_of", "write_dataset", "write_file"]
