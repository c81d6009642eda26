"""Tests of pickles with data and labels, as Python 2 and Python 3 write them."""

import os
import pickle

import numpy as np
import pytest

from dsl_tf.data.formats.labelled_pickles import read_labelled_pickles
from tests.data.formats.coloured_images import assert_split, pixels, raised_line, write
from tests.data.formats.python2_pickles import python2_pickle

SIDE = 8
LABELS = [7, 3, 3, 12, 7]
CLASSES = {"train": ("cat", "dog", "owl"), "val": ("elk",), "test": ("ant",)}


def python3_pickle(value):
    return pickle.dumps(value, protocol=4)


def read(tmp_path, content):
    path = write(tmp_path / "some.pickle", content)
    return read_labelled_pickles({"train": path}, SIDE, CLASSES)["train"]


def data(**changes):
    return {"data": pixels(range(5), SIDE), "labels": LABELS, **changes}


def test_the_python_2_writer_writes_what_python_reads():
    value = {b"a": [1, -2, b"x" * 300, "é"], b"b": np.arange(6, dtype=np.int32).reshape(2, 3)}
    loaded = pickle.loads(python2_pickle(value), encoding="bytes")  # noqa: S301
    np.testing.assert_array_equal(loaded.pop(b"b"), value.pop(b"b"))
    assert loaded == value


@pytest.mark.parametrize("dump", [python2_pickle, python3_pickle])
@pytest.mark.parametrize("as_bytes", [False, True])
@pytest.mark.parametrize("as_list", [False, True])
@pytest.mark.parametrize("labels", [LABELS, np.array(LABELS), np.array(LABELS, ">i4"), np.array(LABELS, np.uint8)])
def test_every_form(tmp_path, dump, as_bytes, as_list, labels):
    images = pixels(range(5), SIDE)
    value = {"data": list(images) if as_list else images, "labels": labels, "other": [1, 2]}
    if as_bytes:
        value = {key.encode(): item for key, item in value.items()}
    assert_split(read(tmp_path, dump(value)), None, [1, 0, 0, 2, 1], range(5))


def test_labels_are_of_the_split_alone(tmp_path):
    paths = {}
    for split, labels in {"train": [3, 1, 2], "val": [1, 1, 1], "test": [64, 64, 64]}.items():
        paths[split] = write(
            tmp_path / f"{split}.pickle", python2_pickle({b"data": pixels(range(3), 8), b"labels": labels})
        )
    splits = read_labelled_pickles(paths, SIDE, CLASSES)
    assert_split(splits["train"], None, [2, 0, 1], range(3))
    assert_split(splits["val"], None, [0, 0, 0], range(3))
    assert_split(splits["test"], None, [0, 0, 0], range(3))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"label2catname": {3: "owl", 7: "cat", 12: "dog"}}, ("owl", "cat", "dog")),
        ({"label2catname": {3: b"owl", 7: b"cat", 12: b"dog", 99: b"elk"}}, ("owl", "cat", "dog")),
        ({"catname2label": {"owl": 3, "cat": 7, "dog": 12, "elk": 99}}, ("owl", "cat", "dog")),
        ({"catname2label": {b"owl": np.int64(3), b"cat": 7, b"dog": 12}}, ("owl", "cat", "dog")),
        ({"catname2label": {"owl": 3, "cat": 7, "dog": [12]}}, None),
        ({"label2catname": {3: "owl", 7: "cat", 12: "elk"}}, None),
        ({"label2catname": {3: "owl", 7: "cat", 12: "cat"}}, None),
        ({"label2catname": {3: "owl", 7: "cat"}}, None),
        ({"label2catname": {3: "owl", 7: "cat", 12: 5}}, None),
        ({"label2catname": ["owl", "cat", "dog"]}, None),
    ],
)
def test_names(tmp_path, names, expected):
    assert read(tmp_path, python3_pickle(data(**names))).class_names == expected


def test_pixels_are_windows_on_the_file(tmp_path):
    _, image = next(read(tmp_path, python2_pickle(data())).read(2))
    assert not image.flags.owndata and not image.flags.writeable


SMALLER = pixels(range(5), SIDE - 1)


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ([1], "list"),
        ({"labels": LABELS}, "the keys 'labels'"),
        ({}, "the keys none"),
        (data(data=SMALLER), "wrong sizes: uint8 of shape [5, 7, 7, 3]"),
        (data(data=[*pixels(range(4), SIDE), SMALLER[0]]), "wrong sizes: uint8 of shape [7, 7, 3]"),
        (data(data=data()["data"].astype(np.float32)), "wrong sizes: float32"),
        (data(data=data()["data"][0]), "wrong sizes"),
        (data(data="pixels"), "wrong sizes: str"),
        (data(data=[1, 2, 3, 4, 5]), "wrong sizes: int"),
        (data(labels=LABELS[:4]), "[4]"),
        (data(labels=np.array(LABELS)[:, None]), "[5, 1]"),
        (data(labels=[float(label) for label in LABELS]), "list of something else"),
        (data(labels=[*LABELS[:4], True]), "list of something else"),
        (data(labels=[*LABELS[:4], 1 << 70]), "64 bits"),
        (data(labels=[*LABELS[:4], [1]]), "list of something else"),
        (data(labels=None), "NoneType"),
        (data(labels=[1, 1, 2, 2, 2]), "2 classes"),
        (data(labels=[1, 2, 3, 4, 5]), "5 classes"),
    ],
)
def test_malformed_files(tmp_path, value, part):
    line = raised_line(read, tmp_path, python3_pickle(value))
    assert part in line.split("Received: ")[1] and "some.pickle" in line


def test_nothing_is_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    raised_line(read, tmp_path, python3_pickle(data(other=Evil())))
    assert not (tmp_path / "made").exists()
