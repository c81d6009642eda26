"""Named data sets, prepared once into a cache folder and read from it."""

import collections
import contextlib
import hashlib
import json
import os
import pathlib
import re
from collections.abc import Callable
from typing import Any

import numpy as np
from absl import logging

from dsl_tf.data import recognition
from dsl_tf.data.cache import MARKER, check_outside, default_cache_dir, prepare_once, reading_cache
from dsl_tf.data.data_folder import check_data_dir
from dsl_tf.data.formats import cifar_fs, cub, tensorflow_datasets
from dsl_tf.data.names import TFDS_PREFIX
from dsl_tf.data.raw import RawSplit
from dsl_tf.data.shards import shard_paths, shown_preparation, write_shards
from dsl_tf.data.skipped import Skipped
from dsl_tf.data.split import SPLITS, Split
from dsl_tf.data.stored_images import StoredImages, held_or_stored
from dsl_tf.errors import UserError
from dsl_tf.files import read_text

_DEFAULT_SIZES = collections.defaultdict(lambda: 84, {"cifar_fs": 32})
# The data sets that TensorFlow Datasets can download.
_DOWNLOADABLE: dict[str, tuple[str, Callable[[None], dict[str, RawSplit]]]] = {
    "cub": (cub.TFDS_NAME, cub.read_from_tfds),
    "cifar_fs": (cifar_fs.TFDS_NAME, cifar_fs.read_from_tfds),
}


def prepare(
    dataset: str,
    data_dir: str | os.PathLike[str] | None = None,
    image_size: int | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    allow_partial: bool = False,
    class_split: str | os.PathLike[str] | None = None,
    stored_size: int | None = None,
) -> pathlib.Path:
    """Prepares a data set if necessary; resumes an interrupted call.

    Args:
        dataset: a named data set, or `tfds:` followed by the name of a TensorFlow Datasets data set.
        data_dir: the folder with its files in any known format, or a prepared data set. It is not changed. None for the
            folder of TensorFlow Datasets, if it has this data set.
        image_size: the side of the images, in pixels; None for 84 (CIFAR-FS 32).
        cache_dir: the cache folder; None for `default_cache_dir()`.
        allow_partial: whether to accept fewer images than published, and to skip unreadable ones.
        class_split: for `tfds:` data sets, the JSON file with the classes of each split.
        stored_size: the largest shorter side of the stored images, in pixels, which then keep their aspect and suit any
            `image_size`. None to store squares of `image_size`.

    Returns:
        The folder of the prepared data set.

    Raises:
        UserError: if files are missing, wrong or unreadable, or the cache folder cannot be written.
    """
    if data_dir is not None:
        # Checked first, because TensorFlow Datasets would try to download the data.
        check_data_dir(data_dir, f"the files of {dataset}", recognition.fits(dataset))
    if data_dir is not None and (pathlib.Path(data_dir) / MARKER).is_file():
        _check_dataset(dataset, data_dir, image_size, stored_size)
        return pathlib.Path(data_dir)
    cache = pathlib.Path(cache_dir or default_cache_dir()).expanduser()
    check_outside(cache, data_dir)
    if dataset.startswith(TFDS_PREFIX) and class_split is None:
        raise UserError(
            f"--dataset={dataset} needs --class_split, a JSON file with the classes of train, val and test. "
            "Received none."
        )
    if not dataset.startswith(TFDS_PREFIX) and dataset not in recognition.FORMATS:
        raise UserError(
            f"--dataset={dataset} needs no preparation. Data sets to prepare are {', '.join(recognition.FORMATS)} and "
            f"{TFDS_PREFIX}NAME."
        )
    size = image_size or _DEFAULT_SIZES[dataset]
    name = re.sub(r"[^0-9A-Za-z_.-]", "-", dataset)
    pixels = f"{size}px" if stored_size is None else f"originals-{stored_size}px"
    folder = cache / f"{name}-{pixels}-{_key(dataset, data_dir, allow_partial, class_split)}"

    def write() -> dict[str, Any]:
        source, raw_splits = _read_source(dataset, data_dir, class_split)
        print(f"{dataset}: found {source}{f' in {os.fspath(data_dir)!r}' if data_dir else ''}")
        if dataset in recognition.FORMATS:
            recognition.check_published(dataset, raw_splits, allow_partial)
        splits = _write_splits(dataset, raw_splits, folder, size, allow_partial, stored_size)
        sizes = {"image_size": size} if stored_size is None else {"stored_size": stored_size}
        return {"dataset": dataset, **sizes, "source": source, "splits": splits}

    kilobytes = "4 to 14 kB each at 84 pixels" if stored_size is None else "up to the size of the files they come from"
    prepare_once(folder, f"the prepared images ({kilobytes})", write)
    return folder


