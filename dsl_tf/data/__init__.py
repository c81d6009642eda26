"""Data sets, balanced batches and augmentation."""

from dsl_tf.data.augmentation import augment
from dsl_tf.data.balanced import BalancedBatches
from dsl_tf.data.pipeline import training_batches
from dsl_tf.data.sources import load_split
from dsl_tf.data.split import Split

__all__ = ["BalancedBatches", "Split", "augment", "load_split", "training_batches"]
