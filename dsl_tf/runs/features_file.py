"""Checks features that any program wrote to a file, to evaluate them."""

from collections.abc import Mapping

import numpy as np

from dsl_tf.errors import UserError
from dsl_tf.runs.feature_arrays import read_arrays
from dsl_tf.runs.subjects import Subject


def of_features_file(path: str) -> Subject:
    """Reads features of any origin.

    Args:
        path: a file or folder as `read_arrays` reads it, with `features`, float `[n, d]`, and `labels`, integers or
            strings `[n]`. Optional arrays: `class_names` `[C]`, `mean` (of the training features, `[d]`),
            `val_features`, `val_labels`, and `files` (names of the images, `[n]`).

    Returns:
        A `Subject`.

    Raises:
        UserError: if the file cannot be read or its arrays do not match.
    """
    arrays = read_arrays(path)
    features, labels, names = _checked(path, arrays, "")
    mean = arrays.get("mean")
    if mean is not None and (mean.shape != features.shape[1:] or mean.dtype.kind != "f"):
        raise UserError(
            f"{path!r}: mean must be a float [{features.shape[1]}]. Received: {mean.dtype} {list(mean.shape)}."
        )
    if mean is not None:
        mean = _finite_float32(path, "mean", mean)
    validation = None
    if "val_features" in arrays:
        validated = _checked(path, arrays, "val_")[:2]
        if validated[0].shape[1] != features.shape[1]:
            raise UserError(
                f"--features={path!r} must hold val_features of as many dimensions as features, "
                f"{features.shape[1]}. Received: {validated[0].shape[1]}. Compute both with the same model."
            )
        validation = lambda: validated  # noqa: E731
    return Subject(path, features, labels, names, validation, mean, files=_files(path, arrays, len(labels)))


def _checked(
    path: str, arrays: Mapping[str, np.ndarray], prefix: str
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Returns features, labels from 0 and class names; the labels in the file may be any integers or strings."""
    missing = [name for name in (f"{prefix}features", f"{prefix}labels") if name not in arrays]
    if missing:
        raise UserError(
            f"--features={path!r} must hold the arrays {prefix}features and {prefix}labels. "
            f"Received: {', '.join(map(repr, arrays)) or 'none'}. Add {' and '.join(missing)}."
        )
    features, labels = arrays[f"{prefix}features"], arrays[f"{prefix}labels"]
    if features.ndim != 2 or not features.size or features.dtype.kind != "f" or labels.shape != features.shape[:1]:
        raise UserError(
            f"--features={path!r} must hold {prefix}features, floats [n, d] (n and d above 0), and {prefix}labels [n]. "
            f"Received: {features.dtype} {list(features.shape)} and {labels.dtype} {list(labels.shape)}."
        )
    features = _finite_float32(path, f"{prefix}features", features)
    if labels.dtype.kind not in "iuU":
        raise UserError(f"--features={path!r}: {prefix}labels must be integers or strings. Received: {labels.dtype}.")
    found, labels = np.unique(labels, return_inverse=True)
    names = _names(path, f"{prefix}labels", found)
    given = arrays.get("class_names")
    if not prefix and given is not None:
        if given.ndim != 1 or given.dtype.kind != "U" or found.dtype.kind == "U" or not 0 <= found[-1] < len(given):
            raise UserError(
                f"--features={path!r}: class_names must be strings, one per label from 0. Received: "
                f"{given.dtype} {list(given.shape)} for labels up to {found[-1]}."
            )
        names = _names(path, "class_names", given[found])
    return features, labels.astype(np.int32), names


def _files(path: str, arrays: Mapping[str, np.ndarray], count: int) -> tuple[str, ...]:
    files = arrays.get("files")
    if files is None:
        return ()
    if files.shape != (count,) or files.dtype.kind != "U":
        raise UserError(
            f"--features={path!r}: files must be {count} strings, one per label. "
            f"Received: {files.dtype} {list(files.shape)}."
        )
    return _names(path, "files", files)


def _finite_float32(path: str, name: str, array: np.ndarray) -> np.ndarray:
    # float64 values may exceed the range of float32.
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise UserError(f"--features={path!r}: {name} must be finite as float32. Received: NaN or infinity.")
    return array


def _names(path: str, name: str, values: np.ndarray) -> tuple[str, ...]:
    try:
        names = tuple(map(str, values.tolist()))
        "".join(names).encode()
    # NumPy and Python raise these for invalid code points and surrogates.
    except (ValueError, SystemError):
        raise UserError(
            f"--features={path!r}: {name} must be Unicode text. Received: damaged text. Write the file again."
        ) from None
    return names
