"""The answers of one few-shot classifier to the queries of thousands of episodes."""

import os
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from dsl_tf import distribution
from dsl_tf.errors import UserError
from dsl_tf.evaluation.classification import block_size
from dsl_tf.evaluation.classifiers import FewShotClassifier
from dsl_tf.evaluation.episode_lists import NONE, Episodes
from dsl_tf.evaluation.laplacian_shot import laplacian_shot
from dsl_tf.evaluation.numbers import check_visible, computing_dtype
from dsl_tf.evaluation.one_by_one import varied_predictions
from dsl_tf.evaluation.precision import true_float32


# Without AutoGraph, whose errors are many lines.
@tf.function(reduce_retracing=True, autograph=False)
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


@tf.function(reduce_retracing=True, autograph=False)
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


def _match(support: tuple[int, ...], query: tuple[int, ...]) -> bool:
    """Returns whether shapes of indices match: queries may be grouped by way or not."""
    return query[:-1] == support[: len(query) - 1] and len(query) in (2, 3)


def _checked(
    features: npt.ArrayLike, support: npt.ArrayLike, query: npt.ArrayLike, classifier: Callable[..., tf.Tensor]
) -> tuple[tf.Tensor, np.ndarray, np.ndarray]:
    """Returns the features in the dtype to compute in, and the indices, or raises as `episode_predictions` does."""
    features = np.asarray(features)
    support, query = np.asarray(support), np.asarray(query)
    if features.ndim != 2 or support.ndim != 3 or not _match(support.shape, query.shape):
        raise UserError(
            "Expected features [n, d], support [episodes, ways, shots] and query [episodes, ways, queries] or "
            "[episodes, queries]. "
            f"Received: features {features.shape}, support {support.shape}, query {query.shape}."
        )
    check_indices(len(features), support=support, query=query)
    return _vectors(features, classifier), support, query


def check_indices(count: int, **arguments: np.ndarray) -> None:
    """Checks that arguments are indices of `count` features.

    Raises:
        UserError: if one is not.
    """
    for name, indices in arguments.items():
        if indices.size and not 0 <= indices.min() <= indices.max() < count:
            raise UserError(
                f"`{name}` must be indices of the {count} features. Received: {indices.min()} to {indices.max()}."
            )


def _vectors(features: np.ndarray, classifier: Callable[..., tf.Tensor]) -> tf.Tensor:
    if classifier is laplacian_shot:
        check_visible(features=features)
    dtype = computing_dtype(features=features)
    # Classifiers turn other dtypes into float32 themselves.
    if dtype == np.float64 or features.dtype == np.float64:
        features = features.astype(dtype, copy=False)
    return tf.convert_to_tensor(features)


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
        query: indices `[E, N, Q]`, or `[E, M]` if ways have unequal numbers of queries.
        classifier: a function of support features `[E, N, K, d]` and query features `[E, M, d]` to way indices
            `[E, M]`, with M = N·Q.
        **options: float arguments of the classifier, such as `lam`.

    Returns:
        The way index of each query, int32, of the shape of `query`.

    Raises:
        UserError: if the features are no finite numbers `[n, d]`, the indices do not match each other or the features,
            or features are too small for LaplacianShot.
    """
    vectors, support, query = _checked(features, support, query, classifier)
    episodes, ways, shots = support.shape
    flat_query = query.reshape(episodes, int(np.prod(query.shape[1:])))
    chunk = block_size(ways * shots + flat_query.shape[1], vectors.shape[1] * vectors.dtype.size)
    strategy = tf.distribute.get_strategy()
    replicas = strategy.num_replicas_in_sync
    chunk = min(chunk, -(-episodes // replicas))
    chunks = -(-episodes // (chunk * replicas)) * replicas
    # Whole chunks alone: the last one is filled up with its last episode, whose answers are dropped again.
    rows = np.minimum(np.arange(chunks * chunk), episodes - 1).reshape(-1, chunk)
    first, last = distribution.worker_rows(strategy, chunks)
    rows = rows[first:last]
    arguments = (
        classifier,
        vectors,
        tf.constant(support[rows], tf.int32),
        tf.constant(flat_query[rows], tf.int32),
        # As tensors: another value must not compile the classifier again.
        {name: tf.constant(value, tf.float32) for name, value in options.items()},
    )
    predictions = _classify(*arguments) if replicas == 1 else _classify_on_replicas(*arguments, tf.constant(chunks))
    answers = tf.reshape(predictions, [-1, *query.shape[1:]])[:episodes].numpy()
    if answers.size and not 0 <= answers.min() <= answers.max() < ways:
        raise UserError(
            f"A few-shot classifier must return way indices from 0 to {ways - 1}. "
            f"Received: {answers.min()} to {answers.max()} from {classifier}."
        )
    return answers


def answers(features: np.ndarray, episodes: Episodes, classifier: FewShotClassifier, **options: float) -> np.ndarray:
    """Classifies the queries of episodes in any form.

    Args:
        features: float `[n, d]`, already transformed.
        episodes: `Episodes`.
        classifier: a `FewShotClassifier`.
        **options: its hyperparameters.

    Returns:
        The way index of each query, int32, of the shape of `episodes.query`; −1 where there is no query.

    Raises:
        UserError: as `episode_predictions` does, or if a function of the user's own, which takes equal numbers of
            support images per way, gets others.
    """
    if episodes.support_ways is None:
        return episode_predictions(features, episodes.support, episodes.query, classifier.function, **options)
    if classifier.scores is None:
        raise UserError(
            f"The few-shot classifier {classifier.title} takes episodes that all have the same numbers of classes, and "
            "of support images per class. Received: other episodes. Choose a named classifier."
        )
    images = {name: array[array != NONE] for name, array in (("support", episodes.support), ("query", episodes.query))}
    check_indices(len(features), **images)
    vectors = _vectors(features, classifier.function)
    if not vectors.dtype.is_floating or vectors.dtype.size < 4:
        vectors = tf.cast(vectors, tf.float32)
    return varied_predictions(vectors, episodes, classifier.scores, **options)


def episode_accuracies(predictions: npt.ArrayLike, truth: npt.ArrayLike | None = None) -> np.ndarray:
    """Measures each episode's share of queries classified as their own way.

    Args:
        predictions: way indices `[E, N, Q]`, or `[E, M]` if ways have unequal numbers of queries.
        truth: the right ones, of the same shape, −1 where there is no query; if None, queries are grouped by way.

    Returns:
        float64 `[E]`.
    """
    predictions = np.asarray(predictions)
    if truth is None:
        right = predictions == np.arange(predictions.shape[1])[:, None]
        return right.reshape(len(right), -1).mean(axis=1)
    there = np.asarray(truth) != NONE
    return ((predictions == truth) & there).sum(axis=1) / there.sum(axis=1)
