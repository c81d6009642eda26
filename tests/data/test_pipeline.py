"""The training input."""

import numpy as np
import pytest
import tensorflow as tf

from dsl_tf.data.augmentation import augment
from dsl_tf.data.balanced import BalancedBatches
from dsl_tf.data.pipeline import training_batches
from dsl_tf.data.split import Split
from dsl_tf.errors import UserError
from tests.images import photograph, stored

PLAIN = {"crop": "none", "flip": False}
AUGMENTED = [
    {"crop": "pad", "flip": True},
    {"crop": "resized", "flip": True, "color_jitter": 0.4},
    {"crop": "none", "flip": True, "color_jitter": 1.0},
]


def numbered_split(sizes=(7, 300, 5, 9), height=6, width=4):
    """Images of one colour, which is their number, in shuffled classes."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    numbers = np.arange(len(labels))
    colours = np.stack([numbers // 256, numbers % 256, labels], axis=1).astype(np.uint8)
    images = np.broadcast_to(colours[:, None, None], (len(labels), height, width, 3))
    return Split(images, labels, tuple(f"class {label}" for label in range(len(sizes))))


def noise_split(count=16, classes=4, same=False):
    images = np.random.default_rng(1).integers(0, 256, (count, 16, 16, 3), np.uint8)
    images = np.repeat(images[:1], count, axis=0) if same else images
    return Split(images, np.arange(count) % classes, tuple(f"class {label}" for label in range(classes)))


def take(batches, count):
    return [(images.numpy(), labels.numpy()) for images, labels in batches.take(count)]


def assert_equal_batches(received, expected):
    for (images, labels), (expected_images, expected_labels) in zip(received, expected, strict=True):
        np.testing.assert_array_equal(images, expected_images)
        np.testing.assert_array_equal(labels, expected_labels)


def test_images_come_with_their_labels_in_the_balanced_order():
    split = numbered_split()
    received = take(training_batches(split, 3, 4, seed=5, **PLAIN), 40)
    assert len(received) == 40
    for (images, labels), (_, indices) in zip(received, BalancedBatches(split.labels, 3, 4, 5).iterate(), strict=False):
        assert (images == images[:, :1, :1]).all()
        numbers = images[:, 0, 0, 0].astype(int) * 256 + images[:, 0, 0, 1]
        np.testing.assert_array_equal(numbers, indices)
        np.testing.assert_array_equal(labels, split.labels[numbers])
        np.testing.assert_array_equal(labels, images[:, 0, 0, 2])
        np.testing.assert_array_equal(images, split.images[numbers])


@pytest.mark.parametrize("settings", [PLAIN, *AUGMENTED])
def test_shapes_and_dtypes(settings):
    batches = training_batches(numbered_split(height=16, width=12), 2, 3, seed=0, **settings)
    assert batches.element_spec == (tf.TensorSpec([6, 16, 12, 3], tf.uint8), tf.TensorSpec([6], tf.int64))
    images, labels = take(batches, 1)[0]
    assert images.shape == (6, 16, 12, 3) and images.dtype == np.uint8
    assert labels.shape == (6,) and labels.dtype == np.int64


@pytest.mark.parametrize("settings", [PLAIN, *AUGMENTED])
def test_the_seed_decides(settings):
    split = noise_split()
    first = take(training_batches(split, 3, 2, seed=5, **settings), 12)
    assert_equal_batches(take(training_batches(split, 3, 2, seed=5, **settings), 12), first)
    other = take(training_batches(split, 3, 2, seed=6, **settings), 12)
    differences = [(images != others).any() for (images, _), (others, _) in zip(first, other, strict=True)]
    assert np.mean(differences) > 0.9


@pytest.mark.parametrize("settings", AUGMENTED)
def test_iterating_again_gives_the_same_batches(settings):
    batches = training_batches(noise_split(), 3, 2, seed=5, **settings)
    assert_equal_batches(take(batches, 8), take(batches, 8))


@pytest.mark.parametrize("settings", [PLAIN, *AUGMENTED])
@pytest.mark.parametrize("start_step", [1, 7])
def test_a_resumed_run_goes_on_with_the_same_batches(settings, start_step):
    split = noise_split(18)
    whole = take(training_batches(split, 3, 3, seed=5, **settings), start_step + 6)
    resumed = take(training_batches(split, 3, 3, seed=5, start_step=start_step, **settings), 6)
    assert_equal_batches(resumed, whole[start_step:])


@pytest.mark.parametrize("settings", AUGMENTED)
def test_every_step_and_every_seed_changes_the_images_differently(settings):
    # All images are the same one, so that only the changes tell batches apart.
    split = noise_split(same=True)
    changed = [images for seed in (0, 1) for images, _ in take(training_batches(split, 4, 4, seed, **settings), 6)]
    for one in range(12):
        assert (changed[one] != split.images).any()
        for other in range(one):
            assert (changed[one] != changed[other]).any()


@pytest.mark.parametrize("crop, flip, color_jitter", [("pad", False, 0.0), ("none", True, 0.0), ("none", False, 0.5)])
def test_only_the_changes_asked_for_are_made(crop, flip, color_jitter):
    rows, columns = np.mgrid[:16, :16]
    # Grey images: brightness of a row, of a column, and a level that only colours change.
    image = np.repeat((4 * rows + columns + 60)[..., None], 3, axis=-1).astype(np.uint8)
    split = Split(np.repeat(image[None], 16, axis=0), np.arange(16) % 4, ("a", "b", "c", "d"))
    images, _ = take(training_batches(split, 4, 4, 0, crop=crop, flip=flip, color_jitter=color_jitter), 1)[0]
    values = images[..., 0].astype(int)
    assert (images != image).any(axis=(1, 2, 3)).sum() >= 4
    falls_along_rows = (np.diff(values, axis=2) < 0).any(axis=(1, 2))
    assert falls_along_rows.any() == flip
    assert (np.diff(values, axis=1) >= 0).all()
    same_pixels = (np.sort(values.reshape(16, -1)) == np.sort(image[..., 0].ravel())).all(axis=1)
    assert same_pixels.all() == (flip and crop == "none")
    assert (set(values.ravel()) <= set(image.ravel().tolist())) == (color_jitter == 0)


def test_a_step_that_was_prefetched_is_not_lost():
    iterator = iter(training_batches(noise_split(), 3, 2, seed=5, **PLAIN))
    received = [next(iterator) for _ in range(5)]
    expected = take(training_batches(noise_split(), 3, 2, seed=5, **PLAIN), 5)
    assert_equal_batches([(images.numpy(), labels.numpy()) for images, labels in received], expected)


def test_too_few_classes_are_an_error_at_once():
    with pytest.raises(UserError, match=r"--ways=5\b.*Received: 4\b"):
        training_batches(numbered_split(), 5, 2, seed=0)


def test_a_class_of_fewer_images_repeats_them():
    split = numbered_split(sizes=(2, 9))
    for images, labels in take(training_batches(split, 2, 6, seed=0, **PLAIN), 3):
        for label, different in ((0, 2), (1, 6)):
            assert len({tuple(image[0, 0]) for image in images[labels == label]}) == different


def test_an_unknown_crop_is_an_error_at_once():
    with pytest.raises(ValueError, match="`crop`"):
        training_batches(numbered_split(), 2, 2, seed=0, crop="centre")


@pytest.mark.parametrize("settings", [PLAIN, *AUGMENTED])
def test_images_on_disk_come_as_those_in_memory_do(tmp_path, settings):
    split = noise_split()
    stored_split = Split(stored(tmp_path, split.images), split.labels, split.class_names)
    received = training_batches(stored_split, 3, 4, seed=5, start_step=2, **settings)
    expected = training_batches(split, 3, 4, seed=5, start_step=2, **settings)
    assert received.element_spec[0].shape[1:] == (16, 16, 3)
    assert_equal_batches(take(received, 6), take(expected, 6))


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Photographs of several sizes, read as 16×16."""
    photographs = [np.asarray(photograph(20 + 3 * number, 50 - 2 * number, number)) for number in range(12)]
    images = stored(tmp_path_factory.mktemp("originals"), photographs, 16, stored_size=24)
    return Split(images, np.arange(12) % 4, ("a", "b", "c", "d"))


