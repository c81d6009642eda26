"""Few-shot accuracy over many episodes."""

import itertools
import json
import math

import numpy as np
import pytest

from dsl_tf.errors import UserError
from dsl_tf.evaluation import predictions as predictions_module
from dsl_tf.evaluation.accuracy import (
    class_accuracies,
    classes_half_width,
    evaluate_episodes,
    few_shot_accuracies,
    mean_and_half_width,
)
from dsl_tf.evaluation.classifiers import CLASSIFIERS, FewShotClassifier
from dsl_tf.evaluation.episodes import episodes_fingerprint, sample_episodes
from dsl_tf.evaluation.predictions import episode_accuracies, episode_predictions
from dsl_tf.evaluation.student import student_quantile
from tests.evaluation.clusters import clustered, first_way, naive_accuracies

KEYS = {
    "split", "classifier", "feature_transform", "ways", "shots", "queries", "episodes", "seed",
    "episodes_fingerprint", "accuracy", "half_width", "classes_half_width",
}  # fmt: skip


def naive_transform(features, kind, mean):
    features = features.astype(np.float64) - (mean if kind == "cl2" else 0)
    return features if kind == "none" else features / np.linalg.norm(features, axis=1, keepdims=True)


# Episodes and classes.


def test_accuracy_of_each_class():
    labels = np.array([0, 0, 0, 1, 1, 1, 2, 2, 4])
    query = np.array([[[0, 1], [3, 4]], [[5, 3], [6, 7]]])
    predictions = np.array([[[0, 1], [1, 1]], [[1, 1], [1, 0]]])
    # Class 0 has two queries, class 1 four and class 2 two; 3 and 4 have none.
    np.testing.assert_array_equal(class_accuracies(labels, query, predictions), [0.5, 0.5, 0.5, np.nan, np.nan])
    predictions[0] = [[0, 0], [0, 1]]
    np.testing.assert_array_equal(class_accuracies(labels, query, predictions), [1, 0.25, 0.5, np.nan, np.nan])


def test_the_accuracies_of_classes_and_of_episodes_have_the_same_mean_where_queries_are_equally_many():
    features, labels = clustered()
    settings = {"ways": 6, "shots": (1,), "queries": 5, "episodes": 40, "feature_transforms": ("none",)}
    (outcome,) = evaluate_episodes(features, labels, "test", **settings)
    by_class = class_accuracies(labels, outcome.episodes.query, outcome.predictions)
    assert by_class.mean() == pytest.approx(outcome.entry["accuracy"], rel=1e-12)
    assert episode_accuracies(outcome.predictions).mean() == pytest.approx(outcome.entry["accuracy"], rel=1e-12)
    assert outcome.entry["episodes_fingerprint"] == episodes_fingerprint(
        labels, outcome.episodes.support, outcome.episodes.query
    )


# Mean and interval.


@pytest.mark.parametrize("count", [2, 3, 100])
def test_mean_and_half_width(count):
    accuracies = np.random.default_rng(count).random(count)
    mean = sum(accuracies) / count
    deviation = math.sqrt(sum((value - mean) ** 2 for value in accuracies) / (count - 1))
    received = mean_and_half_width(accuracies)
    np.testing.assert_allclose(received, (mean, 1.96 * deviation / math.sqrt(count)), rtol=1e-12)
    assert all(type(value) is float for value in received)


def test_equal_accuracies_have_no_half_width():
    assert mean_and_half_width(np.full(5, 0.5)) == (0.5, 0.0)


# The interval over classes.


@pytest.mark.parametrize("count, ways", [(3, 2), (7, 2), (8, 5)])
def test_of_all_episodes_of_classes_with_accuracies_of_their_own_it_is_students_interval(count, ways):
    """Without interactions, the mean over episodes is the mean of C accuracies, whose interval is known."""
    own = np.random.default_rng(0).random(count)
    classes = np.array(list(itertools.combinations(range(count), ways)))
    expected = student_quantile(count - 1) * own.std(ddof=1) / math.sqrt(count)
    assert classes_half_width(own[classes].mean(axis=1), classes) == pytest.approx(expected, rel=1e-9)


