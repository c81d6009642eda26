"""The file of a run that says which classes form which split."""

import csv
import io
import os
import pathlib
from collections.abc import Mapping, Sequence

from dsl_tf.data.formats.class_split import read_class_split
from dsl_tf.data.labelled_images import same_class
from dsl_tf.data.split import SPLITS
from dsl_tf.errors import UserError
from dsl_tf.files import guarded, read_text, write_csv

CLASS_SPLIT_FILE = "class_split.csv"
_HEADER = ["class", "split"]


def write_division(classes: Mapping[str, Sequence[str]], path: str | os.PathLike[str]) -> None:
    """Writes a csv file with the header `class,split`, whole or not at all.

    Args:
        classes: the names of classes, by split.
        path: the file, replaced if there is one.

    Raises:
        OSError: if it cannot be written.
    """
    write_csv(path, [_HEADER, *([guarded(name), split] for split, names in classes.items() for name in names)])


def read_division(path: str | os.PathLike[str], names: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Divides classes as a file says.

    Args:
        path: a csv file as `write_division` makes it, or a JSON file as `read_class_split` takes it.
        names: the names of the classes.

    Returns:
        A dict from `"train"`, `"val"` and `"test"`, those with classes only, to sorted names; and the names that are
        not in the file.

    Raises:
        UserError: if the file cannot be read, or has none of the classes.
    """
    if pathlib.Path(path).suffix.lower() == ".json":
        listed = read_class_split(path)
        split_of = {same_class(str(name)): split for split, of_split in listed.items() for name in of_split}
    else:
        split_of = read_split_column(path, "class")
    found = {name: split_listed(name, split_of) for name in names}
    classes = {split: sorted(name for name in names if found[name] == split) for split in SPLITS}
    if not any(classes.values()):
        raise UserError(
            f"--class_split={os.fspath(path)!r} must list the classes of the data. Received: none of the {len(names)}, "
            f"such as {names[0]!r}. Check both paths."
        )
    return {split: of for split, of in classes.items() if of}, [name for name in names if found[name] is None]


def split_listed(name: str, split_of: Mapping[str, str]) -> str | None:
    """Returns the split of a name in what `read_split_column` returned; None if it is not there."""
    # A name that a spreadsheet would read as a formula is written with an apostrophe.
    return split_of.get(same_class(name), split_of.get(same_class(guarded(name))))


def read_split_column(path: str | os.PathLike[str], column: str) -> dict[str, str]:
    """Reads which split each name belongs to.

    Args:
        path: a csv file.
        column: the header of the column of names, such as `"class"`, beside `"split"`. Others are ignored.

    Returns:
        A dict from names, as `same_class` returns them, to splits.

    Raises:
        UserError: if the file cannot be read, or a name has no split or two.
    """
    expected = (
        f"--class_split={os.fspath(path)!r} must be a csv file with the header {column},split and a split per {column}"
    )
    try:
        reader = csv.DictReader(io.StringIO(read_text(path).removeprefix("\ufeff"), newline=""), strict=True)
        reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
        rows = [(row.get(column), (row.get("split") or "").strip().lower()) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{expected}. Received: {reason}. Check the file.") from None
    split_of: dict[str, str] = {}
    for name, split in rows:
        if name is None or split not in SPLITS:
            raise UserError(f"{expected}: train, val or test. Received: {split!r} for {name!r}. Correct the file.")
        if split_of.setdefault(same_class(name), split) != split:
            raise UserError(f"{expected}. Received: two splits for {name!r}. Keep one of them.")
    return split_of
