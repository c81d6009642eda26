"""Tests of reading TFDS data sets, on ones that TFDS itself has prepared."""

import io
import json
import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordReader
from PIL import Image

from dsl_tf.data.formats.class_split import read_class_split
from dsl_tf.data.formats.tensorflow_datasets import (
    is_prepared,
    read_pool,
    read_texts,
    read_tfds,
    select,
)
from tests.data.formats.coloured_images import raised_line
from tests.data.formats.tfds_folders import FILE_FORMATS, prepare

NAMES = ["ant", "bee", "cow", "dog", "elk"]
COUNTS = {"train": 13, "test": 7, "extra": 5}
FEATURES = {
    "image": tfds.features.Image(),
    "mask": tfds.features.Image(shape=(None, None, 1)),
    "label": tfds.features.ClassLabel(names=NAMES),
    "coarse": tfds.features.ClassLabel(names=["small", "large"]),
    "file": tfds.features.Text(),
    "objects": tfds.features.Sequence({"box": tfds.features.BBoxFeature()}),
}


def example(split, index):
    label = index % len(NAMES)
    image = np.full((4 + index, 6, 3), (200 + label, index, 10 + list(COUNTS).index(split)), np.uint8)
    return {
        "image": image,
        "mask": image[..., :1],
        "label": label,
        "coarse": label % 2,
        "file": f"{split}/ü{index}.png",
        "objects": [],
    }


EXAMPLES = {split: [example(split, index) for index in range(count)] for split, count in COUNTS.items()}


