import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from dsl_tf.experiments import cells, configuration
from dsl_tf.training.construction import build
from dsl_tf.training.step import TrainingStep

CLASSES, SIZE = 6, 16
# What the parts of a run are made of, apart from sizes, and the schedule that a first step is too early for.
PARTS = ("classification_loss", "metric_loss", "integration", "head", "power", "learning_rate", "precision")


def narrow_runs():
    """The runs of all cells made narrow, without those that repeat the parts of another data set's."""
    runs = {}
    for cell in cells():
        run = dataclasses.replace(configuration(cell), image_size=SIZE, filters=(4, 4, 8, 12), ways=3, shots=2)
        runs.setdefault((cell.slug, *(getattr(run, name) for name in PARTS)), run)
    return {slug: run for (slug, *_), run in runs.items()}


RUNS = narrow_runs()


def test_data_sets_do_not_change_the_parts():
    assert set(RUNS) == {cell.slug for cell in cells()}


@pytest.fixture
def untraced():
    """Runs the step op by op: tracing it for every cell would take five times as long."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.mark.parametrize("slug", RUNS)
def test_every_cell_builds_and_trains_a_step(untraced, slug):
    run = RUNS[slug]
    # As many classes as dimensions is where a direct sum ends and the spectral sum of Table 6 goes on.
    classes = 15 if run.integration == "spectral_sum" else CLASSES
    parts = build(run, image_shape=(SIZE, SIZE, 3), classes=classes, steps_per_epoch=2)
    assert parts.backbone.output_shape == (None, 12)
    step = TrainingStep(parts)
    before = [weight.numpy() for weight in parts.trainable_weights]
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (run.ways * run.shots, SIZE, SIZE, 3), dtype=np.uint8)
    labels = np.repeat(np.arange(run.ways), run.shots)
    step(tf.constant(images), tf.constant(labels))
    means = step.means()
    assert {"classification_loss", "metric_loss"} & set(means) == {
        field for field in ("classification_loss", "metric_loss") if getattr(run, field) != "none"
    }
    assert np.isfinite(list(means.values())).all() and means["loss"] > 0
    for weight, old in zip(parts.trainable_weights, before, strict=True):
        assert np.isfinite(weight.numpy()).all()
        assert not np.array_equal(weight.numpy(), old), weight.path
