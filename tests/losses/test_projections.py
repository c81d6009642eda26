"""Equations (8) to (11) against loops, their properties, and gradients that reach the kernel."""

import numpy as np
import pytest
import tensorflow as tf

from dsl_tf.losses import classifier_projection, complement_projection, spectral_projection
from tests.losses import oracles
from tests.losses.oracles import DTYPES, assert_gradient, exact_complement, finite_difference_gradient, matrix, rounded

# Taller and wider kernels, square ones, a single class and a single feature.
SHAPES = [(6, 3), (3, 6), (4, 4), (5, 1), (1, 4)]
TALL = [(6, 3), (5, 1), (40, 8)]
POWERS = [0, 0.1, 0.3, 1, 2.5]
RIDGES = [
    pytest.param(complement_projection, oracles.complement_projection, id="complement"),
    pytest.param(classifier_projection, oracles.classifier_projection, id="classifier"),
]


def degenerate(name, d, classes):
    """Kernels at which singular values repeat or vanish; whole numbers, so that their rank is exact."""
    generator = np.random.default_rng(11)
    if name == "zero":
        return np.zeros((d, classes))
    if name == "orthonormal":
        return matrix(generator, d, classes, [1] * min(d, classes))
    if name == "duplicated columns":
        return generator.integers(-3, 4, (d, classes))[:, np.arange(classes) // 2].astype(np.float64)
    if name == "zero column":
        return generator.standard_normal((d, classes)) * (np.arange(classes) > 0)
    if name == "rank one":
        return np.outer(np.arange(1, d + 1), np.arange(classes) - 1).astype(np.float64)
    return matrix(generator, d, classes, [2] + [1] * (min(d, classes) - 1))


DEGENERATE = ["zero", "orthonormal", "duplicated columns", "zero column", "rank one", "repeated singular values"]


def samples(d, n=4, seed=0):
    return np.random.default_rng(seed).standard_normal((n, d))


def span_basis(W):
    """An orthonormal basis of span(W), whatever its rank."""
    left, singular_values, _ = np.linalg.svd(W)
    return left[:, : int(np.sum(singular_values > 1e-6 * max(singular_values.max(), 1e-300)))]


@pytest.mark.parametrize("epsilon", [1e-3, 0.5])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("projection, oracle", RIDGES)
def test_equation_8(projection, oracle, shape, epsilon):
    W = np.random.default_rng(1).standard_normal(shape)
    x = samples(shape[0])
    np.testing.assert_allclose(projection(x, W, epsilon), oracle(x, W, epsilon), atol=1e-11)


@pytest.mark.parametrize("projection, oracle", RIDGES)
def test_the_ridge_of_the_paper_is_the_default(projection, oracle):
    W, x = np.random.default_rng(1).standard_normal((6, 3)) * 0.1, samples(6)
    np.testing.assert_allclose(projection(x, W), oracle(x, W, 0.001), atol=1e-11)


@pytest.mark.parametrize("name", DEGENERATE)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("projection, oracle", RIDGES)
def test_equation_8_on_degenerate_kernels(projection, oracle, shape, name):
    W, x = degenerate(name, *shape), samples(shape[0])
    np.testing.assert_allclose(projection(x, W, 1e-3), oracle(x, W, 1e-3), atol=1e-9)


@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_equation_11(shape, power):
    W = np.random.default_rng(2).standard_normal(shape)
    x = samples(shape[0])
    expected = oracles.spectral_projection(x, W, power)
    np.testing.assert_allclose(spectral_projection(x, W, power), expected, atol=1e-11)


@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("name", DEGENERATE)
@pytest.mark.parametrize("shape", SHAPES)
def test_equation_11_on_degenerate_kernels(shape, name, power):
    W, x = degenerate(name, *shape), samples(shape[0])
    expected = oracles.spectral_projection(x, W, power)
    np.testing.assert_allclose(spectral_projection(x, W, power), expected, atol=1e-11)


@pytest.mark.parametrize("kernel_dtype", ["float32", "bfloat16", "float64"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(6, 3), (3, 6)])
def test_computes_beyond_the_precision_of_its_inputs(shape, dtype, kernel_dtype):
    x, exact_x = rounded(samples(shape[0]) * 10, dtype)
    W, exact_W = rounded(np.random.default_rng(3).standard_normal(shape), kernel_dtype)
    pairs = [
        (complement_projection(x, W), oracles.complement_projection(exact_x, exact_W, 1e-3)),
        (classifier_projection(x, W), oracles.classifier_projection(exact_x, exact_W, 1e-3)),
        (spectral_projection(x, W, 0.3), oracles.spectral_projection(exact_x, exact_W, 0.3)),
    ]
    for actual, expected in pairs:
        assert actual.dtype == tf.float32
        np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-6)