@pytest.fixture(scope="module", params=FILE_FORMATS)
def data_dir(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    prepare(folder, "beasts", FEATURES, EXAMPLES, request.param, shards=3)
    return folder


def pixels(image):
    assert isinstance(image, bytes)
    return np.asarray(Image.open(io.BytesIO(image)))


def files_in(folder):
    return {path: path.stat().st_mtime_ns for path in pathlib.Path(folder).rglob("*")}


def test_the_pool_has_every_image_of_every_split(data_dir):
    before = files_in(data_dir)
    pool = read_pool("beasts", data_dir)
    assert pool.class_names == tuple(NAMES) and pool.labels.dtype == np.int32
    files = read_texts(pool, "file")
    # TFDS shuffles inside each split, and the splits are one after the other.
    assert [file.split("/")[0] for file in files] == [split for split, count in COUNTS.items() for _ in range(count)]
    expected = {row["file"]: row for rows in EXAMPLES.values() for row in rows}
    assert sorted(files) == sorted(expected)
    assert pool.labels.tolist() == [expected[file]["label"] for file in files]
    everything = select(pool, {"train": NAMES})["train"]
    images = [pixels(image) for _, image in everything.read(0)]
    assert len(images) == len(files)
    for file, image in zip(files, images):
        np.testing.assert_array_equal(image, expected[file]["image"])
    assert files_in(data_dir) == before


@pytest.mark.parametrize("file_format", FILE_FORMATS)
def test_files_are_read_one_after_the_other(tmp_path, file_format):
    # More in each file than TFDS takes in turn where it reads several at a time.
    rows = [{"image": np.full((1, 1, 3), index, np.uint8), "label": index % 5, "file": ""} for index in range(90)]
    features = {key: FEATURES[key] for key in ("image", "label", "file")}
    prepare(tmp_path, "beasts", features, {"train": rows}, file_format, shards=3)
    paths = sorted((tmp_path / "beasts" / "1.0.0").glob("beasts-train.*"))
    assert len(paths) == 3
    if file_format == "tfrecord":
        records = [record for path in paths for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()]
    else:
        records = [record for path in paths for record in ArrayRecordReader(str(path)).read_all()]
    parsed = [tf.train.Example.FromString(record).features.feature for record in records]
    pool = read_pool("beasts", tmp_path)
    assert pool.labels.tolist() == [row["label"].int64_list.value[0] for row in parsed]
    images = [row["image"].bytes_list.value[0] for row in parsed if row["label"].int64_list.value[0] in (1, 4)]
    raw = select(pool, {"train": [4, 1]})["train"]
    for start in (0, 1, 17, 35):
        assert [image for _, image in raw.read(start)] == images[start:]


def test_labels_outside_of_the_classes(tmp_path):
    features = {"image": FEATURES["image"], "label": FEATURES["label"]}
    builder = prepare(tmp_path, "beasts", features, {"train": [{"image": np.zeros((1, 1, 3), np.uint8), "label": 4}]})
    labels = pathlib.Path(builder.data_dir) / "label.labels.txt"
    labels.write_text("ant\nbee\n")
    features_file = pathlib.Path(builder.data_dir) / "features.json"
    features_file.write_text(features_file.read_text().replace('"numClasses": "5"', '"numClasses": "2"'))
    assert "2 classes. Received: 4" in raised_line(read_pool, "beasts", tmp_path)


def test_select_and_read_from_every_start(data_dir):
    pool = read_pool("beasts", data_dir)
    files = read_texts(pool, "file")
    expected = {row["file"]: row for rows in EXAMPLES.values() for row in rows}
    splits = select(pool, {"train": ["elk", 1], "val": ["ant"], "test": ["dog"]})
    assert {split: raw.class_names for split, raw in splits.items()} == {
        "train": ("elk", "bee"),
        "val": ("ant",),
        "test": ("dog",),
    }
    for split, raw in splits.items():
        chosen = [file for file in files if NAMES[expected[file]["label"]] in raw.class_names]
        assert raw.labels.dtype == np.int32
        assert [raw.class_names[label] for label in raw.labels] == [NAMES[expected[file]["label"]] for file in chosen]
        for start in range(len(chosen) + 1) if split == "val" else (0, 3):
            rows = list(raw.read(start))
            assert len(rows) == len(chosen) - start
            for (_, image), file in zip(rows, chosen[start:]):
                np.testing.assert_array_equal(pixels(image), expected[file]["image"])


def test_names_of_images_tell_them_apart(data_dir):
    raw = select(read_pool("beasts", data_dir), {"train": NAMES})["train"]
    names = [name for name, _ in raw.read(0)]
    assert len(set(names)) == len(names) and all("'beasts'" in name for name in names)
    assert [name for name, _ in raw.read(7)] == names[7:]


def test_images_are_passed_on_as_they_were_stored(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(example("train", 3)["image"]).save(buffer, "JPEG", quality=30)
    features = {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(names=["a"])}
    rows = [{"image": io.BytesIO(buffer.getvalue()), "label": 0}]
    prepare(tmp_path, "jpegs", features, {"train": rows})
    ((_, image),) = select(read_pool("jpegs", tmp_path), {"train": ["a"]})["train"].read(0)
    assert image == buffer.getvalue()


def test_single_features_of_other_names_and_images_without_label(tmp_path):
    features = {"photo": tfds.features.Image(), "kind": tfds.features.ClassLabel(names=["a", "b"])}
    image = example("train", 0)["image"]
    rows = [{"photo": image, "kind": kind} for kind in (0, -1, 1, -1, 1)]
    prepare(tmp_path, "odd", features, {"train": rows})
    pool = read_pool("odd", tmp_path)
    assert sorted(pool.labels.tolist()) == [-1, -1, 0, 1, 1]
    raw = select(pool, {"train": ["b", "a"]})["train"]
    assert sorted(raw.labels.tolist()) == [0, 0, 1] and len(list(raw.read(0))) == 3


def test_versions_and_configurations(tmp_path):
    features = {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(num_classes=3)}
    rows = [{"image": example("train", 0)["image"], "label": label} for label in range(3)]
    for version, count in (("1.9.0", 1), ("1.10.0", 2)):
        prepare(tmp_path, "versioned", features, {"train": rows[:count]}, version=version)
    assert len(read_pool("versioned", tmp_path).labels) == 2
    assert len(read_pool("versioned:1.9.0", tmp_path).labels) == 1
    assert "1.2.3" in raised_line(read_pool, "versioned:1.2.3", tmp_path)
    assert read_pool("versioned", str(tmp_path)).class_names == ("0", "1", "2")
    prepare(tmp_path, "configured", features, {"train": rows}, config="large", version="2.0.0")
    assert len(read_pool("configured/large", tmp_path).labels) == 3
    assert len(read_pool("configured/large:2.0.0", tmp_path).labels) == 3


def test_a_version_that_tfds_code_has_not(tmp_path):
    features = {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(names=["a"])}
    rows = [{"image": example("train", 0)["image"], "label": 0}]
    prepare(tmp_path, "cifar100", features, {"train": rows}, version="2.5.0")
    assert read_pool("cifar100", tmp_path).class_names == ("a",)
    assert is_prepared(tmp_path, "cifar100") and not is_prepared(tmp_path, "cifar10")


def test_nothing_is_prepared_in_a_folder_that_is_given(tmp_path):
    (tmp_path / "here").mkdir()
    message = raised_line(read_pool, "cifar100", tmp_path / "here")
    assert "'cifar100'" in message and repr(str(tmp_path / "here")) in message and "an empty folder" in message
    (tmp_path / "here" / "mnist").mkdir()
    assert "'mnist'" in raised_line(read_pool, "cifar100", tmp_path / "here")
    assert "No such file" in raised_line(read_pool, "cifar100", tmp_path / "nowhere")
    assert [str(path) for path in tmp_path.rglob("*")] == [str(tmp_path / "here"), str(tmp_path / "here" / "mnist")]


class Prepared(tfds.core.GeneratorBasedBuilder):
    """A data set that TFDS can prepare without a network."""

    VERSION = tfds.core.Version("1.0.0")
    name = "dsl_tf_prepared"

    def _info(self):
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(FEATURES))

    def _split_generators(self, dl_manager):
        return {split: enumerate(rows) for split, rows in EXAMPLES.items()}

    def _generate_examples(self):
        raise NotImplementedError


class Manual(Prepared):
    name = "dsl_tf_manual"
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Fetch it yourself.\nThere."

    def _split_generators(self, dl_manager):
        return {"train": dl_manager.manual_dir / "images"}


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    """TFDS's own folder, which it otherwise has in the user's home."""
    monkeypatch.setattr("tensorflow_datasets.core.constants.DATA_DIR", str(tmp_path / "own"))
    return tmp_path / "own"


def test_without_a_folder_it_is_prepared_once_in_tfds_own(own_folder):
    pool = read_pool("dsl_tf_prepared")
    assert len(pool.labels) == sum(COUNTS.values()) and is_prepared(own_folder, "dsl_tf_prepared")
    assert len(list(select(pool, {"train": ["ant"]})["train"].read(0))) == 3 + 2 + 1
    before = files_in(own_folder)
    assert read_pool("dsl_tf_prepared").labels.tolist() == pool.labels.tolist()
    assert files_in(own_folder) == before


def test_a_data_set_that_cannot_be_downloaded(own_folder):
    message = raised_line(read_pool, "dsl_tf_manual")
    assert "cannot be downloaded" in message and "'dsl_tf_manual'" in message


@pytest.mark.parametrize("name", ["no_such_data_set", "no such data set", "", "beasts/", "a:b:c"])
def test_unknown_names(own_folder, tmp_path, name):
    raised_line(read_pool, name)
    raised_line(read_pool, name, tmp_path)


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        ({"image": tfds.features.Image(), "label": np.int64}, "one ClassLabel"),
        ({"image": tfds.features.Tensor(shape=(2, 2, 3), dtype=np.uint8), "label": FEATURES["label"]}, "one Image"),
        ({"one": tfds.features.Image(), "two": tfds.features.Image(), "label": FEATURES["label"]}, "'one' and 'two'"),
        ({"image": tfds.features.Image(shape=(2, 2, 1), dtype=np.float32), "label": FEATURES["label"]}, "float32"),
    ],
)
def test_other_kinds_of_data_sets(tmp_path, features, expected):
    image = np.zeros((2, 2, 3), np.uint8)
    row = {key: 0 if key == "label" else image for key in features}
    if expected == "float32":
        row["image"] = np.zeros((2, 2, 1), np.float32)
    prepare(tmp_path, "other", features, {"train": [row]})
    assert expected in raised_line(read_pool, "other", tmp_path)


