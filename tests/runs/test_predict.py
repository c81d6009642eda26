"""Classification of image files, with a real exported model on real folders."""

import csv
import os
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl import logging
from PIL import Image

from dsl_tf.data.decoding import read_image
from dsl_tf.errors import UserError
from dsl_tf.evaluation import transform_features
from dsl_tf.runs import predict as prediction
from dsl_tf.runs.classification import Prediction
from dsl_tf.runs.export import export_saved_model, export_statistics
from dsl_tf.runs.predict import classify, predict
from dsl_tf.runs.predictions_file import check_output, further_columns, write_predictions
from tests import programs
from tests.images import SIZE, tiny_backbone

COLOURS = {"blue": (20, 40, 220), "green": (30, 200, 40), "red": (230, 30, 20)}
SUPPORT_COUNTS = {"blue": 1, "green": 3, "red": 5}


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run directory with all that prediction reads, of a network of random weights."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    folder.mkdir()
    backbone = tiny_backbone()
    export_saved_model(backbone, folder / "saved_model")
    grey = backbone(np.zeros((1, SIZE, SIZE, 3), np.float32)).numpy()[0]
    export_statistics(None, grey, folder / "training_statistics.npz")
    return folder


def picture(colour, size=(24, 24), seed=0):
    """A noisy plain colour."""
    noise = np.random.default_rng(seed).normal(0, 15, (size[1], size[0], 3))
    return Image.fromarray(np.clip(COLOURS[colour] + noise, 0, 255).astype(np.uint8))


