"""Figures of confused classes."""

import math
import os
import pathlib
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dsl_tf.report.wording import printable

_LONGEST_NAME = 24
# Inches: the height of a line of labels, and the limits of the height of a class's row.
_LABEL = 0.11
_ROW, _SMALLEST, _LARGEST = 0.22, 2.2, 11.0
# Up to this many classes, the numbers fit into their cells.
_MOST_NUMBERS = 12
_NEVER_MET = "#dcdcdc"
# Inches in the figure of pairs: an image, the space beside it and between two classes, a row's names, the title.
_IMAGE, _SPACE, _BETWEEN, _NAMES, _TITLE = 0.85, 0.06, 0.35, 0.25, 0.45
# The least number of image columns that leaves space for the names.
_FEWEST_COLUMNS = 4


def _short(name: str) -> str:
    name = printable(str(name))
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


def _check_names(classes: int, class_names: Sequence[str]) -> None:
    if len(class_names) < classes:
        raise ValueError(f"Expected names for {classes} classes. Received: {len(class_names)}")


def _draw_right_answers(bars: Axes, rates: np.ndarray) -> None:
    """Draws the accuracy of each class beside its row."""
    bars.barh(np.arange(len(rates)), np.nan_to_num(100 * np.diag(rates)), color="#2f5f8f", height=0.8)
    bars.set_xlim(0, 100)
    bars.set_xticks((0, 50, 100))
    bars.grid(axis="x", alpha=0.3)
    bars.set_axisbelow(True)
    bars.set_xlabel("right (%)", fontsize=9)
    bars.tick_params(axis="x", labelsize=7)
    bars.tick_params(axis="y", left=False, labelleft=False)
    bars.spines[["top", "right"]].set_visible(False)


def draw_confusion(
    rates: np.ndarray, class_names: Sequence[str], path: str | os.PathLike[str], title: str | None = None
) -> None:
    """Draws how often each class is confused with each other one, and the accuracy of each class.

    The colour scale covers only the confusions: on a common scale with the accuracies, they would all be pale.

    Args:
        rates: `[C, C]`, row i and column j the rate at which class i is classified as class j, NaN if no episode has
            both, as `dsl_tf.evaluation.confusion.confusion_rates` returns them.
        class_names: the name of each class, by label.
        path: the image file to write; its extension decides the format.
        title: what was measured on what data.

    Raises:
        ValueError: if the rates are not square or names are missing.
    """
    rates = np.asarray(rates, np.float64)
    if rates.ndim != 2 or rates.shape[0] != rates.shape[1]:
        raise ValueError(f"Expected rates [C, C]. Received: {rates.shape}")
    classes = len(rates)
    _check_names(classes, class_names)
    side = min(max(_ROW * classes, _SMALLEST), _LARGEST)
    # Space for the names; saving the figure removes what is unused.
    figure = Figure(figsize=(side + 3.5, side + 3.5))
    axes = figure.add_axes((1.8 / (side + 3.5), 1.8 / (side + 3.5), side / (side + 3.5), side / (side + 3.5)))
    scale = axes.inset_axes((0, 1 + 0.15 / side, 1, 0.12 / side))
    bars = axes.inset_axes((1 + 0.15 / side, 0, 1.2 / side, 1), sharey=axes)
    colors = matplotlib.colormaps["magma_r"].with_extremes(bad=_NEVER_MET)
    diagonal = np.eye(classes, dtype=bool)
    apart = np.where(diagonal, np.nan, 100 * rates)
    highest = np.nanmax(apart) if np.isfinite(apart).any() else 0
    picture = axes.imshow(apart, cmap=colors, vmin=0, vmax=highest or 1, aspect="equal", interpolation="nearest")
    # Drawn over the colour of missing values: a class always occurs together with itself.
    axes.imshow(np.where(diagonal, 1.0, np.nan), cmap="Greys", vmin=1, vmax=2, interpolation="nearest")
    if classes <= _MOST_NUMBERS:
        for i, j in zip(*np.nonzero(np.isfinite(apart)), strict=True):
            color = "white" if apart[i, j] > 0.4 * highest else "black"
            axes.text(j, i, f"{apart[i, j]:.1f}", ha="center", va="center", fontsize=6.5, color=color)
    shown = np.arange(0, classes, math.ceil(classes * _LABEL / side))
    names = [_short(class_names[label]) for label in shown.tolist()]
    axes.set_yticks(shown, names, fontsize=7, parse_math=False)
    axes.set_xticks(shown, names, fontsize=7, rotation=90, parse_math=False)
    axes.set_xlabel("taken for", fontsize=9)
    axes.set_ylabel("class", fontsize=9)
    figure.colorbar(picture, cax=scale, orientation="horizontal", ticklocation="top")
    scale.tick_params(labelsize=7)
    unmet = "; grey: never met" if np.isnan(apart[~diagonal]).any() else ""
    scale.set_title(f"share of the queries that met the other class (%){unmet}", fontsize=8, loc="left")
    _draw_right_answers(bars, rates)
    if title:
        # Above the colour scale and its numbers.
        figure.text(1.8 / (side + 3.5), (side + 2.55) / (side + 3.5), title, fontsize=9, va="bottom", parse_math=False)
    figure.savefig(pathlib.Path(path), dpi=150, bbox_inches="tight", pad_inches=0.1)


