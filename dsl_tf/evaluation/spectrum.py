"""The classifier's singular values and what the spectral sum makes of them, equations (9) to (11)."""

import numpy as np
import numpy.typing as npt

from dsl_tf.evaluation.numbers import check_finite


def singular_values(W: npt.ArrayLike) -> np.ndarray:
    """Returns the singular values of a classifier kernel, equation (9).

    Args:
        W: classifier kernel `[d, C]`.

    Returns:
        float64 `[d]`, descending; where d > C the last d − C are the zeros that the paper pads.

    Raises:
        ValueError: if W is no matrix or not finite.
    """
    W = np.asarray(W).astype(np.float64)
    if W.ndim != 2 or not W.size:
        raise ValueError(f"Expected a kernel [d, C]. Received: {W.shape}")
    check_finite(W=W)
    values = np.linalg.svd(W, compute_uv=False)
    return np.pad(values, (0, len(W) - len(values)))


def spectral_weights(W: npt.ArrayLike, power: float) -> np.ndarray:
    """Returns the weights 1 − λ̃^p that the spectral sum gives the directions of W's singular values, equation (11).

    They are the weights of `dsl_tf.losses.spectral_projection`, with its rule for zeros: a singular value up to
    max(d, C)·eps(float32)·the largest has weight 1 for every power, and so has every direction of a zero W.

    Args:
        W: classifier kernel `[d, C]`.
        power: p ≥ 0; 0 gives the direct sum's weights, 0 in span(W) and 1 in its complement.

    Returns:
        float64 `[d]` from 0 to 1, in the order of `singular_values`.

    Raises:
        ValueError: if W is no matrix or not finite, or the power is negative.
    """
    if not power >= 0:
        raise ValueError(f"`power` must be at least 0 (the paper takes 0.1 to 0.5). Received: {power}")
    values = singular_values(W)
    active = values > max(np.shape(W)) * np.finfo(np.float32).eps * values[0]
    normalized = np.divide(values, values[0], out=np.ones_like(values), where=active)
    return np.where(active, 1 - normalized**power, 1.0)
