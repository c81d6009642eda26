"""One optimisation step, and the running means of what it measures."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from dsl_tf import distribution
from dsl_tf.data.preprocessing import normalize
from dsl_tf.losses import MetricLoss, SumLoss
from dsl_tf.losses.replicas import sum_over_replicas
from dsl_tf.training.clipping import clipped_shares, clips
from dsl_tf.training.construction import Parts
from dsl_tf.training.optimizer import current_learning_rate, single_optimizers

# The scale starts at 2^15. Only 29 overflowing steps in a row get below this; a healthy run has one in 2,000.
_SMALLEST_LOSS_SCALE = 2.0**-13


class BrokenStep(NamedTuple):
    """The first step whose loss or gradients were not finite.

    Args:
        steps_ago: the number of steps after it.
        learning_rate: its learning rate.
        terms: the names of the loss terms that were not finite; `loss` if only a regulariser of the backbone was not;
            `gradients` if the loss was finite.
    """

    steps_ago: int
    learning_rate: float
    terms: tuple[str, ...]


def _all_finite(gradients: Sequence[tf.Tensor | None]) -> tf.Tensor:
    known = [gradient for gradient in gradients if gradient is not None]
    return tf.reduce_all([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in known])


def _each(gradients: Sequence[tf.Tensor | None], function: Callable[[tf.Tensor], tf.Tensor]) -> list[tf.Tensor | None]:
    return [None if gradient is None else function(gradient) for gradient in gradients]


class TrainingStep:
    """Updates the weights on a batch, and averages loss terms and accuracy on the device.

    A loss or gradients that are not finite are recorded and do not reach the weights. In float16, such
    gradients only lower the optimizer's loss scale, unless this happens too often in a row.

    Args:
        parts: the `Parts` of the run.
        jit_compile: whether XLA compiles the backbone. Losses and optimizer are not compiled.
        strategy: the `tf.distribute.Strategy` under which the parts were built; None for the current one.

    Attributes:
        strategy: the strategy.
        names: the names of the measured values.
        sums: a variable `[len(names)]`, the sums since the last reset.
        steps: a variable, the number of steps since the last reset.
    """

    def __init__(self, parts: Parts, jit_compile: bool = False, strategy: tf.distribute.Strategy | None = None) -> None:
        self._parts = parts
        self._backbone = tf.function(parts.backbone, jit_compile=True) if jit_compile else parts.backbone
        self.strategy = tf.distribute.get_strategy() if strategy is None else strategy
        # Computed before the step is traced, because it is not available within a replica. It is cached.
        distribution.local_replicas(self.strategy)
        self.names = ["loss"]
        # The terms of other losses are known only once they are computed: their sum alone is measured.
        if isinstance(parts.loss, SumLoss):
            self.names += ["classification_loss"]
            self.names += [] if parts.loss.metric is None else ["metric_loss"]
            self.names += ["accuracy"]
        elif isinstance(parts.loss, MetricLoss):
            self.names += ["metric_loss"]
        # In this order: if one is not finite, neither are the next ones.
        self._checked = [name for name in self.names if name.endswith("_loss")] + ["loss", "gradients"]
        with self.strategy.scope():
            self.sums = tf.Variable(tf.zeros(len(self.names)), trainable=False)
            self.steps = tf.Variable(0.0, trainable=False)
            # Of the first broken step: which since the last reset, its learning rate, and 1 for each that was not
            # finite.
            self._broken = tf.Variable(tf.zeros(2 + len(self._checked)), trainable=False)

    # Without AutoGraph, which would translate every function that a step calls, for some seconds of each start.
    @tf.function(autograph=False)
    def __call__(self, images: Any, labels: Any, batch_size: Any = None, flag: Any = 0) -> tf.Tensor:
        """Trains on a batch.

        Args:
            images: uint8 `[n, height, width, 3]`, this process's part of the batch.
            labels: integers `[n]`.
            batch_size: the number of images in all processes; None for n.
            flag: an integer to sum over all replicas.

        Returns:
            The sum of the flags of all replicas, an int32 scalar.
        """
        count = tf.shape(images)[0] if batch_size is None else batch_size
        flags = self.strategy.run(self._train, args=(images, labels, count, flag))
        return self.strategy.experimental_local_results(flags)[0]

    def _train(self, images: tf.Tensor, labels: tf.Tensor, count: Any, flag: Any) -> Any:
        """Computes one replica's share of terms, loss and gradients; the shares add up to those of the batch."""
        parts, replicas = self._parts, self.strategy.num_replicas_in_sync
        images, labels = distribution.replica_rows(self.strategy, [images, labels], count)
        with tf.GradientTape() as tape:
            features = self._backbone(normalize(images), training=True)
            terms = parts.loss.reduced_terms(labels, features)
            # The last ones are regularisers, which a user's backbone may have.
            regularisers = [tf.cast(term, tf.float32) / replicas for term in parts.backbone.losses]
            loss = tf.add_n([*terms.values(), *regularisers])
            scaled_loss = parts.optimizer.scale_loss(loss)
        values = {"loss": loss, **{f"{name}_loss": term for name, term in terms.items()}}
        if "accuracy" in self.names:
            predicted = tf.argmax(parts.loss.logits(features), axis=1)
            # int64, because GPUs compare smaller integers on the host.
            right = tf.reduce_sum(tf.cast(predicted == tf.cast(labels, predicted.dtype), tf.float32))
            values["accuracy"] = right / tf.cast(count, tf.float32)
        weights = parts.trainable_weights
        gradients = tape.gradient(scaled_loss, weights)
        if replicas == 1:
            gradients = self._without_broken(values, gradients)
        else:
            numbers = [*(values[name] for name in self.names), 1 - tf.cast(_all_finite(gradients), tf.float32)]
            *totals, broken, flag = tf.unstack(sum_over_replicas(tf.stack([*numbers, tf.cast(flag, tf.float32)])))
            values, flag = dict(zip(self.names, totals, strict=True)), tf.cast(flag, tf.int32)
            gradients = self._without_broken(values, gradients, broken == 0)
            gradients = self._clipped(gradients)
        # The logged values must be computed from the weights before the update.
        with tf.control_dependencies(list(values.values())):
            parts.optimizer.apply(gradients, weights)
        # Summed on the device: reading them in every step would make the device wait for Python.
        self.sums.assign_add(tf.stack([values[name] for name in self.names]))
        self.steps.assign_add(1.0)
        return flag

    def _without_broken(
        self,
        values: dict[str, tf.Tensor],
        gradients: Sequence[tf.Tensor | None],
        finite_everywhere: tf.Tensor | None = None,
    ) -> Sequence[tf.Tensor | None]:
        """Records values or gradients that are not finite, and in this case returns gradients without effect.

        Args:
            values: the measured values of all replicas.
            gradients: the gradients of this replica.
            finite_everywhere: whether the gradients of all replicas are finite; None if there is one replica.
        """
        optimizer = self._parts.optimizer
        scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        finite = [tf.math.is_finite(values[name]) for name in self._checked[:-1]]
        if scaled:
            finite.append(tf.convert_to_tensor(optimizer.dynamic_scale) >= _SMALLEST_LOSS_SCALE)
        else:
            finite.append(_all_finite(gradients) if finite_everywhere is None else finite_everywhere)
        whole = tf.reduce_all(finite)
        broken = tf.concat(
            [[self.steps + 1, current_learning_rate(optimizer)], 1 - tf.cast(tf.stack(finite), tf.float32)], 0
        )
        self._broken.assign(tf.where(whole | (self._broken[0] > 0), self._broken, broken))
        if not scaled:
            # Not `tf.cond`, which would make a GPU wait, and which `tf.distribute` does not allow around an
            # update.
            return _each(gradients, lambda gradient: tf.math.multiply_no_nan(gradient, tf.cast(whole, gradient.dtype)))
        if finite_everywhere is None:
            return gradients
        # Loss scaling checks the gradients of one replica only, and all replicas must skip the same steps.
        return _each(gradients, lambda gradient: tf.where(finite_everywhere, gradient, tf.cast(np.nan, gradient.dtype)))

    def _clipped(self, gradients: Sequence[tf.Tensor | None]) -> Sequence[tf.Tensor | None]:
        """Returns a replica's share of the clipped sum of all gradients, if the optimizer clips."""
        optimizer = self._parts.optimizer
        # `Given.check` refuses several that clip.
        single = single_optimizers(optimizer)[0]
        if not clips(single):
            return gradients
        return clipped_shares(gradients, single, optimizer.scale_loss(tf.ones([])))

    def broken(self) -> BrokenStep | None:
        """Returns the first `BrokenStep`, or None."""
        step, learning_rate, *flags = self._broken.numpy().tolist()
        if not step:
            return None
        names = [name for name, flag in zip(self._checked, flags, strict=True) if flag]
        terms = [name for name in names if name.endswith("_loss")] or names[:1]
        return BrokenStep(int(self.steps.numpy()) - int(step), learning_rate, tuple(terms))

    def means(self) -> dict[str, float]:
        """Returns `{name: mean}` over the steps since the last reset."""
        return dict(zip(self.names, (self.sums / tf.maximum(self.steps, 1.0)).numpy().tolist(), strict=True))

    def reset(self) -> None:
        """Resets the means."""
        self.sums.assign(tf.zeros_like(self.sums))
        self.steps.assign(0.0)
