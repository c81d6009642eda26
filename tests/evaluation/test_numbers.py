"""Numbers that no accuracy may be computed from, and those of unusual size."""

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

from dsl_tf.errors import UserError
from dsl_tf.evaluation import (
    CLASSIFIERS,
    choose_hyperparameters,
    discriminant_score,
    episode_predictions,
    few_shot_accuracies,
    laplacian_shot,
    nearest_centroid,
    sample_episodes,
    subspace_scores,
    transform_features,
)
from dsl_tf.evaluation.numbers import check_finite, computing_dtype
from dsl_tf.evaluation.retrieval import retrieval_metrics
from dsl_tf.evaluation.spectrum import singular_values

LABELS = np.repeat(np.arange(5), 8)
SMALL = {"ways": 3, "shots": (1,), "queries": 4, "episodes": 20}
SUPPORT, QUERY = sample_episodes(LABELS, 3, 1, 4, 20, seed=0)


def features(seed=0, d=8):
    random = np.random.default_rng(seed)
    return (random.standard_normal((5, d))[LABELS] + 0.5 * random.standard_normal((40, d))).astype(np.float32)


# Everything public that takes features `[40, 8]`.
ENTRIES = {
    "few_shot_accuracies": lambda x: few_shot_accuracies(x, LABELS, "test", **SMALL),
    "l2": lambda x: few_shot_accuracies(x, LABELS, "test", feature_transforms=("l2",), **SMALL),
    "episode_predictions": lambda x: episode_predictions(x, SUPPORT, QUERY, nearest_centroid),
    "choose_hyperparameters": lambda x: choose_hyperparameters(
        x, LABELS, seed=0, classifiers=("laplacian_shot",), feature_transforms=("none",), **SMALL
    ),
    "nearest_centroid": lambda x: nearest_centroid(x[SUPPORT], x[:6][None].repeat(20, axis=0)),
    "query": lambda x: nearest_centroid(np.zeros((1, 2, 1, 8)), x[None]),
    "laplacian_shot": lambda x: laplacian_shot(x[SUPPORT], x[:6][None].repeat(20, axis=0)),
    "nearest_centroid_probabilities": lambda x: CLASSIFIERS["nearest_centroid"].probabilities(x, LABELS, x[:3]),
    "laplacian_shot_probabilities": lambda x: CLASSIFIERS["laplacian_shot"].probabilities(x, LABELS, x[:3]),
    "discriminant_score": lambda x: discriminant_score(x, LABELS),
    "subspace_scores": lambda x: subspace_scores(x, LABELS, np.eye(8, 3)),
    "kernel": lambda x: subspace_scores(np.ones((4, 40)), np.arange(4), x),
    "singular_values": singular_values,
    "retrieval_metrics": lambda x: retrieval_metrics(x, LABELS),
    "transform_features": lambda x: transform_features(x, "l2"),
    "mean": lambda x: transform_features(np.zeros((2, 8)), "cl2", x[3]),
}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("entry", ENTRIES)
def test_nothing_is_computed_from_what_is_not_finite(entry, value):
    broken = features()
    # The fourth image, which every entry looks at, and at least one of all episodes.
    broken[3, 2] = value
    with pytest.raises(UserError, match=r"^`\w+` must be finite\. Received: \d+ of \d+ values NaN or infinite\. Check"):
        ENTRIES[entry](broken)


def test_the_error_counts_what_is_not_finite():
    broken = features()
    broken[:2] = np.nan
    broken[7, 0] = np.inf
    with pytest.raises(UserError, match="^`features` must be finite. Received: 17 of 320 values") as caught:
        few_shot_accuracies(broken, LABELS, "test")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("values", [np.array(["a", "b"]), np.array([None, {}]), np.array([b"x"])])
def test_what_holds_no_numbers_is_named(values):
    with pytest.raises(UserError, match="`x` must be an array of real numbers. Received: dtype"):
        check_finite(x=values)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64, np.int64, bool])
def test_every_dtype_of_numbers_is_looked_at(dtype):
    assert check_finite(x=np.array([[1, 0]], dtype), y=np.zeros((0, 2))) == 1
    assert computing_dtype(x=tf.constant([0.0])) == computing_dtype(x=np.array([1, 0], dtype)) == np.float32


# Numbers of unusual size.


@pytest.mark.parametrize("scale", [1e-30, 1e-18, 1e18, 1e30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_scale_of_features_changes_no_answer_that_is_free_of_it(scale, dtype):
    x = features()
    # The same rounding for both, so that their answers can be compared one by one.
    scaled = (x * dtype(scale)).astype(dtype)
    x = scaled.astype(np.float64) / scale
    expected = episode_predictions(x, SUPPORT, QUERY, nearest_centroid)
    np.testing.assert_array_equal(episode_predictions(scaled, SUPPORT, QUERY, nearest_centroid), expected)
    options = {"feature_transforms": ("none", "l2", "cl2"), **SMALL}
    for large, ordinary in zip(
        few_shot_accuracies(scaled, LABELS, "test", mean=scaled.mean(axis=0), **options),
        few_shot_accuracies(x, LABELS, "test", mean=x.mean(axis=0), **options),
        strict=True,
    ):
        assert large["accuracy"] == pytest.approx(ordinary["accuracy"], abs=0.005)
    assert discriminant_score(scaled, LABELS) == pytest.approx(discriminant_score(x, LABELS), rel=1e-9)
    assert retrieval_metrics(scaled, LABELS) == pytest.approx(retrieval_metrics(x, LABELS), abs=1e-3)


@pytest.mark.parametrize("scale", [1e18, -1e30])
def test_one_vector_that_is_far_away_does_not_hide_the_others(scale):
    x = features()
    x[0] *= np.float32(scale)
    distances = ((x[8:, None].astype(np.float64) - x[[0, 8, 16, 24]]) ** 2).sum(axis=-1)
    predicted = nearest_centroid(x[[0, 8, 16, 24]][None, :, None], x[8:][None])[0]
    np.testing.assert_array_equal(predicted, distances.argmin(axis=1))


@pytest.mark.parametrize("scale", [1e200, 1e-200])
@pytest.mark.parametrize("entry", ["few_shot_accuracies", "discriminant_score", "retrieval_metrics", "singular_values"])
def test_numbers_whose_squares_no_float_holds_are_refused(entry, scale):
    with pytest.raises(UserError, match="must be from 1e-120 to 1e120.*Received: .*e.20.*Multiply"):
        ENTRIES[entry](features().astype(np.float64) * scale)


@pytest.mark.parametrize("scale", [1e-12, 1e-30])
def test_features_that_laplacian_shot_cannot_see_are_refused(scale):
    x = features() * np.float32(scale)
    for entry in ("laplacian_shot", "laplacian_shot_probabilities", "choose_hyperparameters"):
        with pytest.raises(UserError, match="LaplacianShot compares .* at least 1e-9. Received: at most .*e-"):
            ENTRIES[entry](x)
    settings = {"classifiers": ("laplacian_shot",), **SMALL}
    with pytest.raises(UserError, match="LaplacianShot compares"):
        few_shot_accuracies(x, LABELS, "test", feature_transforms=("none",), **settings)
    (entry,) = few_shot_accuracies(x, LABELS, "test", feature_transforms=("l2",), **settings)
    assert entry["accuracy"] > 0.6


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_equal_features_are_no_error(value):
    x = np.full((40, 8), value)
    for entry in ("few_shot_accuracies", "l2", "laplacian_shot", "discriminant_score", "retrieval_metrics"):
        ENTRIES[entry](x)
