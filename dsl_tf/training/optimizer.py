"""Stochastic gradient descent as in the paper's reference implementations, and schedules of the learning rate."""

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="dsl_tf")
class CoupledDecaySGD(keras.optimizers.SGD):
    """SGD with momentum whose weight decay is part of the gradient.

    Per weight w with gradient g: v ← momentum·v + g + decay·w, then w ← w − rate·v. Keras's `weight_decay`
    bypasses the momentum, and its momentum keeps the old rate for some steps after a drop; the references do neither.

    Args:
        learning_rate: a float or a schedule.
        momentum: 0 to 1.
        coupled_weight_decay: the L2 coefficient, for every trainable weight.
        nesterov: whether to look ahead: w ← w − rate·(g + decay·w + momentum·v), with v after its update.
        **kwargs: further arguments of `keras.optimizers.SGD`.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
        momentum: float = 0.9,
        coupled_weight_decay: float = 5e-4,
        nesterov: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate, momentum=momentum, nesterov=nesterov, **kwargs)
        self.coupled_weight_decay = coupled_weight_decay

    def update_step(self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor) -> None:
        learning_rate = tf.cast(learning_rate, variable.dtype)
        gradient = tf.cast(gradient, variable.dtype) + self.coupled_weight_decay * variable
        if not self.momentum:
            variable.assign_sub(learning_rate * gradient)
            return
        # One fused operation reads and writes a weight and its velocity less often than separate operations.
        tf.raw_ops.ResourceApplyMomentum(
            var=variable.handle,
            accum=self.momentums[self._get_variable_index(variable)].value.handle,
            lr=learning_rate,
            grad=gradient,
            momentum=tf.cast(self.momentum, variable.dtype),
            use_nesterov=self.nesterov,
        )

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "coupled_weight_decay": self.coupled_weight_decay}


@keras.saving.register_keras_serializable(package="dsl_tf")
class WarmupStepDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A linear warm-up to the peak learning rate, then drops by a factor.

    Args:
        peak: the learning rate after the warm-up.
        warmup_steps: steps of the warm-up; its step s has the rate peak·(s + 1)/warmup_steps.
        decay_steps: the steps at which the rate is multiplied by `decay_rate`.
        decay_rate: the factor.
    """

    def __init__(self, peak: float, warmup_steps: int, decay_steps: Sequence[int], decay_rate: float = 0.1) -> None:
        self.peak = peak
        self.warmup_steps = warmup_steps
        self.decay_steps = tuple(decay_steps)
        self.decay_rate = decay_rate

    def __call__(self, step: Any) -> tf.Tensor:
        """Returns the float32 learning rate of a step, counted from 0."""
        step = tf.cast(step, tf.float32)
        warmup = _warmup(step, self.warmup_steps)
        drops = tf.add_n([tf.cast(step >= boundary, tf.float32) for boundary in self.decay_steps] or [tf.zeros([])])
        return self.peak * warmup * self.decay_rate**drops

    def get_config(self) -> dict[str, Any]:
        return {
            "peak": self.peak,
            "warmup_steps": self.warmup_steps,
            "decay_steps": self.decay_steps,
            "decay_rate": self.decay_rate,
        }


@keras.saving.register_keras_serializable(package="dsl_tf")
class WarmupCosineDecay(keras.optimizers.schedules.LearningRateSchedule):
    """A linear warm-up to the peak learning rate, then half a cosine to 0: peak·(1 + cos(π·t))/2 for t from 0 to 1.

    Args:
        peak: the learning rate after the warm-up.
        warmup_steps: steps of the warm-up; its step s has the rate peak·(s + 1)/warmup_steps.
        steps: steps of the training; step `steps` would have the rate 0.
    """

    def __init__(self, peak: float, warmup_steps: int, steps: int) -> None:
        self.peak = peak
        self.warmup_steps = warmup_steps
        self.steps = steps

    def __call__(self, step: Any) -> tf.Tensor:
        """Returns the float32 learning rate of a step, counted from 0."""
        step = tf.cast(step, tf.float32)
        t = tf.clip_by_value((step - self.warmup_steps) / max(self.steps - self.warmup_steps, 1), 0.0, 1.0)
        return self.peak * _warmup(step, self.warmup_steps) * (1 + tf.cos(math.pi * t)) / 2

    def get_config(self) -> dict[str, Any]:
        return {"peak": self.peak, "warmup_steps": self.warmup_steps, "steps": self.steps}


def _warmup(step: tf.Tensor, steps: int) -> tf.Tensor:
    """Returns the fraction of the peak learning rate in a step of the warm-up; 1 after it."""
    return tf.minimum((step + 1) / max(steps, 1), 1.0)


def current_learning_rate(optimizer: keras.optimizers.Optimizer) -> tf.Tensor:
    """Returns the present learning rate of an optimizer, float32; the largest one of a MultiOptimizer."""
    rates = [tf.cast(tf.convert_to_tensor(one.learning_rate), tf.float32) for one in single_optimizers(optimizer)]
    return rates[0] if len(rates) == 1 else tf.reduce_max(rates)


def single_optimizers(optimizer: keras.optimizers.Optimizer) -> list[keras.optimizers.Optimizer]:
    """Returns the optimizer within loss scaling, or the optimizer itself; all those of a MultiOptimizer."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return list(getattr(inner, "optimizers", [inner]))
