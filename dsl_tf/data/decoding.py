"""Image files to pixels: every kind of colour, transparency and rotation becomes upright 8-bit RGB."""

import concurrent.futures
import contextlib
import io
import os

import numpy as np
from PIL import Image, UnidentifiedImageError

from dsl_tf.progress import progress_bar

# No others, since some of Pillow's readers (PostScript) start other programs.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")
EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")
_MEGAPIXELS_LIMIT = 100
# JPEG's own. Pillow takes a quarter of a minute for 1 kB of animated WebP that is millions of pixels wide.
_SIDE_LIMIT = 65_535
# More would gain little on large images, wait for each other on small ones, and hold more images at once.
_MOST_THREADS = 16
_IMAGES_PER_TASK = 64
_EXIF_ORIENTATION = 0x0112
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
    """A file is no image that can be read; the message is the reason, in a few words on one line."""


def read_images(paths, image_size):
    """Reads image files in parallel, with a progress bar.

    Args:
        paths: the n files.
        image_size: the side of the returned images, in pixels.

    Returns:
        the images of the m files that could be read, in order, uint8 `[m, image_size, image_size, 3]`, and a
        dict from the position in `paths` of each of the others to the reason.
    """
    images = np.empty((len(paths), image_size, image_size, 3), np.uint8)

    def fill(rows):
        reasons = {}
        for row in rows:
            try:
                images[row] = read_image(paths[row], image_size)
            except UnreadableImageError as error:
                reasons[row] = str(error)
        return reasons

    starts = range(0, len(paths), _IMAGES_PER_TASK)
    tasks = [range(start, min(start + _IMAGES_PER_TASK, len(paths))) for start in starts]
    progress = progress_bar(len(paths), "image")
    reasons = {}
    with concurrent.futures.ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST_THREADS)) as pool:
        for rows, task_reasons in zip(tasks, pool.map(fill, tasks), strict=True):
            reasons.update(task_reasons)
            progress.update(rows.stop)
    return _without(images, reasons), reasons


def read_image(path, image_size):
    """Reads an image file as upright RGB, resized to a square (bilinear with antialiasing, aspect not kept).

    Transparent images are laid on white, 16-bit grey is scaled to 8 bits, animations give their first frame.

    Args:
        path: the file.
        image_size: the side of the returned image, in pixels.

    Returns:
        uint8 `[image_size, image_size, 3]`.

    Raises:
        UnreadableImageError: where the file is no readable image, has more than 100 megapixels or a side above 65,535.
    """
    with _opened(path) as image:
        return np.asarray(_resized(_upright_rgb(image), image_size))


def encode_image(image, image_size):
    """Brings an image, however it is stored, to a square and encodes it without loss.

    Args:
        image: a path or the bytes of an image file, which becomes upright RGB as in `read_image`, or RGB pixels uint8
            `[height, width, 3]`.
        image_size: the side of the square, in pixels; the aspect is not kept.

    Returns:
        The bytes of a PNG file, 8-bit RGB `[image_size, image_size]`.

    Raises:
        UnreadableImageError: where it is no readable image, has more than 100 megapixels or a side above 65,535.
    """
    if isinstance(image, np.ndarray):
        return _to_png(_resized(Image.fromarray(image), image_size))
    with _opened(image) as opened:
        plain_png = opened.format == "PNG" and opened.mode == "RGB" and not opened.has_transparency_data
        upright = _upright_rgb(opened)
        if isinstance(image, bytes) and plain_png and upright.size == (image_size, image_size):
            return image
        return _to_png(_resized(upright, image_size))


def decode_png(encoded):
    """Decodes what `encode_image` returned, to uint8 `[image_size, image_size, 3]`."""
    with Image.open(io.BytesIO(encoded), formats=("PNG",)) as image:
        return np.asarray(image)


def _resized(image, image_size):
    return image.resize((image_size, image_size), Image.Resampling.BILINEAR)


def _to_png(image):
    encoded = io.BytesIO()
    image.save(encoded, "PNG")
    return encoded.getvalue()


def _upright_rgb(image):
    image.load()
    orientation = _orientation(image)
    image = _to_rgb(image)
    return image.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else image


def shorter_sides(paths):
    """Reads the shorter sides of images from their headers, one by one; passes over what is no image.

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


@contextlib.contextmanager
def _opened(source):
    """Opens a path or bytes, header only; whatever Pillow raises here or while the caller decodes has a reason."""
    in_memory = isinstance(source, bytes)
    # Opening a named pipe would wait for ever.
    if not in_memory and not os.path.isfile(source):
        raise UnreadableImageError("not a regular file")
    try:
        with Image.open(io.BytesIO(source) if in_memory else source, formats=_FORMATS) as image:
            if image.width * image.height > _MEGAPIXELS_LIMIT * 1e6:
                raise Image.DecompressionBombError
            if max(image.size) > _SIDE_LIMIT:
                raise ValueError(f"a side of more than {_SIDE_LIMIT:,} pixels")
            yield image
    # Damaged files make Pillow raise nearly any kind of error, not only OSError.
    except Exception as error:
        raise UnreadableImageError(_reason(error, source)) from error


def _reason(error, source):
    if isinstance(error, Image.DecompressionBombError):
        return f"more than {_MEGAPIXELS_LIMIT} megapixels"
    if isinstance(error, UnidentifiedImageError):
        size = len(source) if isinstance(source, bytes) else os.path.getsize(source)
        return "not an image" if size else "an empty file"
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(reason.split())


def _without(images, rows):
    if not rows:
        return images
    kept = [row for row in range(len(images)) if row not in rows]
    # In place, since a second array of all the images might not fit in memory.
    for row, source in enumerate(kept):
        images[row] = images[source]
    return images[: len(kept)]


def _orientation(image):
    try:
        return image.getexif().get(_EXIF_ORIENTATION)
    # Damaged EXIF data raise nearly any kind of error too, but leave the pixels as good as they were.
    except Exception:
        return None


def _to_rgb(image):
    if image.mode.startswith("I"):
        # Pillow's own conversion clips at 255. The high byte is also what decoders of 16-bit colour keep.
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")
