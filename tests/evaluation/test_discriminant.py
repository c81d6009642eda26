"""The discriminant score of Table 1."""

import numpy as np
import pytest

from dsl_tf.evaluation.discriminant import discriminant_score, subspace_scores


def clustered(n=60, d=6, classes=4, separation=1.0, seed=0):
    random = np.random.default_rng(seed)
    y = random.permutation(np.arange(n) % classes)
    return separation * random.standard_normal((classes, d))[y] + random.standard_normal((n, d)), y


def naive_score(x, y):
    """The traces of the between-class and the total scatter matrix, summed outer product by outer product."""
    x = np.asarray(x, np.float64)
    d, mean = x.shape[1], np.array([np.mean(column) for column in x.T])
    between, total = np.zeros((d, d)), np.zeros((d, d))
    for label in set(np.asarray(y).tolist()):
        members = x[np.asarray(y) == label]
        difference = members.mean(axis=0) - mean
        between += len(members) * np.outer(difference, difference)
    for sample in x:
        total += np.outer(sample - mean, sample - mean)
    return np.trace(between) / np.trace(total)


@pytest.mark.parametrize("n, d, classes", [(60, 6, 4), (7, 3, 2), (30, 40, 5), (50, 1, 10), (9, 4, 9), (12, 4, 1)])
@pytest.mark.parametrize("separation", [0.1, 1.0, 10.0])
def test_the_ratio_of_the_traces_of_the_scatter_matrices(n, d, classes, separation):
    x, y = clustered(n, d, classes, separation)
    score = discriminant_score(x, y)
    assert type(score) is float and 0 <= score <= 1
    np.testing.assert_allclose(score, naive_score(x, y), rtol=1e-10, atol=1e-12)


def test_classes_of_unequal_size_count_by_their_images():
    x = np.array([[0.0], [0.0], [0.0], [4.0]])
    # Mean 1: between 3·1 + 1·9, total the same, for there is nothing within.
    assert discriminant_score(x, [0, 0, 0, 1]) == pytest.approx(1)
    # Means 0 and 2 of two: between 2·1 + 2·1, total 12.
    assert discriminant_score(x, [0, 0, 1, 1]) == pytest.approx(1 / 3)


def test_by_separation():
    scores = [discriminant_score(*clustered(300, separation=separation)) for separation in (0, 0.5, 1, 3, 100)]
    assert scores == sorted(scores)
    assert scores[0] < 0.05 and scores[-1] > 0.99


@pytest.mark.parametrize("values", [[7, -3, 1000, 2], [2**40, 0, -(2**40), 5], [0, 1, 2, 200]])
def test_labels_may_have_any_values(values):
    x, y = clustered()
    np.testing.assert_allclose(discriminant_score(x, np.array(values)[y]), discriminant_score(x, y), rtol=1e-12)
    assert discriminant_score(x, y.tolist()) == discriminant_score(x, y)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_float_features_are_measured_in_float64(dtype):
    x, y = clustered()
    x = (x + 20).astype(dtype)
    np.testing.assert_allclose(discriminant_score(x, y), naive_score(x, y), rtol=1e-10)


def test_invariant_to_shift_scale_rotation_and_order():
    x, y = clustered()
    score = discriminant_score(x, y)
    random = np.random.default_rng(1)
    rotation = np.linalg.qr(random.standard_normal((6, 6)))[0]
    order = random.permutation(len(y))
    for other in (x + 1e4 * random.standard_normal(6), 1e6 * x, 1e-6 * x, -x, x @ rotation):
        np.testing.assert_allclose(discriminant_score(other, y), score, rtol=1e-9)
    np.testing.assert_allclose(discriminant_score(x[order], y[order]), score, rtol=1e-10)


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, -1e8, 1e-30])
@pytest.mark.parametrize("n", [1, 3, 7, 1000])
def test_identical_features_score_nothing(value, n):
    assert discriminant_score(np.full((n, 2), value), np.arange(n) % 3) == 0.0


@pytest.mark.parametrize("copies", [1, 3, 7])
def test_classes_of_identical_features_score_one_and_no_more(copies):
    for seed in range(30):
        x = np.repeat(np.random.default_rng(seed).standard_normal((4, 3)), copies, axis=0)
        score = discriminant_score(x, np.repeat(np.arange(4), copies))
        assert 1 - 1e-12 < score <= 1


# Subspaces.


def naive_subspace_scores(x, y, W):
    """With an orthonormal basis of span(W), by QR; W of full column rank."""
    x, basis = np.asarray(x, np.float64), np.linalg.qr(np.asarray(W, np.float64))[0]
    inside = np.array([sum((column @ sample) * column for column in basis.T) for sample in x])
    return {"classifier_subspace": naive_score(inside, y), "complement": naive_score(x - inside, y)}


