"""Metric losses on the features of a batch, equations (3) and (4).

Both compare squared Euclidean distances of raw features and exclude the sample itself. They compute in float64:
distances are differences of large numbers, which TF32 or half precision would lose, and for one batch the cost is
negligible next to the backbone. Under a `tf.distribute` strategy, each replica computes the losses of its own rows and
compares them with the rows of all replicas.
"""

import keras
import tensorflow as tf

from dsl_tf.losses.reduction import Term, TermLoss
from dsl_tf.losses.replicas import all_rows, first_row

# Replaces −∞ in a log-sum-exp: its exp() is 0, and unlike −∞ it gives no NaN in the gradient of an empty sum.
_EXCLUDED = -1e300


def squared_distances(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Returns the squared Euclidean distances `[n, m]` between rows of `a [n, d]` and of `b [m, d]`, all float64."""
    # |a|² + |b|² − 2ab needs one matrix product and no [n, m, d] array. Centring avoids cancellation far from 0.
    centre = tf.stop_gradient(tf.reduce_mean(b, axis=0))
    a, b = a - centre, b - centre
    squares = tf.reduce_sum(a**2, axis=1)[:, None] + tf.reduce_sum(b**2, axis=1)[None, :]
    return tf.maximum(squares - 2 * tf.matmul(a, b, transpose_b=True), 0)


def _log_sum_exp(scores: tf.Tensor, included: tf.Tensor) -> tf.Tensor:
    """log Σ exp(score) over the included columns of each row."""
    return tf.reduce_logsumexp(tf.where(included, scores, _EXCLUDED), axis=1)


def _itself(rows: tf.Tensor, columns: tf.Tensor, first: tf.Tensor | int) -> tf.Tensor:
    """Whether a column is the row's own sample, bool `[m, n]`; the rows are the columns from `first` on."""
    return tf.range(tf.shape(rows)[0])[:, None] + first == tf.range(tf.shape(columns)[0])[None, :]


def nca(y: tf.Tensor, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes −log(Σ_{j≠i, y_j=y_i} exp(−‖x_i − x_j‖²) / Σ_{j≠i} exp(−‖x_i − x_j‖²)), equation (4).

    Args:
        y: labels, int64 `[n]`.
        x: features `[n, d]`, any float dtype.

    Returns:
        The values, float64 `[n]`, and whether each sample takes part, bool `[n]`: it has a same-class partner.
    """
    x = tf.cast(x, tf.float64)
    first = first_row(x)
    columns, labels = all_rows(x, first), all_rows(y, first)
    scores = -squared_distances(x, columns)
    others = ~_itself(x, columns, first)
    partners = others & (y[:, None] == labels[None, :])
    participates = tf.reduce_any(partners, axis=1)
    # Replaces the empty sum of a sample without a partner: masking it afterwards would give the gradient ∞·0.
    partners_or_others = tf.where(participates[:, None], partners, others)
    return _log_sum_exp(scores, others) - _log_sum_exp(scores, partners_or_others), participates


def prototypical(y: tf.Tensor, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Computes −log(exp(−‖x_i − μ_{y_i}‖²) / Σ_c exp(−‖x_i − μ_c‖²)) with μ_c the mean of class c without x_i, (3).

    Args:
        y: labels, int64 `[n]`.
        x: features `[n, d]`, any float dtype.

    Returns:
        The values, float64 `[n]`, and whether each sample takes part, bool `[n]`: it has a same-class partner.
    """
    x = tf.cast(x, tf.float64)
    first = first_row(x)
    same = y[:, None] == all_rows(y, first)[None, :]
    counts = tf.reduce_sum(tf.cast(same, x.dtype), axis=1)
    participates = counts > 1
    # Row j is the mean of sample j's class. A list of distinct classes would have a length unknown to XLA.
    prototypes = all_rows(tf.matmul(tf.cast(same, x.dtype), all_rows(x, first)) / counts[:, None], first)
    distances = squared_distances(x, prototypes)
    # Without sample i, the mean of its class is n/(n − 1) times as far away.
    leave_one_out = tf.where(participates, counts / tf.maximum(counts - 1, 1), 1) ** 2
    distances = tf.where(same, leave_one_out[:, None] * distances, distances)
    # Each class appears once per member, so each member counts 1/n_c.
    log_denominator = tf.reduce_logsumexp(-distances - tf.math.log(all_rows(counts, first))[None, :], axis=1)
    own = tf.reduce_sum(tf.where(_itself(x, prototypes, first), distances, 0), axis=1)
    return own + log_denominator, participates


@keras.saving.register_keras_serializable(package="dsl_tf")
class NCALoss(TermLoss):
    """Neighbourhood component analysis loss (NCA), equation (4) of the paper; `nca` has the formula.

    Call with integer labels `[n]` and features `[n, d]` of any float dtype. A sample with no same-class partner in
    the batch takes no part in the mean.
    """

    def terms(self, y: tf.Tensor, predictions: tf.Tensor) -> dict[str, Term]:
        return {"metric": nca(y, predictions)}


@keras.saving.register_keras_serializable(package="dsl_tf")
class PrototypicalLoss(TermLoss):
    """Prototypical loss (Proto) with leave-one-out class means, equation (3); `prototypical` has the formula.

    Call with integer labels `[n]` and features `[n, d]` of any float dtype. The classes are those in the batch. A
    sample with no same-class partner takes no part in the mean; its class is still a prototype for the others.
    """

    def terms(self, y: tf.Tensor, predictions: tf.Tensor) -> dict[str, Term]:
        return {"metric": prototypical(y, predictions)}
