"""From stored pixels to a backbone's input, the same in training, evaluation and the exported model."""

import tensorflow as tf


def normalize(images: tf.Tensor) -> tf.Tensor:
    """Maps pixels 0..255 of any numeric dtype to float32 −1..1."""
    return tf.cast(images, tf.float32) / 127.5 - 1.0


def resize(images: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Resizes images `[n, h, w, 3]` to `(height, width)`, bilinear and antialiased, aspect not kept; float32."""
    return tf.image.resize(images, size, method="bilinear", antialias=True)


def resize_and_cut(images: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Resizes images `[n, h, w, 3]` until they just cover `(height, width)`, and cuts out the centre; float32.

    The aspect is kept; bilinear and antialiased, as `dsl_tf.data.decoding.centre_square`.
    """
    present = tf.cast(tf.shape(images)[1:3], tf.float32)
    wanted = tf.constant(size, tf.float32)
    scale = tf.reduce_max(wanted / present)
    return tf.raw_ops.ScaleAndTranslate(
        images=images,
        size=size,
        scale=tf.stack([scale, scale]),
        translation=(wanted - present * scale) / 2,
        kernel_type="triangle",
        antialias=True,
    )
