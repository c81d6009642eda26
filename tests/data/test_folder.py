"""Tests of reading the user's own images, on real files of every kind."""

import contextlib
import io
import os
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from dsl_tf.data import folder, stored_images
from dsl_tf.data.image_kinds import readable_formats
from dsl_tf.errors import UserError

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)
SIDE = 8


def write(root, path, image=None, **options):
    """Writes an image, plain red if none is given, or bytes; a format in the options beats the extension."""
    path = root / path
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(image, bytes):
        path.write_bytes(image)
    else:
        (image or plain(RED)).save(path, **options)
    return path


def plain(colour, width=SIDE, height=SIDE):
    return Image.new("RGB", (width, height), colour)


def noise(width, height, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(image, file_format):
    buffer = io.BytesIO()
    image.save(buffer, file_format)
    return buffer.getvalue()


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(b"\0"))


def load_one(root, image, name="image.png", **options):
    write(root, f"train/class/{name}", image, **options)
    split = folder.load_split(root, "train", SIDE, strict=True)
    assert split.images.shape == (1, SIDE, SIDE, 3)
    return split.images[0]


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "absl"]


def raised_line(function, *args, **kwargs):
    with pytest.raises(UserError) as caught:
        function(*args, **kwargs)
    message = str(caught.value)
    assert "\n" not in message and "Received" in message
    return message


# Pixels of every kind of file.


@pytest.mark.parametrize("name", ["image.png", "image.bmp", "IMAGE.PNG"])
def test_colour_is_read_as_it_is(tmp_path, name):
    pixels = noise(SIDE, SIDE)
    np.testing.assert_array_equal(load_one(tmp_path, Image.fromarray(pixels), name), pixels)


@pytest.mark.parametrize("name", ["image.jpg", "image.jpeg", "IMAGE.JPG", "Image.JpEg"])
def test_jpeg(tmp_path, name):
    loaded = load_one(tmp_path, plain((200, 100, 50)), name, quality=95)
    np.testing.assert_allclose(loaded, np.broadcast_to((200, 100, 50), loaded.shape), atol=3)


def test_grey(tmp_path):
    pixels = noise(SIDE, SIDE)[..., 0]
    loaded = load_one(tmp_path, Image.fromarray(pixels))
    np.testing.assert_array_equal(loaded, np.repeat(pixels[..., None], 3, axis=-1))


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path):
    levels = np.linspace(0, 65535, SIDE * SIDE).astype(np.uint16).reshape(SIDE, SIDE)
    loaded = load_one(tmp_path, Image.fromarray(levels))
    np.testing.assert_allclose(loaded[..., 0], levels / 257, atol=1)
    assert loaded.min() == 0 and loaded.max() == 255
    np.testing.assert_array_equal(loaded[..., 1:], np.repeat(loaded[..., :1], 2, axis=-1))


def test_one_bit(tmp_path):
    bits = noise(SIDE, SIDE)[..., 0] > 127
    loaded = load_one(tmp_path, Image.fromarray(bits))
    np.testing.assert_array_equal(loaded, np.where(bits[..., None], 255, 0).repeat(3, axis=-1))


def test_webp(tmp_path):
    loaded = load_one(tmp_path, Image.new("RGB", (SIDE, SIDE), BLUE), "image.webp", lossless=True)
    assert (loaded == BLUE).all()


def palette_image():
    image = Image.new("P", (SIDE, SIDE), 0)
    image.putpalette([*RED, *BLUE])
    image.paste(1, (4, 0, 8, 8))
    return image


@pytest.mark.parametrize("name", ["image.png", "image.gif", "image.bmp"])
def test_palette(tmp_path, name):
    loaded = load_one(tmp_path, palette_image(), name)
    assert tuple(loaded[3, 3]) == RED and tuple(loaded[3, 4]) == BLUE


@pytest.mark.parametrize("name", ["image.png", "image.gif"])
def test_palette_transparency_is_laid_on_white(tmp_path, name):
    loaded = load_one(tmp_path, palette_image(), name, transparency=1)
    assert tuple(loaded[3, 3]) == RED and tuple(loaded[3, 4]) == WHITE


def test_palette_with_half_transparency(tmp_path):
    loaded = load_one(tmp_path, palette_image(), transparency=bytes([255, 128]))
    assert tuple(loaded[3, 3]) == RED
    np.testing.assert_allclose(loaded[3, 4], (127, 127, 255), atol=1)


