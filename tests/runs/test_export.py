import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from dsl_tf import models
from dsl_tf.data.preprocessing import normalize
from dsl_tf.errors import UserError
from dsl_tf.runs.export import export_backbone, export_saved_model, export_statistics, load_exported_model


@pytest.fixture(params=["float32", "mixed_bfloat16"])
def backbone(request):
    keras.config.set_dtype_policy(request.param)
    model = models.resnet12((16, 16, 3), (4, 4, 8, 12))
    keras.config.set_dtype_policy("float32")
    random = np.random.default_rng(0)
    # Moving statistics other than their initial ones, so that a forgotten one shows.
    model.set_weights([np.abs(weight + 0.1 * random.normal(size=weight.shape)) for weight in model.get_weights()])
    return model


def images(*shape):
    return np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)


def test_the_saved_model_needs_neither_this_package_nor_keras(tmp_path, backbone):
    export_saved_model(backbone, tmp_path / "saved_model")
    batch = images(3, 16, 16)
    np.save(tmp_path / "images.npy", batch)
    script = """
import sys
sys.modules["dsl_tf"] = sys.modules["keras"] = None
import numpy as np, tensorflow as tf
serve = tf.saved_model.load("saved_model").signatures["serving_default"]
images = tf.constant(np.load("images.npy"))
np.save("features.npy", serve(images=images)["features"])
"""
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, capture_output=True)
    served = np.load(tmp_path / "features.npy")
    expected = backbone(normalize(batch), training=False).numpy()
    assert served.dtype == np.float32
    np.testing.assert_allclose(served, expected, rtol=2e-2, atol=2e-2 * np.abs(expected).max())


@pytest.mark.parametrize("shape", [(1, 5, 40), (2, 33, 17), (4, 16, 16)])
def test_the_saved_model_resizes_images_of_any_size(tmp_path, shape):
    model = models.resnet12((16, 16, 3), (4, 4, 8, 12))
    export_saved_model(model, tmp_path / "saved_model")
    served = tf.saved_model.load(str(tmp_path / "saved_model")).signatures["serving_default"]
    batch = images(*shape)
    resized = tf.image.resize(batch, (16, 16), antialias=True)
    expected = model(resized / 127.5 - 1, training=False)
    np.testing.assert_allclose(served(images=tf.constant(batch))["features"], expected, rtol=1e-4, atol=1e-5)


def test_the_keras_file_loads_without_this_package(tmp_path, backbone):
    export_backbone(backbone, tmp_path / "backbone.keras")
    np.save(tmp_path / "images.npy", images(3, 16, 16))
    script = """
import sys
sys.modules["dsl_tf"] = None
import keras, numpy as np
model = keras.models.load_model("backbone.keras")
np.save("features.npy", model(np.load("images.npy").astype("float32")))
"""
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, capture_output=True)
    expected = backbone(images(3, 16, 16).astype(np.float32)).numpy()
    features = np.load(tmp_path / "features.npy")
    np.testing.assert_allclose(features, expected, rtol=3e-2, atol=3e-2 * np.abs(expected).max())


def test_an_export_replaces_the_one_before_it(tmp_path, backbone):
    for _ in range(2):
        export_saved_model(backbone, tmp_path / "saved_model")
        export_backbone(backbone, tmp_path / "backbone.keras")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backbone.keras", "saved_model"]


def test_statistics_hold_the_mean_and_the_classifier(tmp_path):
    classifier = keras.layers.Dense(3)
    classifier.build((None, 4))
    export_statistics(classifier, np.arange(4.0), tmp_path / "statistics.npz")
    with np.load(tmp_path / "statistics.npz", allow_pickle=False) as statistics:
        np.testing.assert_array_equal(statistics["feature_mean"], np.arange(4.0))
        np.testing.assert_array_equal(statistics["kernel"], classifier.kernel.numpy())
        np.testing.assert_array_equal(statistics["bias"], np.zeros(3))


def test_a_backbone_around_another_is_exported_whole(tmp_path):
    inner = models.resnet12((16, 16, 3), (4, 4, 8, 12))
    outer = keras.Sequential([keras.Input((16, 16, 3)), inner, keras.layers.Dense(5)])
    export_backbone(outer, tmp_path / "backbone.keras")
    loaded = keras.models.load_model(tmp_path / "backbone.keras")
    kinds = {type(layer) for layer in loaded.layers[0].layers}
    assert keras.layers.BatchNormalization in kinds and models.normalization.FusedBatchNormalization not in kinds
    batch = images(2, 16, 16).astype(np.float32)
    np.testing.assert_allclose(loaded(batch), outer(batch), rtol=1e-4, atol=1e-4)


def test_the_image_size_is_written_at_export(tmp_path):
    inputs = keras.Input((12, 20, 3))
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs))
    export_saved_model(model, tmp_path / "saved_model")
    loaded = load_exported_model(tmp_path)
    assert (loaded.image_size, loaded.stored_size) == (20, None)
    assert loaded.signature(images=tf.constant(images(2, 5, 6)))["features"].shape == (2, 3)
    signatures = tf.saved_model.load(str(tmp_path / "saved_model")).signatures
    np.testing.assert_array_equal(signatures["image_size"]()["image_size"], [12, 20])


def test_a_saved_model_without_its_image_size_is_refused_in_one_line(tmp_path):
    def serve(images):
        return {"features": tf.reduce_mean(tf.image.resize(images, (16, 16), antialias=True), axis=[1, 2])}

    module = tf.Module()
    module.serve = tf.function(serve, input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, name="images")])
    tf.saved_model.save(module, str(tmp_path / "saved_model"), signatures={"serving_default": module.serve})
    with pytest.raises(UserError, match=r"image_size.*earlier versions.*Export it again.*backbone\.keras") as error:
        load_exported_model(tmp_path)
    assert "\n" not in str(error.value)


def test_a_backbone_of_any_size_has_no_image_size_to_export(tmp_path):
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs))
    with pytest.raises(UserError, match="fixed height and width"):
        export_saved_model(model, tmp_path / "saved_model")
    assert not list(tmp_path.iterdir())
