"""Opens data sets by name."""

import functools
import os
import pathlib
from collections.abc import Callable
from typing import Any

from absl import logging

from dsl_tf.data import folder, glyphs
from dsl_tf.data.data_folder import check_data_dir, find_split_folders, unused_folders_note
from dsl_tf.data.names import DATASETS, TFDS_PREFIX
from dsl_tf.data.own_images import WANTED, Division, find_own_images, fits, has_classes, is_divided, is_list_file
from dsl_tf.data.split import SPLITS, Split
from dsl_tf.errors import UserError

# Data sets that are not mirrored by default: mirroring changes letters, but not what a photograph shows.
UNMIRRORED = ("glyphs",)


def open_splits(
    dataset: str,
    data_dir: str | os.PathLike[str] | None = None,
    image_size: int | None = None,
    strict: bool = False,
    cache_dir: str | os.PathLike[str] | None = None,
    allow_partial: bool = False,
    class_split: str | os.PathLike[str] | None = None,
    val_fraction: float = 0.0,
    keep_truncated: bool = False,
    stored_size: int | None = None,
    test_fraction: float | None = None,
    split_seed: int = 0,
    test_ways: int = 5,
    held_out: str = "classes",
) -> dict[str, Callable[[], Split]]:
    """Finds the splits of a data set, and prepares a named data set if necessary.

    Args:
        dataset: one of `dsl_tf.data.names.DATASETS`, or `tfds:` followed by a name of TensorFlow Datasets.
        data_dir: the folder with the data, or for `folder` also a list of images; None for `glyphs`, and for the folder
            of TensorFlow Datasets.
        image_size: height and width in pixels; None for the data set's own.
        strict: for `folder`, whether an unreadable image is an error rather than skipped with a warning.
        cache_dir: the folder for prepared data; None for `$XDG_CACHE_HOME/dsl_tf` or `~/.cache/dsl_tf`.
        allow_partial: for named data sets, whether fewer images than published are accepted.
        class_split: for `tfds:` data sets, a JSON file with the classes of each split. For a `folder` or list without
            splits, such a file or a run's `class_split.csv`; if images are held out, a run's `image_split.csv`.
        val_fraction: the fraction of the training classes to hold out if there is no val split. As in `divide_classes`
            if there are no splits at all.
        keep_truncated: for `folder`, whether to read truncated JPEG files as far as possible.
        stored_size: the largest shorter side, in pixels, at which photographs are stored with their aspect, so that
            random boxes are cut out of the originals. None to store squares of `image_size`.
        test_fraction: for a `folder` or list without splits, as in `divide_classes`.
        split_seed: for a `folder` or list without splits, the seed that divides the classes.
        test_ways: for a `folder` or list without splits, the classes that validation and test need.
        held_out: for `folder`, whether whole `"classes"` are validated and tested on, or held-out `"images"` of the
            training classes. With `"images"`, fractions are of each class's images, as in `divide_images`, and splits
            may have the same classes.

    Returns:
        A dict from the names of the existing splits, in the order train, val, test, to functions that load them and
        return a `Split`.

    Raises:
        UserError: if the data set is unknown, options do not match it, or the data cannot be read. The returned
            functions raise it too.
    """
    if dataset != "folder" and test_fraction is not None:
        raise _divided_error("--test_fraction", test_fraction)
    if dataset != "folder" and held_out != "classes":
        raise UserError(
            f"--held_out={held_out} is for a folder or list of your own, --dataset=folder. Received: "
            f"--dataset={dataset}, whose splits have different classes. Omit the flag."
        )
    if dataset not in ("glyphs", "folder") and data_dir is not None:
        # Checked first, because a data set without files may be downloaded for minutes.
        check_data_dir(data_dir, f"the files of {dataset}", lambda near: _holds(dataset, near))
    if dataset == "glyphs":
        if data_dir is not None:
            logging.warning("--dataset=glyphs does not read --data_dir. For your own images, set --dataset=folder.")
        loaders = _glyphs(image_size, stored_size, cache_dir)
    elif dataset == "folder":
        division = division_of(class_split, val_fraction, test_fraction, split_seed, test_ways, held_out)
        return _folder(data_dir, image_size, division, (strict, cache_dir, keep_truncated, stored_size))
    elif dataset in DATASETS or dataset.startswith(TFDS_PREFIX):
        # Imported here, because the import of TensorFlow Datasets is slow.
        from dsl_tf.data import prepared

        path = prepared.prepare(dataset, data_dir, image_size, cache_dir, allow_partial, class_split, stored_size)
        loaders = {
            split: functools.partial(prepared.load_prepared, path, split, image_size)
            for split in prepared.prepared_splits(path)
        }
    else:
        raise UserError(f"--dataset must be one of {', '.join(DATASETS)}, or {TFDS_PREFIX}NAME. Received: {dataset!r}.")
    return _with_held_out_classes(loaders, val_fraction) if val_fraction else loaders


