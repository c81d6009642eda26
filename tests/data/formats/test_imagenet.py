"""Tests of ImageNet's training images: folders, class tars and tars in a tar."""

import tarfile

import numpy as np
import pytest

from dsl_tf.data.formats import imagenet
from tests.data.formats.coloured_images import assert_split, encoded, raised_line, write
from tests.data.formats.tars import tar

CLASSES = ("n00000002", "n00000001", "n00000003")
# Not in order, and such that the order of the names would be another.
NUMBERS = (10, 9, 100, 1)
SPLITS = {"train": CLASSES[:1], "val": CLASSES[1:2], "test": CLASSES[2:]}


def files(label):
    return {f"{CLASSES[label]}_{number}.JPEG": encoded(4 * label + index) for index, number in enumerate(NUMBERS)}


def write_folders(root, classes=CLASSES):
    for label, name in enumerate(classes):
        for file, content in files(label).items():
            write(root / name / file, content)


def class_tars(tar_format=tarfile.GNU_FORMAT):
    return {f"{name}.tar": tar(files(label), tar_format) for label, name in enumerate(CLASSES)}


def write_class_tars(root):
    for name, content in class_tars().items():
        write(root / name, content)


def write_tar(root, content=None):
    write(root / "ILSVRC2012_img_train.tar", tar(class_tars()) if content is None else content)


def picked(folder, classes=CLASSES):
    images = imagenet.class_images(folder, classes)
    assert list(images) == list(classes)
    labels = np.repeat(np.arange(len(classes)), len(NUMBERS))
    return imagenet.pick(images, labels, list(range(len(NUMBERS))) * len(classes))


def assert_all_read(folder):
    by_number = [3, 1, 0, 2]
    indices = [4 * label + index for label in range(3) for index in by_number]
    assert_split(picked(folder), CLASSES, [0] * 4 + [1] * 4 + [2] * 4, indices)
    assert_split(picked(folder, CLASSES[1:2]), CLASSES[1:2], [0] * 4, indices[4:8])


ROOTS = ["", "train", "ILSVRC2012_img_train", "ILSVRC/Data/CLS-LOC/train"]


@pytest.mark.parametrize("root", ROOTS)
def test_folders(tmp_path, root):
    write_folders(tmp_path / root)
    assert imagenet.has_class_folders(tmp_path) and not imagenet.has_tars(tmp_path)
    assert_all_read(tmp_path)


@pytest.mark.parametrize("root", ROOTS)
def test_class_tars(tmp_path, root):
    write_class_tars(tmp_path / root)
    assert imagenet.has_tars(tmp_path) and not imagenet.has_class_folders(tmp_path)
    assert_all_read(tmp_path)


