"""Tests of the embedded data set, on what the real renderer draws."""

import hashlib
import os
import subprocess
import sys
import time
import unicodedata

import matplotlib
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from dsl_tf.data import glyphs
from dsl_tf.errors import UserError

SPLITS = ("train", "val", "test")
# A bare package in the place of `dsl_tf.data`, which would import TensorFlow: seconds, and not needed here.
PRINT_DIGEST = """
import hashlib, importlib, sys, types
package_folder, cache_folder = sys.argv[1:]
sys.modules["dsl_tf.data"] = types.ModuleType("dsl_tf.data")
sys.modules["dsl_tf.data"].__path__ = [package_folder]
glyphs = importlib.import_module("dsl_tf.data.glyphs")
digest = hashlib.sha256()
for split in ("train", "val", "test"):
    loaded = glyphs.load_split(split, cache_folder)
    digest.update(loaded.images.tobytes() + loaded.labels.tobytes() + repr(loaded.class_names).encode())
print(digest.hexdigest())
"""


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    return {split: glyphs.load_split(split, folder) for split in SPLITS}


@pytest.fixture(scope="module")
def characters(splits):
    return {name: [unicodedata.lookup(named) for named in splits[name].class_names] for name in SPLITS}


def by_class(split):
    return split.images.reshape(split.class_count, -1, *split.images.shape[1:])


def assert_equal(split, expected):
    np.testing.assert_array_equal(split.images, expected.images)
    np.testing.assert_array_equal(split.labels, expected.labels)
    assert split.class_names == expected.class_names


def cache_file(folder):
    (path,) = folder.iterdir()
    return path


@pytest.mark.parametrize("name", SPLITS)
def test_images_and_labels(splits, name):
    split = splits[name]
    size = glyphs.IMAGE_SIZE
    assert size == 32
    assert split.images.shape == (len(split.labels), size, size, 3)
    assert split.images.dtype == np.uint8
    assert np.ptp(split.images, axis=-1).max() == 0
    np.testing.assert_array_equal(split.labels, np.repeat(np.arange(split.class_count), 24))


def test_enough_classes_for_few_shot_episodes(splits):
    assert splits["train"].class_count >= 40
    assert splits["val"].class_count >= 20
    assert splits["test"].class_count >= 40
    for split in splits.values():
        assert np.bincount(split.labels).min() >= 5 + 15


def test_classes_are_disjoint(splits):
    names = [name for split in splits.values() for name in split.class_names]
    assert len(set(names)) == len(names)


def test_each_split_has_its_own_scripts(splits):
    scripts = {split: {name.split()[0] for name in loaded.class_names} for split, loaded in splits.items()}
    assert scripts == {
        "train": {"LATIN", "DIGIT", "CYRILLIC"},
        "val": {"GREEK"},
        "test": {"ARMENIAN", "GEORGIAN"},
    }


@pytest.mark.parametrize("name", SPLITS)
def test_ink_is_dark_enough_and_off_the_border(splits, name):
    images = splits[name].images[..., 0]
    border = np.ones(images.shape[1:], bool)
    border[1:-1, 1:-1] = False
    assert (images[:, border] == 255).all()
    assert images.min(axis=(1, 2)).max() < 96
    share = (images < 128).mean(axis=(1, 2))
    assert share.min() > 0.02 and share.max() < 0.5


@pytest.mark.parametrize("name", SPLITS)
def test_glyphs_fill_the_frame(splits, name):
    for ink in splits[name].images[..., 0] < 255:
        rows, columns = np.nonzero(ink)
        assert max(np.ptp(rows), np.ptp(columns)) >= glyphs.IMAGE_SIZE // 2


@pytest.mark.parametrize("name", SPLITS)
def test_the_images_of_a_class_differ(splits, name):
    for images in by_class(splits[name]):
        assert len({image.tobytes() for image in images}) == len(images)


@pytest.mark.parametrize(("name", "shown"), (("train", "AEMXZ47"), ("val", "ΞΣΨλ"), ("test", "ԽՀՎჟ")))
def test_class_names_say_what_the_images_show(splits, characters, name, shown):
    means = 255 - by_class(splits[name])[..., 0].mean(axis=1).reshape(splits[name].class_count, -1)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    font = ImageFont.truetype(os.path.join(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), 30)
    for character in shown:
        plain = Image.new("L", (glyphs.IMAGE_SIZE, glyphs.IMAGE_SIZE))
        left, top, right, bottom = font.getbbox(character)
        middle = glyphs.IMAGE_SIZE / 2
        position = middle - (left + right) / 2, middle - (top + bottom) / 2
        ImageDraw.Draw(plain).text(position, character, fill=255, font=font)
        assert characters[name][np.argmax(means @ np.asarray(plain).ravel())] == character


def test_every_typeface_has_the_characters_drawn_with_it(monkeypatch):
    ink, drawn = glyphs._ink, {}

    def record(character, font):
        image = ink(character, font)
        drawn.setdefault(font.path, (font, set()))[1].add(image.tobytes())
        return image

    monkeypatch.setattr(glyphs, "_ink", record)
    monkeypatch.setattr(glyphs, "_deformed", lambda *_: np.zeros(1))
    glyphs._render.__wrapped__()
    assert len(drawn) > 15
    for font, images in drawn.values():
        # No typeface has this code point, so that is how it draws what it does not have.
        assert ink("\U0010ffff", font).tobytes() not in images