def test_text_that_is_not_there(data_dir):
    pool = read_pool("beasts", data_dir)
    assert "'name'" in raised_line(read_texts, pool, "name")
    assert "'label'" in raised_line(read_texts, pool, "label")


@pytest.mark.parametrize("file_format", FILE_FORMATS)
def test_damaged_and_missing_files(tmp_path, file_format):
    prepare(tmp_path, "beasts", FEATURES, EXAMPLES, file_format)
    raw = select(read_pool("beasts", tmp_path), {"train": NAMES})["train"]
    (path,) = (tmp_path / "beasts" / "1.0.0").glob("beasts-test.*")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert "'beasts'" in raised_line(list, raw.read(0))
    assert "'beasts'" in raised_line(read_pool, "beasts", tmp_path)
    path.unlink()
    assert "'beasts'" in raised_line(read_pool, "beasts", tmp_path)
    path.write_bytes(content)
    assert len(list(raw.read(0))) == sum(COUNTS.values())
    (tmp_path / "beasts" / "1.0.0" / "dataset_info.json").write_text("{")
    assert "'beasts'" in raised_line(read_pool, "beasts", tmp_path)


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        ({"train": ["ant"], "val": ["be"]}, "'be' (did you mean 'bee'?)"),
        ({"train": ["quokka"]}, "'quokka' (its classes are 'ant', 'bee', 'cow' and 2 more)"),
        ({"train": [5]}, "5 (its labels are from 0 to 4)"),
        ({"train": [-1]}, "-1 (its labels"),
        ({"train": ["ant"], "test": [0]}, "'ant' of TFDS's 'beasts' in 'train' and 'test'"),
        ({"train": ["ant", "bee", "ant"]}, "in 'train' and 'train'"),
    ],
)
def test_wrong_classes(data_dir, classes, expected):
    assert expected in raised_line(select, read_pool("beasts", data_dir), classes)


