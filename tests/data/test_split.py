"""The container of images, labels and class names."""

import dataclasses

import numpy as np
import pytest

from dsl_tf.data.split import Split

IMAGES = np.arange(3 * 4 * 5 * 3, dtype=np.uint8).reshape(3, 4, 5, 3)
NAMES = ("ant", "bee")


def test_holds_what_it_was_given():
    split = Split(IMAGES, np.array([1, 0, 1]), NAMES)
    np.testing.assert_array_equal(split.images, IMAGES)
    np.testing.assert_array_equal(split.labels, [1, 0, 1])
    assert split.class_names == NAMES
    assert split.class_count == 2


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.int64, np.uint64])
def test_labels_of_any_integer_dtype_become_int32(dtype):
    split = Split(IMAGES, np.array([1, 0, 1], dtype), NAMES)
    assert split.labels.dtype == np.int32
    np.testing.assert_array_equal(split.labels, [1, 0, 1])


def test_lists_become_arrays_and_a_tuple():
    split = Split(list(IMAGES), [1, 0, 1], list(NAMES))
    np.testing.assert_array_equal(split.images, IMAGES)
    assert split.images.dtype == np.uint8
    assert split.class_names == NAMES


def test_a_class_may_have_no_image():
    assert Split(IMAGES, [0, 0, 0], NAMES).class_count == 2


def test_may_be_empty():
    split = Split(IMAGES[:0], np.zeros(0, int), ())
    assert split.images.shape == (0, 4, 5, 3)
    assert split.labels.shape == (0,)
    assert split.class_count == 0


def test_cannot_be_reassigned():
    split = Split(IMAGES, [1, 0, 1], NAMES)
    with pytest.raises(dataclasses.FrozenInstanceError):
        split.labels = np.zeros(3, int)


@pytest.mark.parametrize(
    "images, received",
    [
        (IMAGES.astype(np.float32), r"float32 of shape \[3, 4, 5, 3\]"),
        (IMAGES.astype(np.int32), r"int32 of shape \[3, 4, 5, 3\]"),
        (IMAGES[..., 0], r"uint8 of shape \[3, 4, 5\]"),
        (IMAGES[..., :1], r"uint8 of shape \[3, 4, 5, 1\]"),
        (IMAGES[None], r"uint8 of shape \[1, 3, 4, 5, 3\]"),
    ],
)
def test_other_images_are_an_error(images, received):
    with pytest.raises(ValueError, match=rf"`images`.*uint8.*Received: {received}"):
        Split(images, [1, 0, 1], NAMES)


@pytest.mark.parametrize(
    "labels, received",
    [
        ([1, 0], r"int64 of shape \[2\]"),
        ([[1], [0], [1]], r"int64 of shape \[3, 1\]"),
        ([1.0, 0.0, 1.0], r"float64 of shape \[3\]"),
        ([True, False, True], r"bool of shape \[3\]"),
    ],
)
def test_other_labels_are_an_error(labels, received):
    with pytest.raises(ValueError, match=rf"`labels`.*\[3\].*Received: {received}"):
        Split(IMAGES, labels, NAMES)


@pytest.mark.parametrize("labels, received", [([0, 1, 2], "0..2"), ([0, -1, 1], "-1..1"), ([5, 5, 5], "5..5")])
def test_labels_without_a_class_name_are_an_error(labels, received):
    with pytest.raises(ValueError, match=rf"`labels` must lie in 0\.\.1.*Received: {received}"):
        Split(IMAGES, labels, NAMES)


@pytest.mark.parametrize(
    ("classes", "fraction", "held_out"),
    [(10, 0.1, [5]), (10, 0.2, [2, 7]), (4, 0.5, [1, 3]), (3, 0.01, [1]), (2, 0.99, [1]), (3, 0.9, [0, 2])],
)
def test_classes_are_held_out_evenly(classes, fraction, held_out):
    images = np.arange(classes * 3, dtype=np.uint8).reshape(-1, 1, 1, 1) * np.ones((1, 2, 2, 3), np.uint8)
    labels = np.tile(np.arange(classes), 3)
    names = tuple(f"class {label}" for label in range(classes))
    train, val = Split(images, labels, names).hold_out(fraction)
    assert val.class_names == tuple(f"class {label}" for label in held_out)
    assert set(train.class_names) == set(names) - set(val.class_names)
    assert len(train.labels) + len(val.labels) == len(labels)
    for part in (train, val):
        for image, label in zip(part.images, part.labels, strict=True):
            assert part.class_names[label] == names[labels[image[0, 0, 0]]]


def test_one_class_cannot_be_divided():
    with pytest.raises(ValueError, match="at least 2. Received: 1"):
        Split(np.zeros((1, 2, 2, 3), np.uint8), [0], ("only",)).hold_out(0.5)


def test_images_are_labelled_as_other_classes_are():
    images = np.arange(6, dtype=np.uint8).reshape(-1, 1, 1, 1) * np.ones((1, 2, 2, 3), np.uint8)
    split = Split(images, [0, 1, 2, 2, 1, 0], ("cat", "caf\u00e9", "owl"))
    # A class without images here, another order, another spelling of é, and no cat.
    found = split.labelled_as(("owl", "dog", "cafe\u0301"))
    assert found.class_names == ("owl", "dog", "cafe\u0301")
    assert [(int(image[0, 0, 0]), int(label)) for image, label in zip(found.images, found.labels, strict=True)] == [
        *((1, 2), (2, 0), (3, 0), (4, 2)),
    ]
    assert len(split.labelled_as(("dog",)).labels) == 0
    same = split.labelled_as(split.class_names)
    assert same.fingerprint() == split.fingerprint()
