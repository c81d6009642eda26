"""Few-shot evaluation on plain arrays of features and labels."""

import dsl_tf.quiet_tensorflow  # noqa: F401  (before anything imports TensorFlow)
from dsl_tf.evaluation.accuracy import (
    class_accuracies,
    classes_half_width,
    evaluate_episodes,
    few_shot_accuracies,
    mean_and_half_width,
)
from dsl_tf.evaluation.alpha_tim import alpha_tim
from dsl_tf.evaluation.bd_cspn import bd_cspn
from dsl_tf.evaluation.classifiers import CLASSIFIERS, FewShotClassifier, classifier_of
from dsl_tf.evaluation.cosine_nearest_centroid import cosine_nearest_centroid
from dsl_tf.evaluation.discriminant import discriminant_score, subspace_scores
from dsl_tf.evaluation.episode_lists import Episodes, listed_episodes
from dsl_tf.evaluation.episodes import episodes_fingerprint, sample_episodes
from dsl_tf.evaluation.hyperparameters import choose_hyperparameters
from dsl_tf.evaluation.laplacian_shot import laplacian_shot
from dsl_tf.evaluation.logistic_regression import logistic_regression
from dsl_tf.evaluation.nearest_centroid import nearest_centroid
from dsl_tf.evaluation.nearest_neighbour import nearest_neighbour
from dsl_tf.evaluation.predictions import episode_accuracies, episode_predictions
from dsl_tf.evaluation.pt_map import pt_map
from dsl_tf.evaluation.ridge_regression import ridge_regression
from dsl_tf.evaluation.tim import tim
from dsl_tf.evaluation.transforms import FEATURE_TRANSFORMS, transform_features
from dsl_tf.evaluation.unequal_episodes import sample_unequal_episodes
from dsl_tf.evaluation.varied_episodes import sample_varied_episodes

__all__ = [
    "CLASSIFIERS",
    "FEATURE_TRANSFORMS",
    "Episodes",
    "FewShotClassifier",
    "alpha_tim",
    "bd_cspn",
    "choose_hyperparameters",
    "class_accuracies",
    "classes_half_width",
    "classifier_of",
    "cosine_nearest_centroid",
    "discriminant_score",
    "episode_accuracies",
    "episode_predictions",
    "episodes_fingerprint",
    "evaluate_episodes",
    "few_shot_accuracies",
    "laplacian_shot",
    "listed_episodes",
    "logistic_regression",
    "mean_and_half_width",
    "nearest_centroid",
    "nearest_neighbour",
    "pt_map",
    "ridge_regression",
    "sample_episodes",
    "sample_unequal_episodes",
    "sample_varied_episodes",
    "subspace_scores",
    "tim",
    "transform_features",
]
