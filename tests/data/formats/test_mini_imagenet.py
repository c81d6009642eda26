"""Tests of the formats of mini-ImageNet, on small files of each with all of the published classes."""

import pickle
import tarfile

import numpy as np
import pytest

from dsl_tf.data import recognition
from dsl_tf.data.class_lists import class_list
from dsl_tf.data.formats.mini_imagenet import FORMATS
from dsl_tf.data.split import SPLITS
from tests.data.formats.coloured_images import assert_split, encoded, pixels, raised_line, write
from tests.data.formats.python2_pickles import python2_pickle
from tests.data.formats.tars import tar

CLASSES = class_list("mini_imagenet")
ALL = [name for split in SPLITS for name in CLASSES[split]]
SIDE = 84
CACHES, CATEGORY_PICKLES, LISTS_AND_IMAGES, LISTS_AND_IMAGENET, CLASS_FOLDERS = FORMATS


def found(folder):
    """The format that is read, the first whose files are there."""
    return next(each for each in FORMATS if each.is_in(folder))


def read(folder, expected):
    assert found(folder) is expected
    return expected.read(folder)


def error(folder, expected):
    return raised_line(read, folder, expected)


# Pickles with a class_dict.


def cache(split, **changes):
    """Two images a class, whose rows lie apart and whose classes are in another order than published."""
    count = len(CLASSES[split])
    rows = {name: [label, 2 * count - 1 - label] for label, name in enumerate(CLASSES[split])}
    return {"image_data": pixels(range(2 * count), SIDE), "class_dict": dict(reversed(rows.items())), **changes}


def in_bytes(value):
    if isinstance(value, dict):
        return {in_bytes(key): in_bytes(item) for key, item in value.items()}
    return value.encode() if isinstance(value, str) else value


def write_caches(folder, dump=pickle.dumps, **changes):
    for split in SPLITS:
        write(folder / f"mini-imagenet-cache-{split}.pkl", dump(cache(split, **changes)))


@pytest.mark.parametrize("dump", [pickle.dumps, lambda value: python2_pickle(in_bytes(value))])
def test_caches(tmp_path, dump):
    write_caches(tmp_path, dump)
    splits = read(tmp_path, CACHES)
    assert list(splits) == list(SPLITS)
    for split, raw_split in splits.items():
        count = len(CLASSES[split])
        assert_split(raw_split, CLASSES[split], [*range(count), *reversed(range(count))], range(2 * count))


def test_caches_with_rows_in_arrays(tmp_path):
    rows = cache("val")["class_dict"]
    write_caches(tmp_path)
    arrays = {name: np.array(row) for name, row in rows.items()}
    write(tmp_path / "mini-imagenet-cache-val.pkl", pickle.dumps(cache("val", class_dict=arrays), protocol=4))
    assert_split(read(tmp_path, CACHES)["val"], CLASSES["val"], [*range(16), *reversed(range(16))], range(32))


def test_a_missing_cache(tmp_path):
    write(tmp_path / "mini-imagenet-cache-test.pkl", b"")
    line = error(tmp_path, CACHES)
    assert "without 'mini-imagenet-cache-train.pkl' and 'mini-imagenet-cache-val.pkl'" in line


def changed_rows(**changes):
    return {"class_dict": {**cache("val")["class_dict"], **changes}}


