"""Any image classification data set of TensorFlow Datasets (TFDS), divided by class into train, val and test."""

import contextlib
import dataclasses
import difflib
import os
import pathlib
import re
from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds

from dsl_tf.data.formats.json_files import read_json
from dsl_tf.data.formats.required import in_words
from dsl_tf.data.raw import RawSplit
from dsl_tf.data.split import SPLITS
from dsl_tf.errors import UserError

# Reading one by one from array_record files would take a system call or more for each image.
_RECORDS_AT_ONCE = 64
_OWN = "tensorflow_datasets.core.features."


@dataclasses.dataclass(frozen=True)
class Pool:
    """All the labelled images of a TFDS data set: its splits one after the other, in the order of its `info.splits`.

    Args:
        name: its name in TFDS.
        class_names: the name of each class, by label.
        labels: int32 `[n]`, −1 for images without a label.
        image_feature: the name of the feature that is the image.
        builder: what TFDS reads it with.
    """

    name: str
    class_names: tuple[str, ...]
    labels: np.ndarray
    image_feature: str
    builder: tfds.core.DatasetBuilder


def read_tfds(name, data_dir, class_split_path):
    """Reads a TFDS data set, divided into splits as a file says.

    Args:
        name: its name in TFDS, such as `"stanford_dogs"` or `"name/config:1.0.0"`.
        data_dir: the TFDS folder where it is prepared, or None for TFDS's own, where it is prepared if need be.
        class_split_path: a JSON file as `read_class_split` takes it.

    Returns:
        A dict from split to `RawSplit`.

    Raises:
        UserError: if the file or the data set is missing or wrong, or a class is unknown or there twice.
    """
    # First, since a mistake in it should not wait for a download.
    classes = read_class_split(class_split_path)
    return select(read_pool(name, data_dir), classes)


def read_class_split(path):
    """Reads which classes form the splits.

    Args:
        path: a JSON file such as `{"train": ["cat", "dog"], "val": ["owl"], "test": ["cow"]}`, with names of classes or
            their labels; val and test may be left out.

    Returns:
        A dict from split to the tuple of its classes, names or integers.

    Raises:
        UserError: if it cannot be read or is not of this form.
    """
    splits = read_json(path)
    wanted = f'{os.fspath(path)!r} must be like {{"train": ["cat", "dog"], "val": ["owl"], "test": ["cow"]}}'
    if not isinstance(splits, dict):
        raise UserError(f"{wanted}. Received: a {type(splits).__name__}. Write an object from split to its classes.")
    others = [name for name in splits if name not in SPLITS]
    if others:
        raise UserError(f"{wanted}. Received: the split {in_words(others)}. Name the splits 'train', 'val' and 'test'.")
    if "train" not in splits:
        raise UserError(f"{wanted}. Received: no 'train'. Add the classes to train on.")
    for split, classes in splits.items():
        if not isinstance(classes, list) or not classes:
            raise UserError(f"{wanted}. Received: no list of classes for {split!r}. Write one, or leave the split out.")
        wrong = [entry for entry in classes if type(entry) not in (str, int)]
        if wrong:
            raise UserError(
                f"{wanted}, with names of classes or their labels. Received: {in_words(wrong)} in {split!r}. "
                "Correct the file."
            )
    return {split: tuple(splits[split]) for split in SPLITS if split in splits}


def is_prepared(folder, name):
    """Returns whether a TFDS folder holds a data set without configurations, going by the names of files.

    Args:
        folder: the folder, a `pathlib.Path`.
        name: the data set's name in TFDS.
    """
    return any(folder.glob(f"{name}/*/dataset_info.json"))


