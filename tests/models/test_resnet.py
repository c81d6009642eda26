"""The two forms of ResNet-12."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from dsl_tf.models.resnet import resnet12, resnet12_basic
from dsl_tf.models.standard_layers import with_standard_layers

ARCHITECTURES = [resnet12, resnet12_basic]
POLICIES = ["float32", "mixed_bfloat16", "mixed_float16"]
FILTERS = (3, 4, 2, 5)
DEFAULT_FILTERS = (64, 160, 320, 640)
EPSILON = 1e-5
# Relative to the largest feature: some rounding steps of the activations, through twelve layers.
TOLERANCE = {"float32": 1e-4, "mixed_bfloat16": 0.1, "mixed_float16": 0.015}


def randomised(model, seed=0):
    """Gives all weights random values, the scales of normalisation of both signs."""
    random = np.random.default_rng(seed)
    for weight in model.weights:
        value = random.normal(size=weight.shape)
        if weight.name == "kernel":
            value *= np.sqrt(2 / np.prod(weight.shape[:-1]))
        elif weight.name == "moving_variance":
            value = random.uniform(0.5, 2, weight.shape)
        elif weight.name != "gamma":
            value *= 0.3
        weight.assign(value)
    return model


def images(count=3, height=16, width=16, channels=3, seed=1):
    return np.random.default_rng(seed).uniform(-1, 1, (count, height, width, channels)).astype(np.float32)


# The networks in NumPy and float64, in the textbook's order. Weights are taken in the order of their creation.


def convolution(x, kernel, strides=1):
    """Zero-padded so that ⌈size / strides⌉ outputs fit, the odd pixel of padding below and to the right."""
    side = kernel.shape[0]
    padding = [(0, 0)]
    for size in x.shape[1:3]:
        total = max((-(-size // strides) - 1) * strides + side - size, 0)
        padding.append((total // 2, total - total // 2))
    x = np.pad(x, [*padding, (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(x, (side, side), axis=(1, 2))[:, ::strides, ::strides]
    return np.einsum("nhwcij,ijco->nhwo", windows, kernel)


def normalisation(x, gamma, beta, moving_mean, moving_variance, training):
    mean, variance = (x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))) if training else (moving_mean, moving_variance)
    return gamma * (x - mean) / np.sqrt(variance + EPSILON) + beta


def leaky(x):
    return np.where(x > 0, x, 0.1 * x)


def pooled(x):
    """The largest of each 2×2 pixels; an odd last row or column is left out."""
    height, width = x.shape[1] // 2, x.shape[2] // 2
    result = np.empty((len(x), height, width, x.shape[3]))
    for row in range(height):
        for column in range(width):
            result[:, row, column] = x[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].max(axis=(1, 2))
    return result


class NaiveNetwork:
    """Convolutions with normalisation, which take the weights of a model in an order of names."""

    def __init__(self, model, training):
        self.layers = {
            layer.name: [weights.astype(np.float64) for weights in layer.get_weights()] for layer in model.layers
        }
        self.training = training
        self.used = set()
        self.sizes = []

    def unit(self, x, name, side, strides=1):
        (kernel,), statistics = self.layers[f"{name}_convolution"], self.layers[f"{name}_normalization"]
        assert kernel.shape[:2] == (side, side) and kernel.shape[2] == x.shape[3]
        self.used |= {f"{name}_convolution", f"{name}_normalization"}
        return normalisation(convolution(x, kernel, strides), *statistics, self.training)

    def resnet12(self, x):
        for block in range(1, 5):
            shortcut = self.unit(x, f"block{block}_shortcut", 1)
            x = leaky(self.unit(x, f"block{block}_1", 3))
            x = leaky(self.unit(x, f"block{block}_2", 3))
            x = pooled(leaky(self.unit(x, f"block{block}_3", 3) + shortcut))
            self.sizes.append(x.shape[1:])
        return x.mean(axis=(1, 2))

    def resnet12_basic(self, x):
        x = np.maximum(self.unit(x, "stem", 3), 0)
        for stage, blocks in enumerate([1, 1, 2, 1], start=1):
            for block in range(1, blocks + 1):
                name = f"stage{stage}_block{block}"
                strides = 2 if block == 1 and stage > 1 else 1
                shortcut = x
                if f"{name}_shortcut_convolution" in self.layers:
                    shortcut = self.unit(x, f"{name}_shortcut", 1, strides)
                x = np.maximum(self.unit(x, f"{name}_1", 3, strides), 0)
                x = np.maximum(self.unit(x, f"{name}_2", 3) + shortcut, 0)
            self.sizes.append(x.shape[1:])
        return x.mean(axis=(1, 2))


def naive(model, x, training=False):
    network = NaiveNetwork(model, training)
    features = getattr(network, model.name)(x.astype(np.float64))
    # No weight of the model is left over.
    assert network.used == {name for name, weights in network.layers.items() if weights}
    return features, network.sizes


def assert_features(received, expected, policy):
    assert received.dtype == tf.float32 and received.shape == expected.shape
    np.testing.assert_allclose(received, expected, rtol=0, atol=TOLERANCE[policy] * np.abs(expected).max())


@pytest.mark.parametrize("policy", POLICIES, indirect=True)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("shape", [(16, 16, 3), (21, 34, 1)])
def test_features_are_those_of_the_textbook(architecture, policy, shape):
    model = randomised(architecture(shape, FILTERS))
    x = images(3, *shape)
    expected, _ = naive(model, x)
    assert_features(model(x, training=False), expected, policy)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_features_in_training_are_those_of_the_textbook(architecture):
    model = randomised(architecture((20, 20, 3), FILTERS))
    x = images(6, 20, 20)
    expected, _ = naive(model, x, training=True)
    np.testing.assert_allclose(model(x, training=True), expected, rtol=0, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize(
    "architecture, sizes", [(resnet12, [(42, 42), (21, 21), (10, 10), (5, 5)]),
                            (resnet12_basic, [(84, 84), (42, 42), (21, 21), (11, 11)])]
)  # fmt: skip
def test_images_of_84_pixels(architecture, sizes):
    model = randomised(architecture((84, 84, 3), FILTERS))
    x = images(2, 84, 84)
    expected, naive_sizes = naive(model, x)
    assert naive_sizes == [(*size, width) for size, width in zip(sizes, FILTERS, strict=True)]
    assert_features(model(x, training=False), expected, "float32")


@pytest.mark.parametrize(
    "height, width, sizes",
    [
        (84, 84, [(42, 42), (21, 21), (10, 10), (5, 5)]),
        (16, 16, [(8, 8), (4, 4), (2, 2), (1, 1)]),
        (33, 50, [(16, 25), (8, 12), (4, 6), (2, 3)]),
    ],
)
def test_every_block_of_resnet12_halves_the_size(height, width, sizes):
    model = resnet12((height, width, 3), FILTERS)
    pools = [layer.output.shape for layer in model.layers if isinstance(layer, keras.layers.MaxPooling2D)]
    assert pools == [(None, *size, channels) for size, channels in zip(sizes, FILTERS, strict=True)]


@pytest.mark.parametrize(
    "height, width, sizes",
    [
        (84, 84, [(84, 84), (42, 42), (21, 21), (21, 21), (11, 11)]),
        (8, 8, [(8, 8), (4, 4), (2, 2), (2, 2), (1, 1)]),
        (33, 50, [(33, 50), (17, 25), (9, 13), (9, 13), (5, 7)]),
    ],
)
def test_resnet12_basic_halves_the_size_from_the_second_stage_on(height, width, sizes):
    model = resnet12_basic((height, width, 3), FILTERS)
    blocks = [layer.output.shape for layer in model.layers if isinstance(layer, keras.layers.Add)]
    channels = [FILTERS[stage] for stage in (0, 1, 2, 2, 3)]
    assert blocks == [(None, *size, width) for size, width in zip(sizes, channels, strict=True)]


# Parameters.


def unit_parameters(side, inputs, outputs):
    """Trainable and other parameters of a convolution without bias and its normalisation."""
    return np.array([side * side * inputs * outputs + 2 * outputs, 2 * outputs])


def resnet12_parameters(channels, filters):
    total = np.zeros(2, int)
    for inputs, outputs in zip((channels, *filters), filters, strict=False):
        total += unit_parameters(1, inputs, outputs) + unit_parameters(3, inputs, outputs)
        total += 2 * unit_parameters(3, outputs, outputs)
    return total


def resnet12_basic_parameters(channels, filters):
    first, second, third, fourth = filters
    total = unit_parameters(3, channels, first) + 2 * unit_parameters(3, first, first)
    for inputs, outputs in ((first, second), (second, third), (third, fourth)):
        total += unit_parameters(1, inputs, outputs)
        total += unit_parameters(3, inputs, outputs) + unit_parameters(3, outputs, outputs)
    return total + 2 * unit_parameters(3, third, third)


def parameters(model):
    return [sum(int(np.prod(weight.shape)) for weight in weights) for weights in (
        model.trainable_weights, model.non_trainable_weights
    )]  # fmt: skip


@pytest.mark.parametrize("filters, channels", [(DEFAULT_FILTERS, 3), ((3, 4, 2, 5), 1), ((4, 4, 4, 4), 4)])
def test_number_of_parameters(filters, channels):
    shape = (32, 32, channels)
    assert parameters(resnet12(shape, filters)) == resnet12_parameters(channels, filters).tolist()
    assert parameters(resnet12_basic(shape, filters)) == resnet12_basic_parameters(channels, filters).tolist()


def test_the_default_is_the_network_of_the_literature():
    model = resnet12((84, 84, 3))
    assert model.output_shape == (None, 640)
    # Lee et al. and all who followed: 12.4 million.
    assert round(parameters(model)[0] / 1e6, 1) == 12.4
    assert resnet12_basic((84, 84, 3)).output_shape == (None, 640)


def kinds(model):
    return {
        kind.__name__: sum(isinstance(layer, kind) for layer in model.layers)
        for kind in (keras.layers.Conv2D, keras.layers.BatchNormalization, keras.layers.Add, keras.layers.LeakyReLU,
                     keras.layers.ReLU, keras.layers.MaxPooling2D, keras.layers.GlobalAveragePooling2D)
    }  # fmt: skip


def test_layers():
    shape = (32, 32, 3)
    assert kinds(resnet12(shape, FILTERS)) == {
        "Conv2D": 16, "BatchNormalization": 16, "Add": 4, "LeakyReLU": 12, "ReLU": 0, "MaxPooling2D": 4,
        "GlobalAveragePooling2D": 1,
    }  # fmt: skip
    # A stem, five blocks of two, and three shortcuts where the size changes.
    assert kinds(resnet12_basic(shape, FILTERS)) == {
        "Conv2D": 14, "BatchNormalization": 14, "Add": 5, "LeakyReLU": 0, "ReLU": 11, "MaxPooling2D": 0,
        "GlobalAveragePooling2D": 1,
    }  # fmt: skip


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_initial_kernels_have_the_variance_of_he_et_al(architecture):
    keras.utils.set_random_seed(0)
    for layer in architecture((16, 16, 3), (24, 32, 40, 48)).layers:
        if isinstance(layer, keras.layers.Conv2D):
            kernel = layer.kernel.numpy()
            expected = np.sqrt(2 / (kernel.shape[0] * kernel.shape[1] * kernel.shape[3]))
            assert abs(kernel.std() / expected - 1) < 5 / np.sqrt(2 * kernel.size)
            assert abs(kernel.mean()) < 5 * expected / np.sqrt(kernel.size)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_seed_decides_the_initial_weights(architecture):
    weights = []
    for seed in (1, 1, 2):
        keras.utils.set_random_seed(seed)
        weights.append(architecture((16, 16, 3), FILTERS).get_weights())
    for first, again in zip(weights[0], weights[1], strict=True):
        np.testing.assert_array_equal(first, again)
    assert any((first != other).any() for first, other in zip(weights[0], weights[2], strict=True))


# Precision and training.


@pytest.mark.parametrize("policy", POLICIES, indirect=True)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_layers_follow_the_policy_and_features_are_float32(architecture, policy):
    model = architecture((16, 16, 3), FILTERS)
    compute_dtype = keras.dtype_policies.get(policy).compute_dtype
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D | keras.layers.BatchNormalization | keras.layers.Add):
            assert layer.compute_dtype == compute_dtype
            assert layer.variable_dtype == "float32"
    for training in (False, True):
        features = model(images(), training=training)
        assert features.dtype == tf.float32 and features.shape == (3, FILTERS[-1])
        assert np.isfinite(features).all()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_weight_gets_a_gradient(architecture):
    keras.utils.set_random_seed(0)
    model = architecture((16, 16, 3), (6, 6, 6, 6))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(images(4), training=True) ** 2)
    for weight, gradient in zip(model.trainable_weights, tape.gradient(loss, model.trainable_weights), strict=True):
        assert np.abs(gradient).max() > 0, weight.path


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_statistics_move_by_a_tenth(architecture):
    model = architecture((16, 16, 3), FILTERS)
    first = next(layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization))
    model(images(), training=True)
    moved = first.moving_mean.numpy()
    convolved = convolution(images().astype(np.float64), model.get_layer(
        first.name.replace("normalization", "convolution")).kernel.numpy().astype(np.float64))  # fmt: skip
    np.testing.assert_allclose(moved, 0.1 * convolved.mean(axis=(0, 1, 2)), atol=1e-6)


# Errors.


@pytest.mark.parametrize("architecture, smallest", [(resnet12, 16), (resnet12_basic, 8)])
def test_the_smallest_images(architecture, smallest):
    model = architecture((smallest, smallest, 3), FILTERS)
    assert model(images(2, smallest, smallest)).shape == (2, FILTERS[-1])
    for shape in ((smallest - 1, smallest, 3), (smallest, smallest - 1, 3), (smallest, smallest), (1, 32, 32, 3)):
        with pytest.raises(ValueError, match=rf"`input_shape`.*{smallest}×{smallest}.*Received: \({shape[0]}, "):
            architecture(shape, FILTERS)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("filters", [(4, 4, 4), (4, 4, 4, 4, 4), (), (4, 0, 4, 4), (4, 4, 4, -1)])
def test_other_widths_are_an_error(architecture, filters):
    with pytest.raises(ValueError, match="`filters` must be 4 positive widths.*Received: "):
        architecture((16, 16, 3), filters)


# Printing and saving.


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_summary(architecture, capsys):
    architecture((16, 16, 3), FILTERS).summary()
    printed = capsys.readouterr().out
    assert architecture.__name__ in printed and "Total params" in printed


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"], indirect=True)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_saved_and_loaded(architecture, policy, tmp_path):
    model = randomised(architecture((16, 16, 3), FILTERS))
    model.save(tmp_path / "model.keras")
    keras.config.set_dtype_policy("float32")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert [type(layer) for layer in loaded.layers] == [type(layer) for layer in model.layers]
    np.testing.assert_array_equal(loaded(images()), model(images()))

    model.save_weights(tmp_path / "model.weights.h5")
    keras.config.set_dtype_policy(policy)
    other = randomised(architecture((16, 16, 3), FILTERS), seed=7)
    other.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(other(images()), model(images()))


_LOAD_ELSEWHERE = """
import sys
# Any import of the package fails from here on.
sys.modules["dsl_tf"] = None
import keras, numpy
images = numpy.load("images.npy")
for name in sys.argv[1:]:
    model = keras.saving.load_model(f"{name}.keras")
    numpy.save(f"{name}.npy", model.predict(images, verbose=0))
assert not any(module.startswith("dsl_tf.") for module in sys.modules)
"""


def test_a_copy_with_standard_normalisation_loads_without_this_package(tmp_path):
    before = keras.config.dtype_policy()
    models = {}
    try:
        for architecture, policy in zip(ARCHITECTURES, ("float32", "mixed_bfloat16"), strict=True):
            keras.config.set_dtype_policy(policy)
            models[f"{architecture.__name__}-{policy}"] = randomised(architecture((16, 16, 3), FILTERS))
    finally:
        keras.config.set_dtype_policy(before)
    for name, model in models.items():
        with_standard_layers(model).save(tmp_path / f"{name}.keras")
    np.save(tmp_path / "images.npy", images())
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    finished = subprocess.run(
        [sys.executable, "-c", _LOAD_ELSEWHERE, *models], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert finished.returncode == 0, finished.stderr
    for name, model in models.items():
        expected = model(images(), training=False).numpy()
        assert_features(tf.constant(np.load(tmp_path / f"{name}.npy")), expected, name.split("-")[1])
