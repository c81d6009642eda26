"""Few-shot episodes."""

import re

import numpy as np
import pytest

from dsl_tf.errors import UserError
from dsl_tf.evaluation.episodes import episodes_fingerprint, sample_episodes


def shuffled_labels(sizes, values=None, seed=0):
    """Labels with that many images of each class, in random order; their values need not be 0, 1, 2."""
    values = np.arange(len(sizes)) if values is None else np.array(values)
    return np.random.default_rng(seed).permutation(np.repeat(values, sizes))


def assert_valid(labels, support, query, ways, shots, queries, episodes):
    assert support.shape == (episodes, ways, shots) and query.shape == (episodes, ways, queries)
    assert support.dtype == query.dtype == np.int64
    images = np.concatenate([support, query], axis=2)
    assert images.min() >= 0 and images.max() < len(labels)
    classes = labels[images]
    assert (classes == classes[:, :, :1]).all()
    for of_episode in classes[:, :, 0]:
        assert len(set(of_episode.tolist())) == ways
    for of_episode in images.reshape(episodes, -1):
        assert len(set(of_episode.tolist())) == ways * (shots + queries)


def assert_about_uniform(counts):
    """Each count within five standard deviations of the mean, and their chi-square within five of its own."""
    counts = np.asarray(counts, float).ravel()
    expected = counts.mean()
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected) + 1).all()
    chi_square, freedom = ((counts - expected) ** 2 / expected).sum(), len(counts) - 1
    assert chi_square < freedom + 5 * np.sqrt(2 * freedom)


@pytest.mark.parametrize(
    "sizes, ways, shots, queries",
    [
        ([20] * 8, 5, 1, 15),
        ([20] * 5, 5, 5, 15),
        ([9, 30, 6, 11, 7], 3, 2, 4),
        ([6, 100], 2, 1, 5),
        ([2, 2, 2], 3, 1, 1),
        ([2], 1, 1, 1),
        ([50], 1, 20, 30),
        ([4, 3, 5, 3], 4, 2, 1),
    ],
)
def test_an_episode_repeats_no_class_and_no_image(sizes, ways, shots, queries):
    labels = shuffled_labels(sizes)
    support, query = sample_episodes(labels, ways, shots, queries, 200, seed=0)
    assert_valid(labels, support, query, ways, shots, queries, 200)


@pytest.mark.parametrize("values", [[7, 3, 1000, -2, 40], [-5, -4, -3, -2, -1], [2**40, 0, 5, 2**33, 6]])
def test_labels_may_have_any_values(values):
    labels = shuffled_labels([9, 30, 6, 11, 7], values)
    support, query = sample_episodes(labels, 3, 2, 4, 100, seed=0)
    assert_valid(labels, support, query, 3, 2, 4, 100)


def test_a_list_of_labels_will_do():
    labels = [4, 4, 9, 9, 4, 9]
    support, query = sample_episodes(labels, 2, 1, 2, 10, seed=0)
    assert_valid(np.array(labels), support, query, 2, 1, 2, 10)


def test_classes_that_are_too_small_are_left_out():
    labels = shuffled_labels([5, 6, 1, 7, 5, 6])
    support, query = sample_episodes(labels, 3, 2, 4, 100, seed=0)
    assert_valid(labels, support, query, 3, 2, 4, 100)
    assert set(labels[support].ravel()) == {1, 3, 5}


def test_a_class_of_just_enough_images_is_used_up():
    labels = shuffled_labels([6, 6])
    support, query = sample_episodes(labels, 2, 2, 4, 50, seed=0)
    for of_episode in np.concatenate([support, query], axis=2).reshape(50, -1):
        assert sorted(of_episode) == list(range(12))


def test_the_seed_decides():
    labels = shuffled_labels([20] * 8)
    first = sample_episodes(labels, 5, 1, 15, 50, seed=3)
    again = sample_episodes(labels, 5, 1, 15, 50, seed=3)
    other = sample_episodes(labels, 5, 1, 15, 50, seed=4)
    for received, same, different in zip(first, again, other, strict=True):
        np.testing.assert_array_equal(received, same)
        assert (received != different).any(axis=(1, 2)).mean() > 0.9


