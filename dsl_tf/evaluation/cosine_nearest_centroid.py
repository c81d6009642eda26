"""Nearest class centroid by cosine similarity.

Gidaris and Komodakis, "Dynamic few-shot visual learning without forgetting", CVPR 2018, section 3.2: class means of the
support as the weights of a cosine classifier.
"""

import numpy as np
import tensorflow as tf

from dsl_tf.evaluation.classification import classify
from dsl_tf.evaluation.vectors import class_means, cosines, unit_length

# Sharpness of the softmax over cosines, about what cosine classifiers learn.
_SCALE = 10.0


def cosine_nearest_centroid_scores(support: tf.Tensor, labels: tf.Tensor, query: tf.Tensor) -> tf.Tensor:
    """Computes τ·cos(q, c) for the class means c of the support, τ = 10.

    Args:
        support: `[E, S, d]`.
        labels: one-hot `[S, N]`.
        query: q `[E, M, d]`.

    Returns:
        `[E, M, N]`.
    """
    return _SCALE * cosines(query, class_means(support, labels))


def cosine_nearest_centroid(support: np.ndarray | tf.Tensor, query: np.ndarray | tf.Tensor) -> tf.Tensor:
    """Classifies each query as the way whose support mean has the smallest angle to it.

    Args:
        support: features `[E, N, K, d]`, any float dtype and scale.
        query: features `[E, M, d]`.

    Returns:
        The way index of each query, int32 `[E, M]`.

    Raises:
        ValueError: if the shapes do not match, or features are not finite.
    """
    return classify(_nearest, support, query)


def _nearest(support: tf.Tensor, query: tf.Tensor) -> tf.Tensor:
    # A query's own length does not change its order of the ways.
    products = tf.matmul(query, unit_length(tf.reduce_mean(support, axis=2)), transpose_b=True)
    return tf.argmax(products, axis=2, output_type=tf.int32)
