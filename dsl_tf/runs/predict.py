"""Classifies image files from a few labelled examples per class, with an exported model."""

import concurrent.futures
import functools
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import tensorflow as tf
from absl import logging

from dsl_tf.data.decoding import UnreadableImageError
from dsl_tf.data.image_files import read_as_stored
from dsl_tf.data.image_kinds import EXTENSIONS
from dsl_tf.data.labelled_images import find_labelled_images
from dsl_tf.data.listing import walk
from dsl_tf.data.skipped import Skipped, examples, unexpected
from dsl_tf.errors import UserError
from dsl_tf.evaluation.calibration import best_temperature, held_out_probabilities, tempered
from dsl_tf.evaluation.classifiers import CLASSIFIERS
from dsl_tf.evaluation.laplacian_shot import DEFAULT_LAM
from dsl_tf.evaluation.transforms import transform_features
from dsl_tf.progress import progress_bar
from dsl_tf.runs.classification import Classification, Prediction
from dsl_tf.runs.configuration import PredictionConfiguration
from dsl_tf.runs.export import ExportedModel, load_exported_model, load_feature_mean

# Small enough that the activations of large images fit into memory.
_BATCH_SIZE = 64
_MOST_THREADS = 16
_BLOCK = 1024
# LaplacianShot compares all pairs of images, which takes about 7 GB at this number.
_TRANSDUCTIVE_LIMIT = 20_000


def predict(
    model: str | os.PathLike[str],
    support_dir: str | os.PathLike[str],
    images_dir: str | os.PathLike[str],
    classifier: str = "nearest_centroid",
    feature_transform: str | None = None,
    lam: float = DEFAULT_LAM,
    calibrate: bool = True,
    reject_below: float = 0.0,
) -> list[Prediction]:
    """Classifies the images in a folder, given a few labelled images per class.

    Args:
        model, support_dir, images_dir, classifier, feature_transform, lam, calibrate: as in `classify`.
        reject_below: images whose confidence is lower get no class.

    Returns:
        A `Prediction` per image, sorted by file. An unreadable image has neither class nor confidence.

    Raises:
        UserError: as `classify`.
    """
    found = classify(model, support_dir, images_dir, classifier, feature_transform, lam, calibrate)
    return found.predictions(reject_below)