def save(image, path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


def damaged(path):
    save(picture("red", (64, 64)), path)
    path.write_bytes(path.read_bytes()[:200])


@pytest.fixture
def support_dir(tmp_path):
    for colour, count in SUPPORT_COUNTS.items():
        for number in range(count):
            save(picture(colour, seed=number), tmp_path / "support" / colour / f"{number}.png")
    return tmp_path / "support"


@pytest.fixture
def images_dir(tmp_path):
    """Images of every kind, each named after the colour that it should be found to have."""
    folder = tmp_path / "images"
    save(picture("red"), folder / "red.png")
    save(picture("green", (7, 90)), folder / "deep" / "er" / "green.JPG")
    save(picture("blue", (301, 5)), folder / "deep" / "blue.bmp")
    save(picture("blue", (16, 16)), folder / "a, b" / 'blue "quoted"\n.webp', lossless=True)
    save(picture("green").convert("P"), folder / "green palette.gif")
    see_through = picture("red", (40, 30)).convert("RGBA")
    see_through.putalpha(230)
    save(see_through, folder / "red alpha.png")
    save(picture("red"), folder / ".hidden.png")
    save(picture("red"), folder / ".hidden" / "red.png")
    return folder


FILES = [
    'a, b/blue "quoted"\n.webp',
    "deep/blue.bmp",
    "deep/er/green.JPG",
    "green palette.gif",
    "red alpha.png",
    "red.png",
]


def warnings(caplog, monkeypatch):
    monkeypatch.setattr(logging.get_absl_logger(), "propagate", True)
    return lambda: " ".join(record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("classifier", ["nearest_centroid", "laplacian_shot"])
@pytest.mark.parametrize("feature_transform", ["none", "l2", "cl2"])
def test_every_kind_of_image_gets_its_class(run_dir, support_dir, images_dir, classifier, feature_transform):
    predictions = predict(run_dir, support_dir, images_dir, classifier, feature_transform)
    assert [file for file, _, _ in predictions] == FILES
    for file, class_name, confidence in predictions:
        assert class_name in file
        assert isinstance(confidence, float) and 1 / 3 < confidence <= 1


def test_the_confidence_is_that_of_the_features_themselves(run_dir, support_dir, images_dir):
    extract = tf.saved_model.load(str(run_dir / "saved_model")).signatures["serving_default"]

    def features(path):
        image = read_image(path, SIZE)[None]
        return transform_features(extract(images=tf.constant(image))["features"], "l2")[0].astype(np.float64)

    means = [
        np.mean([features(path) for path in sorted(folder.iterdir())], axis=0)
        for folder in sorted(support_dir.iterdir())
    ]
    for file, _, confidence in predict(run_dir / "saved_model", support_dir, images_dir, calibrate=False):
        exponentials = [np.exp(-((features(images_dir / file) - mean) ** 2).sum()) for mean in means]
        assert confidence == pytest.approx(max(exponentials) / sum(exponentials), rel=1e-3)


def test_more_images_than_a_batch_keep_their_order_and_lam_matters(run_dir, support_dir, tmp_path):
    colours = np.random.default_rng(0).choice(list(COLOURS), 150)
    for number, colour in enumerate(colours):
        save(picture(colour, (16, 16), seed=number), tmp_path / "many" / f"{number:03} {colour}.png")
    for number in (10, 100):
        damaged(tmp_path / "many" / f"{number:03} damaged.png")
    arguments = run_dir, support_dir, tmp_path / "many"
    found = [predict(*arguments), predict(*arguments, "laplacian_shot"), predict(*arguments, "laplacian_shot", lam=0)]
    for predictions in found:
        assert len(predictions) == 152
        assert predictions.pop(101) == Prediction("100 damaged.png", None, None)
        assert predictions.pop(10) == Prediction("010 damaged.png", None, None)
        assert [class_name for _, class_name, _ in predictions] == list(colours)
    assert sum(confidence for _, _, confidence in found[1]) > sum(confidence for _, _, confidence in found[2])


@pytest.mark.parametrize("shape", [(20, 12, 3), (12, 20, 3)])
def test_a_model_of_oblong_images(tmp_path, support_dir, images_dir, shape):
    backbone = keras.Sequential([keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(32)])
    export_saved_model(backbone, tmp_path / "oblong")
    assert all(name in file for file, name, _ in predict(tmp_path / "oblong", support_dir, images_dir))


def test_what_cannot_be_read_is_named_and_unlabelled_images_keep_their_row(
    run_dir, support_dir, images_dir, caplog, monkeypatch
):
    said = warnings(caplog, monkeypatch)
    (support_dir / "readme.txt").write_text("not a class")
    for number in range(3):
        damaged(support_dir / "blue" / f"torn{number}.png")
    save(picture("blue"), support_dir / "red" / "inner" / "blue.png")
    damaged(images_dir / "deep" / "cut.png")
    (images_dir / "empty.jpg").touch()
    (images_dir / "notes.txt").write_text("not an image")
    predictions = predict(run_dir, support_dir, images_dir)
    expected = sorted([*FILES, "deep/cut.png", "empty.jpg"])
    assert [file for file, _, _ in predictions] == expected
    for file, class_name, confidence in predictions:
        assert (class_name is None) == (confidence is None) == (file in ("deep/cut.png", "empty.jpg"))
        assert class_name is None or class_name in file
    for name in ("readme.txt", "torn1.png", "inner", "cut.png", "empty.jpg", "notes.txt", "an empty file"):
        assert name in said()
    assert ".hidden' (a hidden folder)" in said() and ".hidden.png" not in said()


def test_links_are_followed_but_not_in_circles(run_dir, support_dir, images_dir, tmp_path):
    save(picture("red"), tmp_path / "elsewhere" / "red far.png")
    os.symlink(tmp_path / "elsewhere", images_dir / "linked")
    os.symlink(images_dir, images_dir / "deep" / "round")
    os.symlink(images_dir, tmp_path / "link to images")
    predictions = predict(run_dir, support_dir, tmp_path / "link to images")
    assert [file for file, _, _ in predictions] == sorted([*FILES, "linked/red far.png"])


def test_laplacian_shot_warns_of_too_small_a_batch(run_dir, support_dir, tmp_path, caplog, monkeypatch):
    said = warnings(caplog, monkeypatch)
    save(picture("red"), tmp_path / "few" / "red.png")
    assert predict(run_dir, support_dir, tmp_path / "few")[0].class_name == "red"
    assert "LaplacianShot" not in said()
    predict(run_dir, support_dir, tmp_path / "few", "laplacian_shot")
    assert "LaplacianShot" in said()


def test_more_images_than_laplacian_shot_has_memory_for_are_an_error(run_dir, support_dir, images_dir, monkeypatch):
    monkeypatch.setattr(prediction, "_TRANSDUCTIVE_LIMIT", len(FILES))
    predict(run_dir, support_dir, images_dir, "laplacian_shot")
    save(picture("red"), images_dir / "one more.png")
    assert_error(["at most 6", "7", "nearest_centroid"], run_dir, support_dir, images_dir, "laplacian_shot")
    predict(run_dir, support_dir, images_dir)


def test_the_default_transform_centres_for_laplacian_shot(run_dir, support_dir, images_dir, caplog, monkeypatch):
    said = warnings(caplog, monkeypatch)
    given = run_dir, support_dir, images_dir
    assert predict(*given) == predict(*given, feature_transform="l2")
    assert predict(*given, "laplacian_shot") == predict(*given, "laplacian_shot", "cl2")
    assert_error(["cl2", "run directory"], run_dir / "saved_model", support_dir, images_dir, "laplacian_shot")
    assert "centred" not in said()
    predict(*given, "laplacian_shot", "l2")
    assert "centred" in said()


def empty_class(support_dir):
    (support_dir / "yellow").mkdir()
    (support_dir / "yellow" / "notes.txt").write_text("no image")


def unreadable_class(support_dir):
    damaged(support_dir / "yellow" / "torn.png")


def one_class(support_dir):
    for colour in ("green", "red"):
        (support_dir / colour).rename(support_dir.parent / colour)


def only_files(support_dir):
    one_class(support_dir)
    (support_dir / "blue").rename(support_dir.parent / "blue")
    save(picture("red"), support_dir / "red.png")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (empty_class, ["'yellow'", "readable image"]),
        (unreadable_class, ["'yellow'", "torn.png"]),
        (one_class, ["at least two classes", "1 class folders"]),
        (only_files, ["at least two classes", "0 class folders, 1 other"]),
    ],
)
def test_a_class_without_images_or_one_class_alone_is_an_error(run_dir, support_dir, images_dir, spoil, words):
    spoil(support_dir)
    assert_error(words, run_dir, support_dir, images_dir)