def division_of(
    class_split: str | os.PathLike[str] | None = None,
    val_fraction: float = 0.0,
    test_fraction: float | None = None,
    split_seed: int = 0,
    test_ways: int = 5,
    held_out: str = "classes",
    **_: Any,
) -> Division:
    """Returns the division of a folder or list without splits that options of `open_splits` ask for."""
    return Division(class_split, val_fraction, test_fraction, split_seed, test_ways, held_out)


def _holds(dataset: str, near: pathlib.Path) -> bool:
    # Imported here, because the import of TensorFlow Datasets is slow.
    from dsl_tf.data import recognition

    return recognition.fits(dataset)(near)


def _glyphs(
    image_size: int | None, stored_size: int | None, cache_dir: str | os.PathLike[str] | None
) -> dict[str, Callable[[], Split]]:
    if stored_size is not None:
        raise UserError(
            "--stored_size is for photographs; the images of --dataset=glyphs are rendered at their size. "
            f"Received: {stored_size}. Omit the flag."
        )
    if image_size not in (None, glyphs.IMAGE_SIZE):
        raise UserError(
            f"--dataset=glyphs is rendered at --image_size={glyphs.IMAGE_SIZE}. Received: {image_size}. Omit the flag."
        )
    return {split: functools.partial(glyphs.load_split, split, cache_dir) for split in SPLITS}


def _folder(
    data_dir: str | os.PathLike[str] | None, image_size: int | None, division: Division, options: tuple[Any, ...]
) -> dict[str, Callable[[], Split]]:
    if data_dir is None:
        raise UserError("--dataset=folder needs --data_dir, a folder of images or a list of them. Received: none.")
    if not is_list_file(data_dir):
        check_data_dir(data_dir, WANTED, fits, has_classes)
        if division.held_out == "classes" and is_divided(data_dir):
            return _split_folders(data_dir, image_size, division, options)
    own = find_own_images(data_dir, division)
    if not own.divided:
        _check_divided(division)
    size = image_size or folder.suitable_size(own.source, next(iter(own.splits.values())))
    for note in own.notes:
        print(note)
    # Of splits that may have the same classes, each is read as if there were no earlier ones.
    alone = division.held_out == "images"
    loaders: dict[str, Callable[[], Split]] = {
        split: functools.partial(
            folder.read_split, own.source, split, {split: own.splits[split]} if alone else own.splits, size, *options
        )
        for split in own.splits
    }
    if own.divided or alone:
        return loaders
    return _with_held_out_classes(loaders, division.val_fraction) if division.val_fraction else loaders


def _split_folders(
    data_dir: str | os.PathLike[str], image_size: int | None, division: Division, options: tuple[Any, ...]
) -> dict[str, Callable[[], Split]]:
    _check_divided(division)
    if note := unused_folders_note(data_dir):
        logging.warning("%s", note)
    size = image_size or folder.natural_image_size(data_dir)
    loaders: dict[str, Callable[[], Split]] = {
        split: functools.partial(folder.load_split, data_dir, split, size, *options)
        for split in find_split_folders(data_dir)
    }
    return _with_held_out_classes(loaders, division.val_fraction) if division.val_fraction else loaders


def _check_divided(division: Division) -> None:
    for flag, value in (("--test_fraction", division.test_fraction), ("--class_split", division.class_split)):
        if value is not None:
            raise _divided_error(flag, value)


def _divided_error(flag: str, value: object) -> UserError:
    return UserError(
        f"{flag} is for a folder or list without splits. Received: {value}, and data with splits. Omit the flag."
    )


def _with_held_out_classes(loaders: dict[str, Callable[[], Split]], fraction: float) -> dict[str, Callable[[], Split]]:
    if "val" in loaders:
        raise UserError(
            f"--val_fraction needs a data set without a val split. Received: {fraction}, and a data "
            "set with one. Omit the flag."
        )
    divide = functools.cache(lambda: loaders["train"]().hold_out(fraction))
    held_out: dict[str, Callable[[], Split]] = {"train": lambda: divide()[0], "val": lambda: divide()[1]}
    return {**held_out, **{name: loader for name, loader in loaders.items() if name not in held_out}}
