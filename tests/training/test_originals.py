"""A run on originals: trained on boxes, and tested, evaluated, exported and predicted on the same centres."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from dsl_tf.data.image_files import read_as_stored
from dsl_tf.runs import predict, subjects
from dsl_tf.runs.export import load_exported_model
from dsl_tf.training import train
from tests.images import SIZE, photograph, tiny_backbone, tiny_configuration

STORED_SIZE = 30


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Oblong photographs: some larger than the stored size, upright and wide."""
    folder = tmp_path_factory.mktemp("photographs")
    for start, split in enumerate(("train", "val", "test")):
        for label in range(3):
            (folder / split / f"class {label} of {split}").mkdir(parents=True)
            for number in range(7):
                sides = (20 + 4 * number, 45)[:: 1 if number % 2 else -1]
                image = photograph(*sides, seed=3 * start + label)
                image.save(folder / split / f"class {label} of {split}" / f"{number}.jpg", quality=95)
    return folder


@pytest.fixture(scope="module")
def run(data_dir, tmp_path_factory):
    """The directory and the results of a run."""
    folder = tmp_path_factory.mktemp("runs")
    configuration = tiny_configuration(
        folder / "run",
        dataset="folder",
        data_dir=str(data_dir),
        cache_dir=str(folder / "cache"),
        image_size=SIZE,
        stored_size=STORED_SIZE,
        crop="resized",
        ways=3,
        epochs=1,
    )
    return folder / "run", train(configuration, backbone=tiny_backbone())


def test_evaluation_and_prediction_see_what_the_run_was_tested_on(run, data_dir):
    directory, results = run
    assert f"--stored_size={STORED_SIZE}" in results["flags"]
    paths = sorted((data_dir / "test").rglob("*.jpg"))
    pixels = np.stack([read_as_stored(path, SIZE, STORED_SIZE) for path in paths])
    features = tiny_features(directory, pixels)
    of_run = subjects.of_run(directory, "test")
    np.testing.assert_array_equal(of_run.images[:], pixels)
    np.testing.assert_allclose(of_run.features, features, atol=1e-5)
    assert of_run.data == "the run's own"
    options = {"dataset": "folder", "data_dir": str(data_dir), "cache_dir": str(directory.parent / "cache")}
    of_saved_model = subjects.of_saved_model(str(directory / "saved_model"), "test", options)
    np.testing.assert_allclose(of_saved_model.features, features, atol=1e-4)
    predicted, reasons = predict._features(load_exported_model(directory), [str(path) for path in paths])
    assert not reasons
    np.testing.assert_array_equal(predicted, of_saved_model.features)


def tiny_features(directory, pixels):
    backbone = keras.models.load_model(directory / "backbone.keras", compile=False)
    return backbone(pixels.astype(np.float32) / 127.5 - 1, training=False).numpy()


def test_the_exported_model_keeps_the_aspect_of_whole_photographs(run, data_dir):
    exported = load_exported_model(run[0])
    assert (exported.image_size, exported.stored_size) == (SIZE, STORED_SIZE)
    # Between 20 and the stored size: not made smaller before.
    path = data_dir / "test" / "class 0 of test" / "1.jpg"
    whole = exported.signature(images=tf.io.decode_jpeg(path.read_bytes())[None])["features"]
    centre = exported.signature(images=read_as_stored(path, SIZE, STORED_SIZE)[None])["features"]
    squashed = exported.signature(images=read_as_stored(path, SIZE, None)[None])["features"]
    assert np.abs(whole - centre).max() < np.abs(squashed - centre).max() / 3