def draw_confused_pairs(
    pairs: Sequence[tuple[int, int, float]],
    images: Sequence[tuple[np.ndarray, np.ndarray]],
    class_names: Sequence[str],
    path: str | os.PathLike[str],
    title: str | None = None,
) -> None:
    """Draws a row per confused pair: images of class i that were classified as class j, beside images of class j.

    Args:
        pairs: tuples (i, j, rate), as `dsl_tf.evaluation.confusion.most_confused` returns them.
        images: per pair, two arrays uint8 `[m, height, width, 3]`: the confused images of class i, and images of class
            j. m may be 0.
        class_names: the name of each class, by label.
        path: the image file to write; its extension decides the format.
        title: what was measured on what data.

    Raises:
        ValueError: if there are no pairs, or a pair does not have two arrays of images.
    """
    if not pairs or len(images) != len(pairs) or any(len(both) != 2 for both in images):
        raise ValueError(
            "Expected pairs (i, j, rate) and two arrays of images per pair. "
            f"Received: {len(pairs)} pairs, images for {len(images)}"
        )
    _check_names(1 + max(max(i, j) for i, j, _ in pairs), class_names)
    columns = max(_FEWEST_COLUMNS, max(len(some) for both in images for some in both))
    half = columns * (_IMAGE + _SPACE)
    width = 2 * half + _BETWEEN + _SPACE
    height = len(pairs) * (_IMAGE + _NAMES) + _SPACE
    # The height of the figure, with the title, in inches.
    whole = height + (_TITLE if title else 0)
    figure = Figure(figsize=(width, whole))
    if title:
        figure.text(_SPACE / width, (height + 0.06) / whole, title, fontsize=9, va="bottom", parse_math=False)
    for row, ((i, j, rate), both) in enumerate(zip(pairs, images, strict=True)):
        bottom = height - (row + 1) * (_IMAGE + _NAMES)
        both_names = (f"{_short(class_names[i])}, {100 * rate:.1f}% taken for", _short(class_names[j]))
        for left, some, names in zip((_SPACE, _SPACE + half + _BETWEEN), both, both_names, strict=True):
            text = figure.text(left / width, (bottom + _IMAGE + 0.06) / whole, names, fontsize=8)
            text.set_parse_math(False)
            for column, image in enumerate(some):
                start = left + column * (_IMAGE + _SPACE)
                axes = figure.add_axes((start / width, bottom / whole, _IMAGE / width, _IMAGE / whole))
                axes.imshow(image)
                axes.set_axis_off()
    figure.savefig(pathlib.Path(path), dpi=150)