def test_alpha_is_laid_on_white(tmp_path):
    image = Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 4, 8))
    image.paste((0, 0, 255, 128), (0, 4, 4, 8))
    loaded = load_one(tmp_path, image)
    assert tuple(loaded[0, 0]) == BLUE and tuple(loaded[0, 7]) == WHITE
    np.testing.assert_allclose(loaded[7, 0], (127, 127, 255), atol=1)


def test_grey_with_alpha(tmp_path):
    image = Image.new("LA", (SIDE, SIDE), (0, 0))
    image.paste((0, 255), (0, 0, 4, 8))
    loaded = load_one(tmp_path, image)
    assert tuple(loaded[0, 0]) == BLACK and tuple(loaded[0, 7]) == WHITE


@pytest.mark.parametrize(("mode", "hidden"), [("L", 0), ("1", 0), ("RGB", BLACK)])
def test_a_colour_declared_transparent(tmp_path, mode, hidden):
    loaded = load_one(tmp_path, Image.new(mode, (SIDE, SIDE), hidden), transparency=hidden)
    assert (loaded == 255).all()


def test_cmyk(tmp_path):
    loaded = load_one(tmp_path, Image.new("CMYK", (SIDE, SIDE), (0, 255, 255, 0)), "image.jpg", quality=95)
    np.testing.assert_allclose(loaded, np.broadcast_to(RED, loaded.shape), atol=8)


# Where the first row and the first column of the stored pixels belong, in the words of the EXIF standard.
ORIENTATIONS = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_exif_orientation(tmp_path, orientation):
    stored = noise(SIDE, SIDE)
    sides = ORIENTATIONS[orientation]
    upright = stored.transpose(1, 0, 2) if sides[0] in ("left", "right") else stored
    upright = upright[::-1] if "bottom" in sides else upright
    upright = upright[:, ::-1] if "right" in sides else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(load_one(tmp_path, Image.fromarray(stored), exif=exif), upright)


def test_exif_orientation_of_a_jpeg_that_is_not_square(tmp_path):
    image = plain(RED, 64, 32)
    image.paste(BLUE, (32, 0, 64, 32))
    exif = Image.Exif()
    exif[0x0112] = 6
    loaded = load_one(tmp_path, image, "photo.jpg", exif=exif, quality=95)
    np.testing.assert_allclose(loaded[0], np.broadcast_to(RED, (SIDE, 3)), atol=8)
    np.testing.assert_allclose(loaded[-1], np.broadcast_to(BLUE, (SIDE, 3)), atol=8)


def test_damaged_exif_leaves_the_image_readable(tmp_path):
    png = encoded(plain(GREEN), "PNG")
    header_end = 33
    damaged = png[:header_end] + png_chunk(b"eXIf", b"no exif at all") + png[header_end:]
    with pytest.raises(SyntaxError):
        Image.open(io.BytesIO(damaged)).getexif()
    assert (load_one(tmp_path, damaged) == GREEN).all()


def test_animation_gives_its_first_frame(tmp_path):
    frames = [plain(GREEN), plain(RED), plain(BLUE)]
    loaded = load_one(tmp_path, frames[0], "moving.gif", save_all=True, append_images=frames[1:], duration=50)
    assert (loaded == GREEN).all()


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "GIF", "WEBP"])
def test_the_content_counts_not_the_extension(tmp_path, file_format):
    loaded = load_one(tmp_path, plain(BLUE), "image.jpg", format=file_format)
    np.testing.assert_allclose(loaded, np.broadcast_to(BLUE, loaded.shape), atol=8)


SHAPES = [(50, 37, 16), (23, 90, 32), (10, 14, 24), (300, 200, 8)]


@pytest.mark.parametrize(("width", "height", "size"), SHAPES)
def test_resizing_agrees_with_tensorflow(tmp_path, width, height, size):
    pixels = noise(width, height)
    write(tmp_path, "train/class/image.png", Image.fromarray(pixels))
    loaded = folder.load_split(tmp_path, "train", size).images[0]
    expected = tf.image.resize(pixels, (size, size), method="bilinear", antialias=True)
    np.testing.assert_allclose(loaded, expected, atol=2)


