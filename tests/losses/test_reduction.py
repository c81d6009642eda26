"""From one value a sample to a loss: reductions, weights, dtypes, labels and serialisation."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dsl_tf import losses
from tests.losses import oracles
from tests.losses.oracles import VALUE_TOLERANCE

# Two lone samples among seven, so that a mean over all of them differs from one over the participants.
LABELS = np.array([0, 1, 0, 2, 3, 2, 2])
WEIGHTS = np.array([0.5, 3.0, 1.0, 0.0, 7.0, 2.0, 0.25])
PLAIN = ["SoftmaxCrossEntropy", "BinaryCrossEntropy", "NCALoss", "PrototypicalLoss"]
INTEGRATED = ["SumLoss", "DirectSumLoss", "SpectralSumLoss", "ClassifierSubspaceLoss"]


def features():
    return np.random.default_rng(0).standard_normal((7, 6)) * 0.7


def built_classifier(units=4, d=6):
    classifier = keras.layers.Dense(units, kernel_initializer=keras.initializers.GlorotUniform(seed=3))
    classifier.build((None, d))
    return classifier


def build(name, /, **kwargs):
    if name in INTEGRATED:
        return getattr(losses, name)(classifier=built_classifier(), **kwargs)
    return getattr(losses, name)(**kwargs)


def oracle(name, x):
    """Values of one term, and who takes part in it."""
    if name == "SoftmaxCrossEntropy":
        return oracles.softmax_cross_entropy(LABELS, x), np.ones(7, bool)
    if name == "BinaryCrossEntropy":
        return oracles.binary_cross_entropy(LABELS, x), np.ones(7, bool)
    return {"NCALoss": oracles.nca, "PrototypicalLoss": oracles.prototypical}[name](LABELS, x)


def reduced(values, participates, weights, reduction):
    """Keras's meaning of each reduction, on the samples that take part."""
    total, weight_sum, count = 0.0, 0.0, 0
    for value, takes_part, weight in zip(values, participates, weights):
        if takes_part:
            total, weight_sum, count = total + value * weight, weight_sum + weight, count + 1
    if reduction == "sum":
        return total
    return total / (weight_sum if reduction == "mean_with_sample_weight" else count)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", ["sum", "sum_over_batch_size", "mean", "mean_with_sample_weight"])
@pytest.mark.parametrize("name", PLAIN)
def test_reductions_of_one_term(name, reduction, weighted):
    x = features()
    weights = WEIGHTS if weighted else np.ones(7)
    value = build(name, reduction=reduction)(LABELS, x, sample_weight=WEIGHTS if weighted else None)
    assert value.shape == () and value.dtype == tf.float32
    np.testing.assert_allclose(value, reduced(*oracle(name, x), weights, reduction), rtol=VALUE_TOLERANCE)


@pytest.mark.parametrize("reduction", ["none", None])
@pytest.mark.parametrize("name", PLAIN)
def test_no_reduction_gives_one_value_a_sample(name, reduction):
    x = features()
    values, participates = oracle(name, x)
    loss = build(name, reduction=reduction)
    np.testing.assert_allclose(loss(LABELS, x), values * participates, rtol=VALUE_TOLERANCE)
    weighted = loss(LABELS, x, sample_weight=WEIGHTS)
    np.testing.assert_allclose(weighted, values * participates * WEIGHTS, rtol=VALUE_TOLERANCE)


@pytest.mark.parametrize("reduction", ["sum", "sum_over_batch_size", "mean", "mean_with_sample_weight"])
@pytest.mark.parametrize("weighted", [False, True])
def test_each_term_of_a_sum_is_reduced_over_its_own_participants(reduction, weighted):
    x = features()
    loss = build("SumLoss", reduction=reduction)
    kernel = loss.classifier.kernel.numpy().astype(np.float64)
    logits = oracles.linear_logits(x, kernel, np.zeros(4))
    weights = WEIGHTS if weighted else np.ones(7)
    expected = {
        "classification": reduced(*oracle("SoftmaxCrossEntropy", logits), weights, reduction),
        "metric": reduced(*oracle("NCALoss", x), weights, reduction),
    }
    sample_weight = WEIGHTS if weighted else None
    terms = loss.reduced_terms(LABELS, x, sample_weight)
    assert set(terms) == set(expected)
    for name, value in terms.items():
        np.testing.assert_allclose(value, expected[name], rtol=VALUE_TOLERANCE)
    np.testing.assert_allclose(loss(LABELS, x, sample_weight), sum(expected.values()), rtol=VALUE_TOLERANCE)


@pytest.mark.parametrize("name", INTEGRATED)
def test_an_integrated_loss_without_reduction_has_one_value_a_sample(name):
    x = features()
    values = build(name, reduction="none")(LABELS, x)
    assert values.shape == (7,) and values.dtype == tf.float32
    total = build(name, reduction="sum")(LABELS, x)
    np.testing.assert_allclose(np.sum(values), total, rtol=1e-5)
    np.testing.assert_allclose(build(name).call(LABELS, x), values, rtol=1e-5)


@pytest.mark.parametrize(
    "shape_of_weights", [lambda w: w, lambda w: w[:, None], list, lambda w: tf.constant(w, tf.float32)]
)
def test_shapes_of_weights(shape_of_weights):
    x = features()
    expected = reduced(*oracle("NCALoss", x), WEIGHTS, "mean")
    value = build("NCALoss")(LABELS, x, sample_weight=shape_of_weights(WEIGHTS))
    np.testing.assert_allclose(value, expected, rtol=VALUE_TOLERANCE)


