"""Reads features from tables: csv and Parquet files, Arrow files, and the folders of saved Hugging Face datasets."""

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dsl_tf.data.data_folder import split_named
from dsl_tf.errors import UserError
from dsl_tf.files import check_regular, read_text

TABLES = (".csv", ".parquet", ".arrow")
# The names that a column, or a feature of a record, may have.
LABELS, FILES = ("labels", "label"), ("files", "file", "file_name", "path")
_SPLIT = "split"
_STATE, _SPLITS = "state.json", "dataset_dict.json"
_SHOWN = 200


def table_arrays(path: str) -> dict[str, np.ndarray]:
    """Reads a csv, Parquet or Arrow file, with a row per image.

    Args:
        path: its columns are `labels` or `label`; `features` with a list of floats, or one column of numbers per
            dimension; and, if there are, `files` and `split` (`train`, whose mean is that for cl2, `val`, `test`).

    Raises:
        UserError: if it has other columns.
    """
    import pyarrow.csv
    import pyarrow.parquet

    suffix = pathlib.PurePath(path).suffix.lower()
    if suffix == ".csv":
        table = pyarrow.csv.read_csv(path)
    elif suffix == ".parquet":
        # As a plain file: with the path, folders named like a=b would become columns.
        with open(path, "rb") as file:
            table = pyarrow.parquet.read_table(file)
    else:
        table = _read_arrow([path])
    if _SPLIT not in table.column_names:
        return _of_table(table)
    splits = [split_named(str(name)) for name in table.column(_SPLIT).to_pylist()]
    if unknown := {str(name) for name, split in zip(table.column(_SPLIT).to_pylist(), splits) if split is None}:
        raise UserError(f"its column split must hold train, val or test. Received: {sorted(unknown)[0]!r}.")
    rows = {split: [row for row, of in enumerate(splits) if of == split] for split in ("train", "val", "test")}
    table = table.drop_columns([_SPLIT])
    return _of_splits({split: _of_table(table.take(of)) for split, of in rows.items() if of})


def dataset_arrays(folder: str) -> dict[str, np.ndarray]:
    """Reads a dataset that Hugging Face's `datasets` saved with `save_to_disk`, columns as in `table_arrays`.

    Args:
        folder: of a `Dataset`, or of a `DatasetDict` with the splits train, val and test.

    Raises:
        UserError: if it is none.
    """
    if os.path.exists(os.path.join(folder, _SPLITS)):
        names = json.loads(read_text(os.path.join(folder, _SPLITS)))["splits"]
        found = {split_named(str(name)): str(name) for name in names}
        if None in found:
            raise UserError(f"its splits must be train, val or test. Received: {', '.join(names)}.")
        return _of_splits({str(split): _of_dataset(os.path.join(folder, name)) for split, name in found.items()})
    return _of_dataset(folder)


def _of_dataset(folder: str) -> dict[str, np.ndarray]:
    if not os.path.exists(os.path.join(folder, _STATE)):
        entries = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        raise UserError(
            f"a folder must be a dataset that `datasets` saved with save_to_disk, with {_STATE}. Received: "
            f"{', '.join(map(repr, entries[:5]))[:_SHOWN] or 'an empty folder'} in {folder!r}."
        )
    state = json.loads(read_text(os.path.join(folder, _STATE)))
    if state.get("_indices_data_files"):
        raise UserError("its rows are chosen by indices. Save it again after `dataset.flatten_indices()`.")
    # Names alone: a file elsewhere is none of the dataset's.
    files = [os.path.join(folder, os.path.basename(file["filename"])) for file in state["_data_files"]]
    return _of_table(_read_arrow(files))


def _read_arrow(paths: Sequence[str]) -> Any:
    import pyarrow as pa

    tables = []
    for path in paths:
        check_regular(path)
        with pa.memory_map(path) as source:
            try:
                tables.append(pa.ipc.open_stream(source).read_all())
            except pa.ArrowInvalid:
                source.seek(0)
                tables.append(pa.ipc.open_file(source).read_all())
    return pa.concat_tables(tables)


