"""What can be evaluated: the backbone of a run or a SavedModel on a data set, or features from a file."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from dsl_tf.data import Split, sources
from dsl_tf.data.cache import default_cache_dir
from dsl_tf.data.class_division import CLASS_SPLIT_FILE
from dsl_tf.data.image_division import IMAGE_SPLIT_FILE
from dsl_tf.data.own_images import has_splits
from dsl_tf.data.stored_images import StoredImages
from dsl_tf.errors import UserError, reason_of
from dsl_tf.files import check_regular
from dsl_tf.progress import progress_bar
from dsl_tf.runs import directory as run_directory
from dsl_tf.runs.configuration import TrainingConfiguration
from dsl_tf.runs.export import load_backbone, load_exported_model
from dsl_tf.runs.feature_cache import cached_features, files_fingerprint
from dsl_tf.runs.features import extract_features

_BATCH = 256


@dataclasses.dataclass(frozen=True)
class Subject:
    """Labelled features, and what is known about their origin.

    Args:
        name: the directory or file, as the user gave it.
        features: float32 `[n, d]`.
        labels: integers `[n]` from 0 to C − 1.
        class_names: the name of each class, by label.
        validation: a function that returns features and labels of the validation classes; None if there are none.
        mean: the mean of the training features `[d]`, or None.
        kernel: the classifier's weights `[d, C]` of the training classes, or None.
        bias: the classifier's bias `[C]`, or None.
        trained: if the classes are those of the training, a function that returns features and labels of the training
            images; otherwise None.
        images: uint8 `[n, h, w, 3]`, an array or `StoredImages`, or None.
        files: the path of each image, or none if that is not known.
        training: the `TrainingConfiguration` of the run, or None.
        data_fingerprint: the fingerprint of the split, or None.
        trained_fingerprint: the fingerprint that the run recorded for its split of the same name, or None.
    """

    name: str
    features: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    validation: Callable[[], tuple[np.ndarray, np.ndarray]] | None = None
    mean: np.ndarray | None = None
    kernel: np.ndarray | None = None
    bias: np.ndarray | None = None
    trained: Callable[[], tuple[np.ndarray, np.ndarray]] | None = None
    images: Any = None
    files: tuple[str, ...] = ()
    training: TrainingConfiguration | None = None
    data_fingerprint: str | None = None
    trained_fingerprint: str | None = None

    @property
    def data(self) -> str:
        """Whether the features are of the run's recorded data: `"the run's own"`, `"other data"` or `"unknown"`."""
        if self.trained_fingerprint is None or self.data_fingerprint is None:
            return "unknown"
        return "the run's own" if self.data_fingerprint == self.trained_fingerprint else "other data"


def of_run(directory: str | os.PathLike[str], split: str, data_dir: str | None = None) -> Subject:
    """Loads the backbone of a finished run and the data set that it was trained on.

    Args:
        directory: the run directory.
        split: the split to evaluate.
        data_dir: the folder with the data, if it has moved since the training.

    Returns:
        A `Subject`.

    Raises:
        UserError: if the run is not finished, or its files or data cannot be read.
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
            f"The data of {str(directory)!r} came from Python, not from a named data set. Evaluate it in "
            "Python with dsl_tf.evaluation.few_shot_accuracies."
        )
    backbone = _load_backbone(directory)
    statistics = _load_statistics(directory, backbone.output_shape[-1])
    options = {**training.data_options, "image_size": backbone.input_shape[1]}
    if data_dir:
        options["data_dir"] = data_dir
    options.update(_recorded_division(directory, options))

    def compute(chosen: Split) -> np.ndarray:
        return run_features(directory, backbone, chosen)

    return _of_data(
        str(directory),
        sources.open_splits(**options),
        split,
        compute,
        statistics if options["held_out"] == "images" else None,
        mean=statistics.mean,
        kernel=statistics.kernel,
        bias=statistics.bias,
        training=training,
        trained_fingerprint=(results.get("data_fingerprint") or {}).get(split),
    )


def _recorded_division(directory: pathlib.Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """The file of a run with its division, if its data need one: nothing that was trained on may be tested."""
    path = directory / (IMAGE_SPLIT_FILE if options.get("held_out") == "images" else CLASS_SPLIT_FILE)
    data_dir = options.get("data_dir")
    if options.get("dataset") != "folder" or not data_dir or not path.is_file() or not os.path.exists(data_dir):
        return {}
    return {} if has_splits(data_dir) else {"class_split": path, "test_fraction": None, "val_fraction": 0.0}


def run_features(directory: pathlib.Path, backbone: keras.Model, split: Split) -> np.ndarray:
    """Returns the features of a split by the backbone of a run, read from the cache of the run if possible.

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


