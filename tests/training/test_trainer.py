import dataclasses
import itertools
import json
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from dsl_tf.data import stored_images
from dsl_tf.errors import UserError
from dsl_tf.evaluation import few_shot_accuracies
from dsl_tf.losses import SpectralSumLoss
from dsl_tf.runs import extract_features
from dsl_tf.runs.configuration import EvaluationConfiguration
from dsl_tf.runs.evaluate import evaluate
from dsl_tf.runs.final_test import episodes_key, read_test_episodes, read_test_examples
from dsl_tf.training import construction, train
from dsl_tf.training.unseen_classes import UnseenClasses
from tests.images import SIZE, striped_split, striped_splits, tiny_backbone, tiny_configuration, write_cifar_fs
from tests.losses import oracles
from tests.small_network import small_network


def metrics(directory):
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


BOTH = {"classification_loss", "metric_loss", "accuracy"}


@pytest.mark.parametrize(
    ("changes", "backbone", "logged"),
    [
        ({"metric_loss": "none", "shots": 1}, tiny_backbone, {"classification_loss", "accuracy"}),
        ({"classification_loss": "none"}, tiny_backbone, {"metric_loss"}),
        ({"classification_loss": "none", "metric_loss": "proto"}, tiny_backbone, {"metric_loss"}),
        ({"classification_loss": "bce", "integration": "sum"}, tiny_backbone, BOTH),
        ({"integration": "classifier_subspace"}, tiny_backbone, BOTH),
        ({"integration": "spectral_sum", "filters": (4, 4, 4, 6), "precision": "mixed_bfloat16"}, "small", BOTH),
        ({"integration": "spectral_sum", "spectral_interval": 3, "head": "random_basis"}, tiny_backbone, BOTH),
        ({"head": "random_basis", "backbone": "resnet12_basic"}, None, BOTH),
        ({"head": "axis_basis", "gradient_to_kernel": True, "precision": "mixed_float16"}, "small", BOTH),
    ],
)
def test_every_loss_trains_and_leaves_a_whole_run_directory(tmp_path, monkeypatch, changes, backbone, logged):
    configuration = tiny_configuration(tmp_path, **changes)
    if backbone == "small":
        monkeypatch.setitem(construction.BACKBONES, "resnet12", small_network)
        backbone = None
    results = train(configuration, striped_splits(), backbone and backbone())
    check_run(tmp_path, configuration, results, logged)


def check_run(tmp_path, configuration, results, logged):
    """Checks what a run of `tiny_configuration` leaves."""
    # Whatever the run's precision.
    assert keras.config.dtype_policy().name == "float32"
    assert json.loads((tmp_path / "results.json").read_text()) == json.loads(json.dumps(results))
    assert {(entry["feature_transform"], entry["shots"]) for entry in results["accuracies"]} == {
        (kind, shots) for kind in ("none", "l2", "cl2") for shots in (1, 2)
    }
    for entry in results["accuracies"]:
        assert entry["split"] == "test"
        assert 0 <= entry["accuracy"] <= 1 and entry["half_width"] < 0.2
        # The small network tells all test classes apart.
        assert entry["half_width"] > 0 or entry["accuracy"] == 1
    assert ("discriminant_scores" in results) == (configuration.classification_loss != "none")
    lines = metrics(tmp_path)
    steps = 96 // (configuration.ways * configuration.shots)
    epochs = range(1, configuration.epochs + 1)
    assert [(line["epoch"], line["step"]) for line in lines] == [(epoch, epoch * steps) for epoch in epochs]
    assert all(logged | {"loss", "learning_rate", "val_accuracy_1_shot"} <= set(line) for line in lines)
    terms = [name for name in ("classification_loss", "metric_loss") if name in lines[-1]]
    assert lines[-1]["loss"] == pytest.approx(sum(lines[-1][name] for name in terms), rel=1e-4)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "backbone.keras",
        "best_checkpoint",
        "checkpoints",
        "data.json",
        "features",
        "metrics.jsonl",
        "results.json",
        "run.flags",
        "saved_model",
        "tensorboard",
        "test_episodes.npz",
        "test_examples.json",
        "training_statistics.npz",
    ]
    episodes = read_test_episodes(tmp_path)
    assert len(episodes) == len(results["accuracies"])
    for entry in results["accuracies"]:
        assert episodes[episodes_key(entry)].mean() == pytest.approx(entry["accuracy"], abs=1e-6)
    examples = read_test_examples(tmp_path)
    assert len(examples["neighbours"]) == 6 and examples["measure"]["shots"] == 2
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_the_spectral_sum_decomposes_at_every_interval(tmp_path, monkeypatch):
    refresh, kernels = SpectralSumLoss.refresh, []

    def watched(loss):
        refresh(loss)
        kernels.append((loss.classifier.kernel.numpy(), loss.projection.numpy()))

    monkeypatch.setattr(SpectralSumLoss, "refresh", watched)
    configuration = tiny_configuration(tmp_path, integration="spectral_sum", spectral_interval=7)
    train(configuration, striped_splits(), tiny_backbone())
    # Before steps 1 and 8 of 8.
    assert len(kernels) == 2
    for kernel, projection in kernels:
        np.testing.assert_allclose(projection, oracles.spectral_projection(np.eye(len(kernel)), kernel, 0.3), atol=1e-6)
    assert np.abs(kernels[0][1] - kernels[1][1]).max() > 1e-3


