"""The few-shot classifiers on one task, with probabilities; each class may have its own number of support images."""

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from dsl_tf.evaluation.classification import as_task
from dsl_tf.evaluation.laplacian_shot import DEFAULT_LAM, propagated_assignments
from dsl_tf.evaluation.nearest_centroid import centroid_scores
from dsl_tf.evaluation.numbers import check_visible
from dsl_tf.evaluation.precision import true_float32


@true_float32()
def nearest_centroid_probabilities(support: npt.ArrayLike, labels: npt.ArrayLike, query: npt.ArrayLike) -> np.ndarray:
    """Computes softmax(−‖q − c‖²) of each query over the class means.

    Args:
        support: features `[S, d]`, any float dtype.
        labels: their classes 0..N−1, integers `[S]`; each class occurs, in any number.
        query: features `[M, d]`.

    Returns:
        The probabilities of the classes, float64 `[M, N]`.

    Raises:
        ValueError: if the shapes or labels do not match, or features are not finite.
    """
    support, query, counts = as_task(support, labels, query)
    members = [support[:, np.asarray(labels) == way] for way in range(len(counts))]
    centroids = tf.stack([tf.reduce_mean(vectors, axis=1) for vectors in members], axis=1)
    # In float32 the probabilities of near classes would round to equal ones, and the first instead of the nearest win.
    return tf.nn.softmax(-tf.cast(centroid_scores(centroids, query), tf.float64)).numpy()[0]


@true_float32()
def laplacian_shot_probabilities(
    support: npt.ArrayLike,
    labels: npt.ArrayLike,
    query: npt.ArrayLike,
    knn: int = 3,
    lam: float = DEFAULT_LAM,
    rectify: bool = True,
    iterations: int = 20,
) -> np.ndarray:
    """Computes LaplacianShot's final assignments Y of all queries together.

    It holds several arrays `[S + M, S + M]`: 10,000 queries take about 2 GB.

    Args:
        support: features `[S, d]`, any float dtype.
        labels: their classes 0..N−1, integers `[S]`; each class occurs, in any number.
        query: features `[M, d]`.
        knn, lam, rectify, iterations: as in `laplacian_shot`.

    Returns:
        The probabilities of the classes, float64 `[M, N]`.

    Raises:
        ValueError: if the shapes or labels do not match, `knn` is below 1, or features are not finite or all below
            1e-9.
    """
    support, query, counts = as_task(support, labels, query)
    check_visible(support=support, query=query)
    means = (np.asarray(labels) == np.arange(len(counts))[:, None]) / counts[:, None]
    means = tf.constant(means[None], support.dtype)
    assignments = propagated_assignments(tf.constant(support), query, means, knn, lam, rectify, iterations)
    return assignments.numpy()[0].astype(np.float64)
