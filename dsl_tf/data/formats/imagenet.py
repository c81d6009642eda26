"""The training images of ILSVRC-2012 by class, from class folders, class tars or the tar of all class tars."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import BinaryIO

import numpy as np

from dsl_tf.data.data_folder import has_split_folders
from dsl_tf.data.formats.class_folders import image_names, split_folders, sub_folders
from dsl_tf.data.formats.required import check_classes
from dsl_tf.data.formats.tar_members import tar_members
from dsl_tf.data.image_kinds import EXTENSIONS
from dsl_tf.data.raw import RawSplit
from dsl_tf.errors import UserError
from dsl_tf.progress import progress_bar

FILES = "class folders, class tars (n01532829.tar) or ILSVRC2012_img_train.tar"
_TAR = "ILSVRC2012_img_train.tar"
_FOLDERS = ("", "train", "ILSVRC2012_img_train", "ILSVRC/Data/CLS-LOC/train")
_CLASS = re.compile("n[0-9]{8}")
_CLASS_TAR = re.compile(r"n[0-9]{8}\.tar")
_NUMBER = re.compile("_([0-9]{1,9})")


@dataclasses.dataclass(frozen=True)
class ClassImages:
    """The training images of a class, by their numbers.

    Args:
        names: their names, such as `n01532829_5.JPEG`.
        read: `read(position)` returns the path of an image or the bytes of its file.
    """

    names: tuple[str, ...]
    read: Callable[[int], pathlib.Path | bytes]


def is_class_id(name: str) -> bool:
    """Returns whether a name is an ImageNet class id such as `n01532829`.

    Args:
        name: the name, text.
    """
    return _CLASS.fullmatch(name) is not None


def class_folders(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Finds the folders of ImageNet classes, in a folder or in ImageNet's train folder inside it.

    Args:
        folder: the folder, a `pathlib.Path`.

    Returns:
        A dict from class id to the path of its folder, empty if there are none.

    Raises:
        UserError: if a folder cannot be read.
    """
    root = _first_with(folder, _CLASS, os.DirEntry.is_dir)
    return {name: path for name, path in sub_folders(root).items() if is_class_id(name)} if root else {}


def has_folders(folder: pathlib.Path) -> bool:
    """Returns whether a folder has folders of ImageNet classes or of splits; never raises.

    Args:
        folder: the folder, a `pathlib.Path`.
    """
    return has_class_folders(folder) or has_split_folders(folder)


def published_folders(
    folder: pathlib.Path, classes: Mapping[str, tuple[str, ...]]
) -> dict[str, dict[str, pathlib.Path]]:
    """Finds the folders of the classes of a data set, sorted into the folders train, val and test or all in one.

    Args:
        folder: the folder, a `pathlib.Path`, that holds the folders of splits or classes, or ImageNet's around them.
        classes: a dict from split to the ids of its classes.

    Returns:
        A dict from split to a dict from class id, in the order of `classes`, to the path of its folder.

    Raises:
        UserError: if a class is missing, or a folder of a split holds others.
    """
    if has_pool(folder, classes):
        pool = class_folders(folder)
        check_classes(
            [name for names in classes.values() for name in names if name in pool], sum(classes.values(), ()), folder
        )
        found = dict.fromkeys(classes, pool)
    else:
        found = split_folders(folder)
        for split, names in classes.items():
            check_classes(list(found[split]), names, folder / split)
    return {split: {name: found[split][name] for name in names} for split, names in classes.items()}


def has_pool(folder: pathlib.Path, classes: Mapping[str, tuple[str, ...]]) -> bool:
    """Returns whether classes of all splits lie in one folder, as in ImageNet, whose own splits share all classes.

    Args:
        folder: the folder, a `pathlib.Path`.
        classes: a dict from split to the ids of its classes.

    Raises:
        UserError: if a folder cannot be read.
    """
    pool = class_folders(folder)
    return all(any(name in pool for name in names) for names in classes.values())


def has_class_folders(folder: pathlib.Path) -> bool:
    """Returns whether a folder has folders of ImageNet classes; never raises.

    Args:
        folder: the folder, a `pathlib.Path`.
    """
    return _first_with(folder, _CLASS, os.DirEntry.is_dir) is not None


def has_tars(folder: pathlib.Path) -> bool:
    """Returns whether a folder has tars of ImageNet classes; never raises.

    Args:
        folder: the folder, a `pathlib.Path`.
    """
    return os.path.isfile(folder / _TAR) or _first_with(folder, _CLASS_TAR, os.DirEntry.is_file) is not None


def class_images(folder: pathlib.Path, classes: Sequence[str]) -> dict[str, ClassImages]:
    """Lists the training images of some classes.

    Args:
        folder: the folder, a `pathlib.Path`, that holds `FILES` or ImageNet's folders around them. Class folders come
            first, then class tars.
        classes: the ids of the classes.

    Returns:
        A dict from class id to `ClassImages`, in the order of `classes`.

    Raises:
        UserError: if a class is missing, or its images are not named as ImageNet's.
    """
    if folders := class_folders(folder):
        check_classes([name for name in classes if name in folders], classes, folder)
        return {name: _images_in_folder(name, folders[name]) for name in classes}
    tars = _class_tars(folder)
    check_classes([name for name in classes if name in tars], classes, folder)
    progress = progress_bar(len(classes), "class tar")
    images = {}
    for name in classes:
        images[name] = _images_in_tar(name, *tars[name])
        progress.add(1)
    return images


