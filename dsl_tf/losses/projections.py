"""Projections of features onto the classifier's subspace and its complement, equations (8) to (11).

With the singular value decomposition W = U diag(s) Vᵀ, span(W) is spanned by the columns of U whose s is not zero.
All is computed in float64: W's small singular values are lost in a float32 Gram matrix, and TF32 never applies.
"""

import numpy as np
import tensorflow as tf


def _prepare(x, W, gradient_to_kernel):
    """Returns x and W in float64, and the dtype of the result."""
    x, W = tf.convert_to_tensor(x), tf.convert_to_tensor(W)
    if x.shape.rank != 2 or W.shape.rank != 2 or x.shape[1] != W.shape[0]:
        raise ValueError(f"Expected features x [n, d] and a kernel W [d, C]. Received: x {x.shape}, W {W.shape}")
    if not gradient_to_kernel:
        W = tf.stop_gradient(W)
    dtype = tf.float64 if x.dtype == tf.float64 else tf.float32
    return tf.cast(x, tf.float64), tf.cast(W, tf.float64), dtype


def _subspace_part(x, W, epsilon):
    """W (WᵀW + εI)⁻¹ Wᵀ x, the subtrahend of equation (8), by a C×C Cholesky factorisation."""
    if not epsilon >= 0:
        raise ValueError(f"`epsilon` must be at least 0 (the paper takes 1e-3). Received: {epsilon}")
    gram = tf.matmul(W, W, transpose_a=True)
    classes = W.shape[1]
    # Under float64's resolution ε could not keep a rank-deficient Gram matrix positive; the last term serves W = 0.
    resolution = classes * np.finfo(np.float64).eps * tf.linalg.trace(gram) + np.finfo(np.float64).tiny
    ridge = tf.maximum(tf.constant(epsilon, tf.float64), tf.stop_gradient(resolution))
    cholesky = tf.linalg.cholesky(gram + ridge * tf.eye(classes, dtype=tf.float64))
    return tf.matmul(tf.matmul(x, W), tf.linalg.cholesky_solve(cholesky, tf.transpose(W)))


def complement_projection(
    x: np.ndarray | tf.Tensor,
    W: np.ndarray | tf.Tensor,
    epsilon: float = 1e-3,
    gradient_to_kernel: bool = False,
) -> tf.Tensor:
    """Projects features onto the complement of the classifier's subspace, equation (8) of the paper.

    Args:
        x: features `[n, d]`, any float dtype.
        W: classifier kernel `[d, C]`; any rank, zero included.
        epsilon: the ridge added to the squared singular values of W; towards 0 this is the exact projector.
        gradient_to_kernel: whether gradients reach W; by default it is a constant here.

    Returns:
        Features `[n, d]`, float32 (float64 for float64 features).

    Raises:
        ValueError: where the shapes do not fit or epsilon is negative.
    """
    x, W, dtype = _prepare(x, W, gradient_to_kernel)
    return tf.cast(x - _subspace_part(x, W, epsilon), dtype)


def classifier_projection(
    x: np.ndarray | tf.Tensor,
    W: np.ndarray | tf.Tensor,
    epsilon: float = 1e-3,
    gradient_to_kernel: bool = False,
) -> tf.Tensor:
    """Projects features onto the classifier's subspace span(W), what `complement_projection` takes away.

    Args and errors are those of `complement_projection`.

    Returns:
        Features `[n, d]`, float32 (float64 for float64 features).
    """
    x, W, dtype = _prepare(x, W, gradient_to_kernel)
    return tf.cast(_subspace_part(x, W, epsilon), dtype)


def _divided_differences(eigenvalues, exponent):
    """(a^q − b^q) / (a − b) for all pairs of positive eigenvalues `[m]`; q·a^(q−1) where a = b."""
    a, b = eigenvalues[:, None], eigenvalues[None, :]
    ratio = tf.math.log(a) - tf.math.log(b)
    # expm1 keeps the quotient exact for near-equal eigenvalues, where the plain difference would cancel.
    apart = tf.abs(ratio) > 1e-12
    quotient = tf.math.expm1(exponent * ratio) / tf.math.expm1(tf.where(apart, ratio, 1))
    return b ** (exponent - 1) * tf.where(apart, quotient, exponent)


