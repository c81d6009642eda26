"""Features of many images."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dsl_tf.models.resnet import resnet12, resnet12_basic
from dsl_tf.runs.features import extract_features


def noise(count=10, size=16, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), np.uint8)


def direct(backbone, images):
    """The model itself on all images at once, mapped to −1..1."""
    outputs = backbone(tf.constant(images.astype(np.float32) / 127.5 - 1), training=False)
    return tf.cast(outputs, tf.float32).numpy()


def small_model(dropout=0.0):
    """A network of other layers, with statistics that training has moved."""
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            keras.layers.Conv2D(6, 3, activation="relu"),
            keras.layers.BatchNormalization(momentum=0.5),
            keras.layers.Dropout(dropout),
            keras.layers.Flatten(),
            keras.layers.Dense(5),
        ]
    )
    model(tf.random.stateless_uniform((8, 16, 16, 3), (1, 2), -3, 3), training=True)
    return model


class CountingTraces(keras.layers.Layer):
    """Hands on what it receives, and counts how often Python runs it."""

    def build(self, input_shape):
        self.calls = 0

    def call(self, inputs):
        self.calls += 1
        return inputs


@pytest.mark.parametrize("architecture", [resnet12, resnet12_basic])
def test_features_of_a_backbone(architecture):
    keras.utils.set_random_seed(0)
    backbone = architecture((16, 16, 3), (4, 4, 6, 7))
    images = noise()
    features = extract_features(backbone, images)
    assert features.dtype == np.float32 and features.shape == (10, 7)
    np.testing.assert_allclose(features, direct(backbone, images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 3, 5, 9, 10, 256])
def test_batches_keep_the_order_and_change_nothing(batch_size):
    model, images = small_model(), noise()
    features = extract_features(model, images, batch_size)
    np.testing.assert_allclose(features, direct(model, images), rtol=1e-4, atol=1e-5)
    order = np.random.default_rng(1).permutation(10)
    np.testing.assert_allclose(
        extract_features(model, images[order], batch_size), features[order], rtol=1e-4, atol=1e-5
    )


def test_the_model_is_in_inference_mode_and_unchanged():
    model, images = small_model(dropout=0.9), noise()
    before = model.get_weights()
    first = extract_features(model, images, 4)
    np.testing.assert_allclose(first, direct(model, images), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(extract_features(model, images, 4), first)
    for weights, others in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weights, others)


def test_new_weights_make_new_features():
    model, images = small_model(), noise()
    extract_features(model, images)
    model.set_weights([weights * 1.5 + 0.1 for weights in model.get_weights()])
    np.testing.assert_allclose(extract_features(model, images), direct(model, images), rtol=1e-4, atol=1e-4)


def test_two_models_do_not_mix():
    first, images = small_model(), noise()
    second = keras.models.clone_model(first)
    second.set_weights([weights + 0.1 for weights in first.get_weights()])
    for model in (first, second, first):
        np.testing.assert_allclose(extract_features(model, images), direct(model, images), rtol=1e-4, atol=1e-4)


def test_one_trace_serves_all_batches_and_calls():
    counting = CountingTraces()
    model = keras.Sequential([keras.Input((16, 16, 3)), counting, keras.layers.Flatten(), keras.layers.Dense(2)])
    counting.calls = 0
    for count, batch_size in ((10, 4), (7, 4), (10, 3), (1, 256)):
        assert extract_features(model, noise(count), batch_size).shape == (count, 2)
    assert counting.calls == 1


def test_no_images():
    assert extract_features(small_model(), noise(0)).shape == (0, 5)


def test_oblong_images():
    model = keras.Sequential([keras.Input((16, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(4)])
    images = noise()[:, :, :8]
    np.testing.assert_allclose(extract_features(model, images, 4), direct(model, images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_models_give_float32(policy):
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            keras.layers.Conv2D(6, 3, activation="relu", dtype=policy),
            keras.layers.Flatten(dtype=policy),
            keras.layers.Dense(5, dtype=policy),
        ]
    )
    images = noise()
    assert model(images.astype(np.float32)).dtype == policy.removeprefix("mixed_")
    features = extract_features(model, images, 4)
    assert features.dtype == np.float32
    scale = np.abs(features).max()
    np.testing.assert_allclose(features, direct(model, images), atol=0.02 * scale)
