"""Episodes whose ways have unequal numbers of queries."""

import numpy as np
import pytest

from dsl_tf.errors import UserError
from dsl_tf.evaluation import class_accuracies, evaluate_episodes, sample_unequal_episodes
from dsl_tf.evaluation.unequal_episodes import _shared
from tests.evaluation.clusters import clustered

LABELS = np.random.default_rng(0).permutation(np.repeat([3, 5, 7, 8, 20], 40))


def test_no_image_occurs_twice_and_each_query_is_of_its_way():
    support, query, truth = sample_unequal_episodes(LABELS, 3, 2, 5, 200, seed=0, concentration=1.0)
    assert support.shape == (200, 3, 2) and query.shape == truth.shape == (200, 15)
    for of_support, of_query, ways in zip(support, query, truth):
        assert len({*of_support.ravel(), *of_query}) == 6 + 15
        classes = LABELS[of_support[:, 0]]
        assert len(set(classes)) == 3 and (LABELS[of_support] == classes[:, None]).all()
        np.testing.assert_array_equal(LABELS[of_query], classes[ways])
    for first, again in zip((support, query, truth), sample_unequal_episodes(LABELS, 3, 2, 5, 200, 0, 1.0)):
        np.testing.assert_array_equal(first, again)
    assert (sample_unequal_episodes(LABELS, 3, 2, 5, 200, 1, 1.0)[1] != query).any()


@pytest.mark.parametrize("concentration", [0.3, 2.0, 1e6])
def test_numbers_of_queries_have_the_moments_of_the_distribution(concentration):
    truth = sample_unequal_episodes(LABELS, 4, 1, 9, 4000, 0, concentration)[2]
    counts = (truth[:, :, None] == np.arange(4)).sum(axis=1)
    np.testing.assert_allclose(counts.mean(axis=0), 9, atol=0.6)
    # A share's variance is p(1 − p) / (4·concentration + 1) with p = 1/4; rounding adds at most about 1/12.
    expected = 36**2 * (1 / 4) * (3 / 4) / (4 * concentration + 1)
    assert 0.9 * expected - 0.01 <= counts.var(axis=0).mean() <= 1.1 * expected + 0.2


def test_rounding_is_by_the_largest_remainders():
    shares = np.array([[0.55, 0.25, 0.2], [0.34, 0.33, 0.33], [0.0, 0.0, 1.0]])
    np.testing.assert_array_equal(_shared(10, shares), [[6, 2, 2], [4, 3, 3], [0, 0, 10]])
    random = np.random.default_rng(0).dirichlet([0.5] * 7, 300)
    assert (_shared(23, random).sum(axis=1) == 23).all() and np.abs(_shared(23, random) - 23 * random).max() < 1


def test_accuracies_are_shares_of_all_queries():
    features, labels = clustered(images=30, spread=1.5)
    settings = {"ways": 3, "shots": (2,), "queries": 4, "episodes": 50, "feature_transforms": ("none",)}
    classifiers = ("nearest_centroid", "alpha_tim")
    outcomes = list(
        evaluate_episodes(features, labels, "test", classifiers=classifiers, query_concentration=0.5, **settings)
    )
    for outcome in outcomes:
        right = [
            sum(labels[image] == labels[of_support[way, 0]] for image, way in zip(images, answers)) / 12
            for of_support, images, answers in zip(
                outcome.episodes.support, outcome.episodes.query, outcome.predictions
            )
        ]
        assert (
            outcome.entry["accuracy"] == pytest.approx(np.mean(right)) and outcome.entry["query_concentration"] == 0.5
        )
        np.testing.assert_allclose(outcome.accuracies, right)
        by_class = class_accuracies(labels, outcome.episodes.query, outcome.predictions, outcome.episodes.query_ways)
        weights = np.bincount(labels[outcome.episodes.query.ravel()], minlength=6)
        assert by_class @ weights / weights.sum() == pytest.approx(np.mean(right))
    (equal,) = evaluate_episodes(features, labels, "test", **settings)
    assert "query_concentration" not in equal.entry and equal.episodes.query_ways is None
    assert equal.entry["episodes_fingerprint"] != outcomes[0].entry["episodes_fingerprint"]


def test_classes_must_have_images_for_the_most_queries():
    with pytest.raises(UserError, match="at least 41 images"):
        sample_unequal_episodes(LABELS, 4, 1, 10, 5, 0, 2.0)
    with pytest.raises(UserError, match="concentration .* Received: 0"):
        sample_unequal_episodes(LABELS, 2, 1, 3, 5, 0, 0.0)
