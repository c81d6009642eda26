"""Fused batch normalisation equals that of Keras."""

import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

from dsl_tf.models.normalization import FusedBatchNormalization, with_fused_normalization
from dsl_tf.models.standard_layers import with_standard_layers

POLICIES = ["float32", "mixed_bfloat16", "mixed_float16", "float64"]
# Of the activations: float32 in another order of summation, or one rounding step of the half precisions.
TOLERANCE = {"float32": 1e-5, "bfloat16": 2.0**-7, "float16": 2.0**-10, "float64": 1e-12}
# Of the statistics, which are kept in float32 whatever the activations are.
STATISTICS_TOLERANCE = {"float64": 1e-12}


def pair(policy="float32", channels=5, shape=None, seed=0, **arguments):
    """A fused layer and one of Keras, with the same random weights."""
    random = np.random.default_rng(seed)
    layers = [cls(dtype=policy, **arguments) for cls in (FusedBatchNormalization, keras.layers.BatchNormalization)]
    for layer in layers:
        layer.build(shape or (None, None, None, channels))
    # gamma and beta of both signs; a variance is positive.
    weights = [
        random.uniform(0.5, 2, weight.shape) if weight.name == "moving_variance" else random.normal(size=weight.shape)
        for weight in layers[1].weights
    ]
    for layer in layers:
        layer.set_weights(weights)
    return layers


def images(count=4, height=3, width=6, channels=5, seed=1, mean=0.0, scale=1.0):
    random = np.random.default_rng(seed)
    return mean + scale * (random.normal(size=(count, height, width, channels)) + random.normal(size=channels))


def assert_close(received, expected, dtype, factor=1.0):
    assert received.dtype == expected.dtype
    received, expected = (tf.cast(value, tf.float64).numpy() for value in (received, expected))
    assert np.isfinite(received).all()
    allowed = factor * TOLERANCE[dtype] * max(np.abs(expected).max(), 1e-3)
    np.testing.assert_allclose(received, expected, rtol=0, atol=allowed)


def assert_equal_weights(fused, standard, tolerance=2e-6):
    assert [weight.name for weight in fused.weights] == [weight.name for weight in standard.weights]
    for weight, other in zip(fused.weights, standard.weights, strict=True):
        assert weight.dtype == other.dtype
        np.testing.assert_allclose(weight.numpy(), other.numpy(), rtol=tolerance, atol=tolerance, err_msg=weight.name)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("training", [True, False, None])
@pytest.mark.parametrize("scale, center", [(True, True), (False, True), (True, False), (False, False)])
def test_forward(policy, training, scale, center):
    fused, standard = pair(policy, scale=scale, center=center, epsilon=0.02, momentum=0.8)
    x = tf.constant(images(), fused.compute_dtype)
    before = fused.get_weights()
    outputs = fused(x, training=training)
    assert outputs.dtype == fused.compute_dtype
    assert_close(outputs, standard(x, training=training), fused.compute_dtype)
    assert_equal_weights(fused, standard)
    assert any((weights != new).any() for weights, new in zip(before, fused.get_weights(), strict=True)) == bool(
        training
    )