def test_training_learns(tmp_path):
    configuration = tiny_configuration(tmp_path, epochs=12, learning_rate=0.05)
    results = train(configuration, striped_splits())
    check_run(tmp_path, configuration, results, BOTH)
    lines = metrics(tmp_path)
    assert lines[-1]["classification_loss"] < 0.5 * lines[0]["classification_loss"]
    # Far above chance, an eighth and a third: threads sum in any order, so that runs differ a little.
    assert lines[-1]["accuracy"] > 0.7
    assert max(entry["accuracy"] for entry in results["accuracies"]) > 0.7


def test_log_every_writes_a_line_every_so_many_steps(tmp_path):
    train(tiny_configuration(tmp_path, log_every=3), striped_splits(), tiny_backbone())
    assert [line["step"] for line in metrics(tmp_path)] == [3, 4, 6, 8]


def test_an_interrupted_run_ends_as_an_unbroken_one(tmp_path, monkeypatch):
    whole = tmp_path / "whole"
    train(tiny_configuration(whole, epochs=4), striped_splits(), tiny_backbone())

    class Stopped(Exception):
        pass

    validate = UnseenClasses.validate

    def stopping(validations):
        """Validation that fails in the second epoch of a start."""

        def validate_or_stop(*arguments):
            if next(validations) == 2:
                raise Stopped
            return validate(*arguments)

        return validate_or_stop

    broken = tmp_path / "broken"
    for _ in range(2):
        monkeypatch.setattr(UnseenClasses, "validate", stopping(itertools.count(1)))
        with pytest.raises(Stopped):
            train(tiny_configuration(broken, epochs=4), striped_splits(), tiny_backbone())
    monkeypatch.setattr(UnseenClasses, "validate", validate)
    assert not (broken / "results.json").exists()
    assert 1 <= len(metrics(broken)) < 4
    train(tiny_configuration(broken, epochs=4), striped_splits(), tiny_backbone())
    for ours, theirs in zip(metrics(broken), metrics(whole), strict=True):
        for name in ("epoch", "step", "loss", "learning_rate", "val_accuracy_1_shot"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-4), name
    images = striped_split(2, 3, seed=5).images.astype(np.float32) / 127.5 - 1
    features = [keras.models.load_model(run / "backbone.keras")(images) for run in (broken, whole)]
    np.testing.assert_allclose(*features, rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def one_epoch(tmp_path_factory):
    """The directory of a finished run of one epoch, and its results; tests change copies of it."""
    directory = tmp_path_factory.mktemp("one_epoch")
    return directory, train(tiny_configuration(directory, epochs=1), striped_splits(), tiny_backbone())


@pytest.fixture
def finished(one_epoch, tmp_path):
    """The configuration of a finished run of one epoch in `tmp_path`, and its results."""
    directory, results = one_epoch
    shutil.copytree(directory, tmp_path, dirs_exist_ok=True)
    return tiny_configuration(tmp_path, epochs=1), results


def test_a_complete_run_is_not_run_again(tmp_path, finished):
    configuration, first = finished
    before = (tmp_path / "metrics.jsonl").stat().st_mtime_ns
    assert train(configuration, striped_splits()) == json.loads(json.dumps(first))
    assert (tmp_path / "metrics.jsonl").stat().st_mtime_ns == before


def test_a_finished_run_is_extended_by_explicit_choice_alone(tmp_path, capsys):
    first = train(tiny_configuration(tmp_path), striped_splits(), tiny_backbone())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=r"differs in --epochs.*Add --extend to train it for 4 epochs") as error:
        train(tiny_configuration(tmp_path, epochs=4), striped_splits(), tiny_backbone())
    assert "\n" not in str(error.value)
    for changes in ({"epochs": 1}, {"epochs": 4, "seed": 1}):
        with pytest.raises(UserError, match="holds a run with other flags"):
            train(tiny_configuration(tmp_path, extend=True, **changes), striped_splits(), tiny_backbone())
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    lines = metrics(tmp_path)
    capsys.readouterr()
    results = train(tiny_configuration(tmp_path, epochs=4, extend=True), striped_splits(), tiny_backbone())
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Extending")]
    assert told == [
        "Extending the run from 2 to 4 epochs, from step 8. Learning rate: warm-up 0.25 epochs, drops at 2, 3 "
        "(before: warm-up 0.125 epochs, drops at 1, 1.5)."
    ]
    assert metrics(tmp_path)[:2] == lines and [line["step"] for line in metrics(tmp_path)] == [4, 8, 12, 16]
    assert results["steps"] == 16 and results["extensions"][0]["epochs"] == [2, 4]
    assert json.loads((tmp_path / "results_of_2_epochs.json").read_text()) == json.loads(json.dumps(first))
    # It is a run of 4 epochs now.
    assert train(tiny_configuration(tmp_path, epochs=4), striped_splits()) == json.loads(json.dumps(results))
    shutil.rmtree(tmp_path / "checkpoints")
    with pytest.raises(UserError, match="--extend needs a checkpoint"):
        train(tiny_configuration(tmp_path, epochs=5, extend=True), striped_splits(), tiny_backbone())


