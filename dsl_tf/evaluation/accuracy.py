"""Few-shot accuracy: one classifier over thousands of episodes, with its confidence interval."""

import dataclasses
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from dsl_tf import distribution
from dsl_tf.errors import UserError
from dsl_tf.evaluation.episodes import episodes_fingerprint, sample_episodes
from dsl_tf.evaluation.laplacian_shot import DEFAULT_LAM, laplacian_shot
from dsl_tf.evaluation.nearest_centroid import nearest_centroid
from dsl_tf.evaluation.precision import true_float32
from dsl_tf.evaluation.transforms import transform_features

CLASSIFIERS = {"nearest_centroid": nearest_centroid, "laplacian_shot": laplacian_shot}

# The values of LaplacianShot's λ that its authors choose from.
_LAMS = (0.1, 0.3, 0.5, 0.7, 0.8, 1.0, 1.2, 1.5)

# Bytes of features gathered at once: on CPUs less was slower for LaplacianShot; on GPUs nothing was measured.
_CHUNK_BYTES = {"CPU": 2**25, "GPU": 2**26}


@tf.function(reduce_retracing=True)
def _classify(classifier, features, support, query, options):
    """Classifies chunks of episodes, support `[chunks, episodes, N, K]` and query `[chunks, episodes, M]`."""

    def chunk_predictions(chunk):
        support, query = chunk
        return classifier(tf.gather(features, support), tf.gather(features, query), **options)

    # Chunks are independent of each other: while one gathers, another computes.
    return tf.map_fn(
        chunk_predictions, (support, query), fn_output_signature=tf.int32, parallel_iterations=os.cpu_count() or 1
    )


@tf.function(reduce_retracing=True)
def _classify_on_replicas(classifier, features, support, query, options, chunks):
    strategy = tf.distribute.get_strategy()

    def classify(support, query):
        support, query = distribution.replica_rows(strategy, [support, query], chunks)
        # 64 bits: on GPUs TensorFlow keeps smaller integers in the host's memory, where nothing is exchanged.
        return tf.cast(_classify(classifier, features, support, query, options), tf.int64)

    return tf.cast(strategy.gather(strategy.run(classify, args=(support, query)), axis=0), tf.int32)


