"""A plot of the differences between runs."""

import os
import pathlib
import re
import textwrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dsl_tf.evaluation.paired import PairedMatrix
from dsl_tf.report.wording import signed, with_error

# The colours of Okabe and Ito, which colour-blind readers can distinguish.
_HIGHER, _LOWER, _UNDECIDED = "#0072b2", "#c24e00", "#707076"
_TEXT = "#3c3c40"
_NAME_LENGTH = 28


def _wrapped(name: str) -> str:
    """Breaks a long name into lines, after a space, slash or underscore if it has one."""
    lines = [""]
    for piece in re.findall("[^ /_]*[ /_]?", name):
        if lines[-1] and len(lines[-1]) + len(piece) > _NAME_LENGTH:
            lines += [""]
        lines[-1] += piece
    return "\n".join(part for line in lines for part in textwrap.wrap(line, _NAME_LENGTH))


def _set_limits(axes: Axes, centres: np.ndarray, half_widths: np.ndarray) -> None:
    ends = np.concatenate([centres - half_widths, centres + half_widths])
    # At least half a point wide, for runs with equal accuracies.
    margin = 0.06 * max(np.ptp(ends), 0.5)
    axes.set_xlim(ends.min() - margin, ends.max() + margin)


def _draw_accuracies(axes: Axes, matrix: PairedMatrix) -> None:
    """Draws the accuracies, a row per group, with small points for the seeds."""
    accuracies, half_widths = 100 * matrix.accuracies, 100 * matrix.half_widths
    axes.errorbar(accuracies, range(len(accuracies)), xerr=half_widths, fmt="o", color=_TEXT, markersize=6, capsize=4)
    seeds = [
        (100 * value, row + 0.25)
        for row, found in enumerate(matrix.seed_accuracies)
        if len(found) > 1
        for value in found
    ]
    if seeds:
        axes.plot(*np.transpose(seeds), ".", color=_UNDECIDED, markersize=5)
    places = np.append(accuracies, [value for value, _ in seeds])
    _set_limits(axes, places, np.append(half_widths, np.zeros(len(seeds))))
    axes.set_title("Accuracies, each with its own 95% interval", fontsize=10)
    axes.set_xlabel("accuracy (%)" + ("; small points: each seed" if seeds else ""), fontsize=9)


def _draw_differences(axes: Axes, matrix: PairedMatrix) -> None:
    """Draws the differences from the first group, a row per group, with their numbers at the right."""
    differences = 100 * matrix.differences[:, 0]
    over_episodes, over_seeds = 100 * matrix.episodes_half_widths[:, 0], 100 * matrix.seeds_half_widths[:, 0]
    # The larger interval, or the only one.
    reach = np.fmax(over_episodes, over_seeds)
    axes.axvline(0, color=_TEXT, linewidth=1)
    for row in range(1, len(differences)):
        value, has_seeds = differences[row], np.isfinite(over_seeds[row])
        is_real = abs(value) > reach[row]
        color = (_HIGHER if value > 0 else _LOWER) if is_real else _UNDECIDED
        # Pale and high, so that a narrow bar is visible behind its point.
        axes.errorbar(value, row, xerr=over_episodes[row], fmt="none", ecolor=color, elinewidth=9, alpha=0.4)
        if has_seeds:
            axes.errorbar(value, row, xerr=over_seeds[row], fmt="none", ecolor=color, elinewidth=1.2, capsize=4)
        axes.plot(value, row, "o", color=color, markerfacecolor=color if is_real else "white", markersize=5)
        text = with_error(over_episodes[row], over_seeds[row] if has_seeds else None)
        axes.annotate(
            f"{signed(value)} ± {text}", (1.02, row), xycoords=("axes fraction", "data"), va="center", fontsize=9
        )
    _set_limits(axes, differences, np.nan_to_num(reach))
    axes.set_title("Differences from the first, on the same episodes", fontsize=10)
    axes.set_xlabel("difference (percentage points)", fontsize=9)


def draw_paired(matrix: PairedMatrix, path: str | os.PathLike[str], title: str) -> None:
    """Draws accuracies with their intervals, and the differences from the first run with paired intervals.

    A difference is a filled coloured point if all of its intervals exclude 0, otherwise a hollow grey point. The pale
    bar is the 95% interval over episodes, the thin line with ends that over seeds.

    Args:
        matrix: a `PairedMatrix`. The others are compared with the first of its names.
        path: the image file to write; its extension decides the format.
        title: what was measured on what data.
    """
    names = [_wrapped(name) for name in matrix.names]
    lines = [name.split("\n") for name in names]
    # Inches: a letter is about 0.08 wide and a line 0.17 high.
    width = 8.6 + 0.08 * max(len(line) for found in lines for line in found)
    height = 1.7 + max(0.42, 0.1 + 0.17 * max(map(len, lines))) * len(names)
    figure = Figure(figsize=(width, height), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _draw_accuracies(left, matrix)
    _draw_differences(right, matrix)
    for axes in (left, right):
        axes.grid(alpha=0.25)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    left.set_ylim(len(names) - 0.5, -0.5)
    # Escaped, because Matplotlib reads text between dollar signs as a formula.
    left.set_yticks(range(len(names)), names, parse_math=False)
    right.tick_params(axis="y", length=0)
    point: dict[str, Any] = {"linestyle": "none", "marker": "o", "markersize": 5}
    keys = [
        Line2D([], [], color=_HIGHER, label="higher", **point),
        Line2D([], [], color=_LOWER, label="lower", **point),
        Line2D([], [], color=_UNDECIDED, markerfacecolor="white", label="undecided", **point),
        Line2D([], [], color=_TEXT, linewidth=9, alpha=0.4, solid_capstyle="butt", label="95% over episodes"),
    ]
    if np.isfinite(matrix.seeds_half_widths[1:, 0]).any():
        keys += [Line2D([], [], color=_TEXT, linewidth=1.2, label="95% over seeds")]
    figure.legend(handles=keys, loc="outside lower right", ncols=len(keys), fontsize=9, frameon=False)
    figure.suptitle(title, fontsize=11, parse_math=False)
    figure.savefig(pathlib.Path(path), dpi=150)
