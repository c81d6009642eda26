"""Tests of finding classes in folders."""

import os

import pytest

from dsl_tf.data.labelled_images import find_labelled_images
from dsl_tf.errors import UserError


def made(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return find_labelled_images(root)


def shown(root, found):
    return {name: [os.path.relpath(file, root) for file in files] for name, files in found.files.items()}


def reasons(root, found):
    return {os.path.relpath(path, root): reason for path, reason, expected in found.skipped if not expected}


def test_other_files_beside_class_folders_cost_no_group(tmp_path):
    others = ["desktop.ini", "labels.csv", "readme.txt", "Thumbs.db", ".DS_Store"]
    found = made(tmp_path, "Greek/alpha/1.png", "Greek/beta/2.jpg", *(f"Greek/{name}" for name in others))
    assert shown(tmp_path, found) == {"Greek/alpha": ["Greek/alpha/1.png"], "Greek/beta": ["Greek/beta/2.jpg"]}
    assert list(reasons(tmp_path, found)) == ["Greek/labels.csv", "Greek/readme.txt"]


def test_tiny_imagenet_keeps_the_images_of_a_class_in_a_folder(tmp_path):
    found = made(tmp_path, "n01/images/1.JPEG", "n01/n01_boxes.txt", "n02/Images/2.JPEG", "n03/3.JPEG")
    assert shown(tmp_path, found) == {
        "n01": ["n01/images/1.JPEG"],
        "n02": ["n02/Images/2.JPEG"],
        "n03": ["n03/3.JPEG"],
    }
    assert list(reasons(tmp_path, found)) == ["n01/n01_boxes.txt"]


def test_images_that_no_class_folder_holds(tmp_path):
    with pytest.raises(UserError, match="one folder 'images' alone, which names no class. Sort"):
        made(tmp_path, "images/val_0.JPEG", "val_annotations.txt")


def test_classes_at_any_depth_are_sorted_by_their_whole_names(tmp_path):
    found = made(tmp_path, "a/b/c/1.png", "a/b/d/2.png", "a b/3.png", "e/4.png", "e/f/5.png", "6.png")
    assert list(found.files) == ["a b", "a/b/c", "a/b/d", "e"]
    assert reasons(tmp_path, found) == {"6.png": "not in a class folder", "e/f": "a folder inside a class folder"}


def test_a_class_may_be_empty(tmp_path):
    (tmp_path / "b").mkdir()
    found = made(tmp_path, "a/1.png", "c/notes.txt")
    assert shown(tmp_path, found) == {"a": ["a/1.png"], "b": [], "c": []}


def test_a_pipe_makes_no_class_of_a_group(tmp_path):
    (tmp_path / "group").mkdir()
    os.mkfifo(tmp_path / "group" / "pipe.png")
    found = made(tmp_path, "group/a/1.png")
    assert list(found.files) == ["group/a"] and reasons(tmp_path, found) == {"group/pipe.png": "not a regular file"}


def test_links_neither_go_round_nor_double_classes(tmp_path):
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    made(elsewhere, "far/1.png")
    made(root, "z/1.png", "group/y/2.png")
    os.symlink(root / "z", root / "a")
    os.symlink(elsewhere / "far", root / "far 1")
    os.symlink(elsewhere / "far", root / "far 2")
    os.symlink(root, root / "group" / "round")
    os.symlink(tmp_path, root / "group" / "further round")
    found = find_labelled_images(root)
    assert list(found.files) == ["far 1", "group/y", "z"]
    assert reasons(root, found) == {
        "a": "the same folder as the class 'z'",
        "far 2": "the same folder as the class 'far 1'",
        "group/round": "a link to a folder that holds it",
        "group/further round": "a link to a folder that holds it",
    }


def test_one_name_in_two_spellings_of_unicode_is_one_class(tmp_path):
    found = made(tmp_path, "cafe\u0301/1.png", "caf\u00e9/2.png", "tea/3.png")
    assert shown(tmp_path, found) == {"cafe\u0301": ["cafe\u0301/1.png", "caf\u00e9/2.png"], "tea": ["tea/3.png"]}
    (note,) = found.notes
    assert "the same name in Unicode: they are read as one class" in note


def test_names_that_differ_by_case_or_spaces_are_noted(tmp_path):
    found = made(tmp_path, "cat/1.png", "Cat/1.png", "dog /1.png", "dog/1.png", "owl/1.png")
    assert list(found.files) == ["Cat", "cat", "dog", "dog ", "owl"]
    (note,) = found.notes
    assert "'Cat' and 'cat' differ only by case or spaces" in note and "2 such groups" in note


def test_names_that_are_not_utf_8_become_text(tmp_path):
    for name in (b"caf\xe9", b"th\xe9"):
        folder = tmp_path / os.fsdecode(name)
        folder.mkdir()
        (folder / "1.png").touch()
    found = find_labelled_images(tmp_path)
    assert list(found.files) == ["caf\\xe9", "th\\xe9"]
    assert all(os.path.exists(file) for files in found.files.values() for file in files)
    (note,) = found.notes
    assert note.startswith("2 class folders have names that are not UTF-8, such as ") and note.isprintable()
