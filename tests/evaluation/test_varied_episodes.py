"""Episodes with their own numbers of ways, support images and queries: drawn, listed, and answered."""

import numpy as np
import pytest

from dsl_tf.errors import UserError
from dsl_tf.evaluation import (
    CLASSIFIERS,
    choose_hyperparameters,
    class_accuracies,
    classes_half_width,
    evaluate_episodes,
    listed_episodes,
    sample_episodes,
    sample_unequal_episodes,
    sample_varied_episodes,
)
from dsl_tf.evaluation.classifiers import FewShotClassifier
from dsl_tf.evaluation.episode_lists import Episodes
from dsl_tf.evaluation.predictions import answers
from tests.evaluation import oracles
from tests.evaluation.clusters import clustered, first_way

SIZES = np.array([1, 2, 9, 30, 60, 130, 400, 25])
LABELS = np.random.default_rng(0).permutation(np.repeat(3 * np.arange(8), SIZES))


def as_lists(episodes):
    """The images of each way of each episode, of support and queries."""
    found = []
    for images, ways in ((episodes.support, episodes.support_ways), (episodes.query, episodes.query_ways)):
        found.append(
            [[row[of == way].tolist() for way in range(of.max() + 1)] for row, of in zip(images, ways, strict=True)]
        )
    return found


