"""Opened images of every mode to 8-bit RGB; what is transparent becomes white."""

import io

import numpy as np
from PIL import Image


def to_rgb(image: Image.Image) -> Image.Image:
    """Converts an image to RGB, laid on white; 16-bit values are scaled to 8 bits.

    Args:
        image: an image that is opened but not loaded yet.

    Returns:
        An image of mode RGB.

    Raises:
        ValueError: if its pixels have 32 bits, since nothing says which range of them is visible.
    """
    if image.format == "PNG" and image.mode != "P" and "transparency" in image.info:
        return _png_with_key(image)
    image.load()
    if image.mode == "F" or (image.mode == "I" and image.format != "PNG"):
        raise ValueError("pixels of 32 bits, whose range is unknown")
    if image.mode.startswith("I"):
        return _grey_of_16_bits(np.asarray(image)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _grey_of_16_bits(values: np.ndarray) -> Image.Image:
    # Pillow's own conversion clips at 255. The high byte is also what decoders of 16-bit colour keep.
    return Image.fromarray((values >> 8).astype(np.uint8))


def _png_with_key(image: Image.Image) -> Image.Image:
    """Compares the transparent value (tRNS) at the depth of the file, where Pillow compares it with what it scaled."""
    key, raw_mode = image.info["transparency"], str(image.tile[0].args)  # type: ignore[attr-defined]
    if raw_mode == "RGB;16B":
        low = _low_bytes_of_16_bits(image)
        image.load()
        pixels = np.asarray(image)
        transparent = ((pixels.astype(np.uint16) << 8 | low) == np.array(key)).all(axis=-1)
    elif raw_mode == "I;16B":
        image.load()
        values = np.asarray(image)
        transparent = values == key
        pixels = np.asarray(_grey_of_16_bits(values).convert("RGB"))
    else:
        image.load()
        pixels = np.asarray(image.convert("RGB"))
        transparent = (pixels == _scaled_key(key, raw_mode)).all(axis=-1)
    return Image.fromarray(np.where(transparent[..., None], np.uint8(255), pixels))


def _scaled_key(key: int | tuple[int, ...], raw_mode: str) -> np.ndarray:
    """The key as Pillow scales the values of a file with 1 (done already), 2, 4 or 8 bits."""
    largest = {"L;2": 3, "L;4": 15}.get(raw_mode, 255)
    return np.bitwise_and(key, largest) * (255 // largest)


def _low_bytes_of_16_bits(image: Image.Image) -> np.ndarray:
    """The low bytes of 16-bit colour, which Pillow drops: read as if the bytes stood in the other order."""
    file = image.fp  # type: ignore[attr-defined]
    position = file.tell()
    file.seek(0)
    with Image.open(io.BytesIO(file.read()), formats=("PNG",)) as again:
        again.tile = [again.tile[0]._replace(args="RGB;16L")]  # type: ignore[attr-defined]
        again.load()
        low = np.asarray(again)
    file.seek(position)
    return low
