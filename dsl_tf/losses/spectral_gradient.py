"""Equations (9) to (11) with a gradient that reaches W, for `gradient_to_kernel`.

If singular values repeat, the gradient of the singular vectors is infinite, but that of the weighted features is not.
So the weighting is computed as one function of W's Gram matrix, with the derivative of Daleckii and Krein: divided
differences of the function of the eigenvalues.
"""

from collections.abc import Callable

import tensorflow as tf

from dsl_tf.losses.eigen import diagonal, diagonal_matrix, symmetric_eigen


def weighted_features(x: tf.Tensor, W: tf.Tensor, power: float, zero: float) -> tf.Tensor:
    """Computes W̃ diag(λ̃ᵖ) W̃ᵀx, what equation (11) subtracts from x, differentiable in x and W.

    Args:
        x: features, float64 `[n, d]`.
        W: classifier kernel, float64 `[d, C]`.
        power: p.
        zero: singular values up to this fraction of the largest one count as zero and get weight 0.

    Returns:
        float64 `[n, d]`.
    """
    # The smaller Gram matrix has all of W's non-zero singular values.
    if W.shape[0] <= W.shape[1]:
        return tf.matmul(x, _powers_of_weights(tf.matmul(W, W, transpose_b=True), power, zero**2, inner=False))
    inner = _powers_of_weights(tf.matmul(W, W, transpose_a=True), power, zero**2, inner=True)
    return tf.matmul(tf.matmul(tf.matmul(x, W), inner), W, transpose_b=True)


def _divided_differences(eigenvalues: tf.Tensor, exponent: float) -> tf.Tensor:
    """(a^q − b^q) / (a − b) for all pairs of positive eigenvalues `[m]`; q·a^(q−1) if a = b."""
    a, b = eigenvalues[:, None], eigenvalues[None, :]
    ratio = tf.math.log(a) - tf.math.log(b)
    # expm1 keeps the quotient exact for near-equal eigenvalues, where the plain difference would cancel.
    apart = tf.abs(ratio) > 1e-12
    quotient = tf.math.expm1(exponent * ratio) / tf.math.expm1(tf.where(apart, ratio, 1))
    return b ** (exponent - 1) * tf.where(apart, quotient, exponent)


def _powers_of_weights(gram: tf.Tensor, power: float, cutoff: float, inner: bool) -> tf.Tensor:
    """Replaces the eigenvalues λ² of a symmetric matrix by λ̃ᵖ.

    Args:
        gram: `[m, m]`, WWᵀ, or WᵀW if `inner`.
        power: p.
        cutoff: eigenvalues up to this fraction of the largest one count as zero and get weight 0.
        inner: whether to divide the weights by the eigenvalues, so that W·result·Wᵀ has eigenvalues λ̃ᵖ.

    Returns:
        `[m, m]`, with a finite gradient even if eigenvalues repeat.
    """
    # With the eigenvalues e = λ²: λ̃ᵖ = (e/e_max)^(p/2), and with the inner division (e/e_max)^(p/2 − 1) / e_max.
    exponent = power / 2 - (1 if inner else 0)

    @tf.custom_gradient
    def weights_of(gram: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        eigenvalues, vectors = symmetric_eigen(gram)
        largest = tf.reduce_max(eigenvalues)
        active = eigenvalues > cutoff * largest
        # Relative to the largest eigenvalue, because its power would overflow for large p.
        unit = tf.where(largest > 0, largest, 1)
        positive = tf.where(active, eigenvalues / unit, 1)
        scale = 1 / unit if inner else tf.ones_like(unit)
        weights = tf.where(active, scale * positive**exponent, 0)

        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            inside = tf.matmul(vectors, tf.matmul((upstream + tf.transpose(upstream)) / 2, vectors), transpose_a=True)
            differences = scale / unit * _divided_differences(positive, exponent)
            # Between an active eigenvalue and a zero one: (weight − 0) / (e − 0). Within W·result·Wᵀ, it meets
            # W's null space, and vanishes.
            against_zero = tf.zeros_like(weights) if inner else weights / (positive * unit)
            both = active[:, None] & active[None, :]
            differences = tf.where(both, differences, tf.maximum(against_zero[:, None], against_zero[None, :]))
            differences = tf.where(active[:, None] | active[None, :], differences, 0)
            # The largest eigenvalue also scales every weight; if it repeats, its copies share this gradient.
            top = tf.cast(active & (eigenvalues >= largest * (1 - 1e-12)), gram.dtype)
            through_largest = -power / 2 * tf.reduce_sum(weights * diagonal(inside))
            through_largest = tf.math.divide_no_nan(through_largest, largest * tf.reduce_sum(top))
            core = differences * inside + diagonal_matrix(through_largest * top)
            return tf.matmul(vectors, tf.matmul(core, vectors, transpose_b=True))

        return tf.matmul(vectors * weights, vectors, transpose_b=True), gradient

    return weights_of(gram)