@pytest.mark.parametrize(
    "look_alikes",
    (
        "AАΑ", "aаα", "BВΒ", "CcСсϹ", "EЕΕ", "eе", "HНнΗ", "IlІӀΙı1", "JЈյ", "KКкΚκ", "MМмΜ", "NΝ",
        "OoОоΟοՕօ0", "PРΡ", "pрρ", "SsЅѕ5", "SsЅѕՏ", "TТтΤτ", "UuՍս", "VvѴѵ", "XxХхΧχ", "YyУуΥүҮ", "ZzΖ",
        "hһհ", "nոռп", "mтա", "3Ззэ", "ФΦՓ", "ГгΓ", "Жж", "Яя", "qզԛ", "2շ", "9gց", "Կկ", "Մմ",
    ),
)  # fmt: skip
def test_of_look_alikes_one_at_most(characters, look_alikes):
    present = [character for split in SPLITS for character in characters[split] if character in look_alikes]
    assert len(present) <= 1


def test_plainly_different_letters_stay(characters):
    assert set("ABCEFGHKLMNRTXYZ23467bdkmtЖДЯФ") <= set(characters["train"])
    assert set("ΞΣΨαβζλω") <= set(characters["val"])
    assert set("ԳԽՖჟუღ") <= set(characters["test"])


def test_cached_split_equals_the_rendered_one(splits, tmp_path, monkeypatch):
    for name in SPLITS:
        assert_equal(glyphs.load_split(name, tmp_path), splits[name])
    monkeypatch.setattr(glyphs, "_render", None)
    for name in SPLITS:
        assert_equal(glyphs.load_split(name, tmp_path), splits[name])
    assert cache_file(tmp_path).suffix == ".npz"


def test_processes_with_one_cache_agree(splits, tmp_path):
    digest = hashlib.sha256()
    for split in splits.values():
        digest.update(split.images.tobytes() + split.labels.tobytes() + repr(split.class_names).encode())
    other = subprocess.Popen(
        [sys.executable, "-c", PRINT_DIGEST, os.path.dirname(glyphs.__file__), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    # Until the other process has rendered, this one reads and replaces the same file.
    while other.poll() is None:
        (tmp_path / f"glyphs-{glyphs._fingerprint()}.npz").unlink(missing_ok=True)
        for name in SPLITS:
            assert_equal(glyphs.load_split(name, tmp_path), splits[name])
        time.sleep(0.05)
    assert other.communicate()[0].strip() == digest.hexdigest()
    assert cache_file(tmp_path).suffix == ".npz"


def flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


@pytest.mark.parametrize(
    "damage",
    (lambda content: b"", lambda content: b"text", lambda content: content[: len(content) // 2], flipped),
    ids=("empty", "text", "truncated", "flipped"),
)
def test_damaged_cache_is_replaced(splits, tmp_path, damage):
    glyphs.load_split("test", tmp_path)
    path = cache_file(tmp_path)
    content = path.read_bytes()
    path.write_bytes(damage(content))
    for name in SPLITS:
        assert_equal(glyphs.load_split(name, tmp_path), splits[name])
    assert cache_file(tmp_path).read_bytes() == content


@pytest.mark.parametrize(
    "arrays",
    (
        {"images": np.zeros(3)},
        {"val_names": np.array(["a"]), "val_images": np.zeros((2, 24, 32, 32), np.uint8)},
        {"val_names": np.array(["a"]), "val_images": np.zeros((1, 24, 32, 32), np.float32)},
        {"val_names": np.array(3), "val_images": np.zeros((24, 32, 32), np.uint8)},
        {"val_names": np.array(["a"], dtype=object), "val_images": np.zeros((1, 24, 32, 32), np.uint8)},
    ),
)
def test_foreign_cache_is_replaced(splits, tmp_path, arrays):
    glyphs.load_split("val", tmp_path)
    np.savez(cache_file(tmp_path), **arrays)
    assert_equal(glyphs.load_split("val", tmp_path), splits["val"])
    with np.load(cache_file(tmp_path)) as replaced:
        assert replaced["val_images"].shape == (splits["val"].class_count, 24, 32, 32)


def test_other_versions_have_other_cache_files(tmp_path, monkeypatch):
    glyphs.load_split("val", tmp_path)
    names = (glyphs, "_VERSION"), (glyphs.PIL, "__version__"), (glyphs.matplotlib, "__version__")
    for count, (module, name) in enumerate(names, start=2):
        monkeypatch.setattr(module, name, "another")
        glyphs.load_split("val", tmp_path)
        assert len(list(tmp_path.iterdir())) == count


def test_works_where_nothing_can_be_cached(splits, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"kept")
    for folder in (file, file / "cache"):
        assert_equal(glyphs.load_split("val", folder), splits["val"])
    assert file.read_bytes() == b"kept"


def test_a_failed_write_leaves_nothing_behind(splits, tmp_path, monkeypatch):
    def no_space(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(glyphs.os, "replace", no_space)
    assert_equal(glyphs.load_split("val", tmp_path), splits["val"])
    assert not list(tmp_path.iterdir())


def test_default_cache_folder(splits, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert_equal(glyphs.load_split("val"), splits["val"])
    assert cache_file(tmp_path / "xdg" / "dsl_tf").suffix == ".npz"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert_equal(glyphs.load_split("val"), splits["val"])
    assert cache_file(tmp_path / "home" / ".cache" / "dsl_tf").suffix == ".npz"


def test_callers_may_change_what_they_load(splits, tmp_path):
    file = tmp_path / "file"
    file.touch()
    glyphs.load_split("val", file).images[:] = 0
    assert_equal(glyphs.load_split("val", file), splits["val"])


@pytest.mark.parametrize("split", ("dev", "", "Train", None, ["train"]))
def test_unknown_split(tmp_path, split):
    with pytest.raises(UserError, match="one of train, val, test. Received: ") as error:
        glyphs.load_split(split, tmp_path)
    assert repr(split) in str(error.value)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())
