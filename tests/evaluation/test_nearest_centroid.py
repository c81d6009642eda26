"""Nearest class centroid."""

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

from dsl_tf.evaluation.nearest_centroid import nearest_centroid


def episodes(episodes=6, ways=4, shots=3, queries=10, d=8, seed=0):
    random = np.random.default_rng(seed)
    centres = random.standard_normal((episodes, ways, 1, d))
    support = centres + random.standard_normal((episodes, ways, shots, d))
    query = centres[:, random.integers(ways, size=queries), 0] + random.standard_normal((episodes, queries, d))
    return support, query


def squared_distances(support, query):
    """From each query to each centroid `[E, M, N]`, one after the other in float64."""
    support, query = np.asarray(support, np.float64), np.asarray(query, np.float64)
    count, ways = support.shape[:2]
    distances = np.empty((count, query.shape[1], ways))
    for episode in range(count):
        for way in range(ways):
            centroid = sum(support[episode, way]) / support.shape[2]
            for position, vector in enumerate(query[episode]):
                distances[episode, position, way] = ((vector - centroid) ** 2).sum()
    return distances


def assert_nearest(support, query, tolerance=1e-5):
    """Compares with the naive distances; where two are equal but for the tolerance, either way will do."""
    predicted = nearest_centroid(support, query)
    assert predicted.dtype == tf.int32 and predicted.shape == query.shape[:2]
    distances = squared_distances(support, query)
    nearest = distances.min(axis=2)
    chosen = np.take_along_axis(distances, predicted.numpy()[..., None], axis=2)[..., 0]
    assert (chosen <= nearest + tolerance * distances.mean()).all()
    assert (predicted.numpy() == distances.argmin(axis=2)).mean() > 0.95


@pytest.mark.parametrize(
    "count, ways, shots, queries, d",
    [(6, 4, 3, 10, 8), (12, 2, 1, 1, 3), (3, 5, 1, 75, 16), (2, 20, 5, 7, 640), (4, 2, 7, 3, 1), (1, 3, 2, 200, 5)],
)
def test_queries_go_to_the_nearest_mean_of_the_support(count, ways, shots, queries, d):
    support, query = episodes(count, ways, shots, queries, d)
    assert_nearest(support, query)


def test_by_hand():
    support = np.array([[[[0.0, 0], [2, 0]], [[5, 5], [5, 7]], [[-4, 0], [-4, 0]]]])
    query = np.array([[[1.0, 1], [4, 4], [-2, 0], [-1, 0], [100, 101]]])
    np.testing.assert_array_equal(nearest_centroid(support, query), [[0, 1, 2, 0, 1]])


def test_one_way():
    support, query = episodes(ways=1)
    np.testing.assert_array_equal(nearest_centroid(support, query), np.zeros((6, 10)))


def test_episodes_do_not_mix():
    support, query = episodes(6)
    together = nearest_centroid(support, query).numpy()
    for episode in range(6):
        alone = nearest_centroid(support[episode : episode + 1], query[episode : episode + 1])
        np.testing.assert_array_equal(alone[0], together[episode])


def test_the_length_of_a_centroid_counts():
    # The nearest in Euclidean distance is not the one of the largest inner product, nor of the smallest angle.
    support = np.array([[[[1.0, 0.2]], [[9.0, 0.0]]]])
    np.testing.assert_array_equal(nearest_centroid(support, np.array([[[2.0, 0.0]]])), [[0]])


@pytest.mark.parametrize("offset, d", [(1e3, 64), (1e4, 16), (-1e4, 64), (1e5, 16)])
def test_far_from_the_origin(offset, d):
    support, query = episodes(8, 5, 4, 30, d)
    support, query = (support + offset).astype(np.float32), (query + offset).astype(np.float32)
    assert_nearest(support, query, tolerance=1e-2)


@pytest.mark.parametrize("scale", [1e-30, 1e-18, 1e-4, 1e4, 1e-10, 1e10, 1e18, 1e30])
def test_any_scale(scale):
    support, query = episodes(8)
    assert_nearest((support * scale).astype(np.float32), (query * scale).astype(np.float32))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64, tf.float16, tf.bfloat16])
@pytest.mark.parametrize("offset", [0, 30])
def test_any_float_dtype(dtype, offset):
    support, query = episodes(8, shots=5)
    if isinstance(dtype, tf.DType):
        support, query = tf.cast(support + offset, dtype), tf.cast(query + offset, dtype)
    else:
        support, query = (support + offset).astype(dtype), (query + offset).astype(dtype)
    assert_nearest(support, query, tolerance=1e-4)


def test_support_and_query_of_different_dtypes():
    support, query = episodes(8)
    assert_nearest(support.astype(np.float64), query.astype(np.float16))


@pytest.mark.parametrize("ways, queries", [(2, 3), (4, 1), (5, 75), (17, 9)])
def test_of_equal_supports_the_first_wins(ways, queries):
    support, query = episodes(3, ways, 1, queries, 7)
    # Ways 0, 2, 4 have one support, ways 1, 3, 5 another one.
    support = support[:, np.arange(ways) % 2]
    predicted = nearest_centroid(support, query).numpy()
    np.testing.assert_array_equal(predicted, squared_distances(support[:, :2], query).argmin(axis=2))


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 1, 0]])
def test_of_equally_near_ways_the_first_wins(order):
    # Four corners of a square: exact in floating point, the mean included.
    corners = np.array([[-1.0, -1], [-1, 1], [1, -1], [1, 1]])[order]
    query = np.array([[0.0, 0], [-1, 0], [0, 1], [3, 0], [0.5, -0.5]])
    distances = squared_distances(corners[None, :, None], query[None])
    np.testing.assert_array_equal(nearest_centroid(corners[None, :, None], query[None]), distances.argmin(axis=2))


def test_of_three_ways_the_first_of_the_equally_near_wins():
    support, query = np.array([[[[0.0]], [[2.0]], [[6.0]]]]), np.array([[[1.0], [4.0]]])
    np.testing.assert_array_equal(nearest_centroid(support, query), [[0, 1]])


@pytest.mark.parametrize("shape", [[None, None, None, None], [None, 4, None, 8], [6, 4, 3, 8]])
def test_in_a_graph(shape):
    support, query = (x.astype(np.float32) for x in episodes(6))
    graph = tf.function(
        nearest_centroid,
        input_signature=[tf.TensorSpec(shape, tf.float32), tf.TensorSpec([shape[0], None, shape[3]], tf.float32)],
    )
    predicted = graph(support, query)
    assert predicted.dtype == tf.int32
    np.testing.assert_array_equal(predicted, squared_distances(support, query).argmin(axis=2))


@pytest.mark.parametrize(
    "support, query",
    [
        ((2, 3, 4), (2, 5, 4)),
        ((2, 3, 1, 4), (2, 3, 5, 4)),
        ((2, 3, 1, 4), (5, 4)),
        ((2, 3, 1, 4), (2, 5, 6)),
        ((2, 3, 1, 1), (2, 5, 6)),
        ((3, 1, 4), (5, 4)),
    ],
)
def test_shapes_that_do_not_fit_are_an_error(support, query):
    with pytest.raises(ValueError, match=r"support \[episodes, ways, shots, d\].*Received: support"):
        nearest_centroid(np.zeros(support), np.zeros(query))


@pytest.mark.parametrize("of_support, of_query", [(2, 3), (1, 3), (3, 1)])
def test_different_numbers_of_episodes_are_an_error(of_support, of_query):
    with pytest.raises(ValueError, match="Received: support"):
        nearest_centroid(np.zeros((of_support, 3, 1, 4)), np.zeros((of_query, 5, 4)))
