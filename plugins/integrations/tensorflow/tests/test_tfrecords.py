"""TFRecord files: TensorFlow's read by ours, ours by TensorFlow."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from penstock_tensorflow import record_batches

import penstock
from penstock.errors import FormatError


def example(number):
    features = {
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[number, -number])),
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[bytes([number]) * 50])),
        "weight": tf.train.Feature(float_list=tf.train.FloatList(value=[number / 8])),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


PARSED = {
    "label": tf.io.FixedLenFeature((2,), tf.int64),
    "image": tf.io.FixedLenFeature((), tf.string),
    "weight": tf.io.FixedLenFeature((), tf.float32),
}


@pytest.fixture
def files(place, tmp_path):
    """Thirty examples in three files that TensorFlow wrote."""
    for number in range(3):
        path = str(tmp_path / f"{number}.tfrecord")
        with tf.io.TFRecordWriter(path) as writer:
            for record in range(10):
                writer.write(example(10 * number + record))
        penstock.put(f"{place}{number}.tfrecord", (tmp_path / f"{number}.tfrecord").read_bytes())
    return place


def test_ours_reads_what_tensorflow_wrote(files):
    found = [sample for number in range(3) for sample in penstock.read_samples(f"{files}{number}.tfrecord")]
    assert [np.asarray(sample["label"]).tolist() for sample in found] == [[n, -n] for n in range(30)]
    assert [float(np.asarray(sample["weight"]).reshape(())) for sample in found] == [n / 8 for n in range(30)]


@pytest.mark.parametrize("compression", ["", "GZIP", "ZLIB"])
def test_tensorflow_reads_what_ours_wrote(tmp_path, compression):
    samples = [
        {"label": np.array([n, -n], np.int64), "image": bytes([n]) * 50, "weight": np.array([n / 8], np.float32)}
        for n in range(30)
    ]
    uri = f"file://{tmp_path}/ours.tfrecord"
    penstock.write_samples(uri, samples, format_options={"compression": compression.lower() or "none"})
    dataset = tf.data.TFRecordDataset(f"{tmp_path}/ours.tfrecord", compression_type=compression)
    found = [tf.io.parse_single_example(record, PARSED) for record in dataset]
    assert [each["label"].numpy().tolist() for each in found] == [[n, -n] for n in range(30)]
    assert [each["image"].numpy() for each in found] == [bytes([n]) * 50 for n in range(30)]
    assert [float(each["weight"]) for each in found] == [n / 8 for n in range(30)]


def test_records_are_those_of_tensorflows_own_dataset(files, tmp_path):
    theirs = [record.numpy() for n in range(3) for record in tf.data.TFRecordDataset(str(tmp_path / f"{n}.tfrecord"))]
    ours = [record.numpy() for record in record_batches(files, batch_size=7).dataset().unbatch()]
    assert ours == theirs


def test_records_are_shuffled_sharded_parsed_and_resumed(files):
    def numbers(dataset):
        return [n for batch in dataset for n in tf.io.parse_example(batch, PARSED)["label"][:, 0].numpy().tolist()]

    parts = [
        record_batches(files, batch_size=4, shuffle=True, seed=3, shard_rank=rank, shard_world_size=2)
        for rank in range(2)
    ]
    found = [numbers(part.dataset()) for part in parts]
    assert sorted(found[0] + found[1]) == list(range(30))
    assert found[0] != sorted(found[0])
    state = parts[0].state_dict(2)
    again = record_batches(files, batch_size=4, shuffle=True, seed=3, shard_rank=0, shard_world_size=2)
    again.load_state_dict(state)
    assert numbers(again.dataset()) == found[0][8:]


def test_a_damaged_record_is_found(files):
    uri = f"{files}1.tfrecord"
    data = bytearray(penstock.get(uri))
    data[200] ^= 1
    penstock.put(uri, data)
    with pytest.raises((FormatError, tf.errors.OpError), match=r"1\.tfrecord"):
        list(record_batches(files).dataset())
