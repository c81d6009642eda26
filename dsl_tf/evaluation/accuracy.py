"""Few-shot accuracy: one classifier over thousands of episodes, with its confidence interval."""

import math

import numpy as np
import tensorflow as tf

from dsl_tf.errors import UserError
from dsl_tf.evaluation.episodes import sample_episodes
from dsl_tf.evaluation.nearest_centroid import nearest_centroid
from dsl_tf.evaluation.transforms import transform_features

CLASSIFIERS = {"nearest_centroid": nearest_centroid}

# Bytes of features gathered for one call of a classifier; more would not be faster, only larger.
_CHUNK_BYTES = 2**26


@tf.function(reduce_retracing=True)
def _classify(classifier, support, query):
    return classifier(support, query)


def episode_accuracies(features, support, query, classifier):
    """Measures a few-shot classifier's accuracy on each episode.

    Args:
        features: float `[n, d]`, already transformed.
        support: indices into the features `[E, N, K]`.
        query: indices `[E, N, Q]`.
        classifier: a function of support features `[E, N, K, d]` and query features `[E, N·Q, d]` to way indices
            `[E, N·Q]`.

    Returns:
        The share of queries classified as their own way, float64 `[E]`.
    """
    episodes, ways, queries = query.shape
    features = tf.convert_to_tensor(features)
    vectors = ways * (support.shape[2] + queries)
    chunk = max(1, _CHUNK_BYTES // (vectors * features.shape[1] * features.dtype.size))
    target = np.repeat(np.arange(ways), queries)
    accuracies = np.empty(episodes)
    for start in range(0, episodes, chunk):
        part = slice(start, start + chunk)
        queried = tf.gather(features, query[part].reshape(-1, ways * queries))
        predicted = _classify(classifier, tf.gather(features, support[part]), queried).numpy()
        accuracies[part] = (predicted == target).mean(axis=1)
    return accuracies


def mean_and_half_width(accuracies):
    """Returns the mean over episodes and its 95% confidence half-width, from `[E]` with E ≥ 2."""
    return float(accuracies.mean()), float(1.96 * accuracies.std(ddof=1) / math.sqrt(len(accuracies)))


def few_shot_accuracies(
    features,
    labels,
    split,
    ways=5,
    shots=(1, 5),
    queries=15,
    episodes=10_000,
    seed=0,
    classifiers=("nearest_centroid",),
    feature_transforms=("none", "l2", "cl2"),
    mean=None,
):
    """Measures few-shot accuracies of features, every classifier and transform on the same episodes.

    Args:
        features: float `[n, d]`.
        labels: integers `[n]`.
        split: the name to record, such as `"test"`.
        ways: N, classes an episode.
        shots: the numbers K of support images a class.
        queries: query images a class.
        episodes: E, at least 2.
        seed: makes the episodes.
        classifiers: names in `CLASSIFIERS`.
        feature_transforms: names in `FEATURE_TRANSFORMS`.
        mean: the mean of the training features `[d]`, for the transform `"cl2"`.

    Returns:
        A list of dicts with keys `split, classifier, feature_transform, ways, shots, queries, episodes, seed,
        accuracy, half_width`; accuracies are fractions.

    Raises:
        UserError: for unknown names, or where the labels hold too few classes or images.
    """
    unknown = sorted(set(classifiers) - set(CLASSIFIERS))
    if unknown:
        raise UserError(f"--classifiers must be among {', '.join(CLASSIFIERS)}. Received: {', '.join(unknown)}.")
    transformed = {kind: transform_features(features, kind, mean) for kind in feature_transforms}
    results = []
    for shot in shots:
        support, query = sample_episodes(labels, ways, shot, queries, episodes, seed)
        for name in classifiers:
            for kind in feature_transforms:
                accuracies = episode_accuracies(transformed[kind], support, query, CLASSIFIERS[name])
                accuracy, half_width = mean_and_half_width(accuracies)
                results.append(
                    {
                        "split": split,
                        "classifier": name,
                        "feature_transform": kind,
                        "ways": ways,
                        "shots": shot,
                        "queries": queries,
                        "episodes": episodes,
                        "seed": seed,
                        "accuracy": accuracy,
                        "half_width": half_width,
                    }
                )
    return results
