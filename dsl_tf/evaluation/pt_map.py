"""PT+MAP: power transform, then class means and an optimal transport of the queries onto them in turn.

Hu, Gripon and Pateux, "Leveraging the feature distribution in transfer-based few-shot learning", ICANN 2021. Constants
are those of the authors' code, https://github.com/yhu01/PT-MAP.
"""

import numpy as np
import tensorflow as tf

from dsl_tf.evaluation.classification import best_way, classify
from dsl_tf.evaluation.vectors import unit_length

DEFAULT_ALPHA = 0.2
_BETA, _EPSILON = 0.5, 1e-6
_LAMBDA = 10.0
_STEPS = 20
# Sinkhorn's iterations end if no row's sum moves by more.
_SETTLED, _MOST_ITERATIONS = 1e-6, 1000


def pt_map_scores(
    support: tf.Tensor, labels: tf.Tensor, query: tf.Tensor, alpha: float | tf.Tensor = DEFAULT_ALPHA
) -> tf.Tensor:
    """Computes log P* of the queries, up to a constant of each, after 20 steps.

    Features become f = (v + ε)^β with β = 0.5, negative ones −(−v + ε)^β, then have unit length; support and queries
    are centred each on its own mean and have unit length again. A step computes P* = Sinkhorn(exp(−λ‖f − c_j‖²)), whose
    rows sum to 1 and whose columns sum to M/N, and moves each class mean c_j by c_j ← c_j + α(μ_j − c_j) towards the
    mean μ_j of its support vectors and of all queries with weights P*.

    Args:
        support: `[E, S, d]`.
        labels: one-hot `[S, N]`.
        query: `[E, M, d]`.
        alpha: α.

    Returns:
        `[E, M, N]`.
    """
    if support.dtype == tf.float64:
        # Features of unusual size, beside which ε would be everything or nothing.
        largest = tf.maximum(tf.reduce_max(tf.abs(support)), tf.reduce_max(tf.abs(query)))
        support, query = (tf.math.divide_no_nan(features, largest) for features in (support, query))
    support, query = (tf.cast(_transformed(features), tf.float32) for features in (support, query))
    labels = tf.cast(labels, tf.float32)
    f = tf.concat([support, query], axis=1)
    gram = tf.matmul(f, f, transpose_b=True)
    squares = tf.linalg.diag_part(gram)[:, :, None]
    queries = tf.shape(query)[1]
    labels = tf.tile(labels[None], [tf.shape(f)[0], 1, 1])
    start = tf.pad(labels / tf.reduce_sum(labels, axis=1, keepdims=True), [[0, 0], [0, queries], [0, 0]])

    def log_kernel(c: tf.Tensor) -> tf.Tensor:
        """Returns −λ‖f − c_j‖² of the queries, for the means c as combinations of all f `[E, S + M, N]`."""
        products = tf.matmul(gram, c)
        distances = squares + tf.reduce_sum(c * products, axis=1, keepdims=True) - 2 * products
        return -_LAMBDA * distances[:, -queries:]

    def step(number: tf.Tensor, c: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        kernel = log_kernel(c)
        weights = tf.concat([labels, tf.nn.softmax(kernel + _log_column_factors(kernel))], axis=1)
        mu = weights / tf.reduce_sum(weights, axis=1, keepdims=True)
        return number + 1, c + tf.cast(alpha, tf.float32) * (mu - c)

    kernel = log_kernel(tf.while_loop(lambda number, _: number < _STEPS, step, (0, start))[1])
    return kernel + _log_column_factors(kernel)


def _transformed(v: tf.Tensor) -> tf.Tensor:
    f = unit_length(tf.where(v < 0, -tf.ones_like(v), 1) * (tf.abs(v) + _EPSILON) ** _BETA)
    return unit_length(f - tf.reduce_mean(f, axis=1, keepdims=True))


def _log_column_factors(log_kernel: tf.Tensor) -> tf.Tensor:
    """Returns log b for which diag(a)·exp(log_kernel)·diag(b) has rows of sum 1 and columns of sum M/N, `[E, 1, N]`.

    Args:
        log_kernel: `[E, M, N]`.
    """
    # Ways first: sums over a last axis of N elements are slow. A factor of each row changes no b.
    kernel = tf.linalg.matrix_transpose(tf.nn.softmax(log_kernel))
    column = tf.cast(tf.shape(kernel)[2] / tf.shape(kernel)[1], kernel.dtype)

    def scale(
        number: tf.Tensor, a: tf.Tensor, b: tf.Tensor, rows: tf.Tensor, moved: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        a_next = a / rows
        b = column / tf.reduce_sum(kernel * a_next, axis=2, keepdims=True)
        rows_next = a_next * tf.reduce_sum(kernel * b, axis=1, keepdims=True)
        return number + 1, a_next, b, rows_next, tf.reduce_max(tf.abs(rows_next - rows))

    ones = tf.ones_like(kernel)
    state = (0, ones[:, :1], ones[:, :, :1], ones[:, :1], tf.constant(np.inf, kernel.dtype))
    # Episodes that have settled continue with the rest: they hardly move.
    b = tf.while_loop(lambda number, *others: (number < _MOST_ITERATIONS) & (others[-1] > _SETTLED), scale, state)[2]
    return tf.linalg.matrix_transpose(tf.math.log(b))


def pt_map(support: np.ndarray | tf.Tensor, query: np.ndarray | tf.Tensor, alpha: float = DEFAULT_ALPHA) -> tf.Tensor:
    """Classifies each episode's queries together, as many to each way; made for raw features after a ReLU.

    Args:
        support: features `[E, N, K, d]`, any float dtype.
        query: features `[E, M, d]`.
        alpha: α, how far class means move in each step; chosen on validation classes.

    Returns:
        The way index of each query, int32 `[E, M]`.

    Raises:
        ValueError: if the shapes do not match, or features are not finite.
    """
    return classify(best_way(pt_map_scores), support, query, alpha=alpha)
