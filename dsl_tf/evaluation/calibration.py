"""Calibration of probabilities: how often are answers of a confidence right, and a temperature that mends it."""

from collections.abc import Callable

import numpy as np

_FOLDS = 10
# Probabilities may be exactly 0.
_SMALLEST = 1e-30
_LARGEST_INVERSE, _HALVINGS = 1e4, 100


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Computes Σ_b n_b/n · |accuracy_b − confidence_b| over bins b of the confidence, of equal width.

    Args:
        probabilities: floats `[n, N]`.
        labels: the right classes, integers `[n]`.
        bins: the number of bins.

    Returns:
        The error, from 0 to 1.

    Source: Guo et al., On Calibration of Modern Neural Networks, 2017.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    places = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = np.bincount(places, right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))


def tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Computes softmax(log p / T): T above 1 makes probabilities less certain, and keeps their order.

    Args:
        probabilities: floats `[n, N]`.
        temperature: T, above 0.

    Returns:
        float64 `[n, N]`.
    """
    logits = np.log(np.maximum(probabilities.astype(np.float64), _SMALLEST)) / temperature
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def best_temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Finds the temperature T under which `tempered` probabilities have the least cross-entropy.

    A few examples that are all answered right would ask for T = 0. As in Platt's method, each label therefore counts as
    (n + 1)/(n + 2) of its class, and 1/(n + 2) of the others together.

    Args:
        probabilities: floats `[n, N]` of examples that did not take part in the classifier's support.
        labels: their classes, integers `[n]`.

    Returns:
        T.

    Source: Guo et al., On Calibration of Modern Neural Networks, 2017; Platt, Probabilistic Outputs for Support Vector
    Machines, 1999.
    """
    n, classes = probabilities.shape
    logs = np.log(np.maximum(probabilities.astype(np.float64), _SMALLEST))
    targets = np.full((n, classes), 1 / ((n + 2) * max(classes - 1, 1)))
    targets[np.arange(n), labels] = (n + 1) / (n + 2)
    # The cross-entropy is convex in β = 1/T; its derivative Σ (E_p[log p] − E_t[log p]) grows with β.
    lower, upper = 1 / _LARGEST_INVERSE, _LARGEST_INVERSE
    for _ in range(_HALVINGS):
        middle = np.sqrt(lower * upper)
        expected = (tempered(probabilities, 1 / middle) * logs).sum()
        lower, upper = (middle, upper) if expected < (targets * logs).sum() else (lower, middle)
    return float(1 / lower)


def held_out_probabilities(
    classify: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray], support: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Classifies each support image by the others, in at most ten parts.

    Args:
        classify: from support `[S, d]`, labels `[S]` and query `[M, d]` to probabilities `[M, N]`.
        support: features `[S, d]`.
        labels: their classes 0..N−1, integers `[S]`.

    Returns:
        The probabilities `[m, N]` and labels `[m]` of the m images whose class has other images.
    """
    counts = np.bincount(labels)
    # The position of each image within its class.
    ranks = np.empty(len(labels), int)
    for label in range(len(counts)):
        ranks[labels == label] = np.arange(counts[label])
    usable = counts[labels] > 1
    folds = min(_FOLDS, int(counts.max()))
    found, known = [np.empty((0, len(counts)))], [np.empty(0, int)]
    for fold in range(folds):
        held_out = usable & (ranks % folds == fold)
        if held_out.any():
            found.append(classify(support[~held_out], labels[~held_out], support[held_out]))
            known.append(labels[held_out])
    return np.concatenate(found), np.concatenate(known)
