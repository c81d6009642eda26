"""What float32 means."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf


@contextlib.contextmanager
def true_float32() -> Iterator[None]:
    """Keeps TensorFlow from computing float32 matrix products in TF32 inside the context or decorated function.

    Recent GPUs do so by default, with 10 bits of mantissa: a difference of near distances would be rounding alone.
    """
    enabled = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(enabled)
