"""How images are stored: as the bytes they came in where these give the right pixels, encoded again otherwise."""

import contextlib
import io
import os

import numpy as np
import tensorflow as tf
from PIL import Image

from dsl_tf.data.decoding import UnreadableImageError, centre_square, read_image, reason_of_size, upright_rgb
from dsl_tf.data.image_kinds import readable_formats

_EXIF_ORIENTATION = 0x0112
# Of a photograph that is made smaller. At this quality its file is larger than the source's, pixel by pixel.
_JPEG_QUALITY = 95
# The formats of photographs as Pillow names them, whose compression has lost something already.
_LOSSY = ("AVIF", "HEIF", "JPEG", "MPO", "WEBP")


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
        return _encoded(resized, "PNG")
    content = image if isinstance(image, bytes) else _content(image)
    if _plain_size(content) == (image_size, image_size) and _decodes(content, image_size, image_size):
        return content
    return _encoded(Image.fromarray(read_image(content, image_size, keep_truncated)), "PNG")


def encode_original(
    image: str | os.PathLike[str] | bytes | np.ndarray, stored_size: int, keep_truncated: bool = False
) -> bytes:
    """Encodes an image with its aspect, made smaller if its shorter side is above a size.

    An upright JPEG or PNG file that is no larger, in grey or RGB without transparency, stays as it is. What came in a
    lossy format becomes JPEG of quality 95, anything else PNG.

    Args:
        image: as in `encode_image`.
        stored_size: the largest shorter side, in pixels.
        keep_truncated: as in `read_image`.

    Returns:
        The bytes of a JPEG or PNG file that `decode` reads.

    Raises:
        UnreadableImageError: as in `encode_image`.
    """
    if isinstance(image, np.ndarray):
        return _encoded(_reduced(Image.fromarray(image), stored_size), "PNG")
    content = image if isinstance(image, bytes) else _content(image)
    size = _plain_size(content)
    if size and min(size) <= stored_size and not reason_of_size(size) and _decodes(content, *size):
        return content
    rgb = upright_rgb(content, keep_truncated)
    return _encoded(_reduced(rgb, stored_size), "JPEG" if _is_lossy(content) else "PNG")


def view(encoded: bytes, image_size: int) -> np.ndarray:
    """Decodes what `encode_original` returned as it is tested: the shorter side resized, the centre cut out.

    Args:
        encoded: the bytes of an image file.
        image_size: the side of the square, in pixels.

    Returns:
        uint8 `[image_size, image_size, 3]`.

    Raises:
        UnreadableImageError: if the bytes are damaged.
    """
    return np.asarray(centre_square(upright_rgb(encoded), image_size))


def _content(path: str | os.PathLike[str]) -> bytes:
    # Opening a named pipe would wait for ever.
    if not os.path.isfile(path):
        raise UnreadableImageError("not a regular file")
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise UnreadableImageError(error.strerror or str(error)) from error


def _plain_size(content: bytes) -> tuple[int, int] | None:
    """Returns width and height of an upright JPEG or PNG file in grey or RGB without transparency, or None."""
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG")) as header:
            # Not MPO, for one, which is JPEG with more images. Byte 24 of a PNG file is its bit depth.
            plain = (header.format == "JPEG" and header.mode in ("L", "RGB")) or (
                header.format == "PNG" and header.mode == "RGB" and content[24] == 8
            )
            upright = header.getexif().get(_EXIF_ORIENTATION, 1) == 1
            return header.size if plain and upright and not header.has_transparency_data else None
    # Damaged files make Pillow raise nearly any kind of error. `read_image` tells which are readable none the less.
    except Exception:
        return None


def _decodes(content: bytes, width: int, height: int) -> bool:
    with contextlib.suppress(tf.errors.OpError):
        return decode(content).shape == (height, width, 3)
    return False


def _is_lossy(content: bytes) -> bool:
    with contextlib.suppress(Exception), Image.open(io.BytesIO(content), formats=readable_formats()) as header:
        return header.format in _LOSSY
    return False


def _reduced(image: Image.Image, stored_size: int) -> Image.Image:
    shorter = min(image.size)
    if shorter <= stored_size:
        return image
    width, height = (max(round(side * stored_size / shorter), stored_size) for side in image.size)
    return image.resize((width, height), Image.Resampling.BILINEAR)


def _encoded(image: Image.Image, kind: str) -> bytes:
    encoded = io.BytesIO()
    image.save(encoded, kind, **({"quality": _JPEG_QUALITY} if kind == "JPEG" else {}))
    return encoded.getvalue()
