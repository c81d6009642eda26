"""What is in a folder of images: the one listing for training, prediction and every format with class folders."""

import dataclasses
import os
from collections.abc import Callable, Iterator

from dsl_tf.data.image_kinds import is_image_name, reason_of_name
from dsl_tf.data.skipped import Skipped
from dsl_tf.errors import UserError

# What systems and programs leave beside images, in lower case. It is listed, but nobody is warned of it.
SYSTEM_FOLDERS = (
    *("__macosx", "@eadir", "@recycle", "@tmp", "#recycle", "#snapshot", "@recently-snapshot", "$recycle.bin"),
    *("system volume information", "lost+found", "__pycache__", "network trash folder", "temporary items"),
)
_SYSTEM_FILES = ("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "folder.htt", "picasa.ini", "icon\r")
# Hidden folders of this kind, with whatever follows; any other may be a class that somebody misnamed.
_HIDDEN_SYSTEM_FOLDERS = (
    *(".@__thumb", ".appledouble", ".cache", ".documentrevisions", ".dropbox", ".fseventsd", ".git", ".hg", ".idea"),
    *(".ipynb_checkpoints", ".picasaoriginals", ".snapshot", ".spotlight-v100", ".stfolder", ".stversions", ".svn"),
    *(".sync", ".temporaryitems", ".thumbnails", ".tmp", ".trash", ".venv", ".vscode", ".zfs"),
)


@dataclasses.dataclass(frozen=True)
class Listing:
    """The entries of a folder that are not skipped, and those that are.

    Args:
        path: the folder.
        folders: the names of its folders, sorted; links to folders are folders.
        images: the names of its files that have the extension of an image, sorted.
        has_image: whether one of these is a regular file, and not a broken link or a named pipe.
        skipped: all else, sorted.
    """

    path: str
    folders: tuple[str, ...]
    images: tuple[str, ...]
    has_image: bool
    skipped: tuple[Skipped, ...]


def list_folder(folder: str | os.PathLike[str]) -> Listing:
    """Lists a folder, by names and kinds of entries alone: no file is opened.

    Hidden and system files and folders are skipped, and so are files without the extension of an image.

    Args:
        folder: the folder.

    Raises:
        UserError: if it cannot be read.
    """
    path = os.fspath(folder)
    try:
        with os.scandir(path) as entries:
            found = sorted((entry.name, _is(entry.is_dir), _is(entry.is_file)) for entry in entries)
    except OSError as error:
        raise UserError(
            f"Every folder of images must be readable. Received: {path!r} ({error.strerror}). "
            "Check the path and the permissions."
        ) from error
    folders, images, skipped, has_image = [], [], [], False
    for name, is_folder, is_file in found:
        if reason := _hidden_reason(name, is_folder):
            skipped.append(Skipped(os.path.join(path, name), reason, expected=not _may_be_a_class(name, is_folder)))
        elif is_folder:
            folders.append(name)
        elif is_image_name(name):
            images.append(name)
            has_image |= is_file
        else:
            reason = reason_of_name(name) if is_file else "not a regular file"
            skipped.append(Skipped(os.path.join(path, name), reason))
    return Listing(path, tuple(folders), tuple(images), has_image, tuple(skipped))


@dataclasses.dataclass(frozen=True)
class Visit:
    """A folder that `walk` has come to.

    Args:
        parts: the names that lead there from the folder it started in.
        real_path: its path without links.
        listing: its entries.
        folders: the names of the folders to go into next; whoever walks may remove some, as with `os.walk`.
        circles: links to a folder that holds them, which are never followed.
    """

    parts: tuple[str, ...]
    real_path: str
    listing: Listing
    folders: list[str]
    circles: tuple[Skipped, ...]


def walk(folder: str | os.PathLike[str]) -> Iterator[Visit]:
    """Goes through a folder and all folders in it, each before those in it, in the order of their names.

    Raises:
        UserError: if a folder cannot be read.
    """
    start = os.fspath(folder)
    # The path, the names that lead there, and the paths without links of the folder itself and those gone through.
    waiting: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = [(start, (), (os.path.realpath(start),))]
    while waiting:
        path, parts, above = waiting.pop()
        listing = list_folder(path)
        real = {}
        for name in listing.folders:
            inner = os.path.join(path, name)
            real[name] = os.path.realpath(inner) if os.path.islink(inner) else os.path.join(above[-1], name)
        circles = [name for name in listing.folders if _holds(real[name], above)]
        skipped = tuple(Skipped(os.path.join(path, name), "a link to a folder that holds it") for name in circles)
        visit = Visit(parts, above[-1], listing, [name for name in listing.folders if name not in circles], skipped)
        yield visit
        waiting += [
            (os.path.join(path, name), (*parts, name), (*above, real[name])) for name in reversed(visit.folders)
        ]


def _holds(target: str, above: tuple[str, ...]) -> bool:
    return any(os.path.join(folder, "").startswith(os.path.join(target, "")) for folder in above)


def _is(kind: Callable[[], bool]) -> bool:
    try:
        return kind()
    # A link to itself, for one.
    except OSError:
        return False


def _hidden_reason(name: str, is_folder: bool) -> str | None:
    lower = name.lower()
    if lower in (SYSTEM_FOLDERS if is_folder else _SYSTEM_FILES):
        return "a system folder" if is_folder else "a system file"
    if name.startswith("."):
        return "a hidden folder" if is_folder else "a hidden file"
    return None


def _may_be_a_class(name: str, is_folder: bool) -> bool:
    lower = name.lower()
    return is_folder and lower not in SYSTEM_FOLDERS and not lower.startswith(_HIDDEN_SYSTEM_FOLDERS)