def of_saved_model(directory: str, split: str, data_options: Mapping[str, Any]) -> Subject:
    """Loads a SavedModel that a run exported, and any data set.

    Args:
        directory: the SavedModel's folder.
        split: the split to evaluate.
        data_options: the arguments of `open_splits` but `stored_size`. The default image size is that of the model.

    Returns:
        A `Subject`.

    Raises:
        UserError: if the model cannot be loaded or has another signature, or the data cannot be read.
    """
    model = load_exported_model(directory)
    fingerprint = files_fingerprint(directory)
    size = data_options.get("image_size") or model.image_size
    options = {**data_options, "image_size": size, "stored_size": model.stored_size}
    run = pathlib.Path(os.path.abspath(directory)).parent
    if options.get("dataset") == "folder" and (run / run_directory.FLAGFILE).is_file():
        options["held_out"] = run_directory.read_configuration(run).held_out
    options.update(_recorded_division(run, options))

    def compute(chosen: Split) -> np.ndarray:
        folder = pathlib.Path(data_options.get("cache_dir") or default_cache_dir()) / run_directory.FEATURES
        return cached_features(folder, fingerprint, chosen, lambda images: _served(model.signature, images))

    known = _Statistics() if options.get("held_out") == "images" else None
    return _of_data(str(directory), sources.open_splits(**options), split, compute, known)


def _of_data(
    name: str,
    loaders: Mapping[str, Callable[[], Split]],
    split: str,
    compute: Callable[[Split], np.ndarray],
    known_classes: "_Statistics | None" = None,
    **known: Any,
) -> Subject:
    """Makes a subject of a split; with known classes, labels are those of the training."""
    class_names: tuple[str, ...] | None = None
    if known_classes is not None:
        class_names = known_classes.class_names or loaders["train"]().class_names

    def load(wanted: str) -> Split:
        if wanted not in loaders:
            raise UserError(f"--split={wanted} does not exist in the data of {name!r}, which has {', '.join(loaders)}.")
        found = loaders[wanted]()
        return found if class_names is None else found.labelled_as(class_names)

    def trained() -> tuple[np.ndarray, np.ndarray]:
        train = load("train")
        return compute(train), train.labels

    def validation() -> tuple[np.ndarray, np.ndarray]:
        val = load("val")
        return compute(val), val.labels

    chosen = load(split)
    return Subject(
        name,
        compute(chosen),
        chosen.labels,
        chosen.class_names,
        validation if "val" in loaders else None,
        trained=trained if known_classes is not None else None,
        images=chosen.images,
        files=chosen.files,
        data_fingerprint=chosen.fingerprint(),
        **known,
    )


def _load_backbone(directory: pathlib.Path) -> keras.Model:
    path = directory / run_directory.BACKBONE
    try:
        return load_backbone(path)
    except ValueError as error:
        saved = directory / run_directory.SAVED_MODEL
        advice = f" The SavedModel can be evaluated alone: --saved_model={str(saved)!r}." if saved.is_dir() else ""
        raise UserError(f"{str(path)!r} must be a Keras model file. It cannot be loaded: {error}{advice}") from None


class _Statistics(NamedTuple):
    """The mean of the training features `[d]`, and the classifier: its kernel `[d, C]`, bias `[C]` and classes."""

    mean: np.ndarray | None = None
    kernel: np.ndarray | None = None
    bias: np.ndarray | None = None
    class_names: tuple[str, ...] = ()


def _load_statistics(directory: pathlib.Path, dimensions: int) -> _Statistics:
    path = directory / run_directory.STATISTICS
    try:
        check_regular(path)
        with np.load(path, allow_pickle=False) as statistics:
            mean, kernel = np.asarray(statistics["feature_mean"], np.float32), statistics.get("kernel")
            bias, class_names = statistics.get("bias"), statistics.get("class_names", ())
        if mean.shape != (dimensions,) or not np.isfinite(mean).all():
            raise ValueError(f"It must be finite [{dimensions}], but is {list(mean.shape)}")
        if kernel is not None and (np.ndim(kernel) != 2 or len(kernel) != dimensions or kernel.dtype.kind != "f"):
            raise ValueError(f"Its kernel must be floats [{dimensions}, C], but is {list(np.shape(kernel))}")
        if kernel is not None and bias is not None and np.shape(bias) != kernel.shape[1:]:
            raise ValueError(f"Its bias must be [{kernel.shape[1]}], but is {list(np.shape(bias))}")
        return _Statistics(mean, kernel, bias, tuple(map(str, class_names)))
    except Exception as error:
        raise UserError(
            f"{str(path)!r} must hold the array feature_mean. It cannot be read: {reason_of(error)}"
        ) from None


def _served(signature: Callable[..., dict[str, tf.Tensor]], images: np.ndarray | StoredImages) -> np.ndarray:
    progress = progress_bar(len(images), "image")
    parts = []
    for start in range(0, len(images), _BATCH):
        parts.append(signature(images=tf.constant(images[start : start + _BATCH]))["features"].numpy())
        progress.update(start + len(parts[-1]))
    return np.concatenate(parts).astype(np.float32)
