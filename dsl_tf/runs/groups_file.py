"""Reads the groups of classes, such as super-classes, within which episodes draw theirs."""

import csv
import io
import os
from collections.abc import Sequence

import numpy as np

from dsl_tf.data.labelled_images import same_class
from dsl_tf.errors import UserError
from dsl_tf.files import guarded, read_text


def read_groups(path: str | os.PathLike[str], class_names: Sequence[str]) -> np.ndarray:
    """Reads the group of each class.

    Args:
        path: a csv file with the header `class,group`, which may have classes of other splits too.
        class_names: the names of the classes.

    Returns:
        The groups, texts `[C]` in the order of the names.

    Raises:
        UserError: if the file cannot be read, or a class has no group or several.
    """
    expected = f"--class_groups={os.fspath(path)!r} must be a csv file with the header class,group, a group per class"
    try:
        reader = csv.DictReader(io.StringIO(read_text(path).removeprefix("\ufeff"), newline=""), strict=True)
        header = reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
        rows = [(row.get("class"), (row.get("group") or "").strip()) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"{expected}. Received: {reason}. Check the file.") from None
    if not {"class", "group"} <= set(header):
        raise UserError(f"{expected}. Received: the header {','.join(header)[:60]!r}. Correct the file.")
    group_of: dict[str, str] = {}
    for name, group in rows:
        if not name or not group:
            raise UserError(f"{expected}. Received: {group!r} for {name!r}. Correct the file.")
        if group_of.setdefault(same_class(name), group) != group:
            raise UserError(f"{expected}. Received: two groups for {name!r}. Keep one of them.")
    # A name that a spreadsheet would read as a formula is written with an apostrophe.
    found = [group_of.get(same_class(name), group_of.get(same_class(guarded(name)))) for name in class_names]
    if missing := [name for name, group in zip(class_names, found, strict=True) if group is None]:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise UserError(f"{expected}. Received: no group for {', '.join(map(repr, missing[:3]))}{more}. Add them.")
    return np.array(found)
