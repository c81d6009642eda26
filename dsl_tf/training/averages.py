"""The moving average of the weights that an optimizer with Keras's `use_ema` keeps beside the weights it trains."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from dsl_tf.training.construction import Parts
from dsl_tf.training.optimizer import single_optimizers


def _is_averaged(parts: Parts) -> bool:
    return any(optimizer.use_ema for optimizer in single_optimizers(parts.optimizer))


def take_averages(parts: Parts, strategy: tf.distribute.Strategy) -> None:
    """Replaces the trained weights by their moving average, if there is one."""
    # Before the first step there is no average.
    if _is_averaged(parts) and int(tf.convert_to_tensor(parts.optimizer.iterations)):
        with strategy.scope():
            parts.optimizer.finalize_variable_values(parts.trainable_weights)


@contextlib.contextmanager
def averaged(parts: Parts, strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Replaces the trained weights by their moving average, if there is one, until the end of the block."""
    if not _is_averaged(parts):
        yield
        return
    weights = parts.trainable_weights
    trained = [tf.identity(tf.convert_to_tensor(weight)) for weight in weights]
    take_averages(parts, strategy)
    try:
        yield
    finally:
        with strategy.scope():
            for weight, value in zip(weights, trained, strict=True):
                weight.assign(value)
