"""SVG drawings in a light and a dark version; equal numbers give equal bytes."""

import base64
import dataclasses
import io
import re
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dsl_tf.runs.configuration import TrainingConfiguration

# Inches. The width of a phone screen, so that text keeps its size there. Wider pages show several side by side.
_WIDTH = 3.5

# The height of a line of text in inches, and the number of characters of a label in a line, half of the width.
LINE = 0.14
_LABEL_LETTERS = 22

# The colours of Okabe and Ito, which colour-blind readers can distinguish; lighter ones on dark.
_LIGHT = {
    "text": "#1c1c1e",
    "grid": "#d5d5da",
    "alone": "#5f5f66",
    "sum": "#c24e00",
    "direct": "#0072b2",
    "spectral": "#007a5a",
    "other": "#a3507f",
}
_DARK = {
    "text": "#ececf0",
    "grid": "#48484e",
    "alone": "#b4b4bc",
    "sum": "#f0a040",
    "direct": "#62b8f0",
    "spectral": "#3cc79a",
    "other": "#dd92bd",
}

_DECIMALS = re.compile(r"(\.\d{3})\d+")
_COMMENTS = re.compile(r"<!--.*?-->", re.DOTALL)
_SPACES = re.compile(r"\s*\n\s*")


Draw = Callable[[Figure, dict[str, str]], None]


@dataclasses.dataclass(frozen=True)
class Panel:
    """A drawing.

    Args:
        caption: what it shows.
        alternative: its numbers as text, for screen readers.
        light, dark: the SVG.
        width, height: in CSS pixels.
    """

    caption: str
    alternative: str
    light: str
    dark: str
    width: int
    height: int


def _settings(colors: dict[str, str]) -> Any:
    return {
        # Text is drawn as outlines, independent of the reader's fonts.
        "svg.fonttype": "path",
        # A fixed value instead of a random one.
        "svg.hashsalt": "dsl_tf",
        "font.family": "DejaVu Sans",
        "font.size": 8.5,
        "axes.titlesize": 9,
        "axes.labelsize": 8.5,
        "text.color": colors["text"],
        "axes.edgecolor": colors["grid"],
        "axes.labelcolor": colors["text"],
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": colors["text"],
        "ytick.color": colors["text"],
        "axes.facecolor": "none",
        "figure.facecolor": "none",
        "savefig.facecolor": "none",
        "grid.color": colors["grid"],
        "grid.linewidth": 0.6,
        "lines.linewidth": 1.5,
    }


def _svg(draw: Draw, colors: dict[str, str], height: float) -> str:
    with matplotlib.rc_context():
        # Independent of the user's matplotlibrc.
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_settings(colors))
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        draw(figure, colors)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    # A page may contain hundreds of drawings. Excess decimals, comments and indentation are half of the bytes.
    return _SPACES.sub("\n", _COMMENTS.sub("", _DECIMALS.sub(r"\1", file.getvalue())))


def panel(draw: Draw, height: float, caption: str, alternative: str) -> Panel:
    """Draws a panel twice.

    Args:
        draw: a function of a Matplotlib figure and a dict of colours with the names of `color_of`, `text` and `grid`.
        height: in inches.
        caption, alternative: as in `Panel`.

    Returns:
        A `Panel`.
    """
    light, dark = (_svg(draw, colors, height) for colors in (_LIGHT, _DARK))
    return Panel(caption, alternative, light, dark, round(96 * _WIDTH), round(96 * height))


def wrapped(label: str) -> str:
    """Breaks a long label into lines."""
    return "\n".join(textwrap.wrap(label, _LABEL_LETTERS, break_on_hyphens=False)) or label


def data_uri(svg: str) -> str:
    """Returns an SVG as a `data:` address."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode("utf-8")).decode("ascii")


def apart(positions: Sequence[float], distance: float) -> list[float]:
    """Moves overlapping labels apart by as little as possible, keeping their order.

    Args:
        positions: the preferred positions, floats.
        distance: the smallest allowed distance between two labels.

    Returns:
        A list of positions in the given order.
    """
    order = sorted(range(len(positions)), key=lambda index: positions[index])
    # Clusters of touching labels: [sum of preferred positions, indices].
    clusters: list[Any] = []
    for index in order:
        clusters.append([positions[index], [index]])
        while len(clusters) > 1 and _bottom(clusters[-1], distance) - _top(clusters[-2], distance) < distance:
            total, members = clusters.pop()
            clusters[-1][0] += total
            clusters[-1][1] += members
    moved = list(positions)
    for cluster in clusters:
        for place, index in enumerate(cluster[1]):
            moved[index] = _bottom(cluster, distance) + place * distance
    return moved


def within(positions: Sequence[float], distance: float, low: float, high: float) -> list[float]:
    """Moves labels into limits as far as possible, because labels outside would shrink the axes."""
    order = sorted(range(len(positions)), key=lambda index: positions[index])
    moved = list(positions)
    for rank, index in enumerate(order):
        moved[index] = max(moved[index], low + rank * distance)
    for rank, index in enumerate(reversed(order)):
        moved[index] = min(moved[index], high - rank * distance)
    return moved


def label_right(axes: Axes, labels: Sequence[tuple[float, str, str]], label_height: float) -> None:
    """Labels lines at the right edge of their axes, and connects each label with the end of its line.

    Args:
        axes: the Matplotlib axes; their limits must be final.
        labels: tuples (end of the line, name, colour).
        label_height: the height of a line of text as a fraction of the height of the axes.
    """
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    transform = axes.get_yaxis_transform()
    names = [wrapped(name) for _, name, _ in labels]
    lines = max((name.count("\n") + 1 for name in names), default=1)
    distance = lines * label_height * (high - low)
    places = within(apart([end for end, _, _ in labels], distance), distance, low + distance / 2, high - distance / 2)
    for place, name, (end, _, color) in zip(places, names, labels, strict=True):
        axes.plot((1, 1.05), (end, place), color=color, linewidth=0.6, transform=transform, clip_on=False)
        axes.annotate(
            name, (1.07, place), xycoords=transform, color=color, va="center", annotation_clip=False, parse_math=False
        )


def _bottom(cluster: Any, distance: float) -> float:
    total, members = cluster
    return total / len(members) - distance * (len(members) - 1) / 2


def _top(cluster: Any, distance: float) -> float:
    return _bottom(cluster, distance) + distance * (len(cluster[1]) - 1)


def color_of(configuration: TrainingConfiguration) -> str:
    """Returns the colour name of a training's loss: alone, sum, direct, spectral or other."""
    if "none" in (configuration.classification_loss, configuration.metric_loss):
        return "alone"
    if configuration.head != "linear":
        return "other"
    names = {"sum": "sum", "direct_sum": "direct", "spectral_sum": "spectral"}
    return names.get(configuration.integration, "other")
