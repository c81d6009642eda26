"""Reads features from TFRecord files."""

from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from dsl_tf.errors import UserError
from dsl_tf.runs.feature_tables import FILES, LABELS

TFRECORDS = (".tfrecord", ".tfrecords")


def records_arrays(path: str) -> dict[str, np.ndarray]:
    """Reads a TFRecord file with a `tf.train.Example` per image.

    Args:
        path: each example has `features`, floats or the bytes of `tf.io.serialize_tensor` (which may be of bfloat16);
            `labels` or `label`, one integer or text; and `files`, a text, if all have it.

    Raises:
        UserError: if an example holds something else.
    """
    features, labels, files = [], [], []
    for number, record in enumerate(tf.data.TFRecordDataset(path).as_numpy_iterator()):
        example = tf.train.Example.FromString(record).features.feature
        label, file = (_first(example, names) for names in (LABELS, FILES))
        vector = _vector(example["features"]) if "features" in example else None
        if vector is None or label is None or (features and len(vector) != len(features[0])):
            raise UserError(
                "each example must have features (floats, as many in each) and labels (an integer or a text). "
                f"Received: record {number} with {_described(example)}."
            )
        features.append(vector)
        labels.append(label)
        files.append(file)
    if not features:
        raise UserError("it must hold examples. Received: none.")
    named = all(isinstance(file, str) for file in files)
    return {"features": np.stack(features), "labels": np.array(labels), **({"files": np.array(files)} if named else {})}


def _first(example: Any, names: tuple[str, ...]) -> int | str | None:
    """Returns the one integer or text of the first of these features that there is."""
    name = next((name for name in names if name in example), None)
    if name is None:
        return None
    values = example[name].int64_list.value or example[name].bytes_list.value
    if len(values) != 1:
        return None
    return values[0].decode() if isinstance(values[0], bytes) else int(values[0])


def _vector(feature: Any) -> np.ndarray | None:
    if len(feature.bytes_list.value) == 1:
        vector = tf.make_ndarray(tensor_pb2.TensorProto.FromString(feature.bytes_list.value[0]))
        return vector if vector.ndim == 1 else None
    return np.array(feature.float_list.value, np.float32) if feature.float_list.value else None


def _described(example: Any) -> str:
    kinds = {name: example[name].WhichOneof("kind") for name in sorted(example)}
    counts = [f"{len(getattr(example[name], kind).value)} of {name!r} ({kind})" for name, kind in kinds.items() if kind]
    return ", ".join(counts)[:200] or "no features"
