"""Optimizers, averages, clipping and early stopping by flags."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from dsl_tf.evaluation import few_shot_accuracies
from dsl_tf.runs import directory as run_directory
from dsl_tf.runs import extract_features
from dsl_tf.runs.configuration.optimisation import OPTIMIZERS
from dsl_tf.training import construction, train
from dsl_tf.training.named_optimizer import named_optimizer
from dsl_tf.training.step import TrainingStep
from tests import programs
from tests.images import SIZE, striped_split, striped_splits, tiny_backbone, tiny_configuration
from tests.training import options_program


@pytest.fixture(scope="module")
def endings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("endings")
    process = programs.run(["-m", "tests.training.options_program", folder])
    assert process.returncode == 0, process.stdout + process.stderr
    return json.loads((folder / "found.json").read_text())


@pytest.mark.parametrize("kind", options_program.KINDS)
def test_a_run_stopped_in_the_middle_ends_with_the_same_bits(endings, kind):
    whole, broken = endings[kind]
    assert whole["steps"] == 12 and [line["step"] for line in whole["lines"]] == [3, 4, 6, 8, 9, 12]
    assert broken == whole


class Averages(keras.callbacks.Callback):
    """Averages the trained weights in float64, and keeps the averages of every step."""

    def __init__(self, momentum):
        super().__init__()
        self.momentum, self.steps = momentum, []

    def on_train_batch_end(self, batch, logs=None):
        weights = [weight.numpy().astype(np.float64) for weight in self.model.backbone.trainable_weights]
        if self.steps:
            before = self.steps[-1]
            weights = [self.momentum * a + (1 - self.momentum) * w for a, w in zip(before, weights, strict=True)]
        self.steps.append(weights)


@pytest.mark.parametrize("validated", [True, False])
def test_averaged_weights_are_validated_exported_and_tested_and_others_are_trained(tmp_path, validated):
    splits, averages = striped_splits(), Averages(0.5)
    if not validated:
        del splits["val"]
    configuration = tiny_configuration(tmp_path / "averaged", ema_momentum=0.5, learning_rate=0.5)
    results = train(configuration, splits, tiny_backbone(), callbacks=[averages])
    step = results["best"]["step"] if validated else results["steps"]
    backbone = keras.models.load_model(tmp_path / "averaged" / "backbone.keras")
    for found, expected in zip(backbone.trainable_weights, averages.steps[step - 1], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    options = {"ways": 3, "queries": 5, "shots": (1, 2), "seed": 0, "feature_transforms": ("none",)}
    if validated:
        features = extract_features(backbone, splits["val"].images)
        accuracies = few_shot_accuracies(features, splits["val"].labels, "val", episodes=20, **options)
        mean = np.mean([accuracy["accuracy"] for accuracy in accuracies])
        assert results["best"]["validation_accuracy"] == pytest.approx(mean, abs=0.01)
        # The training itself knows nothing of the averages.
        plain = tiny_configuration(tmp_path / "plain", learning_rate=0.5)
        train(plain, splits, tiny_backbone())
        logs = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("averaged", "plain")]
        for ours, theirs in zip(*logs, strict=True):
            assert json.loads(ours)["loss"] == pytest.approx(json.loads(theirs)["loss"], rel=1e-3)


def test_early_stopping_counts_validations_and_stays_ended(tmp_path, capsys):
    """A network that cannot change, and so never gets better than at first."""
    backbone = tiny_backbone()
    last = backbone.layers[-1].name
    configuration = tiny_configuration(tmp_path, epochs=9, early_stopping=2, freeze_until=last, validate_every=1)
    before = backbone.get_weights()
    results = train(configuration, striped_splits(), backbone)
    assert results["steps"] == 12 and results["best"]["step"] == 4
    assert "--early_stopping=2 ended the training after epoch 3 of 9." in capsys.readouterr().out
    for weight, value in zip(keras.models.load_model(tmp_path / "backbone.keras").get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, value)
    lines = (tmp_path / "metrics.jsonl").read_text()
    (tmp_path / "results.json").unlink()
    assert train(configuration, striped_splits(), backbone)["steps"] == 12
    assert (tmp_path / "metrics.jsonl").read_text() == lines


def test_the_whole_gradient_is_clipped_to_its_norm():
    configuration = tiny_configuration("unused", clip_norm=0.01, momentum=0.0, weight_decay=0.0, warmup_epochs=0)
    parts = construction.build(configuration, (SIZE, SIZE, 3), 8, 4, tiny_backbone())
    split = striped_split(8, 3, seed=1)
    before = [weight.numpy() for weight in parts.trainable_weights]
    TrainingStep(parts)(split.images, split.labels)
    changes = [weight.numpy() - value for weight, value in zip(parts.trainable_weights, before, strict=True)]
    norm = np.sqrt(sum((change.astype(np.float64) ** 2).sum() for change in changes))
    assert norm == pytest.approx(0.1 * 0.01, rel=1e-3)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_of_keras_is_built_with_schedule_and_decay(name):
    configuration = tiny_configuration("unused", optimizer=name, learning_rate=0.01, warmup_epochs=0, weight_decay=0.5)
    optimizer = named_optimizer(configuration, 4, 0)
    kernel = keras.Variable(np.ones((4, 3), np.float32))
    optimizer.build([kernel])
    optimizer.apply([tf.zeros((4, 3))])
    # These compute a weight anew from earlier gradients; without any, Ftrl's is 0.
    expected = {"ftrl": 0.0, "schedulefreeadamw": 1.0}.get(name, 1 - 0.01 * 0.5)
    np.testing.assert_allclose(kernel, np.full((4, 3), expected), atol=1e-6)
    assert optimizer.weight_decay in (None, 0.5) and float(optimizer.learning_rate) == pytest.approx(0.01)


def test_a_run_of_a_version_without_these_flags_goes_on(tmp_path):
    configuration = tiny_configuration(tmp_path)
    run_directory.record_flags(tmp_path, configuration)
    flags = tmp_path / run_directory.FLAGFILE
    new = ("--optimizer", "--schedule", "--label_smoothing", "--backbone_learning_rate_factor")
    kept = [line for line in flags.read_text().splitlines() if not line.startswith(new)]
    assert len(kept) == len(flags.read_text().splitlines()) - len(new) and "--learning_rate=0.1" in kept
    flags.write_text("\n".join(kept) + "\n")
    assert run_directory.open_directory(configuration) == tmp_path
