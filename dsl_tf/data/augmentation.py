"""Random augmentation of batches of images, vectorised and reproducible from a seed."""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

CROPS = ("pad", "resized", "none")


# The first row, the one after the last, and the number of rows of the full batch.
Rows = tuple[int | tf.Tensor, int | tf.Tensor, int | tf.Tensor]


def uniform(
    rows: Rows,
    shape: Sequence[int],
    seed: tf.Tensor,
    low: float | tf.Tensor = 0.0,
    high: float | tf.Tensor = 1.0,
    dtype: tf.DType = tf.float32,
    axis: int = 0,
) -> tf.Tensor:
    """Draws uniform numbers for a full batch and returns those of `rows`. `shape` omits the axis of images."""
    first, last, count = rows
    numbers = tf.random.stateless_uniform([*shape[:axis], count, *shape[axis:]], seed, low, high, dtype)
    return numbers[(slice(None),) * axis + (slice(first, last),)]


def _pad_crop(images: tf.Tensor, seed: tf.Tensor, rows: Rows) -> tf.Tensor:
    """Shifts each image by up to an eighth of its size, repeating the border."""
    height, width = tf.unstack(tf.shape(images)[1:3])
    row_seed, column_seed = tf.unstack(tf.random.split(seed, 2))

    def shifted(size: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        margin = size // 8
        offsets = uniform(rows, [1], seed, -margin, margin + 1, tf.int32)
        # Clipped indices repeat the border. Black padding would add edges to light images.
        return tf.clip_by_value(tf.range(size)[None, :] + offsets, 0, size - 1)

    images = tf.gather(images, shifted(height, row_seed), axis=1, batch_dims=1)
    return tf.gather(images, shifted(width, column_seed), axis=2, batch_dims=1)


def _resized_crop(images: tf.Tensor, seed: tf.Tensor, rows: Rows) -> tf.Tensor:
    """Cuts a random box of 8% to 100% of the area and aspect 3:4 to 4:3 out of each image, and resizes it back."""
    n, height, width = tf.unstack(tf.shape(images)[:3])
    area_seed, aspect_seed, top_seed, left_seed = tf.unstack(tf.random.split(seed, 4))
    area = uniform(rows, [], area_seed, 0.08, 1.0)
    log_aspect = uniform(rows, [], aspect_seed, math.log(3 / 4), math.log(4 / 3))
    box_height = tf.minimum(tf.sqrt(area * tf.exp(-log_aspect)), 1.0)
    box_width = tf.minimum(tf.sqrt(area * tf.exp(log_aspect)), 1.0)
    top = uniform(rows, [], top_seed) * (1 - box_height)
    left = uniform(rows, [], left_seed) * (1 - box_width)
    boxes = tf.stack([top, left, top + box_height, left + box_width], axis=1)
    resized = tf.image.crop_and_resize(images, boxes, tf.range(n), [height, width])
    return tf.cast(tf.round(resized), tf.uint8)


def _flip(images: tf.Tensor, seed: tf.Tensor, rows: Rows) -> tf.Tensor:
    flipped = uniform(rows, [1, 1, 1], seed) < 0.5
    return tf.where(flipped, tf.reverse(images, axis=[2]), images)


def _color_jitter(images: tf.Tensor, seed: tf.Tensor, rows: Rows, strength: float) -> tf.Tensor:
    """Scales brightness, contrast and saturation of each image by factors from 1 − strength to 1 + strength."""
    factors = uniform(rows, [3, 1, 1, 1], seed, 1 - strength, 1 + strength, axis=1)
    images = tf.cast(images, tf.float32) * factors[0]
    # Luma weights of ITU-R BT.601, the grey that image libraries convert to.
    grey = tf.reduce_sum(images * [0.299, 0.587, 0.114], axis=3, keepdims=True)
    mean = tf.reduce_mean(grey, axis=[1, 2], keepdims=True)
    images = mean + factors[1] * (images - mean)
    grey = mean + factors[1] * (grey - mean)
    images = grey + factors[2] * (images - grey)
    return tf.cast(tf.clip_by_value(tf.round(images), 0, 255), tf.uint8)


def augment(
    images: np.ndarray | tf.Tensor,
    seed: np.ndarray | tf.Tensor | Sequence[int],
    crop: str = "pad",
    flip: bool = True,
    color_jitter: float = 0.0,
    rows: tuple[int, int, int] | None = None,
) -> tf.Tensor:
    """Augments each image of a batch at random.

    Args:
        images: uint8 `[n, height, width, 3]`.
        seed: integers `[2]`; the same seed gives the same changes.
        crop: `"pad"` shifts by up to an eighth of the size, `"resized"` resizes a random box, `"none"` does nothing.
        flip: whether to mirror half of the images, on average, from left to right.
        color_jitter: 0 to 1, the largest relative change of brightness, contrast and saturation.
        rows: integers (first, last, count) if the images are rows `first` to `last` − 1 of a batch of `count` images;
            the result equals these rows of the augmented batch. None for a full batch.

    Returns:
        uint8 `[n, height, width, 3]`.

    Raises:
        ValueError: if the crop is unknown.
    """
    if crop not in CROPS:
        raise ValueError(f"`crop` must be one of {CROPS}. Received: {crop!r}")
    if rows is None:
        n = tf.shape(images)[0]
        rows = (0, n, n)
    crop_seed, flip_seed, color_seed = tf.unstack(tf.random.split(seed, 3))
    if crop == "pad":
        images = _pad_crop(images, crop_seed, rows)
    elif crop == "resized":
        images = _resized_crop(images, crop_seed, rows)
    if flip:
        images = _flip(images, flip_seed, rows)
    if color_jitter:
        images = _color_jitter(images, color_seed, rows, color_jitter)
    return images
