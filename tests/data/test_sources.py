"""Data sets by name."""

import shutil

import numpy as np
import pytest
from PIL import Image

from dsl_tf.data import sources
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


def loaded(dataset, **options):
    return {name: load() for name, load in sources.open_splits(dataset, **options).items()}


def test_glyphs(tmp_path):
    splits = loaded("glyphs", cache_dir=tmp_path)
    assert list(splits) == ["train", "val", "test"]
    scripts = {name: {words.split()[0] for words in split.class_names} for name, split in splits.items()}
    assert scripts["train"] >= {"LATIN", "CYRILLIC"} and scripts["val"] == {"GREEK"}
    assert scripts["test"] == {"ARMENIAN", "GEORGIAN"}
    assert [path.suffix for path in tmp_path.iterdir()] == [".npz"]


def test_glyphs_have_one_size(tmp_path):
    assert loaded("glyphs", cache_dir=tmp_path, image_size=32)["val"].images.shape[1:] == (32, 32, 3)
    with pytest.raises(UserError, match=r"--dataset=glyphs.*--image_size=32\b.*Received: 84\b"):
        sources.open_splits("glyphs", image_size=84)
    with pytest.raises(UserError, match=r"--stored_size is for photographs.*Received: 500\b"):
        sources.open_splits("glyphs", stored_size=500)


@pytest.mark.parametrize("as_text", [False, True])
def test_a_folder(data_dir, as_text):
    splits = loaded("folder", data_dir=str(data_dir) if as_text else data_dir, image_size=36)
    assert {name: split.class_names for name, split in splits.items()} == {
        "train": ("green", "red"),
        "val": ("blue",),
        "test": ("grey",),
    }
    for split in splits.values():
        assert split.images.shape == (split.class_count, 36, 36, 3)
        for image, name in zip(split.images, split.class_names, strict=True):
            np.testing.assert_array_equal(image, np.broadcast_to(COLOURS[name], image.shape))


def test_a_folder_without_an_image_size_takes_that_of_the_train_images(data_dir):
    Image.new("RGB", (70, 70)).save(data_dir / "test" / "grey" / "square.png")
    for split in loaded("folder", data_dir=data_dir).values():
        assert split.images.shape[1:] == (40, 40, 3)


def test_a_broken_image_is_an_error_only_when_strict(data_dir):
    (data_dir / "train" / "red" / "broken.png").write_bytes(b"broken")
    assert len(loaded("folder", data_dir=data_dir, image_size=36)["train"].images) == 2
    splits = sources.open_splits("folder", data_dir=data_dir, image_size=36, strict=True)
    with pytest.raises(UserError, match="broken.png"):
        splits["train"]()


def test_a_class_of_an_earlier_split_is_left_out_and_when_strict_an_error(data_dir):
    (data_dir / "test" / "red").mkdir()
    Image.new("RGB", (40, 40), COLOURS["red"]).save(data_dir / "test" / "red" / "square.png")
    assert loaded("folder", data_dir=data_dir, image_size=36)["test"].class_names == ("grey",)
    splits = sources.open_splits("folder", data_dir=data_dir, image_size=36, strict=True)
    assert splits["train"]().class_names == ("green", "red")
    with pytest.raises(UserError, match="'train'.*'test'.*'red'"):
        splits["test"]()


def test_only_the_folders_there_are_splits(data_dir):
    shutil.rmtree(data_dir / "val")
    (data_dir / "val").write_bytes(b"a file is no split")
    assert list(sources.open_splits("folder", data_dir=data_dir)) == ["train", "test"]


@pytest.mark.parametrize(
    "names", [("Train", "valid", "TEST"), ("training", "Validation", "testing"), ("train ", "Dev", "Test")]
)
def test_splits_are_found_under_the_names_that_people_give_them(data_dir, names, caplog):
    expected = {name: split.class_names for name, split in loaded("folder", data_dir=data_dir).items()}
    for split, name in zip(("train", "val", "test"), names, strict=True):
        (data_dir / split).rename(data_dir / f"{name}.")
        (data_dir / f"{name}.").rename(data_dir / name)
    assert {name: split.class_names for name, split in loaded("folder", data_dir=data_dir).items()} == expected
    assert not caplog.messages


