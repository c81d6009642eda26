import numpy as np
import pytest

from dsl_tf.evaluation import CLASSIFIERS
from dsl_tf.evaluation.calibration import (
    best_temperature,
    expected_calibration_error,
    held_out_probabilities,
    tempered,
)


def test_the_error_is_the_mean_gap_between_confidence_and_accuracy():
    # Five answers of confidence 0.9, of which three are right, and five of 0.6, of which three are right.
    probabilities = np.array([[0.9, 0.1]] * 5 + [[0.6, 0.4]] * 5)
    labels = np.array([0, 0, 0, 1, 1] * 2)
    assert expected_calibration_error(probabilities, labels) == pytest.approx(0.5 * 0.3 + 0.5 * 0.0)
    assert expected_calibration_error(np.eye(3), np.arange(3)) == 0.0


def test_temperature_keeps_the_order_and_one_changes_nothing():
    probabilities = np.random.default_rng(0).dirichlet(np.ones(5), 50)
    np.testing.assert_allclose(tempered(probabilities, 1.0), probabilities, rtol=1e-12)
    hot, cold = tempered(probabilities, 3.0), tempered(probabilities, 0.2)
    for changed in (hot, cold):
        np.testing.assert_array_equal(changed.argsort(axis=1), probabilities.argsort(axis=1))
        np.testing.assert_allclose(changed.sum(axis=1), 1)
    assert hot.max() < probabilities.max() < cold.max()
    assert np.isfinite(tempered(np.array([[1.0, 0.0]]), 1e-4)).all()


@pytest.mark.parametrize("true", [0.3, 1.0, 4.0])
def test_the_temperature_is_that_from_which_the_labels_were_drawn(true):
    random = np.random.default_rng(0)
    right = random.dirichlet(np.ones(4), 20_000)
    labels = np.array([random.choice(4, p=p) for p in right])
    # What is right after a temperature of `true` was told before.
    told = tempered(right, 1 / true)
    temperature = best_temperature(told, labels)
    assert temperature == pytest.approx(true, rel=0.05)
    assert expected_calibration_error(tempered(told, temperature), labels) < 0.02


def test_the_temperature_is_a_minimum_of_the_smoothed_cross_entropy():
    random = np.random.default_rng(1)
    probabilities = random.dirichlet(np.ones(3), 7)
    labels = np.append(probabilities[:5].argmax(axis=1), probabilities[5:].argmin(axis=1))
    targets = np.full((7, 3), 1 / 18)
    targets[np.arange(7), labels] = 8 / 9

    def cross_entropy(temperature):
        return -(targets * np.log(tempered(probabilities, temperature))).sum()

    best = best_temperature(probabilities, labels)
    assert cross_entropy(best) <= min(cross_entropy(best * factor) for factor in (0.9, 0.99, 1.01, 1.1))


def test_right_answers_alone_do_not_make_certainty():
    probabilities = np.array([[0.6, 0.4]] * 3)
    assert 0.01 < best_temperature(probabilities, np.zeros(3, int)) < 1
    # Not even if the classifier is certain already.
    assert tempered(np.eye(2), best_temperature(np.eye(2), np.arange(2))).max() < 0.99


def test_every_image_with_partners_is_classified_by_the_others():
    random = np.random.default_rng(0)
    counts = [1, 2, 13]
    labels = random.permutation(np.repeat(np.arange(3), counts))
    support = np.eye(3)[labels] * 3 + random.normal(0, 0.1, (16, 3))
    seen = []

    def classify(rest, rest_labels, query):
        assert set(rest_labels) == {0, 1, 2}
        assert not {tuple(row) for row in rest} & {tuple(row) for row in query}
        seen.extend(map(tuple, query))
        return CLASSIFIERS["nearest_centroid"].probabilities(rest, rest_labels, query)

    probabilities, known = held_out_probabilities(classify, support, labels)
    assert len(set(seen)) == len(seen) == 15 and sorted(known) == [1] * 2 + [2] * 13
    assert (probabilities.argmax(axis=1) == known).all()


def test_without_partners_nothing_is_held_out():
    probabilities, known = held_out_probabilities(lambda *_: 1 / 0, np.eye(3), np.arange(3))
    assert probabilities.shape == (0, 3) and known.shape == (0,)