def test_global_seeds_do_not_matter():
    labels = shuffled_labels([20] * 8)
    np.random.seed(1)
    first = sample_episodes(labels, 5, 1, 15, 5, seed=3)
    np.random.seed(2)
    np.testing.assert_array_equal(sample_episodes(labels, 5, 1, 15, 5, seed=3)[0], first[0])


def test_only_the_order_of_the_classes_matters():
    labels = shuffled_labels([9, 30, 3, 11, 7])
    renamed = np.array([-8, 2, 5, 300, 301])[labels]
    for received, expected in zip(
        sample_episodes(renamed, 3, 2, 4, 40, seed=3), sample_episodes(labels, 3, 2, 4, 40, seed=3), strict=True
    ):
        np.testing.assert_array_equal(received, expected)


def test_classes_are_drawn_uniformly_into_every_way():
    labels = shuffled_labels([6, 90, 7, 6, 30, 12, 8])
    support, _ = sample_episodes(labels, 3, 1, 5, 7000, seed=0)
    classes = labels[support[:, :, 0]]
    for way in range(3):
        assert_about_uniform(np.bincount(classes[:, way], minlength=7))
    first, second = classes[:, 0], classes[:, 1]
    pairs = np.bincount(7 * first + second, minlength=49).reshape(7, 7)
    assert (np.diag(pairs) == 0).all()
    assert_about_uniform(pairs[~np.eye(7, dtype=bool)])


@pytest.mark.parametrize("sizes", [[6, 6, 6], [9, 6, 14]])
def test_images_are_drawn_uniformly_into_every_place(sizes):
    labels = shuffled_labels(sizes)
    support, query = sample_episodes(labels, 2, 2, 4, 9000, seed=0)
    images = np.concatenate([support, query], axis=2)
    for label in range(len(sizes)):
        members = np.flatnonzero(labels == label)
        of_class = images[labels[images[:, :, 0]] == label]
        for place in range(6):
            assert_about_uniform(np.bincount(of_class[:, place], minlength=len(labels))[members])
        # Two places of one draw: every ordered pair of different images.
        for one, other in ((0, 1), (0, 5), (2, 3), (4, 5)):
            pairs = np.zeros((len(labels), len(labels)))
            np.add.at(pairs, (of_class[:, one], of_class[:, other]), 1)
            pairs = pairs[np.ix_(members, members)]
            assert (np.diag(pairs) == 0).all()
            assert_about_uniform(pairs[~np.eye(len(members), dtype=bool)])


def test_episodes_and_ways_are_drawn_independently():
    labels = shuffled_labels([5, 5])
    support, _ = sample_episodes(labels, 2, 1, 1, 5000, seed=0)
    rank = np.empty(10, int)
    for label in (0, 1):
        rank[np.flatnonzero(labels == label)] = np.arange(5)
    drawn = rank[support[:, :, 0]]
    assert_about_uniform(np.bincount(5 * drawn[:, 0] + drawn[:, 1], minlength=25))
    assert_about_uniform(np.bincount(5 * drawn[:-1, 0] + drawn[1:, 0], minlength=25))


@pytest.mark.parametrize("sizes, ways, shots, queries", [([9, 30, 6, 11, 7], 5, 1, 15), ([20] * 5, 4, 5, 16)])
def test_the_error_says_how_many_images_a_class_are_possible(sizes, ways, shots, queries):
    labels = shuffled_labels(sizes)
    with pytest.raises(UserError) as caught:
        sample_episodes(labels, ways, shots, queries, 10, seed=0)
    message = str(caught.value)
    assert "\n" not in message
    large = sum(size >= shots + queries for size in sizes)
    assert f"{ways} classes of at least {shots + queries} images ({shots} support + {queries} query)" in message
    assert f"Received: {len(sizes)} classes, {large} of them" in message
    possible = int(re.search(rf"with {ways} ways at most (\d+) support and query images", message)[1])
    support, query = sample_episodes(labels, ways, 1, possible - 1, 10, seed=0)
    assert_valid(labels, support, query, ways, 1, possible - 1, 10)
    with pytest.raises(UserError):
        sample_episodes(labels, ways, 1, possible, 10, seed=0)
    with pytest.raises(UserError):
        sample_episodes(labels, ways, 2, possible - 1, 10, seed=0)


