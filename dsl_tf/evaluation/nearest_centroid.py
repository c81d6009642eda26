"""Nearest class centroid, the paper's inductive few-shot classifier."""

import numpy as np
import tensorflow as tf

from dsl_tf.evaluation.numbers import computing_dtype
from dsl_tf.evaluation.precision import true_float32


def as_episodes(support: np.ndarray | tf.Tensor, query: np.ndarray | tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns support `[E, N, K, d]` and query `[E, M, d]` in one dtype.

    It is float32, or float64 for values so large or small that float32 may not hold their squares. In a graph, where
    nobody sees the values, float64 stays float64 and everything else becomes float32.

    Raises:
        ValueError: if the shapes do not match, or outside of a graph if values are not finite.
    """
    support, query = tf.convert_to_tensor(support), tf.convert_to_tensor(query)
    fits = support.shape.rank == 4 and query.shape.rank == 3
    if not fits or not (support.shape[:1] + support.shape[-1:]).is_compatible_with(query.shape[:1] + query.shape[-1:]):
        raise ValueError(
            "Expected support [episodes, ways, shots, d] and query [episodes, queries, d]. "
            f"Received: support {support.shape}, query {query.shape}"
        )
    if tf.is_symbolic_tensor(support) or tf.is_symbolic_tensor(query):
        dtype = tf.float64 if tf.float64 in (support.dtype, query.dtype) else tf.float32
    else:
        dtype = computing_dtype(support=support, query=query)
    return tf.cast(support, dtype), tf.cast(query, dtype)


def centroid_scores(centroids: tf.Tensor, query: tf.Tensor) -> tf.Tensor:
    """Returns the squared distances of queries `[E, M, d]` to centroids `[E, N, d]`, `[E, M, N]`, but for a constant.

    Each query has its own constant, the same for every way.
    """
    # Measured from the first centroid, so that |c|² − 2qc does not cancel for features far from the origin. Their mean
    # would do as well, but its rounding could tell equal distances apart.
    centre = centroids[:, :1]
    if centroids.dtype == tf.float64:
        # Features of unusual size: if a few of them are, one of the others is the centre, the nearest to the mean.
        distances = tf.reduce_sum((centroids - tf.reduce_mean(centroids, axis=1, keepdims=True)) ** 2, axis=2)
        centre = tf.gather(centroids, tf.argmin(distances, axis=1)[:, None], batch_dims=1)
    centroids, query = centroids - centre, query - centre
    return tf.reduce_sum(centroids**2, axis=2)[:, None, :] - 2 * tf.matmul(query, centroids, transpose_b=True)


@true_float32()
def nearest_centroid(support: np.ndarray | tf.Tensor, query: np.ndarray | tf.Tensor) -> tf.Tensor:
    """Classifies each query as the way whose support mean is nearest in Euclidean distance.

    Args:
        support: features `[E, N, K, d]`, any float dtype and scale.
        query: features `[E, M, d]`.

    Returns:
        The way index of each query, int32 `[E, M]`; of equally near ways the first.

    Raises:
        ValueError: if the shapes do not match, or features are not finite.
    """
    support, query = as_episodes(support, query)
    scores = centroid_scores(tf.reduce_mean(support, axis=2), query)
    return tf.argmin(scores, axis=2, output_type=tf.int32)
