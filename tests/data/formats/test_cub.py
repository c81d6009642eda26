"""Tests of CUB few-shot, from its own folders and from TensorFlow Datasets."""

import pathlib

import numpy as np
import pytest
import tensorflow_datasets as tfds

from dsl_tf.data.formats import cub
from tests.data.formats.coloured_images import assert_split, colour, colour_of, encoded, raised_line, write
from tests.data.formats.tfds_folders import FILE_FORMATS, prepare

FOLDERS, TFDS = cub.FORMATS
NAMES = [f"{number:03}.Bird_{(number * 37) % 200:03}" for number in range(1, 201)]
SPLITS = {
    "train": [index for index in range(200) if index % 2 == 0],
    "val": [index for index in range(200) if index % 4 == 1],
    "test": [index for index in range(200) if index % 4 == 3],
}


def write_folders(images):
    for index, name in enumerate(NAMES):
        for number in range(2):
            # The colours of JPEG files are not exact.
            write(images / name / f"Bird_{number}.jpg", encoded(2 * index + number, file_format="PNG"))
    return images


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    """A folder with CUB_200_2011 and what else is in it."""
    folder = tmp_path_factory.mktemp("birds")
    images = write_folders(folder / "CUB_200_2011" / "images")
    write(folder / "CUB_200_2011" / "classes.txt", b"1 001.Bird_037\n")
    write(folder / "CUB_200_2011" / "parts" / "parts.txt", b"1 back\n")
    write(images / "._001.Bird_037", b"macOS")
    write(images / "._folder" / "1.jpg", b"macOS")
    write(images / NAMES[0] / "._Bird_0.jpg", b"macOS")
    return folder


@pytest.mark.parametrize("inside", [".", "CUB_200_2011"])
def test_folders(parent, inside):
    folder = parent / inside
    assert FOLDERS.is_in(folder) and not TFDS.is_in(folder)
    splits = FOLDERS.read(folder)
    assert list(splits) == list(SPLITS)
    for split, raw in splits.items():
        indices = [2 * index + number for index in SPLITS[split] for number in range(2)]
        names = tuple(NAMES[index] for index in SPLITS[split])
        assert_split(raw, names, np.repeat(range(len(names)), 2), indices)


def test_other_folders(tmp_path):
    for name in ("train", "CUB_200_2011", "caltech_birds2011"):
        (tmp_path / name).mkdir()
    assert not FOLDERS.is_in(tmp_path) and not TFDS.is_in(tmp_path)
    assert not FOLDERS.is_in(pathlib.Path("nowhere")) and not TFDS.is_in(pathlib.Path("nowhere"))


def test_too_few_too_many_and_renamed_folders(tmp_path):
    images = write_folders(tmp_path / "images")
    (images / NAMES[199]).rename(tmp_path / "last")
    assert "Received: 199 classes." in raised_line(FOLDERS.read, tmp_path)
    (tmp_path / "last").rename(images / NAMES[199])
    (images / "Notes").mkdir()
    assert "Received: 201 classes, out of place 'Notes'" in raised_line(FOLDERS.read, tmp_path)
    (images / "Notes").rmdir()
    (images / NAMES[4]).rename(images / "Bird")
    message = raised_line(FOLDERS.read, tmp_path)
    # The order is what tells the splits apart, so that it must not be guessed.
    assert "200 classes, out of place" in message and repr(NAMES[5]) in message
    (images / "Bird").rename(images / NAMES[4])
    for image in (images / NAMES[7]).iterdir():
        image.unlink()
    assert NAMES[7] in raised_line(FOLDERS.read, tmp_path)


# TensorFlow Datasets.


FEATURES = {
    "image": tfds.features.Image(),
    "image/filename": tfds.features.Text(),
    "label": tfds.features.ClassLabel(num_classes=200),
    "label_name": tfds.features.Text(),
    "bbox": tfds.features.BBoxFeature(),
    "segmentation_mask": tfds.features.Image(shape=(None, None, 1)),
}


def example(index, number, name=None):
    name = NAMES[index] if name is None else name
    return {
        "image": np.full((5, 7, 3), colour(2 * index + number), np.uint8),
        "image/filename": f"CUB_200_2011/images/{name}/Bird_{number}.jpg",
        "label": index,
        "label_name": name[4:].lower(),
        "bbox": tfds.features.BBox(0.0, 0.0, 1.0, 1.0),
        "segmentation_mask": np.zeros((5, 7, 1), np.uint8),
    }


def examples():
    """One train and one test image for each class."""
    return {split: [example(index, number) for index in range(200)] for number, split in enumerate(("train", "test"))}


def assert_birds(splits):
    assert list(splits) == list(SPLITS)
    for split, raw in splits.items():
        assert raw.class_names == tuple(NAMES[index] for index in SPLITS[split]) and raw.labels.dtype == np.int32
        found = sorted((raw.class_names[label], colour_of(image)) for label, (_, image) in zip(raw.labels, raw.read(0)))
        assert found == sorted((NAMES[index], colour(2 * index + n)) for index in SPLITS[split] for n in range(2))


@pytest.mark.parametrize("file_format", FILE_FORMATS)
def test_tfds_folder(tmp_path, monkeypatch, file_format):
    prepare(tmp_path, "caltech_birds2011", FEATURES, examples(), file_format, version="0.1.1")
    assert TFDS.is_in(tmp_path) and not FOLDERS.is_in(tmp_path)
    assert_birds(TFDS.read(tmp_path))
    monkeypatch.setattr("tensorflow_datasets.core.constants.DATA_DIR", str(tmp_path))
    assert len(cub.read_from_tfds()["val"].labels) == 100


@pytest.mark.parametrize(
    ("changes", "classes", "expected"),
    [
        ({4: "006.Bird"}, 200, "200 classes, out of place '006.Bird'"),
        ({4: None}, 200, "200 classes, out of place 'one without images'"),
        ({}, 201, "201 classes, out of place 'one without images'"),
    ],
)
def test_other_data_sets_of_the_name(tmp_path, changes, classes, expected):
    rows = [example(index, 0, changes.get(index)) for index in range(200) if changes.get(index, "") is not None]
    features = {**FEATURES, "label": tfds.features.ClassLabel(num_classes=classes)}
    prepare(tmp_path, "caltech_birds2011", features, {"train": rows}, "array_record")
    assert expected in raised_line(TFDS.read, tmp_path)


def test_without_file_names(tmp_path):
    features = {key: FEATURES[key] for key in ("image", "label")}
    rows = [{key: example(0, 0)[key] for key in features}]
    prepare(tmp_path, "caltech_birds2011", features, {"train": rows}, "array_record")
    assert "'image/filename'" in raised_line(TFDS.read, tmp_path)