def test_float64_features_stay_float64():
    x, W = samples(6), np.random.default_rng(4).standard_normal((6, 3)).astype(np.float32)
    for result in (complement_projection(x, W), classifier_projection(x, W), spectral_projection(x, W, 0.3)):
        assert result.dtype == tf.float64


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("epsilon", [0.0, 1e-3, 10.0])
def test_both_projections_add_up_to_the_features(shape, epsilon):
    W, x = np.random.default_rng(5).standard_normal(shape), samples(shape[0])
    total = complement_projection(x, W, epsilon) + classifier_projection(x, W, epsilon)
    np.testing.assert_allclose(total, x, atol=1e-12)


@pytest.mark.parametrize("name", ["generic", *DEGENERATE])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("epsilon", [0.0, 1e-13])
def test_without_a_ridge_the_projections_are_exact(shape, name, epsilon):
    W = np.random.default_rng(6).standard_normal(shape) if name == "generic" else degenerate(name, *shape)
    x, basis = samples(shape[0]), span_basis(W)
    onto_span = x @ basis @ basis.T
    complement = complement_projection(x, W, epsilon)
    np.testing.assert_allclose(complement, x - onto_span, atol=1e-9)
    np.testing.assert_allclose(classifier_projection(x, W, epsilon), onto_span, atol=1e-9)
    np.testing.assert_allclose(complement_projection(complement, W, epsilon), complement, atol=1e-9)
    np.testing.assert_allclose(complement @ W, np.zeros((4, shape[1])), atol=1e-8)


@pytest.mark.parametrize("shape", SHAPES)
def test_logits_do_not_change_within_the_classifier_subspace(shape):
    W, x = np.random.default_rng(7).standard_normal(shape), samples(shape[0])
    np.testing.assert_allclose(classifier_projection(x, W, 0.0) @ W, x @ W, atol=1e-9)


@pytest.mark.parametrize("shape", TALL)
def test_power_zero_is_the_exact_direct_sum(shape):
    W, x = np.random.default_rng(8).standard_normal(shape), samples(shape[0])
    np.testing.assert_allclose(spectral_projection(x, W, 0), exact_complement(x, W), atol=1e-11)
    W = matrix(np.random.default_rng(8), *shape, np.geomspace(1, 1e-3, shape[1]))
    np.testing.assert_allclose(spectral_projection(x, W, 0), exact_complement(x, W), atol=1e-8)


@pytest.mark.parametrize("shape", [(3, 6), (4, 4), (1, 4)])
def test_power_zero_leaves_nothing_beside_a_kernel_of_full_rank(shape):
    W, x = np.random.default_rng(9).standard_normal(shape), samples(shape[0])
    np.testing.assert_allclose(spectral_projection(x, W, 0), np.zeros_like(x), atol=1e-12)


@pytest.mark.parametrize("shape", TALL)
def test_small_powers_tend_to_the_direct_sum(shape):
    W, x = matrix(np.random.default_rng(10), *shape, np.linspace(3, 1, shape[1])), samples(shape[0])
    exact = exact_complement(x, W)
    distances = [np.abs(spectral_projection(x, W, power) - exact).max() for power in (1e-2, 1e-4, 1e-6)]
    # 1 − (s/s_max)^p is about p·log(s_max/s).
    for distance, power in zip(distances, (1e-2, 1e-4, 1e-6)):
        assert distance <= 1e-11 + 4 * power * np.log(3)


