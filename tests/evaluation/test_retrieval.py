"""Retrieval metrics."""

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

from dsl_tf.errors import UserError
from dsl_tf.evaluation.retrieval import retrieval_metrics


def naive(features, labels, ks=(1, 2, 4, 8)):
    """One query and one rank after the other in float64; equal distances keep the order of the positions."""
    x = np.asarray(features).astype(np.float64)
    recalls, averages = {k: [] for k in ks}, []
    for query in range(len(x)):
        others = [position for position in range(len(x)) if position != query]
        distances = [float(((x[position] - x[query]) ** 2).sum()) for position in others]
        ranked = [others[place] for place in sorted(range(len(others)), key=lambda place: distances[place])]
        relevant = [labels[position] == labels[query] for position in ranked]
        if not any(relevant):
            continue
        for k in ks:
            recalls[k].append(any(relevant[:k]))
        total, hits = 0.0, 0
        for rank, hit in enumerate(relevant[: sum(relevant)], start=1):
            hits += hit
            total += hit * hits / rank
        averages.append(total / sum(relevant))
    return {**{f"recall_at_{k}": np.mean(recalls[k]) for k in ks}, "map_at_r": np.mean(averages)}


def clusters(sizes, d=16, noise=1.5, seed=0):
    random = np.random.default_rng(seed)
    labels = random.permutation(np.repeat(np.arange(len(sizes)), sizes))
    centres = random.standard_normal((len(sizes), d))
    return (centres[labels] + noise * random.standard_normal((len(labels), d))).astype(np.float32), labels


def assert_same(measured, expected):
    assert list(measured) == list(expected)
    assert all(type(value) is float for value in measured.values())
    assert measured == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    "sizes",
    [[20] * 8, [1, 2, 3, 50, 1, 17], [40], [2, 1, 1, 1, 1, 1], [100, 2, 2, 2], [2, 2]],
    ids=["equal", "unequal", "one class", "one pair", "one large", "smallest"],
)
@pytest.mark.parametrize("block", [None, 1, 7])
def test_as_one_query_after_the_other(sizes, block):
    features, labels = clusters(sizes)
    assert_same(retrieval_metrics(features, labels, block=block), naive(features, labels))


def test_by_hand():
    features = np.array([[0.0], [1], [3], [7], [15], [100]])
    labels = np.array([5, -2, 5, -2, 5, 9])
    # Nearest first, the first 2 others: 0 → 1 2; 1 → 0 2; 2 → 1 0; 3 → 2 1; 4 → 3 2. Class 5 has R = 2 and its hits on
    # rank 2 alone, class −2 has R = 1 and no hit; the image of class 9 is no query.
    expected = {"recall_at_1": 0.0, "recall_at_2": 4 / 5, "map_at_r": 3 * (1 / 2) / 2 / 5}
    assert_same(retrieval_metrics(features, labels, ks=(1, 2)), expected)


def test_precision_counts_only_where_the_rank_is_relevant():
    labels = np.array([0, 0, 1, 0, 0])
    # The ranks up to R = 3, x a hit: from 0 x o x, from 1 x o x, from 3 o x x, from 4 x o x; 2 has no other.
    features = np.array([[0.0], [1], [2.1], [3.05], [4.9]])
    first, last = (1 / 1 + 2 / 3) / 3, (1 / 2 + 2 / 3) / 3
    expected = {"recall_at_1": 3 / 4, "map_at_r": (3 * first + last) / 4}
    assert_same(retrieval_metrics(features, labels, ks=(1,)), expected)


def test_perfect_and_useless_features():
    labels = np.repeat(np.arange(5), 6)
    perfect = retrieval_metrics(np.eye(5)[labels], labels)
    assert set(perfect.values()) == {1.0}
    # Every image's nearest are of the other class.
    pairs = np.array([[0.0], [10], [1], [11]])
    assert retrieval_metrics(pairs, [0, 0, 1, 1], ks=(1,)) == {"recall_at_1": 0.0, "map_at_r": 0.0}


@pytest.mark.parametrize("spread", [2, 4])
def test_equal_distances_keep_the_order_of_the_images(spread):
    random = np.random.default_rng(3)
    features, labels = random.integers(spread, size=(120, 3)).astype(np.float32), random.integers(6, size=120)
    assert_same(retrieval_metrics(features, labels), naive(features, labels))
    assert_same(retrieval_metrics(features + 1000, labels, block=11), naive(features, labels))


def test_all_images_the_same():
    labels = np.array([0, 1, 1, 0, 2, 1])
    features = np.full((6, 4), 0.1, np.float32)
    assert_same(retrieval_metrics(features, labels), naive(features, labels))
    assert_same(retrieval_metrics(0 * features, labels), naive(features, labels))


def test_duplicates_of_real_features():
    features, labels = clusters([15] * 6, d=37)
    copies = np.random.default_rng(1).integers(len(features), size=60)
    features = np.concatenate([features, features[copies], features[copies[:30]]])
    labels = np.concatenate([labels, np.random.default_rng(2).integers(6, size=90)])
    assert_same(retrieval_metrics(features, labels), naive(features, labels))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64, tf.bfloat16])
def test_any_float_dtype(dtype):
    features, labels = clusters([25] * 5, noise=3)
    features = tf.cast(features, dtype) if isinstance(dtype, tf.DType) else features.astype(dtype)
    assert_same(retrieval_metrics(features, labels), naive(features, labels))


@pytest.mark.parametrize("dtype, offset", [(np.float32, 1e4), (np.float64, -1e9), (ml_dtypes.bfloat16, 30)])
def test_far_from_the_origin(dtype, offset):
    features, labels = clusters([25] * 5)
    features = (features + offset).astype(dtype)
    assert_same(retrieval_metrics(features, labels), naive(features, labels))


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12, 1e30])
def test_any_scale(scale):
    features, labels = clusters([25] * 5)
    features *= np.float32(scale)
    assert_same(retrieval_metrics(features, labels), naive(features, labels))


def test_the_first_image_may_lie_far_away():
    features, labels = clusters([25] * 5)
    features[0] = 1e4
    # Against it the others are near each other: all but the last digits of their distances must be kept.
    measured, expected = retrieval_metrics(features, labels), naive(features, labels)
    assert measured == pytest.approx(expected, abs=0.01)


def test_numbers_larger_than_the_data():
    features, labels = clusters([3, 2])
    assert_same(retrieval_metrics(features, labels, ks=(3, 1, 100)), naive(features, labels, (3, 1, 100)))


def test_nothing_to_find_is_an_error():
    with pytest.raises(UserError, match=r"at least 2 images\. Received: 5 images of 5 classes"):
        retrieval_metrics(np.eye(5), np.arange(5))
    with pytest.raises(UserError):
        retrieval_metrics(np.zeros((0, 3)), np.zeros(0, int))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_not_finite_are_an_error(value):
    features, labels = clusters([4, 4])
    features[3, 2] = value
    with pytest.raises(UserError, match="finite"):
        retrieval_metrics(features, labels)


def test_what_does_not_fit_is_an_error():
    with pytest.raises(ValueError, match=r"features \(4, 3\), labels \(5,\)"):
        retrieval_metrics(np.zeros((4, 3)), np.zeros(5))
    with pytest.raises(ValueError, match="features"):
        retrieval_metrics(np.zeros((4, 3, 1)), np.zeros(4))
    for ks in ((), (0, 1)):
        with pytest.raises(ValueError, match="ks"):
            retrieval_metrics(np.eye(4), np.zeros(4), ks=ks)