def classify(
    model: str | os.PathLike[str],
    support_dir: str | os.PathLike[str],
    images_dir: str | os.PathLike[str],
    classifier: str = "nearest_centroid",
    feature_transform: str | None = None,
    lam: float = DEFAULT_LAM,
    calibrate: bool = True,
) -> Classification:
    """Classifies the images in a folder with the probabilities of all classes.

    Images are read as in evaluation: upright, RGB, resized to the model's size (by the shorter side, and the centre cut
    out, if it was trained with `stored_size`). Probabilities are the classifier's, such as softmax(−squared distance)
    or LaplacianShot's assignment. Calibrated ones are softmax(log p / T), with the temperature T under which the
    labelled images, each classified by the others, have the least cross-entropy. Transductive classifiers look at all
    images together, which should cover all classes, most of them with about equally many images of each. LaplacianShot
    also needs centred features, and 2 GB of memory for 10,000 images.

    Args:
        model: a run directory, or the folder of a SavedModel that dsl_tf exported, from a source you trust.
        support_dir: a folder with one folder of images per class, for at least two classes. Any number of images.
        images_dir: a folder of images, at any depth.
        classifier: a name in `dsl_tf.evaluation.CLASSIFIERS`.
        feature_transform: `"none"`, `"l2"` or, for a run directory, `"cl2"`; None is `"cl2"` for LaplacianShot and
            `"l2"` for the others.
        lam: LaplacianShot's λ. Hyperparameters of the others have their default values.
        calibrate: whether to calibrate. It needs classes with two labelled images or more.

    Returns:
        A `Classification`. Warnings name unreadable images, unreadable labelled images and files that are not images.

    Raises:
        UserError: if a folder or the model cannot be read, there are fewer than two classes, a class has no readable
            image, there is no readable image to classify, or an argument is out of its limits.
    """
    model, support_dir, images_dir = os.fspath(model), os.fspath(support_dir), os.fspath(images_dir)
    options = PredictionConfiguration(
        model=model,
        support_dir=support_dir,
        images_dir=images_dir,
        classifier=classifier,
        feature_transform=feature_transform,
        lam=lam,
        calibrate=calibrate,
    )
    transform = str(options.feature_transform)
    files_by_class = _labelled_files(support_dir)
    files = _files_to_classify(images_dir)
    if CLASSIFIERS[classifier].transductive:
        _check_batch(classifier, len(files), len(files_by_class), transform)
    mean = load_feature_mean(model) if transform == "cl2" else None
    exported = load_exported_model(model)
    support, labels, labelled = _support_features(exported, files_by_class)
    query, reasons = _features(exported, [os.path.join(images_dir, file) for file in files])
    unreadable = [Skipped(os.path.join(images_dir, files[position]), reason) for position, reason in reasons.items()]
    _warn("images to classify", unreadable, "without a class")
    if not len(query):
        raise UserError(f"{images_dir!r} must hold readable images. Received: none of {len(files)} is readable.")
    support, query = (_transformed(features, transform, mean, model) for features in (support, query))
    chosen = {"lam": lam} if classifier == "laplacian_shot" else {}
    probabilities_of = functools.partial(CLASSIFIERS[classifier].probabilities, **chosen)
    probabilities = probabilities_of(support, labels, query)
    temperature, held_out = _calibration(probabilities_of, support, labels) if calibrate else (None, _nothing(labels))
    return Classification(
        tuple(file for position, file in enumerate(files) if position not in reasons),
        tuple(files[position] for position in reasons),
        tuple(files_by_class),
        probabilities if temperature is None else tempered(probabilities, temperature),
        tuple(labelled[place] for place in _nearest(support, query)),
        temperature,
        held_out,
    )


def _calibration(
    probabilities_of: Callable[..., np.ndarray], support: np.ndarray, labels: np.ndarray
) -> tuple[float | None, tuple[np.ndarray, np.ndarray]]:
    """Returns the temperature, None without images to find it, and what `Classification.held_out` holds."""
    probabilities, known = held_out_probabilities(probabilities_of, support, labels)
    if not len(known):
        logging.warning(
            "The confidences are not calibrated: it needs classes with two labelled images or more. They rank the "
            "images, but are no probabilities."
        )
        return None, (probabilities, known)
    temperature = best_temperature(probabilities, known)
    return temperature, (tempered(probabilities, temperature), known)


