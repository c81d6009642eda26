"""From one value a sample to a loss: the base that all losses share."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dsl_tf.losses.replicas import sum_over_replicas


def as_labels(y: np.ndarray | tf.Tensor) -> tf.Tensor:
    """Returns int64 labels `[n]` from labels of shape `[n]` or `[n, 1]`, in any numeric dtype."""
    # Keras would convert labels to its float type, which merges classes above 2**24 (2**8 in bfloat16). TensorFlow's
    # own losses take no smaller integers than 32 bits, in which many data sets keep theirs.
    y = tf.cast(tf.convert_to_tensor(y), tf.int64)
    # A shape that is not known yet may be [n, 1] too, and would broadcast where [n] is meant.
    if y.shape.rank is None or (y.shape.rank == 2 and y.shape[1] in (None, 1)):
        y = tf.reshape(y, [-1])
    if y.shape.rank != 1:
        raise ValueError(f"Labels must be integers of shape [n] or [n, 1]. Received: shape {y.shape}")
    return y


def reduce_values(
    values: tf.Tensor,
    participates: tf.Tensor | None,
    sample_weight: tf.Tensor | None,
    reduction: str | None,
) -> tf.Tensor:
    """Reduces one term's values to a loss.

    Args:
        values: float `[n]`.
        participates: bool `[n]`, the samples that the mean is taken over; None for all.
        sample_weight: a scalar or `[n]`, or None.
        reduction: one of Keras's: `"sum_over_batch_size"`, `"mean"`, `"mean_with_sample_weight"`, `"sum"`,
            `"none"` or None.

    Returns:
        A scalar, or `[n]` for `"none"`, with 0 for the samples that do not take part.
    """
    participation = tf.ones_like(values) if participates is None else tf.cast(participates, values.dtype)
    weights = participation
    if sample_weight is not None:
        sample_weight = tf.cast(sample_weight, values.dtype)
        weights *= tf.squeeze(sample_weight, axis=1) if sample_weight.shape.rank == 2 else sample_weight
    weighted = tf.where(participation > 0, values, 0) * weights
    if reduction in ("none", None):
        return weighted
    total = tf.reduce_sum(weighted)
    if reduction == "sum":
        return total
    divisor = weights if reduction == "mean_with_sample_weight" else participation
    # Of all replicas: the optimizer adds up their gradients, and who takes part is not the same number in each.
    return tf.math.divide_no_nan(total, sum_over_replicas(tf.reduce_sum(divisor)))


class TermLoss(keras.losses.Loss):
    """A loss made of named terms, each the mean over the samples that take part in it.

    In a replica of a `tf.distribute` strategy it is this replica's share: the shares add up to the loss of the global
    batch, as Keras's `fit` and optimizers, which add up gradients, have it.

    Subclasses define `terms(y, predictions)`, which returns `{name: (values, participates)}` with float64
    `values [n]`, and bool `participates [n]` or None where every sample does. The result is float32, or float64
    where the loss was made with `dtype="float64"`.
    """

    def terms(self, y: tf.Tensor, predictions: tf.Tensor) -> dict[str, tuple[tf.Tensor, tf.Tensor | None]]:
        """Returns the values of each term, before reduction."""
        raise NotImplementedError

    def call(self, y_true: np.ndarray | tf.Tensor, y_pred: np.ndarray | tf.Tensor) -> tf.Tensor:
        """Returns the sum of the terms, one value a sample."""
        terms = self.terms(as_labels(y_true), tf.convert_to_tensor(y_pred))
        return tf.add_n([reduce_values(*term, None, "none") for term in terms.values()])

    def reduced_terms(
        self,
        y_true: np.ndarray | tf.Tensor,
        y_pred: np.ndarray | tf.Tensor,
        sample_weight: np.ndarray | tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        """Returns `{name: value}`, each term reduced as the loss's `reduction` says."""
        # Half precision would lose the differences that the losses are made of, so `dtype` can only widen.
        dtype = tf.float64 if self.dtype == "float64" else tf.float32
        terms = self.terms(as_labels(y_true), tf.convert_to_tensor(y_pred))
        return {
            name: tf.cast(reduce_values(*term, sample_weight, self.reduction), dtype) for name, term in terms.items()
        }

    def __call__(
        self,
        y_true: np.ndarray | tf.Tensor,
        y_pred: np.ndarray | tf.Tensor,
        sample_weight: np.ndarray | tf.Tensor | None = None,
    ) -> tf.Tensor:
        with tf.name_scope(self.name):
            return tf.add_n(list(self.reduced_terms(y_true, y_pred, sample_weight).values()))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "dtype": self.dtype}
