"""Access to the global batch: within `tf.distribute.Strategy.run`, losses see the rows of all replicas."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def _several() -> tf.distribute.ReplicaContext | None:
    context = tf.distribute.get_replica_context()
    return context if context is not None and context.num_replicas_in_sync > 1 else None


def replicas() -> int:
    """Returns the number of replicas in the current context; 1 outside of a strategy."""
    context = _several()
    return 1 if context is None else context.num_replicas_in_sync


def sum_over_replicas(values: Any) -> Any:
    """Sums one or several tensors over all replicas; returns them unchanged outside of a strategy."""
    context = _several()
    return values if context is None else context.all_reduce(tf.distribute.ReduceOp.SUM, values)


def first_row(rows: tf.Tensor) -> tf.Tensor | int:
    """Returns the position of this replica's first row in the global batch, int32."""
    context = _several()
    if context is None:
        return 0
    # int64: on GPUs TensorFlow keeps smaller integers in host memory, where replicas cannot exchange them.
    counts = context.all_gather(tf.shape(rows, tf.int64)[:1], axis=0)
    return tf.cast(tf.reduce_sum(counts[: context.replica_id_in_sync_group]), tf.int32)


def all_rows(rows: tf.Tensor, first: tf.Tensor | int) -> tf.Tensor:
    """Joins the rows of all replicas to the global batch, in the order of the replicas.

    Args:
        rows: the rows of this replica, `[m, …]`; m may differ between replicas.
        first: the position of the first one in the global batch, from `first_row`.

    Returns:
        `[n, …]`. The gradient of each row is the sum over all replicas, returned to the replica that owns the row.
    """
    context = _several()
    if context is None:
        return rows

    # TensorFlow's gradient of a gather would exchange the numbers of rows again.
    @tf.custom_gradient
    def gathered(rows: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return context.all_reduce(tf.distribute.ReduceOp.SUM, upstream)[first : first + tf.shape(rows)[0]]

        return context.all_gather(rows, axis=0), gradient

    return gathered(rows)