def largest_ways(labels, ways, shots, queries):
    with pytest.raises(UserError) as caught:
        sample_episodes(labels, ways, shots, queries, 10, seed=0)
    return int(re.search(r"at most (\d+) ways", str(caught.value))[1])


@pytest.mark.parametrize(
    "sizes, ways, shots, queries",
    [
        ([20] * 5, 6, 1, 15),
        ([16, 40, 16], 20, 1, 15),
        ([2, 1, 2, 1], 3, 1, 1),
        # More classes than the largest, with too few images for the request.
        ([20, 20, 20, 2, 2, 2], 7, 1, 15),
        ([20, 20, 20, 2, 2, 2], 5, 1, 15),
    ],
)
def test_the_error_says_how_many_ways_are_possible(sizes, ways, shots, queries):
    labels = shuffled_labels(sizes)
    possible = largest_ways(labels, ways, shots, queries)
    support, query = sample_episodes(labels, possible, shots, queries, 10, seed=0)
    assert_valid(labels, support, query, possible, shots, queries, 10)
    with pytest.raises(UserError):
        sample_episodes(labels, possible + 1, shots, queries, 10, seed=0)


@pytest.mark.parametrize("sizes", [[], [1], [1, 1, 1]])
def test_no_class_of_two_images_leaves_no_episode(sizes):
    with pytest.raises(UserError, match="at most 0 ways"):
        sample_episodes(shuffled_labels(sizes).astype(int), 2, 1, 1, 10, seed=0)


@pytest.mark.parametrize("name", ["ways", "shots", "queries", "episodes"])
@pytest.mark.parametrize("value", [0, -1])
def test_less_than_one_is_an_error(name, value):
    arguments = {"ways": 2, "shots": 1, "queries": 2, "episodes": 4, name: value}
    with pytest.raises(UserError, match=rf"`{name}`.*at least 1.*Received: {value}\b"):
        sample_episodes(shuffled_labels([5, 5, 5]), **arguments, seed=0)


def test_more_episodes_than_memory_holds_are_an_error():
    labels = shuffled_labels([20] * 8)
    with pytest.raises(UserError, match="`episodes` must be at most 1677721 for 5 ways.*Received: 100000000"):
        sample_episodes(labels, 5, 1, 15, 100_000_000, seed=0)


def test_the_fingerprint_is_that_of_the_episodes_and_their_labels():
    labels = np.repeat(np.arange(6), 8)
    support, query = sample_episodes(labels, 3, 2, 4, 20, seed=0)
    fingerprint = episodes_fingerprint(labels, support, query)
    assert len(fingerprint) == 16 and int(fingerprint, 16) >= 0
    again = episodes_fingerprint(labels.astype(np.int32), support.astype(np.int32), query.astype(np.int32))
    assert again == fingerprint
    others = [
        episodes_fingerprint(labels, *sample_episodes(labels, 3, 2, 4, 20, seed=1)),
        episodes_fingerprint(labels, *sample_episodes(labels, 3, 2, 4, 19, seed=0)),
        episodes_fingerprint(labels, support, query[:, :, ::-1]),
        episodes_fingerprint(np.append(labels, 5), support, query),
        # The same numbers, divided in another way.
        episodes_fingerprint(labels, support.reshape(20, 2, 3), query),
    ]
    assert len({fingerprint, *others}) == 1 + len(others)
