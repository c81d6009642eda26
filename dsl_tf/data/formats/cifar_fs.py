"""CIFAR-FS: the 100 classes of CIFAR-100, its train and test images together, in three splits."""

import gzip
import os
import pathlib
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from dsl_tf.data.class_lists import class_list
from dsl_tf.data.data_folder import has_split_folders
from dsl_tf.data.formats import tensorflow_datasets
from dsl_tf.data.formats.class_folders import read_class_folders, split_folders
from dsl_tf.data.formats.labelled_pickles import read_labelled_pickles
from dsl_tf.data.formats.pickled import as_text, integers_of, malformed, read_dict, value_of
from dsl_tf.data.formats.required import check_classes, has_any, in_words, required_files
from dsl_tf.data.raw import Format, RawSplit
from dsl_tf.data.split import SPLITS
from dsl_tf.errors import UserError

TFDS_NAME = "cifar100"
_SIDE = 32
_PYTHON = "cifar-100-python"
_META = "meta"
_PARTS = {part: part for part in ("train", "test", _META)}
_ARCHIVE = "cifar-100-python.tar.gz"
_BYTES_AT_ONCE = 1 << 20
_PICKLES = {split: f"CIFAR_FS_{split}.pickle" for split in SPLITS}
_POOL = "cifar100"
_LISTS = "splits/bertinetto"


def read_from_tfds(data_dir: str | os.PathLike[str] | None = None) -> dict[str, RawSplit]:
    """Reads CIFAR-FS from the CIFAR-100 of TensorFlow Datasets.

    Args:
        data_dir: the TFDS folder where it is prepared, or None for TFDS's own, where it is prepared on first use.

    Returns:
        A dict from split to `RawSplit`.

    Raises:
        UserError: if it is not there or cannot be prepared or read.
    """
    return tensorflow_datasets.select(tensorflow_datasets.read_pool(TFDS_NAME, data_dir), class_list("cifar_fs"))


def _has_tfds(folder: pathlib.Path) -> bool:
    return tensorflow_datasets.is_prepared(folder, TFDS_NAME)


def _has_python_pickles(folder: pathlib.Path) -> bool:
    return has_any(folder / _PYTHON, _PARTS) or has_any(folder, _PARTS)


def _read_python_pickles(folder: pathlib.Path) -> dict[str, RawSplit]:
    folder = folder / _PYTHON if has_any(folder / _PYTHON, _PARTS) else folder
    return _splits(required_files(folder, _PARTS))


def _has_archive(folder: pathlib.Path) -> bool:
    return has_any(folder, [_ARCHIVE])


def _read_archive(folder: pathlib.Path) -> dict[str, RawSplit]:
    # Windows cannot delete files that arrays are windows on; elsewhere these stay valid without the name.
    with tempfile.TemporaryDirectory(prefix="dsl_tf_", ignore_cleanup_errors=True) as directory:
        return _splits(_unpacked(folder / _ARCHIVE, pathlib.Path(directory)))


def _unpacked(archive: pathlib.Path, directory: pathlib.Path) -> dict[str, pathlib.Path]:
    """Copies the members that are known by their whole name, and nothing else, to a folder."""
    paths = {}
    try:
        with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in tar:
                folder, _, part = member.name.rpartition("/")
                if folder != _PYTHON or part not in _PARTS:
                    continue
                content = tar.extractfile(member) if member.isreg() else None
                if content is None or part in paths:
                    raise malformed(archive, f"the file {member.name!r} once", "a link, or more than one")
                paths[part] = directory / part
                with open(paths[part], "wb") as file:
                    shutil.copyfileobj(content, file)
            # The checksum is at the very end, which tarfile does not reach.
            while stream.read(_BYTES_AT_ONCE):
                pass
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise UserError(
            f"{os.fspath(archive)!r} must be a whole tar.gz, with room for its content in {os.fspath(directory)!r}. "
            f"Received: {reason}. Download it again, or unpack it and pass the folder."
        ) from error
    missing = [f"{_PYTHON}/{part}" for part in _PARTS if part not in paths]
    if missing:
        raise malformed(archive, in_words([f"{_PYTHON}/{part}" for part in _PARTS]), f"none of {in_words(missing)}")
    return paths


def _splits(paths: Mapping[str, pathlib.Path]) -> dict[str, RawSplit]:
    names = value_of(read_dict(paths[_META]), "fine_label_names", paths[_META])
    names = [as_text(name) for name in names] if isinstance(names, list) else []
    if not names or len(set(names)) < len(names) or None in names:
        raise malformed(paths[_META], "different names in 'fine_label_names'", in_words(names) if names else "none")
    rows = [_rows(path, len(names)) for part, path in paths.items() if part != _META]
    fine_labels = np.concatenate([labels for _, labels in rows])
    return {split: _raw_split(rows, fine_labels, names, classes) for split, classes in class_list("cifar_fs").items()}


