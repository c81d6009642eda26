"""Lists of images and their labels: csv, tab-separated and JSON files."""

import csv
import dataclasses
import io
import json
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from dsl_tf.data.data_folder import split_named
from dsl_tf.data.formats.json_files import read_json
from dsl_tf.data.labelled_images import LabelledImages, alike_notes, same_class
from dsl_tf.data.listing import list_folder
from dsl_tf.data.skipped import Skipped
from dsl_tf.data.split import SPLITS
from dsl_tf.errors import UserError

WANTED = "a list with the columns file and label, and optionally split"
EXTENSIONS = (".csv", ".tsv", ".json", ".jsonl")
# Columns as people name them, in any case.
_COLUMNS = {
    "file": ("file", "filename", "file_name", "filepath", "file_path", "path", "image", "image_path"),
    "label": ("label", "class", "class_name", "category"),
    "split": ("split", "set", "subset", "partition"),
}
_DELIMITERS = ",;\t"
# Of JSON files that are only looked at. Annotations of other kinds may be far larger.
_MOST_BYTES = 2**26
_HEADER_BYTES = 2**16


class _Row(NamedTuple):
    """A line of a list."""

    place: str
    file: str
    label: str
    split: str


def find_lists(folder: str | os.PathLike[str]) -> list[pathlib.Path]:
    """Returns the files of a folder that are lists of images, sorted; never raises."""
    try:
        paths = sorted(path for path in pathlib.Path(folder).iterdir() if not path.name.startswith("."))
    except OSError:
        return []
    return [path for path in paths if path.suffix.lower() in EXTENSIONS and path.is_file() and _is_list(path)]


def _is_list(path: pathlib.Path) -> bool:
    try:
        if path.suffix.lower().startswith(".json"):
            return path.stat().st_size <= _MOST_BYTES and next(_json_rows(path), None) is not None
        with open(path, "rb") as file:
            start = file.read(_HEADER_BYTES)
        lines = start.decode(_encoding(start), "ignore").splitlines()
        return bool(lines) and _has_columns(next(csv.reader(lines[:1], delimiter=_delimiter(lines[0])), []))
    except (OSError, UserError, csv.Error):
        return False


def read_list(path: str | os.PathLike[str]) -> dict[str | None, LabelledImages]:
    """Reads a list of images.

    Paths are relative to the folder of the list. Images that are not there, and rows without a label, are skipped.

    Args:
        path: a csv file (also with semicolons or tabs), with a header; or a JSON file: a list of objects, one object
            from files to labels, or one object per line (`.jsonl`). Its columns are file, label and optionally split.

    Returns:
        A dict from `"train"`, `"val"` and `"test"`, or from None alone if the list says nothing about splits, to
        `LabelledImages`.

    Raises:
        UserError: if it cannot be read, a row is malformed, an image has two labels or splits, or no image is there.
    """
    path = pathlib.Path(path)
    rows = list(_json_rows(path) if path.suffix.lower().startswith(".json") else _csv_rows(path))
    has_splits = any(row.split for row in rows)
    listed: dict[str, tuple[_Row, str | None]] = {}
    skipped = []
    for row in rows:
        split = _split_of(row, path) if has_splits else None
        image = _image_path(path.parent, row.file)
        if not row.file or not row.label:
            skipped.append(Skipped(image if row.file else os.fspath(path), f"no {'label' if row.file else 'file'}"))
            continue
        earlier = listed.setdefault(image, (row, split))
        if (earlier[0].label, earlier[1]) != (row.label, split):
            received = f"{_said(earlier[0])} in {earlier[0].place} and {_said(row)} in {row.place}"
            raise _error(path, f"have one label and split for {row.file!r}", received, "Keep one of them.")
    present = {image: entry for image, entry in listed.items() if os.path.exists(image)}
    if not present:
        raise _nothing_there(path, [row.file for row, _ in listed.values()])
    skipped += [Skipped(image, "no such file") for image in listed if image not in present]
    by_split: dict[str | None, list[tuple[str, _Row]]] = {split: [] for split in (*SPLITS, None)}
    for image, (row, split) in present.items():
        by_split[split].append((image, row))
    found = {split: _labelled(path, images) for split, images in by_split.items() if images}
    first = next(iter(found))
    found[first] = dataclasses.replace(found[first], skipped=sorted(skipped))
    return found


def _nothing_there(path: pathlib.Path, names: list[str]) -> UserError:
    if not names:
        return _error(path, "name images that are there", "no name with a label", "Add images.")
    beside = [folder for folder in list_folder(path.parent).folders if os.path.exists(path.parent / folder / names[0])]
    advice = f"They are in {beside[0]!r}: write '{beside[0]}/' before each, or move the list there." if beside else ""
    advice = advice or "Write paths relative to the folder of the list, with the extension."
    received = f"{len(names):,} names, such as {names[0]!r}, and none is there"
    return _error(path, "name images that are there", received, advice)