def pick(images: Mapping[str, ClassImages], labels: Sequence[int] | np.ndarray, positions: Sequence[int]) -> RawSplit:
    """Makes a split of training images.

    Args:
        images: a dict from class id, in the order of the labels, to `ClassImages`.
        labels: the labels of the n images of the split, integers `[n]`.
        positions: their positions in the images of their classes, integers `[n]`.

    Returns:
        A `RawSplit`, whose images are paths or bytes.
    """
    by_label = list(images.values())

    def read(start: int) -> Iterator[tuple[str, pathlib.Path | bytes]]:
        for label, position in zip(labels[start:], positions[start:]):
            yield by_label[label].names[position], by_label[label].read(position)

    return RawSplit(tuple(images), np.asarray(labels, np.int32), read)


def _first_with(
    folder: pathlib.Path, pattern: re.Pattern[str], is_kind: Callable[[os.DirEntry[str]], bool]
) -> pathlib.Path | None:
    """The first of the folders that ImageNet may lie in with an entry of a kind, or None."""
    for name in _FOLDERS:
        try:
            with os.scandir(folder / name) as entries:
                if any(pattern.fullmatch(entry.name) and is_kind(entry) for entry in entries):
                    return folder / name
        except OSError:
            continue
    return None


def _images_in_folder(class_id: str, folder: pathlib.Path) -> ClassImages:
    names = _by_number(class_id, image_names(folder), folder)
    return ClassImages(names, lambda position: folder / names[position])


def _class_tars(folder: pathlib.Path) -> dict[str, tuple[pathlib.Path, int, int]]:
    """The file that holds each class tar, and where it starts and ends there."""
    root = _first_with(folder, _CLASS_TAR, os.DirEntry.is_file)
    if root:
        paths = [path for path in root.iterdir() if _CLASS_TAR.fullmatch(path.name)]
        return {path.stem: (path, 0, os.path.getsize(path)) for path in paths}
    path = folder / _TAR
    if not os.path.isfile(path):
        raise UserError(
            f"The data folder must hold ImageNet's training images: {FILES}. Received: {os.fspath(folder)!r} "
            "without. Check the path."
        )
    tars: dict[str, tuple[pathlib.Path, int, int]] = {}
    with _opened(path) as file:
        for name, start, size in tar_members(file, 0, os.path.getsize(path)):
            if not _CLASS_TAR.fullmatch(name):
                continue
            class_id = name.removesuffix(".tar")
            if class_id in tars:
                raise _twice_error(name, path)
            tars[class_id] = path, start, start + size
    return tars


def _images_in_tar(class_id: str, path: pathlib.Path, start: int, end: int) -> ClassImages:
    with _opened(path) as file:
        members = [member for member in tar_members(file, start, end) if not member[0].startswith(".")]
    spans = {name: (offset, size) for name, offset, size in members}
    names = _by_number(class_id, [name for name, _, _ in members], path)
    return ClassImages(names, lambda position: _bytes_at(path, *spans[names[position]]))


def _by_number(class_id: str, names: Sequence[str], where: pathlib.Path) -> tuple[str, ...]:
    """Sorts the names of the images of a class by their numbers, of which each may be there once."""
    numbers: dict[int, str] = {}
    for name in names:
        stem, extension = os.path.splitext(name)
        match = _NUMBER.fullmatch(stem.removeprefix(class_id))
        if not stem.startswith(class_id) or match is None or extension.lower() not in EXTENSIONS:
            raise UserError(
                f"The images of the class {class_id} in {os.fspath(where)!r} must have names such as "
                f"'{class_id}_5.JPEG'. Received: {name[:80]!r}. Download ImageNet's own files."
            )
        number = int(match[1])
        if number in numbers:
            raise _twice_error(name, where)
        numbers[number] = name
    if not numbers:
        raise UserError(
            f"The class {class_id} in {os.fspath(where)!r} must have images. Received: none. Download ImageNet's files."
        )
    return tuple(numbers[number] for number in sorted(numbers))


def _twice_error(name: str, where: pathlib.Path) -> UserError:
    return UserError(
        f"Each image of ImageNet must be in {os.fspath(where)!r} once. Received: {name!r} twice. "
        "Remove the copy or download ImageNet's own files."
    )


def _bytes_at(path: pathlib.Path, offset: int, size: int) -> bytes:
    with _opened(path) as file:
        file.seek(offset)
        content = file.read(size)
    if len(content) < size:
        raise UserError(
            f"{os.fspath(path)!r} must not change while it is read. Received: a shorter file. Run the command again."
        )
    return content


def _opened(path: pathlib.Path) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise UserError(
            f"{os.fspath(path)!r} must be readable. Received: {error.strerror}. Change its permissions."
        ) from error
