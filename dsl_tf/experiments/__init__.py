"""The experiments of the paper: its published numbers, its trainings and their flagfiles."""

import dsl_tf.quiet_tensorflow  # noqa: F401  (before anything imports TensorFlow)
from dsl_tf.experiments.cells import BASE, BATCH_SHAPES, FEATURE_TRANSFORMS, Cell, cells, configuration
from dsl_tf.experiments.published import DISCRIMINANT_SCORES, published

__all__ = [
    "BASE",
    "BATCH_SHAPES",
    "DISCRIMINANT_SCORES",
    "FEATURE_TRANSFORMS",
    "Cell",
    "cells",
    "configuration",
    "published",
]
