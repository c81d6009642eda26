"""Nearest class centroid, the paper's inductive few-shot classifier."""

import numpy as np
import tensorflow as tf

from dsl_tf.evaluation.precision import true_float32


def as_episodes(support, query):
    """Returns support `[E, N, K, d]` and query `[E, M, d]` in float32.

    Raises:
        ValueError: if the shapes do not match.
    """
    support, query = tf.convert_to_tensor(support), tf.convert_to_tensor(query)
    fits = support.shape.rank == 4 and query.shape.rank == 3
    if not fits or not (support.shape[:1] + support.shape[-1:]).is_compatible_with(query.shape[:1] + query.shape[-1:]):
        raise ValueError(
            "Expected support [episodes, ways, shots, d] and query [episodes, queries, d]. "
            f"Received: support {support.shape}, query {query.shape}"
        )
    return tf.cast(support, tf.float32), tf.cast(query, tf.float32)


def centroid_scores(centroids, query):
    """Returns the squared distances of queries `[E, M, d]` to centroids `[E, N, d]`, `[E, M, N]`, but for a constant.

    Each query has its own constant, the same for every way.
    """
    # Measured from the first centroid, so that |c|² − 2qc does not cancel for features far from the origin. Their mean
    # would do as well, but its rounding could tell equal distances apart.
    centre = centroids[:, :1]
    centroids, query = centroids - centre, query - centre
    return tf.reduce_sum(centroids**2, axis=2)[:, None, :] - 2 * tf.matmul(query, centroids, transpose_b=True)


@true_float32()
def nearest_centroid(support: np.ndarray | tf.Tensor, query: np.ndarray | tf.Tensor) -> tf.Tensor:
    """Classifies each query as the way whose support mean is nearest in Euclidean distance.

    Args:
        support: features `[E, N, K, d]`, any float dtype.
        query: features `[E, M, d]`.

    Returns:
        The way index of each query, int32 `[E, M]`; of equally near ways the first.

    Raises:
        ValueError: if the shapes do not match.
    """
    support, query = as_episodes(support, query)
    scores = centroid_scores(tf.reduce_mean(support, axis=2), query)
    return tf.argmin(scores, axis=2, output_type=tf.int32)
