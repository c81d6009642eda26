import json
import pathlib
import re
import subprocess
import sys

import keras
import numpy as np
from PIL import Image

from dsl_tf import models
from dsl_tf.runs.export import export_saved_model
from tests.images import write_striped_folders

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"


def test_features_of_a_folder_are_written(tmp_path):
    keras.utils.set_random_seed(0)
    model = models.resnet12((16, 16, 3), (4, 4, 8, 12))
    export_saved_model(model, tmp_path / "saved_model")
    random = np.random.default_rng(0)
    for name, shape in (("cat/1.png", (16, 16)), ("cat/2.jpg", (40, 20)), ("dog/1.png", (16, 16))):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (*shape, 3), np.uint8)).save(path)
    (tmp_path / "images" / "notes.txt").write_text("not an image")
    subprocess.run(
        [sys.executable, EXAMPLES / "extract_features.py", "saved_model", "images", "features.npz"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    with np.load(tmp_path / "features.npz", allow_pickle=False) as arrays:
        assert arrays["features"].shape == (3, 12)
        assert arrays["labels"].tolist() == [0, 0, 1]
        assert arrays["class_names"].tolist() == ["cat", "dog"]
        image = np.asarray(Image.open(tmp_path / "images" / "dog" / "1.png"), np.float32)
        expected = model(image[None] / 127.5 - 1, training=False)[0]
        np.testing.assert_allclose(arrays["features"][2], expected, rtol=1e-4, atol=1e-5)


def test_custom_loop_learns_to_tell_unseen_classes_apart():
    script = subprocess.run([sys.executable, EXAMPLES / "custom_loop.py"], check=True, capture_output=True, text=True)
    before, after = (
        float(re.search(rf"^{word}: ([\d.]+) ±", script.stdout, re.MULTILINE)[1]) for word in ("Before", "After")
    )
    assert 20 < before < 60 and before + 25 < after < 100
    losses = [float(value) for value in re.findall(r"^Step \d+: loss ([\d.]+)$", script.stdout, re.MULTILINE)]
    assert len(losses) == 10
    assert losses == sorted(losses, reverse=True) and losses[-1] < 0.3 * losses[0]


def test_fine_tuning_starts_from_given_weights_and_leaves_a_run(tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.applications.MobileNetV2((32, 32, 3), include_top=False, pooling="avg", weights=None)
    model.save_weights(tmp_path / "start.weights.h5")
    write_striped_folders(tmp_path / "data")
    flags = ["--weights=start.weights.h5", "--data_dir=data", "--output_dir=run", "--image_size=32", "--epochs=1"]
    # Steps too small to be seen, so that the weights still are those of the file.
    flags += [
        "--ways=8",
        "--shots=3",
        "--learning_rate=1e-12",
        "--test_ways=3",
        "--test_queries=5",
        "--test_episodes=50",
    ]
    script = [sys.executable, EXAMPLES / "fine_tune.py", *flags]
    shown = subprocess.run(script, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert re.search(r"nearest_centroid +cl2 .* ± ", shown)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["steps"] == 4 and results["splits"]["test"] == {"images": 60, "classes": 6}
    tuned = keras.models.load_model(tmp_path / "run" / "backbone.keras")
    for before, after in zip(model.trainable_weights, tuned.trainable_weights, strict=True):
        np.testing.assert_allclose(after, before, atol=1e-6)


def test_a_mistake_in_fine_tuning_is_told_in_one_line(tmp_path):
    script = [sys.executable, EXAMPLES / "fine_tune.py", "--image_size=32", "--data_dir=missing", "--output_dir=run"]
    failed = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True)
    assert failed.returncode == 1
    assert re.fullmatch(r"error: .*missing.*", failed.stderr.strip().splitlines()[-1])


def run_example(name, *arguments, cwd):
    process = subprocess.run(
        [sys.executable, EXAMPLES / name, *arguments], cwd=cwd, capture_output=True, text=True, check=True
    )
    return process.stdout


def test_fit_with_the_direct_sum(tmp_path):
    shown = run_example("keras_fit.py", "--epochs=1", cwd=tmp_path)
    assert all(name in shown for name in ("classification_loss", "metric_loss", "accuracy"))
    assert float(re.search(r"1-shot: ([\d.]+) ±", shown)[1]) > 40


def test_ones_own_metric_loss(tmp_path):
    shown = run_example("own_metric_loss.py", "--steps=40", cwd=tmp_path)
    for name in ("classification_loss", "metric_loss"):
        before, after = map(float, re.search(rf"^{name}: ([\d.]+) -> ([\d.]+)$", shown, re.MULTILINE).groups())
        assert after < before
    assert (tmp_path / "own_metric_loss.keras").exists()
