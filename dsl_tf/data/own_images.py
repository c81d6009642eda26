"""The user's own images where nothing but folders of classes, or a list, says which is which."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping

from dsl_tf.data.class_division import read_division
from dsl_tf.data.data_folder import find_split_folders, has_split_folders, no_data_error, split_named
from dsl_tf.data.division import divide_classes
from dsl_tf.data.folder import find_split
from dsl_tf.data.image_division import divide_images, read_image_division
from dsl_tf.data.image_lists import EXTENSIONS, find_lists, read_list
from dsl_tf.data.labelled_images import LabelledImages, find_labelled_images
from dsl_tf.data.listing import list_folder
from dsl_tf.data.skipped import Skipped
from dsl_tf.data.split import SPLITS
from dsl_tf.errors import UserError

WANTED = (
    "one folder of images per class, or these in the folders train, val and test, or a list with the columns file and "
    "label"
)
_ADVICE = "Sort the images into one folder per class, or write a csv file with the columns file and label."
_SHOWN = 8


@dataclasses.dataclass(frozen=True)
class OwnImages:
    """Labelled images of the user's own.

    Args:
        splits: the images by `"train"`, `"val"` and `"test"`, as far as they are there.
        source: the folder or list that they come from.
        notes: sentences for the user.
        divided: whether the classes, or the images of each class, were divided here.
    """

    splits: dict[str, LabelledImages]
    source: str
    notes: list[str]
    divided: bool

    @property
    def folder(self) -> str:
        """The folder that paths are relative to."""
        return _folder_of(self.source)


@dataclasses.dataclass(frozen=True)
class Division:
    """How to divide the classes: as a file says or, if there is none, as `divide_classes` does.

    With `held_out="images"`, the images of each class are divided instead, as `divide_images` does.
    """

    class_split: str | os.PathLike[str] | None = None
    val_fraction: float = 0.0
    test_fraction: float | None = None
    seed: int = 0
    ways: int = 5
    held_out: str = "classes"


def is_divided(folder: str | os.PathLike[str]) -> bool:
    """Returns whether a folder has folders of splits with folders of classes in them; never raises."""
    try:
        return any(list_folder(path).folders for path in find_split_folders(folder).values())
    except UserError:
        return has_split_folders(folder)


def find_own_images(data_dir: str | os.PathLike[str], division: Division) -> OwnImages:
    """Finds labelled images in a list, or in a folder that is not divided into splits.

    Args:
        data_dir: the list, or a folder that holds one, several that are named as splits, or folders of classes. If
            images are held out, also a folder that is divided into splits.
        division: how to divide the classes if nothing else says so.

    Raises:
        UserError: if there are no labelled images; it says what is there, and which folder near it would do.
    """
    path = pathlib.Path(data_dir)
    if division.held_out == "images" and path.is_dir() and is_divided(path):
        given = {split: find_split(path, split) for split in find_split_folders(path)}
        return _with_splits(given, os.fspath(path), [], division)
    lists = [path] if path.is_file() else find_lists(path)
    if lists:
        return _listed(path, lists, division)
    if any(_below(path)) or _belongs_to_parent(path):
        raise _no_images_error(path)
    base = _base(path)
    found = find_labelled_images(base)
    # Folders train and test with images directly in them are no classes.
    splits = {split_named(name) for name, files in found.files.items() if files} - {None}
    if sum(map(bool, found.files.values())) < 2 or len(splits) > 1:
        raise _no_images_error(path)
    return _divided(found, os.fspath(base), division)


def has_splits(data_dir: str | os.PathLike[str]) -> bool:
    """Returns whether a folder or list says which images are of which split, so that no classes are divided.

    Raises:
        UserError: if a list cannot be read.
    """
    path = pathlib.Path(data_dir)
    if path.is_dir() and is_divided(path):
        return True
    lists = [path] if path.is_file() else find_lists(path)
    return len(lists) > 1 or any(None not in read_list(file) for file in lists)


def is_list_file(path: str | os.PathLike[str]) -> bool:
    """Returns whether a path is a file with the extension of a list."""
    return os.path.isfile(path) and pathlib.Path(path).suffix.lower() in EXTENSIONS


def fits(folder: pathlib.Path) -> bool:
    """Returns whether a folder is divided into splits of classes, or holds a list."""
    return is_divided(folder) or bool(find_lists(folder))


def has_classes(folder: pathlib.Path) -> bool:
    """Returns whether a folder has at least two folders with images."""
    folders = list_folder(folder).folders
    holding = (name for name in folders if list_folder(folder / name).images or _images_within(folder / name))
    return next(holding, None) is not None and next(holding, None) is not None


def _images_within(folder: pathlib.Path) -> bool:
    return any(name.lower() == "images" and list_folder(folder / name).images for name in list_folder(folder).folders)


def _no_images_error(path: pathlib.Path) -> UserError:
    return no_data_error(path, WANTED, fits, has_classes, advice=_ADVICE)


def _below(path: pathlib.Path) -> list[pathlib.Path]:
    """The folders one and two levels below that are divided: the user pointed too high."""
    inner = [path / name for name in list_folder(path).folders]
    inner += [folder / name for folder in inner for name in list_folder(folder).folders]
    return [folder for folder in inner if "train" in _splits(folder) and is_divided(folder)]


def _belongs_to_parent(path: pathlib.Path) -> bool:
    """Whether it is one of the splits of a folder whose splits have different classes: the user pointed too low."""
    path = pathlib.Path(os.path.abspath(path))
    splits = _splits(path.parent)
    if path not in splits.values():
        return False
    own = set(list_folder(path).folders)
    others = [set(list_folder(other).folders) for other in splits.values() if other != path]
    return any(other and not other & own for other in others)


def _splits(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    try:
        return find_split_folders(folder)
    except UserError:
        return {}


def _base(path: pathlib.Path) -> pathlib.Path:
    """The folder itself, or the single folder in it, as archives have one, as long as that holds folders only."""
    while True:
        listing = list_folder(path)
        if listing.images or len(listing.folders) != 1:
            return path
        inner = path / listing.folders[0]
        if list_folder(inner).images or not list_folder(inner).folders or os.path.islink(inner):
            return path
        path = inner


def _listed(path: pathlib.Path, lists: list[pathlib.Path], division: Division) -> OwnImages:
    named = {split_named(file.stem): file for file in lists}
    if len(lists) == 1:
        found = read_list(lists[0])
        source = os.fspath(lists[0])
    elif None not in named and len(named) == len(lists) and "train" in named:
        found = {split: _together(read_list(named[split])) for split in SPLITS if split in named}
        source = os.fspath(path)
    else:
        shown = ", ".join(repr(file.name) for file in lists[:_SHOWN])
        raise UserError(
            f"--data_dir={os.fspath(path)!r} must hold one list of images, or one for each of train, val and test. "
            f"Received: {shown}. Give the list itself, such as --data_dir={os.fspath(lists[0])!r}."
        )
    if None in found:
        if len(found[None].files) < 2:
            raise UserError(
                f"The list {source!r} must have two labels or more. Received: {_shown(list(found[None].files))} alone. "
                "Add images of other classes."
            )
        return _divided(found[None], source, division)
    splits = {split: images for split, images in found.items() if split is not None}
    notes = [f"Reading the list {file.name!r} of {os.fspath(file.parent)!r}." for file in lists]
    return _with_splits(splits, source, notes, division)


def _with_splits(splits: dict[str, LabelledImages], source: str, notes: list[str], division: Division) -> OwnImages:
    """Images whose splits are given; a fraction of each class's training images may be held out for validation."""
    if division.held_out == "images" and division.val_fraction and "train" in splits:
        if "val" in splits:
            raise UserError(
                "--val_fraction needs data without a val split. Received: "
                f"{division.val_fraction}, and {source!r} with one. Omit the flag."
            )
        held_out, why = divide_images(
            splits["train"], _folder_of(source), division.val_fraction, 0.0, seed=division.seed
        )
        splits = {**held_out, **{split: images for split, images in splits.items() if split != "train"}}
        notes = [*notes, f"Training images of each class are held out for val. {why}".strip()]
    return OwnImages(splits, source, notes, divided=False)


