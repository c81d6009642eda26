"""How images are stored: as the bytes they came in where these give the right pixels, as PNG otherwise."""

import io
import os

import numpy as np
import tensorflow as tf
from PIL import Image

from dsl_tf.data.decoding import UnreadableImageError, read_image

_EXIF_ORIENTATION = 0x0112


def decode(encoded: str | bytes | tf.Tensor) -> tf.Tensor:
    """Decodes what `encode_image` returned, JPEG or PNG, to uint8 `[height, width, 3]`; one TensorFlow operation.

    The settings of JPEG are those with which Pillow decodes it, so that the pixels are the same.
    """
    return tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE", fancy_upscaling=True)


def encode_image(
    image: str | os.PathLike[str] | bytes | np.ndarray, image_size: int, keep_truncated: bool = False
) -> bytes:
    """Brings an image, however it is stored, to a square and encodes it without loss.

    An upright JPEG or PNG file of the right size, in grey or RGB without transparency, stays as it is: TensorFlow
    decodes it to exactly the pixels that `read_image` gives.

    Args:
        image: a path or the bytes of an image file, read as by `read_image`, or RGB pixels uint8 `[height, width, 3]`.
        image_size: the side of the square, in pixels; the aspect is not kept.
        keep_truncated: as in `read_image`.

    Returns:
        The bytes of a JPEG or PNG file that `decode` reads.

    Raises:
        UnreadableImageError: if it is not a readable image, has more than 100 megapixels or a side above 65,535.
    """
    if isinstance(image, np.ndarray):
        resized = Image.fromarray(image).resize((image_size, image_size), Image.Resampling.BILINEAR)
        return _to_png(resized)
    content = image if isinstance(image, bytes) else _content(image)
    if _can_stay(content, image_size):
        return content
    return _to_png(Image.fromarray(read_image(content, image_size, keep_truncated)))


def _content(path: str | os.PathLike[str]) -> bytes:
    # Opening a named pipe would wait for ever.
    if not os.path.isfile(path):
        raise UnreadableImageError("not a regular file")
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise UnreadableImageError(error.strerror or str(error)) from error


def _can_stay(content: bytes, image_size: int) -> bool:
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as header:
            # Not MPO, for one, which is JPEG with more images. Byte 24 of a PNG file is its bit depth.
            plain = (header.format == "JPEG" and header.mode in ("L", "RGB")) or (
                header.format == "PNG" and header.mode == "RGB" and content[24] == 8
            )
            if not plain or header.size != (image_size, image_size) or header.has_transparency_data:
                return False
            if header.getexif().get(_EXIF_ORIENTATION, 1) != 1:
                return False
        return decode(content).shape == (image_size, image_size, 3)
    # Damaged files make Pillow raise nearly any kind of error. `read_image` tells which are readable none the less.
    except Exception:
        return False


def _to_png(image: Image.Image) -> bytes:
    encoded = io.BytesIO()
    image.save(encoded, "PNG")
    return encoded.getvalue()