FIRST, SECOND = CLASSES["val"][:2]


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"image_data": pixels(range(32), 32)}, "wrong sizes"),
        ({"image_data": pixels(range(32), SIDE).astype(np.int16)}, "int16"),
        ({"class_dict": [1]}, "list"),
        ({"class_dict": {}}, "and 13 more missing"),
        (changed_rows(n00000000=[]), "'n00000000' not among them"),
        (changed_rows(**{CLASSES["test"][0]: []}), f"'{CLASSES['test'][0]}' not among them"),
        (changed_rows(**{FIRST: [0, 31, 1]}), "twice"),
        (changed_rows(**{FIRST: [0, 31, 31]}), "twice"),
        (changed_rows(**{FIRST: [0]}), "1 images without"),
        (changed_rows(**{FIRST: []}), "none"),
        (changed_rows(**{FIRST: [0, 32]}), "others than its 32"),
        (changed_rows(**{FIRST: [0, -1]}), "others than its 32"),
        (changed_rows(**{FIRST: [0.0, 31.0]}), "list of something else"),
        (changed_rows(**{FIRST: None}), "NoneType"),
        (changed_rows(**{FIRST: np.array([[0], [31]])}), "[2, 1]"),
    ],
)
def test_malformed_caches(tmp_path, changes, part):
    write_caches(tmp_path)
    write(tmp_path / "mini-imagenet-cache-val.pkl", pickle.dumps(cache("val", **changes), protocol=4))
    line = error(tmp_path, CACHES)
    assert part in line and "cache-val" in line


# Pickles with labels.

CATEGORY = "miniImageNet_category_split_"
CATEGORY_NAMES = {"train": "train_phase_train", "val": "val", "test": "test"}


def category(split, first_label=0, **more):
    count = len(CLASSES[split])
    labels = [first_label + index % count for index in range(2 * count)]
    return {b"data": pixels(range(2 * count), SIDE), b"labels": labels, **more}


def test_category_pickles(tmp_path):
    write(tmp_path / f"{CATEGORY}train_phase_train.pickle", python2_pickle(category("train")))
    by_name = dict(zip(CLASSES["val"], range(64, 80)))
    write(tmp_path / f"{CATEGORY}val.pickle", pickle.dumps(category("val", 64, catname2label=by_name), protocol=4))
    write(tmp_path / f"{CATEGORY}test.pickle", python2_pickle(category("test", 80)))
    for split in ("val", "test"):
        write(tmp_path / f"{CATEGORY}train_phase_{split}.pickle", b"never read")
    splits = read(tmp_path, CATEGORY_PICKLES)
    for split, names in {"train": None, "val": CLASSES["val"], "test": None}.items():
        count = len(CLASSES[split])
        assert_split(splits[split], names, [*range(count), *range(count)], range(2 * count))


@pytest.mark.parametrize(
    "present", [["train_phase_val"], ["train_phase_test"], ["train_phase_val", "train_phase_test"]]
)
def test_only_more_of_the_train_classes(tmp_path, present):
    for name in present:
        write(tmp_path / f"{CATEGORY}{name}.pickle", b"")
    assert "never used" in error(tmp_path, CATEGORY_PICKLES)


def test_more_of_the_train_classes_do_not_stand_in_for_val(tmp_path):
    for name in ("train_phase_train", "train_phase_val", "test"):
        write(tmp_path / f"{CATEGORY}{name}.pickle", python2_pickle(category("train")))
    assert f"without '{CATEGORY}val.pickle'" in error(tmp_path, CATEGORY_PICKLES)
    write(tmp_path / f"{CATEGORY}val.pickle", python2_pickle(category("train")))
    line = error(tmp_path, CATEGORY_PICKLES)
    assert "64 classes" in line and "16 classes" in line


# Lists and images.


def lists(numbers=(3, 1)):
    """The names of the images of each split, as listed: the published classes in reverse."""
    return {
        split: [f"{name}{number:08}.jpg" for number in numbers for name in reversed(CLASSES[split])] for split in SPLITS
    }


def write_lists(folder, numbers=(3, 1), end="\n", **texts):
    for split, names in lists(numbers).items():
        lines = ["filename,label", *(f"{name},{name[:9]}" for name in names), ""]
        write(folder / f"{split}.csv", texts.get(split, end.join(lines).encode()))


def write_images(folder):
    """Black where not listed, since the content is only looked at in other tests."""
    for names in lists().values():
        for name in names:
            write(folder / "images" / name, b"")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """The folder images, each of a colour of its own."""
    folder = tmp_path_factory.mktemp("images")
    for split, names in lists().items():
        for index, name in enumerate(names):
            write(folder / name, encoded(index + 1000 * SPLITS.index(split)))
    write(folder / "n0153282900000099.jpg", b"not listed")
    return folder


