"""Means, lengths and angles of the vectors of episodes."""

import tensorflow as tf


def class_means(support: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns each way's mean `[E, N, d]`, from support `[E, S, d]` and one-hot labels `[S, N]`."""
    weights = tf.transpose(labels / tf.reduce_sum(labels, axis=0))
    return tf.einsum("ns,esd->end", weights, support)


def cosines(x: tf.Tensor, prototypes: tf.Tensor) -> tf.Tensor:
    """Returns the cosines of x `[E, M, d]` with prototypes `[E, N, d]`, `[E, M, N]`; 0 for a zero vector."""
    products = tf.matmul(x, unit_length(prototypes), transpose_b=True)
    return tf.math.divide_no_nan(products, tf.norm(x, axis=-1, keepdims=True))


def unit_length(x: tf.Tensor) -> tf.Tensor:
    """Divides vectors `[..., d]` by their Euclidean norms; a zero vector stays zero."""
    return tf.math.divide_no_nan(x, tf.norm(x, axis=-1, keepdims=True))
