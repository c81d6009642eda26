"""The user's own images: folders train, val and test with one folder of images per class."""

import itertools
import os
import statistics
from collections.abc import Mapping

import numpy as np
from absl import logging

from dsl_tf.data.data_folder import check_data_dir, find_split_folders, no_data_error
from dsl_tf.data.decoding import shorter_sides
from dsl_tf.data.image_files import read_images
from dsl_tf.data.labelled_images import LabelledImages, alike_notes, find_labelled_images, same_class
from dsl_tf.data.skipped import Skipped, examples, unexpected
from dsl_tf.data.split import SPLITS, Split
from dsl_tf.data.stored_folder import store_images
from dsl_tf.data.stored_images import StoredImages, fits_in_memory, held_or_stored
from dsl_tf.errors import UserError

WANTED = "the folders train, val and test, each with one folder of images per class"
_SMALLEST_SIZE, _LARGEST_SIZE, _SAMPLE_PER_CLASS = 32, 84, 3


def load_split(
    data_dir: str | os.PathLike[str],
    split: str,
    image_size: int,
    strict: bool = False,
    cache_dir: str | os.PathLike[str] | None = None,
    keep_truncated: bool = False,
    stored_size: int | None = None,
) -> Split:
    """Loads the images `data_dir/split/[group/]class/file`, as squares, in RGB.

    Labels follow the sorted class names, and the images of a class its sorted file names. Whatever is not a readable
    image, and classes without any, are skipped with a warning, and so are classes that an earlier of the splits train,
    val, test has too. Hidden files and what systems leave behind are skipped silently. `Split.skipped` has it all.

    Args:
        data_dir: the folder that holds the splits.
        split: `"train"`, `"val"` or `"test"`.
        image_size: the side of the returned images, in pixels; the aspect is not kept, unless there is a `stored_size`.
        strict: whether an error is raised in place of a warning about images or classes.
        cache_dir: the folder for images that would take more than 1 GiB of memory or keep their aspect; they are
            encoded there once, and read from there. None for `$XDG_CACHE_HOME/dsl_tf` or `~/.cache/dsl_tf`.
        keep_truncated: whether a JPEG file that is cut short is read as far as it goes; the rest is grey.
        stored_size: the largest shorter side, in pixels, at which images are stored with their aspect. Then the shorter
            side is resized to `image_size`, and the centre is cut out. None to resize images to squares.

    Returns:
        a `Split` with images uint8 `[n, image_size, image_size, 3]`.

    Raises:
        UserError: if the folders are missing or hold no readable image or, when strict, anything else too; or if the
            cache folder is needed and cannot be written.
    """
    folders = find_split_folders(data_dir) if os.path.isdir(data_dir) else {}
    earlier = {name: find_labelled_images(folders[name]) for name in SPLITS[: SPLITS.index(split)] if name in folders}
    found = {**earlier, split: find_split(data_dir, split)}
    return read_split(data_dir, split, found, image_size, strict, cache_dir, keep_truncated, stored_size)


def read_split(
    source: str | os.PathLike[str],
    split: str,
    splits: Mapping[str, LabelledImages],
    image_size: int,
    strict: bool = False,
    cache_dir: str | os.PathLike[str] | None = None,
    keep_truncated: bool = False,
    stored_size: int | None = None,
) -> Split:
    """Reads the images of a split as `load_split` does.

    Args:
        source: the folder or list that the images come from.
        split: `"train"`, `"val"` or `"test"`.
        splits: the images of this split and the earlier ones.
        image_size: as in `load_split`, and so are the others.
        strict: see there.
        cache_dir: see there.
        keep_truncated: see there.
        stored_size: see there.

    Raises:
        UserError: see there.
    """
    found = splits[split]
    for note in found.notes:
        logging.warning("%s", note)
    files, shared = _without_earlier_classes(source, split, splits, strict)
    paths = list(itertools.chain.from_iterable(files.values()))
    images: np.ndarray | StoredImages
    if stored_size is None and fits_in_memory((len(paths), image_size, image_size, 3)):
        images, reasons = read_images(paths, image_size, keep_truncated)
    else:
        folder = source if os.path.isdir(source) else os.path.dirname(os.path.abspath(source))
        stored, reasons = store_images(paths, image_size, folder, cache_dir, keep_truncated, stored_size)
        images = held_or_stored(stored, split)
    skipped = sorted([*found.skipped, *(Skipped(paths[position], reason) for position, reason in reasons.items())])
    if not len(images):
        raise _no_image_error(source, split, skipped)
    labels = np.repeat(np.arange(len(files)), [len(class_files) for class_files in files.values()])
    used, labels = np.unique(np.delete(labels, list(reasons)), return_inverse=True)
    names = np.array(list(files), dtype=object)
    empty = list(np.delete(names, used))
    _report(split, unexpected(skipped), empty, strict)
    skipped += [Skipped(found.folders[name], "a class without a readable image") for name in empty] + shared
    read = tuple(path for position, path in enumerate(paths) if position not in reasons)
    return Split(images, labels, tuple(names[used]), tuple(sorted(skipped)), read)


