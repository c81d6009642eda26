"""Named data sets, prepared once into a cache folder and read from it."""

import contextlib
import hashlib
import json
import os
import pathlib

import numpy as np
import tensorflow_datasets as tfds
from absl import logging

from dsl_tf.data.builders import BUILDERS, OtherTfds, PreparationConfig
from dsl_tf.data.cache import check_outside, default_cache_dir, lock, unwritable_told, whole
from dsl_tf.data.formats.tensorflow_datasets import check_features_file
from dsl_tf.data.names import TFDS_PREFIX
from dsl_tf.data.split import Split
from dsl_tf.data.stored_images import StoredImages, fits_in_memory
from dsl_tf.errors import UserError
from dsl_tf.files import read_text


def prepare(dataset, data_dir=None, image_size=None, cache_dir=None, allow_partial=False, class_split=None):
    """Prepares a data set, or finds that this was done before.

    Args:
        dataset: a named data set, or `tfds:` and the name of one of TensorFlow Datasets.
        data_dir: the folder with its files in any known format, or with what an earlier call has prepared; it is not
            changed. None for TensorFlow Datasets' own folder, for those data sets that it has.
        image_size: the side of the stored images, in pixels; None for 84 (CIFAR-FS 32).
        cache_dir: the folder to prepare it in; None for `default_cache_dir()`.
        allow_partial: whether to accept fewer images than published, and to leave out unreadable ones.
        class_split: for `tfds:` data sets, the JSON file with the classes of each split.

    Returns:
        The folder of the prepared data set.

    Raises:
        UserError: where files are missing, wrong or unreadable, or the cache folder cannot be written.
    """
    if data_dir is not None and _is_prepared(data_dir):
        _check_dataset(dataset, data_dir, image_size)
        return pathlib.Path(data_dir)
    cache = pathlib.Path(cache_dir or default_cache_dir()).expanduser()
    check_outside(cache, data_dir)
    if dataset.startswith(TFDS_PREFIX):
        if class_split is None:
            raise UserError(
                f"--dataset={dataset} needs --class_split, a JSON file with the classes of train, val and test. "
                "Received none."
            )
        builder_class, size = OtherTfds, image_size or 84
        tfds_name = dataset.removeprefix(TFDS_PREFIX)
    elif dataset not in BUILDERS:
        raise UserError(
            f"--dataset={dataset} is read as it is. Data sets to prepare are {', '.join(BUILDERS)} and "
            f"{TFDS_PREFIX}NAME."
        )
    else:
        builder_class, tfds_name, class_split = BUILDERS[dataset], None, None
        size = image_size or builder_class.BUILDER_CONFIGS[0].image_size
    key = _key(dataset, data_dir, allow_partial, class_split)
    config = PreparationConfig(
        name=f"{size}px-{key}",
        description=f"Prepared from {data_dir or 'TensorFlow Datasets'}",
        image_size=size,
        allow_partial=allow_partial,
        tfds_name=tfds_name,
        class_split=class_split,
    )
    with unwritable_told(cache, "the prepared images (about 14 kB each at 84 pixels)"):
        cache.mkdir(parents=True, exist_ok=True)
        with _quiet():
            builder = builder_class(config=config, data_dir=cache)
        folder = pathlib.Path(builder.data_dir)
        if folder.is_dir():
            return folder
        with lock(cache / f".{dataset.replace('/', '-')}-{config.name}.lock"):
            # Asked again, for another process may have prepared it while the lock was waited for.
            if not folder.is_dir():
                builder.download_and_prepare(
                    download_dir=cache / "downloads",
                    download_config=tfds.download.DownloadConfig(manual_dir=data_dir, try_download_gcs=False),
                )
    return folder


def load_prepared(folder, split):
    """Loads one split of a prepared data set; large ones stay encoded on disk.

    Args:
        folder: what `prepare` returned.
        split: `"train"`, `"val"` or `"test"`.

    Returns:
        A `Split`.

    Raises:
        UserError: where a file of the prepared data set is missing or damaged.
    """
    with _whole(folder):
        check_features_file(pathlib.Path(folder) / "features.json")
        info = tfds.builder_from_directory(folder).info
        classes, runs = info.metadata["classes"], info.metadata["labels"][split]
        splits = list(classes)
        first = sum(classes[name] for name in splits[: splits.index(split)])
        names = info.features["label"].names[first : first + classes[split]]
        run_labels, run_lengths = np.array(runs, np.int64).reshape(-1, 2).T
        images = StoredImages(info.splits[split].filepaths, info.features["image"].shape[0])
        # Before the labels are spread out, which damaged lengths would fill the memory with. The sum is of Python's
        # integers, since NumPy's would wrap around.
        if run_lengths.min(initial=0) < 0 or len(images) != sum(run_lengths.tolist()):
            raise ValueError(f"{len(images)} images for {sum(run_lengths.tolist())} labels")
        labels = np.repeat(run_labels, run_lengths)
        return Split(images[:] if fits_in_memory(images.shape) else images, labels, names)


def prepared_splits(folder):
    """Returns the names of the splits of a prepared data set, in the order train, val, test.

    Raises:
        UserError: where it is damaged.
    """
    with _whole(folder):
        return list(json.loads(read_text(pathlib.Path(folder) / "metadata.json"))["labels"])


def _whole(folder):
    return whole(f"{str(folder)!r} must be a whole prepared data set")


def _is_prepared(folder):
    folder = pathlib.Path(folder)
    return all((folder / name).is_file() for name in ("dataset_info.json", "features.json", "metadata.json"))


def _check_dataset(dataset, folder, image_size):
    with _whole(folder):
        check_features_file(folder / "features.json")
        info = tfds.builder_from_directory(folder).info
        size = info.features["image"].shape[0]
    expected = OtherTfds.name if dataset.startswith(TFDS_PREFIX) else dataset
    if info.name != expected or image_size not in (None, size):
        raise UserError(
            f"--data_dir={str(folder)!r} must be prepared for --dataset={dataset}"
            f"{f' and --image_size={image_size}' if image_size else ''}. Received: {info.name!r} of {size} pixels. "
            "Give the folder with the original files."
        )


def _key(dataset, data_dir, allow_partial, class_split):
    """Eight digits that change with the source: its place, and the names, sizes and times of its first level."""
    parts = [dataset, allow_partial]
    if data_dir is not None:
        folder = pathlib.Path(data_dir).resolve()
        parts.append(str(folder))
        if folder.is_dir():
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            # A folder's size and time change with entries that are none of the data set, such as .DS_Store.
            parts += [(entry.name, _size_and_time(entry)) for entry in entries if not entry.name.startswith(".")]
    if class_split is not None:
        with contextlib.suppress(OSError, UserError):
            parts.append(read_text(class_split, errors="replace"))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:8]


def _size_and_time(entry):
    # A link to itself, for one.
    try:
        if not entry.is_file():
            return None
        status = entry.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


@contextlib.contextmanager
def _quiet():
    """Keeps back TensorFlow Datasets' warning that a configuration is none of the builder's own."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
