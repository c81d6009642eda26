"""Ridge regression onto one-hot labels, in closed form: the few-shot classifier R2-D2.

Bertinetto, Henriques, Torr and Vedaldi, "Meta-learning with differentiable closed-form solvers", ICLR 2019.
"""

import numpy as np
import tensorflow as tf

from dsl_tf.evaluation.classification import best_way, classify

DEFAULT_PENALTY = 1.0


def ridge_regression_scores(
    support: tf.Tensor, labels: tf.Tensor, query: tf.Tensor, penalty: float | tf.Tensor = DEFAULT_PENALTY
) -> tf.Tensor:
    """Computes q·W for W = argmin ‖XW − Y‖² + λ‖W‖² = Xᵀ(XXᵀ + λI)⁻¹Y, in the paper's form for few vectors.

    Args:
        support: X `[E, S, d]`.
        labels: Y, one-hot `[S, N]`.
        query: q `[E, M, d]`.
        penalty: λ, above 0.

    Returns:
        float64 `[E, M, N]`.
    """
    gram, cross, Y = (
        tf.cast(array, tf.float64)
        for array in (
            tf.matmul(support, support, transpose_b=True),
            tf.matmul(query, support, transpose_b=True),
            labels,
        )
    )
    # λ below the rounding of XXᵀ would leave nothing to invert if two support vectors are equal.
    largest = tf.reduce_max(tf.linalg.diag_part(gram), axis=1)
    penalty = tf.maximum(tf.cast(penalty, tf.float64), 1e-7 * largest)
    ridge = tf.linalg.set_diag(gram, tf.linalg.diag_part(gram) + penalty[:, None])
    root = tf.linalg.cholesky(ridge)
    weights = tf.linalg.cholesky_solve(root, tf.broadcast_to(Y, tf.shape(gram[:, :, :1]) * [1, 1, tf.shape(Y)[1]]))
    return tf.matmul(cross, weights)


def ridge_regression(
    support: np.ndarray | tf.Tensor, query: np.ndarray | tf.Tensor, penalty: float = DEFAULT_PENALTY
) -> tf.Tensor:
    """Classifies each query by linear regression from the support onto one-hot labels.

    Args:
        support: features `[E, N, K, d]`, any float dtype. Their squared lengths are weighed against λ.
        query: features `[E, M, d]`.
        penalty: λ, the weight of ‖W‖², above 0; chosen on validation classes.

    Returns:
        The way index of each query, int32 `[E, M]`.

    Raises:
        ValueError: if the shapes do not match, or features are not finite.
    """
    return classify(best_way(ridge_regression_scores), support, query, penalty=penalty)