def _of_splits(arrays: Mapping[str, dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Joins splits: features are those of test, or of the only one; the mean is that of train."""
    measured = "test" if "test" in arrays else next(iter(arrays))
    if measured != "test" and len(arrays) > 1:
        raise UserError(f"it must have the split test, or one split alone. Received: {', '.join(arrays)}.")
    found = dict(arrays[measured])
    if "val" in arrays and measured != "val":
        found |= {f"val_{name}": arrays["val"][name] for name in ("features", "labels")}
    if "train" in arrays and measured != "train":
        found["mean"] = arrays["train"]["features"].mean(axis=0, dtype=np.float64)
    return found


def _of_table(table: Any) -> dict[str, np.ndarray]:
    # Offsets of a damaged file may point anywhere in memory.
    table.validate(full=True)
    names = list(table.column_names)
    labels = next((name for name in LABELS if name in names), None)
    if labels is None:
        raise UserError(f"it must have a column labels or label. Received: {_columns(table)}.")
    arrays = {"labels": _values(table, labels)}
    if len(set(names)) < len(names):
        raise UserError(f"its columns must have different names. Received: {_columns(table)}.")
    if class_names := _class_names(table, labels):
        arrays["class_names"] = np.array(class_names)
    files = next((name for name in FILES if name in names), None)
    if files is not None:
        arrays["files"] = _values(table, files)
    if "features" in names:
        arrays["features"] = _lists(table, "features")
    else:
        numbers = [name for name in names if name not in (labels, files)]
        arrays["features"] = _numbers(table, numbers)
    return arrays


def _columns(table: Any) -> str:
    text = ", ".join(f"{field.name!r} ({field.type})" for field in table.schema)
    return f"{table.num_rows} rows of the columns {text[:_SHOWN]}{' …' if len(text) > _SHOWN else ''}"


def _values(table: Any, name: str) -> np.ndarray:
    """Returns a column of integers or texts."""
    import pyarrow as pa

    column = table.column(name)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if column.null_count or not (pa.types.is_integer(column.type) or is_text):
        raise UserError(
            f"its column {name} must hold integers or texts. Received: {column.null_count} empty cells of "
            f"{len(column)}, type {column.type}."
        )
    values = column.to_numpy()
    return values.astype(str) if is_text else values


def _lists(table: Any, name: str) -> np.ndarray:
    """Returns a column of lists of floats as `[n, d]`."""
    import pyarrow as pa
    import pyarrow.compute

    column = table.column(name).combine_chunks()
    is_list = pa.types.is_list(column.type) or pa.types.is_large_list(column.type)
    if not (is_list or pa.types.is_fixed_size_list(column.type)) or not pa.types.is_floating(column.type.value_type):
        raise UserError(f"its column {name} must hold lists of floats. Received: {_columns(table)}.")
    lengths = set(pyarrow.compute.list_value_length(column).drop_null().unique().to_pylist())
    if column.null_count or len(lengths) != 1 or column.flatten().null_count:
        raise UserError(
            f"its column {name} must hold lists of one length, without empty cells. Received: lengths "
            f"{', '.join(map(str, sorted(lengths)[:5])) or 'none'}, {column.null_count + column.flatten().null_count} "
            "empty cells."
        )
    return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), lengths.pop())


def _numbers(table: Any, names: Sequence[str]) -> np.ndarray:
    """Returns columns of numbers as `[n, d]`, one per dimension."""
    import pyarrow as pa

    wrong = [
        name
        for name in names
        if not (pa.types.is_floating(table.column(name).type) or pa.types.is_integer(table.column(name).type))
        or table.column(name).null_count
    ]
    if wrong or not names:
        problem = f"{wrong[0]!r} is no column of numbers without empty cells" if wrong else "no such column"
        raise UserError(
            f"it must have a column features with lists, or beside labels a column of numbers per dimension. "
            f"Received: {problem}; {_columns(table)}."
        )
    return np.stack([table.column(name).to_numpy().astype(np.float64) for name in names], axis=1)


def _class_names(table: Any, labels: str) -> list[str] | None:
    """Returns the names of integer labels that Hugging Face's `datasets` wrote into the schema, if there are any."""
    text = (table.schema.metadata or {}).get(b"huggingface")
    try:
        names = json.loads(text)["info"]["features"][labels]["names"] if text else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return names if isinstance(names, list) and names and all(isinstance(name, str) for name in names) else None
