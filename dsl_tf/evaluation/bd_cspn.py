"""BD-CSPN: class means rectified with the queries, which are pseudo-labelled and shifted onto the support first.

Liu, Song and Qin, "Prototype rectification for few-shot learning", ECCV 2020.
"""

import numpy as np
import tensorflow as tf

from dsl_tf.evaluation.classification import best_way, classify
from dsl_tf.evaluation.vectors import class_means, cosines, unit_length

# ε, the sharpness of the weights.
_EPSILON = 10.0


def bd_cspn_scores(support: tf.Tensor, labels: tf.Tensor, query: tf.Tensor) -> tf.Tensor:
    """Computes ε·cos(x̂, P′) of the shifted queries x̂ and the rectified prototypes P′.

    x̂ = x + ξ with ξ = mean(support) − mean(query) diminishes the cross-class bias. A query belongs to the way of the
    class mean P_n with the largest cosine. P′_n = Σ w_n(x)·x over the support vectors and shifted queries of way n,
    with weights w_n(x) in proportion to exp(ε·cos(x, P_n)) and of sum 1, diminishes the intra-class bias. The paper
    takes the Z most confident queries of each way; here all take part.

    Args:
        support: `[E, S, d]`.
        labels: one-hot `[S, N]`.
        query: x `[E, M, d]`.

    Returns:
        `[E, M, N]`.
    """
    shift = tf.reduce_mean(support, axis=1, keepdims=True) - tf.reduce_mean(query, axis=1, keepdims=True)
    prototypes = class_means(support, labels)
    # x̂ itself would take as long as all else: its products are those of x and ξ, and |x̂|² = |x|² + 2xξ + |ξ|².
    directions = tf.concat([unit_length(prototypes), shift], axis=1)
    products, of_shift = (tf.matmul(x, directions, transpose_b=True) for x in (query, shift))
    squares = tf.reduce_sum(query * query, axis=2, keepdims=True) + 2 * products[:, :, -1:] + of_shift[:, :, -1:]
    lengths = tf.sqrt(tf.maximum(squares, 0))
    of_query = tf.math.divide_no_nan((products + of_shift)[:, :, :-1], lengths)
    of_support = cosines(support, prototypes)
    pseudo_labels = tf.one_hot(tf.argmax(of_query, axis=2), tf.shape(labels)[1], dtype=query.dtype)
    w_support, w_query = labels * tf.exp(_EPSILON * of_support), pseudo_labels * tf.exp(_EPSILON * of_query)
    rectified = tf.matmul(w_support, support, transpose_a=True) + tf.matmul(w_query, query, transpose_a=True)
    rectified += tf.reduce_sum(w_query, axis=1)[:, :, None] * shift
    # Their sums, by which a prototype would be divided, change no cosine.
    units = unit_length(rectified)
    of_rectified = tf.matmul(query, units, transpose_b=True) + tf.matmul(shift, units, transpose_b=True)
    return _EPSILON * tf.math.divide_no_nan(of_rectified, lengths)


def bd_cspn(support: np.ndarray | tf.Tensor, query: np.ndarray | tf.Tensor) -> tf.Tensor:
    """Classifies each episode's queries together, by cosines with class means that the queries rectify.

    Args:
        support: features `[E, N, K, d]`, any float dtype and scale.
        query: features `[E, M, d]`.

    Returns:
        The way index of each query, int32 `[E, M]`.

    Raises:
        ValueError: if the shapes do not match, or features are not finite.
    """
    return classify(best_way(bd_cspn_scores), support, query)
