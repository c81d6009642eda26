"""Classification of held-out images of the classes that training saw."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from dsl_tf.errors import UserError
from dsl_tf.evaluation.retrieval import retrieval_metrics
from dsl_tf.evaluation.transforms import transform_features

# The normal distribution's quantile for intervals of 95%.
_Z = 1.96
# Images at a time: float64 scores for 1,000 classes take 8 MB.
_BLOCK = 1024
NEAREST_CLASS_MEAN, LINEAR = "nearest_class_mean", "classifier"


def class_means(features: npt.ArrayLike, labels: npt.ArrayLike, classes: int) -> np.ndarray:
    """Computes the mean feature of each class, μ_c.

    Args:
        features: `[n, d]`.
        labels: integers `[n]` from 0 to C − 1.
        classes: C.

    Returns:
        float64 `[C, d]`; NaN for a class without images.
    """
    features, labels = np.asarray(features), np.asarray(labels)
    sums = np.zeros((classes, features.shape[1]))
    np.add.at(sums, labels, features)
    counts = np.bincount(labels, minlength=classes)[:, None]
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def nearest_class_mean(features: npt.ArrayLike, means: npt.ArrayLike) -> np.ndarray:
    """Assigns each image to the class with the nearest mean: argmin_c ‖x − μ_c‖ (Mensink et al. 2013, "Distance-Based
    Image Classification: Generalizing to New Classes at Near-Zero Cost").

    Args:
        features: `[n, d]`.
        means: `[C, d]`; NaN for a class that no image can be assigned to.

    Returns:
        integers `[n]` from 0 to C − 1.
    """
    found = np.asarray(means, np.float64)
    # ‖x − μ‖² = ‖x‖² − 2xμ + ‖μ‖², measured from the middle of the means, so that features far from 0 cancel nothing.
    middle = np.nanmean(found, axis=0)
    found = found - middle
    return _largest(np.asarray(features), 2 * found.T, -(found**2).sum(axis=1), middle)


def linear_classes(features: npt.ArrayLike, kernel: npt.ArrayLike, bias: npt.ArrayLike) -> np.ndarray:
    """Assigns each image to the class with the largest logit: argmax_c (xW + b)_c.

    Args:
        features: `[n, d]`.
        kernel: W, `[d, C]`.
        bias: b, `[C]`.

    Returns:
        integers `[n]` from 0 to C − 1.
    """
    return _largest(np.asarray(features), np.asarray(kernel, np.float64), np.asarray(bias, np.float64), 0.0)


def _largest(features: np.ndarray, kernel: np.ndarray, bias: np.ndarray, middle: np.ndarray | float) -> np.ndarray:
    answers = np.empty(len(features), np.int64)
    for start in range(0, len(features), _BLOCK):
        scores = (features[start : start + _BLOCK].astype(np.float64) - middle) @ kernel + bias
        answers[start : start + _BLOCK] = np.where(np.isnan(scores), -np.inf, scores).argmax(axis=1)
    return answers


def share_interval(right: int, count: int) -> tuple[float, float]:
    """Computes the 95% confidence interval of a share, such as that of right answers (Wilson 1927, "Probable inference,
    the law of succession, and statistical inference").

    Args:
        right: the number of right answers.
        count: n, the number of answers.

    Returns:
        Its ends, (p + z²/2n ± z·√(p(1 − p)/n + z²/4n²)) / (1 + z²/n) with p = right/n and z = 1.96.
    """
    share = right / count
    centre = share + _Z**2 / (2 * count)
    reach = _Z * math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    low, high = (centre - reach) / (1 + _Z**2 / count), (centre + reach) / (1 + _Z**2 / count)
    # Exactly 0 and 1, but for rounding, if all answers are wrong or right.
    return max(low, 0.0), min(high, 1.0)


def known_class_measures(
    features: np.ndarray,
    labels: np.ndarray,
    split: str,
    means: Mapping[str, np.ndarray],
    mean: np.ndarray | None = None,
    classifier: tuple[np.ndarray, np.ndarray] | None = None,
) -> dict[str, Any]:
    """Measures classification and retrieval of images of known classes that were held out of training.

    Args:
        features: of the held-out images `[n, d]`.
        labels: integers `[n]` from 0 to C − 1.
        split: the name to record, such as `"test"`.
        means: the class means of the training features `[C, d]` by feature transform.
        mean: the mean of the training features `[d]`, for the transform `"cl2"`.
        classifier: the kernel `[d, C]` and bias `[C]` of the training's classifier; None if there is none.

    Returns:
        A dict with `"accuracies"`: a list of dicts with `split, classifier, feature_transform, classes, images,
        accuracy, interval`, the last two as fractions; `"largest_class"`: the share of the most frequent class, which
        an answer that never looks would reach; and, if a class has two images, `"retrieval"`: `recall_at_1` and
        `map_at_r` of each held-out image among the others, as `retrieval_metrics` returns them.

    Raises:
        UserError: if there are no images.
    """
    if not len(labels):
        raise UserError(f"The split {split!r} must have images of training classes. Received: none. Check the data.")
    answers = {
        (NEAREST_CLASS_MEAN, kind): nearest_class_mean(transform_features(features, kind, mean), of_kind)
        for kind, of_kind in means.items()
    }
    if classifier is not None:
        answers[LINEAR, "none"] = linear_classes(features, *classifier)
    counts = np.bincount(labels)
    accuracies = []
    for (name, kind), classes in answers.items():
        right = int((classes == labels).sum())
        accuracies.append(
            {
                "split": split,
                "classifier": name,
                "feature_transform": kind,
                "classes": len(next(iter(means.values()))),
                "images": len(labels),
                "accuracy": right / len(labels),
                "interval": list(share_interval(right, len(labels))),
            }
        )
    found: dict[str, Any] = {"accuracies": accuracies, "largest_class": float(counts.max() / len(labels))}
    if counts.max() > 1:
        found["retrieval"] = retrieval_metrics(features, labels, ks=(1,))
    return found


def transformed_class_means(
    features: np.ndarray, labels: np.ndarray, classes: int, kinds: tuple[str, ...], mean: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Computes the class means of training features under several feature transforms, for `known_class_measures`.

    Args:
        features: `[n, d]`.
        labels: integers `[n]` from 0 to C − 1.
        classes: C.
        kinds: names of feature transforms.
        mean: the mean of the features `[d]`, for the transform `"cl2"`.

    Returns:
        A dict from each kind to float64 `[C, d]`.
    """
    return {kind: class_means(transform_features(features, kind, mean), labels, classes) for kind in kinds}
