"""Projections of features onto the classifier's subspace and its complement, equations (8) to (11).

Everything is computed in float64: a float32 Gram matrix, or TF32, would lose W's small singular values.
"""

import numpy as np
import tensorflow as tf

from dsl_tf.losses.eigen import symmetric_eigen
from dsl_tf.losses.spectral_gradient import weighted_features


def complement_projection(
    x: np.ndarray | tf.Tensor,
    W: np.ndarray | tf.Tensor,
    epsilon: float = 1e-3,
    gradient_to_kernel: bool = False,
) -> tf.Tensor:
    """Projects features onto the complement of the classifier's subspace: x − W(WᵀW + εI)⁻¹Wᵀx, equation (8).

    Args:
        x: features `[n, d]`, any float dtype.
        W: classifier kernel `[d, C]` of any rank, including 0.
        epsilon: ε, the ridge added to the squared singular values of W. As ε → 0, this becomes the exact projection.
        gradient_to_kernel: whether gradients reach W; by default it is a constant here.

    Returns:
        Features `[n, d]`, float32 (float64 for float64 features).

    Raises:
        ValueError: if the shapes do not match or `epsilon` is negative.
    """
    x, W, dtype = _prepared(x, W, gradient_to_kernel)
    return tf.cast(x - _subspace_part(x, W, epsilon), dtype)


def classifier_projection(
    x: np.ndarray | tf.Tensor,
    W: np.ndarray | tf.Tensor,
    epsilon: float = 1e-3,
    gradient_to_kernel: bool = False,
) -> tf.Tensor:
    """Projects features onto the classifier's subspace span(W): W(WᵀW + εI)⁻¹Wᵀx, the part that equation (8) removes.

    Args and errors are those of `complement_projection`.

    Returns:
        Features `[n, d]`, float32 (float64 for float64 features).
    """
    x, W, dtype = _prepared(x, W, gradient_to_kernel)
    return tf.cast(_subspace_part(x, W, epsilon), dtype)


def spectral_projection(
    x: np.ndarray | tf.Tensor,
    W: np.ndarray | tf.Tensor,
    power: float,
    gradient_to_kernel: bool = False,
) -> tf.Tensor:
    """Reweights features along W's left singular vectors: W̃ diag(1 − λ̃ᵖ) W̃ᵀx, equations (9) to (11).

    A singular value λ up to max(d, C)·eps(float32)·λ_max counts as zero and leaves its direction unchanged for every
    power. Power 0 is therefore the exact projection onto the complement of span(W), and a zero W leaves x as it is.

    Args:
        x: features `[n, d]`, any float dtype.
        W: classifier kernel `[d, C]`, with any d and C.
        power: p ≥ 0; 0 to 1 in the paper.
        gradient_to_kernel: whether gradients reach W; by default it is a constant here.

    Returns:
        Features `[n, d]`, float32 (float64 for float64 features).

    Raises:
        ValueError: if the shapes do not match or `power` is negative.
    """
    if not power >= 0:
        raise ValueError(f"`power` must be at least 0 (the paper uses 0.1 to 0.5). Received: {power}")
    x, W, dtype = _prepared(x, W, gradient_to_kernel)
    # The tolerance of numpy.linalg.matrix_rank, for a kernel stored in float32.
    zero = max(W.shape) * np.finfo(np.float32).eps
    if gradient_to_kernel:
        return tf.cast(x - weighted_features(x, W, power, zero), dtype)
    basis, singular_values = _left_singular_vectors(W)  # (9)
    spectral_weights = tf.math.divide_no_nan(singular_values, tf.reduce_max(singular_values))  # (10)
    powers = tf.where(spectral_weights > zero, spectral_weights**power, 0)
    # (11). Directions that are missing in `basis` have λ = 0, so x keeps its components there.
    return tf.cast(x - tf.matmul(tf.matmul(x, basis) * powers, basis, transpose_b=True), dtype)


def _prepared(
    x: np.ndarray | tf.Tensor, W: np.ndarray | tf.Tensor, gradient_to_kernel: bool
) -> tuple[tf.Tensor, tf.Tensor, tf.DType]:
    """Returns x and W in float64, and the dtype of the result."""
    x, W = tf.convert_to_tensor(x), tf.convert_to_tensor(W)
    if x.shape.rank != 2 or W.shape.rank != 2 or x.shape[1] != W.shape[0]:
        raise ValueError(f"Expected features x [n, d] and a kernel W [d, C]. Received: x {x.shape}, W {W.shape}")
    if not gradient_to_kernel:
        W = tf.stop_gradient(W)
    dtype = tf.float64 if x.dtype == tf.float64 else tf.float32
    return tf.cast(x, tf.float64), tf.cast(W, tf.float64), dtype


def _subspace_part(x: tf.Tensor, W: tf.Tensor, epsilon: float) -> tf.Tensor:
    """W(WᵀW + εI)⁻¹Wᵀx by a C×C Cholesky factorisation."""
    if not epsilon >= 0:
        raise ValueError(f"`epsilon` must be at least 0 (the paper uses 1e-3). Received: {epsilon}")
    gram = tf.matmul(W, W, transpose_a=True)
    classes = W.shape[1]
    # An ε below float64 resolution could not keep a rank-deficient Gram matrix positive. The last term is for W = 0.
    resolution = classes * np.finfo(np.float64).eps * tf.reduce_sum(W**2) + np.finfo(np.float64).tiny
    ridge = tf.maximum(tf.constant(epsilon, tf.float64), tf.stop_gradient(resolution))
    cholesky = tf.linalg.cholesky(gram + ridge * np.eye(classes))
    return tf.matmul(tf.matmul(x, W), tf.linalg.cholesky_solve(cholesky, tf.transpose(W)))


def _left_singular_vectors(W: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """W = W̃ diag(λ) Vᵀ, equation (9), by an eigendecomposition of the smaller Gram matrix.

    WWᵀ = W̃ diag(λ²) W̃ᵀ if d ≤ C, WᵀW = V diag(λ²) Vᵀ and W̃ = WV/λ if d > C. In float64 that resolves singular
    values down to 1e-8 of the largest, a tenth of the cutoff, at a fraction of the cost of an SVD of W.

    Returns:
        W̃ `[d, m]` and λ `[m]` with m = min(d, C); a column whose λ is 0 may be 0.
    """
    if W.shape[0] <= W.shape[1]:
        squares, basis = symmetric_eigen(tf.matmul(W, W, transpose_b=True))
        return basis, tf.sqrt(tf.maximum(squares, 0))
    squares, right = symmetric_eigen(tf.matmul(W, W, transpose_a=True))
    singular_values = tf.sqrt(tf.maximum(squares, 0))
    return tf.math.divide_no_nan(tf.matmul(W, right), singular_values), singular_values
