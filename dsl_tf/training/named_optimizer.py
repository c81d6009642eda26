"""The optimizer and the schedule that a configuration names."""

import inspect
from typing import Any

import keras

from dsl_tf.runs.configuration import TrainingConfiguration
from dsl_tf.runs.configuration.optimisation import OPTIMIZERS
from dsl_tf.training.learning_rate_factor import WITH_FACTOR
from dsl_tf.training.optimizer import CoupledDecaySGD, WarmupCosineDecay, WarmupStepDecay


def named_optimizer(
    configuration: TrainingConfiguration, steps_per_epoch: int, backbone_weights: int
) -> keras.optimizers.Optimizer:
    """Builds the optimizer that a configuration describes, without loss scaling.

    Args:
        configuration: a `TrainingConfiguration`.
        steps_per_epoch: batches per epoch.
        backbone_weights: the number of trainable weights of the backbone, which come first.

    Returns:
        `CoupledDecaySGD` for `sgd`, otherwise Keras's own optimizer; with a `backbone_learning_rate_factor`, the same
        with that factor.
    """
    options: dict[str, Any] = {"global_clipnorm": configuration.clip_norm}
    if configuration.ema_momentum is not None:
        options |= {"use_ema": True, "ema_momentum": configuration.ema_momentum}
    if configuration.optimizer == "sgd":
        kind = CoupledDecaySGD
        options |= {"momentum": configuration.momentum, "coupled_weight_decay": configuration.weight_decay}
    else:
        kind = OPTIMIZERS[configuration.optimizer]
        # Muon has a second one, for the weights that it leaves to AdamW.
        for name in {"weight_decay", "adam_weight_decay"} & set(inspect.signature(kind).parameters):
            options[name] = configuration.weight_decay
    factor = configuration.backbone_learning_rate_factor
    if factor != 1:
        kind = WITH_FACTOR[kind]
        options |= {"learning_rate_factor": factor, "first_variables": backbone_weights}
    return kind(_schedule(configuration, steps_per_epoch), **options)


def _schedule(
    configuration: TrainingConfiguration, steps_per_epoch: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    warmup, drops = configuration.schedule_epochs
    peak, warmup_steps = configuration.learning_rate, round(warmup * steps_per_epoch)
    assert peak is not None
    if configuration.schedule == "cosine":
        return WarmupCosineDecay(peak, warmup_steps, configuration.epochs * steps_per_epoch)
    decay_steps = [round(epoch * steps_per_epoch) for epoch in drops]
    return WarmupStepDecay(peak, warmup_steps, decay_steps, configuration.decay_rate)
