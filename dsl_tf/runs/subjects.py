"""What can be evaluated: the backbone of a run, a SavedModel, or features from anywhere."""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from dsl_tf.data import Split, sources
from dsl_tf.data.cache import default_cache_dir
from dsl_tf.errors import UserError
from dsl_tf.files import check_regular
from dsl_tf.progress import progress_bar
from dsl_tf.runs import directory as run_directory
from dsl_tf.runs.configuration import TrainingConfiguration
from dsl_tf.runs.export import load_exported_model
from dsl_tf.runs.feature_cache import cached_features, files_fingerprint
from dsl_tf.runs.features import extract_features

_BATCH = 256


@dataclasses.dataclass(frozen=True)
class Subject:
    """Features with labels, and what is known of where they come from.

    Args:
        name: as the user gave it: a directory or a file.
        features: float32 `[n, d]`.
        labels: integers `[n]` from 0 to C − 1.
        class_names: C names, by label.
        validation: returns features and labels of the validation classes; None if there are none.
        mean: the mean of the training features `[d]`, or None.
        kernel: the classifier's weights `[d, C]` of the training classes, or None.
        images: uint8 `[n, h, w, 3]`, to be indexed, or None.
        training: the `TrainingConfiguration` of the run, or None.
        data_fingerprint: that of the split, or None.
        trained_fingerprint: that of the split of the same name which the run recorded, or None.
    """

    name: str
    features: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    validation: Callable[[], tuple[np.ndarray, np.ndarray]] | None = None
    mean: np.ndarray | None = None
    kernel: np.ndarray | None = None
    images: Any = None
    training: TrainingConfiguration | None = None
    data_fingerprint: str | None = None
    trained_fingerprint: str | None = None

    @property
    def data(self) -> str:
        """Which data the features are of: `"the run's own"`, `"other data"` or `"unknown"`, compared with the run's."""
        if self.trained_fingerprint is None or self.data_fingerprint is None:
            return "unknown"
        return "the run's own" if self.data_fingerprint == self.trained_fingerprint else "other data"


def of_run(directory, split, data_dir=None):
    """Takes the backbone of a finished run, on the data set that it was trained on.

    Args:
        directory: the run directory.
        split: the split to evaluate.
        data_dir: the folder with the data, if it has moved since the training.

    Returns:
        A `Subject`.

    Raises:
        UserError: if the directory is no finished run, or its data cannot be read.
    """
    directory = pathlib.Path(directory)
    training = run_directory.read_configuration(directory)
    results = run_directory.read_results(directory)
    if results is None:
        raise UserError(
            f"The run in {str(directory)!r} has not finished: it has no {run_directory.RESULTS}. "
            "Run its training command again to resume it."
        )
    if results.get("source") == "arrays":
        raise UserError(
            f"The data of {str(directory)!r} came from Python, not from a data set with a name. Evaluate it from "
            "Python, with dsl_tf.evaluation.few_shot_accuracies."
        )
    backbone = _load_backbone(directory)
    mean, kernel = _load_statistics(directory, backbone.output_shape[-1])
    options = {**training.data_options, "image_size": backbone.input_shape[1]}
    if data_dir:
        options["data_dir"] = data_dir

    def compute(chosen):
        return run_features(directory, backbone, chosen)

    return _of_data(
        str(directory),
        sources.open_splits(**options),
        split,
        compute,
        mean=mean,
        kernel=kernel,
        training=training,
        trained_fingerprint=(results.get("data_fingerprint") or {}).get(split),
    )


def run_features(directory, backbone, split):
    """Returns the features of a split by the backbone that a run directory holds, from its cache if they are there.

    Args:
        directory: the run directory, a `pathlib.Path`.
        backbone: its backbone, a `keras.Model`.
        split: a `Split`.

    Returns:
        float32 `[n, d]`.
    """
    model = files_fingerprint(directory / run_directory.BACKBONE)
    return cached_features(
        directory / run_directory.FEATURES, model, split, lambda images: extract_features(backbone, images)
    )


def of_saved_model(directory, split, data_options):
    """Takes a SavedModel that a run exported, on any data set.

    Args:
        directory: the SavedModel's folder.
        split: the split to evaluate.
        data_options: the arguments of `open_splits`; without an image size, the one of the model.

    Returns:
        A `Subject`.

    Raises:
        UserError: if it cannot be loaded or has another signature, or the data cannot be read.
    """
    model = load_exported_model(directory)
    fingerprint = files_fingerprint(directory)
    options = {**data_options, "image_size": data_options.get("image_size") or model.image_size}

    def compute(chosen):
        folder = pathlib.Path(data_options.get("cache_dir") or default_cache_dir()) / run_directory.FEATURES
        return cached_features(folder, fingerprint, chosen, lambda images: _served(model.signature, images))

    return _of_data(str(directory), sources.open_splits(**options), split, compute)


def of_features_file(path):
    """Takes features of any origin.

    Args:
        path: an `.npz` file with `features`, float `[n, d]`, and `labels`, integers or texts `[n]`, and perhaps
            `class_names` `[C]`, `mean` (of the training features, `[d]`), `val_features` and `val_labels`.

    Returns:
        A `Subject`.

    Raises:
        UserError: if the file cannot be read or its arrays do not match.
    """
    arrays = _read_arrays(path)
    features, labels, names = _checked(path, arrays, "")
    mean = arrays.get("mean")
    if mean is not None and (mean.shape != features.shape[1:] or mean.dtype.kind != "f"):
        raise UserError(
            f"{path!r}: mean must be a float [{features.shape[1]}]. Received: {mean.dtype} {list(mean.shape)}."
        )
    if mean is not None:
        mean = _finite_float32(path, "mean", mean)
    validation = None
    if "val_features" in arrays:
        validated = _checked(path, arrays, "val_")[:2]
        validation = lambda: validated  # noqa: E731
    return Subject(path, features, labels, names, validation, mean)


