"""The base class of all losses: reduces one value per sample to a loss."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dsl_tf.losses.arguments import as_labels, as_predictions
from dsl_tf.losses.replicas import replicas, sum_over_replicas

# One value per sample `[n]` or a scalar, float64; and which samples take part, bool `[n]`, or None for all.
Term = tuple[tf.Tensor, tf.Tensor | None]


def reduce_values(
    values: tf.Tensor,
    participates: tf.Tensor | None,
    sample_weight: tf.Tensor | None,
    reduction: str | None,
) -> tf.Tensor:
    """Reduces one term's values to a loss.

    Args:
        values: float `[n]`, or a scalar, which stays as it is whatever the reduction.
        participates: bool `[n]`, the samples that the mean is taken over; None for all.
        sample_weight: a scalar, `[n]` or `[n, 1]`, or None.
        reduction: one of Keras's: `"sum_over_batch_size"`, `"mean"`, `"mean_with_sample_weight"`, `"sum"`,
            `"none"` or None.

    Returns:
        A scalar, or `[n]` for `"none"`, with 0 for the samples that do not take part.
    """
    if values.shape.rank == 0:
        return _reduced_scalar(values, sample_weight)
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
    # Counted over all replicas: their gradients are summed, and the number of samples that take part differs.
    return tf.math.divide_no_nan(total, sum_over_replicas(tf.reduce_sum(divisor)))


def _nan_if_wrong(y: tf.Tensor, values: tf.Tensor, participates: tf.Tensor | None) -> Term:
    """Makes the loss NaN if a label is no class: a graph cannot raise an error without waiting for the device."""
    wrong = y < 0
    if values.shape.rank == 0:
        return tf.where(tf.reduce_any(wrong), tf.constant(np.nan, values.dtype), values), participates
    values = tf.where(wrong, tf.constant(np.nan, values.dtype), values)
    return values, None if participates is None else participates | wrong


def _reduced_scalar(value: tf.Tensor, sample_weight: Any) -> tf.Tensor:
    """Returns a loss that its function has already reduced, or this replica's share of it."""
    if sample_weight is not None and tf.convert_to_tensor(sample_weight).shape.rank != 0:
        raise ValueError(
            "`sample_weight` needs a loss of one value per sample. Received: a loss whose function returns a scalar"
        )
    weight = 1 if sample_weight is None else tf.cast(sample_weight, value.dtype)
    return value * weight / replicas()


class TermLoss(keras.losses.Loss):
    """A loss made of named terms, each the mean over the samples that take part.

    In a replica of a `tf.distribute` strategy, the value is this replica's share: the shares add up to the loss of the
    global batch, because Keras's `fit` and optimizers add up gradients.

    Subclasses define `terms(y, predictions)`, which returns `{name: (values, participates)}` with float64
    `values [n]`, and bool `participates [n]` or None if every sample does. The result is float32, or float64 if the
    loss was made with `dtype="float64"`.
    """

    # What `y_pred` is, for error messages.
    _meaning = "features [n, d]"

    def terms(self, y: tf.Tensor, predictions: tf.Tensor) -> dict[str, Term]:
        """Returns the values of each term, before reduction."""
        raise NotImplementedError

    def _checked_terms(self, y_true: Any, y_pred: Any) -> dict[str, Term]:
        """Returns the terms of checked arguments; those of samples whose label is no class are NaN."""
        y, predictions = as_labels(y_true), as_predictions(y_pred, self._meaning)
        if None not in (y.shape[0], predictions.shape[0]) and y.shape[0] != predictions.shape[0]:
            raise ValueError(
                f"`y_true` and `y_pred` must have the same number of samples. Received: {y.shape[0]} labels "
                f"and {self._meaning} of shape {predictions.shape}"
            )
        terms = self.terms(y, predictions)
        return {name: _nan_if_wrong(y, *term) for name, term in terms.items()}

    def call(self, y_true: np.ndarray | tf.Tensor, y_pred: np.ndarray | tf.Tensor) -> tf.Tensor:
        """Returns the sum of the terms, one value per sample."""
        terms = self._checked_terms(y_true, y_pred)
        rows = tf.zeros([tf.shape(y_pred)[0]], tf.float64)
        return tf.add_n([rows + reduce_values(*term, None, "none") for term in terms.values()])

    def reduced_terms(
        self,
        y_true: np.ndarray | tf.Tensor,
        y_pred: np.ndarray | tf.Tensor,
        sample_weight: np.ndarray | tf.Tensor | None = None,
    ) -> dict[str, tf.Tensor]:
        """Returns `{name: value}`, each term reduced as the loss's `reduction` says."""
        # Half precision would lose the small differences between losses, so `dtype` can only widen.
        dtype = tf.float64 if self.dtype == "float64" else tf.float32
        terms = self._checked_terms(y_true, y_pred)
        reduced = {name: reduce_values(*term, sample_weight, self.reduction) for name, term in terms.items()}
        if self.reduction in ("none", None):
            # A scalar counts for each sample.
            rows = tf.zeros([tf.shape(y_pred)[0]], tf.float64)
            reduced = {name: rows + value for name, value in reduced.items()}
        return {name: tf.cast(value, dtype) for name, value in reduced.items()}

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
