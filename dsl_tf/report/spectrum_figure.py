"""A figure of the spectrum of classifier kernels."""

import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dsl_tf.evaluation.spectrum import singular_values, spectral_weights
from dsl_tf.report.wording import printable

# Below this fraction of the largest singular value, a linear axis shows nothing.
_NEEDS_LOGARITHM = 0.05
_STYLES = ("-", "--", ":", "-.")


def _style(position: int) -> dict[str, Any]:
    colors = matplotlib.colormaps["tab10"]
    return {
        "color": colors(position % colors.N),
        "linestyle": _STYLES[position // colors.N % len(_STYLES)],
        "linewidth": 1.4,
    }


def _draw_singular_values(axes: Axes, kernels: dict[str, np.ndarray]) -> None:
    spectra = [singular_values(W) for W in kernels.values()]
    shares = [values / values[0] if values[0] > 0 else values for values in spectra]
    for position, (W, values) in enumerate(zip(kernels.values(), shares, strict=True)):
        # Without the padding zeros for d > C, which are not singular values of W and do not fit a logarithmic axis.
        values = values[: min(np.shape(W))]
        axes.plot(np.arange(1, len(values) + 1), values, marker="o" if len(values) < 3 else None, **_style(position))
    smallest = min(values[: min(np.shape(W))].min() for W, values in zip(kernels.values(), shares, strict=True))
    if smallest < _NEEDS_LOGARITHM and any(values[0] > 0 for values in shares):
        axes.set_yscale("log")
        # Values that are zero up to rounding would take most of the axis.
        axes.set_ylim(bottom=max(0.7 * smallest, 1e-8))
    else:
        axes.set_ylim(0, 1.05)
    axes.set_ylabel("singular value / largest")


def _draw_weights(axes: Axes, W: np.ndarray, power: float, **style: Any) -> None:
    weights = spectral_weights(W, power)
    marker = "o" if len(weights) < 3 else None
    axes.plot(np.arange(1, len(weights) + 1), weights, drawstyle="steps-mid", marker=marker, **style)
    axes.set_ylim(-0.04, 1.04)
    axes.set_ylabel(r"weight $1 - \tilde{\lambda}^{\,p}$")


def _finish(axes: Axes, longest: int) -> None:
    axes.set_xlim(0.5, longest + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.set_xlabel("index")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def draw_spectrum(
    kernels: Mapping[str, np.ndarray], path: str | os.PathLike[str], powers: Sequence[float] = (0, 0.1, 0.3, 0.5, 1)
) -> None:
    """Draws the singular values of classifier kernels and the weights of the spectral sum, by index.

    The weights of a single kernel share a panel with a line per power. Several kernels have a panel per power with a
    line per kernel.

    Args:
        kernels: a dict from the displayed name to the kernel `[d, C]`.
        path: the image file to write; its extension decides the format.
        powers: the exponents p ≥ 0 of equation (11) to draw.

    Raises:
        ValueError: if there are no kernels or powers, or a kernel is not a matrix.
    """
    kernels = {name: np.asarray(W).astype(np.float64) for name, W in kernels.items()}
    if not kernels or not len(powers):
        raise ValueError(f"Expected kernels and powers. Received: {len(kernels)} kernels, powers {powers}")
    panels = 2 if len(kernels) == 1 else 1 + len(powers)
    columns = min(panels, 3)
    rows = math.ceil(panels / columns)
    # The height of the names in inches, two per line.
    figure = Figure(figsize=(3.6 * columns, 2.7 * rows + 0.2 * math.ceil(len(kernels) / 2)), layout="constrained")
    grid = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for unused in grid[panels:]:
        unused.remove()
    grid = grid[:panels]
    _draw_singular_values(grid[0], kernels)
    if len(kernels) == 1:
        (W,) = kernels.values()
        colors = matplotlib.colormaps["viridis"](np.linspace(0, 0.9, len(powers)))
        for power, color in zip(powers, colors, strict=True):
            _draw_weights(grid[1], W, power, color=color, linewidth=1.4, label=f"p = {power:g}")
        figure.legend(*grid[1].get_legend_handles_labels(), loc="outside right center", fontsize=9, frameon=False)
    else:
        for axes, power in zip(grid[1:], powers, strict=True):
            for position, W in enumerate(kernels.values()):
                _draw_weights(axes, W, power, **_style(position))
            axes.set_title(f"p = {power:g}", fontsize=10)
    _finish(grid[0], max(min(W.shape) for W in kernels.values()))
    for axes in grid[1:]:
        _finish(axes, max(len(W) for W in kernels.values()))
    names = [f"{printable(name)} ({W.shape[0]}×{W.shape[1]})" for name, W in kernels.items()]
    if len(kernels) == 1:
        title = figure.suptitle(f"Spectrum of W, {names[0]}", fontsize=10)
        title.set_parse_math(False)
    else:
        legend = figure.legend(
            grid[0].lines, names, loc="outside lower center", ncols=min(len(names), 2), fontsize=9, frameon=False
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
    figure.savefig(pathlib.Path(path), dpi=150)