@pytest.mark.parametrize("name", ["train", "val"])
@pytest.mark.parametrize("part", ["images", "labels"])
def test_a_run_does_not_go_on_with_other_data(tmp_path, finished, name, part):
    configuration, results = finished
    fingerprints = results["data_fingerprint"]
    assert len(set(fingerprints.values())) == 3
    (tmp_path / "results.json").unlink()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    splits = striped_splits()
    changed = getattr(splits[name], part).copy()
    changed[[0, -1]] = changed[[-1, 0]]
    splits[name] = dataclasses.replace(splits[name], **{part: changed})
    with pytest.raises(UserError, match=f"other data.* {name} have changed") as error:
        train(configuration, splits, tiny_backbone())
    assert "\n" not in str(error.value)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    del splits[name]
    with pytest.raises(UserError, match=name):
        train(configuration, splits, tiny_backbone())
    # New test images change nothing that was computed.
    again = train(configuration, {**striped_splits(), "test": striped_split(6, 10, seed=4)}, tiny_backbone())
    assert again["data_fingerprint"] != fingerprints


def test_a_start_without_a_checkpoint_takes_mended_data(tmp_path, finished):
    configuration, _ = finished
    (tmp_path / "results.json").unlink()
    shutil.rmtree(tmp_path / "checkpoints")
    splits = {**striped_splits(), "train": striped_split(8, 12, seed=9)}
    assert train(configuration, splits, tiny_backbone())["data_fingerprint"]["train"] == splits["train"].fingerprint()