def _nothing(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.empty((0, int(labels.max()) + 1)), np.empty(0, int)


def _nearest(support: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Returns the position of the nearest support image of each query, `[m]`."""
    # Centred, so that the difference of squares keeps its digits.
    centre = support.astype(np.float64).mean(axis=0)
    support, query = support - centre, query - centre
    squares = (support**2).sum(axis=1)
    blocks = [
        (squares - 2 * query[start : start + _BLOCK] @ support.T).argmin(axis=1)
        for start in range(0, len(query), _BLOCK)
    ]
    return np.concatenate(blocks)


def _labelled_files(support_dir: str) -> dict[str, list[str]]:
    """Returns the paths of the image files by class name, both sorted."""
    found = find_labelled_images(support_dir)
    if len(found.files) < 2:
        raise UserError(
            f"{support_dir!r} must have one folder of images per class, for at least two classes. "
            f"Received: {len(found.files)} class folders, {len(unexpected(found.skipped))} other files or folders."
        )
    for note in found.notes:
        logging.warning("%s", note)
    _warn("labelled images", found.skipped, "skipped")
    return found.files


def _files_to_classify(images_dir: str) -> list[str]:
    """Returns the image files at any depth, sorted, as relative paths with forward slashes."""
    files, skipped = [], []
    for visit in walk(images_dir):
        files += [pathlib.PurePath(*visit.parts, name).as_posix() for name in visit.listing.images]
        skipped += visit.listing.skipped
    _warn("images to classify", skipped, "skipped")
    if not files:
        raise UserError(
            f"{images_dir!r} must hold images ({', '.join(EXTENSIONS)}). Received: none, "
            f"{len(unexpected(skipped))} other files or folders."
        )
    return sorted(files)


def _warn(what: str, skipped: Iterable[Skipped], consequence: str) -> None:
    if seen := unexpected(skipped):
        logging.warning("Among the %s: %s. They are %s.", what, examples(seen), consequence)


def _support_features(
    exported: ExportedModel, files_by_class: Mapping[str, Sequence[str]]
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Returns the features `[S, d]`, labels `[S]` and paths of the readable labelled images."""
    paths = [path for files in files_by_class.values() for path in files]
    labels = np.repeat(np.arange(len(files_by_class)), [len(files) for files in files_by_class.values()])
    features, reasons = _features(exported, paths)
    skipped = [Skipped(paths[position], reason) for position, reason in reasons.items()]
    labels = np.delete(labels, list(reasons))
    empty = [name for label, name in enumerate(files_by_class) if label not in labels]
    if empty:
        more = f" and {len(empty) - 3} more" if len(empty) > 3 else ""
        example = f", such as {examples(skipped[:1])}" if skipped else ""
        raise UserError(
            "Every class must have a readable image directly in its folder. Received: none for "
            f"{', '.join(map(repr, empty[:3]))}{more}; {len(skipped)} files cannot be read{example}. "
            "Add an image or remove the folder."
        )
    _warn("labelled images", skipped, "skipped")
    return features, labels, [path for position, path in enumerate(paths) if position not in reasons]


def _features(exported: ExportedModel, paths: Sequence[str]) -> tuple[np.ndarray, dict[int, str]]:
    """Returns the features `[m, d]` of the readable images, and the reasons for the others by position."""

    def read(path: str) -> np.ndarray | str:
        try:
            return read_as_stored(path, exported.image_size, exported.stored_size)
        except UnreadableImageError as error:
            return str(error)

    features, reasons = [], {}
    progress = progress_bar(len(paths), "image")
    with concurrent.futures.ThreadPoolExecutor(min(os.cpu_count() or 1, _MOST_THREADS)) as pool:
        for start in range(0, len(paths), _BATCH_SIZE):
            found = list(pool.map(read, paths[start : start + _BATCH_SIZE]))
            reasons.update({start + row: reason for row, reason in enumerate(found) if isinstance(reason, str)})
            images = [image for image in found if not isinstance(image, str)]
            if images:
                features.append(exported.signature(images=tf.constant(np.stack(images)))["features"].numpy())
            progress.update(start + len(found))
    return np.concatenate(features) if features else np.empty((0, 0), np.float32), reasons


def _transformed(features: np.ndarray, kind: str, mean: np.ndarray | None, model: str | os.PathLike[str]) -> np.ndarray:
    if mean is not None and mean.shape != features.shape[1:]:
        raise UserError(
            f"The mean of the training features must have the model's {features.shape[1]} dimensions. "
            f"Received: {mean.shape} in {os.fspath(model)!r}."
        )
    if not np.isfinite(features).all():
        raise UserError(f"The model must return finite features. Received: {os.fspath(model)!r}, which does not.")
    return transform_features(features, kind, mean)


def _check_batch(classifier: str, images: int, classes: int, feature_transform: str) -> None:
    title = CLASSIFIERS[classifier].title
    if images > _TRANSDUCTIVE_LIMIT:
        raise UserError(
            f"{classifier} takes at most {_TRANSDUCTIVE_LIMIT:,} images, because it looks at all of them together. "
            f"Received: {images:,}. Split the folder, or choose nearest_centroid."
        )
    if images < classes:
        logging.warning(
            "%s needs images of all %d classes together. Received: %d images. Use nearest_centroid, which "
            "classifies each image separately.",
            title,
            classes,
            images,
        )
    if classifier == "laplacian_shot" and feature_transform != "cl2":
        logging.warning(
            "LaplacianShot needs centred features (cl2). Received: transform %s. Many predictions may be wrong.",
            feature_transform,
        )
