"""Episodes of any shapes: each with its own numbers of ways, support images and queries."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from dsl_tf.errors import UserError

# What fills up the rows of episodes that have fewer images than others.
NONE = -1


class Episodes(NamedTuple):
    """Indices of the images of episodes, int64, in the plainest of three forms.

    - All ways have K support images and Q queries: support `[E, N, K]`, query `[E, N, Q]`, both others None.
    - All ways have K support images, and all episodes M queries: query `[E, M]`, with the way of each, `query_ways`.
    - Any numbers: support `[E, S]` and query `[E, M]`, with the way of each; S and M are those of the largest episode,
      and −1 fills up the rows of the others.

    Args:
        support: indices of the labelled images.
        query: indices of the images to classify.
        query_ways: the right way index of each query, of the shape of `query`, or None.
        support_ways: the way index of each support image, of the shape of `support`, or None.
    """

    support: np.ndarray
    query: np.ndarray
    query_ways: np.ndarray | None = None
    support_ways: np.ndarray | None = None

    def way_classes(self, labels: np.ndarray) -> np.ndarray:
        """Returns the label of each way `[E, N]`, −1 where an episode has fewer ways than the largest."""
        if self.support_ways is None:
            return labels[self.support[:, :, 0]]
        found = np.full((len(self.support), int(self.support_ways.max()) + 1), NONE, labels.dtype)
        rows, columns = np.nonzero(self.support_ways != NONE)
        found[rows, self.support_ways[rows, columns]] = labels[self.support[rows, columns]]
        return found

    def counts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns the number of ways of each episode, and of support images and queries of each way of them all."""
        if self.support_ways is None:
            episodes, ways, shots = self.support.shape
            of_ways, of_shots = np.full(episodes, ways), np.full(episodes * ways, shots)
        else:
            of_ways = self.support_ways.max(axis=1) + 1
            of_shots = _per_way(self.support_ways, of_ways)
        if self.query_ways is None:
            return of_ways, of_shots, np.full(of_ways.sum(), self.query.shape[2])
        return of_ways, of_shots, _per_way(self.query_ways, of_ways)

    def typical(self) -> tuple[int, int, int]:
        """Returns the medians of the numbers of ways, and of support images and queries per way; 1 at least."""
        ways, shots, queries = (max(1, int(np.median(count))) for count in self.counts())
        return ways, shots, queries

    def sizes(self) -> dict[str, int | str]:
        """Returns ways, shots and queries, each a number, or a text such as "5-20" if it varies."""
        return dict(zip(("ways", "shots", "queries"), map(_range, self.counts()), strict=True))


def _per_way(of_images: np.ndarray, ways: np.ndarray) -> np.ndarray:
    """Counts the images of each way that there is, from their way indices `[E, images]`."""
    most = int(ways.max())
    rows, columns = np.nonzero(of_images != NONE)
    counts = np.bincount(rows * most + of_images[rows, columns], minlength=len(of_images) * most).reshape(-1, most)
    return counts[np.arange(most) < ways[:, None]]


def _range(counts: np.ndarray) -> int | str:
    low, high = int(counts.min()), int(counts.max())
    return low if low == high else f"{low}-{high}"


def listed_episodes(support: Sequence[Sequence[Any]], query: Sequence[Sequence[Any]]) -> Episodes:
    """Makes `Episodes` of lists, for example those that another program wrote.

    Args:
        support: for each episode and way, the indices of its support images; at least one.
        query: for each episode and way, the indices of its queries; an episode has at least one, a way may have none.

    Returns:
        `Episodes`, whose ways and images are in the given order.

    Raises:
        UserError: if there is no episode, or one has no way, no query, a way without support images, another number
            of ways in both, or an image twice.
    """
    if not len(support) or len(support) != len(query):
        raise UserError(
            f"Expected as many lists of support images as of queries, one per episode, at least 1. "
            f"Received: {len(support)}, {len(query)}."
        )
    for number, (of_support, of_query) in enumerate(zip(support, query, strict=True), start=1):
        _check_episode(number, of_support, of_query)
    shapes = {(len(ways), *{len(images) for images in ways}) for ways in support}
    if len(shapes) > 1 or len(next(iter(shapes))) > 2:
        return Episodes(*_filled(query, support))
    shape = len(support), *next(iter(shapes))
    regular = np.array([images for ways in support for images in ways], np.int64).reshape(shape)
    queries = {len(images) for ways in query for images in ways}
    if len(queries) == 1:
        of_ways = np.array([images for ways in query for images in ways], np.int64)
        return Episodes(regular, of_ways.reshape(*shape[:2], queries.pop()))
    flat, flat_ways = _rows(query)
    if (flat == NONE).any():
        return Episodes(*_filled(query, support))
    return Episodes(regular, flat, flat_ways)


