"""What is skipped of a user's images and why: counted on the screen, listed in a file."""

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from dsl_tf.files import guarded, write_csv

SKIPPED_FILE = "skipped_images.csv"
_SHOWN = 3


class Skipped(NamedTuple):
    """A file or folder that is not read.

    Args:
        path: where it is.
        reason: why, in a few words.
        expected: whether nobody needs to be warned of it, such as a file that a system leaves behind.
    """

    path: str
    reason: str
    expected: bool = False


def examples(skipped: Sequence[Skipped]) -> str:
    """Returns the first three in words, and how many there are if more."""
    shown = ", ".join(f"{path!r} ({reason})" for path, reason, _ in skipped[:_SHOWN])
    return shown + (f" and {len(skipped) - _SHOWN:,} more" if len(skipped) > _SHOWN else "")


def unexpected(skipped: Iterable[Skipped]) -> list[Skipped]:
    """Returns those that a user should hear of."""
    return [entry for entry in skipped if not entry.expected]


def write_skipped(skipped_by_split: Mapping[str, Iterable[Skipped]], path: str | os.PathLike[str]) -> None:
    """Writes a csv file with the header `split,path,reason`, whole or not at all.

    Args:
        skipped_by_split: what was skipped, by the name of the split.
        path: the file, replaced if there is one.

    Raises:
        OSError: if it cannot be written.
    """
    rows = [
        [split, _place(entry.path), guarded(entry.reason)]
        for split, skipped in skipped_by_split.items()
        for entry in skipped
    ]
    write_csv(path, [["split", "path", "reason"], *rows])


def _place(path: str) -> str:
    # What is inside an archive has a name, but no path.
    return os.path.abspath(path) if os.path.lexists(path) else guarded(path)
