"""Runs whose validation and test are held-out images of the training classes."""

import contextlib
import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from dsl_tf.errors import UserError
from dsl_tf.report import results_summary
from dsl_tf.report.evaluation import evaluation_text, write_evaluation
from dsl_tf.runs import subjects
from dsl_tf.runs.configuration import EvaluationConfiguration
from dsl_tf.runs.evaluate import evaluate
from dsl_tf.runs.final_test import read_test_examples
from dsl_tf.training import train
from tests.images import striped_split, tiny_backbone, tiny_configuration


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """Six classes of ten images and one of two, a finished run on them, and what it printed."""
    root = tmp_path_factory.mktemp("known")
    split = striped_split(7, 10, seed=1)
    # So much noise that some answers are wrong.
    noise = np.random.default_rng(0).integers(0, 256, split.images.shape)
    images = (0.15 * split.images + 0.85 * noise).astype(np.uint8)
    for index, (image, label) in enumerate(zip(images, split.labels, strict=True)):
        if label < 6 or index % 10 < 2:
            path = root / "images" / split.class_names[label] / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        results = train(configured(root), backbone=tiny_backbone())
    return root, results, printed.getvalue()


def configured(root, **changes):
    options = {"dataset": "folder", "data_dir": str(root / "images"), "image_size": 16, "ways": 64, "shots": 4}
    options["epochs"] = 3
    return tiny_configuration(root / "run", **{**options, "held_out": "images", "validate_every": 2, **changes})


def evaluated(root, **options):
    folder = str(root / "evaluations")
    return evaluate(EvaluationConfiguration(**{"run_dir": (str(root / "run"),), "output_dir": folder, **options}))


def test_the_results_are_of_known_classes_and_say_so(known):
    root, results, printed = known
    measured = results["known_classes"]
    assert results["accuracies"] == [] and "discriminant_scores" not in results
    assert [(e["classifier"], e["feature_transform"], e["classes"], e["images"]) for e in measured["accuracies"]] == [
        *(("nearest_class_mean", kind, 7, 12) for kind in ("none", "l2", "cl2")),
        ("classifier", "none", 7, 12),
    ]
    assert set(measured["retrieval"]) == {"recall_at_1", "map_at_r"}
    assert measured["largest_class"] == pytest.approx(1 / 6)
    summary = results_summary(results, root / "run")
    assert "12 images of 7 classes (chance: 14.3%; always the largest class: 16.7%)" in summary
    assert "held-out images of classes that training has seen" in summary and "Few-shot" not in summary
    assert "have none in test" in printed and not (root / "run" / "test_episodes.npz").exists()
    examples = read_test_examples(root / "run")
    assert len(examples["neighbours"]) == 6 and examples["measure"]["classifier"] == "nearest_class_mean"


def test_the_log_names_each_measure(known):
    root, results, printed = known
    records = [json.loads(line) for line in (root / "run" / "metrics.jsonl").read_text().splitlines()]
    names = {"val_accuracy_nearest_class_mean", "val_accuracy_classifier", "val_recall_at_1", "val_map_at_r"}
    assert [names <= set(record) for record in records] == [False, True, True]
    assert not [name for name in records[1] if "shot" in name or "discriminant" in name]
    (line,) = [line for line in printed.splitlines() if line.startswith("Epoch 2/3")]
    value = f"{records[1]['val_accuracy_nearest_class_mean']:.2%}"
    assert f"val nearest class mean {value} (best {value}), val classifier" in line and "val recall@1" in line
    best = max(record["val_accuracy_nearest_class_mean"] for record in records[1:])
    assert results["best"]["validation_accuracy"] == best and results["best"]["by_shots"] == {}


def test_an_evaluation_measures_the_same_by_the_run_s_own_division(known):
    root, results, _ = known
    (root / "images" / "stripes 1.0" / "later.png").write_bytes(
        (root / "images" / "stripes 1.0" / "0.png").read_bytes()
    )
    try:
        evaluation = evaluated(root)
        (result,) = evaluation.results
        assert result.subject.data == "the run's own"
        for entry, expected in zip(
            result.details["known_classes"]["accuracies"], results["known_classes"]["accuracies"], strict=True
        ):
            assert entry == expected
        # Validation chose the exported weights by this.
        (validated,) = evaluated(root, split="val", feature_transforms=("none",)).results
        first = validated.details["known_classes"]["accuracies"][0]
        assert first["accuracy"] == results["best"]["validation_accuracy"]
        assert "held-out images of classes" in evaluation_text(evaluation)
        folder = write_evaluation(evaluation, root / "evaluations")
        assert folder.name.startswith("test_known_classes_")
        report = json.loads((folder / "evaluation.json").read_text())
        assert report["subjects"][0]["known_classes"] == result.details["known_classes"]
        # Two runs side by side, with details.
        both = evaluated(root, run_dir=(str(root / "run"), str(root / "images" / ".." / "run")), details=True)
        assert "Recall@4" in evaluation_text(both) and both.comparisons == {}
    finally:
        (root / "images" / "stripes 1.0" / "later.png").unlink()


def test_the_exported_model_is_measured_by_the_nearest_class_mean(known):
    root, results, _ = known
    exported = {"dataset": "folder", "data_dir": str(root / "images")}
    subject = subjects.of_saved_model(str(root / "run" / "saved_model"), "test", exported)
    assert len(subject.labels) == 12 and subject.trained is not None and len(subject.trained()[1]) == 38
    (result,) = evaluated(root, run_dir=(), saved_model=str(root / "run" / "saved_model"), **exported).results
    first = result.details["known_classes"]["accuracies"][0]
    assert first["accuracy"] == pytest.approx(results["known_classes"]["accuracies"][0]["accuracy"], abs=1 / 12)


def test_what_is_held_out_belongs_to_the_run(known):
    root, results, _ = known
    assert train(configured(root), backbone=tiny_backbone())["known_classes"] == results["known_classes"]
    with pytest.raises(UserError, match="differs in --held_out"):
        train(configured(root, held_out="classes"))


def test_arrays_whose_splits_have_the_same_classes(tmp_path, capsys):
    every = striped_split(5, 9, seed=4)
    parts = {"train": slice(0, 5), "val": slice(5, 7), "test": slice(7, 9)}
    rows = np.arange(45).reshape(5, 9)
    splits = {
        name: type(every)(every.images[rows[:, part].ravel()], every.labels[rows[:, part].ravel()], every.class_names)
        for name, part in parts.items()
    }
    # A class that training does not have.
    splits["train"] = splits["train"]._of_classes(np.arange(5) < 4, ())
    configuration = tiny_configuration(
        tmp_path / "run", ways=4, shots=2, epochs=1, held_out="images", classification_loss="none"
    )
    results = train(configuration, splits, tiny_backbone())
    assert "val: 2 images of classes without training images are not used" in capsys.readouterr().out
    assert [entry["classifier"] for entry in results["known_classes"]["accuracies"]] == ["nearest_class_mean"] * 3
    assert results["known_classes"]["accuracies"][0]["images"] == 8
    shutil.rmtree(tmp_path / "run")
