"""KerasHub's presets as backbones. Most tests need KerasHub, an optional package."""

import json
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest

from dsl_tf.errors import UserError
from dsl_tf.models.hub import check_hub_preset, hub_backbone
from dsl_tf.runs.configuration import TrainingConfiguration
from dsl_tf.training import train
from tests.images import SIZE, striped_splits, tiny_configuration

SHAPE = (SIZE, SIZE, 3)
MEAN, DEVIATION = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@pytest.fixture(scope="module")
def presets(tmp_path_factory):
    """Folders that KerasHub wrote: two networks of Keras's layers, one of KerasHub's, one of texts."""
    hub = pytest.importorskip("keras_hub")
    folder = tmp_path_factory.mktemp("presets")
    keras.utils.set_random_seed(0)
    for name, shape in (("small resnet", (None, None, 3)), ("fixed_resnet", (64, 64, 3))):
        backbone = hub.models.ResNetBackbone([64], [3], [64, 8], [1, 1], [1, 2], "basic_block", image_shape=shape)
        backbone.save_to_preset(folder / name)
    scale = [1 / (255 * deviation) for deviation in DEVIATION]
    offset = [-mean / deviation for mean, deviation in zip(MEAN, DEVIATION, strict=True)]
    converter = hub.layers.ResNetImageConverter(image_size=(224, 224), scale=scale, offset=offset)
    converter.save_to_preset(folder / "small resnet")
    hub.models.ViTBackbone(SHAPE, 8, 1, 2, 8, 8).save_to_preset(folder / "vit")
    hub.models.BertBackbone(9, 1, 1, 4, 4).save_to_preset(folder / "text")
    return folder


def pixels():
    return np.random.default_rng(0).integers(0, 256, (2, *SHAPE)).astype(np.float32)


def test_a_map_s_mean_after_the_preset_s_own_preprocessing(presets):
    hub = pytest.importorskip("keras_hub")
    model = hub_backbone(str(presets / "small resnet"), SHAPE)
    network = hub.models.Backbone.from_preset(str(presets / "small resnet"))
    expected = network.predict((pixels() / 255 - MEAN) / DEVIATION, verbose=0).mean(axis=(1, 2))
    np.testing.assert_allclose(model.predict(pixels() / 127.5 - 1, verbose=0), expected, rtol=1e-3, atol=1e-5)


def test_the_class_token_of_a_transformer_on_plain_pixels_with_a_warning(presets, caplog):
    hub = pytest.importorskip("keras_hub")
    model = hub_backbone(str(presets / "vit"), SHAPE)
    assert "no image converter" in caplog.text
    network = hub.models.Backbone.from_preset(str(presets / "vit"))
    images = pixels() / 127.5 - 1
    np.testing.assert_allclose(
        model.predict(images, verbose=0), network.predict(images, verbose=0)[:, 0], rtol=1e-4, atol=1e-5
    )


def test_a_network_of_convolutions_takes_another_size_with_the_same_weights(presets):
    hub = pytest.importorskip("keras_hub")
    model = hub_backbone(str(presets / "fixed_resnet"), SHAPE)
    assert model.input_shape == (None, *SHAPE)
    network = hub.models.Backbone.from_preset(str(presets / "fixed_resnet"))
    for found, expected in zip(model.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("name", "loads_alone"), [("small resnet", True), ("vit", False)])
def test_a_preset_trains_and_leaves_a_run_of_which_the_saved_model_needs_no_hub(presets, tmp_path, name, loads_alone):
    run = tmp_path / "run"
    preset = str(presets / name)
    configuration = tiny_configuration(run, backbone=preset, epochs=1, integration="spectral_sum", test_episodes=20)
    splits = striped_splits()
    results = train(configuration, splits)
    assert results["steps"] == 4 and results["backbone"]["name"] == name.replace(" ", "_")
    assert f"--backbone={preset}" in results["flags"]
    program = (
        "import sys; sys.modules['keras_hub'] = None\n"
        "from dsl_tf.runs.export import load_backbone, load_exported_model\n"
        f"print(load_exported_model({str(run)!r}).image_size)\n"
        f"try: print(load_backbone({str(run / 'backbone.keras')!r}).input_shape)\n"
        "except ValueError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    size, told = done.stdout.splitlines()
    assert size == str(SIZE), done.stderr
    assert told == str((None, *SHAPE)) if loads_alone else "pip install 'dsl_tf[hub]'" in told


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("vit", ["must take images of shape (32, 32, 3)", "ViTBackbone, which takes (16, 16, 3)"]),
        ("text", ["BertBackbone", "for images"]),
        ("damaged", ["cannot be loaded"]),
        ("unprocessed", ["The preprocessing", "cannot be loaded"]),
        ("missing", ["save_to_preset", "without config.json"]),
    ],
)
def test_a_preset_that_does_not_do_is_one_line(presets, name, words):
    (presets / "damaged").mkdir(exist_ok=True)
    (presets / "damaged" / "config.json").write_text(json.dumps({"class_name": "Nothing"}))
    shutil.copytree(presets / "small resnet", presets / "unprocessed", dirs_exist_ok=True)
    (presets / "unprocessed" / "image_converter.json").write_text("{}")
    with pytest.raises(ValueError) as error:
        hub_backbone(str(presets / name), (32, 32, 3))
    assert all(word in str(error.value) for word in words), error.value
    assert "\n" not in str(error.value)


def test_a_misspelt_name_gets_a_suggestion():
    pytest.importorskip("keras_hub")
    with pytest.raises(ValueError, match="'resnet_18_imagnet'. Did you mean resnet_18_imagenet"):
        check_hub_preset("resnet_18_imagnet")


def test_without_the_package_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    configuration = tiny_configuration(tmp_path, backbone="resnet_18_imagenet")
    with pytest.raises(UserError, match=r"--backbone=resnet_18_imagenet: .*pip install 'dsl_tf\[hub\]'") as error:
        train(configuration, striped_splits())
    assert "\n" not in str(error.value) and list(tmp_path.iterdir()) == []


def test_flags_tell_presets_from_other_networks():
    for backbone, name in (("resnet_18_imagenet", "resnet_18_imagenet"), ("hf://me/My Net", "my_net")):
        configuration = TrainingConfiguration(backbone=backbone)
        assert configuration.uses_hub and configuration.backbone_name == name
        with pytest.raises(UserError, match="--weights must be used with a network of keras.applications"):
            TrainingConfiguration(backbone=backbone, weights="imagenet")
    assert not TrainingConfiguration(backbone="resnet12_basic").uses_hub
    with pytest.raises(UserError, match="or a preset of KerasHub.*Received: 'ResNet49'"):
        TrainingConfiguration(backbone="ResNet49")
