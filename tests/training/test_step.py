"""One step of training: broken, compiled or neither."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dsl_tf.runs.configuration import TrainingConfiguration
from dsl_tf.training import construction
from dsl_tf.training.step import TrainingStep
from tests.images import SIZE, tiny_backbone, tiny_configuration

IMAGES = np.random.default_rng(0).integers(0, 256, (24, SIZE, SIZE, 3), np.uint8)
LABELS = np.repeat(np.arange(8), 3).astype(np.int32)


class FaultyGradient(keras.layers.Layer):
    """The identity, whose gradient is multiplied by a variable."""

    def build(self, input_shape):
        self.factor = self.add_weight(shape=(), initializer="ones", trainable=False)

    def call(self, inputs):
        factor = tf.convert_to_tensor(self.factor)

        @tf.custom_gradient
        def identity(x):
            return tf.identity(x), lambda upstream: upstream * tf.cast(factor, upstream.dtype)

        return identity(inputs)


def new_parts(**changes):
    body = tiny_backbone()
    backbone = keras.Sequential([body, FaultyGradient()])
    backbone.build((None, SIZE, SIZE, 3))
    return construction.build(tiny_configuration("unused", **changes), (SIZE, SIZE, 3), 8, 4, backbone)


def weights_of(parts):
    return [weight.numpy() for weight in parts.trainable_weights]


def assert_finite(parts):
    assert all(np.isfinite(weight).all() for weight in weights_of(parts))


@pytest.mark.parametrize(
    ("changes", "terms"),
    [
        ({}, ("classification_loss",)),
        ({"classification_loss": "none"}, ("gradients",)),
        ({"metric_loss": "none"}, ("classification_loss",)),
    ],
)
def test_the_first_broken_step_is_told_with_its_terms_and_reaches_no_weight(changes, terms):
    parts = new_parts(**changes)
    step = TrainingStep(parts)
    for _ in range(3):
        step(IMAGES, LABELS)
    assert step.broken() is None
    rate = float(parts.optimizer.learning_rate)
    if parts.classifier is None:
        parts.backbone.layers[-1].factor.assign(np.inf)
    else:
        # Differences of the logits beyond float32, though their gradients are not.
        bias = parts.classifier.bias.numpy()
        parts.classifier.bias.assign(np.where(np.arange(8) == 0, 3e38, -3e38))
    step(IMAGES, LABELS)
    if parts.classifier is not None:
        parts.classifier.bias.assign(bias)
    assert_finite(parts)
    parts.backbone.layers[-1].factor.assign(1.0)
    step(IMAGES, LABELS)
    parts.backbone.layers[-1].factor.assign(np.nan)
    step(IMAGES, LABELS)
    assert_finite(parts)
    broken = step.broken()
    assert broken.steps_ago == 2 and broken.terms == terms
    assert broken.learning_rate == pytest.approx(rate)


def test_steps_are_counted_from_the_last_reset():
    parts = new_parts()
    step = TrainingStep(parts)
    step(IMAGES, LABELS)
    step.reset()
    step(IMAGES, LABELS)
    parts.backbone.layers[-1].factor.assign(np.nan)
    step(IMAGES, LABELS)
    assert step.broken() == (0, pytest.approx(0.1), ("gradients",))


def test_a_float16_step_whose_scaled_gradients_overflow_is_no_error():
    parts = new_parts(precision="mixed_float16")
    step = TrainingStep(parts)
    step(IMAGES, LABELS)
    parts.backbone.layers[-1].factor.assign(np.inf)
    before, scale = weights_of(parts), float(parts.optimizer.dynamic_scale)
    step(IMAGES, LABELS)
    for ours, theirs in zip(weights_of(parts), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert float(parts.optimizer.dynamic_scale) == scale / 2
    assert step.broken() is None


def test_a_float16_loss_scale_that_falls_for_ever_is_an_error():
    parts = new_parts(precision="mixed_float16")
    step = TrainingStep(parts)
    parts.backbone.layers[-1].factor.assign(np.inf)
    steps = 0
    while step.broken() is None:
        step(IMAGES, LABELS)
        steps += 1
    assert 20 < steps < 40
    assert step.broken().terms == ("gradients",)


def test_a_float16_loss_that_is_not_finite_is_an_error():
    parts = new_parts(precision="mixed_float16")
    step = TrainingStep(parts)
    parts.classifier.bias.assign(np.full(8, np.nan, np.float32))
    step(IMAGES, LABELS)
    assert step.broken().terms == ("classification_loss",)


def test_a_regulariser_of_the_backbone_is_told_as_the_loss():
    regularizer = keras.regularizers.L2(1e39)
    layers = [keras.layers.Conv2D(12, 3, kernel_regularizer=regularizer), keras.layers.GlobalAveragePooling2D()]
    layers.insert(0, keras.Input((SIZE, SIZE, 3)))
    parts = construction.build(tiny_configuration("unused"), (SIZE, SIZE, 3), 8, 4, keras.Sequential(layers))
    step = TrainingStep(parts)
    step(IMAGES, LABELS)
    assert step.broken().terms == ("loss",)
    assert_finite(parts)


def compiled_or_not(jit_compile, **options):
    configuration = TrainingConfiguration(
        output_dir="unused", filters=(4, 4, 6, 12), ways=4, shots=2, learning_rate=0.01, **options
    )
    return TrainingStep(construction.build(configuration, (16, 16, 3), 4, 100), jit_compile)


def batch():
    random = np.random.default_rng(0)
    return tf.constant(random.integers(0, 256, (8, 16, 16, 3), np.uint8)), tf.constant([0, 0, 1, 1, 2, 2, 3, 3])


def test_compiled_steps_have_the_losses_of_plain_ones():
    histories = []
    for jit_compile in (False, True):
        step = compiled_or_not(jit_compile)
        histories.append([])
        for _ in range(3):
            step(*batch())
            histories[-1].append(list(step.means().values()))
            step.reset()
    np.testing.assert_allclose(*histories, rtol=1e-3)
    assert np.ptp(histories[0], axis=0)[0] > 0.01


def test_xla_compiles_the_backbone_and_leaves_the_decomposition_alone():
    step = compiled_or_not(True, integration="spectral_sum")
    graph = step.__call__.get_concrete_function(*batch()).graph
    compiled = {node.attr["f"].func.name for node in graph.as_graph_def().node if node.attr["_XlaMustCompile"].b}
    functions = {function.signature.name: function for function in graph.as_graph_def().library.function}
    inside = {node.op for name in compiled for node in functions[name].node_def}
    outside = {operation.type for operation in graph.get_operations()}
    assert {"Conv2D", "Conv2DBackpropFilter"} <= inside and not {"Conv2D", "Conv2DBackpropFilter"} & outside
    assert "SelfAdjointEigV2" in outside and "SelfAdjointEigV2" not in inside
