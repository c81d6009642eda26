"""Few-shot evaluation on plain arrays of features and labels."""

import dsl_tf.quiet_tensorflow  # noqa: F401  (before anything imports TensorFlow)
from dsl_tf.evaluation.accuracy import (
    choose_lams,
    class_accuracies,
    episode_accuracies,
    evaluate_episodes,
    few_shot_accuracies,
    mean_and_half_width,
)
from dsl_tf.evaluation.discriminant import discriminant_score, subspace_scores
from dsl_tf.evaluation.episodes import episodes_fingerprint, sample_episodes
from dsl_tf.evaluation.laplacian_shot import laplacian_shot
from dsl_tf.evaluation.nearest_centroid import nearest_centroid
from dsl_tf.evaluation.predictions import episode_predictions
from dsl_tf.evaluation.transforms import FEATURE_TRANSFORMS, transform_features

__all__ = [
    "FEATURE_TRANSFORMS",
    "choose_lams",
    "class_accuracies",
    "discriminant_score",
    "episode_accuracies",
    "episode_predictions",
    "episodes_fingerprint",
    "evaluate_episodes",
    "few_shot_accuracies",
    "laplacian_shot",
    "mean_and_half_width",
    "nearest_centroid",
    "sample_episodes",
    "subspace_scores",
    "transform_features",
]