def assert_scores(received, expected):
    assert set(received) == {"classifier_subspace", "complement"}
    for name, score in expected.items():
        assert type(received[name]) is float and 0 <= received[name] <= 1
        np.testing.assert_allclose(received[name], score, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("d, classes", [(6, 4), (6, 5), (6, 1), (40, 7)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale, offset", [(1, 0), (1e-3, 0), (1e3, 0), (1, 5)])
def test_scores_in_the_span_of_the_classifier_and_beside_it(d, classes, dtype, scale, offset):
    x, y = clustered(d=d)
    x = (scale * (x + offset)).astype(dtype)
    W = np.random.default_rng(2).standard_normal((d, classes)).astype(dtype)
    assert_scores(subspace_scores(x, y, W), naive_subspace_scores(x, y, W))


def test_which_part_is_which():
    random = np.random.default_rng(0)
    y = np.arange(200) % 4
    # Classes lie apart in the first two dimensions only.
    x = np.concatenate([10 * random.standard_normal((4, 2))[y], np.zeros((200, 3))], axis=1)
    x += random.standard_normal(x.shape)
    scores = subspace_scores(x, y, np.eye(5, 2))
    assert scores["classifier_subspace"] > 0.9 and scores["complement"] < 0.1
    scores = subspace_scores(x, y, np.eye(5)[:, 2:])
    assert scores["classifier_subspace"] < 0.1 and scores["complement"] > 0.9


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_the_scale_of_the_classifier_does_not_matter(scale):
    x, y = clustered()
    W = np.random.default_rng(2).standard_normal((6, 4))
    assert_scores(subspace_scores(x, y, scale * W), naive_subspace_scores(x, y, W))


def test_a_classifier_of_lower_rank():
    x, y = clustered()
    W = np.random.default_rng(2).standard_normal((6, 2))
    assert_scores(subspace_scores(x, y, W @ np.array([[1, 0, 2], [0, 1, -1]])), naive_subspace_scores(x, y, W))


@pytest.mark.parametrize("d, classes", [(4, 4), (4, 6), (1, 3), (6, 64)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e-6, 1, 1e6])
def test_a_complement_of_no_dimensions_scores_nothing(d, classes, dtype, scale):
    for seed in range(5):
        x, y = clustered(d=d, seed=seed)
        W = np.random.default_rng(seed).standard_normal((d, classes))
        scores = subspace_scores((scale * x).astype(dtype), y, W.astype(dtype))
        assert scores["complement"] == 0.0
        assert scores["classifier_subspace"] == pytest.approx(naive_score((scale * x).astype(dtype), y), rel=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("offset", [0, 10])
def test_a_part_that_the_features_do_not_reach_scores_nothing(dtype, offset):
    y = clustered()[1]
    for seed in range(5):
        random = np.random.default_rng(seed)
        basis = np.linalg.qr(random.standard_normal((8, 8)))[0]
        x = ((offset + clustered(d=3, seed=seed)[0]) @ basis[:3]).astype(dtype)
        inside = basis[:3].T @ random.standard_normal((3, 3))
        scores = subspace_scores(x, y, inside)
        assert scores == {"classifier_subspace": pytest.approx(naive_score(x, y), rel=1e-5), "complement": 0.0}
        scores = subspace_scores(x, y, basis[3:].T @ random.standard_normal((5, 2)))
        assert scores == {"classifier_subspace": 0.0, "complement": pytest.approx(naive_score(x, y), rel=1e-5)}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_part_in_which_the_features_do_not_differ_scores_nothing(dtype):
    y = clustered()[1]
    for seed in range(5):
        basis = np.linalg.qr(np.random.default_rng(seed).standard_normal((8, 8)))[0]
        x = (clustered(d=3, seed=seed)[0] @ basis[:3] + 5 * basis[4]).astype(dtype)
        scores = subspace_scores(x, y, basis[:3].T)
        assert scores == {"classifier_subspace": pytest.approx(naive_score(x, y), rel=1e-5), "complement": 0.0}


def test_a_small_part_is_no_empty_one():
    x, y = clustered(d=5)
    x[:, 2:] *= 1e-5
    W = np.eye(5, 2)
    assert_scores(subspace_scores(x, y, W), naive_subspace_scores(x, y, W))


def test_no_classifier_leaves_everything_to_the_complement():
    x, y = clustered()
    scores = subspace_scores(x, y, np.zeros((6, 3)))
    assert scores == {"classifier_subspace": 0.0, "complement": pytest.approx(naive_score(x, y), rel=1e-9)}


def test_identical_features_score_nothing_in_either_part():
    W = np.random.default_rng(2).standard_normal((3, 2))
    assert subspace_scores(np.full((6, 3), 0.1), [0, 1, 2] * 2, W) == {"classifier_subspace": 0.0, "complement": 0.0}
