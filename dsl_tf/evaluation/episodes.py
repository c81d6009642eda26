"""Few-shot episodes: a few classes, a few labelled images of each, and queries to classify."""

import hashlib

import numpy as np
import numpy.typing as npt

from dsl_tf.errors import UserError
from dsl_tf.evaluation.class_groups import group_of_classes, group_sizes

# Indices of all episodes together: an array of them takes 1 GiB, and drawing them about five times that.
_MOST_INDICES = 2**27


def _check(counts: np.ndarray, ways: int, shots: int, queries: int) -> None:
    need = shots + queries
    enough = np.sort(counts)[::-1]
    usable = int((counts >= need).sum())
    if usable >= ways:
        return
    smallest = int(enough[ways - 1]) if len(counts) >= ways else 0
    possible = []
    if smallest >= 2:
        possible.append(f"with {ways} ways at most {smallest} support and query images per class")
    if usable or not possible:
        possible.append(f"with {need} images per class at most {usable} ways")
    raise UserError(
        f"Episodes of {ways} ways need {ways} classes of at least {need} images ({shots} support + {queries} query). "
        f"Received: {len(counts)} classes, {usable} of them that large. The largest possible: {' or '.join(possible)}."
    )


def _draw_without_replacement(random: np.random.Generator, sizes: np.ndarray, count: int) -> np.ndarray:
    """Draws `count` different integers below each of `sizes [m]` in random order, int64 `[m, count]`.

    These are the first steps of a Fisher–Yates shuffle, for all rows at once. The shuffled array itself is never
    formed: a position that an earlier step wrote to is looked up among those steps.
    """
    drawn = np.empty((count, len(sizes)), np.int64)
    moved = np.empty_like(drawn)
    positions = np.empty_like(drawn)

    def value_at(position: np.ndarray | np.int64, step: int) -> np.ndarray:
        value = np.broadcast_to(position, sizes.shape).copy()
        for earlier in range(step):
            np.copyto(value, moved[earlier], where=positions[earlier] == position)
        return value

    uniform = random.random((count, len(sizes)))
    for step in range(count):
        position = step + (uniform[step] * (sizes - step)).astype(np.int64)
        drawn[step] = value_at(position, step)
        moved[step] = value_at(np.int64(step), step)
        positions[step] = position
    return drawn.T


def sample_episodes(
    labels: npt.ArrayLike,
    ways: int,
    shots: int,
    queries: int,
    episodes: int,
    seed: int,
    groups: npt.ArrayLike | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Samples episodes, the same ones for the same labels, sizes, seed and groups.

    Classes with fewer than `shots + queries` images are skipped; so are groups in which fewer than `ways` are left.

    Args:
        labels: integers `[n]`.
        ways: N, classes per episode.
        shots: K, support images of each class.
        queries: query images of each class.
        episodes: E.
        seed: an integer.
        groups: the group of each image's class, integers or texts `[n]`. The classes of an episode are of one group,
            each group as often as any other. If None, all classes are in one.

    Returns:
        Indices into `labels`, int64, those of the support `[E, ways, shots]` and those of the queries
        `[E, ways, queries]`. No class and no image occurs twice in an episode.

    Raises:
        UserError: if the labels do not hold enough classes or images, or the episodes do not fit into memory; it says
            the largest possible.
    """
    labels = np.asarray(labels)
    order = np.argsort(labels, kind="stable")
    _, starts, counts = np.unique(labels[order], return_index=True, return_counts=True)
    for name, value in (("ways", ways), ("shots", shots), ("queries", queries), ("episodes", episodes)):
        if value < 1:
            raise UserError(f"`{name}` of an episode must be at least 1. Received: {value}.")
    _check(counts, ways, shots, queries)
    most = _MOST_INDICES // (ways * (shots + queries))
    if episodes > most:
        raise UserError(
            f"`episodes` must be at most {most} for {ways} ways of {shots} support and {queries} query images, or they "
            f"would not fit into memory. Received: {episodes}."
        )
    usable = np.flatnonzero(counts >= shots + queries)
    positions, group_starts, sizes = group_sizes(group_of_classes(labels, groups)[usable], ways)
    if not len(sizes):
        raise UserError(
            f"Episodes of {ways} ways within one group need a group of {ways} classes of at least {shots + queries} "
            "images. Received: no such group. Use fewer ways, shots or queries, or larger groups."
        )
    starts, counts = starts[usable[positions]], counts[usable[positions]]
    random = np.random.default_rng(seed)
    group = random.integers(len(sizes), size=episodes) if len(sizes) > 1 else np.zeros(episodes, int)
    classes = (_draw_without_replacement(random, sizes[group], ways) + group_starts[group][:, None]).ravel()
    within = _draw_without_replacement(random, counts[classes], shots + queries)
    indices = order[starts[classes][:, None] + within].reshape(episodes, ways, shots + queries)
    return indices[:, :, :shots], indices[:, :, shots:]


def episodes_fingerprint(labels: np.ndarray, support: np.ndarray, query: np.ndarray) -> str:
    """Returns 16 hexadecimal digits that are the same for the same episodes of the same labels, and for no others.

    Args:
        labels: integers `[n]`.
        support, query: indices into the labels, of any shape.
    """
    digest = hashlib.sha256()
    for array in (labels, support, query):
        # In one byte order, so that the digits mean the same on every machine.
        array = np.asarray(array, "<i8")
        digest.update(repr(array.shape).encode() + array.tobytes())
    return digest.hexdigest()[:16]