@pytest.mark.parametrize("inner_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("outer_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_the_tar_of_tars(tmp_path, inner_format, outer_format):
    write_tar(tmp_path, tar(class_tars(inner_format), outer_format))
    assert imagenet.has_tars(tmp_path) and not imagenet.has_class_folders(tmp_path)
    assert_all_read(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["ILSVRC2012_img_train.tar"]


def test_tars_with_folders_and_hidden_files(tmp_path):
    folder = tarfile.TarInfo("./n00000001")
    folder.type = tarfile.DIRTYPE
    for label, name in enumerate(CLASSES):
        inner = {f"./{name}/{file}": content for file, content in files(label).items()}
        write(tmp_path / f"{name}.tar", tar({**inner, "./._hidden": b""}, members=[folder]))
    assert_all_read(tmp_path)


def test_only_the_wanted_class_tars_are_looked_into(tmp_path):
    write_tar(tmp_path, tar({**class_tars(), "n00000002.tar": b"no tar at all"}))
    picked(tmp_path, CLASSES[1:])
    assert "damaged" in raised_line(picked, tmp_path)


def test_names_are_told(tmp_path):
    write_tar(tmp_path)
    assert [name for name, _ in picked(tmp_path, CLASSES[:1]).read(2)] == ["n00000002_10.JPEG", "n00000002_100.JPEG"]


def test_nothing_there(tmp_path):
    write(tmp_path / "n00000001.txt", b"")
    write(tmp_path / "n1/n1_1.JPEG", b"")
    (tmp_path / "n00000009").symlink_to(tmp_path / "n00000009")
    assert not imagenet.has_tars(tmp_path) and not imagenet.has_class_folders(tmp_path)
    assert not imagenet.has_folders(tmp_path / "missing")
    assert "ILSVRC2012_img_train.tar" in raised_line(picked, tmp_path)


@pytest.mark.parametrize("write_some", [write_folders, write_class_tars, write_tar])
def test_a_missing_class(tmp_path, write_some):
    write_some(tmp_path)
    assert "'n00000009' missing" in raised_line(picked, tmp_path, (*CLASSES, "n00000009"))


@pytest.mark.parametrize(
    "name",
    ["n00000001_5.JPEG", "n00000002_x.JPEG", "n00000002_5.txt", "other.JPEG", "n00000002_-5.JPEG", "n00000002_٣.JPEG"],
)
def test_other_names_in_a_class_tar(tmp_path, name):
    write_tar(tmp_path, tar({**class_tars(), "n00000002.tar": tar({**files(0), name: b""})}))
    assert name in raised_line(picked, tmp_path)


def test_other_names_in_a_class_folder(tmp_path):
    write_folders(tmp_path)
    write(tmp_path / "n00000001/copy.JPEG", b"")
    assert "copy.JPEG" in raised_line(picked, tmp_path)


def test_images_that_are_there_twice(tmp_path):
    write_folders(tmp_path / "a")
    write(tmp_path / "a/n00000001/n00000001_009.png", b"")
    assert "twice" in raised_line(picked, tmp_path / "a")
    write_tar(tmp_path, tar({**class_tars(), "n00000002.tar": tar({**files(0), "x/n00000002_9.JPEG": b""})}))
    assert "twice" in raised_line(picked, tmp_path)
    write_tar(tmp_path, tar({**class_tars(), "again/n00000002.tar": tar(files(0))}))
    assert "'n00000002.tar' twice" in raised_line(picked, tmp_path)


def test_an_empty_class(tmp_path):
    write_tar(tmp_path, tar({**class_tars(), "n00000002.tar": tar({})}))
    assert "none" in raised_line(picked, tmp_path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_in_tars(tmp_path, kind):
    link = tarfile.TarInfo("n00000002_5.JPEG")
    link.type, link.linkname = kind, "n00000002_1.JPEG"
    write_tar(tmp_path, tar({**class_tars(), "n00000002.tar": tar(files(0), members=[link])}))
    assert "link" in raised_line(picked, tmp_path)


def test_a_tar_cut_short_while_it_is_read(tmp_path):
    write_class_tars(tmp_path)
    split = picked(tmp_path)
    write(tmp_path / "n00000002.tar", b"")
    assert "shorter" in raised_line(list, split.read(0))


def test_a_pool_of_classes_is_told_from_split_folders(tmp_path):
    write_folders(tmp_path / "pool/train")
    write_folders(tmp_path / "pool/val")
    (tmp_path / "pool/test").mkdir()
    assert imagenet.has_pool(tmp_path / "pool", SPLITS)
    found = imagenet.published_folders(tmp_path / "pool", SPLITS)
    assert found["val"] == {"n00000001": tmp_path / "pool/train/n00000001"}
    for split, names in SPLITS.items():
        write(tmp_path / "sorted" / split / names[0] / "1.png", b"")
    assert not imagenet.has_pool(tmp_path / "sorted", SPLITS)
    found = imagenet.published_folders(tmp_path / "sorted", SPLITS)
    assert found["val"] == {"n00000001": tmp_path / "sorted/val/n00000001"}
    (tmp_path / "sorted/val/n00000007").mkdir()
    assert "'n00000007' not among them" in raised_line(imagenet.published_folders, tmp_path / "sorted", SPLITS)
