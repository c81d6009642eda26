"""Means, lengths and angles of the vectors of episodes."""

from collections.abc import Callable
from typing import TypeVar

import tensorflow as tf

from dsl_tf import gpu

_Result = TypeVar("_Result")

# How often the squared length of a mean may be the variance about it: 6 bits of float32's 24 are lost.
_FAR = 64.0


def class_means(support: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Returns each way's mean `[E, N, d]`, from support `[E, S, d]` and one-hot labels `[S, N]`."""
    weights = tf.transpose(labels / tf.reduce_sum(labels, axis=0))
    # tf.einsum would transpose the support.
    return tf.matmul(weights[None], support)


def cosines(x: tf.Tensor, prototypes: tf.Tensor) -> tf.Tensor:
    """Returns the cosines of x `[E, M, d]` with prototypes `[E, N, d]`, `[E, M, N]`; 0 for a zero vector."""
    products = tf.matmul(x, unit_length(prototypes), transpose_b=True)
    return tf.math.divide_no_nan(products, tf.norm(x, axis=-1, keepdims=True))


def unit_length(x: tf.Tensor) -> tf.Tensor:
    """Divides vectors `[..., d]` by their Euclidean norms; a zero vector stays zero."""
    return tf.math.divide_no_nan(x, tf.norm(x, axis=-1, keepdims=True))


def far_from_origin(gram: tf.Tensor) -> tf.Tensor:
    """Returns whether in some episode the mean of vectors is far longer than their distances from it.

    Float32 would then lose digits in differences of inner products, which must be measured from a nearer point.

    Args:
        gram: the inner products of the vectors `[E, S, S]`.

    Returns:
        A boolean; true if there is NaN too.
    """
    square_of_mean = tf.reduce_mean(gram, axis=[1, 2])
    variance = tf.reduce_mean(tf.linalg.diag_part(gram), axis=1) - square_of_mean
    return tf.logical_not(tf.reduce_all(square_of_mean <= _FAR * variance))


def from_centre_if_far(
    gram: tf.Tensor, as_they_are: Callable[[], _Result], from_centre: Callable[[], _Result]
) -> _Result:
    """Returns `from_centre()` if vectors are far from the origin or of float64, otherwise `as_they_are()`.

    On a GPU it is always `from_centre()`: the host would wait for the condition, which costs more than centring does.

    Args:
        gram: as in `far_from_origin`.
        as_they_are: a function of the vectors.
        from_centre: the same of the vectors' differences from a point near them.
    """
    if gram.dtype == tf.float64 or gpu.present():
        return from_centre()
    return tf.cond(far_from_origin(gram), from_centre, as_they_are)
