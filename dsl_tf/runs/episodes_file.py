"""Reads and writes the episodes of an evaluation: a JSON object per line, with the images of each class."""

import collections
import json
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from dsl_tf.errors import UserError
from dsl_tf.evaluation.episode_lists import NONE, Episodes, listed_episodes
from dsl_tf.files import read_text, write_text
from dsl_tf.runs.subjects import Subject

_FORM = '{"support": {"a class": [images]}, "query": {"a class": [images]}}'
_SEVERAL = -1


def read_episodes(path: str | os.PathLike[str], subject: Subject) -> Episodes:
    """Reads episodes that this or another program wrote.

    Args:
        path: a file with one JSON object per line and episode, `{"support": {class: [image, ...], ...}, "query":
            {class: [image, ...], ...}}`. Ways have the order of the support's classes. An image is its position among
            the images, from 0, or its file's name, with as many folders before it as it takes to tell it from others
            of its class.
        subject: the `Subject` whose images they are.

    Returns:
        `Episodes`, with indices into the subject's images.

    Raises:
        UserError: if the file cannot be read, or does not match the subject.
    """
    name = os.fspath(path)
    try:
        lines = read_text(path).removeprefix("\ufeff").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UserError(
            f"--episodes_file={name!r} must be a text file, with lines such as {_FORM}: {reason}."
        ) from None
    position_of = _finder(subject)
    support, query = [], []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                of_support, of_query = _episode(line, position_of)
            except ValueError as error:
                raise UserError(f"--episodes_file={name!r}, line {number}: {error}") from None
            support.append(of_support)
            query.append(of_query)
    if len(support) < 2:
        raise UserError(
            f"--episodes_file={name!r} must hold at least 2 episodes, one per line. Received: {len(support)}."
        )
    try:
        return listed_episodes(support, query)
    except UserError as error:
        raise UserError(f"--episodes_file={name!r}: {error}") from None


def _episode(line: str, position_of: Callable[[str, Any], int]) -> tuple[list[list[int]], list[list[int]]]:
    """Returns the images of each way of the support and of the queries."""
    try:
        episode = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError(f"expected {_FORM}. Received: no JSON.") from None
    support, query = (episode.get(part) if isinstance(episode, dict) else None for part in ("support", "query"))
    for part in (support, query):
        if not isinstance(part, dict) or not all(isinstance(images, list) for images in part.values()):
            raise ValueError(f"expected {_FORM}. Received: {line.strip()[:60]!r}.")
    assert isinstance(support, dict) and isinstance(query, dict)
    if others := [name for name in query if name not in support]:
        raise ValueError(f"queries must be of classes with support images. Received: queries of {others[0]!r}.")
    return tuple(  # type: ignore[return-value]
        [[position_of(name, image) for image in part.get(name, [])] for name in support] for part in (support, query)
    )


def _finder(subject: Subject) -> Callable[[str, Any], int]:
    """Returns a function of a class's name and an image, its position or name, to its position."""
    label_of = {name: label for label, name in enumerate(subject.class_names)}
    by_name: dict[tuple[int, str], int] = {}
    for position, (label, file) in enumerate(zip(subject.labels.tolist(), subject.files, strict=False)):
        parts = pathlib.PurePath(file).parts
        for start in range(len(parts)):
            key = label, "/".join(parts[start:])
            by_name[key] = _SEVERAL if key in by_name else position
    # What `write_episodes` writes, whatever else ends so.
    by_name |= {
        (label, name): position
        for position, (label, name) in enumerate(zip(subject.labels.tolist(), _short_names(subject.files)))
    }

    def position_of(name: str, image: Any) -> int:
        if name not in label_of:
            raise ValueError(
                f"expected classes of the data, such as {subject.class_names[0]!r}. Received: {name!r}. Check --split."
            )
        label = label_of[name]
        if isinstance(image, str):
            if not subject.files:
                raise ValueError(
                    f"the names of these images are not known, only their positions from 0. Received: {image!r}."
                )
            position = by_name.get((label, "/".join(pathlib.PurePath(image).parts)))
            if position is None or position == _SEVERAL:
                number = "no image" if position is None else "several images"
                raise ValueError(f"expected an image of class {name!r}. Received: {image!r}, the name of {number}.")
            return position
        if not isinstance(image, int) or isinstance(image, bool) or not 0 <= image < len(subject.labels):
            raise ValueError(
                f"an image must be a file's name or its position, from 0 to {len(subject.labels) - 1}. "
                f"Received: {str(image)[:40]!r}."
            )
        if subject.labels[image] != label:
            other = subject.class_names[subject.labels[image]]
            raise ValueError(f"expected an image of class {name!r}. Received: image {image}, which is of {other!r}.")
        return image

    return position_of


def write_episodes(path: str | os.PathLike[str], episodes: Episodes, subject: Subject) -> None:
    """Writes episodes as `read_episodes` reads them: images by name if names are known, else by position.

    Args:
        path: the file, replaced if there is one.
        episodes: `Episodes` of the subject's images.
        subject: a `Subject`.

    Raises:
        OSError: if it cannot be written.
    """
    names: Sequence[Any] = _short_names(subject.files) if subject.files else range(len(subject.labels))
    lines = []
    for row in range(len(episodes.support)):
        episode = {}
        for part, images in (("support", episodes.support), ("query", episodes.query)):
            of_class: dict[str, list[Any]] = collections.defaultdict(list)
            for image in images[row][images[row] != NONE].tolist():
                of_class[subject.class_names[subject.labels[image]]].append(names[image])
            episode[part] = of_class
        lines.append(json.dumps(episode))
    write_text(path, "\n".join(lines) + "\n")


def _short_names(files: Sequence[str]) -> list[str]:
    """Removes the folders that all files are in."""
    paths = [pathlib.PurePath(file) for file in files]
    if len({path.is_absolute() for path in paths}) != 1:
        return [path.as_posix() for path in paths]
    shared = os.path.commonpath([path.parent for path in paths])
    return [path.relative_to(shared).as_posix() for path in paths]
