"""α-TIM: TIM with α-entropies, which tolerates ways with unequal numbers of queries.

Veilleux, Boudiaf, Piantanida and Ben Ayed, "Realistic evaluation of transductive few-shot learning", NeurIPS 2021.
Constants are those of the authors' code, https://github.com/oveilleux/Realistic_Transductive_Few_Shot.
"""

import numpy as np
import tensorflow as tf

from dsl_tf.evaluation.classification import best_way, classify
from dsl_tf.evaluation.tim import ITERATIONS, adapted_logits

DEFAULT_ALPHA = 5.0


def alpha_tim_scores(
    support: tf.Tensor,
    labels: tf.Tensor,
    query: tf.Tensor,
    alpha: float | tf.Tensor = DEFAULT_ALPHA,
    iterations: int = ITERATIONS,
) -> tf.Tensor:
    """Computes the queries' logits for the prototypes that minimise CE − H_α(Y) + H_α(Y|X).

    H_α(p) = (1 − Σ p^α) / (α − 1); the rest is as in `tim_scores`.

    Args:
        support, labels, query: as in `adapted_logits`.
        alpha: α, above 1.
        iterations: steps of Adam.

    Returns:
        float32 `[E, M, N]`.
    """

    def slopes(p: tf.Tensor, p_mean: tf.Tensor) -> tf.Tensor:
        a = tf.cast(alpha, p.dtype)
        return a / (a - 1) * (p_mean ** (a - 1) - p ** (a - 1))

    return adapted_logits(support, labels, query, slopes, iterations)


def alpha_tim(
    support: np.ndarray | tf.Tensor,
    query: np.ndarray | tf.Tensor,
    alpha: float = DEFAULT_ALPHA,
    iterations: int = ITERATIONS,
) -> tf.Tensor:
    """Classifies each episode's queries together, confidently, whatever the number of queries of each way.

    Args:
        support: features `[E, N, K, d]`, any float dtype and scale.
        query: features `[E, M, d]`.
        alpha: α, above 1; chosen on validation classes. The authors take 2 for one shot and 7 for five.
        iterations: steps of Adam.

    Returns:
        The way index of each query, int32 `[E, M]`.

    Raises:
        ValueError: if the shapes do not match, or features are not finite.
    """
    return classify(best_way(alpha_tim_scores), support, query, alpha=alpha, iterations=iterations)