def check_features_file(path):
    """Checks the features of prepared data before TFDS reads them: it imports whatever module their file names.

    Args:
        path: the file features.json.

    Raises:
        UserError: if it cannot be read, or has features of others than TFDS itself.
    """
    waiting = [read_json(path)]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            kinds = [value.get(key) for key in ("pythonClassName", "python_class_name", "type")]
            others = [kind for kind in kinds if isinstance(kind, str) and "." in kind and not kind.startswith(_OWN)]
            if others:
                raise UserError(
                    f"{os.fspath(path)!r} must have features of TFDS's own, since others would run code. Received: "
                    f"{others[0][:80]!r}. Prepare the data set again with TFDS."
                )
        waiting += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def read_pool(name, data_dir=None):
    """Finds a TFDS data set on disk, of whichever version, and reads its labels.

    Args:
        name: its name in TFDS, such as `"cifar100"` or `"name/config:1.0.0"`.
        data_dir: the TFDS folder where it is prepared; nothing is written there. None stands for TFDS's own folder,
            where a data set that is missing is downloaded and prepared.

    Returns:
        A `Pool`.

    Raises:
        UserError: if it is not there, cannot be prepared or read, or has no images with one label each.
    """
    builder = _builder(name, data_dir)
    image_feature = _feature(name, builder, "image", tfds.features.Image)
    label_feature = _feature(name, builder, "label", tfds.features.ClassLabel)
    class_names = tuple(builder.info.features[label_feature].names or ())
    # TFDS keeps such images as four bytes a value, which decode as some other colours.
    if builder.info.features[image_feature].np_dtype == np.float32:
        raise UserError(f"The images of TFDS's {name!r} must be integers. Received: float32. Choose another data set.")
    with _telling(f"The labels of TFDS's {name!r} cannot be read."):
        count = sum(info.num_examples for info in builder.info.splits.values())
        labels = np.fromiter(_values(builder, label_feature), np.int32, count)
    wrong = labels[(labels < -1) | (labels >= len(class_names))]
    if wrong.size:
        raise UserError(
            f"The labels of TFDS's {name!r} must be of its {len(class_names)} classes. Received: {wrong[0]}. "
            "Prepare it again."
        )
    return Pool(name, class_names, labels, image_feature, builder)


def read_texts(pool, feature):
    """Reads a text that TFDS keeps with every image, such as its file name.

    Args:
        pool: a `Pool` of n images.
        feature: the name of the feature.

    Returns:
        A list of n strings.

    Raises:
        UserError: if there is no such text, or it cannot be read.
    """
    features = pool.builder.info.features
    if feature not in features or not isinstance(features[feature], tfds.features.Text):
        raise UserError(
            f"TFDS's {pool.name!r} must have the text {feature!r} with every image. Received: "
            f"{in_words(sorted(features))}. Prepare it again with TFDS."
        )
    with _telling(f"The feature {feature!r} of TFDS's {pool.name!r} cannot be read."):
        return [text.decode() for text in _values(pool.builder, feature)]


def select(pool, classes):
    """Divides a pool of images into splits by class; whatever else it holds is left out.

    Args:
        pool: a `Pool`.
        classes: a dict from split to its classes, in the order of the labels: names of classes or their labels.

    Returns:
        A dict from split to `RawSplit`, whose images are the bytes of image files in the order of the pool.

    Raises:
        UserError: if a class is unknown, without images, or there twice.
    """
    used = {}
    present = set(pool.labels.tolist())
    splits = {}
    for split, entries in classes.items():
        chosen = [_label(pool, entry, split) for entry in entries]
        for label in chosen:
            if label in used:
                raise UserError(
                    f"A class must be in one split only. Received: {pool.class_names[label]!r} of TFDS's {pool.name!r} "
                    f"in {used[label]!r} and {split!r}. Remove it from one."
                )
            used[label] = split
        empty = [pool.class_names[label] for label in chosen if label not in present]
        if empty:
            raise UserError(
                f"Every class in {split!r} must have images in TFDS's {pool.name!r}. Received: none of "
                f"{in_words(empty)}. Prepare the data set again, or leave these classes out."
            )
        splits[split] = _raw_split(pool, chosen)
    return splits


def _raw_split(pool, chosen):
    # One more than there are labels, for the images whose label is −1.
    new_labels = np.full(len(pool.class_names) + 1, -1, np.int32)
    new_labels[chosen] = np.arange(len(chosen))
    labels = new_labels[pool.labels]
    positions = np.flatnonzero(labels >= 0)

    def read(start) -> Iterator[tuple[str, bytes]]:
        rest = positions[start:]
        with _telling(f"The images of TFDS's {pool.name!r} cannot be read."):
            for position, image in zip(rest, _values(pool.builder, pool.image_feature, rest), strict=True):
                yield f"image {position} of TFDS's {pool.name!r}", image

    return RawSplit(tuple(pool.class_names[label] for label in chosen), labels[positions], read)


