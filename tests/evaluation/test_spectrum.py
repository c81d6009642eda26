"""Singular values and spectral weights."""

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

from dsl_tf.evaluation.spectrum import singular_values, spectral_weights
from dsl_tf.losses import spectral_projection

SHAPES = [(12, 5), (5, 12), (7, 7), (1, 4), (4, 1), (1, 1)]


def kernel(d, C, values=None, seed=0):
    """A kernel with known singular values."""
    random = np.random.default_rng(seed)
    U, _ = np.linalg.qr(random.standard_normal((d, d)))
    V, _ = np.linalg.qr(random.standard_normal((C, C)))
    rank = min(d, C)
    values = np.linspace(3, 0.5, rank) if values is None else np.asarray(values, np.float64)
    return U, (U[:, :rank] * values) @ V[:, :rank].T, values


@pytest.mark.parametrize("d, C", SHAPES)
def test_known_singular_values_are_found_and_padded(d, C):
    _, W, values = kernel(d, C)
    found = singular_values(W)
    assert found.dtype == np.float64 and found.shape == (d,)
    np.testing.assert_allclose(found[: len(values)], values, rtol=1e-12)
    assert (found[len(values) :] == 0).all()


@pytest.mark.parametrize("d, C", SHAPES)
@pytest.mark.parametrize("power", [0, 0.1, 0.3, 0.5, 1, 3])
def test_the_weights_are_those_of_the_loss(d, C, power):
    U, W, _ = kernel(d, C)
    weights = spectral_weights(W, power)
    assert weights.dtype == np.float64 and weights.shape == (d,)
    # The loss scales each direction of U by its weight.
    projected = spectral_projection(U.T, W, power).numpy()
    np.testing.assert_allclose(projected, weights[:, None] * U.T, atol=1e-7)


def test_weights_by_hand():
    np.testing.assert_allclose(spectral_weights(np.diag([4.0, 1.0, 2.0]), 0.5), [0, 1 - 0.5**0.5, 0.5], atol=1e-15)
    np.testing.assert_array_equal(spectral_weights(np.diag([4.0, 1.0, 2.0]), 0), [0, 0, 0])
    np.testing.assert_array_equal(spectral_weights(np.array([[3.0], [4.0], [0.0]]), 0), [0, 1, 1])


@pytest.mark.parametrize("d, C", [(12, 5), (5, 12)])
@pytest.mark.parametrize("share, is_zero", [(0.9, True), (1.1, False)])
@pytest.mark.parametrize("power", [0, 0.1])
def test_a_singular_value_counts_as_zero_where_it_does_in_the_loss(d, C, share, is_zero, power):
    smallest = share * 12 * np.finfo(np.float32).eps * 3
    U, W, _ = kernel(d, C, [3, 2, 1, 0.5, smallest])
    weights = spectral_weights(W, power)
    assert (weights[4] == 1) == is_zero
    np.testing.assert_allclose(spectral_projection(U.T, W, power).numpy(), weights[:, None] * U.T, atol=1e-4)


@pytest.mark.parametrize("power", [0, 0.3, 1])
def test_a_kernel_of_zeros_changes_nothing(power):
    np.testing.assert_array_equal(singular_values(np.zeros((4, 2))), np.zeros(4))
    np.testing.assert_array_equal(spectral_weights(np.zeros((4, 2)), power), np.ones(4))


@pytest.mark.parametrize("convert", [tf.Variable, tf.constant, lambda W: W.astype(ml_dtypes.bfloat16)])
def test_any_array(convert):
    W = np.array([[2.0, 0], [0, 0.5], [0, 0]], np.float32)
    np.testing.assert_allclose(singular_values(convert(W)), [2, 0.5, 0])
    np.testing.assert_allclose(spectral_weights(convert(W), 1), [0, 0.75, 1])


@pytest.mark.parametrize("power", [-0.1, float("nan")])
def test_a_power_below_zero_is_an_error(power):
    with pytest.raises(ValueError, match="power"):
        spectral_weights(np.eye(3), power)


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (0, 3), (3, 0)])
def test_what_is_no_matrix_is_an_error(shape):
    with pytest.raises(ValueError, match=r"\[d, C\]"):
        singular_values(np.zeros(shape))
