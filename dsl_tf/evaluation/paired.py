"""Differences in accuracy between runs that classified the same episodes, with paired confidence intervals.

Which classes and images an episode draws makes it easy or hard for every network alike. The difference of two runs,
episode by episode, is free of that, and its interval is narrower than those of the two accuracies make believe.

There are three intervals, which answer three questions:

- over episodes: these trained networks, had other episodes been drawn;
- over seeds: these episodes, had the networks been trained with other seeds;
- over classes: these trained networks, had other classes been drawn to test on.

All are 95% intervals of one difference each. Of twenty differences that are truly zero, one is outside on average. For
several at once, p-values are corrected with `holm`.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from dsl_tf.errors import UserError
from dsl_tf.evaluation.accuracy import classes_error, mean_and_half_width
from dsl_tf.evaluation.corrections import holm
from dsl_tf.evaluation.student import student_p_value, student_quantile

KINDS = ("episodes", "seeds", "classes")
# The fields of `PairedMatrix` that hold those of `PairedDifference`.
_MEASURES = (
    "episodes_half_widths",
    "seeds_half_widths",
    "classes_half_widths",
    "independent_half_widths",
    "episodes_p_values",
    "seeds_p_values",
    "classes_p_values",
)


@dataclasses.dataclass(frozen=True)
class PairedDifference:
    """The first accuracy minus the second; all in fractions.

    Args:
        difference: the mean over seeds and episodes.
        episodes_half_width: of the 95% interval over episodes, from the differences episode by episode.
        seeds_half_width: of the 95% interval over seeds; None if one of both has a single seed.
        classes_half_width: of the 95% interval over classes; None if they are not known or one is in every episode.
        independent_half_width: what `episodes_half_width` would be, had each its own episodes.
        episodes_p_value, seeds_p_value, classes_p_value: how probable a difference at least as large is if the true one
            is 0, by the same distributions; None without the interval.
    """

    difference: float
    episodes_half_width: float
    seeds_half_width: float | None
    classes_half_width: float | None
    independent_half_width: float
    episodes_p_value: float
    seeds_p_value: float | None
    classes_p_value: float | None


@dataclasses.dataclass(frozen=True)
class PairedMatrix:
    """All differences between G groups of runs, row minus column; accuracies in fractions.

    Args:
        names: of the groups, a tuple of G.
        episodes: E.
        seed_accuracies: for each group the means over episodes, a tuple of G float64 `[S]`.
        accuracies: means over seeds and episodes, float64 `[G]`.
        half_widths: of the accuracies' own 95% intervals over episodes `[G]`.
        differences: float64 `[G, G]`, antisymmetric.
        episodes_half_widths, seeds_half_widths, classes_half_widths, independent_half_widths: as in `PairedDifference`
            `[G, G]`, symmetric with zeros on the diagonal; NaN if there is no such interval.
        episodes_p_values, seeds_p_values, classes_p_values: likewise `[G, G]`, with NaN on the diagonal.
    """

    names: tuple[str, ...]
    episodes: int
    seed_accuracies: tuple[np.ndarray, ...]
    accuracies: np.ndarray
    half_widths: np.ndarray
    differences: np.ndarray
    episodes_half_widths: np.ndarray
    seeds_half_widths: np.ndarray
    classes_half_widths: np.ndarray
    independent_half_widths: np.ndarray
    episodes_p_values: np.ndarray
    seeds_p_values: np.ndarray
    classes_p_values: np.ndarray


def _p_value(difference: float, error: float, degrees: float) -> float:
    """Returns the two-sided p-value of a difference with a standard error, by Student's distribution or the normal."""
    if error == 0:
        return 1.0 if difference == 0 else 0.0
    if math.isinf(degrees):
        return math.erfc(abs(difference) / error / math.sqrt(2))
    return student_p_value(difference / error, degrees)


