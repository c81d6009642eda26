"""Reads the arrays of features from files of NumPy, tables, TFRecord files and saved Hugging Face datasets."""

import os
import pathlib

import ml_dtypes
import numpy as np

from dsl_tf.errors import UserError, reason_of
from dsl_tf.files import check_regular
from dsl_tf.runs.feature_records import TFRECORDS, records_arrays
from dsl_tf.runs.feature_tables import TABLES, dataset_arrays, table_arrays

FORMS = "an .npz, .npy, .csv, .parquet, .arrow or .tfrecord file, or the folder of a saved Hugging Face dataset"
# Those of PyTorch, and others that Python alone writes, may hold code.
_CODE = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".joblib")
_OTHERS = ("labels", "class_names", "mean", "val_features", "val_labels", "files")


def read_arrays(path: str) -> dict[str, np.ndarray]:
    """Reads arrays by name: features, labels and, if there are any, `class_names`, `mean`, `val_features` and more.

    Args:
        path: a file or folder, as `FORMS` says. Beside `features.npy` the others are in `labels.npy` and so on; beside
            `x.npy` in `x_labels.npy`.

    Raises:
        UserError: if it cannot be read. It says what was found.
    """
    suffix = pathlib.PurePath(path).suffix.lower()
    try:
        if os.path.isdir(path):
            arrays = dataset_arrays(path)
        else:
            check_regular(path)
            arrays = _read_file(path, suffix)
    except UserError as error:
        raise UserError(f"--features={path!r}: {error}") from None
    # For damaged files, NumPy, zipfile, zlib, pyarrow and TensorFlow may raise almost any exception.
    except Exception as error:
        kind = (
            f"{suffix} file" if suffix in (".npy", *TABLES, *TFRECORDS) else "folder" if os.path.isdir(path) else None
        )
        form = f"a readable {kind}" if kind else "an .npz file of plain arrays"
        raise UserError(f"--features={path!r} must be {form}. It cannot be read: {reason_of(error)}") from None
    return {name: _ordinary(array) for name, array in arrays.items()}


def _read_file(path: str, suffix: str) -> dict[str, np.ndarray]:
    if suffix in _CODE:
        raise UserError(
            f"must be {FORMS}. Received: a {suffix} file, which is not opened because it may hold code. Save the "
            "arrays with numpy.savez."
        )
    if suffix == ".npy":
        return _read_npy(path)
    if suffix in TABLES:
        return table_arrays(path)
    if suffix in TFRECORDS:
        return records_arrays(path)
    with np.load(path, allow_pickle=False) as file:
        # NumPy returns members that are not arrays as bytes.
        return {name: array for name, array in file.items() if isinstance(array, np.ndarray)}


def _read_npy(path: str) -> dict[str, np.ndarray]:
    """Reads `features.npy`, and the files beside it whose names have another array's name in its place."""
    folder, name = os.path.split(path)
    arrays = {"features": np.load(path, allow_pickle=False)}
    stem = name[: -len(".npy")]
    for other in _OTHERS:
        beside = stem.replace("features", other) if "features" in stem else f"{stem}_{other}"
        place = os.path.join(folder, f"{beside}.npy")
        if os.path.exists(place):
            check_regular(place)
            arrays[other] = np.load(place, allow_pickle=False)
        elif other == "labels":
            raise UserError(f"its labels must be in {place!r}. Received: no such file.")
    return arrays


def _ordinary(array: np.ndarray) -> np.ndarray:
    """Returns bfloat16, which NumPy writes as two bytes without a type, as float32."""
    if array.dtype == np.dtype("V2"):
        array = array.view(ml_dtypes.bfloat16)
    return array.astype(np.float32) if array.dtype == ml_dtypes.bfloat16 else array
