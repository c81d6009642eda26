"""Training steps of a small network in each precision, and their losses from given weights."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from benchmarks.distribution.images import CLASSES, SIDE
from dsl_tf import distribution
from dsl_tf.losses.reduction import reduce_values
from dsl_tf.losses.replicas import sum_over_replicas
from dsl_tf.models.normalization import FusedBatchNormalization
from dsl_tf.runs.configuration import TrainingConfiguration
from dsl_tf.training import construction
from dsl_tf.training.step import TrainingStep

# From the images and labels of this process to the loss of the whole batch.
Step = Callable[[tf.Tensor, tf.Tensor], float]
Batch = tuple[tf.Tensor, tf.Tensor]


def small_backbone(precision: str) -> keras.Model:
    """Builds two convolutions with batch normalisation."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(precision)
    layers = [keras.Input((SIDE, SIDE, 3))]
    for width in (16, 32):
        layers += [keras.layers.Conv2D(width, 3, strides=2, use_bias=False), FusedBatchNormalization()]
        layers += [keras.layers.LeakyReLU(0.1)]
    wide = "float64" if precision == "float64" else "float32"
    backbone = keras.Sequential([*layers, keras.layers.GlobalAveragePooling2D(dtype=wide)])
    keras.config.set_dtype_policy("float32")
    return backbone


def in_float64(parts: construction.Parts, configuration: TrainingConfiguration) -> construction.Parts:
    """Returns the same parts with classifier, loss and optimizer in float64."""
    classifier = parts.classifier
    if classifier is not None:
        classifier = keras.layers.Dense(CLASSES, dtype="float64")
        classifier.build((None, parts.backbone.output_shape[1]))
        classifier.set_weights([weight.astype(np.float64) for weight in parts.classifier.get_weights()])
    loss = construction.build_loss(configuration, classifier)
    optimizer = type(parts.optimizer).from_config(parts.optimizer.get_config())
    found = construction.Parts(parts.backbone, classifier, loss, optimizer)
    optimizer.build(found.trainable_weights)
    return found


def float64_step(parts: construction.Parts, strategy: tf.distribute.Strategy, size: int) -> Step:
    """Returns a training step whose loss stays in float64."""

    def replica(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        images, labels = distribution.replica_rows(strategy, [images, labels], size)
        with tf.GradientTape() as tape:
            features = parts.backbone(tf.cast(images, tf.float64) / 127.5 - 1.0, training=True)
            terms = parts.loss.terms(tf.cast(labels, tf.int64), features)
            loss = tf.add_n([reduce_values(*term, None, "mean") for term in terms.values()])
        weights = parts.trainable_weights
        gradients = tape.gradient(loss, weights)
        total = sum_over_replicas(loss)
        parts.optimizer.apply(gradients, weights)
        return total

    @tf.function
    def step(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        return strategy.experimental_local_results(strategy.run(replica, args=(images, labels)))[0]

    return lambda images, labels: float(step(images, labels))


def float32_step(parts: construction.Parts, strategy: tf.distribute.Strategy, size: int) -> Step:
    """Returns the package's own training step."""
    training_step = TrainingStep(parts, strategy=strategy)

    def step(images: tf.Tensor, labels: tf.Tensor) -> float:
        training_step.reset()
        training_step(images, labels, size)
        return training_step.means()["loss"]

    return step


def weights_of(layers: Iterable[keras.layers.Layer]) -> list[np.ndarray]:
    """Returns the weights of all layers."""
    return [value for layer in layers for value in layer.get_weights()]


def set_weights(layers: Iterable[keras.layers.Layer], values: Iterable[np.ndarray]) -> None:
    """Sets the weights of all layers to those that `weights_of` returned."""
    values = iter(values)
    for layer in layers:
        layer.set_weights(list(itertools.islice(values, len(layer.get_weights()))))


def losses_from(
    weights: Iterable[Sequence[np.ndarray]],
    layers: Sequence[keras.layers.Layer],
    step: Step,
    batches: Iterable[Batch],
) -> np.ndarray:
    """Returns the loss of each batch, from given weights at each step."""
    found = []
    for values, batch in zip(weights, batches, strict=True):
        set_weights(layers, values)
        found.append(step(*batch))
    return np.array(found)


def in_another_order(batches: Iterable[Batch], order: int) -> Iterator[Batch]:
    """Returns the same batches, with the rows of each in another order."""
    for number, (images, labels) in enumerate(batches):
        rows = np.random.default_rng((order, number)).permutation(len(labels))
        yield images.numpy()[rows], labels.numpy()[rows]
