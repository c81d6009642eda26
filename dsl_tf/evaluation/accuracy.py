"""Few-shot accuracy: one classifier over thousands of episodes, with its confidence interval."""

import dataclasses
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from dsl_tf import distribution
from dsl_tf.errors import UserError
from dsl_tf.evaluation.episodes import episodes_fingerprint, sample_episodes
from dsl_tf.evaluation.laplacian_shot import DEFAULT_LAM, laplacian_shot
from dsl_tf.evaluation.nearest_centroid import nearest_centroid
from dsl_tf.evaluation.numbers import check_finite, check_visible, computing_dtype
from dsl_tf.evaluation.precision import true_float32
from dsl_tf.evaluation.transforms import FEATURE_TRANSFORMS, transform_features

CLASSIFIERS = {"nearest_centroid": nearest_centroid, "laplacian_shot": laplacian_shot}

# The values of LaplacianShot's λ that its authors choose from.
_LAMS = (0.1, 0.3, 0.5, 0.7, 0.8, 1.0, 1.2, 1.5)

# Bytes of features gathered at once: on CPUs less was slower for LaplacianShot; on GPUs nothing was measured.
_CHUNK_BYTES = {"CPU": 2**25, "GPU": 2**26}


@tf.function(reduce_retracing=True)
def _classify(
    classifier: Callable[..., tf.Tensor],
    features: tf.Tensor,
    support: tf.Tensor,
    query: tf.Tensor,
    options: dict[str, tf.Tensor],
) -> tf.Tensor:
    """Classifies chunks of episodes, support `[chunks, episodes, N, K]` and query `[chunks, episodes, M]`."""

    def chunk_predictions(chunk: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        support, query = chunk
        return classifier(tf.gather(features, support), tf.gather(features, query), **options)

    # Chunks are independent of each other: while one gathers, another computes.
    return tf.map_fn(
        chunk_predictions, (support, query), fn_output_signature=tf.int32, parallel_iterations=os.cpu_count() or 1
    )


@tf.function(reduce_retracing=True)
def _classify_on_replicas(
    classifier: Callable[..., tf.Tensor],
    features: tf.Tensor,
    support: tf.Tensor,
    query: tf.Tensor,
    options: dict[str, tf.Tensor],
    chunks: tf.Tensor,
) -> tf.Tensor:
    strategy = tf.distribute.get_strategy()

    def classify(support: tf.Tensor, query: tf.Tensor) -> tf.Tensor:
        support, query = distribution.replica_rows(strategy, [support, query], chunks)
        # 64 bits: on GPUs TensorFlow keeps smaller integers in the host's memory, where nothing is exchanged.
        return tf.cast(_classify(classifier, features, support, query, options), tf.int64)

    return tf.cast(strategy.gather(strategy.run(classify, args=(support, query)), axis=0), tf.int32)


def _checked(
    features: npt.ArrayLike, support: npt.ArrayLike, query: npt.ArrayLike, classifier: Callable[..., tf.Tensor]
) -> tuple[tf.Tensor, np.ndarray, np.ndarray]:
    """Returns the features in the dtype to compute in, and the indices, or raises as `episode_predictions` does."""
    features = np.asarray(features)
    support, query = np.asarray(support), np.asarray(query)
    if features.ndim != 2 or support.ndim != 3 or query.ndim != 3 or support.shape[:2] != query.shape[:2]:
        raise UserError(
            "Expected features [n, d], support [episodes, ways, shots] and query [episodes, ways, queries]. "
            f"Received: features {features.shape}, support {support.shape}, query {query.shape}."
        )
    for name, indices in (("support", support), ("query", query)):
        if indices.size and not 0 <= indices.min() <= indices.max() < len(features):
            raise UserError(
                f"`{name}` must be indices of the {len(features)} features. "
                f"Received: {indices.min()} to {indices.max()}."
            )
    if classifier is laplacian_shot:
        check_visible(features=features)
    dtype = computing_dtype(features=features)
    # Classifiers turn other dtypes into float32 themselves.
    if dtype == np.float64 or features.dtype == np.float64:
        features = features.astype(dtype, copy=False)
    return tf.convert_to_tensor(features), support, query


@true_float32()
def episode_predictions(
    features: npt.ArrayLike,
    support: npt.ArrayLike,
    query: npt.ArrayLike,
    classifier: Callable[..., tf.Tensor],
    **options: float,
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

    Raises:
        UserError: if the features are no finite numbers `[n, d]`, the indices do not match each other or the features,
            or features are too small for LaplacianShot.
    """
    vectors, support, query = _checked(features, support, query, classifier)
    episodes, ways, queries = query.shape
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


def episode_accuracies(predictions: npt.ArrayLike) -> np.ndarray:
    """Returns each episode's share of queries classified as their own way, float64 `[E]`, from `[E, N, Q]`."""
    predictions = np.asarray(predictions)
    return (predictions == np.arange(predictions.shape[1])[:, None]).mean(axis=(1, 2))


def class_accuracies(labels: npt.ArrayLike, query: npt.ArrayLike, predictions: npt.ArrayLike) -> np.ndarray:
    """Measures the accuracy on each class.

    Args:
        labels: integers `[n]` from 0 to C − 1.
        query: indices into the labels `[E, N, Q]`.
        predictions: way indices `[E, N, Q]`.

    Returns:
        The share of each class's queries classified as their own way, float64 `[C]`; NaN if it has none.
    """
    labels, query, predictions = np.asarray(labels), np.asarray(query), np.asarray(predictions)
    right = predictions == np.arange(predictions.shape[1])[:, None]
    true = labels[query]
    queries = np.bincount(true.ravel(), minlength=labels.max() + 1)
    with np.errstate(invalid="ignore"):
        return np.bincount(true[right], minlength=len(queries)) / queries


def mean_and_half_width(accuracies: npt.ArrayLike) -> tuple[float, float]:
    """Returns the mean over episodes and its 95% confidence half-width, from `[E]` with E ≥ 2."""
    accuracies = np.asarray(accuracies)
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
        UserError: if the labels hold too few classes or images, or features are not finite.
    """
    _check_features(features, labels, mean)
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


def _check_features(features: npt.ArrayLike, labels: npt.ArrayLike, mean: npt.ArrayLike | None) -> None:
    shape = np.shape(features)
    if len(shape) != 2 or np.shape(labels) != shape[:1]:
        raise UserError(f"Expected features [n, d] and labels [n]. Received: {shape}, {np.shape(labels)}.")
    check_finite(features=features, **({} if mean is None else {"mean": mean}))


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
    feature_transforms: Sequence[str] | None = None,
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
        feature_transforms: names in `FEATURE_TRANSFORMS`; if None, `"none"` and `"l2"`, and `"cl2"` if there is a mean.
        mean: the mean of the training features `[d]`, for the transform `"cl2"`.
        lams: LaplacianShot's λ by `(feature_transform, shots)`, as `choose_lams` returns them; `DEFAULT_LAM` if None.

    Yields:
        An `Outcome` for each number of shots, classifier and feature transform.

    Raises:
        UserError: for unknown names, or if the labels hold too few classes or images, or features are not finite.
    """
    unknown = sorted(set(classifiers) - set(CLASSIFIERS))
    if unknown:
        raise UserError(f"`classifiers` must be among {', '.join(CLASSIFIERS)}. Received: {', '.join(unknown)}.")
    if episodes < 2:
        raise UserError(f"A confidence interval needs at least 2 episodes. Received: {episodes}.")
    _check_features(features, labels, mean)
    if feature_transforms is None:
        feature_transforms = FEATURE_TRANSFORMS if mean is not None else ("none", "l2")
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
        UserError: for unknown names, or if the labels hold too few classes or images, or features are not finite.
    """
    return [outcome.entry for outcome in evaluate_episodes(features, labels, split, **options)]