def _seeds_error(first: np.ndarray, second: np.ndarray, paired: bool) -> tuple[float, float] | None:
    """Returns the standard error over seeds and its degrees of freedom from each seed's mean `[S]`, `[T]`, or None."""
    if min(len(first), len(second)) < 2:
        return None
    if paired:
        return float((first - second).std(ddof=1) / math.sqrt(len(first))), len(first) - 1
    variances = np.array([seeds.var(ddof=1) / len(seeds) for seeds in (first, second)])
    total = variances.sum()
    if total == 0:
        return 0.0, len(first) + len(second) - 2
    # Welch's degrees of freedom, as shares of the total: squares of variances could be too small for a float.
    degrees = 1 / ((variances / total) ** 2 @ [1 / (len(first) - 1), 1 / (len(second) - 1)])
    return math.sqrt(total), float(degrees)


def _checked(accuracies: npt.ArrayLike, seeds: Iterable[int] | None) -> tuple[np.ndarray, tuple[int, ...] | None]:
    """Returns accuracies `[S, E]` in the order of their seeds, and the seeds sorted, or None."""
    accuracies = np.asarray(accuracies, np.float64)
    if accuracies.ndim != 2 or accuracies.shape[0] < 1:
        raise ValueError(f"Accuracies must have the shape [seeds, episodes]. Received: shape {accuracies.shape}.")
    if accuracies.shape[1] < 2:
        raise UserError(f"A confidence interval needs at least 2 episodes. Received: {accuracies.shape[1]}.")
    if not np.isfinite(accuracies).all():
        raise ValueError(f"Accuracies must be finite. Received: {(~np.isfinite(accuracies)).sum()} that are not.")
    if seeds is None:
        return accuracies, None
    seeds = tuple(seeds)
    if len(seeds) != len(accuracies) or len(set(seeds)) != len(seeds):
        raise ValueError(f"Expected {len(accuracies)} distinct seeds, one a row of accuracies. Received: {seeds}.")
    order = sorted(range(len(seeds)), key=lambda index: seeds[index])
    return accuracies[order], tuple(seeds[index] for index in order)


def paired_difference(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    first_seeds: Iterable[int] | None = None,
    second_seeds: Iterable[int] | None = None,
    classes: npt.ArrayLike | None = None,
) -> PairedDifference:
    """Compares two runs, or two groups of runs that differ in nothing but the seed, on the same episodes.

    The interval over episodes is 1.96 standard errors of the differences between the means over seeds. The interval
    over seeds takes Student's quantile: if both groups have the same seeds, of the differences seed by seed;
    otherwise Welch's, for two independent groups. The interval over classes is that of `classes_half_width`.

    Args:
        first, second: shares of queries classified correctly in each episode, `[E]`, or `[S, E]` with a row for each
            seed; column by column the same episodes, of which only the number can be checked here.
        first_seeds, second_seeds: the seeds of the rows; if None, seeds are not paired.
        classes: the classes of each episode, integers from 0 `[E, N]`, −1 for none; or None if they are not known.

    Returns:
        A `PairedDifference`.

    Raises:
        UserError: if the numbers of episodes differ or are under 2.
        ValueError: for other shapes, accuracies that are not finite, or seeds that do not match the rows.
    """
    first, first_seeds = _checked(np.atleast_2d(first), first_seeds)
    second, second_seeds = _checked(np.atleast_2d(second), second_seeds)
    if first.shape[1] != second.shape[1]:
        raise UserError(
            "Only runs on the same episodes can be compared. "
            f"Received: {first.shape[1]} and {second.shape[1]} episodes."
        )
    by_episode = first.mean(axis=0) - second.mean(axis=0)
    difference, episodes_half_width = mean_and_half_width(by_episode)
    same_seeds = first_seeds is not None and first_seeds == second_seeds
    over_seeds = _seeds_error(first.mean(axis=1), second.mean(axis=1), same_seeds)
    over_classes = None if classes is None else classes_error(by_episode, classes)
    seeds, of_classes = (
        (None, None) if found is None else (student_quantile(found[1]) * found[0], _p_value(difference, *found))
        for found in (over_seeds, over_classes)
    )
    return PairedDifference(
        difference,
        episodes_half_width,
        seeds_half_width=seeds[0],
        classes_half_width=of_classes[0],
        independent_half_width=math.hypot(*(mean_and_half_width(group.mean(axis=0))[1] for group in (first, second))),
        episodes_p_value=_p_value(difference, episodes_half_width / 1.96, math.inf),
        seeds_p_value=seeds[1],
        classes_p_value=of_classes[1],
    )


