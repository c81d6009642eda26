"""Retrieval: how often the nearest other images are of an image's own class."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from dsl_tf.errors import UserError
from dsl_tf.evaluation.numbers import computing_dtype
from dsl_tf.evaluation.precision import true_float32

# Bytes for a block of queries; larger blocks were not faster.
_BLOCK_BYTES = 2**28


def _centred(features: np.ndarray) -> np.ndarray:
    """Returns features `[n, d]` measured from the one nearest to their mean, the largest about 1.

    They are float32, or float64 where float32 may not hold the squares of the features. Far from the origin |x|² − 2qx
    would cancel. The mean itself would do as well, but its rounding could tell equal distances of integers apart.
    """
    dtype = computing_dtype(features=features)
    features = features if features.dtype == np.float64 else features.astype(dtype, copy=False)
    mean = features.mean(axis=0, dtype=np.float64).astype(features.dtype)
    # One array all along: features may fill half of the memory.
    centred = features - mean
    centre = features[np.einsum("nd,nd->n", centred, centred).argmin()]
    np.subtract(features, centre, out=centred)
    # A power of 2 changes no mantissa; squares of very large or small features would leave float32's range.
    _, exponent = np.frexp(max(centred.max(), -centred.min()))
    np.ldexp(centred, -exponent, out=centred)
    return centred.astype(dtype, copy=False)


@tf.function(reduce_retracing=True)
def _is_relevant(
    features: tf.Tensor, squares: tf.Tensor, labels: tf.Tensor, positions: tf.Tensor, count: tf.Tensor
) -> tf.Tensor:
    """Whether the nearest `count` others of the queries at `positions [b]` are of their class, bool `[b, count]`."""
    # The query's own square is the same for all others.
    closeness = tf.matmul(2 * tf.gather(features, positions), features, transpose_b=True) - squares
    itself = tf.range(tf.shape(features)[0]) == positions[:, None]
    closeness = tf.where(itself, tf.constant(-np.inf, closeness.dtype), closeness)
    _, neighbours = tf.math.top_k(closeness, count)
    return tf.gather(labels, neighbours) == tf.gather(labels, positions)[:, None]


@true_float32()
def retrieval_metrics(
    features: npt.ArrayLike, labels: npt.ArrayLike, ks: Sequence[int] = (1, 2, 4, 8), block: int | None = None
) -> dict[str, float]:
    """Measures retrieval in which every image queries all others, by Euclidean distance.

    The distances are float32's, of features measured from their middle: what differs by less than about 1e-7 of the
    features' squared spread counts as equal or either way. Of equal distances the image that comes first in
    `features` is the nearer. Images without another one of their class are no queries, but are found by others.

    Memory: three float32 copies of the features, and about block·(12·n + 30·m) bytes for n images and their m nearest,
    m the largest class or k; never n².

    Args:
        features: `[n, d]`, any float dtype.
        labels: integers `[n]`.
        ks: the numbers of nearest images among which recall looks for one of the class.
        block: queries at a time; None for as many as take 256 MB.

    Returns:
        A dict of floats from 0 to 1. `"recall_at_k"` for each k: the share of queries with an image of their class
        among the k nearest. `"map_at_r"`: the mean over queries of Σ precision@i / R over those ranks i ≤ R that
        hold an image of the query's class, which has R others (Musgrave et al. 2020, "A Metric Learning Reality
        Check").

    Raises:
        ValueError: if the shapes do not match or a k is less than 1.
        UserError: if no class has two images, or features are not finite.
    """
    features, labels = np.asarray(features), np.asarray(labels)
    if features.ndim != 2 or labels.shape != features.shape[:1]:
        raise ValueError(
            f"Expected features [n, d] and labels [n]. Received: features {features.shape}, labels {labels.shape}"
        )
    if not ks or min(ks) < 1:
        raise ValueError(f"`ks` must be numbers of images from 1. Received: {ks}")
    _, labels, counts = np.unique(labels, return_inverse=True, return_counts=True)
    others = counts[labels] - 1
    # Queries of large classes last: only their blocks rank that many.
    queries = np.argsort(others, kind="stable")
    queries = queries[others[queries] > 0]
    if not len(queries):
        raise UserError(
            f"Retrieval needs a class of at least 2 images. Received: {len(labels)} images of {len(counts)} classes."
        )
    centred = _centred(features)
    images = len(centred)
    block = block or max(1, _BLOCK_BYTES // (12 * images + 30 * max(others.max(), *ks)))
    centred = tf.convert_to_tensor(centred)
    squares = tf.reduce_sum(centred**2, axis=1)
    labels = tf.constant(labels, tf.int32)
    found, precisions = np.zeros(len(ks), np.int64), 0.0
    for start in range(0, len(queries), block):
        positions = queries[start : start + block]
        count = min(images - 1, max(others[positions].max(), *ks))
        relevant = _is_relevant(
            centred, squares, labels, tf.constant(positions, tf.int32), tf.constant(count, tf.int32)
        ).numpy()
        found += [relevant[:, :k].any(axis=1).sum() for k in ks]
        ranks = np.arange(1, count + 1)
        relevant &= ranks <= others[positions, None]
        precision = np.cumsum(relevant, axis=1, dtype=np.float64)
        precision /= ranks
        precisions += (precision.sum(axis=1, where=relevant) / others[positions]).sum()
    recalls = {f"recall_at_{k}": float(total / len(queries)) for k, total in zip(ks, found, strict=True)}
    return {**recalls, "map_at_r": float(precisions / len(queries))}
