"""The records of TFRecord files in any storage, serialized, as ``tf.data.TFRecordDataset`` gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from penstock_tensorflow.batches import TensorBatches
from penstock_training.loading import Dataset, Item, Loader

__all__ = ["record_batches"]


def record_batches(
    uri: str | Sequence[str],
    *,
    batch_size: int = 256,
    shuffle: bool = False,
    seed: int = 0,
    drop_last: bool = False,
    shard_rank: int = 0,
    shard_world_size: int = 1,
    pattern: str | None = None,
    compression: Literal["none", "gzip", "zlib"] = "none",
    check: bool = True,
    options: Mapping[str, Any] | None = None,
) -> TensorBatches:
    """Batches of serialized records, each a tensor of strings, for ``tf.io.parse_example``; unbatch it for single ones.

    Unlike TensorFlow's it reads any storage, shuffles all records of all files, not a window of them, gives each of
    ``shard_world_size`` workers other records, and resumes. ``check`` compares the checksums of the records. The rest
    is as in :class:`~penstock_training.loading.Dataset` and :class:`~penstock_training.loading.Loader`. Needs
    ``penstock-tfrecord``. Raises FormatError for damaged records when they are read, PluginError, ObjectNotFoundError.
    """
    import tensorflow as tf

    dataset = Dataset(
        uri,
        format="tfrecord",
        pattern=pattern,
        format_options={"example": False, "check": check, "compression": compression},
        options=options,
    )
    loader = Loader(
        dataset,
        batch_size=batch_size,
        shuffle=shuffle,
        seed=seed,
        drop_last=drop_last,
        shard_rank=shard_rank,
        shard_world_size=shard_world_size,
        transform=_serialized,
        collate=list,
    )
    return TensorBatches(loader, output_signature=tf.TensorSpec((None,), tf.string))


def _serialized(item: Item) -> bytes:
    return bytes(item.data["data"])
