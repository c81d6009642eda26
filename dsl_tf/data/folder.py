"""The user's own images: folders train, val and test with one folder of images for each class."""

import itertools
import os
import statistics

import numpy as np
from absl import logging

from dsl_tf.data.decoding import EXTENSIONS, read_images, shorter_sides
from dsl_tf.data.split import SPLITS, Split
from dsl_tf.data.stored_folder import store_images
from dsl_tf.data.stored_images import fits_in_memory
from dsl_tf.errors import UserError

# Hidden folders that programs leave behind; any other may be a class that somebody misnamed.
_JUNK = (
    ".cache",
    ".fseventsd",
    ".git",
    ".hg",
    ".ipynb_checkpoints",
    ".spotlight-v100",
    ".svn",
    ".thumbnails",
    ".trash",
)
_SMALLEST_SIZE, _LARGEST_SIZE, _SAMPLE_PER_CLASS = 32, 84, 3


def load_split(
    data_dir: str | os.PathLike[str],
    split: str,
    image_size: int,
    strict: bool = False,
    cache_dir: str | os.PathLike[str] | None = None,
) -> Split:
    """Loads the images `data_dir/split/[group/]class/file`, resized to squares, as RGB.

    Labels follow the sorted class names, and the images of a class its sorted file names. Entries that are no
    readable images, and classes without any, are left out with a warning, and so are hidden folders and classes that
    an earlier of the splits train, val, test has too.

    Args:
        data_dir: the folder that holds the splits.
        split: `"train"`, `"val"` or `"test"`.
        image_size: the side of the returned images, in pixels; the aspect is not kept.
        strict: to raise an error where there would be a warning.
        cache_dir: the folder for images that would take more than 1 GiB of memory; they are encoded there once, and
            read from there. None for `$XDG_CACHE_HOME/dsl_tf` or `~/.cache/dsl_tf`.

    Returns:
        a `Split` with images uint8 `[n, image_size, image_size, 3]`.

    Raises:
        UserError: where the folders are missing or hold no readable image or, when strict, anything else too; or
            where the cache folder is needed and cannot be written.
    """
    files_by_class, skipped = _scan(data_dir, split)
    files_by_class = _without_earlier_classes(data_dir, split, files_by_class, strict)
    paths = list(itertools.chain.from_iterable(files_by_class.values()))
    if fits_in_memory((len(paths), image_size, image_size, 3)):
        images, reasons = read_images(paths, image_size)
    else:
        images, reasons = store_images(paths, image_size, data_dir, cache_dir)
    skipped = sorted(skipped + [(paths[position], reason) for position, reason in reasons.items()])
    if not len(images):
        raise _no_image_error(data_dir, split, skipped)
    labels = np.repeat(np.arange(len(files_by_class)), [len(files) for files in files_by_class.values()])
    used, labels = np.unique(np.delete(labels, list(reasons)), return_inverse=True)
    names = np.array(list(files_by_class), dtype=object)
    _report_left_out(split, skipped, list(np.delete(names, used)), _hidden_folders(data_dir, split), strict)
    return Split(images, labels, tuple(names[used]))


def natural_image_size(data_dir: str | os.PathLike[str]) -> int:
    """Finds the image size that suits the train images: the median of the shorter sides of a few per class.

    Args:
        data_dir: the folder that holds the splits.

    Returns:
        the side in pixels, from 32 to 84.

    Raises:
        UserError: where the train folder is missing or holds no readable image.
    """
    files_by_class, skipped = _scan(data_dir, "train")
    sides = []
    for files in files_by_class.values():
        sides += itertools.islice(shorter_sides(files), _SAMPLE_PER_CLASS)
    if not sides:
        raise _no_image_error(data_dir, "train", skipped)
    return min(max(statistics.median_low(sides), _SMALLEST_SIZE), _LARGEST_SIZE)


def _without_earlier_classes(data_dir, split, files_by_class, strict):
    """Leaves out the classes that an earlier split has too: few-shot accuracy is about classes unseen in training."""
    present = _sub_folders(data_dir)
    for earlier in SPLITS[: SPLITS.index(split)]:
        earlier_files = _scan(data_dir, earlier)[0] if earlier in present else {}
        shared = [name for name, files in files_by_class.items() if files and earlier_files.get(name)]
        if not shared:
            continue
        message = (
            f"The splits of {os.fspath(data_dir)!r} should share no class: the accuracy is about classes unseen in "
            f"training. Received: {len(shared)} classes in both {earlier!r} and {split!r}, such as {shared[0]!r}."
        )
        if strict:
            raise UserError(f"{message} Move or rename their folders in one of them, or read without strict.")
        logging.warning("%s They are left out of %r.", message, split)
        files_by_class = {name: files for name, files in files_by_class.items() if name not in shared}
    return files_by_class