@pytest.mark.parametrize("scale", [1e-3, 1, 1e3])
@pytest.mark.parametrize("power", [50, 1000])
@pytest.mark.parametrize("shape", [(6, 3), (3, 6), (4, 4)])
def test_large_powers_take_away_the_top_direction_alone(shape, power, scale):
    W, x = matrix(np.random.default_rng(11), *shape, scale * np.array([1, 0.5, 0.4])), samples(shape[0])
    top = np.linalg.svd(W)[0][:, 0]
    expected = x - np.outer(x @ top, top)
    np.testing.assert_allclose(spectral_projection(x, W, power), expected, atol=1e-11)


@pytest.mark.parametrize("power", [0, 0.3, 1])
@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e6, 1e30])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_spectral_projection_ignores_the_scale_of_the_kernel(shape, scale, power):
    W, x = np.random.default_rng(12).standard_normal(shape), samples(shape[0])
    np.testing.assert_allclose(spectral_projection(x, scale * W, power), spectral_projection(x, W, power), atol=1e-10)


@pytest.mark.parametrize("power", [0, 0.3, 1])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_zero_kernel_leaves_the_features_as_they_are(shape, power):
    x, W = samples(shape[0]), np.zeros(shape)
    np.testing.assert_array_equal(spectral_projection(x, W, power), x)
    np.testing.assert_array_equal(complement_projection(x, W), x)
    np.testing.assert_array_equal(complement_projection(x, W, 0.0), x)
    np.testing.assert_array_equal(classifier_projection(x, W, 0.0), np.zeros_like(x))


@pytest.mark.parametrize("shape", [(5, 3), (3, 5)])
@pytest.mark.parametrize("power", [0, 0.3])
def test_singular_values_under_the_cutoff_count_as_zero(shape, power):
    cutoff = 5 * np.finfo(np.float32).eps
    W = np.zeros(shape)
    W[0, 0], W[1, 1], W[2, 2] = 1, 1.1 * cutoff, 0.9 * cutoff
    weights = np.zeros(shape[0])
    weights[:2] = 1, (1.1 * cutoff) ** power
    for scale in (1e-5, 1, 1e5):
        x = samples(shape[0])
        np.testing.assert_allclose(spectral_projection(x, scale * W, power), x * (1 - weights), atol=1e-11)


def test_a_negative_power_is_an_error():
    with pytest.raises(ValueError, match="power"):
        spectral_projection(samples(3), np.eye(3), -0.1)


@pytest.mark.parametrize("x_shape, W_shape", [((4, 5), (6, 3)), ((4, 6, 1), (6, 3)), ((6,), (6, 3)), ((4, 6), (6,))])
def test_shapes_that_do_not_fit_are_an_error(x_shape, W_shape):
    x, W = np.zeros(x_shape), np.zeros(W_shape)
    projections = [complement_projection, classifier_projection, lambda x, W: spectral_projection(x, W, 0.3)]
    for projection in projections:
        with pytest.raises(ValueError, match=r"\[n, d\]"):
            projection(x, W)


# Gradients

PROJECTIONS = {
    "complement": (complement_projection, oracles.complement_projection, 0.1),
    "classifier": (classifier_projection, oracles.classifier_projection, 0.1),
    "spectral 0": (spectral_projection, oracles.spectral_projection, 0),
    "spectral 0.3": (spectral_projection, oracles.spectral_projection, 0.3),
    "spectral 1": (spectral_projection, oracles.spectral_projection, 1),
    "spectral 2.5": (spectral_projection, oracles.spectral_projection, 2.5),
}


def kernel_gradient(name, x, W, upstream, gradient_to_kernel=True):
    """The gradient of <upstream, projection> to W."""
    projection, _, parameter = PROJECTIONS[name]
    W = tf.constant(W)
    with tf.GradientTape() as tape:
        tape.watch(W)
        projected = projection(x, W, parameter, gradient_to_kernel=gradient_to_kernel)
        value = tf.reduce_sum(projected * tf.cast(upstream, projected.dtype))
    return tape.gradient(value, W)


def oracle_of_kernel(name, x, upstream):
    _, oracle, parameter = PROJECTIONS[name]
    return lambda W: float(np.sum(upstream * oracle(x, W, parameter)))


