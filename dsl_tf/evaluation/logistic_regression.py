"""Multinomial logistic regression with an L2 penalty, by Newton's method on the span of the support.

Tian, Wang, Krishnan, Tenenbaum and Isola, "Rethinking few-shot image classification: a good embedding is all you
need?", ECCV 2020, classify so. Newton's step on coefficients of the support vectors is that of Rasmussen and Williams,
"Gaussian Processes for Machine Learning", MIT Press 2006, algorithm 3.3, whose symbols are used here: it solves N
systems of S equations instead of one of N·d.
"""

import numpy as np
import tensorflow as tf

from dsl_tf import gpu
from dsl_tf.evaluation.classification import best_way, classify

DEFAULT_PENALTY = 1.0
_MOST_STEPS = 50
# Logits that move by less have settled: Newton's next step would be about the square of it.
_SETTLED = 1e-3
# What is lost of Ψ by rounding at most, near the maximum.
_ROUNDING = 1e-9
# The bias is penalised by so much less than the weights that float64 hardly sees it.
_BIAS = 1e4
# The most that the support's squared lengths count beside the penalty: with more, equal vectors cannot be told from
# dependent ones.
_MOST = 1e5
# Shares of Newton's step, of which the best is taken if all of it would lead down.
_SHARES = (1.0, 0.5, 0.25, 0.0625)


def logistic_regression_scores(
    support: tf.Tensor, labels: tf.Tensor, query: tf.Tensor, penalty: float | tf.Tensor = DEFAULT_PENALTY
) -> tf.Tensor:
    """Computes the logits q·W + b that minimise Σ −log softmax(xW + b)_y + λ/2·‖W‖².

    With W = Xᵀa/λ for coefficients a, the support's logits are f = Ka with K = XXᵀ/λ + κ·11ᵀ, whose last part is the
    bias b = κ·1ᵀa, with κ so large that b is free.

    Args:
        support: X `[E, S, d]`.
        labels: Y, one-hot `[S, N]`.
        query: q `[E, M, d]`.
        penalty: λ, above 0.

    Returns:
        float64 `[E, M, N]`.
    """
    # The bias makes up for any shift; far from the origin inner products would lose digits.
    centre = tf.reduce_mean(support, axis=1, keepdims=True)
    support -= centre
    gram = tf.cast(tf.matmul(support, support, transpose_b=True), tf.float64)
    cross, of_centre = (tf.cast(tf.matmul(x, support, transpose_b=True), tf.float64) for x in (query, centre))
    size = tf.reduce_mean(tf.linalg.diag_part(gram), axis=1)[:, None, None]
    penalty = tf.maximum(tf.cast(penalty, tf.float64), size / _MOST)
    kappa = _BIAS * (1 + size / penalty)
    a = _coefficients(gram / penalty + kappa, tf.cast(labels, tf.float64))
    return tf.matmul((cross - of_centre) / penalty + kappa, a)


def _coefficients(K: tf.Tensor, Y: tf.Tensor) -> tf.Tensor:
    """Maximises Ψ(a) = Σ_i log softmax(f_i)_{y_i} − ½·Σ_c a_cᵀKa_c with f = Ka.

    Args:
        K: `[E, S, S]`.
        Y: one-hot `[S, N]`.

    Returns:
        a `[E, S, N]`.
    """

    def objective(a: tf.Tensor, f: tf.Tensor) -> tf.Tensor:
        likelihood = tf.reduce_sum(Y * f, axis=[-2, -1]) - tf.reduce_sum(tf.reduce_logsumexp(f, axis=-1), axis=-1)
        return likelihood - tf.reduce_sum(a * f, axis=[-2, -1]) / 2

    def step(
        number: tf.Tensor, a: tf.Tensor, f: tf.Tensor, moved: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        towards = _newton_target(K, Y, f)
        far = tf.matmul(K, towards)

        def shortened() -> tuple[tf.Tensor, tf.Tensor]:
            shares = tf.constant(_SHARES, K.dtype)[:, None, None, None]
            best = tf.argmax(objective(a + shares * (towards - a), f + shares * (far - f)), axis=0)
            share = tf.gather(tf.constant(_SHARES, K.dtype), best)[:, None, None]
            return a + share * (towards - a), f + share * (far - f)

        if gpu.present():
            # The host would wait for the condition, which costs more than four values of Ψ do.
            a_next, f_next = shortened()
        else:
            rises = tf.reduce_all(objective(towards, far) >= objective(a, f) - _ROUNDING)
            a_next, f_next = tf.cond(rises, lambda: (towards, far), shortened)
        return number + 1, a_next, f_next, tf.reduce_max(tf.abs(f_next - f))

    # Newton's step from a = 0, where all ways are equally probable: (I + K/N)·a = Y − 1/N.
    ways = tf.cast(tf.shape(Y)[1], K.dtype)
    root = tf.linalg.cholesky(tf.linalg.set_diag(K / ways, 1 + tf.linalg.diag_part(K) / ways))
    start = tf.linalg.cholesky_solve(root, tf.tile((Y - 1 / ways)[None], [tf.shape(K)[0], 1, 1]))
    # Episodes that have settled continue with the rest: they hardly move.
    return tf.while_loop(
        lambda number, a, f, moved: (number < _MOST_STEPS) & (moved > _SETTLED),
        step,
        (1, start, tf.matmul(K, start), tf.constant(np.inf, K.dtype)),
    )[1]


def _newton_target(K: tf.Tensor, Y: tf.Tensor, f: tf.Tensor) -> tf.Tensor:
    """Returns the coefficients that Newton's full step leads to, `[E, S, N]`."""
    pi = tf.nn.softmax(f)
    root = tf.sqrt(tf.linalg.matrix_transpose(pi))
    # E_c = D_c^½ (I + D_c^½ K D_c^½)⁻¹ D_c^½ for every way c at once, `[E, N, S, S]`.
    outer = root[:, :, :, None] * root[:, :, None, :]
    inner = outer * K[:, None]
    E = outer * tf.linalg.inv(tf.linalg.set_diag(inner, 1 + tf.linalg.diag_part(inner)))
    b = pi * f - pi * tf.reduce_sum(pi * f, axis=2, keepdims=True) + Y - pi
    c = tf.einsum("encs,esn->enc", E, tf.matmul(K, b))
    M = tf.linalg.cholesky(tf.reduce_sum(E, axis=1))
    shared = tf.linalg.cholesky_solve(M, tf.reduce_sum(c, axis=1)[:, :, None])
    return b - tf.linalg.matrix_transpose(c - tf.einsum("encs,es->enc", E, shared[:, :, 0]))


def logistic_regression(
    support: np.ndarray | tf.Tensor, query: np.ndarray | tf.Tensor, penalty: float = DEFAULT_PENALTY
) -> tf.Tensor:
    """Classifies each query by logistic regression on the support.

    Args:
        support: features `[E, N, K, d]`, any float dtype. Their squared lengths are weighed against λ.
        query: features `[E, M, d]`.
        penalty: λ, the weight of ‖W‖²/2, above 0; chosen on validation classes. scikit-learn's C is 1/λ.

    Returns:
        The way index of each query, int32 `[E, M]`.

    Raises:
        ValueError: if the shapes do not match, or features are not finite.
    """
    return classify(best_way(logistic_regression_scores), support, query, penalty=penalty)
