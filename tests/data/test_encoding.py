"""What is stored, and that TensorFlow decodes it to the pixels that Pillow gives."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dsl_tf.data.decoding import UnreadableImageError, centre_square, read_image, upright_rgb
from dsl_tf.data.encoding import decode, encode_image, encode_original, view
from dsl_tf.data.image_files import read_as_stored, read_images
from tests.images import noise_image, photograph

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


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("height, width", [(24, 40), (24, 24), (90, 20)])
def test_originals_that_are_no_larger_stay_as_they_are(kind, height, width):
    content = file_of(photograph(height, width), kind)
    assert encode_original(content, SIZE) == content
    np.testing.assert_array_equal(view(content, 10), centre_square(Image.open(io.BytesIO(content)), 10))


@pytest.mark.parametrize("height, width, expected", [(48, 80, (24, 40)), (100, 25, (96, 24)), (300, 301, (24, 24))])
@pytest.mark.parametrize("kind, kept", [("JPEG", "JPEG"), ("WEBP", "JPEG"), ("PNG", "PNG"), ("BMP", "PNG")])
def test_larger_originals_keep_their_aspect(height, width, expected, kind, kept):
    image = photograph(height, width)
    content = file_of(image, kind, **({"quality": 100} if kind == "WEBP" else {}))
    stored = Image.open(io.BytesIO(encode_original(content, SIZE)))
    assert stored.format == kept and (stored.height, stored.width) == expected
    smaller = upright_rgb(content).resize(expected[::-1], Image.Resampling.BILINEAR)
    assert np.abs(np.asarray(stored, int) - np.asarray(smaller, int)).mean() <= (0 if kept == "PNG" else 6)


@pytest.mark.parametrize("content", ENCODED.values(), ids=ENCODED)
def test_other_originals_become_plain_upright_images(content):
    stored = encode_original(content, 100)
    if (Image.open(io.BytesIO(content)).size, stored) == ((30, 30), content):
        return
    assert stored != content
    difference = np.asarray(decode(stored), int) - np.asarray(upright_rgb(content), int)
    assert np.abs(difference).max() <= (0 if stored.startswith(b"\x89PNG") else 30)


def test_pixels_keep_their_aspect_too():
    pixels = np.asarray(photograph(20, 50))
    np.testing.assert_array_equal(decode(encode_original(pixels, 20)), pixels)
    assert decode(encode_original(pixels, 10)).shape == (10, 25, 3)


def test_originals_of_too_many_pixels_are_unreadable():
    content = file_of(Image.new("L", (70_000, 10)).convert("RGB"), "PNG")
    with pytest.raises(UnreadableImageError, match="65,535"):
        encode_original(content, SIZE)


def test_files_are_read_as_a_prepared_data_set_holds_them(tmp_path):
    paths = [tmp_path / "large.jpg", tmp_path / "torn.jpg", tmp_path / "small.png"]
    for path, size in zip(paths, [(60, 90), (60, 90), (12, 20)], strict=True):
        photograph(*size).save(path)
    paths[1].write_bytes(paths[1].read_bytes()[:200])
    images, reasons = read_images(paths, 10, stored_size=SIZE)
    assert list(reasons) == [1]
    for image, path in zip(images, (paths[0], paths[2]), strict=True):
        np.testing.assert_array_equal(image, view(encode_original(path, SIZE), 10))
    np.testing.assert_array_equal(read_as_stored(paths[0], 10, None), read_image(paths[0], 10))
