"""The files and classes that a format must have; a user can add whatever is missing."""

import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence

from dsl_tf.data.data_folder import described, suggestion
from dsl_tf.errors import UserError

_SHOWN = 3


def has_any(folder: pathlib.Path, names: Iterable[str]) -> bool:
    """Returns whether one of some files is in a folder.

    Args:
        folder: the folder, a `pathlib.Path`.
        names: the names of the files.
    """
    return any(os.path.isfile(folder / name) for name in names)


def required_files(folder: pathlib.Path, names: Mapping[str, str]) -> dict[str, pathlib.Path]:
    """Finds files that only work together.

    Args:
        folder: the folder, a `pathlib.Path`.
        names: a dict from split to the name of its file.

    Returns:
        A dict from split to the path of its file.

    Raises:
        UserError: if one is missing.
    """
    missing = [name for name in names.values() if not os.path.isfile(folder / name)]
    if missing:
        advice = "Add the missing files, or pass the folder that has all of them."
        raise UserError(
            f"{in_words(list(names.values()))} must be in one folder. Received: {os.fspath(folder)!r} without "
            f"{in_words(missing)}, but with {described(folder)}. "
            + suggestion(
                folder, lambda near: all(os.path.isfile(near / name) for name in names.values()), advice=advice
            )
        )
    return {split: folder / name for split, name in names.items()}


def check_classes(received: Sequence[str], published: Sequence[str], where: str | os.PathLike[str]) -> None:
    """Checks that the classes of a split are the published ones.

    Args:
        received: the names of the classes.
        published: the names that they must have, in any order.
        where: the file or folder that has them, for the message.

    Raises:
        UserError: if classes are missing or not published.
    """
    received_set, published_set = set(received), set(published)
    missing = [name for name in published if name not in received_set]
    others = [name for name in received if name not in published_set]
    faults = [
        f"{in_words(names)} {fault}" for names, fault in ((missing, "missing"), (others, "not among them")) if names
    ]
    if faults:
        raise UserError(
            f"{os.fspath(where)!r} must have the {len(published)} published classes. Received: "
            f"{' and '.join(faults)}. Download the whole data set again."
        )


def in_words(names: Sequence[object]) -> str:
    """Returns the first three of some names, quoted, and how many there are if more.

    Args:
        names: the names, in a sequence.
    """
    quoted = [repr(name) for name in names[:_SHOWN]]
    if len(names) > _SHOWN:
        return f"{', '.join(quoted)} and {len(names) - _SHOWN} more"
    return " and ".join(filter(None, [", ".join(quoted[:-1]), quoted[-1]]))
