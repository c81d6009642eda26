"""Image files to pixels: every kind of colour, transparency and rotation becomes upright 8-bit RGB."""

import contextlib
import io
import os
from collections.abc import Iterable, Iterator

import numpy as np
from PIL import Image, UnidentifiedImageError

from dsl_tf.data.colours import to_rgb
from dsl_tf.data.image_kinds import SIGNATURE_SIZE, readable_formats, reason_of_content

_MEGAPIXELS_LIMIT = 100
# JPEG's own. Pillow takes a quarter of a minute for 1 kB of animated WebP that is millions of pixels wide.
_SIDE_LIMIT = 65_535
_TOO_MANY_PIXELS = f"more than {_MEGAPIXELS_LIMIT} megapixels"
_EXIF_ORIENTATION = 0x0112
_JPEG_START, _JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
# How to turn upright an image with each value of the EXIF orientation; 1 is upright already.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class UnreadableImageError(Exception):
    """A file is not an image that can be read; the message is the reason, in a few words on one line."""


def centre_square(image: Image.Image, image_size: int) -> Image.Image:
    """Resizes the shorter side of an image, keeping the aspect, and cuts out the centre (bilinear, antialiased).

    Args:
        image: a PIL image.
        image_size: the side of the returned square, in pixels.
    """
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    box = (left, top, left + side, top + side)
    return image.resize((image_size, image_size), Image.Resampling.BILINEAR, box)


def read_image(source: str | os.PathLike[str] | bytes, image_size: int, keep_truncated: bool = False) -> np.ndarray:
    """Reads an image file as upright RGB, resized to a square (bilinear with antialiasing, aspect not kept).

    Transparent images are laid on white, 16-bit values are scaled to 8 bits, animations give their first frame.

    Args:
        source: the file, or its bytes.
        image_size: the side of the returned image, in pixels.
        keep_truncated: whether a JPEG file that is cut short is read as far as it goes; the rest is grey.

    Returns:
        uint8 `[image_size, image_size, 3]`.

    Raises:
        UnreadableImageError: if the file is not a readable image, has more than 100 megapixels or a side above 65,535.
    """
    return np.asarray(_resized(upright_rgb(source, keep_truncated), image_size))


def reason_of_size(size: tuple[int, int]) -> str | None:
    """Returns why an image of this width and height is not read, or None."""
    if size[0] * size[1] > _MEGAPIXELS_LIMIT * 1e6:
        return _TOO_MANY_PIXELS
    return f"a side of more than {_SIDE_LIMIT:,} pixels" if max(size) > _SIDE_LIMIT else None


def shorter_sides(paths: Iterable[str | os.PathLike[str]]) -> Iterator[int]:
    """Reads the shorter sides of images from their headers, one by one; skips what is not an image.

    Args:
        paths: the files.

    Yields:
        shorter sides in pixels.
    """
    for path in paths:
        try:
            with _opened(path) as image:
                side = min(image.size)
        except UnreadableImageError:
            continue
        yield side


def _resized(image: Image.Image, image_size: int) -> Image.Image:
    return image.resize((image_size, image_size), Image.Resampling.BILINEAR)


def upright_rgb(source: str | os.PathLike[str] | bytes, keep_truncated: bool = False) -> Image.Image:
    """Reads an image file as upright RGB at its own size; arguments and errors are those of `read_image`."""
    try:
        with _opened(source) as image:
            rgb = to_rgb(image)
            # TIFF files are upright once they are loaded, and say so.
            orientation = _orientation(image)
            return rgb.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else rgb
    except UnreadableImageError:
        completed = _completed_jpeg(source) if keep_truncated else None
        if completed is None:
            raise
        return upright_rgb(completed)


def _completed_jpeg(source: str | os.PathLike[str] | bytes) -> bytes | None:
    """A JPEG file with the mark of its end, up to which the decoder fills with grey what is missing."""
    if not isinstance(source, bytes):
        if not os.path.isfile(source):
            return None
        try:
            with open(source, "rb") as file:
                source = file.read()
        except OSError:
            return None
    return source + _JPEG_END if source.startswith(_JPEG_START) else None


@contextlib.contextmanager
def _opened(source: str | os.PathLike[str] | bytes) -> Iterator[Image.Image]:
    """Opens a path or bytes, header only; whatever Pillow raises here or while the caller decodes has a reason."""
    # Opening a named pipe would wait for ever.
    if not isinstance(source, bytes) and not os.path.isfile(source):
        raise UnreadableImageError("not a regular file")
    try:
        file = io.BytesIO(source) if isinstance(source, bytes) else source
        with Image.open(file, formats=readable_formats()) as image:
            if too_large := reason_of_size(image.size):
                raise ValueError(too_large)
            yield image
    # Damaged files make Pillow raise nearly any kind of error, not only OSError.
    except Exception as error:
        raise UnreadableImageError(_reason(error, source)) from error


def _reason(error: Exception, source: str | os.PathLike[str] | bytes) -> str:
    # Pillow's own limit is higher.
    if isinstance(error, Image.DecompressionBombError):
        return _TOO_MANY_PIXELS
    if isinstance(error, UnidentifiedImageError):
        return reason_of_content(_start_of(source))
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(reason.split())


def _start_of(source: str | os.PathLike[str] | bytes) -> bytes:
    if isinstance(source, bytes):
        return source[:SIGNATURE_SIZE]
    try:
        with open(source, "rb") as file:
            return file.read(SIGNATURE_SIZE)
    # It may have gone since.
    except OSError:
        return b""


def _orientation(image: Image.Image) -> int | None:
    try:
        return image.getexif().get(_EXIF_ORIENTATION)
    # Damaged EXIF data raise nearly any kind of error too, but leave the pixels as good as they were.
    except Exception:
        return None
