"""The answers of a few-shot classifier to episodes of any shapes, one after the other within one graph."""

import os

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from dsl_tf.evaluation.classification import Scores
from dsl_tf.evaluation.episode_lists import NONE, Episodes
from dsl_tf.evaluation.precision import true_float32


@true_float32()
def varied_predictions(
    features: npt.ArrayLike | tf.Tensor, episodes: Episodes, scores: Scores, **options: float
) -> np.ndarray:
    """Classifies the queries of episodes that have their own numbers of ways, support images and queries.

    Nothing is padded: each episode is computed alone, in its own shape.

    Args:
        features: `[n, d]` in the dtype to compute in.
        episodes: `Episodes` in their most general form.
        scores: a function of support `[E, S, d]`, one-hot labels `[S, N]`, query `[E, M, d]` and options to scores
            `[E, M, N]`.
        **options: float arguments of `scores`.

    Returns:
        The way index of each query, int32, of the shape of `episodes.query`; −1 where there is no query.
    """
    tensors = [tf.constant(array, tf.int32) for array in (episodes.support, episodes.support_ways, episodes.query)]
    values = {name: tf.constant(value, tf.float32) for name, value in options.items()}
    return _answers(scores, tf.convert_to_tensor(features), *tensors, values).numpy()


# Without AutoGraph, whose errors are many lines.
@tf.function(reduce_retracing=True, autograph=False)
def _answers(
    scores: Scores,
    features: tf.Tensor,
    support: tf.Tensor,
    support_ways: tf.Tensor,
    query: tf.Tensor,
    options: dict[str, tf.Tensor],
) -> tf.Tensor:
    def answer(episode: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
        support, ways, query = (images[: tf.math.count_nonzero(images != NONE)] for images in episode)
        labels = tf.one_hot(ways, tf.reduce_max(ways) + 1, dtype=features.dtype)
        vectors = tf.gather(features, support)[None], labels, tf.gather(features, query)[None]
        ways_found = tf.argmax(scores(*vectors, **options)[0], axis=1, output_type=tf.int32)
        return tf.pad(ways_found, [[0, tf.shape(episode[2])[0] - tf.shape(query)[0]]], constant_values=NONE)

    return tf.map_fn(
        answer,
        (support, support_ways, query),
        fn_output_signature=tf.TensorSpec([None], tf.int32),
        parallel_iterations=os.cpu_count() or 1,
    )
