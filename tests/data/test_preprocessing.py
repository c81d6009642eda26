"""From stored pixels to a backbone's input."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dsl_tf.data.preprocessing import normalize, resize


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "float16", "float32", "float64", "bfloat16"])
def test_pixels_become_minus_one_to_one(dtype):
    images = tf.cast(tf.reshape(tf.range(256), [1, 16, 16, 1]), dtype)
    expected = tf.cast(images, tf.float64).numpy() * 2 / 255 - 1
    normalised = normalize(images)
    assert normalised.dtype == tf.float32
    np.testing.assert_allclose(normalised, expected, atol=1e-6)
    assert normalised.numpy().min() == -1 and normalised.numpy().max() == 1


def test_an_array_may_be_normalised():
    normalised = normalize(np.array([[0, 51, 255]], np.uint8))
    np.testing.assert_allclose(normalised, [[-1, -0.6, 1]], atol=1e-6)


@pytest.mark.parametrize(
    "height, width, size", [(20, 20, (8, 8)), (9, 30, (12, 7)), (8, 8, (20, 20)), (33, 17, (5, 40))]
)
def test_resizing_is_bilinear_and_antialiased(height, width, size):
    images = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), np.uint8)
    resized = resize(images, size)
    assert resized.dtype == tf.float32 and resized.shape == (2, *size, 3)
    for image, received in zip(images, resized.numpy(), strict=True):
        for channel in range(3):
            picture = Image.fromarray(image[..., channel].astype(np.float32))
            expected = np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR))
            np.testing.assert_allclose(received[..., channel], expected, atol=0.01)


def test_resizing_to_the_same_size_changes_nothing():
    images = np.random.default_rng(0).integers(0, 256, (2, 6, 9, 3), np.uint8)
    np.testing.assert_allclose(resize(images, (6, 9)), images, atol=1e-4)


def test_resizing_images_of_unknown_size():
    images = np.random.default_rng(0).integers(0, 256, (2, 30, 20, 3), np.uint8)
    graph = tf.function(
        lambda images: resize(images, (8, 12)), input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)]
    )
    np.testing.assert_allclose(graph(images), resize(images, (8, 12)), atol=1e-3)
