"""The folder that a user named: whether it is one, what is in it, and which folder near it would do."""

import collections
import contextlib
import difflib
import itertools
import os
import pathlib
from collections.abc import Callable

from dsl_tf.data.listing import list_folder
from dsl_tf.errors import UserError

# Splits as people name them, in any case.
_SPELLINGS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
_LEVELS_ABOVE, _LEVELS_BELOW, _MOST_FOLDERS = 2, 2, 500
_SHOWN = 5
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")


def check_data_dir(data_dir: str | os.PathLike[str], wanted: str, *fits: Callable[[pathlib.Path], bool]) -> None:
    """Checks that a folder is there.

    Args:
        data_dir: the folder.
        wanted: what it must hold, in a few words.
        *fits: whether a folder holds that, as in `no_data_error`.

    Raises:
        UserError: if it is not; it says what is there, and which folder near it would do.
    """
    path = pathlib.Path(data_dir)
    if path.is_dir():
        return
    above = pathlib.Path(os.path.abspath(path)).parents
    near: pathlib.Path | None = None
    advice = "Check the path."
    if not os.path.exists(path):
        found = "does not exist"
        near = _similar(above[0], path.name)
    elif path.name.lower().endswith(_ARCHIVES):
        found, advice = "is an archive", "Extract it and give the folder."
    else:
        found = "is a file"
        folders = above[: _LEVELS_ABOVE + 1]
        near = next((folder for test in fits for folder in folders if _fits(folder, test)), None)
    advice = f"Try --data_dir={os.fspath(near)!r}." if near else advice
    raise UserError(
        f"--data_dir must be a folder with {wanted}. Received: {os.fspath(data_dir)!r}, which {found}. {advice}"
    )


def _similar(folder: pathlib.Path, name: str) -> pathlib.Path | None:
    """The folder in a folder with nearly the same name, if there is one."""
    with contextlib.suppress(UserError):
        names = {entry.lower(): entry for entry in list_folder(folder).folders}
        return next((folder / names[match] for match in difflib.get_close_matches(name.lower(), names, 1)), None)
    return None


def find_split_folders(folder: str | os.PathLike[str]) -> dict[str, pathlib.Path]:
    """Finds the folders of splits: train, val and test, or what else people call them, in any case.

    Args:
        folder: the folder that holds them.

    Returns:
        A dict from `"train"`, `"val"` and `"test"`, as far as they are there, to the folder.

    Raises:
        UserError: if the folder cannot be read, or two folders stand for one split and neither has its very name.
    """
    found = {}
    for split, names in _named_as_splits(folder).items():
        if len(names) > 1:
            raise UserError(
                f"{os.fspath(folder)!r} must have one folder for the split {split!r}. Received: "
                f"{' and '.join(map(repr, names))}. Keep one of them there and move the others."
            )
        if names:
            found[split] = pathlib.Path(folder) / names[0]
    return found


def has_split_folders(folder: str | os.PathLike[str]) -> bool:
    """Returns whether a folder has one for any of the splits; never raises."""
    with contextlib.suppress(UserError):
        return any(_named_as_splits(folder).values())
    return False


def split_named(name: str) -> str | None:
    """Returns the split that people may mean by a name, in any case; None if there is none."""
    meant = name.strip().lower()
    return next((split for split, spellings in _SPELLINGS.items() if meant in spellings), None)


def _named_as_splits(folder: str | os.PathLike[str]) -> dict[str, list[str]]:
    """The names of the folders that may be meant for each split; one of its very name leaves no doubt."""
    names = list_folder(folder).folders
    meant = {split: [name for name in names if split_named(name) == split] for split in _SPELLINGS}
    return {split: [split] if split in names else named for split, named in meant.items()}


def unused_folders_note(folder: str | os.PathLike[str]) -> str | None:
    """Returns a sentence about folders beside those of the splits, if one of them may be a split that is missing."""
    found = find_split_folders(folder)
    used = {path.name for path in found.values()}
    unused = [name for name in list_folder(folder).folders if name not in used]
    spellings = itertools.chain.from_iterable(_SPELLINGS.values())
    if not unused or (len(found) == len(_SPELLINGS) and not set(map(str.lower, unused)) & set(spellings)):
        return None
    more = f" and {len(unused) - _SHOWN:,} more" if len(unused) > _SHOWN else ""
    return (
        f"{os.fspath(folder)!r} also holds {', '.join(map(repr, unused[:_SHOWN]))}{more}, which are not read: splits "
        "are the folders train, val (or valid, validation) and test. Rename a folder if it is one of them."
    )


def no_data_error(
    folder: str | os.PathLike[str], wanted: str, *fits: Callable[[pathlib.Path], bool], advice: str = "Check the path."
) -> UserError:
    """Makes the error about a folder that does not hold what it should.

    Args:
        folder: the folder.
        wanted: what it must hold, in a few words.
        *fits: whether a folder holds that; a later one counts only if no folder near is right by an earlier one.
        advice: a sentence for a folder with nothing near.

    Returns:
        A `UserError` that says what is there, and which folder above or below would do.
    """
    found = f"{described(folder)}. {suggestion(folder, *fits, advice=advice)}"
    return UserError(f"--data_dir={os.fspath(folder)!r} must hold {wanted}. Received: {found}")


def suggestion(folder: str | os.PathLike[str], *fits: Callable[[pathlib.Path], bool], advice: str) -> str:
    """Returns a sentence that names the folder above or below that fits, or else an advice; see `no_data_error`."""
    near = next(filter(None, (_nearest(pathlib.Path(folder), test) for test in fits)), None)
    return f"Try --data_dir={os.fspath(near)!r}." if near else advice


def described(folder: str | os.PathLike[str]) -> str:
    """Returns what is in a folder, such as "2 folders ('cat', 'dog') and 1 image ('a.png')"."""
    listing = list_folder(folder)
    others = [os.path.basename(entry.path) for entry in listing.skipped if not entry.expected]
    kinds = {"folder": listing.folders, "image": listing.images, "other file": others}
    parts = []
    for kind, names in kinds.items():
        if names:
            more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
            shown = f"{', '.join(map(repr, names[:_SHOWN]))}{more}"
            parts.append(f"{len(names):,} {kind}{'s' if len(names) > 1 else ''} ({shown})")
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]])) or "an empty folder"


def _nearest(folder: pathlib.Path, fits: Callable[[pathlib.Path], bool]) -> pathlib.Path | None:
    """The first folder that fits among those below, level by level, and then those above."""
    waiting = collections.deque([(folder, 0)])
    looked_at = 0
    while waiting and looked_at < _MOST_FOLDERS:
        path, level = waiting.popleft()
        looked_at += 1
        if level and _fits(path, fits):
            return path
        if level < _LEVELS_BELOW:
            with contextlib.suppress(UserError):
                waiting += [(path / name, level + 1) for name in list_folder(path).folders]
    above = pathlib.Path(os.path.abspath(folder)).parents
    return next((path for path in above[:_LEVELS_ABOVE] if _fits(path, fits)), None)


def _fits(path: pathlib.Path, fits: Callable[[pathlib.Path], bool]) -> bool:
    # A folder that is nearly right, or that cannot be read.
    with contextlib.suppress(UserError, OSError):
        return fits(path)
    return False
