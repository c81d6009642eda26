"""From stored pixels to a backbone's input, the same in training, evaluation and the exported model."""

import tensorflow as tf


def normalize(images: tf.Tensor) -> tf.Tensor:
    """Maps pixels 0..255 of any numeric dtype to float32 −1..1."""
    return tf.cast(images, tf.float32) / 127.5 - 1.0


def resize(images: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Resizes images `[n, h, w, 3]` to `(height, width)`, bilinear and antialiased, aspect not kept; float32."""
    return tf.image.resize(images, size, method="bilinear", antialias=True)