def test_a_class_without_images(tmp_path):
    prepare(tmp_path, "beasts", FEATURES, {"train": EXAMPLES["train"][:2]})
    assert "none of 'cow' and 'elk'" in raised_line(
        select, read_pool("beasts", tmp_path), {"train": ["ant", "cow", "elk"]}
    )


# The file of classes.


def write_json(tmp_path, content):
    path = tmp_path / "classes.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_read_tfds(data_dir, tmp_path):
    path = write_json(tmp_path, {"test": [3, "cow"], "train": ["elk", "ant"]})
    splits = read_tfds("beasts", data_dir, path)
    assert list(splits) == ["train", "test"]
    assert splits["test"].class_names == ("dog", "cow") and splits["train"].class_names == ("elk", "ant")
    assert len(splits["train"].labels) == sum(row["label"] in (0, 4) for rows in EXAMPLES.values() for row in rows)


def test_class_split_with_all_splits(tmp_path):
    path = write_json(tmp_path, {"train": ["a", 1], "val": ["ü"], "test": [2]})
    assert read_class_split(path) == {"train": ("a", 1), "val": ("ü",), "test": (2,)}
    assert read_class_split(os.fspath(path)) == read_class_split(path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("{", "line 1"),
        ([["a"]], "a list"),
        ("null", "a NoneType"),
        ({"train": ["a"], "validation": ["b"]}, "'validation'"),
        ({"val": ["a"]}, "no 'train'"),
        ({}, "no 'train'"),
        ({"train": []}, "for 'train'"),
        ({"train": ["a"], "test": "b"}, "for 'test'"),
        ({"train": ["a", True]}, "True in 'train'"),
        ({"train": ["a", 1.0, None]}, "1.0 and None in 'train'"),
    ],
)
def test_wrong_class_splits(tmp_path, content, expected):
    path = write_json(tmp_path, content)
    message = raised_line(read_class_split, path)
    assert expected in message and repr(str(path)) in message


def test_a_wrong_class_split_is_told_before_anything_is_prepared(own_folder, tmp_path):
    raised_line(read_tfds, "dsl_tf_prepared", None, write_json(tmp_path, {}))
    assert not own_folder.exists()


@pytest.mark.parametrize("name", ["beasts", "beasts:1.0.0"])
def test_no_module_that_the_features_name_is_imported(tmp_path, monkeypatch, name):
    builder = prepare(tmp_path, "beasts", FEATURES, EXAMPLES)
    (tmp_path / "named_module.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    path = pathlib.Path(builder.data_dir) / "features.json"
    features = json.loads(path.read_text())
    features["featuresDict"]["features"]["image"]["pythonClassName"] = "named_module.Image"
    path.write_text(json.dumps(features))
    assert "named_module.Image" in raised_line(read_pool, name, tmp_path)
    assert not (tmp_path / "ran").exists()
