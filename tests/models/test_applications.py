import importlib

import keras
import numpy as np
import pytest

from dsl_tf.models.applications import APPLICATIONS, application
from dsl_tf.models.normalization import with_fused_normalization
from dsl_tf.models.standard_layers import with_standard_layers

# One of each kind of preprocessing: −1..1, blue-green-red minus means, standardised, and none at all.
NETWORKS = {
    "MobileNetV2": "mobilenet_v2",
    "ResNet50": "resnet",
    "DenseNet121": "densenet",
    "EfficientNetB0": "efficientnet",
}


@pytest.mark.parametrize("name", NETWORKS)
def test_features_are_those_of_the_network_on_its_own_preprocessing(name, tmp_path):
    model = application(name, (32, 32, 3))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)
    features = model.predict(pixels / 127.5 - 1, verbose=0)
    network = next(layer for layer in model.layers if isinstance(layer, keras.Model))
    preprocess = importlib.import_module(f"keras.applications.{NETWORKS[name]}").preprocess_input
    expected = network.predict(preprocess(pixels.copy()), verbose=0).mean(axis=(1, 2))
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-5)
    if name == "DenseNet121":
        # The slowest, and with nothing that the others lack.
        return
    exported = with_standard_layers(with_fused_normalization(model))
    exported.save(tmp_path / "backbone.keras")
    loaded = keras.models.load_model(tmp_path / "backbone.keras")
    np.testing.assert_allclose(loaded.predict(pixels / 127.5 - 1, verbose=0), features, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("policy", ["mixed_bfloat16"], indirect=True)
def test_half_precision_leaves_features_in_float32(policy):
    model = application("MobileNetV3Small", (32, 32, 3))
    features = model(np.zeros((1, 32, 32, 3), np.float32))
    assert features.dtype == "float32" and features.shape == (1, 576)


def test_weights_come_from_a_file(tmp_path):
    keras.utils.set_random_seed(1)
    network = keras.applications.MobileNet(include_top=False, weights=None, input_shape=(32, 32, 3), alpha=1.0)
    network.save_weights(tmp_path / "mobilenet.weights.h5")
    model = application("MobileNet", (32, 32, 3), tmp_path / "mobilenet.weights.h5")
    for loaded, saved in zip(model.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(loaded, saved)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("ResNet49", (32, 32, 3)), ["`name`", "ResNet50", "'ResNet49'"]),
        (("MobileNet", (16, 16, 3)), ["MobileNet", "(16, 16, 3)", "32"]),
        (("MobileNet", (32, 32, 3), "nosuch.h5"), ["`weights`", "'nosuch.h5'"]),
        (("MobileNet", (32, 32, 3), __file__), ["`weights`", "test_applications.py", "MobileNet"]),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(arguments, expected):
    with pytest.raises(ValueError) as caught:
        application(*arguments)
    message = str(caught.value)
    assert "\n" not in message and all(part in message for part in expected), message


def test_the_names_are_constructors():
    assert {"ConvNeXtTiny", "VGG16", "Xception"} < set(APPLICATIONS)
    assert all(callable(getattr(keras.applications, name)) for name in APPLICATIONS)