def comparison_matrix(
    groups: Mapping[str, npt.ArrayLike],
    seeds: Mapping[str, Iterable[int]] | None = None,
    classes: npt.ArrayLike | None = None,
) -> PairedMatrix:
    """Compares every two of several groups of runs on the same episodes.

    Args:
        groups: a dict from at least two names to accuracies `[S, E]`, a row for each seed; S may differ between groups.
        seeds: a dict from the same names to the seeds of the rows, or None, as in `paired_difference`.
        classes: as in `paired_difference`.

    Returns:
        A `PairedMatrix`.

    Raises:
        UserError: for fewer than two groups, or if the numbers of episodes differ or are under 2.
        ValueError: for other shapes, accuracies that are not finite, or seeds that do not match the rows.
    """
    if len(groups) < 2:
        raise UserError(f"A comparison needs at least two runs. Received: {', '.join(groups) or 'none'}.")
    if seeds is not None and set(seeds) != set(groups):
        raise ValueError(f"Expected the seeds of {', '.join(groups)}. Received: those of {', '.join(seeds) or 'none'}.")
    names = tuple(groups)
    checked = [_checked(groups[name], None if seeds is None else seeds[name]) for name in names]
    counts = {name: group.shape[1] for name, (group, _) in zip(names, checked, strict=True)}
    if len(set(counts.values())) > 1:
        received = ", ".join(f"{count} of {name}" for name, count in counts.items())
        raise UserError(f"Only runs on the same episodes can be compared. Received numbers of episodes: {received}.")
    differences = np.zeros((len(names), len(names)))
    measured = {name: np.zeros_like(differences) for name in _MEASURES}
    for row, (group, own_seeds) in enumerate(checked):
        for name, matrix in measured.items():
            lacks = len(group) < 2 if "seeds" in name else classes is None and "classes" in name
            matrix[row, row] = np.nan if lacks or name.endswith("p_values") else 0
        for column, (other, other_seeds) in enumerate(checked[:row]):
            pair = paired_difference(group, other, own_seeds, other_seeds, classes)
            # Two statements, since the difference alone changes its sign.
            differences[row, column], differences[column, row] = pair.difference, -pair.difference
            for name, matrix in measured.items():
                value = getattr(pair, name.removesuffix("s"))
                matrix[row, column] = matrix[column, row] = np.nan if value is None else value
    accuracies, half_widths = np.transpose([mean_and_half_width(group.mean(axis=0)) for group, _ in checked])
    return PairedMatrix(
        names,
        checked[0][0].shape[1],
        tuple(group.mean(axis=1) for group, _ in checked),
        accuracies,
        half_widths,
        differences,
        **measured,
    )


def corrected_from_first(matrices: Sequence[PairedMatrix], kind: str) -> list[np.ndarray]:
    """Corrects the p-values of all differences from the first group, in all matrices together, by Holm's method.

    Args:
        matrices: those of a table.
        kind: `"episodes"`, `"seeds"` or `"classes"`.

    Returns:
        For each matrix the corrected p-values `[G]`; NaN for the first group and without an interval of this kind.
    """
    columns = [getattr(matrix, f"{kind}_p_values")[:, 0] for matrix in matrices]
    # All have the same groups.
    return list(holm(np.stack(columns))) if columns else []
