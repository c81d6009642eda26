import pathlib
import re
import subprocess
import sys

import keras
import numpy as np
from PIL import Image, ImageOps

from dsl_tf import models
from dsl_tf.runs.export import export_saved_model
from tests import programs
from tests.images import write_striped_folders

EXAMPLES = pathlib.Path(__file__).parent.parent / "examples"


def run_example(name, *arguments, cwd=EXAMPLES):
    program = programs.run([EXAMPLES / name, *arguments], cwd)
    assert program.returncode == 0, program.stderr
    return program.stdout


def test_features_of_a_folder_are_written_as_training_reads_it(tmp_path):
    keras.utils.set_random_seed(0)
    model = models.resnet12((16, 16, 3), (4, 4, 8, 12))
    export_saved_model(model, tmp_path / "saved_model")
    random = np.random.default_rng(0)
    for name, shape in (("cat/1.png", (16, 16)), ("cat/2.jpg", (40, 20)), ("pets/dog/1.bmp", (16, 16))):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (*shape, 3), np.uint8)).save(path)
    exif = Image.Exif()
    exif[0x0112] = 6
    rotated = tmp_path / "images" / "pets" / "dog" / "2.JPG"
    Image.fromarray(random.integers(0, 256, (16, 16, 3), np.uint8)).save(rotated, exif=exif)
    (tmp_path / "images" / "cat" / "3.png").write_text("not an image")
    (tmp_path / "images" / "empty").mkdir()
    (tmp_path / "images" / "notes.txt").write_text("not an image")
    script = subprocess.run(
        [sys.executable, EXAMPLES / "extract_features.py", "saved_model", "images", "features.npz"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert "images/cat/3.png" in script.stderr and "not an image" in script.stderr and "notes.txt" in script.stderr
    assert script.stdout.endswith(
        "Try next: python -m dsl_tf evaluate --features=features.npz --ways=2 --shots=1 --queries=1\n"
    )
    with np.load(tmp_path / "features.npz", allow_pickle=False) as arrays:
        assert arrays["features"].shape == (4, 12)
        assert arrays["labels"].tolist() == [0, 0, 1, 1]
        assert arrays["class_names"].tolist() == ["cat", "pets/dog"]
        assert [pathlib.Path(file).name for file in arrays["files"]] == ["1.png", "2.jpg", "1.bmp", "2.JPG"]
        for row, file in ((0, tmp_path / "images" / "cat" / "1.png"), (3, rotated)):
            image = np.asarray(ImageOps.exif_transpose(Image.open(file)), np.float32)
            expected = model(image[None] / 127.5 - 1, training=False)[0]
            np.testing.assert_allclose(arrays["features"][row], expected, rtol=1e-4, atol=1e-5)


def test_help_of_feature_extraction():
    shown = run_example("extract_features.py", "--help")
    assert "usage: extract_features.py" in shown and "its saved_model folder" in shown


def test_custom_loop_learns_to_tell_unseen_classes_apart():
    shown = run_example("custom_loop.py")
    before, after = (float(re.search(rf"^{word}: ([\d.]+) ±", shown, re.MULTILINE)[1]) for word in ("Before", "After"))
    assert 20 < before < 60 and before + 25 < after < 100
    losses = [float(value) for value in re.findall(r"^Step \d+: loss ([\d.]+)$", shown, re.MULTILINE)]
    assert len(losses) == 10
    assert losses == sorted(losses, reverse=True) and losses[-1] < 0.3 * losses[0]


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


def test_fine_tuning_on_a_folder(tmp_path):
    write_striped_folders(tmp_path / "data")
    # Quicker to build than the default.
    options = ("--backbone=VGG16", "--weights=none", "--size=32", "--epochs=1", "--steps=2")
    shown = run_example("fine_tune_folder.py", "data", *options, cwd=tmp_path)
    accuracies = re.findall(r"Unseen classes, 5-way 1-shot, (\w+): ([\d.]+) ±", shown)
    assert [name for name, _ in accuracies] == ["before", "after"] and all(float(found) > 20 for _, found in accuracies)
    # The metric loss takes part in the second phase alone.
    assert shown.count("metric_loss") == 1 and shown.count("classification_loss") == 2
    assert (tmp_path / "fine_tuned.keras").exists()