def assert_error(words, *arguments, **options):
    with pytest.raises(UserError) as error:
        predict(*arguments, **options)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_other_wrong_folders_are_errors(run_dir, support_dir, images_dir, tmp_path):
    assert_error(["missing", "No such file"], run_dir, tmp_path / "missing", images_dir)
    assert_error(["missing", "No such file"], run_dir, support_dir, tmp_path / "missing")
    assert_error(["red.png", "Not a directory"], run_dir, support_dir, images_dir / "red.png")
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "image.xyz").touch()
    assert_error(["bare", "must hold images", "1 other"], run_dir, support_dir, tmp_path / "bare")
    damaged(tmp_path / "torn" / "torn.png")
    assert_error(["torn", "readable images", "none of 1"], run_dir, support_dir, tmp_path / "torn")


def test_wrong_arguments_are_errors(run_dir, support_dir, images_dir):
    given = run_dir, support_dir, images_dir
    assert_error(["classifier", "laplacian_shot", "'svm'"], *given, classifier="svm")
    assert_error(["feature_transform", "cl2", "'pca'"], *given, feature_transform="pca")
    assert_error(["lam", "at least 0", "-1"], *given, lam=-1.0)
    assert_error(["lam", "finite"], *given, lam=float("nan"))
    assert_error(["cl2", "run directory"], run_dir / "saved_model", support_dir, images_dir, feature_transform="cl2")


def export_foreign(path, signature, **outputs):
    module = tf.Module()
    module.serve = tf.function(lambda images: outputs["features"](images), input_signature=[signature])
    tf.saved_model.save(module, str(path), signatures={outputs.get("name", "serving_default"): module.serve})


IMAGES = tf.TensorSpec([None, None, None, 3], tf.uint8, name="images")


