"""The parts of a training run, built from its configuration."""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from dsl_tf import losses, models
from dsl_tf.errors import UserError
from dsl_tf.models.applications import application
from dsl_tf.models.hub import hub_backbone
from dsl_tf.runs.configuration import TrainingConfiguration
from dsl_tf.runs.own_backbone import checked_backbone
from dsl_tf.training.given import Given, LossFunction, copied_optimizer, copy_loss_weights, loss_weights, own_loss
from dsl_tf.training.initialisation import freeze_until
from dsl_tf.training.named_optimizer import named_optimizer

BACKBONES = {"resnet12": models.resnet12, "resnet12_basic": models.resnet12_basic}
Start = Callable[[keras.Model, keras.layers.Layer | None], None]


@dataclasses.dataclass(frozen=True)
class Parts:
    """What training works on: a backbone, a classifier (None for a metric loss alone), a loss and an optimizer."""

    backbone: keras.Model
    classifier: keras.layers.Layer | None
    loss: losses.reduction.TermLoss
    optimizer: keras.optimizers.Optimizer

    @property
    def trainable_weights(self) -> list[keras.Variable]:
        """The weights that the optimizer updates, those of the backbone first."""
        classifier_weights = self.classifier.trainable_weights if self.classifier else []
        return self.backbone.trainable_weights + classifier_weights + loss_weights(self.loss)


def _build_backbone(configuration: TrainingConfiguration, image_shape: tuple[int, int, int]) -> keras.Model:
    if configuration.backbone in BACKBONES:
        return BACKBONES[configuration.backbone](image_shape, configuration.filters)
    if not configuration.uses_hub:
        return application(configuration.backbone, image_shape, configuration.weights)
    network = hub_backbone(configuration.backbone, image_shape, configuration.backbone_name)
    return checked_backbone(network, image_shape)


def _build_classifier(configuration: TrainingConfiguration, dimensions: int, classes: int) -> keras.layers.Layer | None:
    if configuration.classification_loss == "none":
        return None
    if configuration.head == "linear":
        classifier = keras.layers.Dense(classes, dtype="float32", name="classifier")
    else:
        kind = configuration.head.removesuffix("_basis")
        classifier = models.FixedSubspaceClassifier(classes, kind, seed=configuration.seed, name="classifier")
    classifier.build((None, dimensions))
    if configuration.classification_loss == "bce" and classes > 1:
        # Each of C classes is right for 1 of C images. From even odds, the first steps would push all logits down along
        # the mean feature, and short trainings do not recover from that.
        classifier.bias.assign(np.full(classes, -np.log(classes - 1), np.float32))
    return classifier


def build_loss(
    configuration: TrainingConfiguration,
    classifier: keras.layers.Layer | None,
    function: LossFunction | None = None,
) -> losses.reduction.TermLoss:
    """Builds the loss that a caller gave or else the one that a configuration names, on features.

    Args:
        configuration: a `TrainingConfiguration`.
        classifier: a built classifier, or None for a metric loss alone.
        function: of the classifier to the loss; None for the configuration's.

    Raises:
        ValueError: for a direct sum with d ≤ C, or a spectral interval above 1 with a gradient to W.
    """
    if function is not None:
        return own_loss(function, classifier)
    if classifier is None:
        return losses.MetricLoss(configuration.metric_loss)
    smoothing = configuration.label_smoothing
    classification = (
        losses.SoftmaxCrossEntropy(label_smoothing=smoothing) if smoothing else configuration.classification_loss
    )
    names = {"classifier": classifier, "classification": classification}
    if configuration.metric_loss == "none":
        return losses.SumLoss(**names, metric=None)
    integration = losses.INTEGRATIONS[configuration.integration]
    options = {
        "epsilon": configuration.epsilon,
        "fixed_subspace": configuration.head != "linear",
        "gradient_to_kernel": configuration.gradient_to_kernel,
        "interval": configuration.spectral_interval or 1,
        "power": configuration.power,
    }
    return integration.loss(
        **names,
        metric=configuration.metric_loss,
        metric_weight=configuration.metric_weight,
        **{name: options[name] for name in integration.options},
    )


def _build_optimizer(
    configuration: TrainingConfiguration,
    steps_per_epoch: int,
    given: keras.optimizers.Optimizer | None,
    backbone_weights: int,
) -> keras.optimizers.Optimizer:
    if given is None:
        optimizer = named_optimizer(configuration, steps_per_epoch, backbone_weights)
    else:
        optimizer = copied_optimizer(given)
    # bfloat16 has float32's range; only float16's small gradients need the loss scaled.
    if configuration.precision != "mixed_float16" or isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return optimizer
    return keras.optimizers.LossScaleOptimizer(optimizer)


