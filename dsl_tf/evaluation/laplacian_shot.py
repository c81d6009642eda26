"""LaplacianShot, the paper's transductive few-shot classifier.

Ziko, Dolz, Granger and Ben Ayed, "Laplacian regularized few-shot learning", ICML 2020 (the paper's [33]). All that it
asks of an episode's vectors is a function of their inner products: one batched matrix product, then small arrays.
"""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from dsl_tf.evaluation.classification import classify
from dsl_tf.evaluation.numbers import check_visible
from dsl_tf.evaluation.vectors import from_centre_if_far

# Sharpness of the softmax over cosines that weights a vector in the rectified prototypes.
_COSINE_SCALE = 10.0
# The energy has settled when it moves by less than this share, from the third update on.
_SETTLED = 1e-6
# A squared distance so much longer than the shortest has probability zero; sums of it stay in float32's range.
_UNLIKELY = 1e30
# λ if no validation classes are there to choose it.
DEFAULT_LAM = 0.7


def _rectified(means: tf.Tensor, support_gram: tf.Tensor, cross_gram: tf.Tensor, query_gram: tf.Tensor) -> tf.Tensor:
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


def _distances_to_means(
    means: tf.Tensor, support_gram: tf.Tensor, cross_gram: tf.Tensor, query_gram: tf.Tensor
) -> tf.Tensor:
    """Returns squared distances of the queries to the class means `[E, M, N]`; arguments as in `_rectified`."""
    products = tf.matmul(support_gram, means, transpose_b=True)
    prototype_squares = tf.reduce_sum(means * tf.linalg.matrix_transpose(products), axis=2)
    query_products = tf.matmul(cross_gram, means, transpose_b=True)
    return tf.linalg.diag_part(query_gram)[:, :, None] + prototype_squares[:, None, :] - 2 * query_products


