"""meta-iNat: the images of iNaturalist-2017 that have a bounding box, of 1,135 species, in two splits."""

import collections
import os
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from dsl_tf.data.class_lists import class_list
from dsl_tf.data.formats.json_files import read_json
from dsl_tf.data.formats.pickled import malformed
from dsl_tf.data.formats.required import in_words
from dsl_tf.data.raw import Format, RawSplit
from dsl_tf.errors import UserError

_BOXES = "train_2017_bboxes.json"
_IMAGES = "train_val_images"


def _has(folder: pathlib.Path) -> bool:
    return bool(_found(folder, _BOXES, os.path.isfile) or _found(folder, _IMAGES, os.path.isdir))


def _found(folder: pathlib.Path, name: str, exists: Callable[[pathlib.Path], bool]) -> list[pathlib.Path]:
    """The paths of a name: in a folder or, if it is not there, in the folders inside it."""
    candidates = [folder / name] if exists(folder / name) else sorted(folder.glob(f"*/{name}"))
    return [path for path in candidates if exists(path)]


def _read(folder: pathlib.Path) -> dict[str, RawSplit]:
    path = _only(folder, _BOXES, os.path.isfile)
    root = _only(folder, _IMAGES, os.path.isdir).parent
    content = read_json(path)
    names = _category_names(content, path)
    images = _images(content, path)
    return {
        split: _raw_split(categories, images, names, root, path)
        for split, categories in class_list("meta_inat").items()
    }


def _only(folder: pathlib.Path, name: str, exists: Callable[[pathlib.Path], bool]) -> pathlib.Path:
    found = _found(folder, name, exists)
    if len(found) != 1:
        received = in_words([os.fspath(path.parent) for path in found]) if found else "none"
        raise UserError(
            f"{os.fspath(folder)!r}, or one folder in it, must have {name!r}. Received: {received}. "
            f"Pass the folder that has {_BOXES} and {_IMAGES}."
        )
    return found[0]


def _category_names(content: Any, path: pathlib.Path) -> dict[int, str]:
    """The names of the published categories by id, with the supercategory if the name alone is ambiguous."""
    published = {category for categories in class_list("meta_inat").values() for category in categories}
    entries = {}
    for entry in _entries(content, "categories", {"id": int, "name": str, "supercategory": str}, path):
        if entry["id"] in published and entries.setdefault(entry["id"], entry) is not entry:
            raise malformed(path, "each category once", f"the category {entry['id']} twice")
    uses = collections.Counter(entry["name"] for entry in entries.values())
    names = {
        category: entry["name"] if uses[entry["name"]] == 1 else f"{entry['supercategory']}/{entry['name']}"
        for category, entry in entries.items()
    }
    if len(set(names.values())) < len(names):
        raise malformed(path, "different names of categories", "some that also share their supercategory")
    return names


def _images(content: Any, path: pathlib.Path) -> dict[int, list[str]]:
    """The file names of the images with a box, by category."""
    category_of = {}
    for box in _entries(content, "annotations", {"image_id": int, "category_id": int}, path):
        if category_of.setdefault(box["image_id"], box["category_id"]) != box["category_id"]:
            raise malformed(path, "boxes of one category in each image", f"two in the image {box['image_id']}")
    files = collections.defaultdict(list)
    seen = set()
    for image in _entries(content, "images", {"id": int, "file_name": str}, path):
        keys = {image["id"], image["file_name"]}
        if keys & seen:
            raise malformed(path, "each image once", f"the image {image['id']}, {image['file_name']!r}, twice")
        seen |= keys
        category = category_of.pop(image["id"], None)
        if category is not None:
            _check_file_name(image["file_name"], path)
            files[category].append(image["file_name"])
    if category_of:
        raise malformed(path, "the images of all its boxes", f"no image {next(iter(category_of))}")
    return files


def _entries(content: Any, key: str, fields: Mapping[str, type], path: pathlib.Path) -> list[dict[str, Any]]:
    entries = content.get(key) if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise malformed(path, f"an object with a list {key!r}", "none")
    for index, entry in enumerate(entries):
        # Of exactly these types: True is an int elsewhere.
        if not isinstance(entry, dict) or any(type(entry.get(field)) is not kind for field, kind in fields.items()):
            wanted = ", ".join(f"{field!r} ({kind.__name__})" for field, kind in fields.items())
            raise malformed(path, f"{key!r} with {wanted} each", f"another as number {index} of them")
    return entries


def _check_file_name(name: str, path: pathlib.Path) -> None:
    parts = name.split("/")
    if parts[0] != _IMAGES or len(parts) < 2 or {"", ".", ".."} & set(parts) or re.search(r"[\\:\0]", name):
        raise malformed(path, f"file names inside of {_IMAGES!r}", repr(name))


def _raw_split(
    categories: Sequence[int],
    images: Mapping[int, list[str]],
    names: Mapping[int, str],
    root: pathlib.Path,
    path: pathlib.Path,
) -> RawSplit:
    missing = [category for category in categories if category not in names or not images[category]]
    if missing:
        raise malformed(path, f"images of all {len(categories)} categories of a split", f"none of {in_words(missing)}")
    files = [name for category in categories for name in sorted(images[category])]
    labels = np.repeat(np.arange(len(categories), dtype=np.int32), [len(images[category]) for category in categories])

    def read(start: int) -> Iterator[tuple[str, pathlib.Path]]:
        for name in files[start:]:
            yield os.fspath(root / name), root / name

    return RawSplit(tuple(names[category] for category in categories), labels, read)


FORMATS = (Format("iNaturalist-2017 with its bounding boxes", f"{_BOXES} and the folder {_IMAGES}", _has, _read),)