def test_it_covers_the_accuracy_on_classes_that_were_not_drawn():
    """Classes differ in difficulty, and pairs of them in how often they are confused."""
    random = np.random.default_rng(1)
    population, classes, ways, episodes = 400, 12, 3, 600
    own = random.normal(0.7, 0.08, population)
    pairs = random.normal(0, 0.02, (population, population))

    def accuracies(drawn):
        interactions = sum(pairs[drawn[:, i], drawn[:, j]] for i in range(ways) for j in range(ways) if i != j)
        return own[drawn].mean(axis=1) + interactions / ways + random.normal(0, 0.05, len(drawn))

    def episodes_of(chosen, count):
        return chosen[random.random((count, len(chosen))).argsort(axis=1)[:, :ways]]

    truth = accuracies(episodes_of(np.arange(population), 30_000)).mean()
    covered, narrow = 0, 0
    for _ in range(200):
        drawn = episodes_of(random.permutation(population)[:classes], episodes)
        found = accuracies(drawn)
        mean, half_width = mean_and_half_width(found)
        covered += abs(mean - truth) <= classes_half_width(found, drawn)
        narrow += abs(mean - truth) <= half_width
    assert 0.91 <= covered / 200 <= 0.99
    assert narrow / 200 < 0.5


def test_a_class_in_every_episode_leaves_no_interval_over_classes():
    assert classes_half_width([0.5, 0.7], [[0, 1], [0, 2]]) is None
    assert classes_half_width([0.5, 0.7, 0.6], [[0, 5], [0, 2], [5, 2]]) > 0


# All of them.


def test_entries():
    features, labels = clustered()
    results = few_shot_accuracies(
        features, labels, "val", ways=3, shots=(1, 2), queries=4, episodes=20, seed=9, mean=features.mean(axis=0)
    )
    combinations = {(entry["shots"], entry["classifier"], entry["feature_transform"]) for entry in results}
    assert combinations == {(shot, "nearest_centroid", kind) for shot in (1, 2) for kind in ("none", "l2", "cl2")}
    assert len(results) == 6
    for entry in results:
        assert set(entry) == KEYS
        assert (entry["split"], entry["ways"], entry["queries"]) == ("val", 3, 4)
        assert (entry["episodes"], entry["seed"]) == (20, 9)
        assert 0 <= entry["accuracy"] <= 1 and entry["half_width"] >= 0
    assert json.loads(json.dumps(results, allow_nan=False)) == results


@pytest.mark.parametrize("offset", [0, 3])
def test_accuracies_are_those_of_the_sampled_episodes(offset):
    features, labels = clustered(spread=1.5)
    features = features + np.float32(offset)
    # A mean far from that of the features themselves.
    mean = features[labels < 2].mean(axis=0)
    results = few_shot_accuracies(
        features, labels, "test", ways=4, shots=(3, 1), queries=5, episodes=150, seed=2, mean=mean
    )
    for entry in results:
        support, query = sample_episodes(labels, 4, entry["shots"], 5, 150, 2)
        expected = naive_accuracies(naive_transform(features, entry["feature_transform"], mean), support, query)
        np.testing.assert_allclose(entry["accuracy"], expected.mean(), atol=1e-3)
        half_width = 1.96 * np.std(expected, ddof=1) / np.sqrt(150)
        np.testing.assert_allclose(entry["half_width"], half_width, rtol=0.02)
    # The transforms do not come to the same.
    assert len({entry["accuracy"] for entry in results}) == 6


def test_every_classifier_and_transform_has_the_same_episodes(monkeypatch):
    features, labels = clustered()
    monkeypatch.setitem(CLASSIFIERS, "first_way", FewShotClassifier("first way", first_way))
    received = []

    def recording(features, support, query, classifier, **options):
        received.append((support, query, classifier))
        return episode_predictions(features, support, query, classifier, **options)

    monkeypatch.setattr(predictions_module, "episode_predictions", recording)
    results = few_shot_accuracies(
        features, labels, "test", ways=4, shots=(2,), queries=3, episodes=12, seed=5,
        classifiers=("first_way", "nearest_centroid"), feature_transforms=("l2", "none"),
    )  # fmt: skip
    support, query = sample_episodes(labels, 4, 2, 3, 12, 5)
    assert len(received) == len(results) == 4
    for other_support, other_query, _ in received:
        np.testing.assert_array_equal(other_support, support)
        np.testing.assert_array_equal(other_query, query)
    assert [CLASSIFIERS[entry["classifier"]].function for entry in results] == [name for _, _, name in received]
    assert {entry["accuracy"] for entry in results if entry["classifier"] == "first_way"} == {0.25}
    assert {entry["classifier"] for entry in results} == {"first_way", "nearest_centroid"}