@pytest.mark.parametrize("name", PROJECTIONS)
def test_the_kernel_is_a_constant_by_default(name):
    x, W = samples(6), np.random.default_rng(13).standard_normal((6, 3))
    projection, _, parameter = PROJECTIONS[name]
    W = tf.constant(W)
    with tf.GradientTape() as tape:
        tape.watch(W)
        value = tf.reduce_sum(projection(x, W, parameter) ** 2)
    assert tape.gradient(value, W) is None
    assert kernel_gradient(name, x, W, samples(6, seed=1), gradient_to_kernel=False) is None


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", PROJECTIONS)
def test_gradient_to_the_features(name, shape):
    W, x, upstream = np.random.default_rng(14).standard_normal(shape), samples(shape[0]), samples(shape[0], seed=1)
    projection, oracle, parameter = PROJECTIONS[name]
    for kernel_differentiable in (False, True):
        _, gradient = oracles.value_and_gradient(
            lambda x: tf.reduce_sum(projection(x, W, parameter, kernel_differentiable) * upstream), tf.constant(x)
        )
        # The projection is a symmetric matrix.
        np.testing.assert_allclose(gradient, oracle(upstream, W, parameter), atol=1e-10)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", PROJECTIONS)
def test_gradient_to_a_generic_kernel(name, shape):
    x, upstream = samples(shape[0]), samples(shape[0], seed=1)
    W = matrix(np.random.default_rng(15), *shape, np.linspace(2, 0.7, min(shape)))
    expected = finite_difference_gradient(oracle_of_kernel(name, x, upstream), W)
    assert_gradient(kernel_gradient(name, x, W, upstream), expected, "float64")


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (4, 4)])
@pytest.mark.parametrize("name", PROJECTIONS)
def test_gradient_where_lower_singular_values_repeat(name, shape):
    x, upstream = samples(shape[0]), samples(shape[0], seed=1)
    W = matrix(np.random.default_rng(16), *shape, [2, 1, 1, 0.5])
    expected = finite_difference_gradient(oracle_of_kernel(name, x, upstream), W)
    assert_gradient(kernel_gradient(name, x, W, upstream), expected, "float64")


@pytest.mark.parametrize("name", ["complement", "classifier", "spectral 0"])
@pytest.mark.parametrize("shape", [(6, 3), (5, 1)])
def test_gradient_to_an_orthonormal_kernel(shape, name):
    x, upstream = samples(shape[0]), samples(shape[0], seed=1)
    W = degenerate("orthonormal", *shape)
    expected = finite_difference_gradient(oracle_of_kernel(name, x, upstream), W)
    assert_gradient(kernel_gradient(name, x, W, upstream), expected, "float64")


@pytest.mark.parametrize("kernel", DEGENERATE)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["complement", "classifier"])
def test_gradient_of_equation_8_is_right_at_every_kernel(name, shape, kernel):
    x, upstream, W = samples(shape[0]), samples(shape[0], seed=1), degenerate(kernel, *shape)
    expected = finite_difference_gradient(oracle_of_kernel(name, x, upstream), W)
    assert_gradient(kernel_gradient(name, x, W, upstream), expected, "float64", noise=1e-8)


