"""Tests of listing class folders, on real folders."""

import os

import numpy as np

from dsl_tf.data.formats.class_folders import image_names, read_class_folders, split_folders, sub_folders
from tests.data.formats.coloured_images import assert_split, encoded, raised_line, write


def test_labels_follow_the_dict_and_images_their_numbers(tmp_path):
    for index, name in enumerate(["b/x_1.png", "b/x_2.PNG", "b/x_10.bmp", "a/1.jpg", "a/01.jpg", "c/z.gif"]):
        write(tmp_path / name, encoded(index))
    folders = {"train": {"second": tmp_path / "b", "first": tmp_path / "a"}, "test": {"c": tmp_path / "c"}}
    splits = read_class_folders(folders)
    assert list(splits) == ["train", "test"]
    # 01 and 1 are the same number; the names decide.
    assert_split(splits["train"], ("second", "first"), [0, 0, 0, 1, 1], [0, 1, 2, 4, 3])
    assert_split(splits["test"], ("c",), [0], [5])
    assert [name for name, _ in splits["train"].read(3)] == [str(tmp_path / "a/01.jpg"), str(tmp_path / "a/1.jpg")]


def test_two_classes_may_share_a_folder_without_losing_images(tmp_path):
    write(tmp_path / "a/1.png", encoded(7))
    split = read_class_folders({"train": {"one": tmp_path / "a", "two": tmp_path / "a"}})["train"]
    assert split.labels.tolist() == [0, 1]
    assert len(list(split.read(0))) == 2


def test_only_visible_image_files_count(tmp_path):
    for name in ("1.png", ".2.png", "3.txt", "Thumbs.db", "inner.png/4.png", "5"):
        write(tmp_path / name, b"")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    # A broken link is told of when it is read.
    assert image_names(tmp_path) == ["1.png", "loop.jpg"]
    (tmp_path / ".hidden").mkdir()
    assert list(sub_folders(tmp_path)) == ["inner.png"]


def test_odd_digits_and_many_digits_can_be_sorted(tmp_path):
    names = ["a²_3.png", "a²_" + "9" * 200 + ".png", "٣.png", "7.png", "b.png"]
    for name in names:
        write(tmp_path / name, b"")
    assert image_names(tmp_path) == ["7.png", "a²_3.png", "a²_" + "9" * 200 + ".png", "b.png", "٣.png"]


def test_order_does_not_depend_on_the_file_system(tmp_path):
    numbers = np.random.default_rng(0).permutation(50)
    for number in numbers:
        write(tmp_path / f"n_{number}.JPEG", b"")
    assert image_names(tmp_path) == [f"n_{number}.JPEG" for number in range(50)]


def test_an_empty_class_folder(tmp_path):
    write(tmp_path / "a/notes.txt", b"")
    line = raised_line(read_class_folders, {"train": {"a": tmp_path / "a"}})
    assert repr(str(tmp_path / "a")) in line and "none" in line


def test_a_missing_class_folder(tmp_path):
    assert "No such file" in raised_line(read_class_folders, {"train": {"a": tmp_path / "a"}})


def test_split_folders(tmp_path):
    for name in ("train/b/1.png", "train/a/1.png", "val/c/1.png", "test/d/1.png", "other/e/1.png"):
        write(tmp_path / name, b"")
    assert split_folders(tmp_path) == {
        "train": {"a": tmp_path / "train/a", "b": tmp_path / "train/b"},
        "val": {"c": tmp_path / "val/c"},
        "test": {"d": tmp_path / "test/d"},
    }
    os.rename(tmp_path / "val", tmp_path / "Valid")
    assert split_folders(tmp_path)["val"] == {"c": tmp_path / "Valid/c"}
    os.rename(tmp_path / "Valid", tmp_path / "held out")
    assert "without 'val'" in raised_line(split_folders, tmp_path)