def test_what_is_no_exported_model_is_an_error(support_dir, images_dir, tmp_path):
    def features(images):
        return {"features": tf.reduce_mean(tf.cast(images, tf.float32), axis=[1, 2])}

    export_foreign(tmp_path / "renamed", IMAGES, features=features, name="other")
    export_foreign(tmp_path / "floats", tf.TensorSpec(IMAGES.shape, tf.float32, name="images"), features=features)
    export_foreign(tmp_path / "logits", IMAGES, features=lambda images: {"logits": features(images)["features"]})
    export_foreign(tmp_path / "unsized", IMAGES, features=features)
    for name, word in (
        ("renamed", "no such signature"),
        ("floats", "images float32"),
        ("logits", "logits float32"),
        ("unsized", "Export it again"),
    ):
        assert_error([name, word], tmp_path / name, support_dir, images_dir)
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "unfinished" / "run.flags").touch()
    assert_error(["unfinished", "has not finished"], tmp_path / "unfinished", support_dir, images_dir)
    assert_error(["images", "saved_model.pb"], images_dir, support_dir, images_dir)
    assert_error(["red.png", "which is a file"], images_dir / "red.png", support_dir, images_dir)
    assert_error(["missing", "does not exist"], tmp_path / "missing", support_dir, images_dir)


def test_a_damaged_run_is_an_error(run_dir, support_dir, images_dir, tmp_path):
    copy = tmp_path / "copy"
    copy.mkdir()
    os.symlink(run_dir / "saved_model", copy / "saved_model")
    cl2 = {"feature_transform": "cl2"}
    assert_error(["training_statistics.npz", "run directory"], copy, support_dir, images_dir, **cl2)
    (copy / "training_statistics.npz").write_bytes(b"half a file")
    assert_error(["training_statistics.npz"], copy, support_dir, images_dir, **cl2)
    np.savez(copy / "training_statistics.npz", feature_mean=np.zeros(3, np.float32))
    assert_error(["16 dimensions", "(3,)"], copy, support_dir, images_dir, **cl2)
    for mean in (np.full(16, np.nan), np.full(16, "text")):
        np.savez(copy / "training_statistics.npz", feature_mean=mean)
        assert_error(["training_statistics.npz"], copy, support_dir, images_dir, **cl2)
    with zipfile.ZipFile(copy / "training_statistics.npz", "w") as archive:
        archive.writestr("feature_mean", b"no array")
    assert_error(["training_statistics.npz"], copy, support_dir, images_dir, **cl2)
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "saved_model.pb").write_bytes(b"half a file")
    assert_error(["torn", "cannot be loaded"], tmp_path / "torn", support_dir, images_dir)
    backbone = tiny_backbone()
    backbone.set_weights([np.full_like(weight, np.nan) for weight in backbone.get_weights()])
    export_saved_model(backbone, tmp_path / "diverged")
    assert_error(["diverged", "finite"], tmp_path / "diverged", support_dir, images_dir)


