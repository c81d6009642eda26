import json

import keras
import numpy as np
import pytest

from dsl_tf.data import Split
from dsl_tf.errors import UserError
from dsl_tf.models.applications import application
from dsl_tf.training import train
from tests.images import striped_splits, tiny_configuration


def doubled_splits():
    """`striped_splits` of twice the height and width: networks of keras.applications take no smaller images."""
    return {
        name: Split(split.images.repeat(2, axis=1).repeat(2, axis=2), split.labels, split.class_names)
        for name, split in striped_splits().items()
    }


def test_a_network_of_keras_trains_from_given_weights_and_leaves_a_run(tmp_path):
    keras.utils.set_random_seed(0)
    start = keras.applications.MobileNetV2((32, 32, 3), include_top=False, weights=None)
    start.save_weights(tmp_path / "start.weights.h5")
    configuration = tiny_configuration(
        tmp_path / "run",
        backbone="MobileNetV2",
        weights=str(tmp_path / "start.weights.h5"),
        epochs=1,
        # Steps too small to be seen, so that the weights still are those of the file.
        learning_rate=1e-12,
    )
    results = train(configuration, doubled_splits())
    assert results["steps"] == 4 and results["backbone"]["name"] == "mobilenetv2"
    assert "--backbone=MobileNetV2" in results["flags"]
    assert json.loads((tmp_path / "run" / "results.json").read_text())["accuracies"]
    trained = keras.models.load_model(tmp_path / "run" / "backbone.keras")
    expected = application("MobileNetV2", (32, 32, 3), tmp_path / "start.weights.h5")
    for before, after in zip(expected.trainable_weights, trained.trainable_weights, strict=True):
        np.testing.assert_allclose(after, before, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weights": "imagenet"}, ["--weights=imagenet", "--backbone=resnet12"]),
        ({"weights": "a.h5", "backbone": "resnet12_basic"}, ["--weights=a.h5", "--backbone=resnet12_basic"]),
        ({"weights": "missing.h5", "backbone": "MobileNetV2"}, ["missing.h5", "a file"]),
        ({"backbone": "mobilenetv2"}, ["--backbone", "MobileNetV2", "'mobilenetv2'"]),
        ({"backbone": "InceptionV3"}, ["InceptionV3", "(16, 16, 3)"]),
    ],
)
def test_what_does_not_fit_together_is_refused_in_one_line(tmp_path, changes, words):
    with pytest.raises(UserError) as error:
        train(tiny_configuration(tmp_path, **changes), striped_splits())
    assert all(word in str(error.value) for word in words), error.value
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []
