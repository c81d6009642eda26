"""Equations (1) and (2) against loops, in value and gradient."""

import numpy as np
import pytest
import tensorflow as tf

from dsl_tf.losses import BinaryCrossEntropy, SoftmaxCrossEntropy
from tests.losses import oracles
from tests.losses.oracles import DTYPES, VALUE_TOLERANCE, assert_gradient, finite_difference_gradient, rounded

LOSSES = [
    pytest.param(SoftmaxCrossEntropy, oracles.softmax_cross_entropy, id="sce"),
    pytest.param(BinaryCrossEntropy, oracles.binary_cross_entropy, id="bce"),
]
LABELS = np.array([0, 3, 1, 1, 2, 0])


def logits_for(case, generator):
    logits = generator.standard_normal((6, 4))
    if case == "large":
        return generator.choice([-1e4, 1e4], size=(6, 4))
    if case == "one class":
        return logits[:, :1] * 3
    if case == "one sample":
        return logits[:1]
    if case == "small":
        return logits * 1e-4
    if case == "shifted":
        return logits + 100
    return logits * 3


@pytest.mark.parametrize("case", ["ordinary", "large", "one class", "one sample", "small", "shifted"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss, oracle", LOSSES)
def test_value_and_gradient(loss, oracle, dtype, case):
    logits, exact = rounded(logits_for(case, np.random.default_rng(1)), dtype)
    y = LABELS[: len(exact)] if case != "one class" else np.zeros(6, np.int64)

    def mean(logits):
        return np.mean(oracle(y, logits))

    value, gradient = oracles.value_and_gradient(lambda logits: loss()(y, logits), logits)
    assert value.dtype == tf.float32
    np.testing.assert_allclose(value, mean(exact), rtol=VALUE_TOLERANCE, atol=1e-7)
    assert_gradient(gradient, finite_difference_gradient(mean, exact, 1e-4 if case == "large" else 1e-5), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss, oracle", LOSSES)
def test_one_value_a_sample(loss, oracle, dtype):
    logits, exact = rounded(logits_for("ordinary", np.random.default_rng(2)), dtype)
    values = loss(reduction="none")(LABELS, logits)
    assert values.dtype == tf.float32
    np.testing.assert_allclose(values, oracle(LABELS, exact), rtol=VALUE_TOLERANCE)


def test_binary_cross_entropy_sums_over_classes():
    # At logit 0 each of the C binary problems costs log 2.
    np.testing.assert_allclose(BinaryCrossEntropy()([0, 4], np.zeros((2, 5))), 5 * np.log(2), rtol=1e-6)


def test_certain_and_right_costs_nothing():
    logits = np.full((3, 3), -1e4) + 2e4 * np.eye(3)
    for loss in (SoftmaxCrossEntropy(), BinaryCrossEntropy()):
        assert float(loss([0, 1, 2], logits)) == 0


@pytest.mark.parametrize("label_dtype", ["int32", "int64", "uint8", "int8", "int16", "uint16", "uint32", "uint64"])
@pytest.mark.parametrize("loss, oracle", LOSSES)
def test_integer_label_dtypes(loss, oracle, label_dtype):
    logits = logits_for("ordinary", np.random.default_rng(3))
    expected = np.mean(oracle(LABELS, logits))
    np.testing.assert_allclose(loss()(LABELS.astype(label_dtype), logits), expected, rtol=VALUE_TOLERANCE)


@pytest.mark.parametrize("label_dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("loss, oracle", LOSSES)
def test_float_labels(loss, oracle, label_dtype):
    logits = logits_for("ordinary", np.random.default_rng(4))
    expected = np.mean(oracle(LABELS, logits))
    np.testing.assert_allclose(loss()(LABELS.astype(label_dtype), logits), expected, rtol=VALUE_TOLERANCE)


@pytest.mark.parametrize("loss, oracle", LOSSES)
def test_labels_as_a_column(loss, oracle):
    logits = logits_for("ordinary", np.random.default_rng(5))
    values = loss(reduction="none")(LABELS[:, None], logits)
    np.testing.assert_allclose(values, oracle(LABELS, logits), rtol=VALUE_TOLERANCE)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("loss, oracle", LOSSES)
def test_compiled_with_any_batch_size(loss, oracle, jit_compile):
    signature = [tf.TensorSpec([None], tf.int64), tf.TensorSpec([None, 4], tf.float32)]

    @tf.function(input_signature=signature, jit_compile=jit_compile)
    def compiled(y, logits):
        return oracles.value_and_gradient(lambda logits: loss()(y, logits), logits)

    exact = logits_for("ordinary", np.random.default_rng(6)).astype(np.float32).astype(np.float64)
    for n in (6,) if jit_compile else (6, 2):

        def mean(logits):
            return np.mean(oracle(LABELS[:n], logits))

        value, gradient = compiled(LABELS[:n], exact[:n].astype(np.float32))
        np.testing.assert_allclose(value, mean(exact[:n]), rtol=VALUE_TOLERANCE)
        assert_gradient(gradient, finite_difference_gradient(mean, exact[:n]), "float32")


def smoothed_cross_entropy(y, logits):
    """Each label counts 0.8, and all classes together 0.2."""
    of_classes = [oracles.softmax_cross_entropy(np.full_like(y, label), logits) for label in range(logits.shape[1])]
    return 0.8 * oracles.softmax_cross_entropy(y, logits) + 0.2 * np.mean(of_classes, axis=0)


@pytest.mark.parametrize("case", ["ordinary", "large"])
def test_label_smoothing_spreads_a_part_of_each_label_over_all_classes(case):
    logits, exact = rounded(logits_for(case, np.random.default_rng(1)), "float32")
    loss = SoftmaxCrossEntropy.from_config(SoftmaxCrossEntropy(label_smoothing=0.2).get_config())

    def mean(logits):
        return np.mean(smoothed_cross_entropy(LABELS, logits))

    value, gradient = oracles.value_and_gradient(lambda logits: loss(LABELS, logits), logits)
    np.testing.assert_allclose(value, mean(exact), rtol=VALUE_TOLERANCE)
    assert_gradient(gradient, finite_difference_gradient(mean, exact, 1e-4 if case == "large" else 1e-5), "float32")
    with pytest.raises(ValueError, match="`label_smoothing` must be from 0 to 1. Received: 1.5"):
        SoftmaxCrossEntropy(label_smoothing=1.5)