@pytest.mark.parametrize("name", ["image.tif", "image.TIFF", "image.jfif", "image.jpe", "image.avif"])
def test_further_kinds_of_files(tmp_path, name):
    options = {"quality": 95} if name.startswith("image.j") or name.endswith("avif") else {}
    if name.endswith("avif") and "AVIF" not in readable_formats():
        pytest.skip("This Pillow reads no AVIF.")
    if name.startswith("image.j"):
        options["format"] = "JPEG"
    loaded = load_one(tmp_path, plain((200, 100, 50)), name, **options)
    np.testing.assert_allclose(loaded, np.broadcast_to((200, 100, 50), loaded.shape), atol=4)


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_orientation_of_tiff(tmp_path, orientation, compression):
    stored = noise(SIDE, SIDE)
    upright = {1: stored, 3: stored[::-1, ::-1], 6: np.rot90(stored, -1)}[orientation]
    image = Image.fromarray(stored)
    loaded = load_one(tmp_path, image, "image.tif", compression=compression, tiffinfo={274: orientation})
    np.testing.assert_array_equal(loaded, upright)


def test_sixteen_bit_tiff(tmp_path):
    levels = np.linspace(0, 65535, SIDE * SIDE).astype(np.uint16).reshape(SIDE, SIDE)
    np.testing.assert_array_equal(load_one(tmp_path, Image.fromarray(levels), "image.tif")[..., 0], levels >> 8)