def test_any_name_comes_back_from_the_csv(tmp_path):
    names = ["plain.png", 'a,"b"\n.png', "\r.png", "é ⊕.png", " padded .png", "'=1+1.png"]
    predictions = [Prediction(name, name, 0.5) for name in names] + [Prediction("torn.png", None, None)]
    write_predictions(predictions, tmp_path / "out.csv")
    with open(tmp_path / "out.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    expected = [[name, name, "0.500000"] for name in names]
    assert rows == [["file", "class", "confidence"], *expected, ["torn.png", "", ""]]
    assert (tmp_path / "out.csv").read_bytes().startswith(b"file,class,confidence\nplain.png,plain.png,0.5")
    write_predictions([Prediction(os.fsdecode(b"\xff.png"), "a", 1.0)], tmp_path / "out.csv")
    assert r"\udcff.png" in (tmp_path / "out.csv").read_text(encoding="utf-8")
    write_predictions([Prediction("=cmd.png", "+class", 1.0)], tmp_path / "out.csv")
    assert "'=cmd.png,'+class,1.000000" in (tmp_path / "out.csv").read_text(encoding="utf-8")
    with pytest.raises(UserError, match="missing"):
        write_predictions(predictions, tmp_path / "missing" / "out.csv")


def command(*arguments, **options):
    return programs.run(["-m", "dsl_tf", "predict", *arguments], **options)


def test_the_command_writes_the_csv(run_dir, support_dir, images_dir, tmp_path):
    damaged(images_dir / "torn.png")
    process = command(
        f"--model={run_dir}",
        f"--support_dir={support_dir}",
        f"--images_dir={images_dir}",
        "--classifier=laplacian_shot",
        "--feature_transform=cl2",
        "--lam=0.3",
        cwd=tmp_path,
    )
    assert process.returncode == 0, process.stderr
    assert "Classified 6 images, skipped 1. Wrote 'predictions.csv'" in process.stdout
    assert "torn.png" in process.stderr
    with open(tmp_path / "predictions.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    predictions = predict(run_dir, support_dir, images_dir, "laplacian_shot", "cl2", lam=0.3)
    assert rows[0] == ["file", "class", "confidence"]
    assert [row[:2] for row in rows[1:]] == [[file, class_name or ""] for file, class_name, _ in predictions]
    confidences = [confidence for _, _, confidence in predictions[:-1]]
    assert [float(row[2]) for row in rows[1:-1]] == pytest.approx(confidences, abs=2e-6)


def test_a_wrong_command_is_one_line(run_dir, support_dir):
    process = command(f"--model={run_dir}", f"--support_dir={support_dir}")
    assert (process.returncode, process.stderr.count("error: "), "Traceback" in process.stderr) == (2, 1, False)
    assert "--images_dir" in process.stderr


def test_an_output_that_cannot_be_written_is_an_error_before_any_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_output("predictions.csv")
    check_output(str(tmp_path / "predictions.csv"))
    for path in (tmp_path, tmp_path / "missing" / "out.csv"):
        with pytest.raises(UserError, match=f"--output.*{path}"):
            check_output(str(path))


def test_calibrated_confidences_are_a_temperature_away_and_keep_the_classes(run_dir, support_dir, images_dir):
    plain = classify(run_dir, support_dir, images_dir, calibrate=False)
    found = classify(run_dir, support_dir, images_dir)
    assert plain.temperature is None and len(plain.held_out[1]) == 0
    assert found.temperature > 0 and found.temperature != 1
    expected = plain.probabilities ** (1 / found.temperature)
    np.testing.assert_allclose(found.probabilities, expected / expected.sum(axis=1, keepdims=True), rtol=1e-9)
    # Blue has one image, which cannot be held out.
    assert sorted(found.held_out[1]) == [1] * 3 + [2] * 5
    np.testing.assert_array_equal(found.held_out[0].argmax(axis=1), found.held_out[1])


def test_one_image_per_class_is_too_few_to_calibrate(run_dir, tmp_path, images_dir, caplog, monkeypatch):
    said = warnings(caplog, monkeypatch)
    for colour in COLOURS:
        save(picture(colour), tmp_path / "one" / colour / "0.png")
    assert classify(run_dir, tmp_path / "one", images_dir).temperature is None
    assert "not calibrated" in said()


def test_the_nearest_labelled_image_is_of_the_images_colour(run_dir, support_dir, images_dir):
    found = classify(run_dir, support_dir, images_dir)
    for file, nearest in zip(found.files, found.nearest, strict=True):
        assert os.path.basename(os.path.dirname(nearest)) in file and os.path.exists(nearest)


def test_images_of_low_confidence_are_rejected(run_dir, support_dir, images_dir):
    found = classify(run_dir, support_dir, images_dir)
    middle = float(np.median(found.probabilities.max(axis=1)))
    for file, class_name, confidence in found.predictions(reject_below=middle):
        assert (class_name is None) == (confidence < middle), file
    assert predict(run_dir, support_dir, images_dir, reject_below=middle) == found.predictions(middle)


def test_the_next_classes_and_all_probabilities_are_columns(run_dir, support_dir, images_dir, tmp_path):
    damaged(images_dir / "torn.png")
    found = classify(run_dir, support_dir, images_dir)
    write_predictions(found.predictions(), tmp_path / "out.csv", further_columns(found, top=9, probabilities=True))
    with open(tmp_path / "out.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if row["file"] == "torn.png":
            assert set(row.values()) == {"torn.png", ""}
            continue
        values = {name: float(row[f"p({name})"]) for name in COLOURS}
        assert sum(values.values()) == pytest.approx(1, abs=1e-5)
        ranked = [row["class"], row["class_2"], row["class_3"]]
        assert ranked == sorted(values, key=values.get, reverse=True)
        told = [row["confidence"], row["confidence_2"], row["confidence_3"]]
        assert [float(value) for value in told] == [values[name] for name in ranked]