def _read_arrays(path):
    try:
        check_regular(path)
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    # Damaged files make NumPy, zipfile and zlib raise nearly any kind of error.
    except Exception as error:
        raise UserError(
            f"--features={path!r} must be an .npz file of plain arrays. It cannot be read: {_reason(error)}"
        ) from None
    # A member that is no array is bytes.
    return {name: array for name, array in arrays.items() if isinstance(array, np.ndarray)}


def _reason(error):
    return getattr(error, "strerror", None) or " ".join(str(error).split())[:300] or type(error).__name__


def _checked(path, arrays, prefix):
    """Returns features, labels and class names of a file; labels may be any integers, or texts."""
    missing = [name for name in (f"{prefix}features", f"{prefix}labels") if name not in arrays]
    if missing:
        raise UserError(
            f"--features={path!r} must hold the arrays {prefix}features and {prefix}labels. "
            f"Received: {', '.join(map(repr, arrays)) or 'none'}. Add {' and '.join(missing)}."
        )
    features, labels = arrays[f"{prefix}features"], arrays[f"{prefix}labels"]
    if features.ndim != 2 or not features.size or features.dtype.kind != "f" or labels.shape != features.shape[:1]:
        raise UserError(
            f"--features={path!r} must hold {prefix}features, floats [n, d] (n and d above 0), and {prefix}labels [n]. "
            f"Received: {features.dtype} {list(features.shape)} and {labels.dtype} {list(labels.shape)}."
        )
    features = _finite_float32(path, f"{prefix}features", features)
    if labels.dtype.kind not in "iuU":
        raise UserError(f"--features={path!r}: {prefix}labels must be integers or texts. Received: {labels.dtype}.")
    found, labels = np.unique(labels, return_inverse=True)
    names = _names(path, f"{prefix}labels", found)
    given = arrays.get("class_names")
    if not prefix and given is not None:
        if given.ndim != 1 or given.dtype.kind != "U" or found.dtype.kind == "U" or not 0 <= found[-1] < len(given):
            raise UserError(
                f"--features={path!r}: class_names must be texts, one for each label from 0. Received: "
                f"{given.dtype} {list(given.shape)} for labels up to {found[-1]}."
            )
        names = _names(path, "class_names", given[found])
    return features, labels.astype(np.int32), names


def _finite_float32(path, name, array):
    # float64 may hold more than float32 can.
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise UserError(f"--features={path!r}: {name} must be finite as float32. Received: NaN or infinity.")
    return array


def _names(path, name, values):
    try:
        names = tuple(map(str, values.tolist()))
        "".join(names).encode()
    # What NumPy and Python raise for code points that there are not, or that no file can hold.
    except (ValueError, SystemError):
        raise UserError(
            f"--features={path!r}: {name} must be Unicode text. Received: damaged text. Write the file again."
        ) from None
    return names


def _of_data(name, loaders, split, compute, **known):
    def load(wanted) -> Split:
        if wanted not in loaders:
            raise UserError(f"--split={wanted} is none of the data set of {name!r}, which has {', '.join(loaders)}.")
        return loaders[wanted]()

    def validation():
        val = load("val")
        return compute(val), val.labels

    chosen = load(split)
    return Subject(
        name,
        compute(chosen),
        chosen.labels,
        chosen.class_names,
        validation if "val" in loaders else None,
        images=chosen.images,
        data_fingerprint=chosen.fingerprint(),
        **known,
    )


def _load_backbone(directory):
    path = directory / run_directory.BACKBONE
    try:
        check_regular(path)
        return keras.models.load_model(path, compile=False)
    # Damaged files make Keras raise nearly any kind of error, of many lines.
    except Exception as error:
        raise UserError(f"{str(path)!r} must be a Keras model file. It cannot be loaded: {_reason(error)}") from None


def _load_statistics(directory, dimensions):
    """Returns the mean of the training features, and the classifier's kernel or None."""
    path = directory / run_directory.STATISTICS
    try:
        check_regular(path)
        with np.load(path, allow_pickle=False) as statistics:
            mean, kernel = np.asarray(statistics["feature_mean"], np.float32), statistics.get("kernel")
        if mean.shape != (dimensions,) or not np.isfinite(mean).all():
            raise ValueError(f"It must be finite [{dimensions}], but is {list(mean.shape)}")
        if kernel is not None and (np.ndim(kernel) != 2 or len(kernel) != dimensions or kernel.dtype.kind != "f"):
            raise ValueError(f"Its kernel must be floats [{dimensions}, C], but is {list(np.shape(kernel))}")
        return mean, kernel
    except Exception as error:
        raise UserError(
            f"{str(path)!r} must hold the array feature_mean. It cannot be read: {_reason(error)}"
        ) from None


def _served(signature, images):
    progress = progress_bar(len(images), "image")
    parts = []
    for start in range(0, len(images), _BATCH):
        parts.append(signature(images=tf.constant(images[start : start + _BATCH]))["features"].numpy())
        progress.update(start + len(parts[-1]))
    return np.concatenate(parts).astype(np.float32)
