"""Confused classes."""

import time

import numpy as np
import pytest

from dsl_tf.evaluation import nearest_centroid, sample_episodes
from dsl_tf.evaluation.confusion import confusion, confusion_rates, most_confused, wrong_queries


def made(episodes=40, ways=3, shots=2, queries=4, seed=0):
    random = np.random.default_rng(seed)
    labels = random.permutation(np.repeat([0, 1, 2, 4, 5, 6], [6, 7, 9, 30, 6, 12]))
    support, query = sample_episodes(labels, ways, shots, queries, episodes, seed)
    return labels, support, query, random.integers(ways, size=(episodes, ways * queries))


def naive(labels, query, predictions):
    """Counts one query after the other."""
    episodes, ways, queries = query.shape
    C = labels.max() + 1
    counts, chances = np.zeros((C, C), int), np.zeros((C, C), int)
    for episode in range(episodes):
        classes = [labels[query[episode, way, 0]] for way in range(ways)]
        for way in range(ways):
            for place in range(queries):
                true = labels[query[episode, way, place]]
                counts[true, classes[predictions[episode, way * queries + place]]] += 1
                for other in classes:
                    chances[true, other] += 1
    return counts, chances


@pytest.mark.parametrize("sizes", [{}, {"episodes": 1}, {"ways": 1}, {"queries": 1}, {"ways": 6, "shots": 1}])
def test_as_one_query_after_the_other(sizes):
    labels, support, query, predictions = made(**sizes)
    counts, chances = confusion(labels, support, query, predictions)
    assert counts.dtype == chances.dtype == np.int64
    for measured, expected in zip((counts, chances), naive(labels, query, predictions)):
        np.testing.assert_array_equal(measured, expected)
    assert counts.sum() == predictions.size
    assert (counts <= chances).all()


def test_the_share_of_right_queries_is_the_accuracy():
    labels, support, query, _ = made()
    random = np.random.default_rng(1)
    x = random.standard_normal((7, 5))[labels] + random.standard_normal((len(labels), 5))
    predictions = nearest_centroid(x[support], x[query].reshape(len(query), -1, 5)).numpy()
    counts, chances = confusion(labels, support, query, predictions)
    assert np.trace(counts) / counts.sum() == (predictions == np.repeat(np.arange(3), 4)).mean()
    np.testing.assert_array_equal(np.diag(chances), counts.sum(axis=1))


def test_rates_are_fair_to_classes_that_seldom_meet():
    # Classes 0 and 1 meet once and 0 and 2 three times; half of class 0 is taken for the other one each time.
    labels = np.repeat([0, 1, 2], 3)
    query = np.array([[[1, 2], [4, 5]], *[[[1, 2], [7, 8]]] * 3])
    support = np.array([[[0], [3]], *[[[0], [6]]] * 3])
    predictions = np.array([[0, 1, 1, 1]] * 4)
    counts, chances = confusion(labels, support, query, predictions)
    rates = confusion_rates(counts, chances)
    np.testing.assert_array_equal(rates, [[0.5, 0.5, 0.5], [0, 1, np.nan], [0, np.nan, 1]])
    assert most_confused(counts, chances) == [(0, 2, 0.5), (0, 1, 0.5)]


def test_the_most_confused_pairs_come_first():
    labels, support, query, predictions = made(200)
    counts, chances = naive(labels, query, predictions)
    pairs = most_confused(*confusion(labels, support, query, predictions), top=1000)
    expected = {}
    for i in range(len(counts)):
        for j in range(len(counts)):
            if i != j and counts[i, j]:
                expected[i, j] = counts[i, j] / chances[i, j]
    assert {(i, j): rate for i, j, rate in pairs} == expected
    rates = [rate for _, _, rate in pairs]
    assert rates == sorted(rates, reverse=True)
    assert [type(value) for value in pairs[0]] == [int, int, float]
    assert most_confused(counts, chances, top=3) == pairs[:3]


def test_pairs_without_confusions_are_left_out():
    assert most_confused(np.diag([3, 4]), np.full((2, 2), 5)) == []
    assert most_confused(np.zeros((3, 3), int), np.zeros((3, 3), int)) == []


@pytest.mark.parametrize("true_class, predicted_class", [(4, 6), (6, 4), (2, 2)])
def test_the_images_confused_most_often_come_first(true_class, predicted_class):
    labels, _, query, predictions = made(300)
    times = {}
    for episode in range(len(query)):
        for way in range(3):
            for place in range(4):
                image = query[episode, way, place]
                taken_for = labels[query[episode, predictions[episode, way * 4 + place], 0]]
                if (labels[image], taken_for) == (true_class, predicted_class):
                    times[image] = times.get(image, 0) + 1
    expected = sorted(times, key=lambda image: (-times[image], image))
    assert len(expected) > 5
    for limit in (1, 5, 1000):
        found = wrong_queries(labels, query, predictions, true_class, predicted_class, limit)
        assert found.dtype == np.int64
        np.testing.assert_array_equal(found, expected[:limit])


def test_classes_that_never_met_have_no_wrong_queries():
    labels, _, query, predictions = made()
    assert len(wrong_queries(labels, query, predictions, 3, 4, 5)) == 0


def test_ten_thousand_episodes_take_no_loop():
    labels = np.repeat(np.arange(20), 600)
    support, query = sample_episodes(labels, 5, 1, 15, 10_000, 0)
    predictions = np.random.default_rng(0).integers(5, size=(10_000, 75))
    start = time.process_time()
    confusion(labels, support, query, predictions)
    assert time.process_time() - start < 1


def test_what_does_not_fit_is_an_error():
    labels, support, query, predictions = made()
    with pytest.raises(ValueError, match="predictions"):
        confusion(labels, support, query, predictions[:, :-1])
    with pytest.raises(ValueError, match="predictions"):
        wrong_queries(labels, query, predictions[:-1], 0, 1, 5)
    with pytest.raises(ValueError, match="class of its support"):
        confusion(labels, support[:, ::-1], query, predictions)
