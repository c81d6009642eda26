"""Eigenvectors of a symmetric matrix in full float64 precision, under XLA too.

XLA stops its eigenvalue iterations at about float32 precision relative to the largest eigenvalue, whatever the dtype.
Small eigenvalues, which decide the weights of the spectral sum, are then noise. Two steps recover them: matrix products
refine the eigenvectors (Ogita and Aishima, "Iterative refinement for symmetric eigenvalue decomposition", 2018), and
the block of small eigenvalues is rescaled and decomposed again.
"""

import numpy as np
import tensorflow as tf

# The largest coupling that is accepted without refinement. Without XLA, all are smaller.
_SETTLED = 1e-4
# Signs of the combinations of eigenvectors that are tested.
_PROBES = 4
# Each level resolves eigenvalues down to this fraction of the previous one; six reach float64 resolution.
_LEVEL = 1e-3
_LEVELS = 6


def symmetric_eigen(A: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Decomposes A = V diag(λ) Vᵀ.

    Args:
        A: a symmetric, positive semi-definite matrix, float64 `[m, m]`.

    Returns:
        The eigenvalues `[m]`, ascending up to rounding, and the eigenvectors `[m, m]`, one per column. No gradient
        flows through them.
    """
    A = tf.stop_gradient(A)
    eigenvalues, V = tf.linalg.eigh(A)
    # Without XLA, the result is accurate already and the loop body does not run.
    _, eigenvalues, V, _ = tf.while_loop(
        lambda level, eigenvalues, V, coupling: (level < _LEVELS) & (coupling > _SETTLED),
        lambda level, eigenvalues, V, _: (level + 1, *_refined(A, V, level)),
        (tf.constant(0), eigenvalues, V, _largest_coupling(A, V, eigenvalues)),
    )
    return tf.stop_gradient(eigenvalues), tf.stop_gradient(V)


def diagonal(S: tf.Tensor) -> tf.Tensor:
    """Returns the diagonal `[m]` of a matrix `[m, m]`."""
    # tf.linalg.diag_part reads its padding value on the host, which makes a GPU wait.
    return tf.reshape(S, [-1])[:: S.shape[0] + 1]


def diagonal_matrix(values: tf.Tensor) -> tf.Tensor:
    """Returns the matrix `[m, m]` with a diagonal `[m]`."""
    return values[:, None] * np.eye(values.shape[0])


def _in_basis(A: tf.Tensor, V: tf.Tensor) -> tf.Tensor:
    return tf.matmul(V, tf.matmul(A, V), transpose_a=True)


def _without_diagonal(S: tf.Tensor) -> tf.Tensor:
    return S * (1 - np.eye(S.shape[0]))


def _largest_coupling(A: tf.Tensor, V: tf.Tensor, eigenvalues: tf.Tensor) -> tf.Tensor:
    """Returns max_i |Σ_j z_j (VᵀAV − diag(λ))_ij / √|λ_i λ_j|| for fixed random signs z; 0 for an exact decomposition.

    It costs a few products with vectors, where all couplings would cost two products of matrices in every step.
    """
    sizes = tf.abs(eigenvalues)
    # Below float64 resolution nothing can be told, and the spectral sum counts such directions as zero.
    resolved = sizes > 1e-12 * tf.reduce_max(sizes)
    scale = tf.where(resolved, tf.math.rsqrt(tf.where(resolved, sizes, 1)), 0)[:, None]
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (A.shape[0], _PROBES))
    found = tf.matmul(V, tf.matmul(A, tf.matmul(V, scale * signs)), transpose_a=True)
    return tf.reduce_max(tf.abs(scale * (found - eigenvalues[:, None] * scale * signs)))


def _refined(A: tf.Tensor, V: tf.Tensor, level: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns refined eigenvalues and eigenvectors, and the remaining coupling."""
    V = _with_small_ones_separated(A, _polished(A, V), level)
    V = _polished(A, V)
    eigenvalues = diagonal(_in_basis(A, V))
    return eigenvalues, V, _largest_coupling(A, V, eigenvalues)


def _polished(A: tf.Tensor, V: tf.Tensor) -> tf.Tensor:
    """Two steps of Ogita and Aishima, V ← V + V E: each squares the error of eigenvectors of distinct eigenvalues."""
    for _ in range(2):
        R = np.eye(A.shape[0]) - tf.matmul(V, V, transpose_a=True)
        S = _in_basis(A, V)
        eigenvalues = diagonal(S) / (1 - diagonal(R))
        numerator = S + eigenvalues[None, :] * R
        gaps = eigenvalues[None, :] - eigenvalues[:, None]
        # Eigenvalues that differ by less than their error: any orthonormal basis will do, E = R/2.
        distinct = tf.abs(gaps) > 2 * tf.norm(_without_diagonal(numerator))
        V = V + tf.matmul(V, tf.where(distinct, numerator / tf.where(distinct, gaps, 1), R / 2))
    return V


def _with_small_ones_separated(A: tf.Tensor, V: tf.Tensor, level: tf.Tensor) -> tf.Tensor:
    """Decomposes the block of eigenvalues below a level again, in units of that level."""
    S = _in_basis(A, V)
    sizes = diagonal(S)
    unit = tf.reduce_max(sizes) * _LEVEL ** (tf.cast(level, A.dtype) + 1)
    small = sizes < unit
    block = tf.where(small[:, None] & small[None, :], S / tf.where(unit > 0, unit, 1), 0)
    # The other directions stay exactly separate: no entry couples them to the block, and their diagonals differ.
    count = A.shape[0]
    apart = tf.where(small, tf.zeros(count, A.dtype), 2 + np.arange(count) / count)
    return tf.matmul(V, tf.linalg.eigh(block + diagonal_matrix(apart))[1])
