"""dsl_tf: direct-sum integration of classification and metric losses, for TensorFlow and Keras 3."""

import importlib

__version__ = "0.1.0"

_SUBPACKAGES = ("data", "evaluation", "losses", "models", "report", "training")


def __getattr__(name):
    # On first use, so that asking for --help does not wait for TensorFlow.
    if name in _SUBPACKAGES:
        return importlib.import_module(f"dsl_tf.{name}")
    raise AttributeError(f"module 'dsl_tf' has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *_SUBPACKAGES])
