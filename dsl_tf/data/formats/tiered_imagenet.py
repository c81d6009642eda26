"""tiered-ImageNet: 608 classes of ImageNet, all of their training images."""

import pathlib
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from dsl_tf.data.class_lists import class_list
from dsl_tf.data.formats import imagenet
from dsl_tf.data.formats.class_folders import read_class_folders
from dsl_tf.data.formats.npz_images import find_images
from dsl_tf.data.formats.pickled import as_text, compacted, integers_of, malformed, read_dict, value_of
from dsl_tf.data.formats.required import check_classes, has_any, required_files
from dsl_tf.data.formats.unpickling import read_pickle
from dsl_tf.data.raw import Format, RawSplit
from dsl_tf.data.split import SPLITS

_SIDE = 84
_LABELS = {split: f"{split}_labels.pkl" for split in SPLITS}
_PNGS = {split: f"{split}_images_png.pkl" for split in SPLITS}
_ARRAYS = {split: f"{split}_images.npz" for split in SPLITS}
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Signature, then length and kind of the first chunk, then width and height.
_PNG_HEADER = struct.Struct(">8sI4sII")


def _has_pngs(folder: pathlib.Path) -> bool:
    return has_any(folder, _PNGS.values())


def _read_pngs(folder: pathlib.Path) -> dict[str, RawSplit]:
    paths, labels_paths = required_files(folder, _PNGS), required_files(folder, _LABELS)
    return {split: _png_split(split, paths[split], labels_paths[split]) for split in SPLITS}


def _png_split(split: str, path: pathlib.Path, labels_path: pathlib.Path) -> RawSplit:
    files = read_pickle(path)
    if not isinstance(files, list):
        raise malformed(path, "a list of PNG files", type(files).__name__)
    for row, file in enumerate(files):
        if not isinstance(file, bytes) and not _is_column_of_bytes(file):
            received = (
                f"{file.dtype} of shape {list(file.shape)}" if isinstance(file, np.ndarray) else type(file).__name__
            )
            raise malformed(path, "PNG files as bytes or arrays uint8 [n] or [n, 1]", f"{received} at position {row}")
    names, labels = _read_labels(split, labels_path, len(files))

    def read(start: int) -> Iterator[tuple[str, bytes]]:
        for row in range(start, len(files)):
            name = f"{path}[{row}]"
            yield name, _checked_png(bytes(files[row]), name)

    return RawSplit(names, labels, read)


def _is_column_of_bytes(file: object) -> bool:
    return isinstance(file, np.ndarray) and file.dtype == np.uint8 and file.shape in ((file.size,), (file.size, 1))


def _checked_png(content: bytes, name: str) -> bytes:
    expected = (_PNG_SIGNATURE, b"IHDR", _SIDE, _SIDE)
    received = None
    if len(content) >= _PNG_HEADER.size:
        signature, _, kind, width, height = _PNG_HEADER.unpack_from(content)
        received = signature, kind, width, height
    if received != expected:
        shown = f"wrong sizes: {width}×{height}" if received and received[:2] == expected[:2] else "not a PNG file"
        raise malformed(name, f"a PNG file of {_SIDE}×{_SIDE} pixels", shown)
    return content


def _has_arrays(folder: pathlib.Path) -> bool:
    return has_any(folder, [*_ARRAYS.values(), *_LABELS.values()])


def _read_arrays(folder: pathlib.Path) -> dict[str, RawSplit]:
    paths, labels_paths = required_files(folder, _ARRAYS), required_files(folder, _LABELS)
    return {split: _array_split(split, paths[split], labels_paths[split]) for split in SPLITS}


def _array_split(split: str, path: pathlib.Path, labels_path: pathlib.Path) -> RawSplit:
    images = find_images(path, "images", _SIDE)
    names, labels = _read_labels(split, labels_path, len(images))

    def read(start: int) -> Iterator[tuple[str, np.ndarray]]:
        for row, image in enumerate(images.read(start), start):
            # These files were made by OpenCV, whose order is blue, green, red.
            yield f"{path}[{row}]", np.ascontiguousarray(image[..., ::-1])

    return RawSplit(names, labels, read)


def _read_labels(split: str, path: pathlib.Path, count: int) -> tuple[tuple[str, ...] | None, np.ndarray]:
    """The names of the classes, None if the file does not name each, and the labels."""
    published = class_list("tiered_imagenet")[split]
    values = read_dict(path)
    key = "label_specific" if "label_specific" in values else "labels"
    labels = integers_of(value_of(values, key, path), path, count)
    distinct, labels = compacted(labels, len(published), path)
    names = _class_names(values.get("label_specific_str"), labels, len(distinct))
    if names and all(map(imagenet.is_class_id, names)):
        check_classes(names, published, path)
    return names, labels


def _class_names(names: Any, labels: np.ndarray, class_count: int) -> tuple[str, ...] | None:
    """Names by label from a list with one for each class or one for each image; None if that is not possible."""
    names = [as_text(name) for name in names] if isinstance(names, list) else []
    if len(names) == len(labels) != class_count:
        of_labels = set(zip(labels.tolist(), names))
        names = [name for _, name in sorted(of_labels, key=lambda pair: pair[0])]
    if None in names or len(names) != class_count or len(set(names)) != class_count:
        return None
    return tuple(names)


def _has_classes(folder: pathlib.Path) -> bool:
    return imagenet.has_folders(folder) or imagenet.has_tars(folder)


def _read_classes(folder: pathlib.Path) -> dict[str, RawSplit]:
    classes = class_list("tiered_imagenet")
    if imagenet.has_class_folders(folder) or not imagenet.has_tars(folder):
        return read_class_folders(imagenet.published_folders(folder, classes))
    images = imagenet.class_images(folder, sum(classes.values(), ()))
    return {split: _all_images({name: images[name] for name in classes[split]}) for split in SPLITS}


def _all_images(images: Mapping[str, imagenet.ClassImages]) -> RawSplit:
    counts = [len(class_images.names) for class_images in images.values()]
    positions = np.concatenate([np.arange(count) for count in counts])
    return imagenet.pick(images, np.repeat(np.arange(len(counts)), counts), positions.tolist())


FORMATS = (
    Format(
        "pickled PNG files",
        f"{', '.join(_PNGS.values())} and {', '.join(_LABELS.values())}",
        _has_pngs,
        _read_pngs,
    ),
    Format(
        "NumPy arrays",
        f"{', '.join(_ARRAYS.values())} and {', '.join(_LABELS.values())}",
        _has_arrays,
        _read_arrays,
    ),
    Format(
        "class folders or ImageNet's training images",
        f"train, val and test with class folders (n01530575), or {imagenet.FILES}",
        _has_classes,
        _read_classes,
    ),
)
