"""dsl_tf: direct-sum integration of classification and metric losses, for TensorFlow and Keras 3."""

import importlib
import os
import types

# TensorFlow's C++ log reports missing GPUs and CPU features; what matters comes as a Python exception.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

__version__ = "0.1.0"

_SUBPACKAGES = ("data", "evaluation", "experiments", "losses", "models", "report", "runs", "training")


def __getattr__(name: str) -> types.ModuleType:
    # On first use, so that the name alone does not wait for TensorFlow.
    if name in _SUBPACKAGES:
        return importlib.import_module(f"dsl_tf.{name}")
    raise AttributeError(f"module 'dsl_tf' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_SUBPACKAGES])
