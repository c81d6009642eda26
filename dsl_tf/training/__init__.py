"""Training of a backbone with the paper's losses."""

import dsl_tf.quiet_tensorflow  # noqa: F401  (before anything imports TensorFlow)
from dsl_tf.runs.configuration import TrainingConfiguration
from dsl_tf.training.splits import load_splits
from dsl_tf.training.trainer import train

__all__ = ["TrainingConfiguration", "load_splits", "train"]