def _read_source(
    dataset: str, data_dir: str | os.PathLike[str] | None, class_split: str | os.PathLike[str] | None
) -> tuple[str, dict[str, RawSplit]]:
    """Returns a short description of the source, and its splits."""
    try:
        if dataset.startswith(TFDS_PREFIX) and class_split is not None:
            name = dataset.removeprefix(TFDS_PREFIX)
            return _described(name), tensorflow_datasets.read_tfds(name, data_dir, class_split)
        if data_dir is not None:
            found = recognition.recognise(dataset, data_dir)
            return found.description, found.read(pathlib.Path(data_dir))
        if dataset in _DOWNLOADABLE:
            name, read = _DOWNLOADABLE[dataset]
            return _described(name), read(None)
    # An error of the source, to be told apart from errors of the cache folder.
    except OSError as error:
        raise UserError(f"The files of the data must be readable. Received: {error}. Check them.") from error
    raise UserError(f"--dataset={dataset} needs --data_dir, the folder with its files. Received none.")


def _described(tfds_name: str) -> str:
    return f"{tfds_name} of TensorFlow Datasets"


def _write_splits(
    dataset: str,
    raw_splits: dict[str, RawSplit],
    folder: pathlib.Path,
    size: int,
    allow_partial: bool,
    stored_size: int | None,
) -> dict[str, dict[str, Any]]:
    """Writes the images; returns the classes, labels and number of shards of each split."""
    advance = shown_preparation(sum(len(split.labels) for split in raw_splits.values()), size, folder, stored_size)
    descriptions: dict[str, dict[str, Any]] = {}
    unreadable = []
    for name, split in raw_splits.items():
        paths = shard_paths(folder, name, len(split.labels))
        shards = write_shards(split, paths, size, advance, stored_size=stored_size)
        of_split = [entry for shard in shards for entry in shard.unreadable]
        unreadable += [f"{image} ({reason})" for _, image, reason in of_split]
        labels = np.delete(split.labels, [position for position, _, _ in of_split])
        skipped = [*split.skipped, *(Skipped(image, reason) for _, image, reason in of_split)]
        classes = split.class_names
        if classes is None:
            classes = tuple(f"{name} {label}" for label in range(int(split.labels.max()) + 1))
        descriptions[name] = {
            "classes": list(classes),
            "labels": _run_lengths(labels),
            "shards": len(shards),
            "skipped": skipped,
        }
    if unreadable:
        message = (
            f"Every image of {dataset} must be readable. Received: {len(unreadable)} unreadable ones, such as "
            f"{' '.join(', '.join(unreadable[:3]).split())}."
        )
        if not allow_partial:
            raise UserError(f"{message} Get these files again, or skip them with --allow_partial.")
        logging.warning("%s They are skipped.", message)
    return descriptions


def _run_lengths(labels: np.ndarray) -> list[list[int]]:
    """Encodes labels as pairs of label and run length, which is short if images are sorted by class."""
    starts = np.flatnonzero(np.diff(labels, prepend=-1))
    return np.stack([labels[starts], np.diff(starts, append=len(labels))], axis=1).tolist()


