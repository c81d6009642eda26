"""Feature transforms before a few-shot classifier (Wang et al., SimpleShot, the paper's [31])."""

import numpy as np

from dsl_tf.errors import UserError
from dsl_tf.evaluation.numbers import check_finite

FEATURE_TRANSFORMS = ("none", "l2", "cl2")

# Largest absolute values of features that keep float32's precision.
_SMALLEST, _LARGEST = 2.0**-100, 2.0**120


def transform_features(x: np.ndarray, kind: str, mean: np.ndarray | None = None) -> np.ndarray:
    """Transforms features.

    Args:
        x: features `[..., d]`, any float dtype.
        kind: `"none"`, `"l2"` (divide by the Euclidean norm) or `"cl2"` (subtract `mean` first).
        mean: the mean of the training features `[d]`, for `"cl2"`.

    Returns:
        float32 `[..., d]`, or float64 where float32 cannot hold features in float64. A zero vector stays zero.

    Raises:
        UserError: for an unknown kind, `"cl2"` without a mean or with one of another dimension, or if features or mean
            are not finite.
    """
    if kind not in FEATURE_TRANSFORMS:
        raise UserError(f"A feature transform must be one of {', '.join(FEATURE_TRANSFORMS)}. Received: {kind!r}.")
    # The squares of features beyond 1e19 would overflow in float32.
    x = np.asarray(x, np.float64)
    largest = check_finite(x=x)
    if kind == "cl2":
        if mean is None:
            raise UserError("Feature transform cl2 needs the training features' `mean`. Received: None.")
        if np.shape(mean) != x.shape[-1:]:
            raise UserError(f"`mean` must have the features' shape [{x.shape[-1]}]. Received: {list(np.shape(mean))}.")
        check_finite(mean=mean)
        x = x - np.asarray(mean, np.float64)
    if kind != "none":
        norm = np.linalg.norm(x, axis=-1, keepdims=True)
        x = x / np.where(norm > 0, norm, 1)
    elif largest and not _SMALLEST <= largest <= _LARGEST:
        return x
    return x.astype(np.float32)
