"""A cache of features on disk, keyed by the model and the images."""

import contextlib
import hashlib
import os
import pathlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from dsl_tf import distribution
from dsl_tf.data.split import Split
from dsl_tf.data.stored_images import StoredImages
from dsl_tf.files import check_regular, replacing


def files_fingerprint(path: str | os.PathLike[str]) -> str:
    """Returns hexadecimal digits that change with any byte of a file, or of any file in a folder."""
    path = pathlib.Path(path)
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            digest.update(str(file.relative_to(path)).encode())
            with open(file, "rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()


def cached_features(
    folder: str | os.PathLike[str],
    model_fingerprint: str,
    split: Split,
    compute: Callable[[np.ndarray | StoredImages], np.ndarray],
) -> np.ndarray:
    """Reads the features of a split from a cache, or computes and adds them.

    An entry that is damaged, whose checksum is wrong, is computed again and replaced.

    Args:
        folder: the folder of the cache. If it cannot be written, nothing is cached.
        model_fingerprint: the fingerprint of the model, from `files_fingerprint`.
        split: a `Split`. Its images are part of the key.
        compute: a function from images to features float32 `[n, d]`. If any of several workers has no cached features,
            all of them call it.

    Returns:
        float32 `[n, d]`.
    """
    key = hashlib.sha256(f"{model_fingerprint} {split.images_fingerprint()}".encode()).hexdigest()[:24]
    path = pathlib.Path(folder) / f"{key}.npy"
    strategy = tf.distribute.get_strategy()
    features = _read(path, len(split.labels))
    if distribution.true_on_all_workers(strategy, features is not None) and features is not None:
        return features
    features = compute(split.images)
    if distribution.is_chief(strategy):
        _write(path, features)
    return features


def _checksum(features: np.ndarray) -> bytes:
    return hashlib.sha256(repr(features.shape).encode() + features.tobytes()).digest()


def _read(path: pathlib.Path, count: int) -> np.ndarray | None:
    try:
        check_regular(path)
        with open(path, "rb") as file:
            features = np.load(file, allow_pickle=False)
            checksum = file.read()
        if checksum != _checksum(features):
            return None
        if features.dtype == np.float32 and features.ndim == 2 and len(features) == count:
            return features
    # For damaged files, NumPy may raise almost any exception.
    except Exception:
        pass
    return None


def _write(path: pathlib.Path, features: np.ndarray) -> None:
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as beside, open(beside, "wb") as file:
            np.save(file, features)
            # NumPy reads the array alone; what follows is ours.
            file.write(_checksum(features))
