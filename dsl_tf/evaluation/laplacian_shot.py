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


def _inner_products(vectors, supports, rectify):
    """Returns the Gram matrix `[E, T, T]` of support and query vectors, queries shifted onto the support's mean."""
    gram = tf.matmul(vectors, vectors, transpose_b=True)
    if not rectify:
        return gram
    # The shift is a combination of the vectors themselves: row means of the Gram matrix, added on both sides.
    is_query = tf.cast(tf.range(tf.shape(gram)[1]) >= supports, gram.dtype)
    for _ in range(2):
        shift = tf.reduce_mean(gram[:, :supports], axis=1) - tf.reduce_mean(gram[:, supports:], axis=1)
        gram = tf.transpose(gram + is_query[:, None] * shift[:, None, :], [0, 2, 1])
    return gram


def _rectified(gram, mixture):
    """Rectifies prototypes: each becomes the weighted mean of the vectors most similar to it.

    Args:
        gram: inner products of the vectors `[E, T, T]`.
        mixture: the prototypes as combinations of the vectors `[E, N, T]`.

    Returns:
        The new prototypes as combinations of the vectors `[E, N, T]`.
    """
    products = tf.matmul(gram, mixture, transpose_b=True)
    lengths = tf.sqrt(tf.maximum(tf.linalg.diag_part(gram), 0))
    prototype_lengths = tf.sqrt(tf.maximum(tf.linalg.diag_part(tf.matmul(mixture, products)), 0))
    cosines = tf.math.divide_no_nan(products, lengths[:, :, None] * prototype_lengths[:, None, :])
    nearest = tf.one_hot(tf.argmax(cosines, axis=2), tf.shape(mixture)[1], dtype=gram.dtype)
    weights = nearest * tf.nn.softmax(_COSINE_SCALE * cosines)
    counts = tf.reduce_sum(nearest, axis=1)[:, :, None]
    # A prototype that no vector is nearest to has no mean to move to.
    return tf.where(counts > 0, tf.math.divide_no_nan(tf.transpose(weights, [0, 2, 1]), counts), mixture)


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
    if knn < 1:
        raise ValueError(f"`knn` counts the query itself and must be at least 1. Received: {knn}")
    episodes, ways, shots, d = tf.unstack(tf.shape(support))
    supports = ways * shots
    flat_support = tf.reshape(support, [episodes, supports, d])
    vectors = tf.concat([flat_support, query], axis=1)
    gram = _inner_products(vectors, supports, rectify)
    # Class means of the support, as combinations of the vectors.
    members = tf.repeat(tf.eye(ways), shots, axis=1) / tf.cast(shots, tf.float32)
    mixture = tf.pad(members, [[0, 0], [0, tf.shape(query)[1]]])[None]
    mixture = tf.tile(mixture, [episodes, 1, 1])
    if rectify:
        mixture = _rectified(gram, mixture)
    products = tf.matmul(gram, mixture, transpose_b=True)
    squares = tf.linalg.diag_part(tf.matmul(mixture, products))
    query_gram = gram[:, supports:, supports:]
    unary = tf.linalg.diag_part(query_gram)[:, :, None] + squares[:, None, :] - 2 * products[:, supports:]
    count = tf.minimum(knn, tf.shape(query)[1]) - 1
    assignments = _propagated(tf.maximum(unary, 0), _neighbours(query_gram, count), lam, iterations)
    return tf.argmax(assignments, axis=2, output_type=tf.int32)
