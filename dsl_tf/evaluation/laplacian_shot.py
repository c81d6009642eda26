"""LaplacianShot, the paper's transductive few-shot classifier.

Ziko, Dolz, Granger and Ben Ayed, "Laplacian regularized few-shot learning", ICML 2020 (the paper's [33]). All that it
asks of an episode's vectors is a function of their inner products: one batched matrix product, then small arrays.
"""

import tensorflow as tf

from dsl_tf.evaluation.nearest_centroid import as_episodes
from dsl_tf.precision import true_float32

# Sharpness of the softmax over cosines that weights a vector in the rectified prototypes.
_COSINE_SCALE = 10.0
# The energy has settled when it moves by less than this share, from the third update on.
_SETTLED = 1e-6


def _with_prototypes(gram, mixture, shift, is_query):
    """Returns the inner products of all vectors, queries shifted, with prototypes p, `[E, T, N]`, and |p|² `[E, N]`.

    Args:
        gram: inner products of the vectors as they are `[E, T, T]`.
        mixture: the prototypes as combinations of the vectors as they are `[E, N, T]`.
        shift: the shift δ of the queries as such a combination `[T]`.
        is_query: 1 for queries and 0 for supports `[T]`.
    """
    products = tf.matmul(gram, mixture, transpose_b=True)
    squares = tf.reduce_sum(mixture * tf.linalg.matrix_transpose(products), axis=2)
    # (q + δ)·p = q·p + δ·p. To shift the Gram matrix itself would cost more than all that follows.
    return products + is_query[:, None] * tf.tensordot(products, shift, [[1], [0]])[:, None, :], squares


def _rectified(products, prototype_squares, squares, mixture, shift, is_query):
    """Rectifies prototypes: each becomes the weighted mean of the vectors most similar to it.

    Args:
        products, prototype_squares: as `_with_prototypes` returns them.
        squares: squared lengths of the vectors, queries shifted `[E, T]`.
        mixture, shift, is_query: as `_with_prototypes` takes them.

    Returns:
        The new prototypes as combinations of the vectors as they are `[E, N, T]`.
    """
    lengths = tf.sqrt(tf.maximum(squares, 0))
    prototype_lengths = tf.sqrt(tf.maximum(prototype_squares, 0))
    cosines = tf.math.divide_no_nan(products, lengths[:, :, None] * prototype_lengths[:, None, :])
    nearest = tf.one_hot(tf.argmax(cosines, axis=2), tf.shape(mixture)[1], dtype=products.dtype)
    weights = tf.linalg.matrix_transpose(nearest * tf.nn.softmax(_COSINE_SCALE * cosines))
    counts = tf.reduce_sum(nearest, axis=1)[:, :, None]
    means = tf.math.divide_no_nan(weights, counts)
    # Each query brings the shift with it.
    means += tf.tensordot(means, is_query, 1)[:, :, None] * shift
    # A prototype that no vector is nearest to has no mean to move to.
    return tf.where(counts > 0, means, mixture)


def _neighbours(gram, count):
    """Returns where each query's nearest other queries stand in the flattened `[E · M]` queries, `[E · M, count]`."""
    squares = tf.linalg.diag_part(gram)
    # |q|² is the same along a row and does not change its order.
    distances = squares[:, None, :] - 2 * gram
    distances = tf.linalg.set_diag(distances, tf.fill(tf.shape(squares), gram.dtype.max))
    within = tf.math.top_k(-distances, k=count, sorted=False).indices
    episodes, queries = tf.unstack(tf.shape(squares))
    return tf.reshape(within + tf.range(episodes)[:, None, None] * queries, [-1, count])


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
        # W has knn − 1 ones a row: a gather, not a matrix product.
        rows = tf.gather(tf.reshape(assignments, [-1, shape[2]]), neighbours)
        return tf.reshape(tf.reduce_sum(rows, axis=1), shape)

    def update(step, assignments, pairwise, energy, settled):
        scores = lam * pairwise - unary
        log_assignments = tf.nn.log_softmax(scores)
        updated = tf.where(settled[:, None, None], assignments, tf.exp(log_assignments))
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
        ValueError: where `knn` is below 1.
    """
    if knn < 1:
        raise ValueError(f"`knn` counts the query itself and must be at least 1. Received: {knn}")
    supports, queries = tf.shape(support)[1], tf.shape(query)[1]
    vectors = tf.concat([support, query], axis=1)
    gram = tf.matmul(vectors, vectors, transpose_b=True)
    squares = tf.linalg.diag_part(gram)
    is_query = tf.concat([tf.zeros(supports), tf.ones(queries)], axis=0)
    mixture = tf.pad(means, [[0, 0], [0, 0], [0, queries]])
    if rectify:
        # δ = mean(support) − mean(query), a combination of the vectors.
        shift = (1 - is_query) / tf.cast(supports, tf.float32) - is_query / tf.cast(queries, tf.float32)
        with_shift = tf.tensordot(gram, shift, 1)
        shift_square = tf.tensordot(with_shift, shift, 1)[:, None]
        squares += is_query * (2 * with_shift + shift_square)
        products, prototype_squares = _with_prototypes(gram, mixture, shift, is_query)
        mixture = _rectified(products, prototype_squares, squares, mixture, shift, is_query)
    else:
        shift = tf.zeros_like(is_query)
    products, prototype_squares = _with_prototypes(gram, mixture, shift, is_query)
    unary = squares[:, supports:, None] + prototype_squares[:, None, :] - 2 * products[:, supports:]
    # The shift moves all queries alike and leaves their distances as they are.
    neighbours = _neighbours(gram[:, supports:, supports:], tf.minimum(knn, queries) - 1)
    return _propagated(tf.maximum(unary, 0), neighbours, lam, iterations)


@true_float32()
def laplacian_shot(support, query, knn=3, lam=0.7, rectify=True, iterations=20):
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
        ValueError: where the shapes do not fit, or `knn` is below 1.
    """
    support, query = as_episodes(support, query)
    episodes, ways, shots, d = tf.unstack(tf.shape(support))
    flat_support = tf.reshape(support, [episodes, ways * shots, d])
    means = tf.repeat(tf.eye(ways), shots, axis=1) / tf.cast(shots, tf.float32)
    means = tf.tile(means[None], [episodes, 1, 1])
    assignments = propagated_assignments(flat_support, query, means, knn, lam, rectify, iterations)
    return tf.argmax(assignments, axis=2, output_type=tf.int32)
