"""What a process decides about its GPUs: memory, the layout of batch normalisation, TF32."""

import contextlib
import os
from collections.abc import Iterator

import tensorflow as tf
from absl import logging

# TensorFlow reads it once, before the first batch normalisation.
PERSISTENT_NORMALIZATION = "TF_USE_CUDNN_BATCHNORM_SPATIAL_PERSISTENT"
_HALF_PRECISIONS = ("mixed_bfloat16", "mixed_float16")


def present() -> bool:
    """Returns whether TensorFlow sees a GPU; initialises none."""
    return bool(tf.config.list_physical_devices("GPU"))


def set_up(precision: str | None = None) -> None:
    """Sets what must be set before TensorFlow initialises its GPUs; the commands call it first.

    GPU memory is taken as it is needed, so that several processes can share a GPU. In half precision, batch
    normalisation is computed in the layout of the images: without it, TensorFlow transposes them to NCHW and back
    around cuDNN's kernel in each layer and direction (the condition is in its fused_batch_norm_op.cc: half precision,
    FusedBatchNormV3 and this variable). In float32 the variable would change the kernel but not the layout, so it is
    left alone. A user who has set the variable keeps the value.

    Args:
        precision: the Keras dtype policy of the training, or None.
    """
    if precision in _HALF_PRECISIONS:
        os.environ.setdefault(PERSISTENT_NORMALIZATION, "1")
    for device in tf.config.list_physical_devices("GPU"):
        try:
            tf.config.experimental.set_memory_growth(device, True)
        except RuntimeError:
            logging.warning("GPU memory is taken at once: TensorFlow has initialised %s already.", device.name)


@contextlib.contextmanager
def tensor_float_32(enabled: bool) -> Iterator[None]:
    """Sets whether float32 products and convolutions may be computed in TF32, with 10 bits of mantissa, by GPUs.

    TensorFlow's own default is on. It has no effect on CPUs, on GPUs before Ampere, and on other dtypes.
    """
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(enabled)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)