def load_prepared(folder: str | os.PathLike[str], split: str, image_size: int | None = None) -> Split:
    """Loads one split of a prepared data set. Large splits stay encoded on disk, and so does `"train"` of originals.

    Args:
        folder: the folder that `prepare` returned.
        split: `"train"`, `"val"` or `"test"`.
        image_size: the side of the images, in pixels; None for that of the data set.

    Returns:
        A `Split`.

    Raises:
        UserError: if a file of the prepared data set is missing or damaged.
    """
    with _reading(folder):
        description = _description(folder)
        values = description["splits"][split]
        paths = [pathlib.Path(folder) / f"{split}-{index:05}.tfrecord" for index in range(values["shards"])]
        stored_size = description.get("stored_size")
        if stored_size is None:
            images = StoredImages(paths, description["image_size"])
        else:
            size = image_size or _DEFAULT_SIZES[description["dataset"]]
            images = StoredImages(paths, size, stored_size=int(stored_size))
        run_labels, run_lengths = np.array(values["labels"], np.int64).reshape(-1, 2).T
        # Checked before the labels are decoded, because damaged lengths would exhaust the memory. Python integers do
        # not overflow.
        count = sum(run_lengths.tolist())
        if run_lengths.min(initial=0) < 0 or len(images) != count:
            raise ValueError(f"{len(images)} images for {count} labels")
        labels = np.repeat(run_labels, run_lengths)
        names = tuple(map(str, values["classes"]))
        # Folders prepared by earlier versions have no list.
        skipped = tuple(
            Skipped(str(path), str(reason), bool(expected)) for path, reason, expected in values.get("skipped", [])
        )
        return Split(held_or_stored(images, split), labels, names, skipped)


def prepared_splits(folder: str | os.PathLike[str]) -> list[str]:
    """Returns the names of the splits of a prepared data set, in the order train, val, test.

    Raises:
        UserError: if it is damaged.
    """
    with _reading(folder):
        splits = _description(folder)["splits"]
        return [name for name in SPLITS if name in splits]


def split_size(folder: str | os.PathLike[str], split: str) -> tuple[int, int]:
    """Returns the numbers of images and of classes of a split of a prepared data set.

    Raises:
        UserError: if it is damaged.
    """
    with _reading(folder):
        values = _description(folder)["splits"][split]
        return sum(length for _, length in values["labels"]), len(values["classes"])


def _description(folder: str | os.PathLike[str]) -> dict[str, Any]:
    return json.loads(read_text(pathlib.Path(folder) / MARKER))


def _reading(folder: str | os.PathLike[str]) -> contextlib.AbstractContextManager[None]:
    return reading_cache(f"{os.fspath(folder)!r} must be a complete prepared data set")


def _check_dataset(
    dataset: str, folder: str | os.PathLike[str], image_size: int | None, stored_size: int | None
) -> None:
    with _reading(folder):
        description = _description(folder)
        found, stored = str(description["dataset"]), description.get("stored_size")
        size = int(description["image_size"] if stored is None else stored)
    fits = image_size in (None, size) if stored is None else True
    if found != dataset or stored_size != stored or not fits:
        flags = {"dataset": dataset, "image_size": None if stored_size else image_size, "stored_size": stored_size}
        wanted = " and ".join(f"--{name}={value}" for name, value in flags.items() if value)
        received = f"{found!r} of {'' if stored is None else 'up to '}{size} pixels"
        kept = "" if stored is None else f" (--stored_size={size})"
        raise UserError(
            f"--data_dir={os.fspath(folder)!r} must be prepared for {wanted}. Received: {received}{kept}. "
            "Give the folder with the original files."
        )


def _key(
    dataset: str,
    data_dir: str | os.PathLike[str] | None,
    allow_partial: bool,
    class_split: str | os.PathLike[str] | None,
) -> str:
    """Returns eight digits that change with the path of the source and its entries' names, sizes and times."""
    parts: list[Any] = [dataset, allow_partial]
    if data_dir is not None:
        folder = pathlib.Path(data_dir).resolve()
        parts.append(str(folder))
        if folder.is_dir():
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            # Without size and time of folders, which change with unrelated entries such as .DS_Store.
            parts += [(entry.name, _size_and_time(entry)) for entry in entries if not entry.name.startswith(".")]
    if class_split is not None:
        with contextlib.suppress(OSError, UserError):
            parts.append(read_text(class_split, errors="replace"))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:8]


def _size_and_time(entry: os.DirEntry[str]) -> tuple[int, int] | None:
    # For example, a link to itself.
    try:
        if not entry.is_file():
            return None
        status = entry.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