def test_varied_episodes_are_those_of_meta_dataset():
    episodes = sample_varied_episodes(LABELS, 400, seed=0)
    for support, query in zip(*as_lists(episodes), strict=True):
        images = [image for way in support + query for image in way]
        assert len(set(images)) == len(images) and 5 <= len(support) == len(query) <= 7
        classes = [{LABELS[image] for image in of + others} for of, others in zip(support, query)]
        assert all(len(labels) == 1 for labels in classes) and len(set.union(*classes)) == len(support)
        sizes = [SIZES[labels.pop() // 3] for labels in classes]
        # Half of the smallest class, and 10 at most.
        assert {len(of) for of in query} == {min(10, min(sizes) // 2)}
        assert all(1 <= len(of) <= size - len(query[0]) for of, size in zip(support, sizes))
        assert sum(map(len, support)) <= 500
    ways, shots, _ = episodes.counts()
    assert set(ways) == {5, 6, 7} and abs(ways.mean() - 6) < 0.15
    again, other = sample_varied_episodes(LABELS, 400, 0), sample_varied_episodes(LABELS, 400, 1)
    np.testing.assert_array_equal(again.support, episodes.support)
    assert other.support.shape != episodes.support.shape or (other.support != episodes.support).any()


def test_numbers_of_support_images_have_the_moments_of_the_distribution():
    labels = np.repeat(np.arange(5), 40)
    _, shots, queries = sample_varied_episodes(labels, 3000, seed=0).counts()
    assert (queries == 10).all()
    # Five classes of 30 images beside the queries: |S| is uniform in 5, 10, ..., 150, of which 1 per class is certain.
    random = np.random.default_rng(1)
    alpha, size = np.exp(random.uniform(np.log(0.5), np.log(2), (200_000, 5))), 5 * random.integers(1, 31, (200_000, 1))
    expected = np.minimum(alpha / alpha.sum(axis=1, keepdims=True) * (size - 5) // 1 + 1, 30)
    assert abs(shots.mean() - expected.mean()) < 0.4 and abs(shots.std() - expected.std()) < 0.3


@pytest.mark.parametrize("sampler", ["equal", "unequal", "varied"])
def test_the_classes_of_an_episode_are_of_one_group(sampler):
    # Groups of 5, 6 and 1 classes, in no order; the last is too small.
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(12), 30))
    groups = np.array(["b", "a", "c", "b", "a", "b", "b", "a", "a", "b", "a", "b"])[labels]
    if sampler == "equal":
        episodes = Episodes(*sample_episodes(labels, 5, 2, 3, 600, 0, groups))
    elif sampler == "unequal":
        episodes = Episodes(*sample_unequal_episodes(labels, 5, 2, 3, 600, 0, 2.0, groups))
    else:
        episodes = sample_varied_episodes(labels, 600, 0, groups)
    chosen = [set(groups[images[images >= 0]]) for images in episodes.support]
    assert all(len(of) == 1 for of in chosen)
    assert 250 < sum(of == {"a"} for of in chosen) < 350 and not any(of == {"c"} for of in chosen)
    classes = episodes.way_classes(labels)
    used = np.bincount(classes[classes >= 0], minlength=12)
    assert used[2] == 0 and (np.delete(used, 2) > 0).all()
    with pytest.raises(UserError, match="several groups of class 0"):
        sample_episodes(labels, 5, 2, 3, 10, 0, np.arange(len(labels)))
    with pytest.raises(UserError, match="one group per label"):
        sample_episodes(labels, 5, 2, 3, 10, 0, groups[1:])


def test_one_group_of_all_is_none():
    for first, second in zip(
        sample_episodes(LABELS, 3, 1, 5, 50, 0), sample_episodes(LABELS, 3, 1, 5, 50, 0, np.ones(len(LABELS)))
    ):
        np.testing.assert_array_equal(first, second)


def test_too_few_classes_are_an_error():
    with pytest.raises(UserError, match="5 classes of at least 2 images, and .* Received: 4 such classes"):
        sample_varied_episodes([0, 0, 1, 1, 2, 2, 3, 3, 4], 10, 0)
    with pytest.raises(UserError, match="in one group, and .* Received: 4 such classes"):
        sample_varied_episodes(np.arange(16) // 2, 10, 0, np.arange(16) // 8)
    with pytest.raises(UserError, match="within one group need a group of 5 classes of at least 2 images"):
        sample_episodes(np.arange(16) // 2, 5, 1, 1, 10, 0, np.arange(16) // 8)


def test_lists_take_the_plainest_form():
    support, query = sample_episodes(LABELS, 3, 2, 4, 6, seed=0)
    for form, other in zip(listed_episodes(support.tolist(), query.tolist()), (support, query, None, None)):
        np.testing.assert_array_equal(form, other)
    support, query, ways = sample_unequal_episodes(LABELS, 3, 1, 4, 6, 0, 1.0)
    grouped = [[row[of == way].tolist() for way in range(3)] for row, of in zip(query, ways)]
    for form, other in zip(listed_episodes(support.tolist(), grouped), (support, query, ways, None)):
        np.testing.assert_array_equal(form, other)
    for form, other in zip(listed_episodes(*as_lists(episodes := sample_varied_episodes(LABELS, 5, 0))), episodes):
        np.testing.assert_array_equal(form, other)
    assert listed_episodes([[[0], [1]]] * 2, [[[2, 3], [4]], [[5], []]]).support_ways is not None


@pytest.mark.parametrize(
    ("support", "query", "words"),
    [
        ([], [], "at least 1. Received: 0, 0"),
        ([[[0]]], [], "Received: 1, 0"),
        ([[[0], []]], [[[1], [2]]], r"episode 1 with 2 ways \(1 of them without"),
        ([[[0], [3]]], [[[], []]], "queries of 2 ways, 0 in all"),
        ([[[0], [3]]], [[[1]]], "queries of 1 ways"),
        ([[[0], [3]]] * 2, [[[1], [2]], [[1], [3]]], "episode 2 has image 3 twice"),
    ],
)
def test_lists_that_are_no_episodes_are_an_error(support, query, words):
    with pytest.raises(UserError, match=words):
        listed_episodes(support, query)


@pytest.mark.parametrize(
    ("support", "query", "words"),
    [
        ([[0], [1]], [[2], [8]], "indices of the 8 images. Received: query 2 to 8"),
        ([[0], [1]], [[2], [4]], "episode 2 has images of several classes in one way"),
        ([[0], [2, 1]], [[4], [3]], "episode 2 has images of several classes in one way"),
        ([[0], [2]], [[4], [6]], "episode 2 has two ways of the same class"),
    ],
)
def test_listed_images_must_be_of_the_class_of_their_way(support, query, words):
    labels = np.arange(8) % 2
    episodes = listed_episodes([[[0], [1]], support], [[[2], [3]], query])
    with pytest.raises(UserError, match=words):
        list(evaluate_episodes(np.eye(8), labels, "test", episodes=episodes))


FEATURES, OF = clustered(classes=7, images=14, d=6, spread=1.3)
VARIED = sample_varied_episodes(OF, 6, seed=1)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_each_episode_is_answered_as_if_alone(name):
    options = {"iterations": 20} if "tim" in name else {}
    predictions = answers(FEATURES, VARIED, CLASSIFIERS[name], **options)
    assert predictions.dtype == np.int32 and ((predictions < 0) == (VARIED.query < 0)).all()
    expected = []
    for support, ways, query in zip(VARIED.support, VARIED.support_ways, VARIED.query):
        given = FEATURES[support[support >= 0]], ways[ways >= 0], FEATURES[query[query >= 0]]
        if name == "nearest_centroid":
            means = np.stack([given[0][given[1] == way].mean(axis=0) for way in range(ways.max() + 1)])
            scores = -((given[2][:, None] - means) ** 2).sum(axis=2)
        elif name == "laplacian_shot":
            scores = CLASSIFIERS[name].probabilities(*given)
        else:
            scores = getattr(oracles, name)(
                *(np.asarray(of, np.float64 if of.ndim == 2 else int) for of in given), **options
            )
        expected.append(scores.argmax(axis=1))
    assert (np.concatenate(expected) == predictions[predictions >= 0]).mean() >= 0.995


def test_accuracies_and_intervals_of_varied_episodes():
    settings = {"episodes": 40, "feature_transforms": ("none",), "classifiers": ("nearest_centroid", "laplacian_shot")}
    chosen = choose_hyperparameters(
        FEATURES, OF, 5, (1,), 5, 0, ("laplacian_shot",), ("none",), varied=True, episodes=9
    )
    assert list(chosen) == [("laplacian_shot", "none", "varied")]
    given = {("laplacian_shot", "none", "varied"): {"lam": 0.3}}
    outcomes = list(evaluate_episodes(FEATURES, OF, "test", varied=True, hyperparameters=given, **settings))
    assert outcomes[1].entry["lam"] == 0.3
    for outcome in outcomes:
        entry, episodes = outcome.entry, outcome.episodes
        assert entry["varied"] and entry["queries"] == 7 and entry["ways"] == "5-7" and entry["shots"].startswith("1-")
        right, by_class, without = [], {}, []
        for row, images in enumerate(episodes.query):
            hits = []
            for image, answer, way in zip(images, outcome.predictions[row], episodes.query_ways[row]):
                if image >= 0:
                    hits.append(answer == way)
                    by_class.setdefault(OF[image], []).append(answer == way)
            right.append(np.mean(hits))
        assert entry["accuracy"] == pytest.approx(np.mean(right))
        found = class_accuracies(OF, episodes.query, outcome.predictions, episodes.query_ways)
        np.testing.assert_allclose(found, [np.mean(by_class[label]) for label in range(7)])
        for label in range(7):
            without.append(np.mean([of for of, row in zip(right, outcome.way_classes) if label not in row]))
        error = np.sqrt(6 / 7 * ((np.array(without) - np.mean(without)) ** 2).sum())
        # 2.447 is Student's quantile for 6 degrees of freedom.
        assert entry["classes_half_width"] == pytest.approx(2.4469 * error, rel=1e-4)
        assert entry["classes_half_width"] == classes_half_width(right, outcome.way_classes)


def test_listed_episodes_are_answered_as_drawn_ones():
    settings = {"feature_transforms": ("l2",), "classifiers": ("bd_cspn",)}
    (drawn,) = evaluate_episodes(FEATURES, OF, "test", 4, (2,), 5, 12, seed=3, **settings)
    (listed,) = evaluate_episodes(FEATURES, OF, "test", episodes=drawn.episodes, **settings)
    assert listed.entry.pop("listed") and listed.entry.pop("seed") is None
    assert listed.entry == {name: value for name, value in drawn.entry.items() if name != "seed"}


def test_a_classifier_of_the_users_own_takes_no_varied_episodes():
    with pytest.raises(UserError, match="mine takes episodes that all have the same numbers"):
        answers(FEATURES, VARIED, FewShotClassifier("mine", first_way))