def test_a_truncated_jpeg_can_be_kept_as_far_as_it_goes(tmp_path, monkeypatch):
    root = tmp_path / "data"
    content = encoded(Image.fromarray(noise(64, 64)), "JPEG")
    for name in ("cut.jpg", "cut.png"):
        write(root, f"train/class/{name}", content[: len(content) // 2])
    write(root, "train/class/no header.jpg", content[:100])
    write(root, "train/class/whole.jpg", content)
    write(root, "train/class/words.jpg", b"words")
    strictly = folder.load_split(root, "train", 64)
    kept = folder.load_split(root, "train", 64, keep_truncated=True)
    assert len(strictly.images) == 1 and len(kept.images) == 3
    assert [os.path.basename(entry.path) for entry in kept.skipped] == ["no header.jpg", "words.jpg"]
    np.testing.assert_array_equal(kept.images[2], strictly.images[0])
    for image in kept.images[:2]:
        np.testing.assert_array_equal(image[:12], strictly.images[0][:12])
        assert (image[-8:].std(axis=(0, 1)) == 0).all()
    monkeypatch.setattr(stored_images, "_IN_MEMORY_BYTES", 0)
    stored = folder.load_split(root, "train", 64, cache_dir=tmp_path / "cache", keep_truncated=True)
    np.testing.assert_array_equal(stored.images[:], kept.images)
    assert len(folder.load_split(root, "train", 64, cache_dir=tmp_path / "cache").images) == 1


UNSUPPORTED = {
    "a Photoshop image": (b"8BPS\0\1" + bytes(20), "Photoshop images are not supported"),
    "JPEG 2000": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(20), "JPEG 2000 images are not supported"),
    "SVG": (b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG images are not supported"),
    "half a header": (b"\x89PNG\r\n\x1a\n\0\0", "a damaged PNG image"),
    "words": (b"some words", "not an image"),
}


@pytest.mark.parametrize("kind", UNSUPPORTED)
def test_images_of_other_kinds_are_called_that(tmp_path, kind):
    content, reason = UNSUPPORTED[kind]
    write(tmp_path, "train/class/good.png")
    write(tmp_path, "train/class/other.jpg", content)
    (skipped,) = folder.load_split(tmp_path, "train", SIDE).skipped
    assert skipped.reason == reason


def test_everything_skipped_comes_with_the_split(tmp_path):
    write(tmp_path, "train/both/1.png")
    for name in ("both/1.png", "good/1.png", "good/.DS_Store", "good/notes.txt", "torn/1.png", "empty/readme"):
        write(tmp_path, f"val/{name}", None if name.endswith("1.png") else b"words")
    write(tmp_path, "val/torn/1.png", b"words")
    split = folder.load_split(tmp_path, "val", SIDE)
    assert {os.path.relpath(path, tmp_path / "val"): reason for path, reason, _ in split.skipped} == {
        "both": "a class of 'train' too",
        "good/.DS_Store": "a hidden file",
        "good/notes.txt": "not the extension of an image",
        "torn": "a class without a readable image",
        "torn/1.png": "not an image",
        "empty": "a class without a readable image",
        "empty/readme": "not the extension of an image",
    }


# Classes, labels and order.


def test_labels_follow_the_sorted_names(tmp_path):
    colours = {"zebra": RED, "Ünïcode ñame": GREEN, "a cat": BLUE}
    for name, colour in colours.items():
        write(tmp_path, f"train/{name}/1.png", plain(colour))
        write(tmp_path, f"train/{name}/2.png", plain(colour))
    split = folder.load_split(tmp_path, "train", SIDE, strict=True)
    assert split.class_names == ("a cat", "zebra", "Ünïcode ñame")
    assert split.labels.tolist() == [0, 0, 1, 1, 2, 2]
    for label, image in zip(split.labels, split.images):
        assert (image == colours[split.class_names[label]]).all()


def test_only_the_split_asked_for_is_read(tmp_path):
    write(tmp_path, "train/cat/1.png", plain(RED))
    write(tmp_path, "test/dog/1.png", plain(BLUE))
    split = folder.load_split(tmp_path, "test", SIDE)
    assert split.class_names == ("dog",) and (split.images == BLUE).all()


def test_groups_and_classes_side_by_side(tmp_path):
    write(tmp_path, "train/Greek/alpha/1.png", plain(RED))
    write(tmp_path, "train/Greek/beta/1.png", plain(GREEN))
    # It sorts between the group's name and the names of the group's classes.
    write(tmp_path, "train/Greek letters/1.png", plain(BLUE))
    split = folder.load_split(tmp_path, "train", SIDE, strict=True)
    assert split.class_names == ("Greek letters", "Greek/alpha", "Greek/beta")
    np.testing.assert_array_equal(split.images[:, 0, 0], [BLUE, RED, GREEN])


def test_a_group_with_hidden_files_is_a_group(tmp_path):
    write(tmp_path, "train/Greek/alpha/1.png")
    write(tmp_path, "train/Greek/.DS_Store", b"")
    write(tmp_path, "train/Greek/Thumbs.db", b"")
    assert folder.load_split(tmp_path, "train", SIDE, strict=True).class_names == ("Greek/alpha",)


def test_hidden_entries_are_ignored_silently(tmp_path, caplog):
    write(tmp_path, "train/cat/1.png")
    for path in (
        ".DS_Store",
        ".ipynb_checkpoints/1.png",
        ".Trash-1000/1.png",
        "cat/.1.png",
        "cat/Thumbs.db",
        "cat/thumbs.db",
        "cat/.git/x",
    ):
        write(tmp_path, f"train/{path}", b"")
    split = folder.load_split(tmp_path, "train", SIDE, strict=True)
    assert split.class_names == ("cat",) and len(split.images) == 1
    assert not warnings_of(caplog)


def test_hidden_class_folders_are_left_out_with_a_warning(tmp_path, caplog):
    write(tmp_path, "train/cat/1.png")
    write(tmp_path, "train/.dog/1.png")
    assert folder.load_split(tmp_path, "train", SIDE).class_names == ("cat",)
    (line,) = warnings_of(caplog)
    assert "The split 'train'" in line and "train/.dog' (a hidden folder)" in line and "skipped" in line
    assert ".dog' (a hidden folder)" in raised_line(folder.load_split, tmp_path, "train", SIDE, strict=True)


def test_linked_folders_are_read_and_loops_end(tmp_path):
    write(tmp_path, "elsewhere/1.png", plain(BLUE))
    (tmp_path / "train" / "loop").mkdir(parents=True)
    (tmp_path / "train" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "train" / "loop" / "again").symlink_to(tmp_path / "train")
    split = folder.load_split(tmp_path, "train", SIDE)
    assert split.class_names == ("linked",) and (split.images == BLUE).all()


def many_images(root):
    """Writes more images than a thread takes at a time, each of a colour of its own, in two classes."""
    colours = [(index, 255 - index, 7) for index in range(200)]
    for index, colour in enumerate(colours):
        write(root, f"train/class{index // 150}/{index:03}.png", plain(colour))
    return np.array(colours)


def test_order_is_that_of_the_names_whatever_the_file_system_says(tmp_path, monkeypatch):
    colours = many_images(tmp_path)
    scandir = os.scandir
    for reverse in (False, True):

        def ordered(path, reverse=reverse):
            with scandir(path) as entries:
                return contextlib.nullcontext(sorted(entries, key=lambda entry: entry.name, reverse=reverse))

        monkeypatch.setattr(os, "scandir", ordered)
        split = folder.load_split(tmp_path, "train", SIDE)
        np.testing.assert_array_equal(split.images[:, 0, 0], colours)
        np.testing.assert_array_equal(split.labels, [0] * 150 + [1] * 50)


def test_images_after_skipped_ones_keep_their_labels(tmp_path):
    colours = many_images(tmp_path)
    bad = [0, 70, 71, 149, 160]
    for index in bad:
        write(tmp_path, f"train/class{index // 150}/{index:03}.png", b"no image")
    split = folder.load_split(tmp_path, "train", SIDE)
    kept = np.delete(colours, bad, axis=0)
    np.testing.assert_array_equal(split.images, np.broadcast_to(kept[:, None, None], (195, SIDE, SIDE, 3)))
    np.testing.assert_array_equal(split.labels, [0] * 146 + [1] * 49)


# What is left out.


def truncated_jpeg():
    jpeg = encoded(Image.fromarray(noise(64, 64)), "JPEG")
    return jpeg[: len(jpeg) // 2]


BAD_FILES = {
    "notes.txt": (b"some words", "extension"),
    "README": (b"some words", "extension"),
    "words.png": (b"some words", "not an image"),
    "script.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", "PostScript images are not supported"),
    "truncated.jpg": (truncated_jpeg(), "truncated"),
    "truncated.png": (encoded(Image.fromarray(noise(64, 64)), "PNG")[:5000], "truncated"),
    "empty.gif": (b"", "empty"),
    "bomb.png": (png_header(11_000, 10_000), "more than 100 megapixels"),
    "giant_bomb.png": (png_header(60_000, 60_000), "more than 100 megapixels"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_left_out_with_a_warning(tmp_path, caplog, name):
    content, reason = BAD_FILES[name]
    write(tmp_path, "train/cat/good.png", plain(GREEN))
    bad = write(tmp_path, f"train/cat/{name}", content)
    split = folder.load_split(tmp_path, "train", SIDE)
    assert (split.images == GREEN).all() and split.labels.tolist() == [0]
    (warning,) = warnings_of(caplog)
    assert " 1 other" in warning and repr(str(bad)) in warning and reason in warning
    message = raised_line(folder.load_split, tmp_path, "train", SIDE, strict=True)
    assert " 1 other" in message and repr(str(bad)) in message and reason in message


def test_misplaced_entries_are_left_out_with_a_warning(tmp_path, caplog):
    write(tmp_path, "train/cat/good.png")
    inner = write(tmp_path, "train/cat/inner/lost.png").parent
    stray = write(tmp_path, "train/stray.png")
    dangling = tmp_path / "train" / "cat" / "dangling.png"
    dangling.symlink_to(tmp_path / "nowhere.png")
    split = folder.load_split(tmp_path, "train", SIDE)
    assert len(split.images) == 1 and split.class_names == ("cat",)
    (warning,) = warnings_of(caplog)
    assert f" 3 other files or folders: {str(dangling)!r} (not a regular file)" in warning
    assert f"{str(inner)!r} (a folder inside a class folder)" in warning
    assert f"{str(stray)!r} (not in a class folder)" in warning


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_is_not_waited_for(tmp_path, caplog):
    write(tmp_path, "train/cat/good.png")
    os.mkfifo(tmp_path / "train" / "cat" / "pipe.png")
    assert len(folder.load_split(tmp_path, "train", SIDE).images) == 1
    assert "not a regular file" in warnings_of(caplog)[0]


def test_one_warning_counts_all_and_shows_the_first_three(tmp_path, caplog):
    write(tmp_path, "train/cat/good.png")
    for name in ("5.txt", "4.png", "3.jpg", "2.txt", "1.png"):
        write(tmp_path, f"train/cat/{name}", b"words")
    folder.load_split(tmp_path, "train", SIDE)
    (warning,) = warnings_of(caplog)
    assert " 5 other" in warning
    assert warning.index("1.png") < warning.index("2.txt") < warning.index("3.jpg")
    assert "4.png" not in warning and "5.txt" not in warning


def test_a_class_without_readable_image_is_left_out_with_a_warning(tmp_path, caplog):
    write(tmp_path, "train/a cat/1.png", b"words")
    write(tmp_path, "train/dog/1.png", plain(BLUE))
    (tmp_path / "train" / "empty").mkdir()
    split = folder.load_split(tmp_path, "train", SIDE)
    assert split.class_names == ("dog",) and split.labels.tolist() == [0] and (split.images == BLUE).all()
    skipped, classes = warnings_of(caplog)
    assert "1.png" in skipped and "2 classes without, such as 'a cat', 'empty'" in classes


def test_an_empty_class_is_an_error_when_strict(tmp_path):
    write(tmp_path, "train/dog/1.png")
    (tmp_path / "train" / "empty").mkdir()
    message = raised_line(folder.load_split, tmp_path, "train", SIDE, strict=True)
    assert "1 class without, such as 'empty'" in message


def test_line_breaks_in_names_do_not_break_the_line(tmp_path, caplog):
    write(tmp_path, "train/cat/good.png")
    write(tmp_path, "train/cat/bad\nname.png", b"words")
    folder.load_split(tmp_path, "train", SIDE)
    (warning,) = warnings_of(caplog)
    assert "\n" not in warning and "bad\\nname.png" in warning


# The natural image size.


def test_natural_image_size_is_the_median_shorter_side(tmp_path):
    for index, (width, height) in enumerate([(40, 90), (90, 50), (70, 70)]):
        write(tmp_path, f"train/class{index}/1.png", plain(RED, width, height))
    assert folder.natural_image_size(tmp_path) == 50


def test_natural_image_size_looks_at_the_first_three_readable_of_each_class(tmp_path):
    write(tmp_path, "train/cat/0.png", b"words")
    for index, side in enumerate([40, 40, 40, 80, 80, 80, 80, 80]):
        write(tmp_path, f"train/cat/{index + 1}.png", plain(RED, side, side))
    for index in range(2):
        write(tmp_path, f"train/dog/{index}.png", plain(RED, 80, 80))
    assert folder.natural_image_size(tmp_path) == 40


def test_natural_image_size_reads_headers_only(tmp_path):
    write(tmp_path, "train/cat/1.jpg", truncated_jpeg())
    write(tmp_path, "train/cat/2.png", png_header(11_000, 10_000))
    assert folder.natural_image_size(tmp_path) == 64


@pytest.mark.parametrize(("side", "expected"), [(5, 32), (32, 32), (84, 84), (500, 84)])
def test_natural_image_size_is_clamped(tmp_path, side, expected):
    write(tmp_path, "train/cat/1.png", plain(RED, side, side + 3))
    assert folder.natural_image_size(tmp_path) == expected


def test_natural_image_size_without_images(tmp_path):
    write(tmp_path, "train/cat/1.png", b"words")
    assert f"'train' of {str(tmp_path)!r}" in raised_line(folder.natural_image_size, tmp_path)


# What the splits share.


def test_splits_of_different_classes_lose_none(tmp_path):
    for split, name in [("train", "a/x"), ("val", "b/x"), ("test", "x")]:
        write(tmp_path, f"{split}/{name}/1.png")
        assert folder.load_split(tmp_path, split, SIDE, strict=True).class_names == (name,)


@pytest.mark.parametrize(("first", "second"), [("train", "val"), ("train", "test"), ("val", "test")])
def test_a_class_of_an_earlier_split_is_left_out_of_the_later(tmp_path, caplog, first, second):
    for split in ("train", "val", "test"):
        write(tmp_path, f"{split}/only {split}/1.png")
    for split in (first, second):
        write(tmp_path, f"{split}/seen/b/1.png")
        write(tmp_path, f"{split}/seen/a/1.png")
    names = {split: folder.load_split(tmp_path, split, SIDE).class_names for split in ("train", "val", "test")}
    assert names[first] == (f"only {first}", "seen/a", "seen/b")
    assert names[second] == (f"only {second}",)
    expected = [f"splits {first!r} and {second!r}", "2 classes in both, such as 'seen/a'"]
    assert sum(all(words in warning for words in expected) for warning in warnings_of(caplog)) == 1
    assert expected[1] in raised_line(folder.load_split, tmp_path, second, SIDE, strict=True)


def test_splits_that_are_not_there_share_nothing(tmp_path):
    write(tmp_path, "test/cat/1.png")
    assert folder.load_split(tmp_path, "test", SIDE, strict=True).class_names == ("cat",)
    write(tmp_path, "train/cat/1.png")
    line = raised_line(folder.load_split, tmp_path, "test", SIDE)
    assert "no class is left for 'test', since 'train' has all 1 class, such as 'cat'. Move" in line


def test_classes_are_the_same_in_either_spelling_of_unicode(tmp_path):
    for path in ("train/caf\u00e9", "val/cafe\u0301", "val/tea"):
        write(tmp_path, f"{path}/1.png")
    split = folder.load_split(tmp_path, "val", SIDE)
    assert split.class_names == ("tea",)
    assert [(os.path.basename(path), reason) for path, reason, _ in split.skipped] == [
        ("cafe\u0301", "a class of 'train' too")
    ]


@pytest.mark.parametrize("split", ["val", "test"])
def test_classes_of_other_splits_that_differ_by_case_or_spaces_are_warned_of(tmp_path, caplog, split):
    for path in ("train/Cat", "train/dog", "train/DOG", f"{split}/cat ", f"{split}/owl"):
        write(tmp_path, f"{path}/1.png")
    assert folder.load_split(tmp_path, split, SIDE, strict=True).class_names == ("cat ", "owl")
    assert warnings_of(caplog) == [
        f"In 'train' and {split!r}: The classes 'Cat' and 'cat ' differ only by case or spaces: they count as "
        "different classes."
    ]


# Folders that cannot be used.


def test_data_folder_missing_or_a_file(tmp_path):
    missing, file = tmp_path / "missing", write(tmp_path, "file", b"")
    message = raised_line(folder.natural_image_size, missing)
    assert f"{str(missing)!r}, which does not exist" in message
    assert f"{str(file)!r}, which is a file" in raised_line(folder.load_split, file, "train", SIDE)


def test_split_folder_missing_tells_which_there_are(tmp_path):
    assert "an empty folder" in raised_line(folder.load_split, tmp_path, "val", SIDE)
    write(tmp_path, "val", b"a file of that name")
    for name in "gfedcba":
        (tmp_path / name).mkdir()
    message = raised_line(folder.load_split, tmp_path, "val", SIDE)
    assert "7 folders ('a', 'b', 'c', 'd', 'e' and 2 more) and 1 other file ('val')" in message
    (tmp_path / "train").mkdir()
    assert "must hold the folder 'val'" in raised_line(folder.load_split, tmp_path, "val", SIDE)


def test_split_folder_without_class(tmp_path):
    write(tmp_path, "train/1.png")
    (tmp_path / "train" / ".hidden").mkdir()
    message = raised_line(folder.load_split, tmp_path, "train", SIDE)
    assert (
        repr(str(tmp_path / "train")) in message and f"no folder, but '{tmp_path}/train/.hidden' (a hidden" in message
    )


@pytest.mark.parametrize("strict", [False, True])
def test_split_without_any_readable_image(tmp_path, strict):
    bad = write(tmp_path, "train/cat/1.png", b"words")
    (tmp_path / "train" / "dog").mkdir()
    message = raised_line(folder.load_split, tmp_path, "train", SIDE, strict=strict)
    assert f"'train' of {str(tmp_path)!r}" in message and f"{str(bad)!r} (not an image)" in message


def test_split_of_empty_classes(tmp_path):
    (tmp_path / "train" / "dog").mkdir(parents=True)
    assert "none, but 0 other files or folders." in raised_line(folder.load_split, tmp_path, "train", SIDE)


def test_a_folder_that_may_not_be_listed(tmp_path, monkeypatch):
    locked = write(tmp_path, "train/locked/1.png").parent
    scandir = os.scandir

    def guarded(path):
        if os.fspath(path) == str(locked):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    message = raised_line(folder.load_split, tmp_path, "train", SIDE)
    assert repr(str(locked)) in message and "Permission denied" in message


def test_an_image_of_extreme_width_is_refused_before_it_is_decoded(tmp_path):
    content = encoded(plain(RED), "PNG")
    write(tmp_path, "train/class/wide.png", png_header(70_000, 1) + content)
    line = raised_line(folder.load_split, tmp_path, "train", SIDE)
    assert "a side of more than 65,535 pixels" in line