@pytest.mark.parametrize("policy", POLICIES)
def test_against_the_definition(policy):
    fused, _ = pair(policy, epsilon=0.02, momentum=0.8)
    gamma, beta, moving_mean, moving_variance = (weights.astype(np.float64) for weights in fused.get_weights())
    x = tf.constant(images(), fused.compute_dtype)
    values = tf.cast(x, tf.float64).numpy()
    inferred = gamma * (values - moving_mean) / np.sqrt(moving_variance + 0.02) + beta
    assert_close(fused(x), tf.cast(inferred, fused.compute_dtype), fused.compute_dtype)
    mean, variance = values.mean(axis=(0, 1, 2)), values.var(axis=(0, 1, 2))
    trained = gamma * (values - mean) / np.sqrt(variance + 0.02) + beta
    assert_close(fused(x, training=True), tf.cast(trained, fused.compute_dtype), fused.compute_dtype)
    np.testing.assert_allclose(fused.moving_mean, 0.8 * moving_mean + 0.2 * mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(fused.moving_variance, 0.8 * moving_variance + 0.2 * variance, rtol=1e-5)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("momentum", [0.99, 0.5, 0.0])
def test_moving_statistics_after_several_steps(policy, momentum):
    fused, standard = pair(policy, momentum=momentum)
    for step, count in enumerate((4, 1, 7, 2, 3)):
        x = tf.constant(images(count, seed=step, mean=step), fused.compute_dtype)
        fused(x, training=True)
        standard(x, training=True)
        assert_equal_weights(fused, standard)
    x = tf.constant(images(), fused.compute_dtype)
    assert_close(fused(x, training=False), standard(x, training=False), fused.compute_dtype)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("scale, center", [(True, True), (False, False)])
def test_gradients(policy, training, scale, center):
    x, upstream = images(6), images(6, seed=2)
    gradients = []
    for layer in pair(policy, scale=scale, center=center):
        inputs = tf.constant(x, layer.compute_dtype)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=training)
            value = tf.reduce_sum(tf.cast(outputs, tf.float64) * upstream)
        assert [weight.name for weight in layer.trainable_weights] == ["gamma"] * scale + ["beta"] * center
        gradients.append(tape.gradient(value, [inputs, *(weight.value for weight in layer.trainable_weights)]))
    for received, expected in zip(*gradients, strict=True):
        assert received is not None
        # Half precision rounds the gradient that comes down before it is summed, too.
        assert_close(received, expected, layer.compute_dtype, factor=2)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_a_large_mean_leaves_the_variance(policy):
    fused, _ = pair(policy, epsilon=1e-5, momentum=0.0)
    gamma, beta = (weights.astype(np.float64) for weights in fused.get_weights()[:2])
    # In half precision neighbouring numbers near 1000 are 0.5 or 4 apart.
    x = tf.constant(images(8, 8, 8, mean=1e3, scale=1 if policy == "float32" else 20), fused.compute_dtype)
    values = tf.cast(x, tf.float64).numpy()
    mean, variance = values.mean(axis=(0, 1, 2)), values.var(axis=(0, 1, 2))
    expected = gamma * (values - mean) / np.sqrt(variance + 1e-5) + beta
    outputs = tf.cast(fused(x, training=True), tf.float64)
    np.testing.assert_allclose(
        outputs, expected, atol=max(2e-3, TOLERANCE[fused.compute_dtype] * np.abs(expected).max())
    )
    np.testing.assert_allclose(fused.moving_mean, mean, rtol=1e-6)
    np.testing.assert_allclose(fused.moving_variance, variance, rtol=1e-3)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("training", [True, False])
def test_one_image_of_one_pixel(policy, training):
    fused, standard = pair(policy)
    x = tf.constant(images(1, 1, 1), fused.compute_dtype)
    assert_close(fused(x, training=training), standard(x, training=training), fused.compute_dtype)
    assert_equal_weights(fused, standard)


def test_constant_images():
    fused, standard = pair()
    x = tf.fill([4, 3, 6, 5], 7.0)
    outputs = fused(x, training=True)
    np.testing.assert_allclose(outputs, tf.broadcast_to(fused.beta, x.shape), atol=1e-4)
    np.testing.assert_allclose(outputs, standard(x, training=True), atol=1e-4)
    assert_equal_weights(fused, standard)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_a_frozen_layer_uses_and_keeps_its_statistics(policy):
    fused, standard = pair(policy)
    x = tf.constant(images(), fused.compute_dtype)
    before = fused.get_weights()
    inferred = fused(x, training=False)
    for layer in (fused, standard):
        layer.trainable = False
    outputs = fused(x, training=True)
    np.testing.assert_array_equal(tf.cast(outputs, tf.float32), tf.cast(inferred, tf.float32))
    assert_close(outputs, standard(x, training=True), fused.compute_dtype)
    for weights, others in zip(fused.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weights, others)
    assert fused.trainable_weights == []


