"""CUB few-shot: the 200 bird species of CUB-200-2011 in three splits, by their numbers."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence

from dsl_tf.data.class_lists import class_list
from dsl_tf.data.formats import tensorflow_datasets
from dsl_tf.data.formats.class_folders import read_class_folders, sub_folders
from dsl_tf.data.formats.required import in_words
from dsl_tf.data.raw import Format, RawSplit
from dsl_tf.errors import UserError

TFDS_NAME = "caltech_birds2011"
_ROOT = "CUB_200_2011"
_IMAGES = "images"
_CLASSES = sum(map(len, class_list("cub").values()))
# Such as CUB_200_2011/images/001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg
_TFDS_PATH = "image/filename"


def read_from_tfds(data_dir: str | os.PathLike[str] | None = None) -> dict[str, RawSplit]:
    """Reads CUB few-shot from the Caltech Birds 2011 of TensorFlow Datasets.

    Args:
        data_dir: the TFDS folder where it is prepared, or None for TFDS's own, where it is prepared on first use.

    Returns:
        A dict from split to `RawSplit`.

    Raises:
        UserError: if it is not there, cannot be prepared or read, or has other classes.
    """
    pool = tensorflow_datasets.read_pool(TFDS_NAME, data_dir)
    # TFDS names the classes of this data set by their labels only.
    folders = [path.split("/")[-2:-1] for path in tensorflow_datasets.read_texts(pool, _TFDS_PATH)]
    name_of = {label: folder[0] for label, folder in zip(pool.labels.tolist(), folders) if folder}
    names = tuple(name_of.get(label, "one without images") for label in range(len(pool.class_names)))
    _check_numbers(names, f"TFDS's {TFDS_NAME!r}")
    return tensorflow_datasets.select(dataclasses.replace(pool, class_names=names), class_list("cub"))


def _has_tfds(folder: pathlib.Path) -> bool:
    return tensorflow_datasets.is_prepared(folder, TFDS_NAME)


def _images_folder(folder: pathlib.Path) -> pathlib.Path | None:
    return next((path for path in (folder / _ROOT / _IMAGES, folder / _IMAGES) if os.path.isdir(path)), None)


def _has_folders(folder: pathlib.Path) -> bool:
    return _images_folder(folder) is not None


def _read_folders(folder: pathlib.Path) -> dict[str, RawSplit]:
    images = _images_folder(folder)
    assert images is not None, "_has_folders says so"
    folders = sub_folders(images)
    names = list(folders)
    _check_numbers(names, repr(os.fspath(images)))
    return read_class_folders(
        {
            split: {names[index]: folders[names[index]] for index in indices}
            for split, indices in class_list("cub").items()
        }
    )


def _check_numbers(names: Sequence[str], where: str) -> None:
    """Checks the numbers in the names, since the order of the classes says which split they are in."""
    wrong = [name for number, name in enumerate(names, 1) if not name.startswith(f"{number:03}.")]
    if wrong or len(names) != _CLASSES:
        received = f"{len(names)} classes"
        if wrong:
            received += f", out of place {in_words(wrong)}"
        raise UserError(
            f"{where} must have {_CLASSES} classes, from '001.Black_footed_Albatross' to '200.Common_Yellowthroat'. "
            f"Received: {received}. Download the whole data set again and keep its folder names."
        )


FORMATS = (
    Format("class folders", f"{_ROOT}/{_IMAGES}/<class>/*.jpg", _has_folders, _read_folders),
    Format(
        "a folder of TensorFlow Datasets",
        f"{TFDS_NAME}/<version> as TensorFlow Datasets prepares it",
        _has_tfds,
        read_from_tfds,
    ),
)
