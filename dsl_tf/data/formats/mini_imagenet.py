"""mini-ImageNet: 100 classes of ImageNet, 600 images each."""

import os
import pathlib
from collections.abc import Iterator

import numpy as np
from absl import logging

from dsl_tf.data.class_lists import class_list
from dsl_tf.data.formats import imagenet
from dsl_tf.data.formats.class_folders import image_names, read_class_folders
from dsl_tf.data.formats.labelled_pickles import read_labelled_pickles
from dsl_tf.data.formats.mini_imagenet_lists import ListedImage, read_lists
from dsl_tf.data.formats.pickled import as_text, integers_of, malformed, pixels_of, read_dict, value_of
from dsl_tf.data.formats.required import check_classes, has_any, in_words, required_files
from dsl_tf.data.raw import Format, RawSplit
from dsl_tf.data.split import SPLITS
from dsl_tf.errors import UserError

_SIDE = 84
_IMAGES_PER_CLASS = 600
# No class of ImageNet has fewer training images.
_FEWEST_OF_IMAGENET = 732
_CACHES = {split: f"mini-imagenet-cache-{split}.pkl" for split in SPLITS}
_CATEGORY = "miniImageNet_category_split_"
_CATEGORY_PICKLES = {
    "train": f"{_CATEGORY}train_phase_train.pickle",
    "val": f"{_CATEGORY}val.pickle",
    "test": f"{_CATEGORY}test.pickle",
}
# Further images of the train classes, which the names make easy to take for the val and test splits.
_CATEGORY_OTHERS = [f"{_CATEGORY}train_phase_val.pickle", f"{_CATEGORY}train_phase_test.pickle"]
_LISTS = {split: f"{split}.csv" for split in SPLITS}
# Beside the images, or in a folder there.
_LIST_FOLDERS = ("", "split", "splits")
_IMAGES = "images"


def _has_caches(folder: pathlib.Path) -> bool:
    return has_any(folder, _CACHES.values())


def _read_caches(folder: pathlib.Path) -> dict[str, RawSplit]:
    classes = class_list("mini_imagenet")
    paths = required_files(folder, _CACHES)
    return {split: _cached_split(path, classes[split]) for split, path in paths.items()}


def _cached_split(path: pathlib.Path, published: tuple[str, ...]) -> RawSplit:
    values = read_dict(path)
    pixels = pixels_of(value_of(values, "image_data", path), _SIDE, path)
    rows_of_names = value_of(values, "class_dict", path)
    if not isinstance(rows_of_names, dict):
        raise malformed(path, "a dict 'class_dict'", type(rows_of_names).__name__)
    rows_of_names = {as_text(name) or repr(name): rows for name, rows in rows_of_names.items()}
    check_classes(list(rows_of_names), published, path)
    labels = np.full(len(pixels), -1, np.int32)
    for label, name in enumerate(published):
        rows = integers_of(rows_of_names[name], path)
        if not len(rows) or rows.min() < 0 or rows.max() >= len(pixels):
            raise malformed(path, f"images of the class {name!r}", f"none or others than its {len(pixels)}")
        if len(np.unique(rows)) < len(rows) or (labels[rows] >= 0).any():
            raise malformed(path, "each image once", f"images listed twice, in the class {name!r}")
        labels[rows] = label
    if (labels < 0).any():
        raise malformed(path, "a class for each image", f"{np.count_nonzero(labels < 0)} images without")

    def read(start: int) -> Iterator[tuple[str, np.ndarray]]:
        for row in range(start, len(pixels)):
            yield f"{path}[{row}]", pixels[row]

    return RawSplit(published, labels, read)


def _has_category_pickles(folder: pathlib.Path) -> bool:
    return has_any(folder, [*_CATEGORY_PICKLES.values(), *_CATEGORY_OTHERS])


def _read_category_pickles(folder: pathlib.Path) -> dict[str, RawSplit]:
    if not has_any(folder, _CATEGORY_PICKLES.values()):
        raise UserError(
            f"{in_words(list(_CATEGORY_PICKLES.values()))} must be in one folder. Received: {os.fspath(folder)!r} with "
            "train_phase_val or train_phase_test only, which are further images of the train classes and never used. "
            "Download the three files."
        )
    paths = required_files(folder, _CATEGORY_PICKLES)
    return read_labelled_pickles(paths, _SIDE, class_list("mini_imagenet"))


def _lists(folder: pathlib.Path) -> dict[str, str] | None:
    """The names of the csv files, of which at least one is there; None if none is."""
    for place in _LIST_FOLDERS:
        names = {split: os.path.join(place, name) for split, name in _LISTS.items()}
        if has_any(folder, names.values()):
            return names
    return None