def _label(pool, entry, split):
    names = pool.class_names
    if isinstance(entry, int):
        if 0 <= entry < len(names):
            return entry
        hint = f"its labels are from 0 to {len(names) - 1}"
    else:
        if entry in names:
            return names.index(entry)
        near = difflib.get_close_matches(entry, names, n=3)
        hint = f"did you mean {in_words(near)}?" if near else f"its classes are {in_words(names)}"
    raise UserError(
        f"Every class in {split!r} must be one of the {len(names)} of TFDS's {pool.name!r}. Received: {entry!r} "
        f"({hint}). Correct it."
    )


def _builder(name, data_dir):
    with _telling(f"TFDS cannot find the data set {name!r}.", "Check its name and its files."):
        if data_dir is not None:
            for path in pathlib.Path(data_dir).glob(f"{re.split('[/:]', name)[0]}/**/features.json"):
                check_features_file(path)
        # Before any builder of TFDS's own, which knows the files of its own version only.
        with contextlib.suppress(tfds.core.DatasetNotFoundError):
            return tfds.core.read_only_builder.builder_from_files(name, data_dir=data_dir)
        if data_dir is None:
            builder = tfds.builder(name)
    if data_dir is not None:
        raise UserError(
            f"{os.fspath(data_dir)!r} must hold {name!r} as TFDS prepares it: a folder of that name with one for a "
            f"version, such as 1.0.0, that has dataset_info.json and features.json. Received: {_found(data_dir)}. "
            "Correct the path, or leave it out to have the data set downloaded into TFDS's own folder."
        )
    advice = "Prepare it with TFDS and pass the folder, or pass another form of the data."
    with _telling(f"TFDS's {name!r} cannot be downloaded and prepared.", advice):
        builder.download_and_prepare()
    return builder


def _found(data_dir):
    if not os.path.isdir(data_dir):
        return "no folder"
    try:
        names = sorted(entry for entry in os.listdir(data_dir) if not entry.startswith("."))
    except OSError as error:
        return error.strerror
    return f"{in_words(names)}, or another version" if names else "an empty folder"


def _feature(name, builder, usual, kind):
    """The name of the usual feature where it is of a kind, or else of the only one of this kind."""
    features = builder.info.features
    found = sorted(key for key, feature in features.items() if isinstance(feature, kind))
    if usual in found:
        return usual
    if len(found) != 1:
        raise UserError(
            f"TFDS's {name!r} must have one {kind.__name__} with every example, or one named {usual!r}. Received: "
            f"{in_words(found or sorted(features))}. Choose an image classification data set."
        )
    return found[0]


def _values(builder, feature, positions=None):
    """Goes through the values of one feature as they are stored, at some ascending positions or at all."""
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


def _random_access(builder, split, feature, wanted):
    # The feature alone, since TFDS would decode all the others too.
    features = tfds.features.FeaturesDict({feature: builder.info.features[feature]})
    records = builder.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)
    for first in range(0, len(wanted), _RECORDS_AT_ONCE):
        for record in records.__getitems__(wanted[first : first + _RECORDS_AT_ONCE].tolist()):
            # What array_record gives for the lost part of a file that was cut short.
            if not record:
                raise ValueError(f"an empty record in {split!r}")
            yield features.deserialize_example_np(record, decoders={feature: tfds.decode.SkipDecoding()})[feature]


def _sequential_access(builder, split, feature, wanted):
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
def _telling(problem, advice="Prepare the data set again with TFDS, or check its files."):
    """Tells in one line whatever goes wrong inside TFDS."""
    try:
        yield
    except UserError:
        raise
    # The code of hundreds of data sets raises nearly any kind of error, and so do damaged files.
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"{problem} Received: {lines[0].strip().rstrip('.')[:300]}. {advice}") from error
