"""What float32 means."""

import contextlib
from collections.abc import Iterator

from dsl_tf import gpu


@contextlib.contextmanager
def true_float32() -> Iterator[None]:
    """Keeps TensorFlow from computing float32 matrix products in TF32 inside the context or decorated function.

    Recent GPUs do so by default, with 10 bits of mantissa: a difference of near distances would be rounding alone.
    """
    with gpu.tensor_float_32(False):
        yield