def _scan(data_dir, split):
    """Returns the paths of the image files by class name, both sorted, and all else as (path, reason)."""
    class_folders, files = _list_folder(_split_folder(data_dir, split))
    if not class_folders:
        raise UserError(
            f"The split folder {os.path.join(data_dir, split)!r} must hold one folder of images per class. "
            f"Received: no folder, {len(files)} files. Sort the images into one folder per class."
        )
    skipped = [(path, "not in a class folder") for path in files]
    files_by_class = {}
    for name, (folders, files) in sorted(_classes(class_folders)):
        files_by_class[name] = [path for path in files if path.lower().endswith(EXTENSIONS)]
        others = set(files).difference(files_by_class[name])
        skipped += [(path, "not the extension of an image") for path in others]
        skipped += [(path, "a folder inside a class folder") for path in folders]
    return files_by_class, skipped


def _classes(folders):
    for folder in folders:
        name, (inner_folders, files) = os.path.basename(folder), _list_folder(folder)
        if inner_folders and not files:
            for inner in inner_folders:
                yield f"{name}/{os.path.basename(inner)}", _list_folder(inner)
        else:
            yield name, (inner_folders, files)


def _split_folder(data_dir, split):
    found = _sub_folders(data_dir)
    if split not in found:
        shown = ", ".join(map(repr, found[:5])) or "no sub-folder"
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise UserError(
            f"The data folder must have the sub-folders 'train', 'val' and 'test', but {split!r} is missing. "
            f"Received: {os.fspath(data_dir)!r} with {shown}{more}. Make the folder or check the path."
        )
    return os.path.join(data_dir, split)


def _sub_folders(data_dir):
    if not os.path.isdir(data_dir):
        found = "is a file" if os.path.exists(data_dir) else "does not exist"
        raise UserError(
            "The data folder must be a folder with the sub-folders 'train', 'val' and 'test'. "
            f"Received: {os.fspath(data_dir)!r}, which {found}. Check the path."
        )
    return [os.path.basename(path) for path in _list_folder(data_dir)[0]]


def _list_folder(folder):
    """Returns the paths of the sub-folders and of all else in a folder, both sorted, none hidden."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise UserError(
            f"Every folder of images must be readable. Received: {os.fspath(folder)!r} ({error.strerror}). "
            "Change its permissions or move it away."
        ) from error
    names = [name for name in names if not name.startswith(".") and name.lower() != "thumbs.db"]
    paths = [os.path.join(folder, name) for name in names]
    folders = [path for path in paths if os.path.isdir(path)]
    return folders, sorted(set(paths).difference(folders))


def _hidden_folders(data_dir, split):
    with os.scandir(os.path.join(data_dir, split)) as entries:
        hidden = [entry.name for entry in entries if entry.name.startswith(".") and entry.is_dir()]
    return sorted(name for name in hidden if not name.lower().startswith(_JUNK))


def _report_left_out(split, skipped, empty_classes, hidden, strict):
    messages = []
    if hidden:
        messages.append(
            f"The names of class folders should not begin with a dot. Received: {', '.join(map(repr, hidden[:3]))}"
            f"{f' and {len(hidden) - 3} more' if len(hidden) > 3 else ''} in the split {split!r}."
        )
    if skipped:
        messages.append(
            f"The split {split!r} should hold readable images only. Received: {len(skipped)} other "
            f"entries, such as {_first_paths(skipped)}."
        )
    if empty_classes:
        messages.append(
            f"Each class of the split {split!r} should have a readable image. Received: {len(empty_classes)} "
            f"without, such as {', '.join(map(repr, empty_classes[:3]))}."
        )
    if strict and messages:
        raise UserError(" ".join(messages) + " Remove or mend them, or read without strict.")
    for message in messages:
        logging.warning("%s They are left out.", message)


def _first_paths(skipped):
    return ", ".join(f"{path!r} ({reason})" for path, reason in skipped[:3])


def _no_image_error(data_dir, split, skipped):
    return UserError(
        f"The split folder {os.path.join(data_dir, split)!r} must hold readable images. Received: none, but "
        f"{len(skipped)} other entries{': ' if skipped else ''}{_first_paths(skipped)}. Check the path."
    )
