"""Tests of classification and retrieval of known classes, against naive loops in float64."""

import numpy as np
import pytest

from dsl_tf.errors import UserError
from dsl_tf.evaluation.known_classes import (
    class_means,
    known_class_measures,
    linear_classes,
    nearest_class_mean,
    share_interval,
    transformed_class_means,
)


def drawn(seed=0, classes=7, per_class=6, offset=0.0):
    random = np.random.default_rng(seed)
    centres = random.normal(0, 1, (classes, 5)) + offset
    labels = np.repeat(np.arange(classes), per_class)
    return (centres[labels] + random.normal(0, 0.8, (len(labels), 5))).astype(np.float32), labels


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_the_nearest_class_mean(offset):
    features, labels = drawn(offset=offset)
    means = class_means(features, labels, 7)
    naive = np.array([np.mean([x.astype(np.float64) for x, y in zip(features, labels) if y == c], 0) for c in range(7)])
    np.testing.assert_allclose(means, naive, rtol=1e-12)
    query, _ = drawn(seed=1, offset=offset)
    expected = [min(range(7), key=lambda c: ((x.astype(np.float64) - naive[c]) ** 2).sum()) for x in query]
    assert nearest_class_mean(query, means).tolist() == expected


def test_no_image_is_assigned_to_a_class_without_images():
    features, labels = drawn()
    means = class_means(features, labels + (labels > 2), 8)
    assert np.isnan(means[3]).all() and 3 not in nearest_class_mean(features, means)


def test_the_largest_logit_counts():
    features, _ = drawn()
    random = np.random.default_rng(2)
    kernel, bias = random.normal(size=(5, 7)), random.normal(size=7)
    expected = [max(range(7), key=lambda c: float(x @ kernel[:, c] + bias[c])) for x in features.astype(np.float64)]
    assert linear_classes(features, kernel, bias).tolist() == expected


@pytest.mark.parametrize(("right", "count"), [(0, 4), (4, 4), (1, 3), (45, 50), (700, 1000)])
def test_an_interval_holds_the_shares_that_the_answers_do_not_contradict(right, count):
    """Wilson's interval: where (p̂ − p)² = z² p(1 − p)/n."""
    low, high = share_interval(right, count)
    assert 0 <= low <= right / count <= high <= 1
    for end in {low, high} - {0.0, 1.0}:
        assert (right / count - end) ** 2 == pytest.approx(1.96**2 * end * (1 - end) / count)


def test_all_measures_of_held_out_images():
    train, train_labels = drawn()
    test, labels = drawn(seed=0, per_class=4)
    keep = labels < 5
    test, labels = test[keep], labels[keep]
    mean = train.mean(axis=0)
    means = transformed_class_means(train, train_labels, 7, ("none", "l2", "cl2"), mean)
    kernel, bias = np.eye(5, 7), np.zeros(7)
    found = known_class_measures(test, labels, "test", means, mean, (kernel, bias))
    entries = {(entry["classifier"], entry["feature_transform"]): entry for entry in found["accuracies"]}
    assert list(entries) == [*(("nearest_class_mean", kind) for kind in ("none", "l2", "cl2")), ("classifier", "none")]
    for kind, change in {"none": lambda x: x, "l2": lambda x: x / np.linalg.norm(x)}.items():
        changed = [(change(x.astype(np.float64)), y) for x, y in zip(train, train_labels)]
        centres = [np.mean([x for x, y in changed if y == c], 0) for c in range(7)]
        right = [
            np.argmin([np.linalg.norm(change(x.astype(np.float64)) - centre) for centre in centres]) == y
            for x, y in zip(test, labels)
        ]
        assert entries["nearest_class_mean", kind]["accuracy"] == np.mean(right)
    assert entries["classifier", "none"]["accuracy"] == np.mean(test.argmax(axis=1) == labels)
    assert entries["classifier", "none"]["classes"] == 7 and entries["classifier", "none"]["images"] == 20
    assert found["largest_class"] == 0.2
    nearest = [
        min((j for j in range(20) if j != i), key=lambda j: np.linalg.norm(test[i] - test[j])) for i in range(20)
    ]
    assert found["retrieval"]["recall_at_1"] == np.mean(labels[nearest] == labels)


def test_without_pairs_there_is_no_retrieval_and_without_images_nothing():
    features, labels = drawn()
    means = {"none": class_means(features, labels, 7)}
    assert "retrieval" not in known_class_measures(features[::6], labels[::6], "test", means)
    with pytest.raises(UserError, match="'test' must have images of training classes"):
        known_class_measures(features[:0], labels[:0], "test", means)