def _spectral_weights(gram, power, cutoff, inner):
    """A function of a symmetric matrix: its eigenvalues become the spectral weights of equation (10), to the power p.

    Args:
        gram: `[m, m]`, WWᵀ, or WᵀW where `inner`.
        power: p.
        cutoff: the share of the largest eigenvalue up to which an eigenvalue counts as zero, and has weight 0.
        inner: whether to divide the weights by the eigenvalues, so that W·result·Wᵀ has the weights themselves.

    Returns:
        `[m, m]`. Its gradient is that of Daleckii and Krein: divided differences of the function of the
        eigenvalues, finite where they repeat, unlike the gradient of eigenvectors.
    """
    # (s/s_max)^p = (λ/λ_max)^(p/2), and with the inner division (λ/λ_max)^(p/2 − 1) / λ_max.
    exponent = power / 2 - (1 if inner else 0)

    @tf.custom_gradient
    def weights_of(gram):
        eigenvalues, vectors = tf.linalg.eigh(gram)
        largest = eigenvalues[-1]
        active = eigenvalues > cutoff * largest
        # In units of the largest, whose own power would overflow for large p.
        unit = tf.where(largest > 0, largest, 1)
        positive = tf.where(active, eigenvalues / unit, 1)
        scale = 1 / unit if inner else tf.ones_like(unit)
        weights = tf.where(active, scale * positive**exponent, 0)

        def gradient(upstream):
            inside = tf.matmul(vectors, tf.matmul((upstream + tf.transpose(upstream)) / 2, vectors), transpose_a=True)
            differences = scale / unit * _divided_differences(positive, exponent)
            # Between an active eigenvalue and a zero one: (weight − 0) / (λ − 0). Inside W·result·Wᵀ it meets
            # W's null space, and vanishes.
            against_zero = tf.zeros_like(weights) if inner else weights / (positive * unit)
            both = active[:, None] & active[None, :]
            differences = tf.where(both, differences, tf.maximum(against_zero[:, None], against_zero[None, :]))
            differences = tf.where(active[:, None] | active[None, :], differences, 0)
            # The largest eigenvalue also scales every weight; where it repeats, its copies share that.
            top = tf.cast(active & (eigenvalues >= largest * (1 - 1e-12)), gram.dtype)
            through_largest = -power / 2 * tf.reduce_sum(weights * tf.linalg.diag_part(inside))
            through_largest = tf.math.divide_no_nan(through_largest, largest * tf.reduce_sum(top))
            core = differences * inside + tf.linalg.diag(through_largest * top)
            return tf.matmul(vectors, tf.matmul(core, vectors, transpose_b=True))

        return tf.matmul(vectors * weights, vectors, transpose_b=True), gradient

    return weights_of(gram)


def spectral_projection(
    x: np.ndarray | tf.Tensor,
    W: np.ndarray | tf.Tensor,
    power: float,
    gradient_to_kernel: bool = False,
) -> tf.Tensor:
    """Reweights features by 1 − (s/s_max)^p along W's left singular vectors, equations (9) to (11) of the paper.

    A singular value s up to max(d, C)·eps(float32)·s_max counts as zero and leaves its direction unchanged for every
    power. Power 0 is therefore the exact projection onto the complement of span(W), and a zero W leaves x as it is.

    Args:
        x: features `[n, d]`, any float dtype.
        W: classifier kernel `[d, C]`, d and C in any relation.
        power: p ≥ 0; the paper takes 0 to 1.
        gradient_to_kernel: whether gradients reach W; by default it is a constant here.

    Returns:
        Features `[n, d]`, float32 (float64 for float64 features).

    Raises:
        ValueError: where the shapes do not fit or the power is negative.
    """
    if not power >= 0:
        raise ValueError(f"`power` must be at least 0 (the paper takes 0.1 to 0.5). Received: {power}")
    x, W, dtype = _prepare(x, W, gradient_to_kernel)
    cutoff = (max(W.shape) * np.finfo(np.float32).eps) ** 2
    # The smaller Gram matrix has all of W's non-zero singular values: WWᵀ where d ≤ C, WᵀW where d > C.
    if W.shape[0] <= W.shape[1]:
        weighted = tf.matmul(x, _spectral_weights(tf.matmul(W, W, transpose_b=True), power, cutoff, inner=False))
    else:
        inner = _spectral_weights(tf.matmul(W, W, transpose_a=True), power, cutoff, inner=True)
        weighted = tf.matmul(tf.matmul(tf.matmul(x, W), inner), W, transpose_b=True)
    return tf.cast(x - weighted, dtype)