def test_the_seed_decides():
    features, labels = clustered()
    arguments = {"ways": 4, "shots": (1,), "queries": 3, "episodes": 30, "feature_transforms": ("none",)}
    first, again, other = (few_shot_accuracies(features, labels, "test", **arguments, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first[0]["accuracy"] != other[0]["accuracy"]


def test_separable_features_have_accuracy_one():
    labels = clustered()[1]
    features = np.eye(6)[labels] + 0.01 * np.random.default_rng(0).standard_normal((len(labels), 6))
    results = few_shot_accuracies(features, labels, "test", ways=5, queries=7, episodes=100, mean=features.mean(axis=0))
    assert [(entry["accuracy"], entry["half_width"]) for entry in results] == [(1.0, 0.0)] * 6


@pytest.mark.parametrize("ways", [2, 5])
def test_features_that_say_nothing_have_the_accuracy_of_chance(ways):
    random = np.random.default_rng(0)
    features, labels = random.standard_normal((4000, 16)), np.arange(4000) % 20
    results = few_shot_accuracies(
        features, labels, "test", ways=ways, shots=(1, 5), episodes=1000, feature_transforms=("none", "l2")
    )
    for entry in results:
        assert abs(entry["accuracy"] - 1 / ways) < 0.015
        # A query's chances are nearly independent: a standard deviation of √(p(1 − p) / (N·Q)), or somewhat more.
        independent = 1.96 * math.sqrt((1 - 1 / ways) / ways / (ways * 15) / 1000)
        assert 0.8 * independent < entry["half_width"] < 2.5 * independent


def test_the_default_transforms_are_those_that_need_nothing():
    features, labels = clustered(images=20)
    plain = few_shot_accuracies(features, labels, "test", episodes=20)
    assert {entry["feature_transform"] for entry in plain} == {"none", "l2"}
    centred = few_shot_accuracies(features, labels, "test", episodes=20, mean=features.mean(axis=0))
    assert [entry for entry in centred if entry["feature_transform"] != "cl2"] == plain
    assert {entry["feature_transform"] for entry in centred} == {"none", "l2", "cl2"}


def test_lists_will_do():
    features, labels = clustered()
    settings = {"ways": 3, "shots": (1,), "queries": 4, "episodes": 20}
    (outcome, _) = evaluate_episodes(features.tolist(), labels.tolist(), "test", **settings)
    arrays = labels, outcome.episodes.query, outcome.predictions
    expected = class_accuracies(*arrays)
    np.testing.assert_array_equal(class_accuracies(*(array.tolist() for array in arrays)), expected)
    accuracies = episode_accuracies(outcome.predictions.tolist())
    np.testing.assert_array_equal(accuracies, episode_accuracies(outcome.predictions))
    assert mean_and_half_width(accuracies.tolist()) == mean_and_half_width(accuracies)


def test_another_number_of_labels_is_an_error():
    features, labels = clustered()
    with pytest.raises(UserError, match=r"Expected features \[n, d\] and labels \[n\]. Received: \(72, 5\), \(71,\)"):
        few_shot_accuracies(features, labels[1:], "test")


def test_a_mean_of_another_dimension_is_an_error():
    features, labels = clustered()
    for mean in (np.zeros(1), np.zeros((1, 5)), 0.0):
        with pytest.raises(UserError, match=r"`mean` must have the features' shape \[5\]"):
            few_shot_accuracies(features, labels, "test", mean=mean)


def test_unknown_classifiers_are_an_error():
    features, labels = clustered()
    with pytest.raises(
        UserError,
        match=r"`classifiers` must be among nearest_centroid, .*, or module:function\. Received: forest, svm\.",
    ):
        few_shot_accuracies(features, labels, "test", classifiers=("svm", "nearest_centroid", "forest"))


def test_an_unknown_transform_is_an_error():
    features, labels = clustered()
    with pytest.raises(UserError, match="Received: 'whitened'"):
        few_shot_accuracies(features, labels, "test", feature_transforms=("none", "whitened"))


def test_cl2_without_a_mean_is_an_error():
    features, labels = clustered()
    with pytest.raises(UserError, match="mean"):
        few_shot_accuracies(features, labels, "test", feature_transforms=("cl2",))


def test_too_few_images_are_an_error():
    features, labels = clustered(images=12)
    with pytest.raises(UserError, match="with 5 ways at most 12 support and query images per class"):
        few_shot_accuracies(features, labels, "test", shots=(1,), feature_transforms=("none",))


def test_one_episode_has_no_confidence_interval():
    features, labels = clustered()
    with pytest.raises(UserError, match="at least 2 episodes"):
        few_shot_accuracies(features, labels, "test", ways=2, shots=(1,), queries=2, episodes=1)
