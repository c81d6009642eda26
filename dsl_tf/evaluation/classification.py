"""Runs a few-shot classifier on any number of episodes: checks their features, then compiled blocks of episodes."""

import concurrent.futures
import functools
import os
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from dsl_tf.evaluation.numbers import check_finite, computing_dtype, is_ordinary
from dsl_tf.evaluation.precision import true_float32

# Bytes of features in one block: on CPUs less and more were slower; on GPUs nothing was measured.
BLOCK_BYTES = {"CPU": 2**24, "GPU": 2**26}

# From support `[E, S, d]`, one-hot labels `[S, N]`, query `[E, M, d]` and hyperparameters to scores `[E, M, N]`.
Scores = Callable[..., tf.Tensor]


def block_size(vectors: int, vector_bytes: int) -> int:
    """Returns how many episodes to classify at once, given the number of vectors in one."""
    device = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    return max(1, BLOCK_BYTES[device] // max(1, vectors * vector_bytes))


def classify(
    function: Callable[..., tf.Tensor],
    support: npt.ArrayLike | tf.Tensor,
    query: npt.ArrayLike | tf.Tensor,
    check: Callable[..., object] = check_finite,
    **options: float,
) -> tf.Tensor:
    """Answers the queries of episodes.

    Args:
        function: a function of tensors of one dtype, support `[E, N, K, d]` and query `[E, M, d]`, and the options, to
            way indices int32 `[E, M]`. The dtype is float32, or float64 for values so large or small that float32 may
            not hold their squares. In a graph, where nobody sees the values, float64 stays float64.
        support, query: the features, of any real dtype.
        check: a function like `check_finite` for features of unusual size, which may refuse them.
        **options: passed on to `function`. Numbers of dtype float become tensors.

    Returns:
        The way index of each query, int32 `[E, M]`.

    Raises:
        ValueError: if the shapes do not match, or outside of a graph if values are not finite.
    """
    if tf.is_symbolic_tensor(support) or tf.is_symbolic_tensor(query):
        support, query = tf.convert_to_tensor(support), tf.convert_to_tensor(query)
        _check_shapes(support.shape, query.shape)
        dtype = tf.float64 if tf.float64 in (support.dtype, query.dtype) else tf.float32
        return function(tf.cast(support, dtype), tf.cast(query, dtype), **options)
    support, query = np.asarray(support), np.asarray(query)
    _check_shapes(tf.TensorShape(support.shape), tf.TensorShape(query.shape))
    if not len(support):
        check(support=support, query=query)
        return tf.zeros(query.shape[:2], tf.int32)
    options = {name: tf.constant(v, tf.float32) if isinstance(v, float) else v for name, v in options.items()}
    with true_float32():
        answers = _by_blocks(function, support, query, np.dtype(np.float32), options, only_ordinary=True)
        if answers is None:
            check(support=support, query=query)
            dtype = computing_dtype(support=support, query=query)
            answers = _by_blocks(function, support, query, dtype, options, only_ordinary=False)
    return tf.concat(answers, axis=0)


def _check_shapes(support: tf.TensorShape, query: tf.TensorShape) -> None:
    fits = support.rank == 4 and query.rank == 3
    if not fits or not (support[:1] + support[-1:]).is_compatible_with(query[:1] + query[-1:]):
        raise ValueError(
            "Expected support [episodes, ways, shots, d] and query [episodes, queries, d]. "
            f"Received: support {support}, query {query}"
        )


def _by_blocks(
    function: Callable[..., tf.Tensor],
    support: np.ndarray,
    query: np.ndarray,
    dtype: np.dtype,
    options: Mapping[str, object],
    only_ordinary: bool,
) -> list[tf.Tensor] | None:
    """Answers block after block; returns None if only ordinary numbers may be answered and others turn up."""
    vectors = support.shape[1] * support.shape[2] + query.shape[1]
    size = min(block_size(vectors, query.shape[2] * dtype.itemsize), len(query))

    def answer(start: int) -> tf.Tensor | None:
        block = support[start : start + size], query[start : start + size]
        if only_ordinary and not is_ordinary(*block):
            return None
        return _compiled(function, *(vectors.astype(dtype, copy=False) for vectors in block), options)

    starts = iter(range(0, len(query), size))
    # While one block is copied into a tensor, another computes.
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        answers = list(_until_none(pool.map(answer, starts)))
    return None if answers[-1] is None else answers


def _until_none(answers: Iterator[tf.Tensor | None]) -> Iterator[tf.Tensor | None]:
    for answer in answers:
        yield answer
        if answer is None:
            return


# Without AutoGraph, whose errors are many lines.
@tf.function(reduce_retracing=True, autograph=False)
def _compiled(
    function: Callable[..., tf.Tensor], support: tf.Tensor, query: tf.Tensor, options: Mapping[str, object]
) -> tf.Tensor:
    return function(support, query, **options)


@functools.cache
def best_way(scores: Scores) -> Callable[..., tf.Tensor]:
    """Returns a function for `classify` that answers the way with the highest score, of equal ones the first.

    Args:
        scores: a function of tensors of one dtype, support `[E, S, d]`, one-hot labels `[S, N]`, query `[E, M, d]`, and
            options, to scores `[E, M, N]`.
    """

    def answer(support: tf.Tensor, query: tf.Tensor, **options: float) -> tf.Tensor:
        episodes, ways, shots, d = tf.unstack(tf.shape(support))
        labels = tf.repeat(tf.eye(ways, dtype=support.dtype), shots, axis=0)
        support = tf.reshape(support, [episodes, ways * shots, d])
        return tf.argmax(scores(support, labels, query, **options), axis=2, output_type=tf.int32)

    return answer


@true_float32()
def task_probabilities(
    scores: Scores, support: npt.ArrayLike, labels: npt.ArrayLike, query: npt.ArrayLike, **options: float
) -> np.ndarray:
    """Computes softmax(scores) of each query of one task, whose classes may have different numbers of support images.

    Args:
        scores: as in `best_way`.
        support: features `[S, d]`, any float dtype.
        labels: their classes 0..N−1, integers `[S]`; each class occurs, in any number.
        query: features `[M, d]`.
        **options: passed on to `scores`.

    Returns:
        The probabilities of the classes, float64 `[M, N]`.

    Raises:
        ValueError: if the shapes or labels do not match, or features are not finite.
    """
    support, query, counts = as_task(support, labels, query)
    one_hot = tf.one_hot(np.asarray(labels), len(counts), dtype=support.dtype)
    found = _compiled_scores(scores, tf.constant(support), one_hot, tf.constant(query), options)
    # In float32 the probabilities of near classes would round to equal ones, and the first instead of the best win.
    return tf.nn.softmax(tf.cast(found, tf.float64)).numpy()[0]


@tf.function(reduce_retracing=True, autograph=False)
def _compiled_scores(
    scores: Scores, support: tf.Tensor, labels: tf.Tensor, query: tf.Tensor, options: Mapping[str, object]
) -> tf.Tensor:
    return scores(support, labels, query, **options)


def as_task(
    support: npt.ArrayLike, labels: npt.ArrayLike, query: npt.ArrayLike
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns support `[1, S, d]` and query `[1, M, d]` in one dtype, and the number of images of each class `[N]`.

    Raises:
        ValueError: if the shapes or labels do not match, or features are not finite.
    """
    support, query, labels = np.asarray(support), np.asarray(query), np.asarray(labels)
    fits = support.ndim == query.ndim == 2 and support.shape[1] == query.shape[1]
    if not fits or labels.shape != support.shape[:1] or not len(query):
        raise ValueError(
            "Expected support [S, d], labels [S] and query [M, d] with M ≥ 1. "
            f"Received: support {support.shape}, labels {labels.shape}, query {query.shape}"
        )
    counts = np.bincount(labels)
    if not len(counts) or not counts.all():
        raise ValueError(f"Each of the labels 0..N-1 must occur. Received: {np.unique(labels).tolist()}")
    dtype = computing_dtype(support=support, query=query)
    return support[None].astype(dtype), query[None].astype(dtype), counts
