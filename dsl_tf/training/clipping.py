"""Clipping of the gradient that several replicas share."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from dsl_tf.losses.replicas import replicas, sum_over_replicas


def clips(optimizer: keras.optimizers.Optimizer) -> bool:
    """Returns whether an optimizer clips gradients."""
    return any((optimizer.clipnorm, optimizer.global_clipnorm, optimizer.clipvalue))


def clipped_shares(
    gradients: Sequence[tf.Tensor | None], optimizer: keras.optimizers.Optimizer, scale: float | tf.Tensor
) -> list[tf.Tensor | None]:
    """Clips the sum of the replicas' gradients as an optimizer would on one device.

    Keras clips the gradients of each replica before it sums them. The equal shares that this returns are below its
    limits, and their sum is the clipped gradient.

    Args:
        gradients: those of this replica; None for weights without one.
        optimizer: a Keras optimizer, without loss scaling.
        scale: the factor of the loss by which the gradients are too large.
    """
    sums = sum_over_replicas([tf.convert_to_tensor(gradient) for gradient in gradients if gradient is not None])
    clipped = iter(_clipped([gradient / scale for gradient in sums], optimizer))
    return [None if gradient is None else next(clipped) * (scale / replicas()) for gradient in gradients]


def _clipped(gradients: list[tf.Tensor], optimizer: keras.optimizers.Optimizer) -> list[tf.Tensor]:
    if optimizer.clipnorm:
        return [tf.clip_by_norm(gradient, optimizer.clipnorm) for gradient in gradients]
    if optimizer.global_clipnorm:
        return tf.clip_by_global_norm(gradients, optimizer.global_clipnorm)[0]
    return [tf.clip_by_value(gradient, -optimizer.clipvalue, optimizer.clipvalue) for gradient in gradients]
