"""Class-balanced batches."""

import collections
import itertools

import numpy as np
import pytest

from dsl_tf.data.balanced import BalancedBatches, check_balanced, steps_per_epoch
from dsl_tf.errors import UserError


def shuffled_labels(sizes, seed=0):
    """Labels with that many images of each class, in random order."""
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes)).astype(np.int32)


def take(batches, count, start_step=0):
    return list(itertools.islice(batches.iterate(start_step), count))


def indices_of(batches, count, start_step=0):
    return np.stack([indices for _, indices in take(batches, count, start_step)])


def streams_by_class(labels, batches, count):
    """All images of each class, in the order in which the batches show them."""
    streams = collections.defaultdict(list)
    for index in indices_of(batches, count).ravel():
        streams[labels[index]].append(index)
    return streams


# Sizes that K divides, that it does not, that equal K, and that leave nearly a whole batch over.
CASES = [
    ([6, 6, 6], 2, 3),
    ([7, 5, 11, 4], 3, 4),
    ([4, 4], 2, 4),
    ([5, 5, 5], 3, 4),
    ([3, 20, 9], 1, 3),
    ([2, 3, 4], 3, 1),
    ([13, 7], 2, 5),
    ([1, 1, 1], 2, 1),
]


@pytest.mark.parametrize("sizes, ways, shots", CASES)
def test_a_batch_holds_k_images_of_each_of_n_classes_class_after_class(sizes, ways, shots):
    labels = shuffled_labels(sizes)
    for step, (received_step, indices) in enumerate(take(BalancedBatches(labels, ways, shots, 0), 60)):
        assert received_step == step
        assert indices.dtype == np.int32 and indices.shape == (ways * shots,)
        of_ways = labels[indices].reshape(ways, shots)
        assert (of_ways == of_ways[:, :1]).all()
        assert len(set(of_ways[:, 0])) == ways
        assert len(set(indices)) == ways * shots


@pytest.mark.parametrize("sizes, ways, shots", CASES)
def test_every_image_of_a_class_is_seen_once_before_any_is_seen_again(sizes, ways, shots):
    labels = shuffled_labels(sizes)
    streams = streams_by_class(labels, BalancedBatches(labels, ways, shots, 1), 150)
    assert set(streams) == set(range(len(sizes)))
    for label, stream in streams.items():
        size = sizes[label]
        members = set(np.flatnonzero(labels == label))
        rounds = [stream[start : start + size] for start in range(0, len(stream), size)]
        assert len(rounds) >= 5
        for seen in rounds[:-1]:
            assert set(seen) == members
        assert len(set(rounds[-1])) == len(rounds[-1])


def test_the_order_is_drawn_anew_every_round():
    labels = shuffled_labels([6])
    stream = indices_of(BalancedBatches(labels, 1, 3, 0), 2 * 200).reshape(200, 6)
    assert len({tuple(row) for row in stream}) > 150
    # In each place of a round, every image about equally often: 200/6 ± 5 standard deviations.
    for place in range(6):
        assert (np.abs(np.bincount(stream[:, place], minlength=6) - 200 / 6) < 5 * np.sqrt(200 * 5 / 36)).all()


def test_the_images_of_a_batch_are_drawn_uniformly():
    labels = shuffled_labels([7, 7], seed=3)
    batches = indices_of(BalancedBatches(labels, 1, 4, 2), 7000)
    together = np.zeros((14, 14))
    for batch in batches:
        together[np.ix_(batch, batch)] += 1
    for label in (0, 1):
        members = np.flatnonzero(labels == label)
        seen = together[members, members]
        # Rounds make the images of a class even, whatever is drawn.
        assert seen.max() - seen.min() <= 1
        pairs = together[np.ix_(members, members)][~np.eye(7, dtype=bool)]
        # 21 pairs share 6 places a batch; a batch that spans two rounds must not prefer any of them.
        expected = seen.sum() / 4 * 6 / 21
        assert (np.abs(pairs - expected) < 5 * np.sqrt(expected)).all()


