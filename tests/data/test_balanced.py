"""Class-balanced batches."""

import collections
import itertools

import numpy as np
import pytest
import tensorflow as tf

from dsl_tf.data.balanced import SMALL_CLASSES, BalancedBatches, check_balanced, drop_small_classes, steps_per_epoch
from dsl_tf.data.split import Split
from dsl_tf.data.stored_images import StoredImages
from dsl_tf.errors import UserError
from tests.images import stored


def shuffled_labels(sizes, seed=0):
    """Labels with that many images of each class, in random order."""
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes)).astype(np.int32)


def indices_of(batches, count, start_step=0):
    return np.stack([indices for _, indices in itertools.islice(batches.iterate(start_step), count)])


# Sizes that K divides, that it does not, that equal K, and that leave nearly a whole batch over; numbers of classes
# that N divides, that it does not, and below 2 N.
CASES = [
    ([6, 6, 6], 2, 3),
    ([7, 5, 11, 4], 3, 4),
    ([4, 4], 2, 4),
    ([3, 20, 9], 1, 3),
    ([2, 3, 4], 3, 1),
    ([13, 7, 8, 9, 8, 7], 2, 5),
    ([5] * 10, 4, 2),
]


@pytest.mark.parametrize("sizes, ways, shots", CASES)
def test_a_batch_holds_k_images_of_each_of_n_classes_class_after_class(sizes, ways, shots):
    labels = shuffled_labels(sizes)
    for expected_step, (step, indices) in enumerate(
        itertools.islice(BalancedBatches(labels, ways, shots, 0).iterate(), 60)
    ):
        assert step == expected_step
        assert indices.dtype == np.int32 and indices.shape == (ways * shots,)
        of_ways = labels[indices].reshape(ways, shots)
        assert (of_ways == of_ways[:, :1]).all()
        assert len(set(of_ways[:, 0])) == ways
        assert len(set(indices)) == ways * shots


@pytest.mark.parametrize("sizes, ways, shots", CASES)
def test_every_image_of_a_class_is_seen_once_before_any_is_seen_again(sizes, ways, shots):
    labels = shuffled_labels(sizes)
    streams = collections.defaultdict(list)
    for index in indices_of(BalancedBatches(labels, ways, shots, 1), 150).ravel():
        streams[labels[index]].append(index)
    assert set(streams) == set(range(len(sizes)))
    for label, stream in streams.items():
        size = sizes[label]
        members = set(np.flatnonzero(labels == label))
        passes = [stream[start : start + size] for start in range(0, len(stream), size)]
        assert len(passes) >= 5
        for seen in passes[:-1]:
            assert set(seen) == members
        assert len(set(passes[-1])) == len(passes[-1])


