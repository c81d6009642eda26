"""Nearest class centroid, the paper's inductive few-shot classifier."""

import numpy as np
import tensorflow as tf

from dsl_tf.evaluation.classification import classify
from dsl_tf.evaluation.vectors import class_means, from_centre_if_far


def centroid_scores(centroids: tf.Tensor, query: tf.Tensor) -> tf.Tensor:
    """Returns the squared distances of queries `[E, M, d]` to centroids `[E, N, d]`, `[E, M, N]`, but for a constant.

    Each query has its own constant, the same for every way.
    """
    if centroids.dtype == tf.float64:
        # Features of unusual size: if a few of them are, one of the others is the centre, the nearest to the mean.
        distances = tf.reduce_sum((centroids - tf.reduce_mean(centroids, axis=1, keepdims=True)) ** 2, axis=2)
        return _scores_from(tf.gather(centroids, tf.argmin(distances, axis=1)[:, None], batch_dims=1), centroids, query)
    gram = tf.matmul(centroids, centroids, transpose_b=True)
    # Measured from the first centroid, |c|² − 2qc does not cancel for features far from the origin. Their mean would do
    # as well, but its rounding could tell equal distances apart. Measuring all queries so takes as long as the rest.
    return from_centre_if_far(
        gram,
        lambda: tf.linalg.diag_part(gram)[:, None, :] - 2 * tf.matmul(query, centroids, transpose_b=True),
        lambda: _scores_from(centroids[:, :1], centroids, query),
    )


def _scores_from(centre: tf.Tensor, centroids: tf.Tensor, query: tf.Tensor) -> tf.Tensor:
    centroids, query = centroids - centre, query - centre
    return tf.reduce_sum(centroids**2, axis=2)[:, None, :] - 2 * tf.matmul(query, centroids, transpose_b=True)


def nearest_centroid_scores(support: tf.Tensor, labels: tf.Tensor, query: tf.Tensor) -> tf.Tensor:
    """Computes −‖q − c‖² for the class means c of the support, up to a constant of each query.

    Args:
        support: `[E, S, d]`.
        labels: one-hot `[S, N]`.
        query: q `[E, M, d]`.

    Returns:
        `[E, M, N]`.
    """
    return -centroid_scores(class_means(support, labels), query)


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
    return classify(_nearest, support, query)


def _nearest(support: tf.Tensor, query: tf.Tensor) -> tf.Tensor:
    scores = centroid_scores(tf.reduce_mean(support, axis=2), query)
    return tf.argmin(scores, axis=2, output_type=tf.int32)
