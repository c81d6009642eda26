"""Data sets, balanced batches and augmentation."""

import dsl_tf.quiet_tensorflow  # noqa: F401  (before anything imports TensorFlow)
from dsl_tf.data.augmentation import augment
from dsl_tf.data.balanced import BalancedBatches
from dsl_tf.data.pipeline import training_batches
from dsl_tf.data.sources import open_splits
from dsl_tf.data.split import Split

__all__ = ["BalancedBatches", "Split", "augment", "open_splits", "training_batches"]
