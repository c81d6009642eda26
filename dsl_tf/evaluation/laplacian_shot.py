"""LaplacianShot, the paper's transductive few-shot classifier.

Ziko, Dolz, Granger and Ben Ayed, "Laplacian regularized few-shot learning", ICML 2020 (the paper's [33]). All that it
asks of an episode's vectors is a function of their inner products: one batched matrix product, then small arrays.
"""

import math

import numpy as np
import tensorflow as tf

from dsl_tf.evaluation.nearest_centroid import as_episodes
from dsl_tf.evaluation.precision import true_float32

# Sharpness of the softmax over cosines that weights a vector in the rectified prototypes.
_COSINE_SCALE = 10.0
# The energy has settled when it moves by less than this share, from the third update on.
_SETTLED = 1e-6
# λ if no validation classes are there to choose it.
DEFAULT_LAM = 0.7


def _rectified(means, support_gram, cross_gram, query_gram):
    """Shifts queries onto the support's mean and moves each prototype to the mean of the vectors most similar to it.

    Args:
        means: the class means as combinations of the support vectors `[E, N, S]`.
        support_gram, cross_gram, query_gram: inner products of support with support `[E, S, S]`, query with support
            `[E, M, S]` and query with query `[E, M, M]`.

    Returns:
        Squared distances of the queries to the prototypes `[E, M, N]`.
    """
    # δ = mean(support) − mean(query), and its inner products with supports, queries and itself. To shift the Gram
    # matrices would cost more than all that follows.
    support_shift = tf.reduce_mean(support_gram, axis=2) - tf.reduce_mean(cross_gram, axis=1)
    query_shift = tf.reduce_mean(cross_gram, axis=2) - tf.reduce_mean(query_gram, axis=2)
    shift_square = (tf.reduce_mean(support_shift, axis=1) - tf.reduce_mean(query_shift, axis=1))[:, None]
    query_squares = tf.linalg.diag_part(query_gram) + 2 * query_shift + shift_square

    # |q + δ|² and (q + δ)·p = q·p + δ·p with the class means as prototypes.
    products = tf.matmul(support_gram, means, transpose_b=True)
    prototype_squares = tf.reduce_sum(means * tf.linalg.matrix_transpose(products), axis=2)
    query_products = tf.matmul(cross_gram, means, transpose_b=True) + tf.linalg.matvec(means, support_shift)[:, None, :]
    products = tf.concat([products, query_products], axis=1)
    squares = tf.concat([tf.linalg.diag_part(support_gram), query_squares], axis=1)
    lengths = tf.sqrt(tf.maximum(squares, 0))[:, :, None] * tf.sqrt(tf.maximum(prototype_squares, 0))[:, None, :]
    cosines = tf.math.divide_no_nan(products, lengths)

    nearest = tf.one_hot(tf.argmax(cosines, axis=2), tf.shape(means)[1], dtype=cosines.dtype)
    weights = tf.linalg.matrix_transpose(nearest * tf.nn.softmax(_COSINE_SCALE * cosines))
    counts = tf.reduce_sum(nearest, axis=1)[:, :, None]
    supports, queries = tf.shape(means)[2], tf.shape(query_squares)[1]
    weights = tf.math.divide_no_nan(weights, counts)
    # A prototype that no vector is nearest to has no mean to move to.
    weights = tf.where(counts > 0, weights, tf.pad(means, [[0, 0], [0, 0], [0, queries]]))
    from_support, from_query = weights[:, :, :supports], weights[:, :, supports:]

    # Each query brings the shift with it into a prototype.
    shifts = tf.reduce_sum(from_query, axis=2)
    shift_products = tf.linalg.matvec(from_support, support_shift) + tf.linalg.matvec(from_query, query_shift)
    shift_products += shifts * shift_square
    support_products = (
        tf.matmul(support_gram, from_support, transpose_b=True)
        + tf.matmul(cross_gram, from_query, transpose_a=True, transpose_b=True)
        + support_shift[:, :, None] * shifts[:, None, :]
    )
    query_products = (
        tf.matmul(cross_gram, from_support, transpose_b=True)
        + tf.matmul(query_gram, from_query, transpose_b=True)
        + query_shift[:, :, None] * shifts[:, None, :]
        + shift_products[:, None, :]
    )
    prototype_squares = tf.reduce_sum(from_support * tf.linalg.matrix_transpose(support_products), axis=2)
    prototype_squares += tf.reduce_sum(from_query * tf.linalg.matrix_transpose(query_products), axis=2)
    return query_squares[:, :, None] + prototype_squares[:, None, :] - 2 * query_products


def _distances_to_means(means, support_gram, cross_gram, query_gram):
    """Returns squared distances of the queries to the class means `[E, M, N]`; arguments as in `_rectified`."""
    products = tf.matmul(support_gram, means, transpose_b=True)
    prototype_squares = tf.reduce_sum(means * tf.linalg.matrix_transpose(products), axis=2)
    query_products = tf.matmul(cross_gram, means, transpose_b=True)
    return tf.linalg.diag_part(query_gram)[:, :, None] + prototype_squares[:, None, :] - 2 * query_products


