"""Few-shot accuracy: one classifier over thousands of episodes, with its confidence interval."""

import math

import numpy as np
import tensorflow as tf

from dsl_tf.errors import UserError
from dsl_tf.evaluation.episodes import sample_episodes
from dsl_tf.evaluation.laplacian_shot import laplacian_shot
from dsl_tf.evaluation.nearest_centroid import nearest_centroid
from dsl_tf.evaluation.transforms import transform_features
from dsl_tf.precision import true_float32

CLASSIFIERS = {"nearest_centroid": nearest_centroid, "laplacian_shot": laplacian_shot}

# The values of LaplacianShot's λ that its authors choose from.
_LAMS = (0.1, 0.3, 0.5, 0.7, 0.8, 1.0, 1.2, 1.5)

# Bytes of features gathered for one call of a classifier; more would not be faster, only larger.
_CHUNK_BYTES = 2**26


@tf.function(reduce_retracing=True)
def _classify(classifier, support, query, options):
    return classifier(support, query, **options)


@true_float32()
def episode_accuracies(features, support, query, classifier, **options):
    """Measures a few-shot classifier's accuracy on each episode.

    Args:
        features: float `[n, d]`, already transformed.
        support: indices into the features `[E, N, K]`.
        query: indices `[E, N, Q]`.
        classifier: a function of support features `[E, N, K, d]` and query features `[E, N·Q, d]` to way indices
            `[E, N·Q]`.
        **options: float arguments of the classifier, such as `lam`.

    Returns:
        The share of queries classified as their own way, float64 `[E]`.
    """
    episodes, ways, queries = query.shape
    features = tf.convert_to_tensor(features)
    vectors = ways * (support.shape[2] + queries)
    chunk = max(1, _CHUNK_BYTES // (vectors * features.shape[1] * features.dtype.size))
    # As tensors: another value shall not compile the classifier again.
    options = {name: tf.constant(value, tf.float32) for name, value in options.items()}
    target = np.repeat(np.arange(ways), queries)
    accuracies = np.empty(episodes)
    for start in range(0, episodes, chunk):
        part = slice(start, start + chunk)
        queried = tf.gather(features, query[part].reshape(-1, ways * queries))
        predicted = _classify(classifier, tf.gather(features, support[part]), queried, options).numpy()
        accuracies[part] = (predicted == target).mean(axis=1)
    return accuracies


def mean_and_half_width(accuracies):
    """Returns the mean over episodes and its 95% confidence half-width, from `[E]` with E ≥ 2."""
    return float(accuracies.mean()), float(1.96 * accuracies.std(ddof=1) / math.sqrt(len(accuracies)))


def choose_lams(features, labels, ways, shots, queries, seed, feature_transforms, mean=None, episodes=1000):
    """Chooses LaplacianShot's λ on validation classes, for each feature transform and number of shots.

    Args:
        features: float `[n, d]` of the validation classes.
        labels: integers `[n]`.
        ways, shots, queries, seed, feature_transforms, mean: as in `few_shot_accuracies`.
        episodes: episodes of validation classes for each value of λ.

    Returns:
        A dict from `(feature_transform, shots)` to the λ with the highest accuracy; of equal ones the smallest.

    Raises:
        UserError: where the labels hold too few classes or images.
    """
    lams = {}
    for shot in shots:
        support, query = sample_episodes(labels, ways, shot, queries, episodes, seed)
        for kind in feature_transforms:
            transformed = transform_features(features, kind, mean)
            scores = [episode_accuracies(transformed, support, query, laplacian_shot, lam=lam).mean() for lam in _LAMS]
            lams[kind, shot] = _LAMS[int(np.argmax(scores))]
    return lams


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
    lams=None,
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
        lams: LaplacianShot's λ by `(feature_transform, shots)`, as `choose_lams` returns them; 0.7 where None.

    Returns:
        A list of dicts with keys `split, classifier, feature_transform, ways, shots, queries, episodes, seed,
        accuracy, half_width`, and `lam` for LaplacianShot; accuracies are fractions.

    Raises:
        UserError: for unknown names, or where the labels hold too few classes or images.
    """
    unknown = sorted(set(classifiers) - set(CLASSIFIERS))
    if unknown:
        raise UserError(f"--classifiers must be among {', '.join(CLASSIFIERS)}. Received: {', '.join(unknown)}.")
    if episodes < 2:
        raise UserError(f"A confidence interval needs at least 2 episodes. Received: {episodes}.")
    transformed = {kind: transform_features(features, kind, mean) for kind in feature_transforms}
    results = []
    for shot in shots:
        support, query = sample_episodes(labels, ways, shot, queries, episodes, seed)
        for name in classifiers:
            for kind in feature_transforms:
                options = {"lam": (lams or {}).get((kind, shot), 0.7)} if name == "laplacian_shot" else {}
                accuracies = episode_accuracies(transformed[kind], support, query, CLASSIFIERS[name], **options)
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
                        **options,
                        "accuracy": accuracy,
                        "half_width": half_width,
                    }
                )
    return results
