"""What `results.json` records of a run so that it can be repeated."""

import platform
from typing import Any

import keras
import tensorflow as tf

import dsl_tf
from dsl_tf.runs import flagfiles, provenance
from dsl_tf.training import construction
from dsl_tf.training.extension import read_extensions
from dsl_tf.training.run import Run


def description(run: Run, exported: construction.Parts, source: str, fingerprints: dict[str, str]) -> dict[str, Any]:
    """Returns what is needed to repeat a run."""
    extensions = read_extensions(run.directory)
    return {
        "steps": int(run.checkpoints.step),
        **({"extensions": extensions} if extensions else {}),
        "source": source,
        "data_fingerprint": fingerprints,
        "splits": {
            name: {"images": len(split.labels), "classes": split.class_count} for name, split in run.splits.items()
        },
        "backbone": {"name": exported.backbone.name, "weights": exported.backbone.count_params()},
        "flags": flagfiles.to_lines(run.configuration),
        "versions": {
            "dsl_tf": dsl_tf.__version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "python": platform.python_version(),
        },
        "commit": provenance.commit(),
        "devices": provenance.devices(run.strategy),
    }