def test_classes_are_drawn_uniformly_whatever_their_size():
    labels = shuffled_labels([2, 40, 3, 9, 17])
    drawn = labels[indices_of(BalancedBatches(labels, 2, 2, 0), 5000)][:, ::2]
    # Each class is in a batch with probability 2/5, and comes first in it with probability 1/5.
    for draws, probability in ((drawn, 0.4), (drawn[:, :1], 0.2)):
        counts = np.bincount(draws.ravel(), minlength=5)
        assert (np.abs(counts - 5000 * probability) < 5 * np.sqrt(5000 * probability * (1 - probability))).all()
    pairs = collections.Counter(tuple(sorted(pair)) for pair in drawn.tolist())
    assert len(pairs) == 10
    assert max(abs(count - 500) for count in pairs.values()) < 5 * np.sqrt(500 * 0.9)


def test_the_seed_decides():
    labels = shuffled_labels([7, 5, 9])
    first = indices_of(BalancedBatches(labels, 2, 3, 5), 40)
    np.testing.assert_array_equal(indices_of(BalancedBatches(labels, 2, 3, 5), 40), first)
    other = indices_of(BalancedBatches(labels, 2, 3, 6), 40)
    assert (other != first).any(axis=1).mean() > 0.9


def test_global_seeds_do_not_matter():
    labels = shuffled_labels([7, 5, 9])
    np.random.seed(1)
    first = indices_of(BalancedBatches(labels, 2, 3, 5), 10)
    np.random.seed(2)
    np.testing.assert_array_equal(indices_of(BalancedBatches(labels, 2, 3, 5), 10), first)


def test_iterating_again_or_at_the_same_time_gives_the_same_batches():
    batches = BalancedBatches(shuffled_labels([7, 5, 9]), 2, 3, 5)
    for (_, first), (_, second) in itertools.islice(zip(batches.iterate(), batches.iterate(), strict=True), 30):
        np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(indices_of(batches, 20), indices_of(batches, 20))


@pytest.mark.parametrize("sizes, ways, shots", CASES)
@pytest.mark.parametrize("start_step", [0, 1, 17])
def test_a_resumed_stream_goes_on_as_the_whole_one(sizes, ways, shots, start_step):
    labels = shuffled_labels(sizes)
    whole = take(BalancedBatches(labels, ways, shots, 3), start_step + 12)[start_step:]
    resumed = take(BalancedBatches(labels, ways, shots, 3), 12, start_step)
    assert [step for step, _ in resumed] == [step for step, _ in whole]
    for (_, received), (_, expected) in zip(resumed, whole, strict=True):
        np.testing.assert_array_equal(received, expected)


@pytest.mark.parametrize(
    "images, ways, shots, steps", [(24, 2, 3, 4), (25, 2, 3, 4), (29, 2, 3, 4), (6, 2, 3, 1), (5, 2, 3, 1)]
)
def test_steps_per_epoch(images, ways, shots, steps):
    assert steps_per_epoch(np.zeros(images, int), ways, shots) == steps


@pytest.mark.parametrize("ways, shots", [(3, 4), (1, 1), (3, 1), (1, 4)])
def test_what_can_be_drawn_passes(ways, shots):
    check_balanced(np.repeat([0, 1, 2], [4, 6, 5]), ("ant", "bee", "cat"), ways, shots)


def test_too_few_classes_are_an_error():
    with pytest.raises(UserError, match=r"--ways=4\b.*Received: 3\b.*--ways=3\b") as caught:
        check_balanced(np.repeat([0, 1, 2], 5), ("ant", "bee", "cat"), 4, 2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("sizes, name, smallest", [((4, 3, 5), "bee", 3), ((4, 4, 1), "cat", 1), ((2, 3, 5), "ant", 2)])
def test_a_class_with_too_few_images_is_an_error(sizes, name, smallest):
    labels = shuffled_labels(sizes)
    with pytest.raises(
        UserError, match=rf"--shots=5\b.*Received: {smallest} in '{name}'.*--shots={smallest}\b"
    ) as caught:
        check_balanced(labels, ("ant", "bee", "cat"), 2, 5)
    assert "\n" not in str(caught.value)
    check_balanced(labels, ("ant", "bee", "cat"), 2, smallest)


@pytest.mark.parametrize("labels, name", [([0, 0, 2, 2], "bee"), ([0, 0, 1, 1], "cat")])
def test_a_class_without_images_is_an_error(labels, name):
    with pytest.raises(UserError, match=rf"--shots=2\b.*Received: 0 in '{name}'"):
        check_balanced(np.array(labels), ("ant", "bee", "cat"), 2, 2)
