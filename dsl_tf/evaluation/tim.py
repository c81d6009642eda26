"""TIM-GD: prototypes that maximise the mutual information between queries and ways, by gradient descent.

Boudiaf, Masud, Rony, Dolz, Piantanida and Ben Ayed, "Information maximization for few-shot learning", NeurIPS 2020.
Constants are those of the authors' code, https://github.com/mboudiaf/TIM.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from dsl_tf.evaluation.classification import best_way, classify
from dsl_tf.evaluation.vectors import class_means, unit_length

DEFAULT_MARGINAL_WEIGHT = 10.0
ITERATIONS = 1000
_TEMPERATURE = 15.0
# Adam's learning rate and constants, those of PyTorch.
_LEARNING_RATE, _BETA_1, _BETA_2, _EPSILON = 1e-4, 0.9, 0.999, 1e-8
# Logarithms of probabilities that are zero in float32.
_TINY = 1e-12


def tim_scores(
    support: tf.Tensor,
    labels: tf.Tensor,
    query: tf.Tensor,
    marginal_weight: float | tf.Tensor = DEFAULT_MARGINAL_WEIGHT,
    iterations: int = ITERATIONS,
) -> tf.Tensor:
    """Computes the queries' logits for the prototypes w that minimise CE − λ·H(Y) + H(Y|X).

    CE is the mean cross-entropy of the support; H(Y) the entropy of the queries' mean probabilities p̄; H(Y|X) the mean
    entropy of their probabilities p.

    Args:
        support, labels, query: as in `adapted_logits`.
        marginal_weight: λ. The authors take 10 for equally many queries of each way, 1 for unequal numbers.
        iterations: steps of Adam.

    Returns:
        float32 `[E, M, N]`.
    """

    def slopes(p: tf.Tensor, p_mean: tf.Tensor) -> tf.Tensor:
        return tf.cast(marginal_weight, p.dtype) * tf.math.log(p_mean + _TINY) - tf.math.log(p + _TINY)

    return adapted_logits(support, labels, query, slopes, iterations)


def adapted_logits(
    support: tf.Tensor,
    labels: tf.Tensor,
    query: tf.Tensor,
    slopes: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    iterations: int,
) -> tf.Tensor:
    """Computes the queries' logits −τ/2·‖x − w‖², up to a constant of each, for prototypes w that minimise a loss.

    All vectors x have unit length first. The prototypes begin as class means and move by Adam, whose steps depend on
    the axes of the features, so that they cannot be made on inner products alone.

    Args:
        support: `[E, S, d]`.
        labels: one-hot `[S, N]`.
        query: `[E, M, d]`.
        slopes: the derivatives of the loss beside the support's cross-entropy: from the queries' probabilities p
            `[E, N, M]` and their mean `[E, N, 1]` to M·∂loss/∂p, up to a constant of each query.
        iterations: steps of Adam.

    Returns:
        float32 `[E, M, N]`.
    """
    support, query = (tf.cast(unit_length(features), tf.float32) for features in (support, query))
    x = tf.concat([support, query], axis=1)
    y = tf.transpose(tf.cast(labels, tf.float32))
    shots, queries = (tf.cast(tf.shape(features)[1], tf.float32) for features in (support, query))

    def logits(w: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        return _TEMPERATURE * (tf.matmul(w, x, transpose_b=True) - tf.reduce_sum(w * w, axis=2, keepdims=True) / 2)

    def gradient(w: tf.Tensor) -> tf.Tensor:
        p = tf.nn.softmax(logits(w, x), axis=1)
        of_support, of_query = p[:, :, : tf.shape(support)[1]], p[:, :, tf.shape(support)[1] :]
        u = slopes(of_query, tf.reduce_mean(of_query, axis=2, keepdims=True))
        by_query = of_query * (u - tf.reduce_sum(of_query * u, axis=1, keepdims=True)) / queries
        by_logits = _TEMPERATURE * tf.concat([(of_support - y) / shots, by_query], axis=2)
        return tf.matmul(by_logits, x) - tf.reduce_sum(by_logits, axis=2, keepdims=True) * w

    def step(
        number: tf.Tensor, w: tf.Tensor, m: tf.Tensor, v: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        g = gradient(w)
        m += (1 - _BETA_1) * (g - m)
        v += (1 - _BETA_2) * (g * g - v)
        rate = _LEARNING_RATE / (1 - _BETA_1**number)
        return number + 1, w - rate * m / (tf.sqrt(v / (1 - _BETA_2**number)) + _EPSILON), m, v

    w = class_means(support, tf.cast(labels, tf.float32))
    zeros = tf.zeros_like(w)
    steps = tf.while_loop(lambda number, *_: number <= iterations, step, (tf.constant(1.0), w, zeros, zeros))
    return tf.linalg.matrix_transpose(logits(steps[1], query))


def tim(
    support: np.ndarray | tf.Tensor,
    query: np.ndarray | tf.Tensor,
    marginal_weight: float = DEFAULT_MARGINAL_WEIGHT,
    iterations: int = ITERATIONS,
) -> tf.Tensor:
    """Classifies each episode's queries together, confidently and spread over the ways.

    Args:
        support: features `[E, N, K, d]`, any float dtype and scale.
        query: features `[E, M, d]`.
        marginal_weight: λ, how much the ways should get equally many queries; chosen on validation classes.
        iterations: steps of Adam.

    Returns:
        The way index of each query, int32 `[E, M]`.

    Raises:
        ValueError: if the shapes do not match, or features are not finite.
    """
    return classify(best_way(tim_scores), support, query, marginal_weight=marginal_weight, iterations=iterations)
