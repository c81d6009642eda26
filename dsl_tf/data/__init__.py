"""Data sets, balanced batches and augmentation."""

from dsl_tf.data.augmentation import augment
from dsl_tf.data.balanced import BalancedBatches
from dsl_tf.data.pipeline import training_batches
from dsl_tf.data.sources import open_splits
from dsl_tf.data.split import Split

__all__ = ["BalancedBatches", "Split", "augment", "open_splits", "training_batches"]
