"""Loaders: batches of samples from any storage, deterministic, sharded and resumable.

::

    dataset = Dataset("s3://bucket/train/", format="tfrecord")
    with Loader(dataset, batch_size=64, shuffle=True, seed=7) as loader:
        for epoch in range(3):
            loader.set_epoch(epoch)
            for batch in loader:
                ...

:class:`Dataset` gives samples by number, :class:`Loader` batches of them, :class:`Plan` says which samples are in
which batch of which process, for whoever reads them in another way.
"""

from __future__ import annotations

from penstock_training.loading.collating import collate
from penstock_training.loading.dataset import Dataset
from penstock_training.loading.items import Item
from penstock_training.loading.iteration import AsyncIteration, Iteration
from penstock_training.loading.loader import Loader
from penstock_training.loading.plan import Order, Plan

__all__ = ["AsyncIteration", "Dataset", "Item", "Iteration", "Loader", "Order", "Plan", "collate"]
