"""What is set for GPUs; none is needed."""

import os

import pytest
import tensorflow as tf

from dsl_tf import gpu
from dsl_tf.evaluation.precision import true_float32


@pytest.mark.parametrize(
    ("precision", "before", "after"),
    [
        ("mixed_bfloat16", None, "1"),
        ("mixed_float16", None, "1"),
        ("mixed_float16", "0", "0"),
        ("float32", None, None),
        (None, None, None),
    ],
)
def test_normalisation_keeps_the_layout_of_half_precision_images_unless_the_user_says_otherwise(
    monkeypatch, precision, before, after
):
    # Set first, so that what `set_up` sets is removed after the test.
    monkeypatch.setenv(gpu.PERSISTENT_NORMALIZATION, "1")
    if before is None:
        monkeypatch.delenv(gpu.PERSISTENT_NORMALIZATION)
    else:
        monkeypatch.setenv(gpu.PERSISTENT_NORMALIZATION, before)
    gpu.set_up(precision)
    assert os.environ.get(gpu.PERSISTENT_NORMALIZATION) == after


@pytest.mark.parametrize("enabled", [True, False])
def test_tf32_is_set_inside_and_restored_after_an_error_too(enabled):
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    with pytest.raises(KeyError), gpu.tensor_float_32(enabled):
        assert tf.config.experimental.tensor_float_32_execution_enabled() == enabled
        with true_float32():
            assert not tf.config.experimental.tensor_float_32_execution_enabled()
        assert tf.config.experimental.tensor_float_32_execution_enabled() == enabled
        raise KeyError
    assert tf.config.experimental.tensor_float_32_execution_enabled() == before