def _rows(path: pathlib.Path, class_count: int) -> tuple[np.ndarray, np.ndarray]:
    values = read_dict(path)
    data = value_of(values, "data", path)
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.shape[1:] != (3 * _SIDE * _SIDE,):
        received = f"{data.dtype} of shape {list(data.shape)}" if isinstance(data, np.ndarray) else type(data).__name__
        raise malformed(path, "'data' that is uint8 of shape [n, 3072]", f"wrong sizes: {received}")
    labels = integers_of(value_of(values, "fine_labels", path), path, len(data))
    if labels.size and not 0 <= labels.min() <= labels.max() < class_count:
        raise malformed(path, f"labels from 0 to {class_count - 1}", f"{labels.min()} to {labels.max()}")
    return data, labels


def _raw_split(
    rows: list[tuple[np.ndarray, np.ndarray]],
    fine_labels: np.ndarray,
    names: list[str | None],
    classes: tuple[str, ...],
) -> RawSplit:
    (first_data, _), (second_data, _) = rows
    missing = [name for name in classes if name not in names or not (fine_labels == names.index(name)).any()]
    if missing:
        raise UserError(
            f"CIFAR-100's pickles must have images of all 100 classes. Received: none of {in_words(missing)}. "
            "Download them again."
        )
    new_labels = np.full(len(names), -1, np.int32)
    new_labels[[names.index(name) for name in classes]] = np.arange(len(classes))
    labels = new_labels[fine_labels]
    positions = np.flatnonzero(labels >= 0)

    def read(start: int) -> Iterator[tuple[str, np.ndarray]]:
        for position in positions[start:]:
            in_first = position < len(first_data)
            planes = first_data[position] if in_first else second_data[position - len(first_data)]
            pixels = np.ascontiguousarray(planes.reshape(3, _SIDE, _SIDE).transpose(1, 2, 0))
            yield f"image {position} of {_PYTHON}", pixels

    return RawSplit(classes, labels[positions], read)


def _has_pickles(folder: pathlib.Path) -> bool:
    return has_any(folder, _PICKLES.values())


def _read_pickles(folder: pathlib.Path) -> dict[str, RawSplit]:
    return read_labelled_pickles(required_files(folder, _PICKLES), _SIDE, class_list("cifar_fs"))


def _has_lists(folder: pathlib.Path) -> bool:
    return _pool_folder(folder) is not None


def _pool_folder(folder: pathlib.Path) -> pathlib.Path | None:
    """The folder that has `data` with class folders, or the lists of classes."""
    names = [name for classes in class_list("cifar_fs").values() for name in classes]
    for root in (folder / _POOL, folder):
        if os.path.isdir(root / _LISTS) or any(os.path.isdir(root / "data" / name) for name in names):
            return root
    return None


def _read_lists(folder: pathlib.Path) -> dict[str, RawSplit]:
    root = _pool_folder(folder)
    assert root is not None, "_has_lists says so"
    paths = required_files(root, {split: f"{_LISTS}/{split}.txt" for split in SPLITS})
    published = class_list("cifar_fs")
    for split, path in paths.items():
        names = _lines(path)
        check_classes(names, published[split], path)
        if len(set(names)) < len(names):
            raise malformed(path, "each class once", "a class listed twice")
    return read_class_folders({split: _folders(root / "data", published[split]) for split in SPLITS})


def _lines(path: pathlib.Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise malformed(path, "text in UTF-8", getattr(error, "strerror", None) or str(error)) from error
    return [line.strip() for line in lines if line.strip()]


def _folders(folder: pathlib.Path, names: Iterable[str]) -> dict[str, pathlib.Path]:
    missing = [name for name in names if not os.path.isdir(folder / name)]
    if missing:
        raise UserError(
            f"{os.fspath(folder)!r} must have a folder for each class of CIFAR-100. Received: none for "
            f"{in_words(missing)}. Download the whole data set again."
        )
    return {name: folder / name for name in names}


def _has_class_folders(folder: pathlib.Path) -> bool:
    return has_split_folders(folder)


def _read_class_folders(folder: pathlib.Path) -> dict[str, RawSplit]:
    found, published = split_folders(folder), class_list("cifar_fs")
    for split in SPLITS:
        check_classes(list(found[split]), published[split], folder / split)
    return read_class_folders({split: {name: found[split][name] for name in published[split]} for split in SPLITS})


FORMATS = (
    Format(
        "CIFAR-100's Python pickles",
        "cifar-100-python with train, test and meta",
        _has_python_pickles,
        _read_python_pickles,
    ),
    Format("CIFAR-100's archive of Python pickles", _ARCHIVE, _has_archive, _read_archive),
    Format("pickled arrays with labels", ", ".join(_PICKLES.values()), _has_pickles, _read_pickles),
    Format(
        "one folder for each class, with lists",
        "cifar100 with data/<class> and splits/bertinetto/train.txt, val.txt and test.txt",
        _has_lists,
        _read_lists,
    ),
    Format("class folders", "train, val and test with class folders", _has_class_folders, _read_class_folders),
    Format(
        "a folder of TensorFlow Datasets",
        f"{TFDS_NAME}/<version> as TensorFlow Datasets prepares it",
        _has_tfds,
        read_from_tfds,
    ),
)