def test_results_name_the_commit_the_devices_and_the_backbone(tmp_path):
    backbone = keras.Sequential([keras.Input((SIZE, SIZE, 3)), tiny_backbone()], name="mine")
    results = train(tiny_configuration(tmp_path, epochs=1), striped_splits(), backbone)
    assert results["backbone"] == {"name": "mine", "weights": backbone.count_params()}
    assert results["commit"] is None or len(results["commit"].removesuffix("-dirty")) == 40
    assert list(results["devices"].values()) == [1]


def test_a_checkpoint_of_another_architecture_is_an_error_of_one_line(tmp_path, one_epoch):
    wide, narrow = tmp_path / "wide", tmp_path / "narrow"
    train(tiny_configuration(wide, epochs=1), striped_splits(), tiny_backbone(24))
    shutil.copytree(one_epoch[0], narrow)
    (narrow / "results.json").unlink()
    shutil.rmtree(narrow / "checkpoints" / "ckpt-4")
    for path in (wide / "checkpoints").iterdir():
        path.rename(narrow / "checkpoints" / path.name)
    before = {path: path.read_bytes() for path in narrow.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match="Checkpoint .* must hold the weights") as error:
        train(tiny_configuration(narrow, epochs=1), striped_splits(), tiny_backbone())
    assert "\n" not in str(error.value)
    assert {path: path.read_bytes() for path in narrow.rglob("*") if path.is_file()} == before


def test_any_keras_model_serves_as_backbone(tmp_path):
    backbone = keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            keras.layers.Conv2D(12, 3, activation="relu", kernel_regularizer=keras.regularizers.L2(0.1)),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )
    train(tiny_configuration(tmp_path), striped_splits(), backbone)
    line = metrics(tmp_path)[0]
    assert line["loss"] > line["classification_loss"] + line["metric_loss"]
    served = tf.saved_model.load(str(tmp_path / "saved_model")).signatures["serving_default"]
    assert served(images=tf.zeros([2, 9, 7, 3], tf.uint8))["features"].shape == (2, 12)


def test_a_backbone_that_returns_maps_is_refused(tmp_path):
    backbone = keras.Sequential([keras.Input((SIZE, SIZE, 3)), keras.layers.Conv2D(4, 3)])
    with pytest.raises(UserError, match=r"features \[n, d\]"):
        train(tiny_configuration(tmp_path), striped_splits(), backbone)


def test_backbones_of_other_kinds_train_and_are_exported(tmp_path):
    """Not built, for any size of image, with a layer that Keras cannot copy, and frozen."""
    pooled = keras.layers.Lambda(lambda maps: tf.reduce_mean(maps, [1, 2]))
    unbuilt = keras.Sequential([keras.layers.Conv2D(12, 3), keras.layers.BatchNormalization(), pooled])
    frozen = keras.Sequential([keras.Input((None, None, 3)), *tiny_backbone().layers])
    frozen.trainable = False
    for name, backbone in (("unbuilt", unbuilt), ("frozen", frozen)):
        before = frozen.get_weights()
        train(tiny_configuration(tmp_path / name, epochs=1), striped_splits(), backbone)
        served = tf.saved_model.load(str(tmp_path / name / "saved_model")).signatures["serving_default"]
        images = striped_split(2, 3, seed=5).images
        expected = backbone(images.astype(np.float32) / 127.5 - 1, training=False)
        np.testing.assert_allclose(served(images=tf.constant(images))["features"], expected, rtol=1e-3, atol=1e-4)
        assert (tmp_path / name / "backbone.keras").is_file()
    for weights, others in zip(frozen.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weights, others)