def natural_image_size(data_dir: str | os.PathLike[str]) -> int:
    """Finds the image size that suits the train images of a folder that holds the splits, as `suitable_size` does."""
    return suitable_size(data_dir, find_split(data_dir, "train"))


def suitable_size(source: str | os.PathLike[str], found: LabelledImages) -> int:
    """Finds the image size that suits the train images: the median of the shorter sides of a few per class.

    Args:
        source: the folder or list that they come from.
        found: the train images.

    Returns:
        the side in pixels, from 32 to 84.

    Raises:
        UserError: if none is readable.
    """
    sides: list[int] = []
    for files in found.files.values():
        sides += itertools.islice(shorter_sides(files), _SAMPLE_PER_CLASS)
    if not sides:
        raise _no_image_error(source, "train", found.skipped)
    return min(max(statistics.median_low(sides), _SMALLEST_SIZE), _LARGEST_SIZE)


def find_split(data_dir: str | os.PathLike[str], split: str) -> LabelledImages:
    """Finds the images of a split in a folder that holds the folders of splits.

    Raises:
        UserError: if there is no such split or it has no classes.
    """
    check_data_dir(data_dir, WANTED)
    folders = find_split_folders(data_dir)
    if split not in folders:
        wanted = WANTED if not folders else f"the folder {split!r}, with one folder of images per class"
        raise no_data_error(data_dir, wanted, lambda folder: split in find_split_folders(folder))
    found = find_labelled_images(folders[split])
    if not found.files:
        raise UserError(
            f"The split folder {os.fspath(folders[split])!r} must hold one folder of images per class. "
            f"Received: no folder, but {examples(unexpected(found.skipped)) or 'nothing'}. Sort the images into one "
            "folder per class."
        )
    return found


def _without_earlier_classes(
    source: str | os.PathLike[str], split: str, splits: Mapping[str, LabelledImages], strict: bool
) -> tuple[dict[str, list[str]], list[Skipped]]:
    """Skips the classes that an earlier split has too: few-shot accuracy is about classes unseen in training."""
    found = splits[split]
    files, skipped = found.files, []
    for earlier in SPLITS[: SPLITS.index(split)]:
        if earlier not in splits:
            continue
        earlier_files = splits[earlier].files
        names = {same_class(name) for name, class_files in earlier_files.items() if class_files}
        shared = [name for name, class_files in files.items() if class_files and same_class(name) in names]
        if shared:
            skipped += [Skipped(found.folders[name], f"a class of {earlier!r} too") for name in shared]
            files = {name: class_files for name, class_files in files.items() if name not in shared}
            _report_shared(source, earlier, split, shared, any(files.values()), strict)
        for note in alike_notes(files, earlier_files):
            logging.warning("In %r and %r: %s", earlier, split, note)
    return files, skipped


def _report_shared(
    source: str | os.PathLike[str], earlier: str, split: str, shared: list[str], any_left: bool, strict: bool
) -> None:
    where = f"The splits {earlier!r} and {split!r} of {os.fspath(source)!r}"
    count = f"{len(shared)} {'class' if len(shared) == 1 else 'classes'}"
    if os.path.isfile(source):
        advice = "Remove the column of splits from the list: the classes are then divided."
    else:
        advice = (
            f"Move the folders of some classes out of {earlier!r}, or move the folder {split!r} elsewhere"
            f"{' and hold out classes with --val_fraction' if split == 'val' else ''}."
        )
    if not any_left:
        raise UserError(
            f"{where} must have different classes, since the accuracy is about classes unseen in training. Received: "
            f"no class is left for {split!r}, since {earlier!r} has all {count}, such as {shared[0]!r}. {advice} If "
            "the classes are meant to be the same, set --held_out=images."
        )
    message = (
        f"{where} should have different classes, since the accuracy is about classes unseen in training. Received: "
        f"{count} in both, such as {shared[0]!r}."
    )
    if strict:
        raise UserError(f"{message} Move or rename their folders in one of them, or read without --strict.")
    logging.warning("%s They are skipped in %r.", message, split)


def _report(split: str, skipped: list[Skipped], empty_classes: list[str], strict: bool) -> None:
    messages = []
    if skipped:
        files = "file or folder" if len(skipped) == 1 else "files or folders"
        messages.append(
            f"The split {split!r} should hold readable images only. Received: {len(skipped):,} other {files}: "
            f"{examples(skipped)}."
        )
    if empty_classes:
        classes = "class" if len(empty_classes) == 1 else "classes"
        messages.append(
            f"Each class of the split {split!r} should have a readable image. Received: {len(empty_classes):,} "
            f"{classes} without, such as {', '.join(map(repr, empty_classes[:3]))}."
        )
    if strict and messages:
        raise UserError(" ".join(messages) + " Remove or repair them, or read without --strict.")
    for message in messages:
        logging.warning("%s They are skipped.", message)


def _no_image_error(source: str | os.PathLike[str], split: str, skipped: list[Skipped]) -> UserError:
    seen = unexpected(skipped)
    return UserError(
        f"The split {split!r} of {os.fspath(source)!r} must hold readable images. Received: none, but {len(seen):,} "
        f"other files or folders{': ' if seen else ''}{examples(seen)}. Check the path."
    )
