"""Random boxes cut out of encoded images of any size, without decoding the rest of a JPEG."""

import math

import tensorflow as tf

from dsl_tf.data.augmentation import Rows, uniform
from dsl_tf.data.encoding import decode
from dsl_tf.data.preprocessing import resize

# As torchvision's RandomResizedCrop, which the paper's reference [20] uses.
_AREA = (0.08, 1.0)
_LOG_ASPECT = (math.log(3 / 4), math.log(4 / 3))
_TRIES = 10


def crop_numbers(seed: tf.Tensor, rows: Rows) -> tf.Tensor:
    """Draws the random numbers that decide the boxes of a batch.

    Args:
        seed: integers `[2]`, that of `augment`, which draws other numbers from it.
        rows: (first, last, count): the numbers of rows `first` to `last` − 1 of a batch of `count` images are returned.

    Returns:
        float32 `[n, 10, 4]`, from 0 to 1: area, aspect, top and left for each of ten tries.
    """
    return uniform(rows, [_TRIES, 4], tf.random.split(seed, 3)[0])


def random_box(height: tf.Tensor, width: tf.Tensor, numbers: tf.Tensor) -> tf.Tensor:
    """Chooses a box of 8% to 100% of an image's area, with width : height from 3:4 to 4:3.

    It is the first of ten that fits into the image. If none does, it is the largest such box, in the centre.

    Args:
        height, width: integers, of the image.
        numbers: float32 `[10, 4]`, one row of `crop_numbers`.

    Returns:
        int32 `[4]`: top, left, height and width in pixels.
    """
    size = tf.cast(tf.stack([height, width]), tf.float32)
    area = tf.reduce_prod(size) * (_AREA[0] + numbers[:, 0] * (_AREA[1] - _AREA[0]))
    half_aspect = tf.exp((_LOG_ASPECT[0] + numbers[:, 1] * (_LOG_ASPECT[1] - _LOG_ASPECT[0])) / 2)
    boxes = tf.round(tf.sqrt(area)[:, None] * tf.stack([1 / half_aspect, half_aspect], axis=1))
    fits = tf.reduce_all((boxes > 0) & (boxes <= size), axis=1)
    chosen = tf.argmax(fits)
    corner = tf.floor(numbers[chosen, 2:] * (size - boxes[chosen] + 1))
    largest = tf.round(tf.minimum(size, size[::-1] * [4 / 3, 4 / 3]))
    centre = tf.floor((size - largest) / 2)
    box = tf.where(fits[chosen], tf.concat([corner, boxes[chosen]], 0), tf.concat([centre, largest], 0))
    return tf.cast(box, tf.int32)


def cut_out(encoded: tf.Tensor, numbers: tf.Tensor, image_size: int) -> tf.Tensor:
    """Cuts a random box out of an image and resizes it (bilinear, antialiased).

    Args:
        encoded: the bytes of a JPEG or PNG file, a string scalar.
        numbers: float32 `[10, 4]`, one row of `crop_numbers`.
        image_size: the side of the returned square, in pixels.

    Returns:
        uint8 `[image_size, image_size, 3]`.
    """

    def of_jpeg() -> tf.Tensor:
        shape = tf.io.extract_jpeg_shape(encoded)
        box = random_box(shape[0], shape[1], numbers)
        return tf.io.decode_and_crop_jpeg(encoded, box, channels=3, dct_method="INTEGER_ACCURATE", fancy_upscaling=True)

    def of_png() -> tf.Tensor:
        image = decode(encoded)
        shape = tf.shape(image)
        return tf.slice(image, *_corner_and_size(random_box(shape[0], shape[1], numbers)))

    box = tf.cond(tf.io.is_jpeg(encoded), of_jpeg, of_png)
    pixels = tf.round(resize(box[None], (image_size, image_size))[0])
    return tf.ensure_shape(tf.cast(pixels, tf.uint8), [image_size, image_size, 3])


def _corner_and_size(box: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.concat([box[:2], [0]], 0), tf.concat([box[2:], [3]], 0)