def test_two_folders_for_one_split(data_dir, caplog):
    (data_dir / "Valid").mkdir()
    assert loaded("folder", data_dir=data_dir)["val"].class_names == ("blue",)
    assert "also holds 'Valid', which are not read" in caplog.text
    (data_dir / "val").rename(data_dir / "validation")
    with pytest.raises(UserError, match="one folder for the split 'val'. Received: 'Valid' and 'validation'. Keep one"):
        sources.open_splits("folder", data_dir=data_dir)


def test_folders_that_may_be_a_missing_split_are_named(data_dir, caplog):
    (data_dir / "extra").mkdir()
    loaded("folder", data_dir=data_dir)
    assert not caplog.messages
    (data_dir / "val").rename(data_dir / "holdout")
    assert list(loaded("folder", data_dir=data_dir)) == ["train", "test"]
    assert "also holds 'extra', 'holdout', which are not read" in caplog.text


@pytest.mark.parametrize(
    "dataset", ["folder", "mini_imagenet", "tiered_imagenet", "cub", "cifar_fs", "meta_inat", "tfds:cifar10"]
)
def test_a_data_folder_that_is_not_there_is_an_error_at_once(dataset, tmp_path):
    # Below two empty folders, since the folders above may hold what other tests have written.
    folder = tmp_path / "empty" / "folder"
    folder.mkdir(parents=True)
    (folder / "file").write_bytes(b"")
    for name, found in (("missing", "does not exist"), ("file", "is a file")):
        with pytest.raises(UserError, match=f"--data_dir must be a folder.*Received: '.*{name}', which {found}. Check"):
            sources.open_splits(dataset, data_dir=folder / name, cache_dir=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("path", "advice"),
    [
        ("outer", "Try --data_dir='{root}/outer/data'."),
        ("outer/data/train", "Try --data_dir='{root}/outer/data'."),
        ("outer/data/train/green", "Try --data_dir='{root}/outer/data'."),
        ("elsewhere", "or write a csv file with the columns file and label."),
    ],
)
def test_the_folder_that_would_do_is_suggested_at_whatever_level_one_points(tmp_path, data_dir, path, advice):
    root = tmp_path / "root"
    (root / "outer" / "data").mkdir(parents=True)
    (root / "elsewhere" / "cat").mkdir(parents=True)
    (root / "elsewhere" / "list.txt").write_bytes(b"")
    for split in ("train", "val", "test"):
        (data_dir / split).rename(root / "outer" / "data" / split)
    with pytest.raises(UserError) as error:
        sources.open_splits("folder", data_dir=root / path)
    message = str(error.value)
    assert message.endswith(advice.format(root=root)) and "\n" not in message
    if path == "elsewhere":
        assert "Received: 1 folder ('cat') and 1 other file ('list.txt')." in message


def test_training_classes_are_held_out_where_there_is_no_val_split(data_dir):
    shutil.rmtree(data_dir / "val")
    splits = loaded("folder", data_dir=data_dir, val_fraction=0.3)
    assert {name: split.class_names for name, split in splits.items()} == {
        "train": ("green",),
        "val": ("red",),
        "test": ("grey",),
    }


def test_nothing_is_held_out_where_there_is_a_val_split(data_dir):
    with pytest.raises(UserError, match="--val_fraction.*Received: 0.3"):
        sources.open_splits("folder", data_dir=data_dir, val_fraction=0.3)


def test_a_folder_that_is_not_named_is_an_error():
    with pytest.raises(UserError, match="--dataset=folder needs --data_dir"):
        sources.open_splits("folder")


@pytest.mark.parametrize("dataset", ["cifar", "", "Glyphs"])
def test_an_unknown_data_set_is_an_error(dataset):
    with pytest.raises(UserError, match=rf"--dataset.*glyphs, folder.*Received: '{dataset}'"):
        sources.open_splits(dataset)


def test_letters_are_not_mirrored():
    assert sources.UNMIRRORED == ("glyphs",)