def assert_as_listed(splits):
    for split, raw_split in splits.items():
        count = len(CLASSES[split])
        first = 1000 * SPLITS.index(split)
        labels = [*reversed(range(count))] * 2
        assert_split(raw_split, CLASSES[split], labels, range(first, first + 2 * count))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n", "\n,\n"])
def test_lists_and_images(tmp_path, images, end):
    write_lists(tmp_path, end=end)
    (tmp_path / "images").symlink_to(images)
    assert_as_listed(read(tmp_path, LISTS_AND_IMAGES))


@pytest.mark.parametrize("place", ["split", "splits"])
def test_lists_in_a_folder_beside_the_images(tmp_path, images, place):
    (tmp_path / place).mkdir()
    write_lists(tmp_path / place)
    (tmp_path / "images").symlink_to(images)
    assert_as_listed(read(tmp_path, LISTS_AND_IMAGES))
    (tmp_path / place / "val.csv").unlink()
    assert f"without '{place}/val.csv'" in error(tmp_path, LISTS_AND_IMAGES)


def test_a_list_with_a_mark_of_its_encoding_and_quotes(tmp_path, images):
    rows = [f'"{name}","{name[:9]}"' for name in lists()["val"]]
    write_lists(tmp_path, val="\r\n".join(["\ufeffFilename, label", *rows]).encode())
    (tmp_path / "images").symlink_to(images)
    assert_as_listed(read(tmp_path, LISTS_AND_IMAGES))


def test_images_without_lists_and_lists_without_images(tmp_path):
    (tmp_path / "images").mkdir()
    assert "'train.csv', 'val.csv' and 'test.csv'" in error(tmp_path, LISTS_AND_IMAGES)
    write_lists(tmp_path)
    missing = lists()["train"][:3]
    line = error(tmp_path, LISTS_AND_IMAGES)
    assert ", ".join(map(repr, missing)) + " and 197 more" in line
    (tmp_path / "val.csv").unlink()
    line = error(tmp_path, LISTS_AND_IMAGES)
    assert "without 'val.csv', but with 1 folder ('images') and 2 other files ('test.csv', 'train.csv')" in line
    (tmp_path / "val.csv").touch()
    (tmp_path / "images").rename(tmp_path / "pictures")
    line = raised_line(recognition.recognise, "mini_imagenet", tmp_path)
    assert "Received: 1 folder ('pictures') and 3 other files ('test.csv', 'train.csv', 'val.csv'). Check" in line


@pytest.mark.parametrize("path", ["inner/split", "inner/images", "inner/split/val.csv", "."])
def test_the_folder_that_would_do_is_suggested(tmp_path, path):
    (tmp_path / "outer" / "inner" / "split").mkdir(parents=True)
    (tmp_path / "outer" / "inner" / "images").mkdir()
    write_lists(tmp_path / "outer" / "inner" / "split")
    line = raised_line(recognition.recognise, "mini_imagenet", tmp_path / "outer" / path)
    assert line.endswith(f"Try --data_dir='{tmp_path}/outer/inner'.")


OTHER = CLASSES["test"][0]


