"""Access to data sets that TensorFlow Datasets (TFDS) has prepared: on disk, without running what their files name."""

import contextlib
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from dsl_tf.data.data_folder import described, suggestion
from dsl_tf.data.formats.json_files import read_json
from dsl_tf.errors import UserError

# Reading one by one from array_record files would take a system call or more for each image.
_RECORDS_AT_ONCE = 64
_OWN = "tensorflow_datasets.core.features."


def check_features_file(path: str | os.PathLike[str]) -> None:
    """Checks the features of prepared data before TFDS reads them: it imports whatever module their file names.

    Args:
        path: the file features.json.

    Raises:
        UserError: if it cannot be read, or names features that are not TFDS's own.
    """
    waiting = [read_json(path)]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            kinds = [value.get(key) for key in ("pythonClassName", "python_class_name", "type")]
            others = [kind for kind in kinds if isinstance(kind, str) and "." in kind and not kind.startswith(_OWN)]
            if others:
                raise UserError(
                    f"{os.fspath(path)!r} must name TFDS's own features only, since others would run code. Received: "
                    f"{others[0][:80]!r}. Prepare the data set again with TFDS."
                )
        waiting += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def open_builder(name: str, data_dir: str | os.PathLike[str] | None) -> tfds.core.DatasetBuilder:
    """Finds a data set on disk, of whichever version; without a folder, downloads and prepares it on first use.

    Args:
        name: its name in TFDS.
        data_dir: the TFDS folder where it is prepared; None for TFDS's own.

    Raises:
        UserError: if it is not there or cannot be prepared.
    """
    with tfds_errors(f"TFDS cannot find the data set {name!r}.", "Check its name and its files."):
        if data_dir is not None:
            for path in pathlib.Path(data_dir).glob(f"{re.split('[/:]', name)[0]}/**/features.json"):
                check_features_file(path)
        # Before any builder of TFDS's own, which knows the files of its own version only.
        with contextlib.suppress(tfds.core.DatasetNotFoundError):
            return tfds.core.read_only_builder.builder_from_files(name, data_dir=data_dir)
        if data_dir is None:
            builder = tfds.builder(name)
    if data_dir is not None:
        base = re.split("[/:]", name)[0]
        advice = "Correct --data_dir, or omit it to download the data set into TFDS's own folder."
        raise UserError(
            f"{os.fspath(data_dir)!r} must hold {name!r} as TFDS prepares it: a folder of that name with one per "
            f"version, such as 1.0.0, which has dataset_info.json and features.json. Received: {described(data_dir)}. "
            + suggestion(data_dir, lambda near: any(near.glob(f"{base}/**/dataset_info.json")), advice=advice)
        )
    advice = "Prepare it with TFDS and pass the folder, or pass another form of the data."
    with tfds_errors(f"TFDS's {name!r} cannot be downloaded and prepared.", advice):
        builder.download_and_prepare()
    return builder


def values_of(builder: tfds.core.DatasetBuilder, feature: str, positions: np.ndarray | None = None) -> Iterator[Any]:
    """Goes through the values of one feature as they are stored, split by split in the order of `info.splits`.

    Args:
        builder: what `open_builder` returned.
        feature: the name of the feature.
        positions: ascending positions, int64 `[n]`; None for all.

    Yields:
        the values, not decoded.
    """
    start = 0
    for split, info in builder.info.splits.items():
        stop = start + info.num_examples
        if positions is None:
            wanted = np.arange(info.num_examples)
        else:
            wanted = positions[np.searchsorted(positions, start) : np.searchsorted(positions, stop)] - start
        if wanted.size:
            if builder.info.file_format == tfds.core.FileFormat.ARRAY_RECORD:
                yield from _random_access(builder, split, feature, wanted)
            else:
                yield from _sequential_access(builder, split, feature, wanted)
        start = stop


def _random_access(builder: tfds.core.DatasetBuilder, split: str, feature: str, wanted: np.ndarray) -> Iterator[Any]:
    # The feature alone, since TFDS would decode all the others too.
    features = tfds.features.FeaturesDict({feature: builder.info.features[feature]})
    records = builder.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)
    for first in range(0, len(wanted), _RECORDS_AT_ONCE):
        for record in records.__getitems__(wanted[first : first + _RECORDS_AT_ONCE].tolist()):
            # What array_record gives for the lost part of a file that was cut short.
            if not record:
                raise ValueError(f"an empty record in {split!r}")
            yield features.deserialize_example_np(record, decoders={feature: tfds.decode.SkipDecoding()})[feature]


def _sequential_access(
    builder: tfds.core.DatasetBuilder, split: str, feature: str, wanted: np.ndarray
) -> Iterator[Any]:
    instruction = tfds.core.ReadInstruction(split, from_=int(wanted[0]), to=int(wanted[-1]) + 1, unit="abs")
    examples = builder.as_dataset(
        split=instruction,
        decoders=tfds.decode.PartialDecoding({feature: True}, decoders={feature: tfds.decode.SkipDecoding()}),
        # One file after the other, so that a part of the split is in the order of the whole; and never all in memory.
        read_config=tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False),
    )
    remaining = iter((wanted - wanted[0]).tolist())
    following = next(remaining)
    for position, example in enumerate(examples.as_numpy_iterator()):
        if position == following:
            yield example[feature]
            following = next(remaining, None)


@contextlib.contextmanager
def tfds_errors(
    problem: str, advice: str = "Prepare the data set again with TFDS, or check its files."
) -> Iterator[None]:
    """Reports in one line whatever goes wrong inside TFDS.

    Args:
        problem: what cannot be done, a sentence.
        advice: what to do, a sentence.

    Raises:
        UserError: if anything does.
    """
    try:
        yield
    except UserError:
        raise
    # The code of hundreds of data sets raises nearly any kind of error, and so do damaged files.
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"{problem} Received: {lines[0].strip().rstrip('.')[:300]}. {advice}") from error