@pytest.mark.parametrize("pattern", ["low rank", "duplicated columns", "zero column"])
@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (4, 4)])
@pytest.mark.parametrize("name", [name for name in PROJECTIONS if name.startswith("spectral")])
def test_gradient_along_kernels_of_one_rank(name, shape, pattern):
    # Where the rank would rise, equation (11) has no derivative; along kernels of the same rank it has.
    generator = np.random.default_rng(17)
    x, upstream = samples(shape[0]), samples(shape[0], seed=1)
    left, left_step = generator.standard_normal((2, shape[0], 2))
    right, right_step = generator.standard_normal((2, 2, shape[1]))
    if pattern == "duplicated columns":
        right, right_step = np.eye(2)[:, np.arange(shape[1]) % 2], np.zeros((2, shape[1]))
    elif pattern == "zero column":
        right[:, 0], right_step[:, 0] = 0, 0

    def along(t):
        W = (left + t * left_step) @ (right + t * right_step)
        return oracle_of_kernel(name, x, upstream)(W)

    gradient = kernel_gradient(name, x, left @ right, upstream).numpy()
    slope = np.sum(gradient * (left_step @ right + left @ right_step))
    np.testing.assert_allclose(slope, (along(1e-5) - along(-1e-5)) / 2e-5, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", [name for name in PROJECTIONS if name.startswith("spectral")])
@pytest.mark.parametrize("shape", [(6, 3), (3, 6), (4, 4)])
def test_gradient_along_rotations_of_an_orthonormal_kernel(shape, name):
    # All singular values stay 1 along a rotation, so equation (11) has a derivative there.
    generator = np.random.default_rng(18)
    x, upstream, W = samples(shape[0]), samples(shape[0], seed=1), degenerate("orthonormal", *shape)
    turn = generator.standard_normal((shape[0], shape[0]))
    turn = (turn - turn.T) / 4

    def along(t):
        # Cayley's transform is orthogonal, and t·2·turn to first order.
        rotation = np.linalg.solve(np.eye(shape[0]) - t * turn, np.eye(shape[0]) + t * turn)
        return oracle_of_kernel(name, x, upstream)(rotation @ W)

    slope = np.sum(kernel_gradient(name, x, W, upstream).numpy() * (2 * turn @ W))
    np.testing.assert_allclose(slope, (along(1e-5) - along(-1e-5)) / 2e-5, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kernel", DEGENERATE)
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_are_finite_at_every_kernel(shape, kernel, dtype):
    x, upstream = samples(shape[0]), samples(shape[0], seed=1)
    W = degenerate(kernel, *shape).astype(dtype)
    for name in PROJECTIONS:
        gradient = kernel_gradient(name, x, W, upstream)
        assert gradient.dtype == dtype
        assert np.isfinite(gradient).all(), name
    for projection in (complement_projection, classifier_projection):
        with tf.GradientTape() as tape:
            variable = tf.Variable(W)
            value = tf.reduce_sum(projection(x, variable, 0.0, gradient_to_kernel=True) * upstream)
        assert np.isfinite(tape.gradient(value, variable)).all()


@pytest.mark.parametrize("kernel", ["generic", *DEGENERATE])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_spectral_gradient_does_not_point_along_the_scale(shape, kernel):
    x, upstream = samples(shape[0]), samples(shape[0], seed=1)
    W = np.random.default_rng(19).standard_normal(shape) if kernel == "generic" else degenerate(kernel, *shape)
    for name in PROJECTIONS:
        if name.startswith("spectral"):
            gradient = kernel_gradient(name, x, W, upstream).numpy()
            np.testing.assert_allclose(np.sum(gradient * W), 0, atol=1e-9)


@pytest.mark.parametrize(
    "name, shape, jit_compile",
    [
        ("complement", (6, 3), False),
        ("complement", (6, 3), True),
        ("spectral 0", (6, 3), False),
        ("spectral 0.3", (6, 3), False),
        ("spectral 0.3", (6, 3), True),
        ("spectral 0.3", (3, 6), False),
    ],
)
def test_compiled_with_any_batch_size(name, shape, jit_compile):
    projection, oracle, parameter = PROJECTIONS[name]
    W = matrix(np.random.default_rng(20), *shape, [2, 1.5, 1])
    specification = tf.TensorSpec([None, shape[0]], tf.float64)

    @tf.function(
        input_signature=[specification, tf.TensorSpec(shape, tf.float64), specification], jit_compile=jit_compile
    )
    def compiled(x, W, upstream):
        with tf.GradientTape() as tape:
            tape.watch(W)
            projected = projection(x, W, parameter, gradient_to_kernel=True)
            value = tf.reduce_sum(projected * upstream)
        return projected, tape.gradient(value, W)

    # XLA stops its eigenvalue iterations at about float32's precision, whatever the dtype.
    tolerance = 1e-5 if jit_compile and name.startswith("spectral") else 1e-6
    for n in (4,) if jit_compile else (4, 1):
        x, upstream = samples(shape[0], n), samples(shape[0], n, seed=1)
        projected, gradient = compiled(x, W, upstream)
        np.testing.assert_allclose(projected, oracle(x, W, parameter), atol=tolerance)
        expected = finite_difference_gradient(oracle_of_kernel(name, x, upstream), W)
        assert_gradient(gradient, expected, "float64", tolerance=tolerance)