def _labelled(path: pathlib.Path, images: list[tuple[str, _Row]]) -> LabelledImages:
    files: dict[str, list[str]] = {}
    name_of: dict[str, str] = {}
    for image, row in images:
        files.setdefault(name_of.setdefault(same_class(row.label), row.label), []).append(image)
    files = {name: sorted(files[name]) for name in sorted(files)}
    return LabelledImages(files, dict.fromkeys(files, os.fspath(path)), [], alike_notes(files))


def _said(row: _Row) -> str:
    return repr(row.label) + (f" of {row.split!r}" if row.split else "")


def _split_of(row: _Row, path: pathlib.Path) -> str:
    split = split_named(row.split)
    if split is None:
        raise _error(path, "have train, val or test as split", f"{row.split!r} in {row.place}", "Correct the file.")
    return split


def _image_path(folder: pathlib.Path, name: str) -> str:
    path = os.path.normpath(folder / name)
    # As Windows writes paths.
    if "\\" in name and not os.path.exists(path):
        return os.path.normpath(folder / name.replace("\\", "/"))
    return path


def _csv_rows(path: pathlib.Path) -> Iterator[_Row]:
    text = _text(path)
    lines = text.splitlines()
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(lines[0] if lines else ""), strict=True)
    try:
        rows = [(f"line {reader.line_num}", fields) for fields in reader if any(map(str.strip, fields))]
    except csv.Error as error:
        raise _error(path, "be csv", f"{error} in line {reader.line_num}", "Correct the file.") from None
    header = rows[0][1] if rows else []
    if not _has_columns(header):
        received = ", ".join(map(repr, header[:10])) or "no header"
        raise _error(path, f"be {WANTED}", received, "Add a first line such as 'file,label'.")
    columns = _positions(header)
    for place, fields in rows[1:]:
        if len(fields) != len(header):
            received = f"{len(fields)} values in {place} for the {len(header)} columns"
            raise _error(path, "have one value per column", received, "Quote values that hold the delimiter.")
        values = {name: fields[position].strip() for name, position in columns.items()}
        yield _Row(place, values["file"], values["label"], values.get("split", ""))


def _json_rows(path: pathlib.Path) -> Iterator[_Row]:
    content = _json_lines(path) if path.suffix.lower() == ".jsonl" else read_json(path)
    if isinstance(content, dict) and all(isinstance(value, (str, int)) for value in content.values()):
        content = [{"file": file, "label": label} for file, label in content.items()]
    if not isinstance(content, list) or not content:
        raise _error(path, f"be {WANTED}", f"a {type(content).__name__}", "Write a list of objects.")
    for number, entry in enumerate(content, start=1):
        place = f"entry {number}"
        keys = list(entry) if isinstance(entry, dict) else []
        if not _has_columns(keys):
            received = f"{', '.join(map(repr, keys[:10])) or type(entry).__name__} in {place}"
            raise _error(path, f"be {WANTED}", received, "Give each entry a file and a label.")
        values = {name: entry[keys[position]] for name, position in _positions(keys).items()}
        if any(isinstance(value, (bool, float, list, dict)) for value in values.values()):
            raise _error(path, "hold text or integers", f"another value in {place}", "Give each image one label.")
        text = {name: "" if value is None else str(value).strip() for name, value in values.items()}
        # JSON can spell half of a character, which no file can hold.
        label = text["label"].encode("utf-8", "backslashreplace").decode("utf-8")
        yield _Row(place, text["file"], label, text.get("split", ""))


def _json_lines(path: pathlib.Path) -> list[Any]:
    try:
        return [json.loads(line) for line in _text(path).splitlines() if line.strip()]
    except (ValueError, RecursionError) as error:
        raise _error(path, "have one JSON object per line", str(error), "Correct the file.") from None


def _positions(header: Sequence[str]) -> dict[str, int]:
    """The position of each column that is there: the first of its spellings."""
    names = [name.strip().lower() for name in header]
    found = {}
    for column, spellings in _COLUMNS.items():
        position = next((names.index(spelling) for spelling in spellings if spelling in names), None)
        if position is not None:
            found[column] = position
    return found


def _has_columns(header: Sequence[str]) -> bool:
    return {"file", "label"} <= set(_positions(header))


def _delimiter(line: str) -> str:
    return max(_DELIMITERS, key=line.count)


def _text(path: pathlib.Path) -> str:
    # Opening a named pipe would wait for ever.
    if not path.is_file():
        raise _error(path, "be a file", "none", "Check the path.")
    try:
        return _decoded(path, path.read_bytes())
    except OSError as error:
        raise _error(path, "be readable", error.strerror or "an error", "Change its permissions.") from None


def _decoded(path: pathlib.Path, content: bytes) -> str:
    try:
        return content.decode(_encoding(content))
    except UnicodeDecodeError as error:
        line = 1 + content[: error.start].count(b"\n")
        raise _error(path, "be UTF-8 text", f"other bytes in line {line}", "Save it as UTF-8.") from None


def _encoding(content: bytes) -> str:
    # Excel's "Unicode text" is UTF-16 with a byte order mark.
    return "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"


def _error(path: pathlib.Path, expected: str, received: str, advice: str) -> UserError:
    received = " ".join(received.split())[:200]
    return UserError(f"The list {os.fspath(path)!r} must {expected}. Received: {received}. {advice}")
