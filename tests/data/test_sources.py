"""Data sets by name."""

import numpy as np
import pytest
from PIL import Image

from dsl_tf.data import sources
from dsl_tf.data.split import Split
from dsl_tf.errors import UserError

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "grey": (90, 90, 90)}


@pytest.fixture
def data_dir(tmp_path):
    """Splits of squares of 40 pixels, each class of its own colour."""
    for split, names in {"train": ("red", "green"), "val": ("blue",), "test": ("grey",)}.items():
        for name in names:
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            Image.new("RGB", (40, 40), COLOURS[name]).save(folder / "square.png")
    return tmp_path


@pytest.fixture
def glyphs(monkeypatch):
    """A stand-in for the rendered glyphs, with one class named after the split."""

    def load(split):
        return Split(np.zeros((1, sources.glyphs.IMAGE_SIZE, sources.glyphs.IMAGE_SIZE, 3), np.uint8), [0], (split,))

    monkeypatch.setattr(sources.glyphs, "load_split", load)


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("image_size", [None, 32])
def test_glyphs(glyphs, split, image_size):
    assert sources.load_split("glyphs", split, image_size=image_size).class_names == (split,)


def test_glyphs_have_one_size(glyphs):
    with pytest.raises(UserError, match=r"--dataset=glyphs.*--image_size=32\b.*Received: 84\b"):
        sources.load_split("glyphs", "train", image_size=84)


@pytest.mark.parametrize("split, names", [("train", ("green", "red")), ("val", ("blue",)), ("test", ("grey",))])
@pytest.mark.parametrize("as_text", [False, True])
def test_a_folder(data_dir, split, names, as_text):
    loaded = sources.load_split("folder", split, str(data_dir) if as_text else data_dir, image_size=36)
    assert loaded.class_names == names
    assert loaded.images.shape == (len(names), 36, 36, 3)
    for image, name in zip(loaded.images, names, strict=True):
        np.testing.assert_array_equal(image, np.broadcast_to(COLOURS[name], image.shape))


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_folder_without_an_image_size_takes_that_of_the_train_images(data_dir, split):
    Image.new("RGB", (70, 70)).save(data_dir / "test" / "grey" / "square.png")
    assert sources.load_split("folder", split, data_dir).images.shape[1:] == (40, 40, 3)


def test_a_broken_image_is_an_error_only_when_strict(data_dir):
    (data_dir / "train" / "red" / "broken.png").write_bytes(b"broken")
    assert len(sources.load_split("folder", "train", data_dir, image_size=36).images) == 2
    with pytest.raises(UserError, match="broken.png"):
        sources.load_split("folder", "train", data_dir, image_size=36, strict=True)


def test_a_class_of_an_earlier_split_is_left_out_and_when_strict_an_error(data_dir):
    (data_dir / "test" / "red").mkdir()
    Image.new("RGB", (40, 40), COLOURS["red"]).save(data_dir / "test" / "red" / "square.png")
    assert sources.load_split("folder", "train", data_dir, image_size=36, strict=True).class_names == ("green", "red")
    assert sources.load_split("folder", "test", data_dir, image_size=36).class_names == ("grey",)
    with pytest.raises(UserError, match="'train'.*'test'.*'red'"):
        sources.load_split("folder", "test", data_dir, image_size=36, strict=True)


def test_a_folder_that_is_not_named_is_an_error():
    with pytest.raises(UserError, match="--dataset=folder needs --data_dir"):
        sources.load_split("folder", "train")


@pytest.mark.parametrize("dataset", ["cifar", "", "Glyphs"])
def test_an_unknown_data_set_is_an_error(dataset):
    with pytest.raises(UserError, match=rf"--dataset.*glyphs, folder.*Received: '{dataset}'"):
        sources.load_split(dataset, "train")


@pytest.mark.parametrize("dataset", ["glyphs", "folder"])
@pytest.mark.parametrize("split", ["valid", "", "Train"])
def test_an_unknown_split_is_an_error(dataset, split, data_dir):
    with pytest.raises(UserError, match=rf"--split.*train, val, test.*Received: '{split}'"):
        sources.load_split(dataset, split, data_dir)


def test_available_splits(data_dir):
    assert sources.available_splits("glyphs") == ["train", "val", "test"]
    assert sources.available_splits("folder", data_dir) == ["train", "val", "test"]
    (data_dir / "val").rename(data_dir / "validation")
    assert sources.available_splits("folder", data_dir) == ["train", "test"]
    assert sources.available_splits("folder", str(data_dir)) == ["train", "test"]
    assert sources.available_splits("glyphs", data_dir) == ["train", "val", "test"]


def test_a_file_is_no_available_split(data_dir):
    (data_dir / "val" / "blue" / "square.png").unlink()
    (data_dir / "val" / "blue").rmdir()
    (data_dir / "val").rmdir()
    (data_dir / "val").write_bytes(b"")
    assert sources.available_splits("folder", data_dir) == ["train", "test"]


def test_letters_are_not_mirrored():
    assert "glyphs" in sources.UNMIRRORED and set(sources.UNMIRRORED) <= set(sources.DATASETS)
