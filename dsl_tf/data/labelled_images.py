"""Images in one folder per class: which classes there are, and which files show them."""

import collections
import dataclasses
import os
import unicodedata
from collections.abc import Iterable

from dsl_tf.data.listing import Visit, walk
from dsl_tf.data.skipped import Skipped
from dsl_tf.errors import UserError

# As in Tiny ImageNet, where the images of a class are in class/images.
_IMAGES = "images"


@dataclasses.dataclass(frozen=True)
class LabelledImages:
    """The images of classes, and what is not one of them.

    Args:
        files: the paths of the images by class name, both sorted; a class may have none.
        folders: the path of the folder by class name.
        skipped: what is not read.
        notes: sentences about class names that look like mistakes.
    """

    files: dict[str, list[str]]
    folders: dict[str, str]
    skipped: list[Skipped]
    notes: list[str]


def find_labelled_images(folder: str | os.PathLike[str]) -> LabelledImages:
    """Finds the classes in a folder: the folders that hold image files, at any depth.

    A class below another folder is called `folder/class`. A class may keep its images in a folder `images`. No file
    is opened.

    Args:
        folder: the folder.

    Raises:
        UserError: if a folder cannot be read, or all images are in one folder `images` that belongs to no class.
    """
    found: list[tuple[str, Visit]] = []
    skipped: list[Skipped] = []
    inner_of_class = set()
    for visit in walk(folder):
        listing = visit.listing
        skipped += [*listing.skipped, *visit.circles]
        if not visit.parts:
            skipped += [Skipped(os.path.join(listing.path, name), "not in a class folder") for name in listing.images]
            continue
        if not listing.has_image and visit.folders:
            skipped += [Skipped(os.path.join(listing.path, name), "not a regular file") for name in listing.images]
            if [name.lower() for name in visit.folders] == [_IMAGES]:
                inner_of_class.add((*visit.parts, visit.folders[0]))
            continue
        reason = "a folder inside a class folder"
        skipped += [Skipped(os.path.join(listing.path, name), reason) for name in visit.folders]
        visit.folders.clear()
        parts = visit.parts[:-1] if visit.parts in inner_of_class else visit.parts
        found.append((readable("/".join(parts)), visit))
    found, doubles = _without_doubles(found)
    files, folders, notes = _joined(sorted(found, key=lambda pair: pair[0]))
    # As in Tiny ImageNet's val and test.
    if [name.lower() for name in files] == [_IMAGES]:
        raise UserError(
            f"{os.fspath(folder)!r} must hold one folder of images per class. Received: one folder "
            f"{next(iter(files))!r} alone, which names no class. "
            "Sort its images into class folders, or move it elsewhere."
        )
    return LabelledImages(files, folders, sorted(skipped + doubles), notes)


def same_class(name: str) -> str:
    """Returns what is equal for names that Unicode can spell in several ways (normalisation form C)."""
    return unicodedata.normalize("NFC", name)


def alike_notes(names: Iterable[str], others: Iterable[str] = ()) -> list[str]:
    """Returns a sentence about names that differ only by case or spaces at their ends, if there are any.

    Args:
        names: names of classes.
        others: further names; pairs among these alone do not count.
    """
    alike = collections.defaultdict(set)
    for name in names:
        alike[_alike(name)].add(name)
    for name in others:
        if _alike(name) in alike:
            alike[_alike(name)].add(name)
    groups = [sorted(group) for group in alike.values() if len({same_class(name) for name in group}) > 1]
    if not groups:
        return []
    shown = " and ".join(map(repr, groups[0]))
    count = f" {len(groups)} such groups of names." if len(groups) > 1 else ""
    return [f"The classes {shown} differ only by case or spaces: they count as different classes.{count}"]


def _alike(name: str) -> str:
    return "/".join(part.strip() for part in same_class(name).casefold().split("/"))


def readable(name: str) -> str:
    """Returns a name in Unicode: bytes that are not UTF-8 become \\x and two digits."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _without_doubles(found: list[tuple[str, Visit]]) -> tuple[list[tuple[str, Visit]], list[Skipped]]:
    """Keeps one of the classes that are, through links, the same folder: the one that is not a link, or the first."""
    by_folder = collections.defaultdict(list)
    for name, visit in found:
        by_folder[visit.real_path].append((name, visit))
    kept, doubles = [], []
    for real_path, same in by_folder.items():
        same.sort(key=lambda pair: (os.path.abspath(pair[1].listing.path) != real_path, pair[0]))
        kept.append(same[0])
        reason = f"the same folder as the class {same[0][0]!r}"
        doubles += [Skipped(visit.listing.path, reason) for _, visit in same[1:]]
    return kept, doubles


def _joined(found: list[tuple[str, Visit]]) -> tuple[dict[str, list[str]], dict[str, str], list[str]]:
    """Files and folders by class name; folders whose names are the same text in other code points are one class."""
    files: dict[str, list[str]] = {}
    folders: dict[str, str] = {}
    notes = []
    name_of: dict[str, str] = {}
    for name, visit in found:
        first = name_of.setdefault(same_class(name), name)
        if first in files:
            notes.append(
                f"The folders {folders[first]!r} and {visit.listing.path!r} have the same name in Unicode: they are "
                "read as one class."
            )
        paths = [os.path.join(visit.listing.path, file) for file in visit.listing.images]
        files[first] = files.get(first, []) + paths
        folders.setdefault(first, visit.listing.path)
    undecodable = [folder for folder in folders.values() if not _is_utf8(folder)]
    if undecodable:
        notes.append(
            f"{len(undecodable)} class folders have names that are not UTF-8, such as {undecodable[0]!r}: their bytes "
            "are written as \\x and two digits."
        )
    return files, folders, notes + alike_notes(files)


def _is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