def test_initial_weights_are_those_of_keras():
    layers = []
    for cls in (FusedBatchNormalization, keras.layers.BatchNormalization):
        keras.utils.set_random_seed(0)
        layer = cls(gamma_initializer="random_normal", moving_variance_initializer="random_uniform")
        layer(tf.zeros([1, 2, 2, 3]))
        layers.append(layer)
    assert_equal_weights(*layers, tolerance=0)
    assert [weight.name for weight in layers[0].weights] == ["gamma", "beta", "moving_mean", "moving_variance"]
    assert [weight.trainable for weight in layers[0].weights] == [True, True, False, False]


def kernels(layer, shape, training):
    graph = tf.function(lambda x: layer(x, training=training)).get_concrete_function(
        tf.TensorSpec(shape, layer.compute_dtype)
    )
    return [operation.type for operation in graph.graph.get_operations()]


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("axis", [-1, 3])
def test_images_are_normalised_by_one_fused_operation(policy, training, axis):
    fused, _ = pair(policy, axis=axis)
    assert kernels(fused, [None, 3, 6, 5], training).count("FusedBatchNormV3") == 1


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    "shape, axis", [((8, 5), -1), ((4, 7, 5), -1), ((2, 3, 4, 2, 5), -1), ((2, 5, 3, 4), 1), ((2, 4, 5, 3), 2)]
)
def test_other_inputs_are_normalised_as_keras_does(shape, axis, training):
    fused, standard = pair(axis=axis, shape=shape)
    x = tf.constant(np.random.default_rng(0).normal(3, 2, shape), tf.float32)
    assert_close(fused(x, training=training), standard(x, training=training), "float32")
    assert_equal_weights(fused, standard)


def test_a_mask_is_respected():
    fused, standard = pair()
    x = tf.constant(images(), tf.float32)
    mask = tf.constant(np.random.default_rng(0).random((4, 3, 6)) < 0.5)
    assert_close(fused(x, training=True, mask=mask), standard(x, training=True, mask=mask), "float32")
    assert_equal_weights(fused, standard)


@pytest.mark.parametrize("policy", ["bfloat16", "float16"])
@pytest.mark.parametrize("training", [True, False])
def test_weights_in_half_precision(policy, training):
    fused, standard = pair(policy)
    x = tf.constant(images(), policy)
    assert_close(fused(x, training=training), standard(x, training=training), policy)
    assert_equal_weights(fused, standard, tolerance=TOLERANCE[policy])


@pytest.mark.skipif(
    "renorm" not in inspect.signature(keras.layers.BatchNormalization).parameters, reason="This Keras has none."
)
def test_renormalisation():
    fused, standard = pair(renorm=True)
    x = tf.constant(images(mean=2), tf.float32)
    assert_close(fused(x, training=True), standard(x, training=True), "float32")


@pytest.mark.parametrize("given, policy", [("float32", "mixed_bfloat16"), ("float64", "float32"), ("int32", "float32")])
@pytest.mark.parametrize("training", [True, False])
def test_inputs_of_another_dtype(given, policy, training):
    fused, standard = pair(policy)
    x = tf.cast(images(scale=5), given)
    outputs = fused(x, training=training)
    assert outputs.dtype == fused.compute_dtype
    assert_close(outputs, standard(x, training=training), fused.compute_dtype)