def _folder_of(source: str) -> str:
    return source if os.path.isdir(source) else os.path.dirname(os.path.abspath(source))


def _together(found: Mapping[str | None, LabelledImages]) -> LabelledImages:
    """All images of a list that stands for one split."""
    files: dict[str, list[str]] = {}
    for images in found.values():
        for name, paths in images.files.items():
            files[name] = files.get(name, []) + paths
    parts = list(found.values())
    return LabelledImages(
        {name: files[name] for name in sorted(files)},
        {name: folder for images in parts for name, folder in images.folders.items()},
        sorted(entry for images in parts for entry in images.skipped),
        [note for images in parts for note in images.notes],
    )


def _divided(found: LabelledImages, source: str, division: Division) -> OwnImages:
    return (_divided_images if division.held_out == "images" else _divided_classes)(found, source, division)


def _divided_images(found: LabelledImages, source: str, division: Division) -> OwnImages:
    if division.class_split is not None:
        splits, why = read_image_division(division.class_split, found, _folder_of(source)), ""
        how = f"as {os.fspath(division.class_split)!r} says"
    else:
        splits, why = divide_images(
            found, _folder_of(source), division.val_fraction, division.test_fraction, division.seed
        )
        how = f"by --split_seed={division.seed}"
    count = sum(map(bool, found.files.values()))
    notes = [f"{source!r} has no splits: the images of each of its {count} classes are divided {how}. {why}".strip()]
    for split, of_split in splits.items():
        sizes = [len(files) for files in of_split.files.values() if files]
        each = f"{min(sizes)} to {max(sizes)}" if min(sizes) < max(sizes) else f"{sizes[0]}"
        notes.append(f"  {split}: {sum(sizes):,} images of {len(sizes)} classes, {each} per class")
    return OwnImages(splits, source, notes, divided=True)


def _divided_classes(found: LabelledImages, source: str, division: Division) -> OwnImages:
    names = [name for name, files in found.files.items() if files]
    others: list[str] = []
    if division.class_split is not None:
        classes, others = read_division(division.class_split, names)
        why, how = "", f"as {os.fspath(division.class_split)!r} says"
    else:
        classes, why = divide_classes(
            names, division.val_fraction, division.test_fraction, division.seed, division.ways
        )
        how = f"by --split_seed={division.seed}"
    empty = [name for name, files in found.files.items() if not files]
    skipped = found.skipped + [Skipped(found.folders[name], f"not in {division.class_split!r}") for name in others]
    splits = {}
    for split, of_split in classes.items():
        first = split == next(iter(classes))
        kept = sorted(of_split + empty * first)
        splits[split] = LabelledImages(
            {name: found.files[name] for name in kept},
            {name: found.folders[name] for name in kept},
            sorted(skipped * first),
            found.notes * first,
        )
    count = sum(map(len, classes.values()))
    notes = [f"{source!r} has no splits: its {count} classes are divided {how}. {why}".strip()]
    notes += [f"  {split}: {len(of_split)} classes ({_shown(of_split)})" for split, of_split in classes.items()]
    return OwnImages(splits, source, notes, divided=True)


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(map(repr, names[:_SHOWN])) + more