def test_boxes_are_cut_out_of_the_originals(originals):
    changes = {"crop": "resized", "flip": False}
    received = take(training_batches(originals, 4, 3, 5, **changes), 6)
    views = originals.images[:]
    centred = take(training_batches(Split(views, originals.labels, originals.class_names), 4, 3, 5, **PLAIN), 6)
    for (images, labels), (plain, plain_labels) in zip(received, centred, strict=True):
        assert images.shape == plain.shape == (12, 16, 16, 3)
        np.testing.assert_array_equal(labels, plain_labels)
        # The images are smooth, so that a box resembles its own image more than any other.
        means = [pixels.mean(axis=(1, 2)) for pixels in (images.astype(float), plain.astype(float))]
        assert np.abs(means[0] - means[1]).mean() < np.abs(means[0] - np.roll(means[1], 1, axis=0)).mean()
        assert (images != plain).any(axis=(1, 2, 3)).all()
    resumed = take(training_batches(originals, 4, 3, 5, start_step=4, **changes), 2)
    assert_equal_batches(resumed, received[4:])
    part = take(training_batches(originals, 4, 3, 5, rows=(5, 9), **changes), 6)
    assert_equal_batches(part, [(images[5:9], labels[5:9]) for images, labels in received])


def test_other_crops_of_originals_start_from_the_centre(originals):
    views = Split(originals.images[:], originals.labels, originals.class_names)
    for changes in (PLAIN, AUGMENTED[0]):
        received, expected = (take(training_batches(split, 4, 3, 5, **changes), 1) for split in (originals, views))
        # TensorFlow and Pillow round the resized pixels.
        assert np.abs(received[0][0].astype(int) - expected[0][0]).max() <= 1


def test_flips_and_colours_of_originals_are_those_of_squares(originals):
    changes = {"crop": "resized", "flip": True, "color_jitter": 0.4}
    seeds = tf.constant([5, 0], tf.int64)
    plain = take(training_batches(originals, 4, 3, 5, crop="resized", flip=False), 1)[0][0]
    received = take(training_batches(originals, 4, 3, 5, **changes), 1)[0][0]
    np.testing.assert_array_equal(received, augment(plain, seeds, crop="none", flip=True, color_jitter=0.4))