def test_configuration_round_trip():
    fused = FusedBatchNormalization(
        axis=3, momentum=0.7, epsilon=0.1, scale=False, beta_initializer="ones", name="norm", dtype="mixed_bfloat16"
    )
    config = fused.get_config()
    copy = FusedBatchNormalization.from_config(config)
    assert type(copy) is FusedBatchNormalization and copy.get_config() == config
    assert (copy.momentum, copy.epsilon, copy.scale, copy.name) == (0.7, 0.1, False, "norm")
    assert copy.dtype_policy.name == "mixed_bfloat16"
    keras.layers.BatchNormalization.from_config(config)
    restored = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(fused))
    assert type(restored) is FusedBatchNormalization and restored.get_config() == config


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_training_in_a_graph(policy):
    def train(layer):
        optimizer = keras.optimizers.SGD(0.1)

        @tf.function(input_signature=[tf.TensorSpec([None, 3, 6, 5], layer.compute_dtype)])
        def step(x):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean((tf.cast(layer(x, training=True), tf.float32) - 1) ** 2)
            optimizer.apply(tape.gradient(loss, layer.trainable_weights), layer.trainable_weights)
            return loss

        return [step(tf.constant(images(2 + count, seed=count), layer.compute_dtype)).numpy() for count in range(6)]

    fused, standard = pair(policy, momentum=0.6)
    tolerance = 1e-5 if policy == "float32" else 1e-2
    np.testing.assert_allclose(train(fused), train(standard), rtol=tolerance)
    assert_equal_weights(fused, standard, tolerance)


def test_training_in_a_model():
    histories, weights = [], []
    for cls in (FusedBatchNormalization, keras.layers.BatchNormalization):
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [
                keras.Input((6, 6, 3)),
                keras.layers.Conv2D(4, 3, use_bias=False),
                cls(momentum=0.5),
                keras.layers.ReLU(),
                keras.layers.GlobalAveragePooling2D(),
                keras.layers.Dense(1),
            ]
        )
        model.compile(keras.optimizers.SGD(0.05), "mse")
        x, y = images(12, 6, 6, 3).astype(np.float32), np.arange(12.0)[:, None] / 12
        histories.append(model.fit(x, y, batch_size=5, epochs=3, shuffle=False, verbose=0).history["loss"])
        weights.append(model.get_weights())
    np.testing.assert_allclose(*histories, rtol=1e-4)
    for received, expected in zip(*weights, strict=True):
        np.testing.assert_allclose(received, expected, rtol=1e-3, atol=1e-5)


def nested_model():
    """Keras's own layers, one of them shared and one in a model within the model."""
    inner = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.BatchNormalization(name="within")], name="inner")
    inputs = keras.Input((4, 4, 3))
    shared = keras.layers.BatchNormalization(name="shared", momentum=0.7)
    x = keras.layers.Add()([shared(inner(inputs)), shared(inputs)])
    x = keras.layers.BatchNormalization(name="frozen", trainable=False)(x)
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))


def test_a_fused_copy_computes_what_the_model_does():
    model = nested_model()
    random = np.random.default_rng(0)
    model.set_weights([random.uniform(0.5, 2, weights.shape) for weights in model.get_weights()])
    copy = with_fused_normalization(model)
    images = random.normal(size=(5, 4, 4, 3)).astype(np.float32)
    for training in (True, False):
        np.testing.assert_allclose(copy(images, training=training), model(images, training=training), atol=1e-5)
    for weights, others in zip(copy.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(weights, others, rtol=1e-5, atol=1e-6)
    fused = [layer for layer in copy._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    assert {layer.name for layer in fused} == {"within", "shared", "frozen"}
    assert {type(layer) for layer in fused} == {FusedBatchNormalization} and not copy.get_layer("frozen").trainable


def test_a_fused_copy_loads_as_keras_own_layers():
    copy = with_standard_layers(with_fused_normalization(nested_model()))
    found = {type(layer) for layer in copy._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)}
    assert found == {keras.layers.BatchNormalization}


@keras.saving.register_keras_serializable(package="tests")
class Normalizing(keras.layers.Layer):
    """A layer with batch normalisation inside."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.inner = keras.layers.BatchNormalization()

    def call(self, inputs, training=None):
        return self.inner(inputs, training=training)


def test_what_cannot_be_synchronised_is_refused_and_a_model_without_normalization_is_kept():
    inputs = keras.Input((4, 4, 3))
    model = keras.Model(inputs, Normalizing(name="within")(inputs))
    assert with_fused_normalization(model).count_params() == model.count_params()
    with pytest.raises(ValueError, match="within the layer within cannot be synchronised"):
        with_fused_normalization(model, synchronized=True)
