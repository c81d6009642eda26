"""What a run keeps of its final test: the accuracy of each episode, and images that show what the features mean."""

import base64
import io
import itertools
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from dsl_tf.data.split import Split
from dsl_tf.errors import UserError
from dsl_tf.evaluation.neighbours import nearest_others
from dsl_tf.files import check_regular, read_text, replacing, write_text

TEST_EPISODES = "test_episodes.npz"
TEST_EXAMPLES = "test_examples.json"
_QUERIES, _NEIGHBOURS = 8, 5
_SIDE = 64
_MOST_BYTES = 2**24


def episodes_key(entry: Mapping[str, Any]) -> str:
    """Names an accuracy of a test among its episodes, such as `"nearest_centroid/cl2/5"`."""
    return f"{entry['classifier']}/{entry['feature_transform']}/{entry['shots']}"


def write_test_episodes(directory: pathlib.Path, accuracies: Mapping[str, np.ndarray]) -> None:
    """Writes the accuracy of each episode `[E]` by `episodes_key`, float32."""
    arrays: dict[str, Any] = {name: np.asarray(values, np.float32) for name, values in accuracies.items()}
    with replacing(directory / TEST_EPISODES) as beside:
        np.savez_compressed(beside, **arrays)


def read_test_episodes(directory: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads what `write_test_episodes` wrote; empty if there is nothing, or it cannot be read."""
    path = directory / TEST_EPISODES
    try:
        check_regular(path)
        with np.load(path, allow_pickle=False) as file:
            found = {name: np.asarray(file[name], np.float64) for name in file.files}
    # For damaged files, NumPy may raise almost any exception.
    except Exception:
        return {}
    return {name: array for name, array in found.items() if array.ndim == 1 and np.isfinite(array).all()}


def neighbour_examples(split: Split, features: np.ndarray) -> list[dict[str, Any]]:
    """Shows what features hold to be alike: a few images, each with the nearest others of the split.

    Args:
        split: the images.
        features: `[n, d]`.

    Returns:
        A dict for the first image of each of at most 8 classes, evenly spaced: `class`, `image` and `nearest`, at most
        5 dicts of `class` and `image`. Images are JPEG of 64 pixels in base64.
    """
    labels, firsts = np.unique(split.labels, return_index=True)
    chosen = np.unique(np.linspace(0, len(labels) - 1, min(_QUERIES, len(labels))).astype(int))
    queries = firsts[chosen]
    shown = np.column_stack([queries, nearest_others(features, queries, _NEIGHBOURS)])
    names = [split.class_names[label] for label in split.labels[shown.ravel()]]
    pictures = zip(names, _thumbnails(split, shown.ravel()), strict=True)
    found = iter([{"class": name, "image": picture} for name, picture in pictures])
    rows = [list(itertools.islice(found, shown.shape[1])) for _ in shown]
    return [{**query, "nearest": nearest} for query, *nearest in rows]


def confused_examples(
    split: Split, pairs: Sequence[tuple[int, int, float]], images: Sequence[tuple[np.ndarray, np.ndarray]]
) -> list[dict[str, Any]]:
    """Shows confused pairs of classes.

    Args:
        split: the images.
        pairs: tuples (i, j, rate), as `most_confused` returns them.
        images: for each pair, positions of images of class i that were taken for j, and of images of class j.

    Returns:
        A dict for each pair: `class`, `taken_for`, `rate`, and the images as `wrong` and `others`.
    """
    positions = [position for pair in images for of_class in pair for position in of_class.tolist()]
    found = iter(_thumbnails(split, np.array(positions, int)))
    return [
        {
            "class": split.class_names[i],
            "taken_for": split.class_names[j],
            "rate": rate,
            "wrong": list(itertools.islice(found, len(wrong))),
            "others": list(itertools.islice(found, len(others))),
        }
        for (i, j, rate), (wrong, others) in zip(pairs, images, strict=True)
    ]


def _thumbnails(split: Split, positions: np.ndarray) -> list[str]:
    # Read at once: each reading of stored images starts a pipeline, which takes a tenth of a second.
    return [_thumbnail(pixels) for pixels in split.images[positions]]


def _thumbnail(pixels: np.ndarray) -> str:
    image = Image.fromarray(pixels)
    image.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def write_test_examples(directory: pathlib.Path, examples: Mapping[str, Any]) -> None:
    """Writes examples.

    Args:
        directory: the run directory.
        examples: `feature_transform`, by which the neighbours were found; `neighbours` and `confused` as the functions
            here return them; and `measure`, the entry of the accuracy whose confusions they are, empty if none.
    """
    write_text(directory / TEST_EXAMPLES, json.dumps(examples) + "\n")


def read_test_examples(directory: pathlib.Path) -> dict[str, Any] | None:
    """Reads what `write_test_examples` wrote; None if there is nothing, or it is something else."""
    path = directory / TEST_EXAMPLES
    try:
        if path.stat().st_size > _MOST_BYTES:
            return None
        examples = json.loads(read_text(path))
        _check(examples)
    except (OSError, UserError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return examples


def _check(examples: Any) -> None:
    """Raises one of several errors unless examples have the parts that a report shows."""
    texts = [examples["feature_transform"]]
    if not isinstance(examples["measure"], dict):
        raise TypeError("A measure must be a dict.")
    pictures = []
    for query in examples["neighbours"]:
        for shown in (query, *query["nearest"]):
            texts.append(shown["class"])
            pictures.append(shown["image"])
    for pair in examples["confused"]:
        texts += [pair["class"], pair["taken_for"]]
        pictures += [*pair["wrong"], *pair["others"]]
        if not 0 <= pair["rate"] <= 1:
            raise ValueError("A rate must be a fraction.")
    for text in texts:
        text.encode("utf-8", "surrogatepass")
    for picture in pictures:
        base64.b64decode(picture, validate=True)