def _filled(
    query: Sequence[Sequence[Any]], support: Sequence[Sequence[Any]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    (of_support, support_ways), (of_query, query_ways) = _rows(support), _rows(query)
    return of_support, of_query, query_ways, support_ways


def _rows(episodes: Sequence[Sequence[Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the images of each episode in a row, filled up with −1, and their way indices."""
    lengths = np.array([sum(map(len, ways)) for ways in episodes])
    images = np.full((len(episodes), lengths.max()), NONE, np.int64)
    of_ways = images.copy()
    for row, ways in enumerate(episodes):
        images[row, : lengths[row]] = np.concatenate([np.asarray(of, np.int64) for of in ways])
        of_ways[row, : lengths[row]] = np.repeat(np.arange(len(ways)), [len(of) for of in ways])
    return images, of_ways


def _check_episode(number: int, support: Sequence[Any], query: Sequence[Any]) -> None:
    empty = sum(not len(images) for images in support)
    if not len(support) or empty or len(query) != len(support) or not any(len(images) for images in query):
        raise UserError(
            "An episode must have support images of each way, and queries of at least one of the same ways. Received: "
            f"episode {number} with {len(support)} ways ({empty} of them without support images), and with queries of "
            f"{len(query)} ways, {sum(map(len, query))} in all."
        )
    images = [int(image) for way in (*support, *query) for image in way]
    if len(set(images)) < len(images):
        twice = next(image for image in images if images.count(image) > 1)
        raise UserError(f"An image must occur once in an episode. Received: episode {number} has image {twice} twice.")


def check_listed(episodes: Episodes, labels: np.ndarray) -> None:
    """Checks that the images of each way are of one class, and those of other ways of an episode of others.

    Args:
        episodes: `Episodes`.
        labels: integers `[n]`.

    Raises:
        UserError: if not, or if they are no indices of labels.
    """
    for name, images in (("support", episodes.support), ("query", episodes.query)):
        there = images[images != NONE]
        if there.min() < 0 or there.max() >= len(labels):
            raise UserError(
                f"Episodes must hold indices of the {len(labels)} images. "
                f"Received: {name} {there.min()} to {there.max()}."
            )
    numbers = np.unique(labels, return_inverse=True)[1]
    classes = episodes.way_classes(numbers)
    ordered = np.sort(classes, axis=1)
    twice = np.flatnonzero(((np.diff(ordered, axis=1) == 0) & (ordered[:, 1:] != NONE)).any(axis=1))
    wrong = np.zeros(len(classes), bool)
    for images, ways in ((episodes.support, episodes.support_ways), (episodes.query, episodes.query_ways)):
        if ways is None:
            expected = np.broadcast_to(classes[:, :, None], images.shape)
        else:
            expected = np.where(ways == NONE, NONE, np.take_along_axis(classes, np.maximum(ways, 0), axis=1))
        wrong |= (np.where(images == NONE, NONE, numbers[images]) != expected).reshape(len(images), -1).any(axis=1)
    if len(twice) or wrong.any():
        number = int(twice[0] if len(twice) else wrong.argmax()) + 1
        problem = "has two ways of the same class" if len(twice) else "has images of several classes in one way"
        raise UserError(f"All images of a way must be of one class, its own. Received: episode {number} {problem}.")
