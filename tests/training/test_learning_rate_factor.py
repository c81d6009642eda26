import keras
import numpy as np
import pytest
import tensorflow as tf

from dsl_tf.runs.configuration.optimisation import OPTIMIZERS
from dsl_tf.training import construction
from dsl_tf.training.named_optimizer import named_optimizer
from dsl_tf.training.step import TrainingStep
from tests.images import SIZE, striped_split, tiny_backbone, tiny_configuration

# A power of two, so that neither the order of products nor the schedule rounds.
FACTOR = 0.25


def stepped(optimizer, shapes, steps=3):
    """Variables after some steps of an optimizer with gradients of their own, and those after each."""
    random = np.random.default_rng(0)
    values = [(random.normal(size=shape), random.normal(size=(steps, *shape))) for shape in ((4, 3), (4, 3))]
    variables = [keras.Variable(values[index][0].astype(np.float32)) for index in shapes]
    optimizer.build(variables)
    for step in range(steps):
        optimizer.apply([tf.constant(values[index][1][step], tf.float32) for index in shapes])
    return [variable.numpy() for variable in variables]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_first_weights_learn_at_the_factor_times_the_rate_with_every_optimizer(name):
    options = {"optimizer": name, "schedule": "cosine", "weight_decay": 0.5, "warmup_epochs": 0.5}
    slower = tiny_configuration("unused", learning_rate=0.01 * FACTOR, **options)
    plain = tiny_configuration("unused", learning_rate=0.01, **options)
    both = tiny_configuration("unused", learning_rate=0.01, backbone_learning_rate_factor=FACTOR, **options)
    optimizer = named_optimizer(both, 4, 1)
    # As a loaded model gets it.
    optimizer = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    found = stepped(optimizer, [0, 1])
    np.testing.assert_array_equal(found[0], stepped(named_optimizer(slower, 4, 1), [0])[0])
    np.testing.assert_array_equal(found[1], stepped(named_optimizer(plain, 4, 1), [1])[0])


def changes(**options):
    """What a step changes in the trained weights of the backbone, and in those of the classifier."""
    configuration = tiny_configuration("unused", momentum=0.0, weight_decay=0.1, warmup_epochs=0, **options)
    backbone = tiny_backbone()
    backbone.layers[0].name = "frozen"
    parts = construction.build(configuration, (SIZE, SIZE, 3), 8, 4, backbone)
    before = [weight.numpy() for weight in parts.trainable_weights]
    split = striped_split(8, 3, seed=1)
    TrainingStep(parts)(split.images, split.labels)
    steps = [weight.numpy() - value for weight, value in zip(parts.trainable_weights, before, strict=True)]
    return steps[: len(parts.backbone.trainable_weights)], steps[len(parts.backbone.trainable_weights) :]


@pytest.mark.parametrize("options", [{}, {"clip_norm": 0.05}, {"freeze_until": "frozen"}])
def test_a_step_moves_the_backbone_by_the_factor_and_clips_all_gradients_together(options):
    backbone, classifier = changes(backbone_learning_rate_factor=FACTOR, **options)
    whole_backbone, whole_classifier = changes(**options)
    assert len(backbone) == (2 if "freeze_until" in options else 4) and len(classifier) == 2
    # A weight near 1 rounds a change of 1e-4 by 1e-7.
    for found, whole in zip(backbone, whole_backbone, strict=True):
        np.testing.assert_allclose(found, FACTOR * whole, rtol=1e-3, atol=3e-7)
    for found, whole in zip(classifier, whole_classifier, strict=True):
        np.testing.assert_array_equal(found, whole)