def _neighbours(gram, count):
    """Returns where each query's nearest other queries stand in the flattened `[E · M]` queries, `[count, E · M]`."""
    squares = tf.linalg.diag_part(gram)
    episodes, queries = tf.unstack(tf.shape(squares))
    # Largest where −|q − q'|² / 2 is; the row's own |q|² does not change its order.
    nearness = tf.linalg.set_diag(gram - squares[:, None, :] / 2, tf.fill(tf.shape(squares), -math.inf))

    def take_nearest(step, nearness, taken):
        nearest = tf.argmax(nearness, axis=2, output_type=tf.int32)
        left = nearness + tf.one_hot(nearest, queries, on_value=-math.inf, off_value=0.0)
        return step + 1, left, taken.write(step, nearest)

    # One maximum after the other: for the few neighbours of the method this is faster than a partial sort.
    taken = tf.TensorArray(tf.int32, size=count, element_shape=squares.shape)
    taken = tf.while_loop(lambda step, *_: step < count, take_nearest, (0, nearness, taken))[2].stack()
    return tf.reshape(taken + tf.range(episodes)[:, None] * queries, [count, -1])


def _propagated(unary, neighbours, lam, iterations):
    """Minimises the energy Σ Y·log Y + a·Y − λ·(W·Y)·Y of each episode, from Y = softmax(−a) on.

    Args:
        unary: a, squared distances to the prototypes `[E, M, N]`.
        neighbours: as `_neighbours` returns them.
        lam: λ.
        iterations: the most updates.

    Returns:
        Y, `[E, M, N]`.
    """
    shape = tf.shape(unary)

    def affinity_times(assignments):
        # W has knn − 1 ones per row: a gather, not a matrix product.
        rows = tf.gather(tf.reshape(assignments, [-1, shape[2]]), neighbours)
        return tf.reshape(tf.reduce_sum(rows, axis=0), shape)

    def update(step, assignments, pairwise, energy, settled):
        scores = lam * pairwise - unary
        log_assignments = tf.nn.log_softmax(scores)
        # Episodes that have settled continue with the rest: stopping them would cost more, and they hardly move.
        updated = tf.exp(log_assignments)
        pairwise = affinity_times(updated)
        moved = tf.reduce_sum(updated * (log_assignments + unary - lam * pairwise), axis=[1, 2])
        settles = (step >= 2) & (tf.abs(moved - energy) <= _SETTLED * tf.abs(energy))
        return step + 1, updated, pairwise, moved, settled | settles

    start = tf.nn.softmax(-unary)
    state = (0, start, affinity_times(start), tf.zeros(shape[:1], unary.dtype), tf.zeros(shape[:1], tf.bool))
    return tf.while_loop(
        lambda step, *others: (step < iterations) & ~tf.reduce_all(others[-1]), update, state, parallel_iterations=1
    )[1]


def propagated_assignments(support, query, means, knn, lam, rectify, iterations):
    """Assigns each episode's queries to its ways, whatever the number of support vectors of each.

    Args:
        support: features float32 `[E, S, d]`.
        query: features float32 `[E, M, d]`.
        means: the class means as combinations of the support vectors, float32 `[E, N, S]`.
        knn, lam, rectify, iterations: as in `laplacian_shot`.

    Returns:
        Y, the probabilities of the ways, float32 `[E, M, N]`.

    Raises:
        ValueError: if `knn` is below 1.
    """
    if knn < 1:
        raise ValueError(f"`knn` counts the query itself and must be at least 1. Received: {knn}")
    support_gram = tf.matmul(support, support, transpose_b=True)
    cross_gram = tf.matmul(query, support, transpose_b=True)
    query_gram = tf.matmul(query, query, transpose_b=True)
    distances = _rectified if rectify else _distances_to_means
    unary = distances(means, support_gram, cross_gram, query_gram)
    # The shift moves all queries alike and leaves their distances as they are.
    neighbours = _neighbours(query_gram, tf.minimum(knn, tf.shape(query)[1]) - 1)
    return _propagated(tf.maximum(unary, 0), neighbours, lam, iterations)


@true_float32()
def laplacian_shot(
    support: np.ndarray | tf.Tensor,
    query: np.ndarray | tf.Tensor,
    knn: int = 3,
    lam: float = DEFAULT_LAM,
    rectify: bool = True,
    iterations: int = 20,
) -> tf.Tensor:
    """Classifies each episode's queries together: near queries tend to get the same way.

    Args:
        support: features `[E, N, K, d]`, any float dtype.
        query: features `[E, M, d]`.
        knn: neighbours of a query in the affinity graph, itself counted.
        lam: λ, the weight of the affinities; chosen for each K on validation classes.
        rectify: whether to shift the queries onto the support's mean and rectify the prototypes with them.
        iterations: the most updates.

    Returns:
        The way index of each query, int32 `[E, M]`.

    Raises:
        ValueError: if the shapes do not match, or `knn` is below 1.
    """
    support, query = as_episodes(support, query)
    episodes, ways, shots, d = tf.unstack(tf.shape(support))
    flat_support = tf.reshape(support, [episodes, ways * shots, d])
    means = tf.repeat(tf.eye(ways), shots, axis=1) / tf.cast(shots, tf.float32)
    means = tf.tile(means[None], [episodes, 1, 1])
    assignments = propagated_assignments(flat_support, query, means, knn, lam, rectify, iterations)
    return tf.argmax(assignments, axis=2, output_type=tf.int32)
