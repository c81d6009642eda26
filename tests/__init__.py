"""Imports TensorFlow first, without its notes, which each process of pytest-xdist would print."""

import dsl_tf.quiet_tensorflow  # noqa: F401