@pytest.mark.parametrize(
    "row",
    [
        f"../{FIRST}00000005.jpg,{FIRST}",
        f"/etc/{FIRST}00000005.jpg,{FIRST}",
        f"C:{FIRST}00000005.jpg,{FIRST}",
        f"sub\\{FIRST}00000005.jpg,{FIRST}",
        f"{FIRST}00000005.jpg\0,{FIRST}",
        f"{FIRST}/../../passwd.jpg,{FIRST}",
        f"..,{FIRST}",
        f"{FIRST}00000005.jpg,{SECOND}",
        f"{FIRST}00000005.txt,{FIRST}",
        f"{FIRST}00000005.jpg",
        f"{FIRST}00000005.jpg,{FIRST},1",
        f"{FIRST}٣٣٣٣.jpg,{FIRST}",
        f"{FIRST}{'1' * 5000}.jpg,{FIRST}",
        f"{FIRST}00000001.jpg,{FIRST}",
        f"{FIRST}1.JPG,{FIRST}",
        f'"{FIRST}00000005.jpg"x,{FIRST}',
    ],
)
def test_wrong_rows(tmp_path, row):
    write_lists(tmp_path)
    write_images(tmp_path)
    text = (tmp_path / "val.csv").read_text()
    write(tmp_path / "val.csv", f"{text}\n{row}\n".encode())
    line = error(tmp_path, LISTS_AND_IMAGES)
    assert f"Line {1 + 32 + 2} of {str(tmp_path / 'val.csv')!r}" in line


def test_an_image_in_two_lists(tmp_path):
    names = lists()["val"]
    write_images(tmp_path)
    rows = [f"{name},{name[:9]}" for name in names]
    write_lists(tmp_path, test="\n".join(["filename,label", *rows]).encode())
    line = error(tmp_path, LISTS_AND_IMAGES)
    assert names[0] in line and "Line 2" in line and "test.csv" in line


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "Line 1"),
        (b"\n\n", "Line 1"),
        (b"\nname,label\n", "Line 2"),
        (b"filename,label\n", "and 13 more missing"),
        (b"filename,label\ncaf\xe9.jpg,n\n", "Line 2"),
        (f"filename,label\n{OTHER}00000009.jpg,{OTHER}\n".encode(), f"'{OTHER}' not among them"),
        (b'filename,label\n"n', "Line 2"),
    ],
)
def test_malformed_lists(tmp_path, content, part):
    write_lists(tmp_path, val=content)
    write_images(tmp_path)
    line = error(tmp_path, LISTS_AND_IMAGES)
    assert part in line and "val.csv" in line


# Lists and ImageNet.


def imagenet_files(numbers=(7, 12, 30)):
    """Three images of each class, of which the lists name the third and the first."""
    listed = {name: 1000 * SPLITS.index(split) + index for split in SPLITS for index, name in enumerate(lists()[split])}
    return {
        name: {
            f"{name}_{number}.JPEG": encoded(listed.get(f"{name}{position:08}.jpg", 9999))
            for position, number in enumerate(numbers, 1)
        }
        for name in [*ALL, "n99999999"]
    }


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """ImageNet as a train folder, as class tars, and as a tar of tars, each in a folder of its own."""
    root = tmp_path_factory.mktemp("imagenet")
    files = imagenet_files()
    for name, content_by_file in files.items():
        for file, content in content_by_file.items():
            write(root / "folders/train" / name / file, content)
            write(root / "folders/val" / name / file, b"")
    tars = {f"{name}.tar": tar(content, tarfile.PAX_FORMAT) for name, content in files.items()}
    for name, content in tars.items():
        write(root / "class_tars" / name, content)
    write(root / "tar/ILSVRC2012_img_train.tar", tar(tars))
    return root


@pytest.mark.parametrize("kind", ["folders", "class_tars", "tar"])
def test_lists_and_imagenet(tmp_path, imagenet, kind):
    write_lists(tmp_path)
    for path in (imagenet / kind).iterdir():
        (tmp_path / path.name).symlink_to(path)
    assert_as_listed(read(tmp_path, LISTS_AND_IMAGENET))


def test_classes_with_fewer_images_than_any_of_imagenet_are_told(tmp_path, imagenet, caplog):
    write_lists(tmp_path)
    (tmp_path / "train").symlink_to(imagenet / "folders/train")
    read(tmp_path, LISTS_AND_IMAGENET)
    assert "732 at least. Received: 3 in n" in caplog.text