def _neighbours(gram: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Returns where each query's nearest other queries stand in the flattened `[E · M]` queries, `[count, E · M]`."""
    squares = tf.linalg.diag_part(gram)
    episodes, queries = tf.unstack(tf.shape(squares))
    lowest = tf.constant(-math.inf, gram.dtype)
    # Largest where −|q − q'|² / 2 is; the row's own |q|² does not change its order.
    nearness = tf.linalg.set_diag(gram - squares[:, None, :] / 2, tf.fill(tf.shape(squares), lowest))

    def take_next(
        step: tf.Tensor, nearness: tf.Tensor, nearest: tf.Tensor, taken: tf.TensorArray
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.TensorArray]:
        left = nearness + tf.one_hot(nearest, queries, on_value=lowest, off_value=tf.zeros((), gram.dtype))
        left.set_shape(nearness.shape)
        nearest = tf.argmax(left, axis=2, output_type=tf.int32)
        return step + 1, left, nearest, taken.write(step, nearest)

    # One maximum after the other: for the few neighbours of the method this is faster than a partial sort. The first is
    # taken even if none is asked for: in a graph of unknown sizes no elements at all cannot be stacked.
    nearest = tf.argmax(nearness, axis=2, output_type=tf.int32)
    taken = tf.TensorArray(tf.int32, size=tf.maximum(count, 1), element_shape=squares.shape).write(0, nearest)
    state = (1, nearness, nearest, taken)
    taken = tf.while_loop(lambda step, *_: step < count, take_next, state)[3].stack()[:count]
    return tf.reshape(taken + tf.range(episodes)[:, None] * queries, [count, episodes * queries])


def _propagated(unary: tf.Tensor, neighbours: tf.Tensor, lam: float | tf.Tensor, iterations: int) -> tf.Tensor:
    """Minimises the energy Σ Y·log Y + a·Y − λ·(W·Y)·Y of each episode, from Y = softmax(−a) on.

    Args:
        unary: a, squared distances to the prototypes `[E, M, N]`.
        neighbours: as `_neighbours` returns them.
        lam: λ.
        iterations: the most updates.

    Returns:
        Y, float32 `[E, M, N]`.
    """
    shape = tf.shape(unary)
    # Softmax sees differences alone, and they fit into float32 where distances of far vectors do not. The energy's
    # constant only counts where the energy has settled.
    lowest = tf.reduce_min(unary, axis=2, keepdims=True)
    unary = tf.cast(tf.minimum(unary - lowest, _UNLIKELY), tf.float32)
    constant = tf.cast(tf.minimum(tf.reduce_sum(lowest, axis=[1, 2]), tf.float32.max), tf.float32)
    lam = tf.cast(lam, tf.float32)

    def affinity_times(assignments: tf.Tensor) -> tf.Tensor:
        # W has knn − 1 ones per row: a gather, not a matrix product.
        rows = tf.gather(tf.reshape(assignments, [-1, shape[2]]), neighbours)
        return tf.reshape(tf.reduce_sum(rows, axis=0), shape)

    def update(
        step: tf.Tensor, assignments: tf.Tensor, pairwise: tf.Tensor, energy: tf.Tensor, settled: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        scores = lam * pairwise - unary
        log_assignments = tf.nn.log_softmax(scores)
        # Episodes that have settled continue with the rest: stopping them would cost more, and they hardly move.
        updated = tf.exp(log_assignments)
        pairwise = affinity_times(updated)
        moved = tf.reduce_sum(updated * (log_assignments + unary - lam * pairwise), axis=[1, 2])
        settles = (step >= 2) & (tf.abs(moved - energy) <= _SETTLED * tf.abs(energy + constant))
        return step + 1, updated, pairwise, moved, settled | settles

    start = tf.nn.softmax(-unary)
    state = (0, start, affinity_times(start), tf.zeros(shape[:1], unary.dtype), tf.zeros(shape[:1], tf.bool))
    return tf.while_loop(
        lambda step, *others: (step < iterations) & ~tf.reduce_all(others[-1]), update, state, parallel_iterations=1
    )[1]


def _centred(support: tf.Tensor, query: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns support and query measured from a centre, and the centre `[E, 1, d]`.

    Far from the origin |x|² + |y|² − 2xy would cancel. The centre is the support vector nearest to their mean: the mean
    would do as well, but its rounding could tell equal distances apart.
    """
    mean = tf.reduce_mean(support, axis=1, keepdims=True)
    nearest = tf.argmin(tf.reduce_sum((support - mean) ** 2, axis=2), axis=1)
    centre = tf.gather(support, nearest[:, None], batch_dims=1)
    return support - centre, query - centre, centre


def _from_origin(support: tf.Tensor, query: tf.Tensor, centre: tf.Tensor, grams: list[tf.Tensor]) -> list[tf.Tensor]:
    """Returns Gram matrices of vectors measured from a centre as those of the vectors themselves, in float64.

    (v + c)(w + c) = vw + vc + wc + |c|². In distances each vc cancels, whatever its rounding.
    """
    square = tf.reduce_sum(tf.cast(centre, tf.float64) ** 2, axis=2, keepdims=True)
    of_support, of_query = (
        tf.cast(tf.matmul(vectors, centre, transpose_b=True), tf.float64) for vectors in (support, query)
    )
    pairs = [(of_support, of_support), (of_query, of_support), (of_query, of_query)]
    return [
        tf.cast(gram, tf.float64) + rows + (tf.linalg.matrix_transpose(columns) + square)
        for gram, (rows, columns) in zip(grams, pairs, strict=True)
    ]


def propagated_assignments(
    support: tf.Tensor,
    query: tf.Tensor,
    means: tf.Tensor,
    knn: int | tf.Tensor,
    lam: float | tf.Tensor,
    rectify: bool,
    iterations: int,
) -> tf.Tensor:
    """Assigns each episode's queries to its ways, whatever the number of support vectors of each.

    Args:
        support: features `[E, S, d]`, float32 or float64.
        query: features `[E, M, d]` of the same dtype.
        means: the class means as combinations of the support vectors, `[E, N, S]` of the same dtype.
        knn, lam, rectify, iterations: as in `laplacian_shot`.

    Returns:
        Y, the probabilities of the ways, float32 `[E, M, N]`.

    Raises:
        ValueError: if `knn` is below 1.
    """
    if knn < 1:
        raise ValueError(f"`knn` counts the query itself and must be at least 1. Received: {knn}")

    support_gram = tf.matmul(support, support, transpose_b=True)

    def as_they_are() -> tuple[tf.Tensor, tf.Tensor]:
        grams = [support_gram, *_grams_of_query(support, query)]
        unary = _rectified(means, *grams) if rectify else _distances_to_means(means, *grams)
        return tf.cast(unary, tf.float64), grams[2]

    def from_centre() -> tuple[tf.Tensor, tf.Tensor]:
        near_support, near_query, centre = _centred(support, query)
        grams = [
            tf.matmul(near_support, near_support, transpose_b=True),
            *_grams_of_query(near_support, near_query),
        ]
        if not rectify:
            return tf.cast(_distances_to_means(means, *grams), tf.float64), grams[2]
        # Cosines, and prototypes whose weights do not sum to 1, depend on where the origin is.
        return _rectified(tf.cast(means, tf.float64), *_from_origin(near_support, near_query, centre, grams)), grams[2]

    unary, query_gram = from_centre_if_far(support_gram, as_they_are, from_centre)
    # The shift moves all queries alike and leaves their distances as they are.
    neighbours = _neighbours(query_gram, tf.minimum(knn, tf.shape(query)[1]) - 1)
    return _propagated(tf.maximum(unary, 0), neighbours, lam, iterations)


def _grams_of_query(support: tf.Tensor, query: tf.Tensor) -> list[tf.Tensor]:
    """Returns inner products of query with support, and of query with query."""
    return [tf.matmul(query, columns, transpose_b=True) for columns in (support, query)]


def laplacian_shot_scores(
    support: tf.Tensor,
    labels: tf.Tensor,
    query: tf.Tensor,
    knn: int = 3,
    lam: float | tf.Tensor = DEFAULT_LAM,
    rectify: bool = True,
    iterations: int = 20,
) -> tf.Tensor:
    """Computes log Y of the queries' final assignments Y.

    Args:
        support: `[E, S, d]`.
        labels: one-hot `[S, N]`.
        query: `[E, M, d]`.
        knn, lam, rectify, iterations: as in `laplacian_shot`.

    Returns:
        float64 `[E, M, N]`, in which Y is as it was: softmax(log Y) = Y.
    """
    means = tf.transpose(labels / tf.reduce_sum(labels, axis=0))
    means = tf.tile(means[None], [tf.shape(support)[0], 1, 1])
    assignments = propagated_assignments(support, query, means, knn, lam, rectify, iterations)
    return tf.math.log(tf.cast(assignments, tf.float64))


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
        support: features `[E, N, K, d]`, any float dtype. Their scale matters: squared distances are weighed against λ.
        query: features `[E, M, d]`.
        knn: neighbours of a query in the affinity graph, itself counted.
        lam: λ, the weight of the affinities; chosen for each K on validation classes.
        rectify: whether to shift the queries onto the support's mean and rectify the prototypes with them.
        iterations: the most updates.

    Returns:
        The way index of each query, int32 `[E, M]`.

    Raises:
        ValueError: if the shapes do not match, `knn` is below 1, or features are not finite or all below 1e-9.
    """
    options = {"knn": knn, "lam": lam, "rectify": rectify, "iterations": iterations}
    return classify(_of_episodes, support, query, check_visible, **options)


def _of_episodes(support: tf.Tensor, query: tf.Tensor, **options: Any) -> tf.Tensor:
    episodes, ways, shots, d = tf.unstack(tf.shape(support))
    flat_support = tf.reshape(support, [episodes, ways * shots, d])
    means = tf.repeat(tf.eye(ways, dtype=support.dtype), shots, axis=1) / tf.cast(shots, support.dtype)
    means = tf.tile(means[None], [episodes, 1, 1])
    assignments = propagated_assignments(flat_support, query, means, **options)
    return tf.argmax(assignments, axis=2, output_type=tf.int32)