@true_float32()
def episode_predictions(
    features: np.ndarray, support: np.ndarray, query: np.ndarray, classifier: Callable[..., tf.Tensor], **options: float
) -> np.ndarray:
    """Classifies the queries of episodes.

    In the scope of a `tf.distribute` strategy its devices and workers share the episodes; all workers call it with the
    same ones, and all get all answers.

    Args:
        features: float `[n, d]`, already transformed.
        support: indices into the features `[E, N, K]`.
        query: indices `[E, N, Q]`.
        classifier: a function of support features `[E, N, K, d]` and query features `[E, N·Q, d]` to way indices
            `[E, N·Q]`.
        **options: float arguments of the classifier, such as `lam`.

    Returns:
        The way index of each query, int32 `[E, N, Q]`.
    """
    episodes, ways, queries = query.shape
    vectors = tf.convert_to_tensor(features)
    vector_bytes = vectors.shape[1] * vectors.dtype.size
    device = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    chunk = _CHUNK_BYTES[device] // (ways * (support.shape[2] + queries) * vector_bytes)
    strategy = tf.distribute.get_strategy()
    replicas = strategy.num_replicas_in_sync
    chunk = min(max(chunk, 1), -(-episodes // replicas))
    chunks = -(-episodes // (chunk * replicas)) * replicas
    # Whole chunks alone: the last one is filled up with its last episode, whose answers are dropped again.
    rows = np.minimum(np.arange(chunks * chunk), episodes - 1).reshape(-1, chunk)
    first, last = distribution.worker_rows(strategy, chunks)
    rows = rows[first:last]
    arguments = (
        classifier,
        vectors,
        tf.constant(support[rows], tf.int32),
        tf.constant(query.reshape(episodes, -1)[rows], tf.int32),
        # As tensors: another value must not compile the classifier again.
        {name: tf.constant(value, tf.float32) for name, value in options.items()},
    )
    predictions = _classify(*arguments) if replicas == 1 else _classify_on_replicas(*arguments, tf.constant(chunks))
    return tf.reshape(predictions, [-1, ways, queries])[:episodes].numpy()


def episode_accuracies(predictions: np.ndarray) -> np.ndarray:
    """Returns each episode's share of queries classified as their own way, float64 `[E]`, from `[E, N, Q]`."""
    return (predictions == np.arange(predictions.shape[1])[:, None]).mean(axis=(1, 2))


def class_accuracies(labels: np.ndarray, query: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    """Measures the accuracy on each class.

    Args:
        labels: integers `[n]` from 0 to C − 1.
        query: indices into the labels `[E, N, Q]`.
        predictions: way indices `[E, N, Q]`.

    Returns:
        The share of each class's queries classified as their own way, float64 `[C]`; NaN if it has none.
    """
    right = predictions == np.arange(predictions.shape[1])[:, None]
    true = np.asarray(labels)[query]
    queries = np.bincount(true.ravel(), minlength=labels.max() + 1)
    with np.errstate(invalid="ignore"):
        return np.bincount(true[right], minlength=len(queries)) / queries


def mean_and_half_width(accuracies: np.ndarray) -> tuple[float, float]:
    """Returns the mean over episodes and its 95% confidence half-width, from `[E]` with E ≥ 2."""
    return float(accuracies.mean()), float(1.96 * accuracies.std(ddof=1) / math.sqrt(len(accuracies)))


def choose_lams(
    features: np.ndarray,
    labels: np.ndarray,
    ways: int,
    shots: Sequence[int],
    queries: int,
    seed: int,
    feature_transforms: Sequence[str],
    mean: np.ndarray | None = None,
    episodes: int = 500,
) -> dict[tuple[str, int], float]:
    """Chooses LaplacianShot's λ on validation classes, for each feature transform and number of shots.

    Args:
        features: float `[n, d]` of the validation classes.
        labels: integers `[n]`.
        ways, shots, queries, seed, feature_transforms, mean: as in `evaluate_episodes`.
        episodes: episodes of validation classes for each value of λ.

    Returns:
        A dict from `(feature_transform, shots)` to the λ with the highest accuracy; of equal ones the smallest.

    Raises:
        UserError: if the labels hold too few classes or images.
    """
    lams = {}
    for shot in shots:
        try:
            support, query = sample_episodes(labels, ways, shot, queries, episodes, seed)
        except UserError as error:
            raise UserError(
                f"LaplacianShot's λ is chosen on the val classes, which are too few or small. {error}"
            ) from None
        for kind in feature_transforms:
            transformed = transform_features(features, kind, mean)
            scores = [
                episode_accuracies(episode_predictions(transformed, support, query, laplacian_shot, lam=lam)).mean()
                for lam in _LAMS
            ]
            lams[kind, shot] = _LAMS[int(np.argmax(scores))]
    return lams


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a few-shot classifier answered.

    Args:
        entry: the accuracy and what it is of, a dict as `few_shot_accuracies` returns them.
        support, query: the episodes' indices `[E, N, K]`, `[E, N, Q]`.
        predictions: way indices `[E, N, Q]`.
    """

    entry: dict[str, Any]
    support: np.ndarray
    query: np.ndarray
    predictions: np.ndarray


def evaluate_episodes(
    features: np.ndarray,
    labels: np.ndarray,
    split: str,
    ways: int = 5,
    shots: Sequence[int] = (1, 5),
    queries: int = 15,
    episodes: int = 10_000,
    seed: int = 0,
    classifiers: Sequence[str] = ("nearest_centroid",),
    feature_transforms: Sequence[str] = ("none", "l2", "cl2"),
    mean: np.ndarray | None = None,
    lams: dict[tuple[str, int], float] | None = None,
) -> Iterator[Outcome]:
    """Goes through few-shot classifiers and feature transforms, all on the same episodes.

    Args:
        features: float `[n, d]`.
        labels: integers `[n]`.
        split: the name to record, such as `"test"`.
        ways: N, classes per episode.
        shots: the numbers K of support images per class.
        queries: query images per class.
        episodes: E, at least 2.
        seed: makes the episodes.
        classifiers: names in `CLASSIFIERS`.
        feature_transforms: names in `FEATURE_TRANSFORMS`.
        mean: the mean of the training features `[d]`, for the transform `"cl2"`.
        lams: LaplacianShot's λ by `(feature_transform, shots)`, as `choose_lams` returns them; `DEFAULT_LAM` if None.

    Yields:
        An `Outcome` for each number of shots, classifier and feature transform.

    Raises:
        UserError: for unknown names, or if the labels hold too few classes or images.
    """
    unknown = sorted(set(classifiers) - set(CLASSIFIERS))
    if unknown:
        raise UserError(f"--classifiers must be among {', '.join(CLASSIFIERS)}. Received: {', '.join(unknown)}.")
    if episodes < 2:
        raise UserError(f"A confidence interval needs at least 2 episodes. Received: {episodes}.")
    transformed = {kind: transform_features(features, kind, mean) for kind in feature_transforms}
    for shot in shots:
        support, query = sample_episodes(labels, ways, shot, queries, episodes, seed)
        fingerprint = episodes_fingerprint(labels, support, query)
        for name in classifiers:
            for kind in feature_transforms:
                options = {"lam": (lams or {}).get((kind, shot), DEFAULT_LAM)} if name == "laplacian_shot" else {}
                predictions = episode_predictions(transformed[kind], support, query, CLASSIFIERS[name], **options)
                accuracy, half_width = mean_and_half_width(episode_accuracies(predictions))
                entry = {
                    "split": split,
                    "classifier": name,
                    "feature_transform": kind,
                    "ways": ways,
                    "shots": shot,
                    "queries": queries,
                    "episodes": episodes,
                    "seed": seed,
                    "episodes_fingerprint": fingerprint,
                    **options,
                    "accuracy": accuracy,
                    "half_width": half_width,
                }
                yield Outcome(entry, support, query, predictions)


def few_shot_accuracies(features: np.ndarray, labels: np.ndarray, split: str, **options: Any) -> list[dict[str, Any]]:
    """Measures few-shot accuracies of features, every classifier and transform on the same episodes.

    Args:
        features, labels, split: as in `evaluate_episodes`.
        **options: its other arguments.

    Returns:
        A list of dicts with keys `split, classifier, feature_transform, ways, shots, queries, episodes, seed,
        episodes_fingerprint, accuracy, half_width`, and `lam` for LaplacianShot; accuracies are fractions.

    Raises:
        UserError: for unknown names, or if the labels hold too few classes or images.
    """
    return [outcome.entry for outcome in evaluate_episodes(features, labels, split, **options)]
