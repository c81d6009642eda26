"""The discriminant score of Table 1."""

import numpy as np
import tensorflow as tf

from dsl_tf.evaluation.numbers import check_finite
from dsl_tf.losses.projections import spectral_projection


def discriminant_score(x: np.ndarray, y: np.ndarray) -> float:
    """Measures how far classes lie apart: tr(between-class scatter) / tr(total scatter), σ_B/σ_T of Table 1.

    Args:
        x: features `[n, d]`.
        y: integer labels `[n]`.

    Returns:
        A float from 0 to 1; 0 if all features are the same.

    Raises:
        UserError: if features are not finite.
    """
    check_finite(x=x)
    x = np.asarray(x, np.float64)
    # The mean of identical features need not be those features, rounded; their distance from the first one is 0.
    x = x - x[0]
    x = x - x.mean(axis=0)
    _, y, counts = np.unique(y, return_inverse=True, return_counts=True)
    sums = np.zeros((len(counts), x.shape[1]))
    np.add.at(sums, y, x)
    between = (sums**2 / counts[:, None]).sum()
    total = (x**2).sum()
    return float(min(between / total, 1.0)) if total > 0 else 0.0


def subspace_features(x: np.ndarray, W: np.ndarray | tf.Tensor) -> dict[str, np.ndarray]:
    """Divides features into their parts in the classifier's subspace span(W) and in its complement.

    Args:
        x: features `[n, d]`.
        W: classifier kernel `[d, C]`.

    Returns:
        `{"classifier_subspace": part, "complement": part}`, float64 `[n, d]`; their sum is x.

    Raises:
        UserError: if features or kernel are not finite.
    """
    check_finite(x=x, W=W)
    x = np.asarray(x, np.float64)
    complement = spectral_projection(x, W, power=0.0).numpy()
    return {"classifier_subspace": x - complement, "complement": complement}


def subspace_scores(x: np.ndarray, y: np.ndarray, W: np.ndarray | tf.Tensor) -> dict[str, float]:
    """Measures the discriminant score in the classifier's subspace span(W) and in its complement, as in Table 1.

    Args:
        x: features `[n, d]`.
        y: integer labels `[n]`.
        W: classifier kernel `[d, C]`.

    Returns:
        The scores `classifier_subspace` and `complement`, a dict; 0 for a part that holds nothing of the features, such
        as the complement if d ≤ C.

    Raises:
        UserError: if features or kernel are not finite.
    """
    check_finite(x=x, W=W)
    x = np.asarray(x, np.float64)
    # What rounding leaves in an empty part would have a score of its own; features have float32's resolution.
    smallest = np.finfo(np.float32).eps ** 2 * (x**2).sum()
    x = x - x.mean(axis=0)
    parts = subspace_features(x, W)
    return {name: discriminant_score(part, y) if (part**2).sum() > smallest else 0.0 for name, part in parts.items()}
