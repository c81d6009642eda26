"""Nearest neighbour: each query gets the way of the one support vector that is nearest.

Cover and Hart, "Nearest neighbor pattern classification", IEEE Transactions on Information Theory 13, 1967.
"""

import numpy as np
import tensorflow as tf

from dsl_tf.evaluation.classification import classify
from dsl_tf.evaluation.nearest_centroid import centroid_scores


def nearest_neighbour_scores(support: tf.Tensor, labels: tf.Tensor, query: tf.Tensor) -> tf.Tensor:
    """Computes −min ‖q − x‖² over each way's support vectors x, up to a constant of each query.

    Args:
        support: x `[E, S, d]`.
        labels: one-hot `[S, N]`.
        query: q `[E, M, d]`.

    Returns:
        `[E, M, N]`.
    """
    distances = centroid_scores(support, query)
    # `[E, M, N, S]`, where a vector of another way is infinitely far.
    own = tf.transpose(labels) > 0
    return -tf.reduce_min(tf.where(own, distances[:, :, None], tf.constant(np.inf, distances.dtype)), axis=3)


def nearest_neighbour(support: np.ndarray | tf.Tensor, query: np.ndarray | tf.Tensor) -> tf.Tensor:
    """Classifies each query as the way of the support vector that is nearest in Euclidean distance.

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
    episodes, ways, shots, d = tf.unstack(tf.shape(support))
    distances = centroid_scores(tf.reshape(support, [episodes, ways * shots, d]), query)
    return tf.argmin(distances, axis=2, output_type=tf.int32) // shots
