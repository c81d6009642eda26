import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

from dsl_tf.evaluation import laplacian_shot


def softmax(scores):
    scores = np.exp(scores - scores.max(axis=1, keepdims=True))
    return scores / scores.sum(axis=1, keepdims=True)


def naive(support, query, knn, lam, rectify, iterations):
    """One episode in float64, step by step as the method is described."""
    ways, _, d = support.shape
    prototypes = support.mean(axis=1)
    flat = support.reshape(-1, d)
    if rectify:
        query = query + flat.mean(axis=0) - query.mean(axis=0)
        vectors = np.concatenate([flat, query])
        lengths = np.linalg.norm(vectors, axis=1)[:, None] * np.linalg.norm(prototypes, axis=1)
        cosines = vectors @ prototypes.T / lengths
        weights, nearest = softmax(10 * cosines), cosines.argmax(axis=1)
        prototypes = np.stack(
            [
                (weights[nearest == way, way, None] * vectors[nearest == way]).sum(axis=0) / (nearest == way).sum()
                for way in range(ways)
            ]
        )
    unary = ((query[:, None] - prototypes) ** 2).sum(axis=-1)
    distances = ((query[:, None] - query) ** 2).sum(axis=-1)
    np.fill_diagonal(distances, np.inf)
    affinity = np.zeros_like(distances)
    for row in range(len(query)):
        affinity[row, np.argsort(distances[row])[: knn - 1]] = 1
    assignments, energy = softmax(-unary), None
    for update in range(iterations):
        assignments = softmax(-unary + lam * affinity @ assignments)
        logs = np.log(np.maximum(assignments, 1e-20))
        moved = (assignments * (logs + unary - lam * affinity @ assignments)).sum()
        if update >= 2 and abs(moved - energy) <= 1e-6 * abs(energy):
            break
        energy = moved
    return assignments.argmax(axis=1)


def episodes(count, ways, shots, queries, d, seed, scale=1.0, mean=0.5):
    random = np.random.default_rng(seed)
    centres = random.normal(mean, 0.5, (count, ways, 1, d))
    vectors = scale * (centres + random.normal(0, 1, (count, ways, shots + queries, d)))
    query = vectors[:, :, shots:].reshape(count, -1, d)
    # Shuffled, so that an answer by position would show.
    order = random.permutation(query.shape[1])
    return vectors[:, :, :shots].astype(np.float32), query[:, order].astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((40, 5, 1, 15, 32), {}),
        ((40, 5, 5, 15, 32), {}),
        ((40, 5, 5, 15, 32), {"rectify": False}),
        ((40, 3, 2, 4, 8), {"lam": 1.5, "knn": 5}),
        ((40, 2, 3, 7, 16), {"lam": 0.1, "knn": 2, "iterations": 1}),
        ((40, 4, 1, 6, 16), {"iterations": 3, "lam": 0.0}),
        ((40, 20, 1, 2, 64), {}),
    ],
)
@pytest.mark.parametrize("scale", [0.2, 1.0])
def test_it_equals_the_method_run_one_episode_at_a_time(shape, options, scale):
    support, query = episodes(*shape, seed=0, scale=scale)
    settings = {"knn": 3, "lam": 0.7, "rectify": True, "iterations": 20, **options}
    expected = np.stack(
        [naive(s.astype(np.float64), q.astype(np.float64), **settings) for s, q in zip(support, query, strict=True)]
    )
    predicted = laplacian_shot(support, query, **options)
    assert predicted.dtype == tf.int32
    assert (predicted.numpy() == expected).mean() >= 0.995
    assert len(np.unique(expected)) == shape[1]


@pytest.mark.parametrize("rectify", [True, False])
@pytest.mark.parametrize("offset, scale", [(0, 0.3), (1000, 0.3), (-1000, 1.0), (0, 1e6), (0, 1e18), (0, 1e30)])
def test_far_from_the_origin_and_of_any_size(offset, scale, rectify):
    support, query = episodes(30, 5, 5, 15, 64, seed=0)
    support, query = (np.float32(scale) * vectors + np.float32(offset) for vectors in (support, query))
    expected = np.stack(
        [
            naive(s.astype(np.float64), q.astype(np.float64), 3, 0.7, rectify, 20)
            for s, q in zip(support, query, strict=True)
        ]
    )
    assert len(np.unique(expected)) == 5
    np.testing.assert_array_equal(laplacian_shot(support, query, rectify=rectify), expected)


def test_the_affinities_matter_and_help():
    """Queries of a class in one tight group far from the only support image: neighbours pull the strays along."""
    random = np.random.default_rng(0)
    truth = np.repeat(np.arange(5), 15)
    centres = random.normal(0, 1, (50, 5, 16))
    support = (centres + random.normal(0, 1.2, centres.shape))[:, :, None]
    query = centres[:, truth] + random.normal(0, 0.8, (50, 75, 16))
    accuracies = [(laplacian_shot(support, query, lam=lam).numpy() == truth).mean() for lam in (0.0, 1.0)]
    assert accuracies[1] > accuracies[0] + 0.005


def test_queries_are_answered_whatever_their_order():
    support, query = episodes(10, 5, 5, 15, 32, seed=1)
    order = np.random.default_rng(2).permutation(75)
    np.testing.assert_array_equal(
        laplacian_shot(support, query[:, order]), laplacian_shot(support, query).numpy()[:, order]
    )


def test_episodes_do_not_see_each_other():
    support, query = episodes(6, 5, 5, 15, 32, seed=1)
    alone = [laplacian_shot(support[[index]], query[[index]]).numpy()[0] for index in range(6)]
    np.testing.assert_array_equal(laplacian_shot(support, query), alone)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_features_are_computed_in_float32(dtype):
    support, query = (array.astype(dtype) for array in episodes(20, 5, 5, 15, 32, seed=3))
    expected = laplacian_shot(support.astype(np.float32), query.astype(np.float32))
    np.testing.assert_array_equal(laplacian_shot(support, query), expected)


@pytest.mark.parametrize("knn", [1, 2, 50])
def test_few_queries_and_any_number_of_neighbours(knn):
    support, query = episodes(4, 3, 1, 1, 8, seed=4)
    assert laplacian_shot(support, query[:, :1], knn=knn).shape == (4, 1)
    assert laplacian_shot(support, query, knn=knn).shape == (4, 3)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_equal_vectors_are_answered_without_nan(value):
    predicted = laplacian_shot(np.full((2, 3, 2, 4), value), np.full((2, 6, 4), value)).numpy()
    assert set(np.unique(predicted)) <= {0, 1, 2}


def test_it_runs_in_a_graph_of_unknown_sizes():
    support, query = episodes(7, 4, 2, 3, 8, seed=5)
    signature = [tf.TensorSpec([None, None, None, 8]), tf.TensorSpec([None, None, 8])]
    np.testing.assert_array_equal(
        tf.function(laplacian_shot, input_signature=signature)(support, query), laplacian_shot(support, query)
    )


def test_wrong_shapes_and_no_neighbours_are_errors():
    support, query = episodes(2, 3, 1, 2, 8, seed=0)
    with pytest.raises(ValueError, match="Received: support"):
        laplacian_shot(support[0], query)
    with pytest.raises(ValueError, match="knn.*Received: 0"):
        laplacian_shot(support, query, knn=0)
