"""Batch normalisation as one fused operation."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="dsl_tf")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` of images `[n, h, w, c]`, computed by TensorFlow's fused kernel.

    Keras 3 normalises half-precision activations in float32 by several elementwise operations; the fused kernel reads
    them once and keeps only the statistics in float32. Arguments, weights, names and results are those of the Keras
    layer. With `synchronized=True`, the statistics are computed over the images of all replicas of a
    `tf.distribute` strategy.
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None) -> tf.Tensor:
        """Returns normalised activations in the layer's compute dtype."""
        images = inputs.shape.rank == 4 and self.axis in (-1, 3) and mask is None
        # The kernel keeps statistics in float32 for any dtype of activations, and does not renormalise.
        if not images or self.variable_dtype != "float32" or getattr(self, "renorm", False):
            return super().call(inputs, training=training, mask=mask)
        inputs = tf.cast(inputs, self.compute_dtype)
        ones, zeros = tf.ones_like(self.moving_variance), tf.zeros_like(self.moving_mean)
        arguments = {
            "x": inputs,
            "scale": tf.cast(self.gamma, tf.float32) if self.scale else ones,
            "offset": tf.cast(self.beta, tf.float32) if self.center else zeros,
            "epsilon": self.epsilon,
        }
        if not (training and self.trainable):
            return tf.raw_ops.FusedBatchNormV3(
                **arguments, mean=self.moving_mean, variance=self.moving_variance, is_training=False
            ).y
        replica = tf.distribute.get_replica_context()
        if self.synchronized and replica is not None and replica.num_replicas_in_sync > 1:
            outputs, mean, variance = _synchronized(replica, **arguments)
            for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
                moving.assign(moving * self.momentum + batch * (1 - self.momentum))
            return outputs
        # An averaging factor of 1 returns the statistics of the batch and ignores `mean` and `variance`.
        outputs = tf.raw_ops.FusedBatchNormV3(
            **arguments, mean=zeros, variance=zeros, exponential_avg_factor=1.0, is_training=True
        )
        # The kernel returns the unbiased variance; Keras's moving variance averages the biased one.
        count = tf.cast(tf.size(inputs) // tf.shape(inputs)[-1], tf.float32)
        variance = outputs.batch_variance * ((count - 1) / count)
        for moving, batch in ((self.moving_mean, outputs.batch_mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + batch * (1 - self.momentum))
        return outputs.y


def _synchronized(
    replica: tf.distribute.ReplicaContext, x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor, epsilon: float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Normalises a replica's images `[n, h, w, c]` by the statistics of all replicas' images.

    Returns:
        The normalised images, and the mean and biased variance of all images, float32 `[c]`.
    """

    def over_replicas(*vectors: tf.Tensor) -> list[tf.Tensor]:
        return tf.split(replica.all_reduce(tf.distribute.ReduceOp.SUM, tf.concat(vectors, axis=0)), len(vectors))

    @tf.custom_gradient
    def normalized(x: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor) -> tuple[tuple[tf.Tensor, ...], Callable]:
        # float64 represents the squares of float32 moments exactly, so one exchange suffices: the difference of sums
        # below loses no precision.
        moments = [tf.cast(moment, tf.float64) for moment in tf.nn.moments(tf.cast(x, tf.float32), [0, 1, 2])]
        count = tf.fill(tf.shape(moments[0]), tf.cast(tf.size(x) // tf.shape(x)[-1], tf.float64))
        sums = over_replicas(count, count * moments[0], count * (moments[1] + moments[0] ** 2))
        mean = sums[1] / sums[0]
        variance = tf.cast(tf.maximum(sums[2] / sums[0] - mean**2, 0), tf.float32)
        mean, total = tf.cast(mean, tf.float32), tf.cast(sums[0], tf.float32)
        outputs = tf.raw_ops.FusedBatchNormV3(
            x=x, scale=scale, offset=offset, mean=mean, variance=variance, epsilon=epsilon, is_training=False
        ).y

        def gradient(upstream: tf.Tensor, *_: Any) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            upstream = tf.cast(upstream, tf.float32)
            deviation = tf.math.rsqrt(variance + epsilon)
            standard = (tf.cast(x, tf.float32) - mean) * deviation
            to_scale, to_offset = tf.reduce_sum(upstream * standard, [0, 1, 2]), tf.reduce_sum(upstream, [0, 1, 2])
            through_scale, through_offset = over_replicas(to_scale, to_offset)
            to_inputs = upstream - (through_offset + standard * through_scale) / total
            # The optimizer sums the gradients of the weights over replicas.
            return tf.cast(scale * deviation * to_inputs, x.dtype), to_scale, to_offset

        return (outputs, mean, variance), gradient

    return normalized(x, scale, offset)


def with_fused_normalization(model: keras.Model, synchronized: bool = False) -> keras.Model:
    """Copies a model with fused batch normalisation, under the current `tf.distribute` strategy.

    Args:
        model: a functional or sequential `keras.Model`, which may contain other models.
        synchronized: whether the copy computes its statistics over the images of all replicas.

    Returns:
        A model with the same layers, names and weights.

    Raises:
        ValueError, TypeError, NotImplementedError: if Keras cannot copy the model, or a layer that is no model contains
            batch normalisation to synchronise.
    """

    def fused(layer: keras.layers.Layer) -> keras.layers.Layer:
        if isinstance(layer, keras.Model) and _normalizes(layer):
            return with_fused_normalization(layer, synchronized)
        if not isinstance(layer, keras.layers.BatchNormalization):
            if synchronized and _normalizes(layer):
                raise ValueError(f"Batch normalisation within the layer {layer.name} cannot be synchronised")
            return layer.__class__.from_config(layer.get_config())
        standard = type(layer) is keras.layers.BatchNormalization
        kind = FusedBatchNormalization if standard else layer.__class__
        return kind.from_config({**layer.get_config(), "synchronized": synchronized})

    copy = keras.models.clone_model(model, clone_function=fused)
    copy.set_weights(model.get_weights())
    return copy


def _normalizes(layer: keras.layers.Layer) -> bool:
    """Returns whether a layer contains batch normalisation, at any depth."""
    return any(isinstance(inner, keras.layers.BatchNormalization) for inner in layer._flatten_layers())
