"""The CSV file of predictions."""

import os
from collections.abc import Iterable, Mapping, Sequence

from dsl_tf.errors import UserError
from dsl_tf.files import guarded, write_csv
from dsl_tf.runs.classification import Classification, Prediction

_HEADER = ("file", "class", "confidence")


def check_output(path: str | os.PathLike[str]) -> None:
    """Checks that predictions can be written to a path, before they are computed.

    Raises:
        UserError: if its folder does not exist or cannot be written, or the path is a folder.
    """
    folder = os.path.dirname(path) or "."
    if os.path.isdir(path) or not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        raise UserError(
            f"--output must be a file in an existing folder that can be written. Received: {os.fspath(path)!r}."
        )


def further_columns(
    found: Classification, top: int = 1, probabilities: bool = False
) -> list[tuple[str, dict[str, str]]]:
    """Returns the columns after the first three, as pairs of a name and the cells by file.

    Args:
        found: what `classify` returned.
        top: how many of the most probable classes to name; the first one is in the first columns.
        probabilities: whether each class has a column with its probability.
    """
    columns: list[tuple[str, dict[str, str]]] = []
    order = (-found.probabilities).argsort(axis=1, kind="stable")
    for place in range(1, min(top, len(found.class_names))):
        ways = order[:, place]
        names = [guarded(found.class_names[way]) for way in ways]
        values = [f"{row[way]:.6f}" for row, way in zip(found.probabilities, ways, strict=True)]
        columns.append((f"class_{place + 1}", dict(zip(found.files, names, strict=True))))
        columns.append((f"confidence_{place + 1}", dict(zip(found.files, values, strict=True))))
    if probabilities:
        for way, name in enumerate(found.class_names):
            cells = [f"{value:.6f}" for value in found.probabilities[:, way]]
            columns.append((guarded(f"p({name})"), dict(zip(found.files, cells, strict=True))))
    return columns


def write_predictions(
    predictions: Iterable[Prediction],
    path: str | os.PathLike[str],
    columns: Sequence[tuple[str, Mapping[str, str]]] = (),
) -> None:
    """Writes predictions as a UTF-8 CSV file with the header `file,class,confidence,…`, replacing it as a unit.

    Args:
        predictions: what `predict` returned. What a prediction does not have is an empty cell.
        path: the file to write or replace.
        columns: further columns, as pairs of a name and the cells by file.

    Raises:
        UserError: if it cannot be written.
    """
    rows = [
        [
            guarded(file),
            None if class_name is None else guarded(class_name),
            None if confidence is None else f"{confidence:.6f}",
            *(cells.get(file) for _, cells in columns),
        ]
        for file, class_name, confidence in predictions
    ]
    try:
        write_csv(path, [[*_HEADER, *(name for name, _ in columns)], *rows])
    except OSError as error:
        raise UserError(f"The predictions must be written to {os.fspath(path)!r}. {error.strerror}.") from None
