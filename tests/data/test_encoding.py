"""What is stored, and that TensorFlow decodes it to the pixels that Pillow gives."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dsl_tf.data.decoding import UnreadableImageError, read_image
from dsl_tf.data.encoding import decode, encode_image
from tests.images import noise_image

SIZE = 24


def picture(size=SIZE, mode="RGB"):
    """A smooth image, as photographs are, with some noise."""
    smooth = Image.fromarray(noise_image("picture", 0)[:5, :5]).resize((size, size), Image.Resampling.BICUBIC)
    noisy = np.asarray(smooth, np.int32) + noise_image("noise", 0)[:size, :size] % 9
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).convert(mode)


def file_of(image, kind, **options):
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


KEPT = {
    **{
        f"{quality}, {sampling}": ("RGB", "JPEG", {"quality": quality, "subsampling": sampling})
        for quality in (30, 75, 95)
        for sampling in ("4:4:4", "4:2:2", "4:2:0")
    },
    "progressive": ("RGB", "JPEG", {"progressive": True}),
    "restarts": ("RGB", "JPEG", {"restart_marker_blocks": 2}),
    "kept RGB": ("RGB", "JPEG", {"keep_rgb": True}),
    "grey": ("L", "JPEG", {}),
    "PNG": ("RGB", "PNG", {}),
    "upright": ("RGB", "JPEG", {"exif": Image.Exif()}),
}


@pytest.mark.parametrize("mode, kind, options", KEPT.values(), ids=KEPT)
@pytest.mark.parametrize("as_path", [False, True])
def test_files_of_the_right_size_stay_as_they_are_with_the_same_pixels(tmp_path, mode, kind, options, as_path):
    content = source = file_of(picture(mode=mode), kind, **options)
    if as_path:
        source = tmp_path / "image"
        source.write_bytes(content)
    assert encode_image(source, SIZE) == content
    np.testing.assert_array_equal(decode(content), read_image(content, SIZE))


def rotated():
    exif = Image.Exif()
    exif[0x0112] = 6
    return file_of(picture(), "JPEG", exif=exif)


def transparent(mode):
    image = picture(mode=mode)
    return file_of(image, "PNG", transparency=image.getpixel((0, 0)))


ENCODED = {
    "another size": file_of(picture(30), "JPEG"),
    "rotated": rotated(),
    "CMYK": file_of(picture(mode="CMYK"), "JPEG"),
    "alpha": file_of(picture(mode="RGBA"), "PNG"),
    "transparent colour": transparent("RGB"),
    "transparent grey": transparent("L"),
    "palette": file_of(picture(mode="P"), "PNG"),
    "16 bits": file_of(Image.fromarray(np.arange(SIZE**2, dtype=np.uint16).reshape(SIZE, SIZE) * 100), "PNG"),
    "BMP": file_of(picture(), "BMP"),
    "GIF": file_of(picture(), "GIF"),
    "WebP": file_of(picture(), "WEBP"),
}


@pytest.mark.parametrize("content", ENCODED.values(), ids=ENCODED)
def test_other_files_become_png_with_the_same_pixels(content):
    stored = encode_image(content, SIZE)
    assert stored != content and stored.startswith(b"\x89PNG")
    np.testing.assert_array_equal(decode(stored), read_image(content, SIZE))


def test_pixels_become_png():
    pixels = np.asarray(picture())
    np.testing.assert_array_equal(decode(encode_image(pixels, SIZE)), pixels)
    assert decode(encode_image(pixels, 10)).shape == (10, 10, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_what_pillow_cannot_read_is_unreadable_wherever_it_is_cut(kind):
    content = file_of(picture(), kind)
    for length in range(0, len(content) - 12, len(content) // 12):
        with pytest.raises(UnreadableImageError):
            encode_image(content[:length], SIZE)


def test_damaged_files_that_stay_decode_to_what_pillow_reads():
    content = file_of(picture(), "JPEG")
    random = np.random.default_rng(0)
    kept = 0
    for _ in range(60):
        damaged = bytearray(content)
        damaged[random.integers(20, len(content))] ^= 1 << random.integers(8)
        try:
            stored = encode_image(bytes(damaged), SIZE)
        except UnreadableImageError:
            continue
        np.testing.assert_array_equal(decode(stored), read_image(bytes(damaged), SIZE))
        kept += 1
    assert kept > 10


def test_what_is_no_file_is_unreadable(tmp_path):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UnreadableImageError, match="not a regular file"):
            encode_image(path, SIZE)


def test_it_decodes_in_a_graph():
    content = file_of(picture(), "JPEG")
    np.testing.assert_array_equal(tf.function(decode)(content), read_image(content, SIZE))
