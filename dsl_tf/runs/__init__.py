"""Run directories: their configuration, their files, and what is computed with a finished run."""

import dsl_tf.quiet_tensorflow  # noqa: F401  (before anything imports TensorFlow)
from dsl_tf.runs import configuration, directory
from dsl_tf.runs.features import extract_features

__all__ = ["configuration", "directory", "extract_features"]