def test_a_backbone_is_refused_before_anything_is_written(tmp_path):
    pooled = keras.layers.Lambda(lambda images: tf.reduce_mean(images, [1, 2]))
    two = keras.Model(inputs := keras.Input((SIZE, SIZE, 3)), [pooled(inputs), pooled(inputs)])
    with pytest.raises(UserError, match="one output.*2 outputs"):
        train(tiny_configuration(tmp_path), striped_splits(), two)
    without_weights = keras.Model(inputs, pooled(inputs))
    with pytest.raises(UserError, match="weights to train.*frozen"):
        train(tiny_configuration(tmp_path, classification_loss="none"), striped_splits(), without_weights)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size]


def test_the_best_validated_weights_are_exported(tmp_path):
    """At a rate that destroys the network after the warm-up, the first epoch is the best."""
    configuration = tiny_configuration(tmp_path, epochs=3, warmup_epochs=0, decay_epochs=(1,), decay_rate=300.0)
    results = train(configuration, striped_splits(), tiny_backbone())
    scores = [(line["val_accuracy_1_shot"] + line["val_accuracy_2_shot"]) / 2 for line in metrics(tmp_path)]
    assert results["best"]["validation_accuracy"] == pytest.approx(max(scores))
    assert results["best"]["step"] == 4 * (1 + int(np.argmax(scores)))
    for shots, best in results["best"]["by_shots"].items():
        accuracies = [line[f"val_accuracy_{shots}_shot"] for line in metrics(tmp_path)]
        assert best == {"step": 4 * (1 + int(np.argmax(accuracies))), "validation_accuracy": max(accuracies)}


@pytest.mark.parametrize("best", [{1: 4, 2: 8}, {1: 8, 2: 4}])
def test_each_number_of_shots_is_tested_with_its_own_best_weights(tmp_path, monkeypatch, best):
    """Against the features of the checkpoints themselves, whatever validation finds."""
    found = iter(
        {f"val_accuracy_{shots}_shot": 0.9 if step == validated else 0.8 for shots, step in best.items()}
        for validated in (4, 8)
    )
    monkeypatch.setattr(UnseenClasses, "validate", lambda *_: next(found))
    results = train(tiny_configuration(tmp_path, learning_rate=0.05), striped_splits(), tiny_backbone())
    assert {int(shots): entry["step"] for shots, entry in results["best"]["by_shots"].items()} == best
    split, images = striped_splits()["test"], striped_splits()["train"].images
    for shots, step in best.items():
        backbone = tiny_backbone()
        checkpoint = tf.train.Checkpoint(backbone=backbone)
        checkpoint.read(str(tmp_path / "best_checkpoint" / f"ckpt-{step}" / "variables")).expect_partial()
        mean = extract_features(backbone, images).mean(axis=0)
        options = {"ways": 3, "shots": (shots,), "queries": 5, "episodes": 50, "mean": mean}
        expected = few_shot_accuracies(extract_features(backbone, split.images), split.labels, "test", **options)
        ours = [entry["accuracy"] for entry in results["accuracies"] if entry["shots"] == shots]
        np.testing.assert_allclose(ours, [entry["accuracy"] for entry in expected], atol=0.01)
    assert len(results["accuracies"]) == 6


def test_without_val_and_test_the_last_weights_are_exported(tmp_path):
    results = train(tiny_configuration(tmp_path), {"train": striped_split(8, 12, seed=1)}, tiny_backbone())
    assert results["accuracies"] == [] and results["best"] is None
    assert (tmp_path / "backbone.keras").exists()


