"""Colours that Pillow alone would get wrong, in PNG files made byte for byte."""

import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dsl_tf.data.decoding import UnreadableImageError, read_image
from dsl_tf.data.encoding import encode_image

GREY, COLOUR = 0, 2


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(values, depth, key=None):
    """A PNG file of one row of values, grey `[n]` or colour `[n, 3]`, repeated n times."""
    values = np.asarray(values, np.uint16)
    side, colour_type = len(values), COLOUR if values.ndim == 2 else GREY
    bits = "".join(f"{value:0{depth}b}" for value in values.ravel().tolist())
    row = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, depth, colour_type, 0, 0, 0))
    if key is not None:
        content += chunk(b"tRNS", struct.pack(f">{np.size(key)}H", *np.atleast_1d(key)))
    return content + chunk(b"IDAT", zlib.compress((b"\0" + row) * side)) + chunk(b"IEND", b"")


def expected(values, depth, key):
    """What is right by the PNG standard: values compared at the depth of the file, then scaled to 8 bits."""
    rows = []
    for value in values:
        colour = [value] * 3 if np.ndim(value) == 0 else list(value)
        transparent = key is not None and list(np.atleast_1d(key)) == list(np.atleast_1d(value))
        scaled = [sample >> 8 if depth == 16 else sample * 255 // (2**depth - 1) for sample in colour]
        rows.append([255] * 3 if transparent else scaled)
    return np.array([rows] * len(values), np.uint8)


NEAR = [(0, 0, 0), (0, 0, 1), (0, 255, 0), (1, 0, 0), (256, 0, 0), (65535, 65535, 65534), (65535,) * 3, (257, 2, 3)]
CASES = [
    ([0, 1, 1, 0, 1], 1, 1),
    ([0, 1, 1, 0, 1], 1, 0),
    ([0, 1, 2, 3], 2, 0),
    ([0, 1, 2, 3], 2, 2),
    ([0, 1, 7, 15, 8, 9], 4, 7),
    (list(range(16)), 4, 15),
    ([0, 126, 127, 128, 255], 8, 127),
    ([0, 32766, 32767, 32768, 127 << 8, 65535], 16, 32767),
    ([0, 1, 255, 256], 16, 0),
    ([(0, 0, 0), (1, 2, 3), (1, 2, 4), (255,) * 3], 8, (1, 2, 3)),
    (NEAR, 16, (0, 0, 0)),
    (NEAR, 16, (65535, 65535, 65534)),
    (NEAR, 16, (257, 2, 3)),
    (NEAR, 16, None),
    ([0, 1, 2, 3], 2, None),
    ([0, 4660, 65535], 16, None),
]


@pytest.mark.parametrize(("values", "depth", "key"), CASES)
def test_the_transparent_value_is_compared_at_the_depth_of_the_file(tmp_path, values, depth, key):
    path = tmp_path / "image.png"
    path.write_bytes(png(values, depth, key))
    right = expected(values, depth, key)
    np.testing.assert_array_equal(read_image(path, len(values)), right)
    encoded = encode_image(path.read_bytes(), len(values))
    np.testing.assert_array_equal(tf.io.decode_png(encoded, channels=3), right)


def test_a_key_beyond_the_depth_of_the_file_counts_by_its_lowest_bits(tmp_path):
    path = tmp_path / "image.png"
    path.write_bytes(png([0, 7, 8], 4, key=0x107))
    np.testing.assert_array_equal(read_image(path, 3)[0, :, 0], [0, 255, 136])


@pytest.mark.parametrize(("mode", "value"), [("F", 0.5), ("I", 70_000)])
def test_pixels_of_32_bits_are_refused(tmp_path, mode, value):
    Image.new(mode, (4, 4), value).save(tmp_path / "image.tif")
    with pytest.raises(UnreadableImageError, match="32 bits"):
        read_image(tmp_path / "image.tif", 4)