def test_imagenet_class_folders_beside_the_lists(tmp_path, imagenet):
    write_lists(tmp_path)
    for path in (imagenet / "folders/train").iterdir():
        (tmp_path / path.name).symlink_to(path)
    assert_as_listed(read(tmp_path, LISTS_AND_IMAGENET))


@pytest.mark.parametrize("kind", ["class_tars", "tar"])
def test_tars_without_lists(imagenet, kind):
    assert "'train.csv', 'val.csv' and 'test.csv'" in error(imagenet / kind, LISTS_AND_IMAGENET)


@pytest.mark.parametrize("number", [0, 4])
def test_a_position_that_imagenet_does_not_have(tmp_path, imagenet, number):
    write_lists(tmp_path, numbers=(1, number))
    (tmp_path / "train").symlink_to(imagenet / "folders/train")
    line = error(tmp_path, LISTS_AND_IMAGENET)
    assert f"number {number}" in line and "3 images" in line and "Line 66 of" in line


# Class folders.


def write_class_folders(folder, by_split):
    for split in SPLITS:
        for label, name in enumerate(CLASSES[split]):
            for index in (2, 10):
                path = folder / split / name if by_split else folder / name
                write(path / f"{name}_{index}.png", encoded(2 * label + (index == 10) + 1000 * SPLITS.index(split)))


@pytest.mark.parametrize("by_split", [False, True])
@pytest.mark.parametrize("with_lists", [False, True])
def test_class_folders(tmp_path, by_split, with_lists):
    write_class_folders(tmp_path, by_split)
    if with_lists and by_split:
        write_lists(tmp_path)
    for split, raw_split in read(tmp_path, CLASS_FOLDERS).items():
        count = len(CLASSES[split])
        first = 1000 * SPLITS.index(split)
        assert_split(raw_split, CLASSES[split], np.repeat(range(count), 2).tolist(), range(first, first + 2 * count))


def test_class_folders_beside_a_folder_of_images(tmp_path):
    write_class_folders(tmp_path, by_split=True)
    (tmp_path / "images").mkdir()
    assert found(tmp_path) is CLASS_FOLDERS


def test_missing_and_misplaced_class_folders(tmp_path):
    write_class_folders(tmp_path, by_split=True)
    (tmp_path / "val" / FIRST).rename(tmp_path / "test" / FIRST)
    line = error(tmp_path, CLASS_FOLDERS)
    assert f"'{FIRST}' missing" in line and str(tmp_path / "val") in line
    write(tmp_path / "val" / FIRST / "1.png", b"")
    assert f"'{FIRST}' not among them" in error(tmp_path, CLASS_FOLDERS)
    (tmp_path / "val").rename(tmp_path / "held out")
    assert "without 'val'" in error(tmp_path, CLASS_FOLDERS)


def test_a_missing_class_in_one_folder_of_all(tmp_path):
    write_class_folders(tmp_path, by_split=False)
    (tmp_path / FIRST).rename(tmp_path / "other")
    line = error(tmp_path, CLASS_FOLDERS)
    assert f"'{FIRST}' missing" in line and "100 published" in line


@pytest.mark.parametrize("by_split", [False, True])
def test_imagenet_itself_needs_lists(tmp_path, by_split):
    write_class_folders(tmp_path, by_split)
    folder = tmp_path / "val" / FIRST if by_split else tmp_path / FIRST
    for index in range(100, 699):
        (folder / f"{index}.png").touch()
    line = error(tmp_path, CLASS_FOLDERS)
    assert f"601 of {FIRST}" in line and "train.csv" in line
    (folder / "100.png").unlink()
    read(tmp_path, CLASS_FOLDERS)


def test_nothing_is_found_in_odd_folders(tmp_path):
    (tmp_path / "n00000000").symlink_to(tmp_path / "n00000000")
    (tmp_path / "train.csv").mkdir()
    write(tmp_path / "images", b"")
    write(tmp_path / "train", b"")
    for folder in (tmp_path, tmp_path / "missing", tmp_path / "images"):
        assert not any(each.is_in(folder) for each in FORMATS)
