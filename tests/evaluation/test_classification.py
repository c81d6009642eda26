"""The classifiers on one task, against the episodic ones and a slow one in float64."""

import ml_dtypes
import numpy as np
import pytest

from dsl_tf.evaluation import CLASSIFIERS, laplacian_shot, nearest_centroid

nearest_centroid_probabilities = CLASSIFIERS["nearest_centroid"].probabilities
laplacian_shot_probabilities = CLASSIFIERS["laplacian_shot"].probabilities
BOTH = [nearest_centroid_probabilities, laplacian_shot_probabilities]


def task(counts, queries=40, d=16, seed=0, scale=0.5):
    """Support, labels and queries of classes that overlap, labels in no order."""
    random = np.random.default_rng(seed)
    centres = random.normal(0, 1, (len(counts), d))
    labels = random.permutation(np.repeat(np.arange(len(counts)), counts))
    support = centres[labels] + random.normal(0, 1, (len(labels), d))
    query = centres[random.integers(len(counts), size=queries)] + random.normal(0, 1, (queries, d))
    return scale * support, labels, scale * query


def softmax(scores):
    exponentials = [np.exp(score - max(scores)) for score in scores]
    return np.array(exponentials) / sum(exponentials)


def class_means(support, labels):
    return [np.mean([v for v, label in zip(support, labels) if label == way], axis=0) for way in range(max(labels) + 1)]


def slow_nearest_centroid(support, labels, query):
    means = class_means(support, labels)
    return np.array([softmax([-sum((q - mean) ** 2) for mean in means]) for q in query])


def slow_laplacian_shot(support, labels, query, knn=3, lam=0.7, rectify=True, iterations=20):
    """The method as its authors describe it, one vector at a time."""
    means = class_means(support, labels)
    if rectify:
        query = query + support.mean(axis=0) - query.mean(axis=0)
        weighted, went = [np.zeros(support.shape[1]) for _ in means], [0 for _ in means]
        for v in [*support, *query]:
            cosines = [v @ mean / np.linalg.norm(v) / np.linalg.norm(mean) for mean in means]
            way = int(np.argmax(cosines))
            weighted[way] += softmax([10 * cosine for cosine in cosines])[way] * v
            went[way] += 1
        means = [total / number if number else mean for total, number, mean in zip(weighted, went, means)]
    unary = np.array([[sum((q - mean) ** 2) for mean in means] for q in query])
    affinity = np.zeros((len(query), len(query)))
    for row, q in enumerate(query):
        others = sorted((j for j in range(len(query)) if j != row), key=lambda j: sum((query[j] - q) ** 2))
        affinity[row, others[: knn - 1]] = 1
    assignments, energy = np.array([softmax(-row) for row in unary]), None
    for step in range(iterations):
        assignments = np.array([softmax(row) for row in lam * affinity @ assignments - unary])
        moved = (assignments * (np.log(assignments) + unary - lam * affinity @ assignments)).sum()
        if step >= 2 and abs(moved - energy) <= 1e-6 * abs(energy):
            break
        energy = moved
    return assignments


@pytest.mark.parametrize("counts", [(1, 3, 5), (7, 1), (2, 9, 1, 1, 4), (3, 3, 3)])
@pytest.mark.parametrize("seed", range(2))
def test_any_number_of_support_images_equals_the_slow_classifiers(counts, seed):
    given = task(counts, seed=seed)
    np.testing.assert_allclose(
        nearest_centroid_probabilities(*given), slow_nearest_centroid(*given), rtol=1e-4, atol=1e-6
    )
    for options in ({}, {"lam": 1.5, "knn": 5}, {"rectify": False}, {"iterations": 1, "lam": 0.1}, {"knn": 1}):
        np.testing.assert_allclose(
            laplacian_shot_probabilities(*given, **options),
            slow_laplacian_shot(*given, **options),
            rtol=1e-2,
            atol=1e-3,
        )


@pytest.mark.parametrize("ways, shots, queries, d", [(5, 1, 75, 64), (5, 5, 75, 64), (2, 3, 4, 8), (20, 1, 40, 16)])
def test_equal_numbers_answer_as_the_episodic_classifiers(ways, shots, queries, d):
    labels = np.repeat(np.arange(ways), shots)
    random = np.random.default_rng(0)
    for _ in range(30):
        centres = random.normal(0, 0.3, (ways, d))
        support = (centres[labels] + random.normal(0, 0.3, (len(labels), d))).astype(np.float32)
        query = (centres[random.integers(ways, size=queries)] + random.normal(0, 0.3, (queries, d))).astype(np.float32)
        episode = support.reshape(1, ways, shots, d), query[None]
        for episodic, single in ((nearest_centroid, BOTH[0]), (laplacian_shot, BOTH[1])):
            np.testing.assert_array_equal(single(support, labels, query).argmax(axis=1), episodic(*episode).numpy()[0])


@pytest.mark.parametrize("classify", BOTH)
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e3])
def test_probabilities_are_probabilities(classify, scale):
    probabilities = classify(*task((1, 4, 2, 2), scale=scale))
    assert probabilities.shape == (40, 4) and probabilities.dtype == np.float64
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
    assert (probabilities >= 0).all() and (probabilities <= 1).all()


@pytest.mark.parametrize("scale", [1e-5, 1e5])
def test_the_nearest_centroid_is_the_most_probable_at_any_scale(scale):
    support, labels, query = task((2, 3, 1), queries=300)
    expected = slow_nearest_centroid(support, labels, query).argmax(axis=1)
    predicted = nearest_centroid_probabilities(scale * support, labels, scale * query).argmax(axis=1)
    np.testing.assert_array_equal(predicted, expected)


@pytest.mark.parametrize("classify", BOTH)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_equal_and_zero_vectors_are_finite(classify, value):
    probabilities = classify(np.full((4, 8), value), [0, 0, 0, 1], np.full((6, 8), value))
    assert np.isfinite(probabilities).all() and (probabilities == probabilities[0]).all()
    support, labels, query = task((1, 3))
    query[::2] = 0
    support[1] = support[0]
    assert np.isfinite(classify(support, labels, query)).all()


@pytest.mark.parametrize("classify", BOTH)
def test_one_query_and_half_precision(classify):
    given = task((2, 1), queries=1)
    assert classify(*given).shape == (1, 2)
    halves = [np.asarray(array, ml_dtypes.bfloat16) for array in (given[0], given[2])]
    singles = [half.astype(np.float32) for half in halves]
    np.testing.assert_array_equal(classify(halves[0], given[1], halves[1]), classify(singles[0], given[1], singles[1]))


@pytest.mark.parametrize("classify", BOTH)
@pytest.mark.parametrize(
    ("support", "labels", "query", "words"),
    [
        ((3, 4), [0, 1], (5, 4), "Received: support"),
        ((2, 4), [0, 1], (5, 3), "Received: support"),
        ((2, 4), [0, 1], (4,), "Received: support"),
        ((2, 4), [0, 1], (0, 4), "M ≥ 1"),
        ((2, 4), [0, 2], (5, 4), r"must occur. Received: \[0, 2\]"),
    ],
)
def test_what_does_not_fit_is_an_error(classify, support, labels, query, words):
    with pytest.raises(ValueError, match=words):
        classify(np.zeros(support), labels, np.zeros(query))
