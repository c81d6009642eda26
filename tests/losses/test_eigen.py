"""Eigenvectors of Gram matrices, with and without XLA, against matrices whose decomposition is known."""

import numpy as np
import pytest
import tensorflow as tf

from dsl_tf.losses import complement_projection, spectral_projection
from dsl_tf.losses.eigen import symmetric_eigen
from tests.losses import oracles
from tests.losses.oracles import matrix

SPECTRA = {
    "geometric": np.geomspace(1, 1e-5, 24),
    "linear": np.linspace(1, 1e-5, 24),
    "two clusters": np.repeat([1, 1e-5], 12),
    "four clusters": np.repeat([1, 1e-2, 1e-4, 1e-5], 6),
    "rank deficient": np.repeat([1, 0.5, 0], 8),
    "orthonormal": np.ones(24),
    "zero": np.zeros(24),
}


def kernel(shape, spectrum):
    return matrix(np.random.default_rng(0), *shape, SPECTRA[spectrum])


@pytest.mark.parametrize(
    ("spectrum", "jit_compile"), [*((name, False) for name in SPECTRA), ("geometric", True), ("rank deficient", True)]
)
def test_eigenvectors_are_orthonormal_and_give_the_matrix_back(spectrum, jit_compile):
    W = kernel((24, 40), spectrum)
    eigenvalues, V = tf.function(symmetric_eigen, jit_compile=jit_compile)(tf.constant(W @ W.T))
    tolerance = 1e-7 if jit_compile else 1e-13
    np.testing.assert_allclose(V.numpy().T @ V.numpy(), np.eye(24), atol=tolerance)
    np.testing.assert_allclose((V * eigenvalues).numpy() @ V.numpy().T, W @ W.T, atol=tolerance)
    np.testing.assert_allclose(np.sort(eigenvalues), np.sort(SPECTRA[spectrum] ** 2), rtol=1e-4, atol=1e-12)


# Pairs of all, since XLA takes seconds to compile each.
@pytest.mark.parametrize(
    ("spectrum", "shape", "gradient_to_kernel", "power"),
    [
        ("geometric", (24, 40), False, 0.3),
        ("four clusters", (40, 24), False, 0.3),
        ("rank deficient", (40, 24), False, 0),
        ("geometric", (40, 24), True, 0.3),
        ("two clusters", (24, 40), True, 0),
    ],
)
def test_the_spectral_projection_is_right_under_xla(spectrum, shape, gradient_to_kernel, power):
    W, x = kernel(shape, spectrum), np.random.default_rng(1).standard_normal((5, shape[0]))
    compiled = tf.function(
        lambda x, W: spectral_projection(x, W, power, gradient_to_kernel=gradient_to_kernel), jit_compile=True
    )
    np.testing.assert_allclose(compiled(x, W), oracles.spectral_projection(x, W, power), atol=1e-5)


@pytest.mark.parametrize("spectrum", ["geometric", "rank deficient", "zero"])
def test_equation_8_is_right_under_xla(spectrum):
    W, x = kernel((40, 24), spectrum), np.random.default_rng(2).standard_normal((5, 40))
    left, singular_values, _ = np.linalg.svd(W, full_matrices=False)
    for epsilon in (1e-3, 1e-8):
        compiled = tf.function(lambda x, W, epsilon=epsilon: complement_projection(x, W, epsilon), jit_compile=True)
        kept = singular_values**2 / (singular_values**2 + epsilon)
        np.testing.assert_allclose(compiled(x, W), x - (x @ left * kept) @ left.T, atol=1e-6)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5)])
def test_the_decomposition_is_that_of_tensorflow_s_svd(shape):
    W, x = np.random.default_rng(3).standard_normal(shape), np.random.default_rng(4).standard_normal((7, shape[0]))
    singular_values, left, _ = tf.linalg.svd(W)
    weights = (singular_values / singular_values[0]) ** 0.3
    expected = x - tf.matmul(tf.matmul(x, left) * weights, left, transpose_b=True)
    np.testing.assert_allclose(spectral_projection(x, W, 0.3), expected, atol=1e-12)