@pytest.mark.parametrize(
    ("changes", "splits", "words"),
    [
        ({"filters": (4, 4, 4, 8)}, {}, ["d = 8", "C = 8", "spectral"]),
        ({"ways": 9}, {}, ["--ways=9", "8"]),
        ({"shots": 13, "small_classes": "error"}, {}, ["--shots=13", "12", "stripes 1."]),
        ({"test_ways": 6}, {}, ["val", "--test_ways=6", "at most 5 ways"]),
        ({"test_queries": 9}, {}, ["test", "--test_shots=2", "at most 10"]),
        ({}, {"train": None}, ["train"]),
        ({"head": "random_basis", "filters": (4, 4, 4, 7), "integration": "sum"}, {}, ["d = 7", "C = 8"]),
        (
            {"integration": "spectral_sum", "spectral_interval": 2, "gradient_to_kernel": True},
            {},
            ["`interval` must be 1", "gradient_to_kernel"],
        ),
    ],
)
def test_flags_that_do_not_fit_the_data_are_found_at_once(tmp_path, changes, splits, words):
    kept = {name: split for name, split in {**striped_splits(), **splits}.items() if split is not None}
    with pytest.raises(UserError) as error:
        train(tiny_configuration(tmp_path, **changes), kept)
    assert all(word in str(error.value) for word in words), error.value
    assert "\n" not in str(error.value)
    # The mended command must find the directory free.
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        # The ninth step goes astray, and the tenth finds it.
        ({"decay_rate": 1e30}, ["classification_loss", "epoch 3, step 10, learning rate 1e+29", "Checkpoints"]),
        (
            {"decay_rate": 1e30, "classification_loss": "none"},
            ["must be finite", "epoch 3, step 1", "learning rate 1e+29"],
        ),
    ],
)
def test_a_diverging_run_stops_with_its_earlier_checkpoint(tmp_path, changes, words):
    configuration = tiny_configuration(tmp_path, epochs=4, warmup_epochs=0, decay_epochs=(2,), **changes)
    with pytest.raises(UserError, match="diverged") as error:
        train(configuration, striped_splits(), tiny_backbone())
    assert all(word in str(error.value) for word in words), error.value
    kept = list((tmp_path / "checkpoints").iterdir())
    assert "ckpt-8" in [path.name for path in kept]
    for path in kept:
        reader = tf.train.load_checkpoint(str(path / "variables"))
        for name in reader.get_variable_to_shape_map():
            if name.endswith("VARIABLE_VALUE"):
                value = reader.get_tensor(name)
                assert value.dtype.kind not in "f" or np.isfinite(value).all()


@keras.saving.register_keras_serializable(package="tests")
class Glutton(keras.layers.Layer):
    """Wants a pebibyte in training."""

    def call(self, inputs, training=False):
        return inputs * tf.reduce_sum(tf.random.normal([2**48])) if training else inputs


def test_a_batch_that_does_not_fit_into_memory_is_told_in_one_line(tmp_path):
    configuration = tiny_configuration(tmp_path)
    backbone = keras.Sequential([keras.Input((SIZE, SIZE, 3)), tiny_backbone(), Glutton()])
    with pytest.raises(UserError, match=r"A batch must fit.*--ways=\d × --shots=\d images") as error:
        train(configuration, striped_splits(), backbone)
    assert "\n" not in str(error.value)


def test_weights_that_a_finite_gradient_takes_beyond_float32_are_told(tmp_path):
    changes = {
        "warmup_epochs": 0,
        "decay_epochs": (0,),
        "learning_rate": 1.0,
        "decay_rate": 3e38,
        "integration": "spectral_sum",
    }
    backbone = keras.Sequential([tiny_backbone(), keras.layers.Rescaling(1e3)])
    with pytest.raises(UserError, match="classifier's kernel must be finite.* epoch 1, step 2, .* 3e.38") as error:
        train(tiny_configuration(tmp_path, **changes), striped_splits(), backbone)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_named_data_set_trains_and_is_evaluated_from_disk_as_from_memory(tmp_path, monkeypatch, in_memory):
    write_cifar_fs(tmp_path / "source")
    monkeypatch.setattr(stored_images, "_IN_MEMORY_BYTES", 2**30 if in_memory else 0)
    configuration = tiny_configuration(
        tmp_path / "run",
        dataset="cifar_fs",
        data_dir=str(tmp_path / "source"),
        cache_dir=str(tmp_path / "cache"),
        image_size=SIZE,
        allow_partial=True,
        integration="sum",
        test_queries=1,
        shots=2,
    )
    results = train(configuration, backbone=tiny_backbone())
    assert results["splits"]["train"] == {"images": 192, "classes": 64}
    assert {entry["split"] for entry in results["accuracies"]} == {"test"}
    options = {"run_dir": (str(tmp_path / "run"),), "ways": 3, "shots": (1, 2), "queries": 1, "episodes": 50}
    entries = evaluate(EvaluationConfiguration(**options)).results[0].accuracies
    # What is exported has the best mean; each number of shots was tested with its own best weights.
    same = [
        int(shots) for shots, best in results["best"]["by_shots"].items() if best["step"] == results["best"]["step"]
    ]
    ours, theirs = (
        [entry["accuracy"] for entry in found if entry["shots"] in same] for found in (results["accuracies"], entries)
    )
    assert ours == theirs and ours