def test_a_scalar_weight_scales_the_loss():
    x = features()
    np.testing.assert_allclose(build("NCALoss")(LABELS, x, 3), 3 * build("NCALoss")(LABELS, x), rtol=1e-6)


def test_weights_that_sum_to_nothing_give_zero():
    value = build("NCALoss", reduction="mean_with_sample_weight")(LABELS, features(), np.zeros(7))
    assert float(value) == 0


def test_the_mean_agrees_with_keras_where_all_take_part():
    x = features()
    for reduction in ("sum", "sum_over_batch_size", "mean", "mean_with_sample_weight"):
        reference = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=reduction)
        expected = reference(LABELS, x, WEIGHTS)
        value = build("SoftmaxCrossEntropy", reduction=reduction)(LABELS, x, WEIGHTS)
        np.testing.assert_allclose(value, expected, rtol=1e-5)


@pytest.mark.parametrize("name", PLAIN + INTEGRATED)
def test_an_unknown_reduction_is_an_error(name):
    with pytest.raises(ValueError, match="median"):
        build(name, reduction="median")


@pytest.mark.parametrize("name", PLAIN + INTEGRATED)
@pytest.mark.parametrize("input_dtype", ["float64", "bfloat16"])
@pytest.mark.parametrize(
    "dtype, expected",
    [(None, "float32"), ("float32", "float32"), ("float64", "float64"), ("bfloat16", "float32")],
)
def test_result_dtype(name, input_dtype, dtype, expected):
    assert build(name, dtype=dtype)(LABELS, tf.cast(features(), input_dtype)).dtype == expected


@pytest.mark.parametrize("name", PLAIN + INTEGRATED)
def test_a_mixed_precision_policy_does_not_narrow_the_loss(name):
    loss = build(name, dtype=keras.DTypePolicy("mixed_float16"))
    x = features() * 100
    assert loss(LABELS, x).dtype == tf.float32
    np.testing.assert_allclose(loss(LABELS, x), build(name)(LABELS, x), rtol=1e-7)


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("dtype", [None, "float64", "float16"])
def test_plain_losses_survive_serialisation(name, dtype):
    loss = build(name, reduction="sum", name="mine", dtype=dtype)
    config = keras.saving.serialize_keras_object(loss)
    copy = keras.saving.deserialize_keras_object(config)
    assert type(copy) is type(loss)
    assert (copy.reduction, copy.name, copy.dtype) == ("sum", "mine", loss.dtype)
    assert keras.saving.serialize_keras_object(copy) == config
    np.testing.assert_array_equal(copy(LABELS, features()), loss(LABELS, features()))


OPTIONS = {
    "SumLoss": {"metric_weight": 0.3},
    "DirectSumLoss": {"metric_weight": 2.0, "epsilon": 0.5, "gradient_to_kernel": True},
    "ClassifierSubspaceLoss": {"epsilon": 0.5, "gradient_to_kernel": True},
    "SpectralSumLoss": {"power": 0.7, "gradient_to_kernel": True},
}


@pytest.mark.parametrize("name", INTEGRATED)
@pytest.mark.parametrize("metric", ["proto", None])
def test_integrated_losses_survive_serialisation(name, metric):
    options = {"classification": "bce", "metric": metric, "reduction": "none", "dtype": "float64", **OPTIONS[name]}
    loss = build(name, **options)
    config = keras.saving.serialize_keras_object(loss)
    copy = keras.saving.deserialize_keras_object(config)
    assert type(copy) is type(loss)
    for option, value in options.items():
        assert getattr(copy, option) == value
    assert keras.saving.serialize_keras_object(copy) == config
    # A configuration holds the classifier's shape, not its weights.
    copy.classifier.set_weights(loss.classifier.get_weights())
    np.testing.assert_array_equal(copy(LABELS, features()), loss(LABELS, features()))


@pytest.mark.parametrize("name", PLAIN + INTEGRATED)
def test_registered_with_keras(name):
    loss = getattr(losses, name)
    assert keras.saving.get_registered_name(loss) == f"dsl_tf>{name}"
    assert keras.saving.get_registered_object(f"dsl_tf>{name}") is loss
    assert issubclass(loss, keras.losses.Loss)


@pytest.mark.parametrize("name", PLAIN)
def test_labels_of_another_shape_are_an_error(name):
    for labels in (np.zeros((7, 2), np.int64), np.zeros((7, 1, 1), np.int64), np.int64(3)):
        with pytest.raises(ValueError, match="[Ll]abels"):
            build(name)(labels, features())


@pytest.mark.parametrize("column", [False, True])
@pytest.mark.parametrize("shape", [None, "same rank"])
@pytest.mark.parametrize("name", PLAIN)
def test_labels_of_unknown_shape(name, shape, column):
    # Datasets made from Python functions know neither rank nor shape before they run.
    labels = LABELS[:, None] if column else LABELS
    shape = None if shape is None else [None] * labels.ndim

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.int64), tf.TensorSpec([None, 6], tf.float64)])
    def compiled(y, x):
        return build(name)(y, x)

    expected = oracles.mean_of_participants(*oracle(name, features()))
    np.testing.assert_allclose(compiled(labels, features()), expected, rtol=VALUE_TOLERANCE)
