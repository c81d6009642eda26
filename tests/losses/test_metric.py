"""Equations (3) and (4) against loops, in value and gradient, and at the edges of what a batch can hold."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dsl_tf.losses import NCALoss, PrototypicalLoss
from tests.losses import oracles
from tests.losses.oracles import DTYPES, VALUE_TOLERANCE, assert_gradient, finite_difference_gradient, rounded

LOSSES = [
    pytest.param(NCALoss, oracles.nca, id="nca"),
    pytest.param(PrototypicalLoss, oracles.prototypical, id="proto"),
]
UNEVEN = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2])

# name: labels, and what becomes of standard normal features
CASES = {
    "uneven classes": (UNEVEN, lambda x: x * 0.7),
    "well apart": (UNEVEN, lambda x: x * 0.3 + 2 * np.eye(9, 5)[UNEVEN]),
    "a class with one sample": (np.array([0, 0, 1, 2, 2, 2, 3]), lambda x: x * 0.7),
    "one class only": (np.zeros(5, np.int64), lambda x: x),
    "no positive pair": (np.arange(5), lambda x: x),
    "one sample": (np.array([7]), lambda x: x),
    "two samples, one class": (np.array([3, 3]), lambda x: x),
    "two samples, two classes": (np.array([3, 4]), lambda x: x),
    "one pair": (np.array([0, 1, 1, 2]), lambda x: x * 0.5),
    "duplicates": (UNEVEN, lambda x: x[[0, 0, 1, 2, 0, 1, 1, 3, 4]] * 0.7),
    "all the same": (UNEVEN, lambda x: x[[0] * 9]),
    "scale 1e-4": (UNEVEN, lambda x: x * 1e-4),
    "scale 1e4": (UNEVEN, lambda x: x * 1e4),
    "far from the origin": (UNEVEN, lambda x: x * 0.7 + 100),
    "labels with gaps": (np.array([7, 1000, 7, 5, 1000, 5, 7, 31, 5]), lambda x: x * 0.7),
    "one feature": (UNEVEN, lambda x: x[:, :1]),
}
STEPS = {"scale 1e-4": 1e-4, "scale 1e4": 1e-2}


def features_of(case, dtype, seed=0):
    y, transform = CASES[case]
    x = np.random.default_rng(seed).standard_normal((len(y), 5))
    return y, *rounded(transform(x), dtype)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss, oracle", LOSSES)
def test_value_and_gradient(loss, oracle, dtype, case):
    y, x, exact = features_of(case, dtype)

    def mean(x):
        return oracles.mean_of_participants(*oracle(y, x))

    value, gradient = oracles.value_and_gradient(lambda x: loss()(y, x), x)
    assert value.dtype == tf.float32
    np.testing.assert_allclose(value, mean(exact), rtol=VALUE_TOLERANCE, atol=1e-7)
    expected = finite_difference_gradient(mean, exact, STEPS.get(case, 1e-5))
    assert_gradient(gradient, expected, dtype)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("loss, oracle", LOSSES)
def test_float64_throughout(loss, oracle, case):
    y, x, exact = features_of(case, "float64", seed=1)
    values = loss(reduction="none", dtype="float64")(y, x)
    assert values.dtype == tf.float64
    scale = max(1.0, np.abs(exact).max() ** 2)
    np.testing.assert_allclose(values, oracle(y, exact)[0], rtol=1e-10, atol=1e-12 * scale)


@pytest.mark.parametrize("case", ["no positive pair", "one sample", "two samples, two classes"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss, oracle", LOSSES)
def test_exactly_zero_without_a_positive_pair(loss, oracle, dtype, case):
    y, x, _ = features_of(case, dtype)
    value, gradient = oracles.value_and_gradient(lambda x: loss()(y, x), x)
    assert float(value) == 0
    assert not np.any(tf.cast(gradient, tf.float64).numpy())


@pytest.mark.parametrize("loss, oracle", LOSSES)
def test_an_empty_batch_is_zero(loss, oracle):
    assert float(loss()(np.zeros(0, np.int64), np.zeros((0, 4), np.float32))) == 0


@pytest.mark.parametrize("loss, oracle", LOSSES)
def test_a_lone_sample_takes_no_part_but_pushes_the_others(loss, oracle):
    y = np.array([0, 0, 1, 1, 2])
    x = np.random.default_rng(2).standard_normal((5, 3)) * 0.6
    values = loss(reduction="none")(y, x)
    assert float(values[4]) == 0
    np.testing.assert_allclose(float(loss()(y, x)), np.sum(values) / 4, rtol=1e-6)
    _, gradient = oracles.value_and_gradient(lambda x: loss()(y, x), tf.constant(x))
    assert np.abs(gradient[4]).max() > 1e-3


@pytest.mark.parametrize("loss, oracle", LOSSES)
def test_the_sample_itself_is_left_out(loss, oracle):
    # A sample far from its partner and on top of another class: with itself left in, the loss would be about log 2.
    y, x = np.array([0, 1, 1, 0]), np.array([[0.0], [0.0], [0.0], [9.0]])
    assert float(loss(reduction="none")(y, x)[0]) > 50


@pytest.mark.parametrize("loss, oracle", LOSSES)
def test_order_and_names_of_classes_do_not_matter(loss, oracle):
    generator = np.random.default_rng(3)
    x = generator.standard_normal((9, 4)) * 0.7
    values = loss(reduction="none", dtype="float64")(UNEVEN, x).numpy()
    order = generator.permutation(9)
    permuted = loss(reduction="none", dtype="float64")(np.array([50, 3, 12])[UNEVEN][order], x[order])
    np.testing.assert_allclose(permuted, values[order], rtol=1e-12)


@pytest.mark.parametrize("loss, oracle", LOSSES)
def test_translation_changes_nothing(loss, oracle):
    x = np.random.default_rng(4).standard_normal((9, 4)) * 0.7
    near, far = loss(dtype="float64")(UNEVEN, x), loss(dtype="float64")(UNEVEN, x + 1e4)
    np.testing.assert_allclose(far, near, rtol=1e-9)


@pytest.mark.parametrize("loss, oracle", LOSSES)
def test_features_are_not_normalised(loss, oracle):
    x = np.random.default_rng(5).standard_normal((9, 4)) * 0.7
    assert abs(float(loss()(UNEVEN, x)) - float(loss()(UNEVEN, 2 * x))) > 0.1


@pytest.mark.parametrize("label_dtype", ["int64", "uint32", "float64"])
@pytest.mark.parametrize("loss, oracle", LOSSES)
def test_labels_that_float32_would_merge(loss, oracle, label_dtype):
    y = np.array([2**24, 2**24 + 1, 2**24, 2**24 + 1, 2**24])
    x = np.random.default_rng(6).standard_normal((5, 3))
    expected = oracles.mean_of_participants(*oracle(y, x))
    assert expected > 0.1
    np.testing.assert_allclose(loss()(y.astype(label_dtype), x), expected, rtol=VALUE_TOLERANCE)


@pytest.mark.parametrize("label_dtype", ["int64", "int32", "uint8", "int8", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("column", [False, True])
@pytest.mark.parametrize("loss, oracle", LOSSES)
def test_label_dtypes_and_shapes(loss, oracle, column, label_dtype):
    x = np.random.default_rng(7).standard_normal((9, 4)) * 0.7
    y = tf.cast(UNEVEN[:, None] if column else UNEVEN, label_dtype)
    expected = oracles.mean_of_participants(*oracle(UNEVEN, x))
    np.testing.assert_allclose(loss()(y, x), expected, rtol=VALUE_TOLERANCE)


@pytest.mark.parametrize("loss, oracle", LOSSES)
def test_plain_lists(loss, oracle):
    y, x = [0, 0, 1], [[0.0, 1.0], [1.0, 0.5], [0.0, 0.0]]
    expected = oracles.mean_of_participants(*oracle(np.array(y), np.array(x)))
    np.testing.assert_allclose(loss()(y, x), expected, rtol=VALUE_TOLERANCE)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("loss, oracle", LOSSES)
def test_compiled_with_any_batch_size(loss, oracle, jit_compile):
    signature = [tf.TensorSpec([None], tf.int64), tf.TensorSpec([None, 5], tf.float32)]

    @tf.function(input_signature=signature, jit_compile=jit_compile)
    def compiled(y, x):
        return oracles.value_and_gradient(lambda x: loss()(y, x), x)

    # XLA compiles anew for each size.
    cases = ["a class with one sample", "one sample"]
    for case in cases if jit_compile else [*cases, "uneven classes", "no positive pair"]:
        y, x, exact = features_of(case, "float32")

        def mean(x, y=y):
            return oracles.mean_of_participants(*oracle(y, x))

        value, gradient = compiled(y, x)
        np.testing.assert_allclose(value, mean(exact), rtol=VALUE_TOLERANCE, atol=1e-7)
        assert_gradient(gradient, finite_difference_gradient(mean, exact), "float32")


def feature_model():
    inputs = keras.Input((4,))
    features = keras.layers.Dense(3, kernel_initializer=keras.initializers.GlorotUniform(seed=1))(inputs)
    return keras.Model(inputs, features)


@pytest.mark.parametrize("first_label", [0, 2**24])
@pytest.mark.parametrize("loss, oracle", LOSSES)
def test_trains_a_keras_model(loss, oracle, first_label):
    generator = np.random.default_rng(8)
    y = np.tile([0, 1], 8) + first_label
    images = (generator.standard_normal((16, 4)) + np.array([[0.0], [1.0]] * 8)).astype(np.float32)
    model = feature_model()
    model.compile(optimizer=keras.optimizers.SGD(0.02), loss=loss())
    expected = oracles.mean_of_participants(*oracle(y, model(images).numpy().astype(np.float64)))
    history = model.fit(images, y, batch_size=16, epochs=4, verbose=0).history["loss"]
    np.testing.assert_allclose(history[0], expected, rtol=1e-5)
    assert history[-1] < history[0]


def test_a_saved_model_brings_its_loss_back(tmp_path):
    model = feature_model()
    model.compile(optimizer="sgd", loss=PrototypicalLoss(reduction="sum"))
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded.loss) is PrototypicalLoss
    assert loaded.loss.reduction == "sum"
