"""What only TensorFlow can tell, as a script for an environment that has it; the tests need none.

``python with_tensorflow.py make`` writes the fixtures beside it, ``python with_tensorflow.py check`` lets TensorFlow
read what penstock-tfrecord wrote (install both, and penstock). The files in fixtures/ were made by tensorflow-cpu
2.21.0 on Python 3.11.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

HERE = Path(__file__).parent / "fixtures"


def feature(value):
    if isinstance(value[0], bytes):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=value))
    if isinstance(value[0], float):
        return tf.train.Feature(float_list=tf.train.FloatList(value=value))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=value))


def examples():
    for number in range(3):
        features = {
            "image/encoded": feature([bytes(range(number, 40 + number))]),
            "label": feature([number]),
            "tokens": feature([0, -1, 127, 128, 2**31, -(2**63), 2**63 - 1, *range(100, 100 + 20 * number)]),
            "weights": feature([0.0, -1.5, 3.25, float(number), float("inf")]),
            "words": feature([b"one", b"", b"tw\0"]),
            "empty/int": tf.train.Feature(int64_list=tf.train.Int64List()),
            "empty/float": tf.train.Feature(float_list=tf.train.FloatList()),
            "empty/bytes": tf.train.Feature(bytes_list=tf.train.BytesList()),
            "nothing": tf.train.Feature(),
        }
        yield tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def raw():
    yield from (b"", b"x", bytes(range(256)), b"\xff" * 1000)


def make():
    for name, records, kind in (
        ("examples.tfrecord", examples(), ""),
        ("raw.tfrecord", raw(), ""),
        ("gzip.tfrecord", raw(), "GZIP"),
        ("zlib.tfrecord", raw(), "ZLIB"),
        ("empty.tfrecord", (), ""),
    ):
        with tf.io.TFRecordWriter(str(HERE / name), tf.io.TFRecordOptions(compression_type=kind)) as writer:
            for record in records:
                writer.write(record)
    print("made by TensorFlow", tf.__version__)


def samples():
    for number in range(4):
        yield {
            "image": np.arange(60, dtype=np.uint8).reshape(4, 5, 3) + number,
            "wide": np.linspace(0, 1, 7) * number,
            "tokens": np.arange(-5, 300) * number,
            "weights": np.arange(6, dtype=np.float32).reshape(2, 3),
            "label": number,
            "name": f"sämple {number}",
            "blob": b"\0\xff" * number,
        }


def check():
    from penstock_tfrecord.codec import TfrecordFormat
    from penstock_tfrecord.plugin import TfrecordOptions

    for kind in ("none", "gzip", "zlib"):
        with tempfile.NamedTemporaryFile(suffix=".tfrecord") as file:
            for piece in TfrecordFormat(TfrecordOptions(compression=kind)).encode(samples()):
                file.write(piece)
            file.flush()
            theirs = list(tf.data.TFRecordDataset(file.name, compression_type="" if kind == "none" else kind.upper()))
        wants = list(samples())
        assert len(theirs) == len(wants)
        for record, want in zip(theirs, wants, strict=True):
            check_one(record, want)
        print(f"TensorFlow {tf.__version__} reads {len(wants)} records, compression {kind}")


def check_one(record, want):
    spec = {
        name: tf.io.FixedLenFeature([], tf.string)
        for name in ("image", "wide", "name", "blob", "image/dtype", "wide/dtype", "name/dtype")
    }
    spec |= {name: tf.io.VarLenFeature(tf.int64) for name in ("tokens", "image/shape", "wide/shape", "weights/shape")}
    spec |= {"label": tf.io.FixedLenFeature([], tf.int64), "weights": tf.io.FixedLenFeature([2, 3], tf.float32)}
    got = tf.io.parse_single_example(record, spec)
    for name, kind in (("image", tf.uint8), ("wide", tf.float64)):
        array = tf.reshape(tf.io.decode_raw(got[name], kind), tf.sparse.to_dense(got[f"{name}/shape"]))
        np.testing.assert_array_equal(array.numpy(), want[name])
        assert got[f"{name}/dtype"].numpy().decode() == want[name].dtype.name
    np.testing.assert_array_equal(tf.sparse.to_dense(got["tokens"]).numpy(), want["tokens"])
    np.testing.assert_array_equal(got["weights"].numpy(), want["weights"])
    np.testing.assert_array_equal(tf.sparse.to_dense(got["weights/shape"]).numpy(), [2, 3])
    assert int(got["label"]) == want["label"]
    assert got["name"].numpy().decode() == want["name"]
    assert got["blob"].numpy() == want["blob"]


if __name__ == "__main__":
    {"make": make, "check": check}[sys.argv[1]]()
