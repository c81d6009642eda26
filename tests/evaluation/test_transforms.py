"""Feature transforms."""

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

from dsl_tf.errors import UserError
from dsl_tf.evaluation.transforms import FEATURE_TRANSFORMS, transform_features


def features(shape=(7, 5), seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def naive(x, kind, mean=None):
    """Vector by vector, in float64."""
    vectors = [np.array(vector, np.float64) for vector in np.asarray(x, np.float64).reshape(-1, np.shape(x)[-1])]
    if kind == "cl2":
        vectors = [vector - mean for vector in vectors]
    if kind != "none":
        # Scaled by the largest element, no square can overflow or vanish.
        scales = [max(np.abs(vector).max(), 1e-300) for vector in vectors]
        vectors = [vector / scale for vector, scale in zip(vectors, scales, strict=True)]
        vectors = [vector / (np.sqrt((vector**2).sum()) or 1.0) for vector in vectors]
    return np.reshape(vectors, np.shape(x))


def assert_transformed(x, kind, mean=None, tolerance=1e-6):
    transformed = transform_features(x, kind, mean)
    expected = naive(x, kind, None if mean is None else np.asarray(mean, np.float64))
    assert transformed.dtype == np.float32 and transformed.shape == np.shape(x)
    np.testing.assert_allclose(transformed, expected, rtol=tolerance, atol=tolerance if kind != "none" else 0)


@pytest.mark.parametrize("kind", FEATURE_TRANSFORMS)
@pytest.mark.parametrize("shape", [(7, 5), (1, 1), (3, 4, 6), (2, 3, 4, 5), (6,)])
def test_each_vector_is_transformed_by_itself(kind, shape):
    assert_transformed(features(shape), kind, features(shape[-1:], seed=1))


def test_what_the_kinds_do():
    x = np.array([[3.0, 4.0], [0.0, -2.0]])
    np.testing.assert_array_equal(transform_features(x, "none"), x)
    np.testing.assert_allclose(transform_features(x, "l2"), [[0.6, 0.8], [0, -1]], rtol=1e-7)
    np.testing.assert_allclose(transform_features(x, "cl2", [0, 4]), [[1, 0], [0, -1]], atol=1e-7)


@pytest.mark.parametrize("kind", ["none", "l2"])
def test_a_mean_is_for_cl2_alone(kind):
    x = features()
    np.testing.assert_array_equal(transform_features(x, kind, features((5,), seed=1)), transform_features(x, kind))


@pytest.mark.parametrize("kind", FEATURE_TRANSFORMS)
@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64, tf.float16, tf.bfloat16])
def test_any_float_dtype(kind, dtype):
    x, mean = features((6, 40)) * 50, features((40,), seed=1) * 50
    if isinstance(dtype, tf.DType):
        x, mean = tf.cast(x, dtype), tf.cast(mean, dtype)
    else:
        x, mean = x.astype(dtype), mean.astype(dtype)
    assert_transformed(x, kind, mean)


@pytest.mark.parametrize("kind", FEATURE_TRANSFORMS)
@pytest.mark.parametrize("scale", [1e30, 1e-30, 1e4, 1e-4])
def test_values_whose_squares_leave_float32(kind, scale):
    x, mean = (features() * scale).astype(np.float32), (features((5,), seed=1) * scale).astype(np.float32)
    assert_transformed(x, kind, mean)
    if kind != "none":
        np.testing.assert_allclose((transform_features(x, kind, mean) ** 2).sum(axis=-1), 1, rtol=1e-5)


def test_the_squares_of_half_precision_do_not_overflow():
    x = np.full((2, 9), 6e4, np.float16)
    np.testing.assert_allclose(transform_features(x, "l2"), 1 / 3, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_zero_vector_stays_zero(dtype):
    x = features().astype(dtype)
    mean = x[4].copy()
    x[2] = 0
    with np.errstate(all="raise"):
        for kind, zero in (("none", 2), ("l2", 2), ("cl2", 4)):
            transformed = transform_features(x, kind, mean)
            np.testing.assert_array_equal(transformed[zero], np.zeros(5))
            assert np.isfinite(transformed).all()
            assert (np.abs(np.delete(transformed, zero, axis=0)).sum(axis=1) > 0).all()


@pytest.mark.parametrize("kind", FEATURE_TRANSFORMS)
def test_the_features_themselves_are_left_as_they_are(kind):
    x, mean = features(), features((5,), seed=1)
    before, mean_before = x.copy(), mean.copy()
    transform_features(x, kind, mean)
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(mean, mean_before)


def test_a_mean_close_to_the_features_keeps_their_difference():
    x = 1e4 + features((6, 8))
    assert_transformed(x, "cl2", np.full(8, 1e4))


@pytest.mark.parametrize("kind", ["L2", "", None, "centred"])
def test_an_unknown_kind_is_an_error(kind):
    with pytest.raises(UserError, match=rf"none, l2, cl2.*Received: {kind!r}"):
        transform_features(features(), kind)


def test_cl2_without_a_mean_is_an_error():
    with pytest.raises(UserError, match="cl2 needs.*mean.*Received: None"):
        transform_features(features(), "cl2")
