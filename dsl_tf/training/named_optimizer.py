"""The optimizer and the schedule that a configuration names."""

import inspect
from typing import Any

import keras

from dsl_tf.runs.configuration import TrainingConfiguration
from dsl_tf.runs.configuration.optimisation import OPTIMIZERS
from dsl_tf.training.optimizer import CoupledDecaySGD, WarmupCosineDecay, WarmupStepDecay


def named_optimizer(configuration: TrainingConfiguration, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """Builds the optimizer that a configuration describes, without loss scaling.

    Args:
        configuration: a `TrainingConfiguration`.
        steps_per_epoch: batches per epoch.

    Returns:
        `CoupledDecaySGD` for `sgd`, otherwise Keras's own optimizer.
    """
    options: dict[str, Any] = {"global_clipnorm": configuration.clip_norm}
    if configuration.ema_momentum is not None:
        options |= {"use_ema": True, "ema_momentum": configuration.ema_momentum}
    learning_rate = _schedule(configuration, steps_per_epoch)
    if configuration.optimizer == "sgd":
        return CoupledDecaySGD(learning_rate, configuration.momentum, configuration.weight_decay, **options)
    kind = OPTIMIZERS[configuration.optimizer]
    # Muon has a second one, for the weights that it leaves to AdamW.
    for name in {"weight_decay", "adam_weight_decay"} & set(inspect.signature(kind).parameters):
        options[name] = configuration.weight_decay
    return kind(learning_rate, **options)


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
