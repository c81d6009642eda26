"""From stored pixels to a backbone's input."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dsl_tf.data.decoding import centre_square
from dsl_tf.data.preprocessing import normalize, resize, resize_and_cut
from tests.images import photograph


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


@pytest.mark.parametrize("height, width", [(90, 120), (120, 90), (33, 71), (20, 20), (9, 50)])
def test_the_centre_is_what_pillow_cuts_out_of_the_resized_image(height, width):
    image = photograph(height, width)
    received = tf.function(resize_and_cut)(np.asarray(image)[None], (24, 24))
    assert received.dtype == tf.float32 and received.shape == (1, 24, 24, 3)
    # Pillow rounds twice, after each direction.
    np.testing.assert_allclose(received[0], centre_square(image, 24), atol=1.01)


@pytest.mark.parametrize("height, width, left, top", [(48, 80, 8, 0), (80, 48, 0, 8), (24, 40, 8, 0)])
def test_resizing_the_shorter_side_and_cutting_are_two_steps(height, width, left, top):
    image = photograph(height, width)
    scale = min(height, width) / 24
    whole = image.resize((round(width / scale), round(height / scale)), Image.Resampling.BILINEAR)
    # Pillow rounds after each direction, and which comes first depends on the box.
    np.testing.assert_allclose(centre_square(image, 24), whole.crop((left, top, left + 24, top + 24)), atol=1)


def test_other_shapes_than_squares_are_covered_and_cut():
    image = np.asarray(photograph(60, 60))
    # The whole height is needed, and 15 of 60 columns.
    expected = resize(image[None, :, 15:45], (24, 12))
    np.testing.assert_allclose(resize_and_cut(image[None], (24, 12))[:, :, 1:-1], expected[:, :, 1:-1], atol=1e-3)