@pytest.mark.parametrize("classes, ways", [(6, 2), (5, 2), (7, 5), (9, 6), (4, 4), (3, 1)])
def test_classes_come_once_a_round_and_equally_often_in_a_cycle(classes, ways):
    labels = shuffled_labels([2] * classes)
    batches = indices_of(BalancedBatches(labels, ways, 2, 3), classes // ways * classes * 3)
    drawn = labels[batches][:, ::2]
    rounds = drawn.reshape(-1, classes // ways * ways)
    assert all(len(set(row)) == len(row) for row in rounds.tolist())
    for cycle in rounds.reshape(3 * np.gcd(classes, ways), -1):
        counts = np.bincount(cycle, minlength=classes)
        assert (counts == counts[0]).all() and counts[0] > 0


def test_classes_are_drawn_uniformly_whatever_their_size():
    labels = shuffled_labels([2, 40, 3, 9, 17])
    drawn = labels[indices_of(BalancedBatches(labels, 2, 2, 0), 2000)][:, ::2]
    first = np.bincount(drawn[:, 0], minlength=5)
    assert (np.abs(first - 400) < 5 * np.sqrt(2000 * 0.2 * 0.8)).all()
    pairs = collections.Counter(tuple(sorted(pair)) for pair in drawn.tolist())
    assert len(pairs) == 10
    assert max(abs(count - 200) for count in pairs.values()) < 5 * np.sqrt(200)


@pytest.mark.parametrize("size, shots, passes", [(6, 3, 1), (6, 6, 1), (4, 6, 3), (5, 3, 3)])
def test_the_order_of_images_is_drawn_anew_once_a_batch_ends_with_the_last_one(size, shots, passes):
    stream = indices_of(BalancedBatches(shuffled_labels([size]), 1, shots, 0), 600 * size).ravel()
    orders = stream[: len(stream) // (size * passes) * size * passes].reshape(-1, passes, size)
    assert (orders == orders[:, :1]).all()
    different = {tuple(order) for order in orders[:300, 0].tolist()}
    assert len(different) > 20
    # In each place of an order, every image about equally often.
    for place in range(size):
        counts = np.bincount(orders[:, 0, place], minlength=size)
        assert (np.abs(counts - counts.mean()) < 5 * np.sqrt(counts.mean())).all()


def test_a_class_of_fewer_images_repeats_them_as_evenly_as_can_be():
    labels = shuffled_labels([3, 8, 1])
    for indices in indices_of(BalancedBatches(labels, 3, 5, 0), 30):
        counts = np.bincount(indices, minlength=len(labels))
        for label, allowed in ((0, {1, 2}), (1, {0, 1}), (2, {5})):
            assert set(counts[labels == label]) <= allowed


def test_the_seed_decides_and_global_seeds_do_not():
    labels = shuffled_labels([7, 5, 9])
    tf.random.set_seed(1)
    first = indices_of(BalancedBatches(labels, 2, 3, 5), 40)
    tf.random.set_seed(2)
    np.testing.assert_array_equal(indices_of(BalancedBatches(labels, 2, 3, 5), 40), first)
    other = indices_of(BalancedBatches(labels, 2, 3, 6), 40)
    assert (other != first).any(axis=1).mean() > 0.9


def test_classes_of_one_size_do_not_share_their_order():
    labels = np.repeat([0, 1], 50)
    batch = indices_of(BalancedBatches(labels, 2, 50, 0), 1)[0]
    places = [batch[labels[batch] == label] % 50 for label in (0, 1)]
    assert (places[0] != places[1]).mean() > 0.8


@pytest.mark.parametrize("sizes, ways, shots", CASES)
def test_any_step_is_had_without_those_before_it(sizes, ways, shots):
    batches = BalancedBatches(shuffled_labels(sizes), ways, shots, 3)
    whole = indices_of(batches, 29)
    np.testing.assert_array_equal(indices_of(batches, 12, 17), whole[17:])
    indices = tf.function(batches.indices, autograph=False, input_signature=[tf.TensorSpec([None], tf.int64)])
    np.testing.assert_array_equal(indices([23, 2]), whole[[23, 2]])
    assert indices([2**40]).shape == (1, ways * shots)


def test_labels_that_cannot_be_drawn_from_are_an_error():
    for labels, ways in (([0, 0, 2], 1), ([0, 1], 3), ([0, 1], 0)):
        with pytest.raises(ValueError, match="`labels` must hold every class"):
            BalancedBatches(np.array(labels), ways, 1, 0)


@pytest.mark.parametrize("images, steps", [(24, 4), (25, 4), (29, 4), (6, 1), (5, 1)])
def test_steps_per_epoch(images, steps):
    assert steps_per_epoch(np.zeros(images, int), 2, 3) == steps


def split_of(sizes, names="abcdefgh"):
    labels = shuffled_labels(sizes)
    images = np.broadcast_to(np.arange(len(labels), dtype=np.uint8)[:, None, None, None], (len(labels), 2, 2, 3))
    return Split(images, labels, tuple(names[: len(sizes)]))


def test_classes_large_enough_are_kept_without_a_word(caplog):
    split = split_of([4, 6, 5])
    for choice in SMALL_CLASSES:
        assert drop_small_classes(split, 4, choice) is split
    assert not caplog.messages


def test_small_classes_are_skipped_with_a_warning(caplog, tmp_path):
    split = split_of([5, 2, 7, 3, 4, 0])
    kept = drop_small_classes(split, 4, "skip")
    (message,) = caplog.messages
    assert "3 of 6 training classes with fewer, 'b' (2), 'd' (3), 'f' (0)." in message and "skipped" in message
    assert kept.class_names == ("a", "c", "e")
    for label, name in enumerate(kept.class_names):
        before = split.images[split.labels == split.class_names.index(name)]
        np.testing.assert_array_equal(kept.images[kept.labels == label], before)
    on_disk = Split(stored(tmp_path, split.images), split.labels, split.class_names)
    taken = drop_small_classes(on_disk, 4, "skip")
    assert isinstance(taken.images, StoredImages)
    np.testing.assert_array_equal(taken.images[:], kept.images)
    np.testing.assert_array_equal(taken.labels, kept.labels)


def test_small_classes_repeat_with_a_warning(caplog):
    split = split_of([5, 2, 7])
    assert drop_small_classes(split, 4) is split
    assert "'b' (2)" in caplog.messages[0] and "--small_classes=skip" in caplog.messages[0]
    # Of a class without images there is nothing to repeat.
    assert drop_small_classes(split_of([5, 0, 7]), 4).class_names == ("a", "c")


def test_small_classes_are_refused_if_asked_for():
    expected = r"--shots=5\b.*4 of 5 training .*such as 'b' \(4\).*--small_classes=skip"
    with pytest.raises(UserError, match=expected) as caught:
        drop_small_classes(split_of([5, 4, 1, 2, 3]), 5, "error")
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="`small_classes` must be one of"):
        drop_small_classes(split_of([5]), 5, "drop")


@pytest.mark.parametrize("ways", [1, 3])
def test_what_can_be_drawn_passes(ways):
    check_balanced(np.repeat([0, 1, 2], [4, 6, 1]), ("ant", "bee", "cat"), ways)


@pytest.mark.parametrize(
    "labels, names, message",
    [
        (np.repeat([0, 1, 2], 5), ("ant", "bee", "cat"), r"--ways=4\b.*Received: 3\b.*--ways=3\b"),
        (np.repeat([0, 2, 3, 4], 2), ("ant", "bee", "cat", "dog", "eel"), "none of 'bee'"),
        (np.zeros(0, int), (), "needs classes with images"),
    ],
)
def test_what_cannot_be_drawn_is_an_error(labels, names, message):
    with pytest.raises(UserError, match=message) as caught:
        check_balanced(labels, names, 4)
    assert "\n" not in str(caught.value)
