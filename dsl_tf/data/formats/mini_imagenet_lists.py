"""The csv files that list the images of mini-ImageNet."""

import csv
import io
import os
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from dsl_tf.data.class_lists import class_list
from dsl_tf.data.formats.required import check_classes
from dsl_tf.data.image_kinds import EXTENSIONS
from dsl_tf.errors import UserError

_HEADER = ["filename", "label"]
_NAME = re.compile("(n[0-9]{8})([0-9]{1,9})")


class ListedImage(NamedTuple):
    """An image in a list.

    Args:
        name: the name of its file, such as `n0153282900000005.jpg`.
        class_id: its class.
        number: its position, from 1, in ImageNet's training images of the class.
        line: the line that lists it.
    """

    name: str
    class_id: str
    number: int
    line: int


def read_lists(paths: Mapping[str, pathlib.Path]) -> dict[str, list[ListedImage]]:
    """Reads the lists of the splits.

    Args:
        paths: a dict from split to csv file, with the header `filename,label`.

    Returns:
        A dict from split to a list of `ListedImage`, in the order of the file.

    Raises:
        UserError: if a file is malformed, an image is listed twice, or the classes are not the published ones.
    """
    seen = set()
    lists = {split: list(_read_list(path, seen)) for split, path in paths.items()}
    for split, path in paths.items():
        check_classes(
            list(dict.fromkeys(row.class_id for row in lists[split])), class_list("mini_imagenet")[split], path
        )
    return lists


def _read_list(path: pathlib.Path, seen: set[tuple[str, int]]) -> Iterator[ListedImage]:
    reader = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    try:
        rows = [(reader.line_num, fields) for fields in reader if any(map(str.strip, fields))]
    except csv.Error as error:
        raise _line_error(reader.line_num, path, "be csv", str(error)) from error
    line, header = rows[0] if rows else (1, [])
    if [field.strip().lower() for field in header] != _HEADER:
        raise _line_error(line, path, "be the header 'filename,label'", ",".join(header))
    for line, fields in rows[1:]:
        name, label = fields if len(fields) == 2 else ("", "")
        stem, extension = os.path.splitext(name)
        match = _NAME.fullmatch(stem)
        if match is None or extension.lower() not in EXTENSIONS or match[1] != label:
            expected = "name an image and its class, such as 'n0153282900000005.jpg,n01532829'"
            raise _line_error(line, path, expected, ",".join(fields))
        image = ListedImage(name, label, int(match[2]), line)
        if image[1:3] in seen:
            raise _line_error(line, path, "name an image that no other line names", name)
        seen.add(image[1:3])
        yield image


def _text(path: pathlib.Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(
            f"{os.fspath(path)!r} must be readable. Received: {error.strerror}. Change its permissions."
        ) from error
    except UnicodeDecodeError as error:
        line = 1 + error.object[: error.start].count(b"\n")
        raise _line_error(line, path, "be UTF-8 text", repr(error.object[error.start : error.start + 1])) from error


def _line_error(line: int, path: pathlib.Path, expected: str, received: str) -> UserError:
    return UserError(
        f"Line {line} of {os.fspath(path)!r} must {expected}. Received: {received[:80]!r}. Download the file again."
    )
