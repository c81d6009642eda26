"""Backbones from images to features, and classifiers from features to logits."""

import dsl_tf.quiet_tensorflow  # noqa: F401  (before anything imports TensorFlow)
from dsl_tf.models.applications import application
from dsl_tf.models.classifier import FixedSubspaceClassifier
from dsl_tf.models.embedding import EmbeddingModel
from dsl_tf.models.hub import hub_backbone
from dsl_tf.models.resnet import resnet12, resnet12_basic

__all__ = ["EmbeddingModel", "FixedSubspaceClassifier", "application", "hub_backbone", "resnet12", "resnet12_basic"]