def build(
    configuration: TrainingConfiguration,
    image_shape: tuple[int, int, int],
    classes: int,
    steps_per_epoch: int,
    backbone: keras.Model | None = None,
    given: Given | None = None,
    start: Start | None = None,
) -> Parts:
    """Builds the parts of a run.

    Args:
        configuration: a `TrainingConfiguration`.
        image_shape: (height, width, 3).
        classes: C, the number of training classes.
        steps_per_epoch: batches an epoch.
        backbone: a Keras model from normalised images to features `[n, d]`, in place of the configuration's.
        given: what a caller gave; its loss and optimizer take the place of the configuration's.
        start: called with backbone and classifier before the optimizer sees them, to give them other weights.

    Returns:
        The `Parts`.

    Raises:
        UserError: where the flags do not fit the data.
    """
    given = given or Given()
    keras.utils.set_random_seed(configuration.seed)
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy(configuration.precision)
        if backbone is None:
            backbone = _build_backbone(configuration, image_shape)
        if len(backbone.output_shape) != 2 or backbone.output_shape[1] is None:
            raise UserError(f"A backbone must return features [n, d]. Received: shape {backbone.output_shape}.")
        classifier = _build_classifier(configuration, backbone.output_shape[1], classes)
        if start is not None:
            start(backbone, classifier)
        if configuration.freeze_until is not None:
            freeze_until(backbone, configuration.freeze_until)
        parts = Parts(
            backbone,
            classifier,
            build_loss(configuration, classifier, given.loss),
            _build_optimizer(configuration, steps_per_epoch, given.optimizer, len(backbone.trainable_weights)),
        )
    except ValueError as error:
        raise UserError(" ".join(str(error).split())) from None
    except (MemoryError, tf.errors.ResourceExhaustedError):
        size = f" with --filters={','.join(map(str, configuration.filters))}" * (configuration.backbone in BACKBONES)
        raise UserError(
            f"--backbone must fit into memory. Received: {configuration.backbone}{size}. Choose a smaller one."
        ) from None
    finally:
        keras.config.set_dtype_policy(policy)
    if not parts.trainable_weights:
        raise UserError(
            "A run must have weights to train. Received: a frozen backbone and no trainable classifier. Set "
            "backbone.trainable = True or an earlier --freeze_until, or train a classifier with --head=linear and "
            "--classification_loss."
        )
    parts.optimizer.build(parts.trainable_weights)
    return parts


def replicate(
    parts: Parts,
    configuration: TrainingConfiguration,
    strategy: tf.distribute.Strategy,
    loss: LossFunction | None = None,
) -> Parts:
    """Builds the same parts, with the same weights, on all devices of a strategy, with fused batch normalisation.

    Args:
        parts: the `Parts`, built outside of the strategy.
        configuration: their `TrainingConfiguration`.
        strategy: a `tf.distribute.Strategy`.
        loss: the function of the classifier to the loss, if a caller gave one.

    Returns:
        The `Parts`, where batch normalisation takes its statistics over all replicas; those given if there is one
        replica and nothing to fuse.

    Raises:
        UserError: if there are several replicas and the backbone is no functional or sequential model.
    """
    several = strategy.num_replicas_in_sync > 1
    if not several and not _has_standard_normalization(parts.backbone):
        return parts
    with strategy.scope():
        try:
            backbone = models.normalization.with_fused_normalization(parts.backbone, synchronized=several)
        except (ValueError, TypeError, NotImplementedError) as error:
            if not several:
                # Keras's own batch normalisation is as right, and slower.
                return parts
            raise UserError(
                "A backbone on several devices must be a functional or sequential Keras model, which can be copied. "
                f"Received: {type(parts.backbone).__name__} ({' '.join(str(error).split())[:200]}). "
                "Train with --distribution=none."
            ) from None
        classifier = None
        if parts.classifier is not None:
            classifier = type(parts.classifier).from_config(parts.classifier.get_config())
            classifier.build((None, parts.backbone.output_shape[1]))
            classifier.set_weights(parts.classifier.get_weights())
        optimizer = copied_optimizer(parts.optimizer)
        replicated = Parts(backbone, classifier, build_loss(configuration, classifier, loss), optimizer)
        copy_loss_weights(parts.loss, replicated.loss)
        optimizer.build(replicated.trainable_weights)
    return replicated


def _has_standard_normalization(model: keras.Model) -> bool:
    """Returns whether a model holds batch normalisation of Keras's own, at any depth."""
    return any(
        _has_standard_normalization(layer)
        if isinstance(layer, keras.Model)
        else type(layer) is keras.layers.BatchNormalization
        for layer in model.layers
    )


def copy_weights(parts: Parts, others: Parts) -> None:
    """Copies the weights of backbone and classifier to other parts of the same shape."""
    if parts is not others:
        others.backbone.set_weights(parts.backbone.get_weights())
        if parts.classifier is not None and others.classifier is not None:
            others.classifier.set_weights(parts.classifier.get_weights())