def test_laplacian_shot_is_tested_with_the_lam_chosen_on_val(tmp_path, caplog):
    changes = {"test_classifiers": ("nearest_centroid", "laplacian_shot"), "epochs": 1}
    results = train(tiny_configuration(tmp_path / "a", **changes), striped_splits(), tiny_backbone())
    lams = [entry["lam"] for entry in results["accuracies"] if entry["classifier"] == "laplacian_shot"]
    assert len(lams) == 6 and set(lams) <= {0.1, 0.3, 0.5, 0.7, 0.8, 1.0, 1.2, 1.5}
    splits = striped_splits()
    del splits["val"]
    results = train(tiny_configuration(tmp_path / "b", **changes), splits, tiny_backbone())
    assert {entry["lam"] for entry in results["accuracies"] if "lam" in entry} == {0.7}
    assert "no val classes" in caplog.text


def test_a_classifier_of_the_users_own_is_tested(tmp_path, monkeypatch):
    lines = ["import tensorflow as tf", "def first(support, query): return tf.zeros(tf.shape(query)[:2], tf.int32)"]
    (tmp_path / "classifiers_of_a_training.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    changes = {"test_classifiers": ("classifiers_of_a_training:first",), "epochs": 1}
    results = train(tiny_configuration(tmp_path / "run", **changes), striped_splits(), tiny_backbone())
    for entry in results["accuracies"]:
        assert entry["classifier"] == "classifiers_of_a_training:first"
        assert entry["accuracy"] == pytest.approx(1 / entry["ways"])
    changes["test_classifiers"] = ("no_such_module:first",)
    with pytest.raises(UserError, match="needs the module 'no_such_module'"):
        train(tiny_configuration(tmp_path / "other", **changes), striped_splits(), tiny_backbone())
    assert not (tmp_path / "other").exists()
    with pytest.raises(UserError, match="--test_classifiers must be among .* or module:function. Received: 'svm'"):
        tiny_configuration(tmp_path / "other", test_classifiers=("svm",))


def test_the_scores_of_the_validation_classes_are_logged(tmp_path):
    train(tiny_configuration(tmp_path / "sum"), striped_splits(), tiny_backbone())
    for line in metrics(tmp_path / "sum"):
        for name in ("classifier_subspace", "complement"):
            assert 0 < line[f"val_discriminant_score_{name}"] < 1
    train(tiny_configuration(tmp_path / "metric", classification_loss="none"), striped_splits(), tiny_backbone())
    assert not any("val_discriminant" in name for line in metrics(tmp_path / "metric") for name in line)


@pytest.mark.parametrize("head", ["linear", "random_basis"])
def test_binary_cross_entropy_starts_from_the_odds_of_a_class(tmp_path, head):
    for loss, probability in (("bce", 1 / 6), ("sce", 0.5)):
        configuration = tiny_configuration(tmp_path, classification_loss=loss, head=head)
        parts = construction.build(configuration, (SIZE, SIZE, 3), 6, 2)
        logits = parts.classifier(np.zeros((1, 16), np.float32)).numpy()
        np.testing.assert_allclose(1 / (1 + np.exp(-logits)), np.full((1, 6), probability), rtol=1e-6)
