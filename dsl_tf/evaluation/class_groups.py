"""Groups of classes, such as super-classes, within which episodes draw theirs."""

import numpy as np
import numpy.typing as npt

from dsl_tf.errors import UserError


def group_of_classes(labels: npt.ArrayLike, groups: npt.ArrayLike | None) -> np.ndarray:
    """Returns the group of each class, integers from 0 `[C]` in the order of the sorted labels.

    Args:
        labels: integers `[n]`.
        groups: the group of each image's class, integers or texts `[n]`; None if all classes are in one.

    Raises:
        UserError: if the numbers differ, or images of a class have different groups.
    """
    labels = np.asarray(labels)
    names, classes = np.unique(labels, return_inverse=True)
    if groups is None:
        return np.zeros(len(names), int)
    groups = np.asarray(groups)
    if groups.shape != labels.shape:
        raise UserError(
            f"`groups` must have one group per label. Received: shape {groups.shape} for {labels.shape} labels."
        )
    numbers = np.unique(groups, return_inverse=True)[1]
    most = int(numbers.max(initial=0)) + 1
    pairs = np.unique(classes * most + numbers)
    if len(pairs) > len(names):
        twice = names[np.flatnonzero(np.diff(pairs // most) == 0)[0]]
        raise UserError(f"All images of a class must have the same group. Received: several groups of class {twice}.")
    return pairs % most


def group_sizes(groups: np.ndarray, ways: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Finds the groups of at least `ways` classes.

    Args:
        groups: the group of each class, integers from 0 `[C]`.
        ways: the fewest classes.

    Returns:
        The positions of their classes, group after group; and where each group starts among them, and its size.
    """
    sizes = np.bincount(groups)
    large = np.flatnonzero(sizes >= ways)
    positions = np.argsort(groups, kind="stable")
    positions = positions[np.isin(groups[positions], large)]
    return positions, np.cumsum(sizes[large]) - sizes[large], sizes[large]
