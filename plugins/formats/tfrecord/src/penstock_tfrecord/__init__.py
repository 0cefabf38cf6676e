"""TFRecord files: framing with its checksums, ``tf.train.Example``, indexes; without TensorFlow."""
