"""Which classes few-shot classifiers take for which."""

import numpy as np
import numpy.typing as npt


def _classes_of_queries(
    labels: np.ndarray, query: np.ndarray, predictions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the true and the predicted class of each query, both `[E, N·Q]`.

    Raises:
        ValueError: if the shapes do not match.
    """
    episodes, ways, queries = query.shape
    if predictions.shape != (episodes, ways * queries):
        raise ValueError(
            "Expected query indices [episodes, ways, queries] and predictions [episodes, ways · queries]. "
            f"Received: query {query.shape}, predictions {predictions.shape}"
        )
    way_classes = labels[query[:, :, 0]]
    return np.repeat(way_classes, queries, axis=1), np.take_along_axis(way_classes, predictions, axis=1)


def confusion(
    labels: npt.ArrayLike, support: npt.ArrayLike, query: npt.ArrayLike, predictions: npt.ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """Counts over all episodes which classes were taken for which.

    Args:
        labels: integers from 0 `[n]`.
        support: indices into the labels `[E, N, K]`.
        query: indices `[E, N, Q]`.
        predictions: the way index of each query, way after way, integers `[E, N·Q]`.

    Returns:
        Two arrays int64 `[C, C]` with C = the largest label + 1. In row i and column j: how many queries of class i
        were classified as class j; and how many could have been, that is were in an episode with class j. Classes
        meet in few of the episodes, so only the quotient of both compares pairs: see `confusion_rates`.

    Raises:
        ValueError: if the shapes do not match, or a way's queries are not of its support's class.
    """
    labels, support, query = np.asarray(labels), np.asarray(support), np.asarray(query)
    way_classes = labels[support[:, :, 0]]
    if not np.array_equal(labels[query], np.broadcast_to(way_classes[:, :, None], query.shape)):
        raise ValueError("Queries of a way must be of the class of its support. Received: queries of other classes")
    true, predicted = _classes_of_queries(labels, query, np.asarray(predictions))
    classes = int(labels.max()) + 1
    shape = (classes, classes)
    counts = np.bincount((true * classes + predicted).ravel(), minlength=classes**2).reshape(shape)
    meetings = way_classes[:, :, None] * classes + way_classes[:, None, :]
    return counts, query.shape[2] * np.bincount(meetings.ravel(), minlength=classes**2).reshape(shape)


def confusion_rates(counts: npt.ArrayLike, chances: npt.ArrayLike) -> np.ndarray:
    """Returns the share of class i's queries taken for class j among those that could be, from `confusion`'s arrays.

    Args:
        counts, chances: integers `[C, C]`, as `confusion` returns them.

    Returns:
        float64 `[C, C]`, NaN for classes that never met. Rows do not sum to 1: each entry has its own episodes.
    """
    return np.divide(counts, chances, out=np.full(np.shape(counts), np.nan), where=np.asarray(chances) > 0)


def most_confused(counts: npt.ArrayLike, chances: npt.ArrayLike, top: int = 10) -> list[tuple[int, int, float]]:
    """Finds the pairs of classes that are confused most often.

    Pairs are directed: i taken for j is another pair than j taken for i, as their examples are other images.

    Args:
        counts, chances: integers `[C, C]`, as `confusion` returns them.
        top: how many at most.

    Returns:
        A list of tuples (i, j, rate), the highest rate first; of equal rates those with more chances, then the
        smaller i and j. Pairs that never met or were never confused are omitted.
    """
    rates = confusion_rates(counts, chances)
    i, j = np.nonzero(np.where(np.eye(len(rates), dtype=bool), 0, np.nan_to_num(rates)))
    order = np.lexsort((j, i, -np.asarray(chances)[i, j], -rates[i, j]))[:top]
    return [(int(i[pair]), int(j[pair]), float(rates[i[pair], j[pair]])) for pair in order]


def wrong_queries(
    labels: npt.ArrayLike,
    query: npt.ArrayLike,
    predictions: npt.ArrayLike,
    true_class: int,
    predicted_class: int,
    limit: int,
) -> np.ndarray:
    """Finds the images of a class that were most often taken for another one.

    Args:
        labels: integers from 0 `[n]`.
        query: indices into the labels `[E, N, Q]`.
        predictions: the way index of each query, way after way, integers `[E, N·Q]`.
        true_class, predicted_class: labels; the same one twice gives the images that were most often right, which
            show the class as the classifier sees it.
        limit: how many at most.

    Returns:
        Indices into the labels, int64, the most often confused first; of equally often ones the smaller index.
    """
    query, predictions = np.asarray(query), np.asarray(predictions)
    true, predicted = _classes_of_queries(np.asarray(labels), query, predictions)
    chosen = (true == true_class) & (predicted == predicted_class)
    images, times = np.unique(query.reshape(true.shape)[chosen], return_counts=True)
    return images[np.argsort(-times, kind="stable")][:limit].astype(np.int64)
