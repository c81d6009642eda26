"""Every cell builds, and every part of a cell trains a step."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from dsl_tf.experiments import cells, configuration
from dsl_tf.training.construction import build
from dsl_tf.training.step import TrainingStep

CLASSES, SIZE = 6, 16
# What the parts of a run are made of, apart from sizes, and the schedule that a first step is too early for.
PARTS = ("backbone", "classification_loss", "metric_loss", "integration", "head", "power", "learning_rate", "precision")


def narrow_runs():
    """The runs of all cells made narrow, without those that repeat the parts of another data set's."""
    runs = {}
    for cell in cells():
        run = dataclasses.replace(configuration(cell), image_size=SIZE, filters=(4, 4, 8, 12), ways=3, shots=2)
        runs.setdefault((cell.slug, *(getattr(run, name) for name in PARTS)), run)
    return {slug: run for (slug, *_), run in runs.items()}


RUNS = narrow_runs()
# Each loss, integration and head, and each metric loss in each integration. BCE meets them through its logits alone.
TRAINED = (
    "bce",
    "nca",
    "bce_sum_proto",
    "sce_direct_sum_nca",
    "bce_direct_sum_proto",
    "sce_classifier_subspace_nca",
    "sce_direct_sum_nca_random_basis",
    "sce_direct_sum_nca_axis_basis",
    "sce_sum_nca",
    "sce_spectral_sum_nca_p0.1",
    "sce_spectral_sum_proto_p0.5",
)


def test_data_sets_do_not_change_the_parts():
    assert set(RUNS) == {cell.slug for cell in cells()}


def test_what_is_trained_below_has_every_value_of_every_part():
    for names in (("classification_loss",), ("head",), ("metric_loss", "integration")):
        values, trained = (
            {tuple(getattr(run, name) for name in names) for run in runs}
            for runs in (RUNS.values(), [RUNS[slug] for slug in TRAINED])
        )
        # An integration without two losses has no meaning.
        assert {value for value in values if "none" not in value} <= trained


@pytest.fixture
def untraced():
    """Runs the step op by op: tracing it for every cell would take five times as long."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def parts_of(run):
    # As many classes as dimensions is where a direct sum ends and the spectral sum of Table 6 goes on.
    classes = 15 if run.integration == "spectral_sum" else CLASSES
    return build(run, image_shape=(SIZE, SIZE, 3), classes=classes, steps_per_epoch=2)


@pytest.mark.parametrize("slug", TRAINED)
def test_every_part_trains_a_step(untraced, slug):
    run = RUNS[slug]
    parts = parts_of(run)
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