def _has_lists_and_images(folder: pathlib.Path) -> bool:
    return os.path.isdir(folder / _IMAGES) and (_lists(folder) is not None or not imagenet.has_folders(folder))


def _read_lists_and_images(folder: pathlib.Path) -> dict[str, RawSplit]:
    rows = read_lists(required_files(folder, _lists(folder) or _LISTS))
    present = set(image_names(folder / _IMAGES))
    missing = [row.name for split in SPLITS for row in rows[split] if row.name not in present]
    if missing:
        raise UserError(
            f"{os.fspath(folder / _IMAGES)!r} must hold the images that the csv files list. Received: one without "
            f"{in_words(missing)}. Download the whole data set again."
        )
    return {split: _listed_split(folder / _IMAGES, split, rows[split]) for split in SPLITS}


def _listed_split(folder: pathlib.Path, split: str, rows: list[ListedImage]) -> RawSplit:
    def read(start: int) -> Iterator[tuple[str, pathlib.Path]]:
        for row in rows[start:]:
            yield os.fspath(folder / row.name), folder / row.name

    return RawSplit(class_list("mini_imagenet")[split], _labels(split, rows), read)


def _labels(split: str, rows: list[ListedImage]) -> np.ndarray:
    label_of = {name: label for label, name in enumerate(class_list("mini_imagenet")[split])}
    return np.array([label_of[row.class_id] for row in rows], np.int32)


def _has_lists_and_imagenet(folder: pathlib.Path) -> bool:
    if imagenet.has_class_folders(folder) and not imagenet.has_pool(folder, class_list("mini_imagenet")):
        return False
    return imagenet.has_tars(folder) or (_lists(folder) is not None and imagenet.has_class_folders(folder))


def _read_lists_and_imagenet(folder: pathlib.Path) -> dict[str, RawSplit]:
    paths = required_files(folder, _lists(folder) or _LISTS)
    rows = read_lists(paths)
    classes = class_list("mini_imagenet")
    images = imagenet.class_images(folder, [name for split in SPLITS for name in classes[split]])
    incomplete = [name for name, found in images.items() if len(found.names) < _FEWEST_OF_IMAGENET]
    if incomplete:
        logging.warning(
            "The csv files of %r count the images of a class as ImageNet has them, %d at least. Received: %d in %s, so "
            "that the wrong images are read. Download all of ImageNet's images.",
            os.fspath(folder),
            _FEWEST_OF_IMAGENET,
            len(images[incomplete[0]].names),
            incomplete[0],
        )
    for split in SPLITS:
        for row in rows[split]:
            available = len(images[row.class_id].names)
            if not 1 <= row.number <= available:
                raise UserError(
                    f"Line {row.line} of {os.fspath(paths[split])!r} must name one of the {available} images of the "
                    f"class {row.class_id}. Received: {row.name!r}, number {row.number}. Download all its images."
                )
    return {
        split: imagenet.pick(
            {name: images[name] for name in classes[split]},
            _labels(split, rows[split]),
            [row.number - 1 for row in rows[split]],
        )
        for split in SPLITS
    }


def _read_class_folders(folder: pathlib.Path) -> dict[str, RawSplit]:
    splits = read_class_folders(imagenet.published_folders(folder, class_list("mini_imagenet")))
    for split, raw_split in splits.items():
        counts = np.bincount(raw_split.labels)
        largest = class_list("mini_imagenet")[split][counts.argmax()]
        if counts.max() > _IMAGES_PER_CLASS:
            raise UserError(
                f"A class of mini-ImageNet has {_IMAGES_PER_CLASS} images. Received: {os.fspath(folder)!r} with "
                f"{counts.max()} of {largest}, as in ImageNet. Put train.csv, val.csv "
                "and test.csv there, which list the images that belong to mini-ImageNet."
            )
    return splits


FORMATS = (
    Format(
        "pickled arrays with a class_dict",
        ", ".join(_CACHES.values()),
        _has_caches,
        _read_caches,
    ),
    Format(
        "pickled arrays with labels",
        ", ".join(_CATEGORY_PICKLES.values()),
        _has_category_pickles,
        _read_category_pickles,
    ),
    Format(
        "image files with lists",
        f"{', '.join(_LISTS.values())} (also in a folder split) and the folder {_IMAGES}",
        _has_lists_and_images,
        _read_lists_and_images,
    ),
    Format(
        "ImageNet's training images with lists",
        f"{', '.join(_LISTS.values())} (also in a folder split) and {imagenet.FILES}",
        _has_lists_and_imagenet,
        _read_lists_and_imagenet,
    ),
    Format(
        "class folders",
        "train, val and test with class folders (n01532829), or the 100 class folders themselves",
        imagenet.has_folders,
        _read_class_folders,
    ),
)
